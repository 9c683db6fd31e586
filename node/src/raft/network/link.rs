//! The connection to one peer, shared by all groups.
//!
//! A task owns it: what the groups want sent is gathered into frames, answers find their way back
//! by id. When the connection breaks, everything under way fails at once, and the next call tries
//! a new one. The task ends when nobody holds the link any more.

use std::{io, sync::Arc, time::Duration};

use narthex_proto::internal::v1::{RaftAppend, RaftReply, raft_client::RaftClient};
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};
use tonic::{Request, Status, metadata::MetadataValue, transport::Channel};

use super::{
    MESSAGE_BYTES_MAX, PeerHello, Peers,
    older::{self, OlderStream},
    stream::{self, OpenError, OpenStream},
};
use crate::raft::{runtime::Polled, types::NodeId};

pub const CLUSTER_KEY: &str = "narthex-cluster";
pub const FROM_KEY: &str = "narthex-from";
pub const INCARNATION_KEY: &str = "narthex-incarnation";
pub const TO_KEY: &str = "narthex-to";

/// Calls that may wait for the connection: a few for each group. More means that the peer or the
/// network is behind, and the groups wait.
pub const CALL_QUEUE_LEN: usize = 256;

/// Until a stream is open; beyond that the peer counts as unreachable.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);

/// How long a founding waits for its peers to be there.
const FIRST_CONNECT_DEADLINE: Duration = Duration::from_secs(1);
const FIRST_CONNECT_PAUSE: Duration = Duration::from_millis(50);

/// What a link is asked to do.
pub enum Call {
    /// To be sent, and answered in its time.
    Append { request: RaftAppend, reply: oneshot::Sender<RaftReply> },
    /// Answered once a stream is open.
    Connect { opened: oneshot::Sender<()> },
}

/// A handle on the connection to one peer.
#[derive(Clone)]
pub struct Link {
    peer: NodeId,
    peers: Arc<dyn Peers>,
    calls: mpsc::Sender<Call>,
    /// For rare calls; dropped when it fails, since the peer's address may have changed.
    channel: Arc<Mutex<Option<Channel>>>,
}

/// No answer: the peer is not reachable.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody has told where it is.
    #[error("address of node {0} is unknown")]
    NoAddress(NodeId),
    /// It does not answer, or refuses.
    #[error("node {0} is unreachable")]
    Call(NodeId, #[source] Status),
    /// There is no stream to it.
    #[error("no stream to node {0}")]
    Stream(NodeId, #[source] OpenError),
    /// The connection broke with the call under way.
    #[error("connection to node {0} broke")]
    Broken(NodeId),
    /// No answer in time.
    #[error("node {0} did not answer in time")]
    Deadline(NodeId),
}

impl Link {
    pub fn spawn(peer: NodeId, peers: Arc<dyn Peers>, runtime: &Handle) -> Self {
        let (calls, queue) = mpsc::channel(CALL_QUEUE_LEN);
        let channel = Arc::new(Mutex::new(None));
        let link = Self { peer, peers: peers.clone(), calls, channel: channel.clone() };
        let (never_called, _) = mpsc::channel(1);
        let dialer = Self { peer, peers, calls: never_called, channel };
        runtime.spawn(Polled::new(run(dialer, queue)));
        link
    }

    /// Sends an append; the answer follows. Appends leave in the order of these calls.
    pub async fn append(
        &self,
        request: RaftAppend,
    ) -> Result<oneshot::Receiver<RaftReply>, LinkError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.calls.send(Call::Append { request, reply }).await;
        sent.map_err(|_| LinkError::Broken(self.peer))?;
        Ok(answer)
    }

    /// Waits until the peer is connected, or a second has passed.
    pub async fn connect(&self) {
        let connected = async {
            loop {
                let (opened, open) = oneshot::channel();
                if self.calls.send(Call::Connect { opened }).await.is_err() || open.await.is_ok() {
                    return;
                }
                sleep(FIRST_CONNECT_PAUSE).await;
            }
        };
        timeout(FIRST_CONNECT_DEADLINE, connected).await.ok();
    }

    /// A client for rare calls, and the metadata they need.
    pub fn client(&self) -> Result<RaftClient<Channel>, LinkError> {
        let mut channel = self.channel.lock();
        if channel.is_none() {
            *channel = self.peers.channel(self.peer);
        }
        let channel = channel.clone().ok_or(LinkError::NoAddress(self.peer))?;
        Ok(RaftClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// A request that says who calls whom.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let hello = self.peers.hello();
        let metadata = request.metadata_mut();
        if let Ok(cluster) = MetadataValue::try_from(hello.cluster) {
            metadata.insert(CLUSTER_KEY, cluster);
        }
        metadata.insert(FROM_KEY, hello.node.into());
        metadata.insert(INCARNATION_KEY, hello.incarnation.into());
        metadata.insert(TO_KEY, self.peer.into());
        request
    }

    /// Makes the next call dial anew.
    pub fn failed(&self, status: Status) -> LinkError {
        *self.channel.lock() = None;
        LinkError::Call(self.peer, status)
    }

    async fn open(&self) -> Result<Opened, LinkError> {
        let dialling = self.peers.stream(self.peer).ok_or(LinkError::NoAddress(self.peer))?;
        let dialled = timeout(CONNECT_DEADLINE, dialling).await;
        let opened = match dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(connection) => stream::open(connection, self.peers.hello(), self.peer).await,
            Err(error) => Err(error.into()),
        };
        match opened {
            Ok(stream) => Ok(Opened::Stream(stream)),
            Err(OpenError::Closed) if self.peers.may_be_older() => self.open_older().await,
            Err(error) => Err(LinkError::Stream(self.peer, error)),
        }
    }

    async fn open_older(&self) -> Result<Opened, LinkError> {
        let client = self.client()?;
        let open = older::open(client, |outgoing| self.request(outgoing));
        match timeout(CONNECT_DEADLINE, open).await {
            Ok(Ok(stream)) => Ok(Opened::Older(stream)),
            Ok(Err(status)) => Err(self.failed(status)),
            Err(_) => Err(self.failed(Status::deadline_exceeded("open stream"))),
        }
    }
}

/// A way for appends.
enum Opened {
    Stream(OpenStream),
    Older(OlderStream),
}

/// Who calls, from the metadata of a request.
pub fn read_hello(metadata: &tonic::metadata::MetadataMap) -> Option<(PeerHello, NodeId)> {
    let text = |key| metadata.get(key)?.to_str().ok();
    let number = |key| text(key)?.parse().ok();
    let hello = PeerHello {
        cluster: text(CLUSTER_KEY)?.to_owned(),
        node: number(FROM_KEY)?,
        incarnation: number(INCARNATION_KEY)?,
    };
    Some((hello, number(TO_KEY)?))
}

async fn run(link: Link, mut calls: mpsc::Receiver<Call>) {
    let mut reached = true;
    while let Some(first) = calls.recv().await {
        match link.open().await {
            Ok(opened) => {
                tracing::info!(peer = link.peer, "raft stream to peer is open");
                let reason = match opened {
                    Opened::Stream(stream) => stream::carry(&mut calls, first, stream).await,
                    Opened::Older(stream) => older::carry(&mut calls, first, stream).await,
                };
                tracing::warn!(peer = link.peer, %reason, "raft stream to peer ended");
                *link.channel.lock() = None;
                reached = true;
            }
            // The callers learn it by their dropped answers, and wait before they call again.
            Err(error) => {
                if std::mem::take(&mut reached) {
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(peer = link.peer, %error, source, "raft peer is not reachable");
                }
                while calls.try_recv().is_ok() {}
            }
        }
    }
}
