//! The connection to one peer, shared by all groups.
//!
//! A task owns it: what the groups want sent is gathered into frames, answers find their way back
//! by id. When the connection breaks, everything under way fails at once, and the next call tries
//! a new one. The task ends when nobody holds the link any more.

use std::{collections::HashMap, sync::Arc, time::Duration};

use narthex_proto::internal::v1::{
    RaftAppend, RaftFrame, RaftReply, RaftReplyFrame, raft_client::RaftClient,
};
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming, metadata::MetadataValue, transport::Channel};

use super::{MESSAGE_BYTES_MAX, PeerHello, Peers};
use crate::raft::{runtime::Polled, types::NodeId};

pub const CLUSTER_KEY: &str = "narthex-cluster";
pub const FROM_KEY: &str = "narthex-from";
pub const INCARNATION_KEY: &str = "narthex-incarnation";
pub const TO_KEY: &str = "narthex-to";

/// Calls that may wait for the connection: a few for each group. More means that the peer or the
/// network is behind, and the groups wait.
const CALL_QUEUE_LEN: usize = 256;

/// Frames between the task and the socket. Few, so that what waits is gathered into larger frames.
const FRAME_QUEUE_LEN: usize = 4;

/// Bytes of requests put into one frame, unless one alone is larger.
const FRAME_BYTES_MAX: usize = 2 << 20;

/// Until a stream is open; beyond that the peer counts as unreachable.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);

/// How long a founding waits for its peers to be there.
const FIRST_CONNECT_DEADLINE: Duration = Duration::from_secs(1);
const FIRST_CONNECT_PAUSE: Duration = Duration::from_millis(50);

enum Call {
    Append {
        request: RaftAppend,
        reply: oneshot::Sender<RaftReply>,
    },
    /// Answered once a stream is open.
    Connect {
        opened: oneshot::Sender<()>,
    },
}

/// A handle on the connection to one peer.
#[derive(Clone)]
pub struct Link {
    peer: NodeId,
    peers: Arc<dyn Peers>,
    calls: mpsc::Sender<Call>,
    /// Shared by the stream and by rare calls; dropped when it fails, since the peer's address may
    /// have changed.
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

    async fn open(
        &self,
    ) -> Result<(mpsc::Sender<RaftFrame>, Streaming<RaftReplyFrame>), LinkError> {
        let mut client = self.client()?;
        let (frames, outgoing) = mpsc::channel(FRAME_QUEUE_LEN);
        let call = client.append(self.request(ReceiverStream::new(outgoing)));
        match timeout(CONNECT_DEADLINE, call).await {
            Ok(Ok(replies)) => Ok((frames, replies.into_inner())),
            Ok(Err(status)) => Err(self.failed(status)),
            Err(_) => Err(self.failed(Status::deadline_exceeded("open stream"))),
        }
    }
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
            Ok((frames, replies)) => {
                tracing::info!(peer = link.peer, "raft stream to peer is open");
                let ended = stream(&mut calls, first, frames, replies).await;
                tracing::warn!(peer = link.peer, reason = %ended, "raft stream to peer ended");
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

/// Carries calls until the stream or the link ends; says why.
async fn stream(
    calls: &mut mpsc::Receiver<Call>,
    first: Call,
    frames: mpsc::Sender<RaftFrame>,
    mut replies: Streaming<RaftReplyFrame>,
) -> Status {
    let waiting = Mutex::new(HashMap::new());
    let send = async {
        let (mut gathered, mut next_id) = (vec![first], 0);
        loop {
            for frame in frames_of(gathered.drain(..), &waiting, &mut next_id) {
                if frames.send(frame).await.is_err() {
                    // The other half learns why.
                    return std::future::pending().await;
                }
            }
            if calls.recv_many(&mut gathered, CALL_QUEUE_LEN).await == 0 {
                return Status::cancelled("the network ends");
            }
        }
    };
    let receive = async {
        loop {
            match replies.message().await {
                Ok(Some(frame)) => {
                    for reply in frame.replies {
                        let waiting: Option<oneshot::Sender<_>> = waiting.lock().remove(&reply.id);
                        if let Some(waiting) = waiting {
                            waiting.send(reply).ok();
                        }
                    }
                }
                Ok(None) => return Status::unavailable("closed by the peer"),
                Err(status) => return status,
            }
        }
    };
    tokio::select! {
        biased;
        status = receive => status,
        status = send => status,
    }
}

type Waiting = Mutex<HashMap<u64, oneshot::Sender<RaftReply>>>;

fn frames_of(
    calls: impl Iterator<Item = Call>,
    waiting: &Waiting,
    next_id: &mut u64,
) -> Vec<RaftFrame> {
    let mut frames: Vec<RaftFrame> = Vec::new();
    let mut bytes = FRAME_BYTES_MAX;
    for call in calls {
        match call {
            Call::Connect { opened } => {
                opened.send(()).ok();
            }
            Call::Append { mut request, reply } => {
                request.id = *next_id;
                *next_id += 1;
                waiting.lock().insert(request.id, reply);
                if bytes + request.entries.len() > FRAME_BYTES_MAX {
                    frames.push(RaftFrame::default());
                    bytes = 0;
                }
                bytes += request.entries.len();
                if let Some(frame) = frames.last_mut() {
                    frame.requests.push(request);
                }
            }
        }
    }
    frames
}
