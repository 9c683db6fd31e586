//! Talks to shards wherever they are: knows the replicas from cluster state, finds the leader,
//! and finds the next one after a failure.
//!
//! Invariants
//! * a call is sent to one node at a time, never to two at once;
//! * a call ends by its deadline, with an error that names the shard;
//! * an append whose outcome is unknown is sent again: appending a sample twice is harmless.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use narthex_cluster::{ClusterState, NodeId, ShardId};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};

use crate::{
    connect::Connections,
    internal::v1::{
        AppendRequest, AppendResponse, Appended, CardinalityPart, CardinalityRequest,
        ChangesRequest, ChangesResponse, Consistency, DeleteRequest, DeleteResponse, Deleted,
        DigestRequest, DigestResponse, ExemplarsPart, ForwardRequest, FragmentPart,
        FragmentRequest, LabelValuesRequest, MetadataPart, MetadataRequest, NamesPart,
        SelectRequest, SeriesPart, append_response, delete_response, fragment_part,
    },
    service::{Answers, NodeService, RemoteNode},
};

/// Pause before a shard that has no leader is asked again: an election takes over a second, and
/// a question is cheap.
const RETRY_PAUSE: Duration = Duration::from_millis(25);
/// How long a leader is looked for, or a replica waited for, where an old state will do, too.
const LEADER_PATIENCE: Duration = Duration::from_secs(2);

/// How long a call passes over a node that it could not reach, whoever names it as the leader:
/// others do until they have elected another one, and a host that is gone costs an attempt of two
/// seconds each time. As long as an election may take.
const UNREACHABLE_PAUSE: Duration = Duration::from_secs(2);

/// Why a shard gave no answer. Each variant is one thing its caller tells the user.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// Nobody leads the shard, or its leader could not be reached, until the deadline passed.
    #[error("shard {shard} is unavailable: {reason}")]
    Unavailable {
        /// Which shard.
        shard: ShardId,
        /// The last failure.
        reason: String,
    },
    /// Its leader has too much under way: send again after the pause.
    #[error("shard {shard} is busy: {reason}")]
    Busy {
        /// Which shard.
        shard: ShardId,
        /// How long to wait.
        retry_after: Duration,
        /// What is full.
        reason: String,
    },
    /// Send the batch again with labels instead of numbers.
    #[error("shard {shard} does not know a series by its number")]
    UnknownSeries {
        /// Which shard.
        shard: ShardId,
    },
    /// The node refused the call itself: it will be refused every time.
    #[error("shard {shard} refused the request")]
    Refused {
        /// Which shard.
        shard: ShardId,
        /// What it said.
        #[source]
        status: Box<Status>,
    },
}

/// What a node said to a call that only a shard's leader answers.
enum Reply<T> {
    Answer(T),
    NotLeader(Option<NodeId>),
    Failed(Status),
    Busy(Duration, String),
}

/// A question under way. Boxed, since the compiler cannot see that an async closure's future may
/// move between threads.
type Asked<T> = Pin<Box<dyn Future<Output = Reply<T>> + Send>>;

/// Follows cluster state and finds leaders. Cloning shares what was learnt.
#[derive(Clone)]
pub struct ShardClient {
    state: watch::Receiver<Arc<ClusterState>>,
    connections: Connections,
    local: Option<(NodeId, Arc<dyn NodeService>)>,
    leaders: Arc<Mutex<HashMap<ShardId, NodeId>>>,
}

impl ShardClient {
    /// A client of the cluster that `state` describes. Calls to `local`, the node in this
    /// process, need no connection.
    pub fn new(
        state: watch::Receiver<Arc<ClusterState>>,
        connections: Connections,
        local: Option<(NodeId, Arc<dyn NodeService>)>,
    ) -> Self {
        Self { state, connections, local, leaders: Arc::default() }
    }

    /// Cluster state as this process knows it.
    pub fn state(&self) -> Arc<ClusterState> {
        self.state.borrow().clone()
    }

    /// Follows cluster state.
    pub fn watch_state(&self) -> watch::Receiver<Arc<ClusterState>> {
        self.state.clone()
    }

