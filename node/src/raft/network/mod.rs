//! The way to the other nodes: one stream per peer for the appends of all groups, and calls for
//! what is rare.
//!
//! Invariants
//! * appends of one group reach a peer in the order they were sent, and so do its answers;
//! * every call has a deadline; a dead peer is `Unreachable`, so openraft waits before it retries;
//! * a caller of another cluster, of an old life of its node, or who meant another node, is refused.
//!
//! There is no snapshot transfer here: a replica that needs one is told so, and is filled before its
//! group opens again.

mod client;
mod frame;
mod held;
mod link;
mod older;
mod server;
mod serving;
mod stream;
mod wire;

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::future::{BoxFuture, join_all};
use narthex_proto::{connect::RaftStream, internal::v1::raft_server::RaftServer};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tonic::{Extensions, Status, transport::Channel};

pub use self::server::RaftService;
use self::{client::PeerFactory, link::Link};
use super::{
    group::Core,
    runtime::Polled,
    types::{GroupId, NodeId},
};

/// Largest message either side accepts: an entry of 4 MiB, the largest there is, and the frame
/// around it with room.
const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// Bytes of requests that are written at once, unless one alone is larger.
const FRAME_BYTES_MAX: usize = 2 << 20;

/// Who calls, as it says in the metadata of each call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerHello {
    /// The cluster's id; empty before there is one.
    pub cluster: String,
    /// The caller's node.
    pub node: NodeId,
    /// The caller's incarnation: how often its folder was opened.
    pub incarnation: u64,
}

/// Why a caller is turned away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerRefusal {
    /// Not a raft peer at all.
    #[error("the caller does not say who it is")]
    NoHello,
    /// Two clusters are never merged.
    #[error("the caller belongs to cluster {theirs:?}, this is {ours:?}")]
    OtherCluster {
        /// The caller's.
        theirs: String,
        /// This node's.
        ours: String,
    },
    /// The address belongs to another node by now.
    #[error("the caller looks for node {wanted}, this is node {this}")]
    OtherNode {
        /// Whom the caller wanted.
        wanted: NodeId,
        /// Whom it reached.
        this: NodeId,
    },
    /// Its folder is an old copy, or a second process has it open.
    #[error("node {node} calls as incarnation {got}, but {current} was seen")]
    StaleIncarnation {
        /// Who calls.
        node: NodeId,
        /// As what.
        got: u64,
        /// The highest seen.
        current: u64,
    },
    /// No member, or not who its certificate says.
    #[error("node {node} is refused: {reason}")]
    Stranger {
        /// Who calls.
        node: NodeId,
        /// Why not.
        reason: String,
    },
}

impl From<PeerRefusal> for Status {
    fn from(refusal: PeerRefusal) -> Self {
        Self::failed_precondition(refusal.to_string())
    }
}

/// What the network must know about the cluster. The answers may change at any time.
pub trait Peers: Send + Sync + 'static {
    /// How this node presents itself.
    fn hello(&self) -> PeerHello;

    /// Whether a caller may go on. That it reached the node it meant is checked already.
    /// `extensions` are those of the request: the caller's certificate is in there.
    fn admit(&self, caller: &PeerHello, extensions: &Extensions) -> Result<(), PeerRefusal>;

    /// A connection of its own to a peer's current address; `None` while none is known. Asked anew
    /// for each attempt, so an address may change. It need not be connected yet.
    fn channel(&self, peer: NodeId) -> Option<Channel>;

    /// Likewise a connection for the stream of appends, to be made.
    fn stream(&self, peer: NodeId) -> Option<BoxFuture<'static, io::Result<RaftStream>>>;

    /// Whether a peer may be of a version that takes appends by gRPC alone.
    fn may_be_older(&self) -> bool;
}

/// The raft network of a node. Clones share it.
#[derive(Clone)]
pub struct Network {
    inner: Arc<Inner>,
}

struct Inner {
    node: NodeId,
    peers: Arc<dyn Peers>,
    runtime: Handle,
    links: Mutex<BTreeMap<NodeId, Link>>,
    groups: Mutex<BTreeMap<GroupId, Weak<Core>>>,
    /// Whether entries of other nodes are turned away.
    is_full: AtomicBool,
}

impl Network {
    /// A network that speaks on `runtime`, the one that raft has to itself.
    pub fn new(node: NodeId, peers: Arc<dyn Peers>, runtime: Handle) -> Self {
        let (links, groups) = (Mutex::default(), Mutex::default());
        let is_full = AtomicBool::new(false);
        Self { inner: Arc::new(Inner { node, peers, runtime, links, groups, is_full }) }
    }

    /// Takes no entries of other nodes while `is_full`: their leaders go on without this node, and
    /// bring what it lacks afterwards. Heartbeats and votes go on.
    pub fn refuse_entries(&self, is_full: bool) {
        self.inner.is_full.store(is_full, Ordering::Relaxed);
    }

    /// What other nodes call: for the cluster listener.
    pub fn service(&self) -> RaftServer<RaftService> {
        RaftServer::new(RaftService::new(self.clone()))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Takes the stream of another node, behind its greeting, and serves it until it ends.
    /// `extensions` show who is at its other end.
    pub async fn serve(&self, stream: RaftStream, extensions: &Extensions) {
        Polled::new(serving::serve(self, stream, extensions)).await;
    }

    fn admit(
        &self,
        hello: &PeerHello,
        wanted: NodeId,
        extensions: &Extensions,
    ) -> Result<(), PeerRefusal> {
        let inner = &self.inner;
        let admitted = if wanted == inner.node {
            inner.peers.admit(hello, extensions)
        } else {
            Err(PeerRefusal::OtherNode { wanted, this: inner.node })
        };
        admitted.inspect_err(
            |refusal| tracing::warn!(caller = hello.node, %refusal, "refused a raft peer"),
        )
    }

    /// Connects to peers, or gives up after a second: whoever is there then is.
    pub(super) async fn connect(&self, peers: impl Iterator<Item = NodeId>) {
        join_all(peers.map(|peer| self.link(peer)).map(|link| async move {
            link.connect().await;
        }))
        .await;
    }

    pub(super) fn register(&self, core: &Arc<Core>) {
        self.inner.groups.lock().insert(core.config.group, Arc::downgrade(core));
    }

    pub(super) fn unregister(&self, group: GroupId) {
        self.inner.groups.lock().remove(&group);
    }

    pub(super) fn factory(&self, core: &Arc<Core>) -> PeerFactory {
        PeerFactory::new(self.clone(), Arc::downgrade(core))
    }

    fn group(&self, group: GroupId) -> Option<Arc<Core>> {
        self.inner.groups.lock().get(&group).and_then(Weak::upgrade)
    }

    fn link(&self, peer: NodeId) -> Link {
        let new = || Link::spawn(peer, self.inner.peers.clone(), &self.inner.runtime);
        self.inner.links.lock().entry(peer).or_insert_with(new).clone()
    }
}
