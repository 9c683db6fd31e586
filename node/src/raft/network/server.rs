//! What other nodes call, and the stream of appends as those of an older version open it.
//!
//! Each group of such a stream has a queue of its own: its appends are handed to the core in order
//! and answered in order, while other groups' go on.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use futures_util::StreamExt;
use narthex_proto::internal::v1::{
    self, RaftAppend, RaftFrame, RaftReply, RaftReplyFrame, raft_server::Raft,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Network, PeerRefusal, link::read_hello, wire};
use crate::raft::{
    group::Core,
    runtime::Polled,
    types::{GroupId, NodeId},
};

/// Appends of one group handed to its core and not answered yet.
const PIPELINE_LEN: usize = 64;

/// Appends of one group that wait for that. Beyond it the stream waits, all its groups with it:
/// the sender's own pipeline is no longer.
const APPEND_QUEUE_LEN: usize = 64;

/// Answers that wait for the socket.
const REPLY_QUEUE_LEN: usize = 1024;

/// Answers put into one frame.
const FRAME_REPLIES_MAX: usize = 64;

/// The raft service of a node.
pub struct RaftService {
    network: Network,
}

impl RaftService {
    pub(super) fn new(network: Network) -> Self {
        Self { network }
    }

    /// Who calls, if it may.
    fn admit<T>(&self, request: &Request<T>) -> Result<NodeId, Status> {
        let (hello, wanted) = read_hello(request.metadata()).ok_or(PeerRefusal::NoHello)?;
        self.network.admit(&hello, wanted, request.extensions())?;
        Ok(hello.node)
    }
}

#[tonic::async_trait]
impl Raft for RaftService {
    type AppendStream =
        std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<RaftReplyFrame, Status>> + Send>>;

    async fn append(
        &self,
        request: Request<Streaming<RaftFrame>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let caller = self.admit(&request)?;
        let (replies, outgoing) = mpsc::channel(REPLY_QUEUE_LEN);
        let network = self.network.clone();
        self.network.inner.runtime.spawn(Polled::new(async move {
            let ended = receive(&network, request.into_inner(), replies).await;
            tracing::debug!(caller, reason = ?ended.err(), "raft stream from peer ended");
        }));
        let frames = ReceiverStream::new(outgoing)
            .ready_chunks(FRAME_REPLIES_MAX)
            .map(|replies| Ok(RaftReplyFrame { replies }));
        Ok(Response::new(Box::pin(frames)))
    }

    async fn vote(
        &self,
        request: Request<v1::VoteRequest>,
    ) -> Result<Response<v1::VoteReply>, Status> {
        self.admit(&request)?;
        let v1::VoteRequest { group, request, pre_vote } = request.into_inner();
        let request = wire::decode_vote(request).map_err(malformed)?;
        let none = || Ok(Response::new(v1::VoteReply::default()));
        let Some(core) = self.network.group(GroupId::from_number(group)) else { return none() };
        let Some(raft) = core.raft() else { return none() };
        if !core.votes.load(Ordering::Relaxed) && !request.leadership_transfer {
            return none();
        }
        let answer = if pre_vote { raft.pre_vote(request).await } else { raft.vote(request).await };
        match answer {
            Ok(reply) => {
                Ok(Response::new(v1::VoteReply { reply: wire::encode_vote_reply(&reply) }))
            }
            Err(_) => none(),
        }
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderReply>, Status> {
        self.admit(&request)?;
        let v1::TransferLeaderRequest { group, request } = request.into_inner();
        let request = wire::decode_transfer(request).map_err(malformed)?;
        let core = self.network.group(GroupId::from_number(group));
        let may_lead = core.as_ref().is_some_and(|core| core.can_lead());
        let refusal = match core.and_then(|core| core.raft()) {
            None => "the group is not open here".to_owned(),
            Some(_) if !may_lead => {
                "the clock of this node is off, or its replica is to be filled".to_owned()
            }
            Some(raft) => match raft.handle_transfer_leader(request).await {
                Ok(Ok(())) => String::new(),
                Ok(Err(refusal)) => refusal.to_string(),
                Err(fatal) => fatal.to_string(),
            },
        };
        Ok(Response::new(v1::TransferLeaderReply { refusal }))
    }

    async fn needs_filling(
        &self,
        request: Request<v1::NeedsFillingRequest>,
    ) -> Result<Response<v1::NeedsFillingReply>, Status> {
        let caller = self.admit(&request)?;
        let v1::NeedsFillingRequest { group, purged_index } = request.into_inner();
        if let Some(core) = self.network.group(GroupId::from_number(group)) {
            core.told_to_fill(caller, purged_index);
        }
        Ok(Response::new(v1::NeedsFillingReply {}))
    }
}

fn malformed(error: crate::raft::types::Malformed) -> Status {
    Status::invalid_argument(error.to_string())
}

/// Hands a stream's appends to their groups until it ends.
async fn receive(
    network: &Network,
    mut frames: Streaming<RaftFrame>,
    replies: mpsc::Sender<RaftReply>,
) -> Result<(), Status> {
    let mut queues: HashMap<u32, mpsc::Sender<RaftAppend>> = HashMap::new();
    while let Some(frame) = frames.message().await? {
        for request in frame.requests {
            let queue = queues.entry(request.group).or_insert_with(|| {
                let (queue, requests) = mpsc::channel(APPEND_QUEUE_LEN);
                let task = serve(network.clone(), requests, replies.clone());
                network.inner.runtime.spawn(Polled::new(task));
                queue
            });
            if queue.send(request).await.is_err() {
                return Err(Status::cancelled("nobody waits for the answers"));
            }
        }
    }
    Ok(())
}

/// Serves one group's appends in order. Ends with the stream, or when its answers are not wanted.
async fn serve(
    network: Network,
    requests: mpsc::Receiver<RaftAppend>,
    replies: mpsc::Sender<RaftReply>,
) {
    let mut answers = ReceiverStream::new(requests)
        .map(|request| append(&network, request))
        .buffered(PIPELINE_LEN);
    while let Some(reply) = answers.next().await {
        if replies.send(reply).await.is_err() {
            return;
        }
    }
}

/// Hands an append to its group. What is polled first is appended first.
pub async fn append(network: &Network, request: RaftAppend) -> RaftReply {
    let RaftAppend { id, group, entries, purge_end } = request;
    let mut reply = RaftReply { id, group, ..RaftReply::default() };
    let Some(core) = network.group(GroupId::from_number(group)) else { return reply };
    reply.persisted_end = core.persisted_end();
    core.purge_end.fetch_max(purge_end, Ordering::Relaxed);
    let is_full = network.inner.is_full.load(Ordering::Relaxed);
    if let Some(result) = hand_over(&core, entries, is_full).await {
        reply.result = result;
    }
    reply
}

async fn hand_over(core: &Arc<Core>, entries: bytes::Bytes, is_full: bool) -> Option<bytes::Bytes> {
    let raft = core.raft()?;
    let request = wire::decode_append(entries)
        .inspect_err(|error| tracing::error!(%error, "refused an append"))
        .ok()?;
    if is_full && !request.entries.is_empty() {
        return None;
    }
    let result = raft.append_entries(request).await.ok()?;
    Some(wire::encode_append_reply(&result))
}