    /// Any member, to ask what every node answers.
    pub fn node(&self, node: NodeId) -> Result<Arc<dyn NodeService>, Status> {
        if let Some((id, service)) = &self.local
            && *id == node
        {
            return Ok(service.clone());
        }
        let address = self.address(node)?;
        match self.connections.node(Some(node), &address) {
            Ok(remote) => Ok(Arc::new(remote)),
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }

    /// Another member, by a connection of its own: what comes by it is so much that it would delay
    /// all else.
    pub fn bulk(&self, node: NodeId) -> Result<RemoteNode, Status> {
        let address = self.address(node)?;
        let made = self.connections.bulk(node, &address);
        made.map_err(|error| Status::unavailable(error.to_string()))
    }

    fn address(&self, node: NodeId) -> Result<String, Status> {
        let state = self.state.borrow().clone();
        let member = state.member(node);
        let member =
            member.ok_or_else(|| Status::unavailable(format!("node {node} is not a member")))?;
        Ok(member.addresses.cluster.clone())
    }

    /// Appends a batch and returns once the shard has it, all but what it refused by name.
    pub async fn append(
        &self,
        shard: ShardId,
        request: AppendRequest,
        deadline: Instant,
    ) -> Result<Appended, ShardError> {
        self.ask_leader(shard, deadline, move |node: Arc<dyn NodeService>| {
            let request = request.clone();
            Box::pin(async move { appended(node.append(request).await) })
        })
        .await?
        .ok_or(ShardError::UnknownSeries { shard })
    }

    /// Appends a part of another shard's scrape and returns once the shard has it.
    pub async fn forward(
        &self,
        shard: ShardId,
        request: ForwardRequest,
        deadline: Instant,
    ) -> Result<Appended, ShardError> {
        self.ask_leader(shard, deadline, move |node: Arc<dyn NodeService>| {
            let request = request.clone();
            Box::pin(async move { appended(node.forward(request).await) })
        })
        .await?
        .ok_or(ShardError::UnknownSeries { shard })
    }

    /// Deletes what matching series have in a range; how many series that were.
    pub async fn delete(
        &self,
        shard: ShardId,
        request: DeleteRequest,
        deadline: Instant,
    ) -> Result<Deleted, ShardError> {
        self.ask_leader(shard, deadline, move |node: Arc<dyn NodeService>| {
            let request = request.clone();
            Box::pin(async move { deleted(node.delete(request).await) })
        })
        .await
    }

    /// Starts evaluating a fragment; the answers after the first are the caller's to read. Where
    /// an old state will do, too, any replica is asked once no leader has answered for a moment.
    pub async fn fragment(
        &self,
        shard: ShardId,
        request: FragmentRequest,
        deadline: Instant,
    ) -> Result<Answers<FragmentPart>, ShardError> {
        match request.consistency() {
            Consistency::Linearizable => {
                return self.fragment_of_leader(shard, request, deadline).await;
            }
            Consistency::Follower => {
                let reason = "no follower has caught up".to_owned();
                let leader = self.candidate(shard, 0);
                let answers = self.fragment_of_any(shard, request, (deadline, leader)).await;
                return answers.ok_or(ShardError::Unavailable { shard, reason });
            }
            Consistency::Bounded => {}
        }
        let current =
            FragmentRequest { consistency: Consistency::Linearizable.into(), ..request.clone() };
        let patience = deadline.min(now() + LEADER_PATIENCE);
        match self.fragment_of_leader(shard, current, patience).await {
            Err(ShardError::Unavailable { reason, .. }) => {
                let old = self.fragment_of_any(shard, request, (deadline, None)).await;
                old.ok_or(ShardError::Unavailable { shard, reason })
            }
            answered => answered,
        }
    }

    /// What the first replica but `passed` says that says anything.
    async fn fragment_of_any(
        &self,
        shard: ShardId,
        request: FragmentRequest,
        (deadline, passed): (Instant, Option<NodeId>),
    ) -> Option<Answers<FragmentPart>> {
        let state = self.state();
        let replicas = state.placement(shard)?.replicas.clone();
        for replica in replicas.into_iter().filter(|replica| Some(*replica) != passed) {
            let asked = async {
                let answers = self.node(replica)?.fragment(request.clone()).await;
                match first_of(answers, |_| None).await {
                    Reply::Answer(answers) => Ok(answers),
                    _ => Err(Status::unavailable("no answer")),
                }
            };
            let until = deadline.min(now() + LEADER_PATIENCE);
            if let Ok(Ok(answers)) = tokio::time::timeout_at(until, asked).await {
                return Some(answers);
            }
        }
        None
    }

    async fn fragment_of_leader(
        &self,
        shard: ShardId,
        request: FragmentRequest,
        deadline: Instant,
    ) -> Result<Answers<FragmentPart>, ShardError> {
        self.ask_leader(shard, deadline, move |node: Arc<dyn NodeService>| {
            let request = request.clone();
            Box::pin(async move {
                let answers = node.fragment(request).await;
                first_of(answers, |part| match &part.part {
                    Some(fragment_part::Part::NotLeader(to)) => Some(node_id(to.leader_node_id)),
                    _ => None,
                })
                .await
            })
        })
        .await
    }

    /// Label sets of matching series.
    pub async fn series(
        &self,
        shard: ShardId,
        request: SelectRequest,
        deadline: Instant,
    ) -> Result<Answers<SeriesPart>, ShardError> {
        self.ask_leader(shard, deadline, move |node: Arc<dyn NodeService>| {
            let request = request.clone();
            Box::pin(async move {
                let answers = node.series(request).await;
                first_of(answers, |part| part.not_leader.map(|to| node_id(to.leader_node_id))).await
            })
        })
        .await
    }

    /// Exemplars of matching series.
    pub async fn exemplars(
        &self,
        shard: ShardId,
        request: SelectRequest,
        deadline: Instant,
    ) -> Result<Answers<ExemplarsPart>, ShardError> {
        self.ask_leader(shard, deadline, move |node: Arc<dyn NodeService>| {
            let request = request.clone();
            Box::pin(async move {
                let answers = node.exemplars(request).await;
                first_of(answers, |part| part.not_leader.map(|to| node_id(to.leader_node_id))).await
            })
        })
        .await
    }

    /// What is known of metric families.
    pub async fn metadata(
        &self,
        shard: ShardId,
        request: MetadataRequest,
        deadline: Instant,
    ) -> Result<Answers<MetadataPart>, ShardError> {
        self.ask_leader(shard, deadline, move |node: Arc<dyn NodeService>| {
            let request = request.clone();
            Box::pin(async move {
                let answers = node.metadata(request).await;
                first_of(answers, |part| part.not_leader.map(|to| node_id(to.leader_node_id))).await
            })
        })
        .await
    }

    /// Which labels the series of a time range have.
    pub async fn cardinality(
        &self,
        shard: ShardId,
        request: CardinalityRequest,
        deadline: Instant,
    ) -> Result<Answers<CardinalityPart>, ShardError> {
        self.ask_leader(shard, deadline, move |node: Arc<dyn NodeService>| {
            Box::pin(async move {
                let answers = node.cardinality(request).await;
                first_of(answers, |part| part.not_leader.map(|to| node_id(to.leader_node_id))).await
            })
        })
        .await
    }

    /// How far back in time the shard has changed.
    pub async fn changes(
        &self,
        shard: ShardId,
        request: ChangesRequest,
        deadline: Instant,
    ) -> Result<ChangesResponse, ShardError> {
        self.ask_leader(shard, deadline, move |node: Arc<dyn NodeService>| {
            Box::pin(async move {
                match node.changes(request).await {
                    Ok(ChangesResponse { not_leader: Some(to), .. }) => {
                        Reply::NotLeader(node_id(to.leader_node_id))
                    }
                    Ok(changes) => Reply::Answer(changes),
                    Err(status) => Reply::Failed(status),
                }
            })
        })
        .await
    }

    /// Label names of matching series.
    pub async fn label_names(
        &self,
        shard: ShardId,
        request: SelectRequest,
        deadline: Instant,
    ) -> Result<Vec<String>, ShardError> {
        self.ask_leader(shard, deadline, move |node: Arc<dyn NodeService>| {
            let request = request.clone();
            Box::pin(async move { names(node.label_names(request).await).await })
        })
        .await
    }

    /// Values of one label on matching series.
    pub async fn label_values(
        &self,
        shard: ShardId,
        request: LabelValuesRequest,
        deadline: Instant,
    ) -> Result<Vec<String>, ShardError> {
        self.ask_leader(shard, deadline, move |node: Arc<dyn NodeService>| {
            let request = request.clone();
            Box::pin(async move { names(node.label_values(request).await).await })
        })
        .await
    }

    /// Has all replicas digest what they hold; the leader's own digest, which names the index.
    pub async fn digest(
        &self,
        shard: ShardId,
        deadline: Instant,
    ) -> Result<DigestResponse, ShardError> {
        self.ask_leader(shard, deadline, move |node: Arc<dyn NodeService>| {
            let request = DigestRequest { shard_id: shard.0, index: 0 };
            Box::pin(async move {
                match node.digest(request).await {
                    Ok(DigestResponse { not_leader: Some(to), .. }) => {
                        Reply::NotLeader(node_id(to.leader_node_id))
                    }
                    Ok(digest) => Reply::Answer(digest),
                    Err(status) => Reply::Failed(status),
                }
            })
        })
        .await
    }

    /// Asks the leader that is believed to lead, then whom it names, then the replicas in turn,
    /// until one answers or `deadline` passes.
    async fn ask_leader<T>(
        &self,
        shard: ShardId,
        deadline: Instant,
        ask: impl Fn(Arc<dyn NodeService>) -> Asked<T>,
    ) -> Result<T, ShardError> {
        let mut hint = None;
        let mut unreachable = None;
        let mut reason = "no member hosts it".to_owned();
        for turn in 0.. {
            let replica = hint.take().or_else(|| self.candidate(shard, turn));
            let asked = replica.filter(|replica| !is_passed_over(*replica, unreachable));
            let reply = match asked.map(|replica| (replica, self.node(replica))) {
                Some((replica, Ok(node))) => {
                    let reply = self.unless_deposed(shard, replica, ask(node));
                    tokio::time::timeout_at(deadline, reply).await
                }
                Some((_, Err(status))) => Ok(Reply::Failed(status)),
                None => Ok(Reply::NotLeader(None)),
            };
            match reply.unwrap_or_else(|_| Reply::Failed(Status::deadline_exceeded("timed out"))) {
                Reply::Answer(answer) => {
                    self.believe(shard, replica);
                    return Ok(answer);
                }
                Reply::Busy(retry_after, reason) => {
                    return Err(ShardError::Busy { shard, retry_after, reason });
                }
                Reply::NotLeader(named) => {
                    self.believe(shard, None);
                    hint = named.filter(|named| Some(*named) != replica);
                    reason = "it has no leader".to_owned();
                }
                // It leads and needs room: asking again at once makes none. Once it has handed over
                // it names who leads.
                Reply::Failed(status) if status.code() == Code::ResourceExhausted => {
                    let reason = status.message().to_owned();
                    return Err(ShardError::Unavailable { shard, reason });
                }
                Reply::Failed(status) if is_final(&status) => {
                    return Err(ShardError::Refused { shard, status: Box::new(status) });
                }
                Reply::Failed(status) => {
                    self.believe(shard, None);
                    if is_unreachable(&status) && self.has_others(shard) {
                        unreachable = replica.map(|replica| (replica, now()));
                    }
                    reason = match replica {
                        Some(replica) => format!("node {replica}: {}", status.message()),
                        None => status.message().to_owned(),
                    };
                }
            }
            let now = now();
            if now >= deadline {
                break;
            }
            if hint.is_none() {
                sleep_until((now + RETRY_PAUSE).min(deadline)).await;
            }
        }
        Err(ShardError::Unavailable { shard, reason })
    }

    /// The answer of a replica, or who leads instead of it by now.
    async fn unless_deposed<T>(
        &self,
        shard: ShardId,
        replica: NodeId,
        asked: Asked<T>,
    ) -> Reply<T> {
        if !self.has_others(shard) {
            return asked.await;
        }
        tokio::select! {
            biased;
            reply = asked => reply,
            leader = self.another_leader(shard, replica) => Reply::NotLeader(Some(leader)),
        }
    }

    /// Whom to ask in the given turn: the believed leader first, then the replicas in order.
    fn candidate(&self, shard: ShardId, turn: usize) -> Option<NodeId> {
        let believed = {
            let leaders = self.leaders.lock().unwrap_or_else(PoisonError::into_inner);
            leaders.get(&shard).copied()
        };
        believed.or_else(|| {
            let state = self.state.borrow();
            let replicas: Vec<NodeId> = state.placement(shard)?.nodes().collect();
            replicas.get(turn % replicas.len().max(1)).copied()
        })
    }

    fn has_others(&self, shard: ShardId) -> bool {
        let state = self.state.borrow();
        state.placement(shard).is_some_and(|placement| placement.nodes().count() > 1)
    }

    fn believe(&self, shard: ShardId, leader: Option<NodeId>) {
        let mut leaders = self.leaders.lock().unwrap_or_else(PoisonError::into_inner);
        match leader {
            Some(leader) => leaders.insert(shard, leader),
            None => leaders.remove(&shard),
        };
    }
}

/// Puts the first answer back in front of a stream, unless it says that the node does not lead.
async fn first_of<T: Send + 'static>(
    answers: Result<Answers<T>, Status>,
    not_leader: impl Fn(&T) -> Option<Option<NodeId>>,
) -> Reply<Answers<T>> {
    let mut answers = match answers {
        Ok(answers) => answers,
        Err(status) => return Reply::Failed(status),
    };
    match answers.next().await {
        None => Reply::Answer(answers),
        Some(Err(status)) => Reply::Failed(status),
        Some(Ok(first)) => match not_leader(&first) {
            Some(named) => Reply::NotLeader(named),
            None => Reply::Answer(Box::pin(tokio_stream::once(Ok(first)).chain(answers))),
        },
    }
}

