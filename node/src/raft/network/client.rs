//! A peer as one group's core sees it.

use std::{
    future::Future,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use futures_util::{Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use narthex_proto::internal::v1::{self, RaftAppend, RaftReply};
use openraft::{
    EmptyNode, OptionalSend,
    alias::{SnapshotOf, VoteOf},
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::{
        Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption,
        RaftNetworkFactory,
    },
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
        TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{
    Network,
    held::{COMMIT_PAUSE, hold_commits},
    link::{Link, LinkError},
    wire,
};
use crate::raft::{
    adapter::Manifest,
    group::Core,
    heard,
    types::{LogId, Malformed, NodeId, TypeConfig},
};

/// Appends of one group to one peer that may be unanswered: enough to keep a link busy over a
/// round trip and a sync.
const PIPELINE_LEN: usize = 64;

/// Until an append is answered, sync included. The slowest sync seen took 50 ms; beyond this the
/// peer hangs, and the append is sent again.
const APPEND_DEADLINE: Duration = Duration::from_secs(3);

/// Pauses before a peer that was unreachable is tried again. Short, so that a restarted peer is
/// back before a second has passed; a refused connection costs little.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_LAST: Duration = Duration::from_millis(500);

/// Makes the clients of one group.
pub struct PeerFactory {
    network: Network,
    core: Weak<Core>,
}

impl PeerFactory {
    pub fn new(network: Network, core: Weak<Core>) -> Self {
        Self { network, core }
    }
}

impl RaftNetworkFactory<TypeConfig> for PeerFactory {
    type Network = PeerClient;

    async fn new_client(&mut self, peer: NodeId, _: &EmptyNode) -> PeerClient {
        PeerClient { peer, link: self.network.link(peer), core: self.core.clone() }
    }
}

/// One group's way to one peer.
#[derive(Clone)]
pub struct PeerClient {
    peer: NodeId,
    link: Link,
    core: Weak<Core>,
}

type CallError = RPCError<TypeConfig>;

fn unreachable(error: &(impl std::error::Error + 'static)) -> CallError {
    RPCError::Unreachable(Unreachable::new(error))
}

/// An append on its way.
struct Sent {
    at: Instant,
    term: u64,
    answer: oneshot::Receiver<RaftReply>,
    prev: Option<LogId>,
    last: Option<LogId>,
}

impl PeerClient {
    fn core(&self) -> Result<Arc<Core>, CallError> {
        self.core.upgrade().ok_or_else(|| unreachable(&LinkError::Broken(self.peer)))
    }

    async fn send(&self, request: AppendEntriesRequest<TypeConfig>) -> Result<Sent, CallError> {
        let core = self.core()?;
        let (prev, term) = (request.prev_log_id, request.vote.leader_id.term);
        let last = request.entries.last().map(|entry| entry.log_id).or(prev);
        let message = RaftAppend {
            id: 0,
            group: core.config.group.number(),
            entries: wire::encode_append(&request),
            purge_end: core.purge_end.load(Ordering::Relaxed),
        };
        let at = heard::now();
        let answer = self.link.append(message).await.map_err(|error| unreachable(&error))?;
        Ok(Sent { at, term, answer, prev, last })
    }

    async fn receive(
        &self,
        sent: Result<Sent, CallError>,
    ) -> Result<StreamAppendResult<TypeConfig>, CallError> {
        let Sent { at, term, answer, prev, last } = sent?;
        let reply = match timeout(APPEND_DEADLINE, answer).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => return Err(unreachable(&LinkError::Broken(self.peer))),
            Err(_) => return Err(unreachable(&LinkError::Deadline(self.peer))),
        };
        if reply.result.is_empty() {
            return Err(unreachable(&NotOpen(self.peer)));
        }
        let core = self.core()?;
        core.peer_persisted(self.peer, reply.persisted_end);
        let result =
            wire::decode_append_reply(reply.result).map_err(|error| unreachable(&error))?;
        if result.is_conflict() && prev.is_none() {
            let problem = "a conflict with the beginning of the log";
            return Err(unreachable(&Malformed { what: "raft message", problem }));
        }
        if !matches!(result, AppendEntriesResponse::HigherVote(_)) {
            core.heard.note(self.peer, term, at);
        }
        if last > prev && !result.is_conflict() {
            core.cut_off.lock().remove(&self.peer);
        }
        Ok(result.into_stream_result(prev, last))
    }

    async fn ask_vote(
        &self,
        request: VoteRequest<TypeConfig>,
        pre_vote: bool,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, CallError> {
        let group = self.core()?.config.group.number();
        let message = v1::VoteRequest { group, request: wire::encode_vote(&request), pre_vote };
        let mut client = self.link.client().map_err(|error| unreachable(&error))?;
        let call = client.vote(self.link.request(message));
        let reply = self.within(option, call).await?.reply;
        if reply.is_empty() {
            return Err(unreachable(&NotOpen(self.peer)));
        }
        wire::decode_vote_reply(reply).map_err(|error| unreachable(&error))
    }

    async fn within<T>(
        &self,
        option: RPCOption,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, CallError> {
        match timeout(option.soft_ttl(), call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(unreachable(&self.link.failed(status))),
            Err(_) => Err(unreachable(&LinkError::Deadline(self.peer))),
        }
    }
}

/// The peer is there, the group is not.
#[derive(Debug, thiserror::Error)]
#[error("the group is not open on node {0}")]
struct NotOpen(NodeId);

/// Openraft sends no snapshots: it waits until the peer has filled itself.
#[derive(Debug, thiserror::Error)]
#[error("node {0} lacks purged entries and has not been filled yet")]
struct NeedsCheckpoint(NodeId);

impl Core {
    fn peer_persisted(&self, peer: NodeId, end: u64) {
        let mut peers = self.peers_persisted.lock();
        let known = peers.entry(peer).or_default();
        *known = end.max(*known);
    }
}

impl NetStreamAppend<TypeConfig> for PeerClient {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, CallError>>, CallError>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let client = &*self;
        let answers = hold_commits(input, COMMIT_PAUSE)
            .then(move |request| client.send(request))
            .map(move |sent| client.receive(sent))
            .buffered(PIPELINE_LEN);
        Box::pin(async move { Ok(answers.boxed()) })
    }
}

impl NetVote<TypeConfig> for PeerClient {
    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, CallError> {
        self.ask_vote(request, false, option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, CallError> {
        self.ask_vote(request, true, option).await
    }
}

impl NetTransferLeader<TypeConfig> for PeerClient {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, CallError> {
        let group = self.core()?.config.group.number();
        let request = wire::encode_transfer(&request);
        let message = v1::TransferLeaderRequest { group, request };
        let mut client = self.link.client().map_err(|error| unreachable(&error))?;
        let call = client.transfer_leader(self.link.request(message));
        let refusal = self.within(option, call).await?.refusal;
        if refusal.is_empty() {
            return Ok(Ok(()));
        }
        Err(RPCError::Unreachable(Unreachable::from_string(refusal)))
    }
}

impl NetSnapshot<TypeConfig> for PeerClient {
    type SnapshotData = Manifest;

    /// Sends nothing. A peer that was told that it lacks entries fetches a checkpoint by itself;
    /// once it has persisted what `snapshot` covers, openraft goes on as if that had arrived.
    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, Manifest>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let core = self.core()?;
        let index = snapshot.meta.last_log_id.map_or(0, |last| last.index);
        let persisted_end = core.peers_persisted.lock().get(&self.peer).copied();
        if persisted_end.is_some_and(|end| end > index) {
            core.cut_off.lock().remove(&self.peer);
            return Ok(SnapshotResponse::new(vote));
        }
        if core.cut_off.lock().insert(self.peer) {
            let group = core.config.group;
            tracing::warn!(%group, peer = self.peer, "replica lacks purged entries and is to be filled");
        }
        let group = core.config.group.number();
        let message = v1::NeedsFillingRequest { group, purged_index: index };
        let mut client = self.link.client().map_err(|error| unreachable(&error))?;
        let call = client.needs_filling(self.link.request(message));
        self.within(option, call).await?;
        Err(StreamingError::Unreachable(Unreachable::new(&NeedsCheckpoint(self.peer))))
    }
}

impl NetBackoff<TypeConfig> for PeerClient {
    fn backoff(&self) -> Option<Backoff> {
        let doubling = |pause: &Duration| Some((*pause * 2).min(BACKOFF_LAST));
        Some(Backoff::new(std::iter::successors(Some(BACKOFF_FIRST), doubling)))
    }
}