/// `None` where the shard does not know a series by its number.
fn appended(response: Result<AppendResponse, Status>) -> Reply<Option<Appended>> {
    use append_response::Result as Outcome;
    let response = match response {
        Ok(response) => response,
        Err(status) => return Reply::Failed(status),
    };
    match response.result {
        Some(Outcome::Appended(appended)) => Reply::Answer(Some(appended)),
        Some(Outcome::UnknownSeries(_)) => Reply::Answer(None),
        Some(Outcome::NotLeader(to)) => Reply::NotLeader(node_id(to.leader_node_id)),
        Some(Outcome::Busy(busy)) => {
            Reply::Busy(Duration::from_millis(busy.retry_after_ms), busy.reason)
        }
        Some(Outcome::Unknown(unknown)) => Reply::Failed(Status::unavailable(unknown.reason)),
        None => Reply::Failed(Status::unavailable("empty answer")),
    }
}

fn deleted(response: Result<DeleteResponse, Status>) -> Reply<Deleted> {
    use delete_response::Result as Outcome;
    let response = match response {
        Ok(response) => response,
        Err(status) => return Reply::Failed(status),
    };
    match response.result {
        Some(Outcome::Deleted(deleted)) => Reply::Answer(deleted),
        Some(Outcome::NotLeader(to)) => Reply::NotLeader(node_id(to.leader_node_id)),
        Some(Outcome::Busy(busy)) => {
            Reply::Busy(Duration::from_millis(busy.retry_after_ms), busy.reason)
        }
        Some(Outcome::Unknown(unknown)) => Reply::Failed(Status::unavailable(unknown.reason)),
        None => Reply::Failed(Status::unavailable("empty answer")),
    }
}

/// All names of all parts.
async fn names(answers: Result<Answers<NamesPart>, Status>) -> Reply<Vec<String>> {
    let mut answers = match answers {
        Ok(answers) => answers,
        Err(status) => return Reply::Failed(status),
    };
    let mut names = Vec::new();
    while let Some(part) = answers.next().await {
        match part {
            Ok(NamesPart { not_leader: Some(to), .. }) => {
                return Reply::NotLeader(node_id(to.leader_node_id));
            }
            Ok(part) => names.extend(part.names),
            Err(status) => return Reply::Failed(status),
        }
    }
    Reply::Answer(names)
}

/// Whether asking another node, or the same one again, cannot help.
fn is_final(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument | Code::FailedPrecondition | Code::Unimplemented | Code::OutOfRange
    )
}

/// Whether the connection failed, rather than the node said so.
fn is_unreachable(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

fn is_passed_over(node: NodeId, unreachable: Option<(NodeId, Instant)>) -> bool {
    unreachable.is_some_and(|(gone, at)| gone == node && now() < at + UNREACHABLE_PAUSE)
}

fn node_id(id: u64) -> Option<NodeId> {
    (id != 0).then_some(NodeId(id))
}

#[expect(clippy::disallowed_methods, reason = "deadlines of network calls are in tokio's time")]
fn now() -> Instant {
    Instant::now()
}

/// A batch for `shard`, as routed by `revision` of cluster state.
pub fn append_request(shard: ShardId, revision: u64, batch: Bytes) -> AppendRequest {
    AppendRequest { tenant: 0, shard_id: shard.0, revision, batch }
}
