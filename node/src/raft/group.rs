//! One raft group on this node: the handle that the rest of the node holds.
//!
//! Invariants
//! * an outcome is given only after the entry was synced on a majority and applied here;
//! * a proposal is for one term: a leader that lost it in between appends nothing;
//! * log entries are purged only below what this replica has persisted, and below what every
//!   member has, unless the log is over its budget.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use openraft::{
    ChangeMembers, EmptyNode, Raft, RaftMetrics, ReadPolicy,
    async_runtime::WatchReceiver as _,
    errors::{ClientWriteError, ForwardReason, ForwardToLeader, RaftError},
    raft::ClientWriteResult,
};
use parking_lot::{Mutex, RwLock};
use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    adapter::{Adapter, Persisted},
    codec,
    heard::{self, Heard},
    log::{GroupLog, LogDb},
    machine::{Applied, ApplyPool, Machine, MachineFailure, StateMachine},
    metrics::{Durations, now},
    network::Network,
    runtime::{Polled, RaftRuntime},
    status::GroupStatus,
    supervisor,
    timing::RaftTiming,
    types::{Answer, GroupId, LogId, LogPosition, NodeId, Opaque, TypeConfig},
};
use crate::planted::{Planted, is_planted};

pub(super) type RaftHandle = Raft<TypeConfig, Adapter>;

/// What all groups of a node share.
pub struct RaftNode {
    /// This node's number.
    pub node: NodeId,
    /// The runtime that raft has to itself.
    pub runtime: RaftRuntime,
    /// The node's log.
    pub log: LogDb,
    /// Where state machines run.
    pub pool: ApplyPool,
    /// The way to the other nodes.
    pub network: Network,
}

/// See [`GroupConfig::log_bytes_max`].
pub const LOG_BYTES_MAX: u64 = 1 << 30;

/// How a group is run.
#[derive(Debug, Clone, Copy)]
pub struct GroupConfig {
    /// Which group.
    pub group: GroupId,
    /// Heartbeats and elections; the same on all nodes.
    pub timing: RaftTiming,
    /// How long a proposal or a read waits for its answer. Default 5 s: longer than an election.
    pub deadline: Duration,
    /// Bytes of log beyond which entries are purged although a member lacks them: it must be
    /// filled anew. Default 1 GiB, some hundred million samples.
    pub log_bytes_max: u64,
}

impl GroupConfig {
    /// The defaults for a group.
    pub fn new(group: GroupId) -> Self {
        let (timing, deadline) = (RaftTiming::default(), Duration::from_secs(5));
        Self { group, timing, deadline, log_bytes_max: LOG_BYTES_MAX }
    }
}

/// A replica's part in its group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    /// Not a voter, or not a member yet.
    #[default]
    Learner,
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

/// Who leads, as this replica sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Leadership {
    /// This replica's part.
    pub role: Role,
    /// The newest term it knows.
    pub term: u64,
    /// Who leads that term, if known.
    pub leader: Option<NodeId>,
    /// This replica leads, has applied its first entry of this term, and lately heard a majority:
    /// all that earlier leaders acknowledged is in its state. What it owns as a leader begins here,
    /// and ends where it is cut off.
    pub ready: bool,
}

/// What came of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The entry's name.
    pub position: LogPosition,
    /// What apply said.
    pub data: Bytes,
}

/// Why a proposal has no outcome. Each variant is one thing the proposer does next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was proposed: go to `leader`, or wait for an election when it is `None`.
    #[error("not the leader of this term; {leader:?} may be")]
    NotLeader {
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// It is unknown whether the entry is or will be committed: only repeat what may be repeated.
    #[error("leadership was lost or the deadline passed before the outcome was known")]
    Lost,
    /// Nothing was proposed: the leader hears no majority, or the replica is being reopened. Try
    /// again later.
    #[error("group is stalled")]
    Stalled,
}

/// Why a read cannot be linearizable here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Go to `leader`, or wait for an election when it is `None`.
    #[error("not the leader; {leader:?} may be")]
    NotLeader {
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// No majority confirms the leadership. Try again later.
    #[error("group is stalled")]
    Stalled,
}

/// A step of a membership change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembershipChange {
    /// Sends a node the log without giving it a vote.
    AddLearner(NodeId),
    /// Makes exactly these the voters; each must be a member already.
    SetVoters(BTreeSet<NodeId>),
    /// The same; who voted before and is not among them goes on as a learner.
    SetVotersOfAll(BTreeSet<NodeId>),
    /// Drops a learner.
    RemoveLearner(NodeId),
}

/// Why a membership change did not happen.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// Go to `leader`, or wait for an election when it is `None`.
    #[error("not the leader; {leader:?} may be")]
    NotLeader {
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// Look at the members, then try again or not: it may have happened.
    #[error("outcome of the membership change is unknown")]
    Lost,
    /// Refused as it stands.
    #[error("membership change refused: {0}")]
    Refused(String),
    /// Try again later.
    #[error("group is stalled")]
    Stalled,
}

/// Why a group was not founded.
#[derive(Debug, thiserror::Error)]
pub enum InitializeError {
    /// It has members already: founding happens once.
    #[error("group is founded already")]
    Founded,
    /// Refused as it stands.
    #[error("founding refused: {0}")]
    Refused(String),
    /// Try again later.
    #[error("group is stalled")]
    Stalled,
}

/// Why a group was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenGroupError {
    /// Its log or state machine refuses.
    #[error("open group {group}: {problem}")]
    Refused {
        /// Which group.
        group: GroupId,
        /// What openraft says.
        problem: String,
    },
}

/// What the tasks of one group share.
pub(super) struct Core {
    pub node: NodeId,
    pub config: GroupConfig,
    pub log: GroupLog,
    pub machine: Machine,
    pub network: Network,
    /// `None` while the group is being reopened.
    pub raft: RwLock<Option<RaftHandle>>,
    pub leadership: watch::Sender<Leadership>,
    pub persisted: Persisted,
    /// How far each other member has persisted, as it last said.
    pub peers_persisted: Mutex<BTreeMap<NodeId, u64>>,
    /// Who has answered this leader, and when what they answered was sent.
    pub heard: Heard,
    /// Members that lack purged entries, as this leader found.
    pub cut_off: Mutex<BTreeSet<NodeId>>,
    /// Entries below are persisted by every member: what a leader computes and tells.
    pub purge_end: AtomicU64,
    /// Whether the leader says that this replica lacks entries that were purged, or that what it
    /// holds is wrong.
    pub lacks_entries: watch::Sender<bool>,
    /// Whether what it holds is wrong.
    pub is_wrong: AtomicBool,
    /// Whether votes are given: not before a lease that this replica may have granted is over.
    pub votes: AtomicBool,
    /// Whether this replica may campaign, and take a leadership that is handed to it.
    pub may_lead: AtomicBool,
    pub commit_durations: Durations,
    pub reopenings: AtomicU64,
    pub stalled: AtomicBool,
}

impl Core {
    /// What a group begins with: its place in the cluster, its log, and its state machine with
    /// what that has persisted.
    pub fn new(
        (node, network): (NodeId, Network),
        config: GroupConfig,
        log: GroupLog,
        (machine, persisted): (Machine, Applied),
    ) -> Self {
        Self {
            node,
            config,
            log,
            machine,
            network,
            raft: RwLock::new(None),
            leadership: watch::Sender::new(Leadership::default()),
            persisted: Arc::new(Mutex::new(persisted)),
            peers_persisted: Mutex::new(BTreeMap::new()),
            heard: Heard::default(),
            cut_off: Mutex::new(BTreeSet::new()),
            purge_end: AtomicU64::new(0),
            lacks_entries: watch::Sender::new(false),
            is_wrong: AtomicBool::new(false),
            votes: AtomicBool::new(false),
            may_lead: AtomicBool::new(true),
            commit_durations: Durations::default(),
            reopenings: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
        }
    }

    /// When this replica is known to have led in `term`, see [`Heard::led_at`].
    pub fn led_at(&self, metrics: &RaftMetrics<TypeConfig>, term: u64) -> Option<Instant> {
        let configs = metrics.membership_config.membership().get_joint_config();
        self.heard.led_at(self.node, term, configs)
    }

    pub fn raft(&self) -> Option<RaftHandle> {
        self.raft.read().clone()
    }

    /// Index after the last entry that this replica has persisted.
    pub fn persisted_end(&self) -> u64 {
        self.persisted.lock().position.map_or(0, |position| position.index + 1)
    }
}

/// One raft group on this node. Clones share it; [`Group::close`] ends it.
#[derive(Clone)]
pub struct Group {
    pub(super) core: Arc<Core>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Group {
    /// Opens a group: replays the committed part of its log that the state machine lacks, then
    /// takes part. Needs nothing from the caller's runtime.
    pub async fn open(
        node: &RaftNode,
        config: GroupConfig,
        machine: Box<dyn StateMachine>,
    ) -> Result<Self, OpenGroupError> {
        let persisted = machine.applied();
        let log = node.log.group(config.group);
        log.begin_above(persisted.position).await.map_err(|error| OpenGroupError::Refused {
            group: config.group,
            problem: error.to_string(),
        })?;
        let machine = (node.pool.host(config.group, machine), persisted);
        let core = Core::new((node.node, node.network.clone()), config, log, machine);
        Self::start(core, node.log.failure(), node.runtime.handle()).await
    }

    /// Opens the group that `core` describes, and runs it on `runtime`.
    pub(super) async fn start(
        core: Core,
        log_failure: watch::Receiver<Option<Arc<std::io::Error>>>,
        runtime: &Handle,
    ) -> Result<Self, OpenGroupError> {
        let core = Arc::new(core);
        let group = core.config.group;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (opened, first) = oneshot::channel();
        let task = supervisor::run(core.clone(), log_failure, stop.clone(), opened);
        tasks.spawn_on(Polled::new(task), runtime);
        tasks.close();
        match first.await {
            Ok(Ok(())) => {
                core.network.register(&core);
                Ok(Self { core, stop, tasks })
            }
            Ok(Err(problem)) => Err(OpenGroupError::Refused { group, problem }),
            Err(_) => {
                let problem = "the raft runtime has ended".to_owned();
                Err(OpenGroupError::Refused { group, problem })
            }
        }
    }

    /// Which group.
    pub fn id(&self) -> GroupId {
        self.core.config.group
    }

    /// Founds the group with these voters. Each founder may call it, with the same voters; the
    /// group exists once a majority of them votes.
    pub async fn initialize(&self, voters: &BTreeSet<NodeId>) -> Result<(), InitializeError> {
        use openraft::errors::InitializeError as Refusal;
        let raft = self.core.raft().ok_or(InitializeError::Stalled)?;
        let others = voters.iter().copied().filter(|&voter| voter != self.core.node);
        // The first vote goes out at once: without connections it would be lost, and with it a
        // whole election timeout.
        self.core.network.connect(others).await;
        let members: BTreeMap<NodeId, EmptyNode> =
            voters.iter().map(|&voter| (voter, EmptyNode::new())).collect();
        match raft.initialize(members).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(Refusal::NotAllowed(_))) => Err(InitializeError::Founded),
            Err(RaftError::APIError(refusal)) => Err(InitializeError::Refused(refusal.to_string())),
            Err(RaftError::Fatal(_)) => Err(InitializeError::Stalled),
        }
    }

    /// Who leads, now and from now on.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.core.leadership.subscribe()
    }

    /// Proposes an entry as the leader of `term`. Returns once openraft has it: entries proposed
    /// one after the other are committed in that order. The outcome follows.
    pub async fn propose(&self, term: u64, entry: Bytes) -> Result<Proposal, ProposeError> {
        let raft = self.core.raft().ok_or(ProposeError::Stalled)?;
        let (answer, result) = oneshot::channel();
        let request = raft
            .write(Opaque(entry))
            .with_leader(super::types::CommittedLeaderId::new(term))
            .responder(Answer(answer));
        request.await.map_err(|_| ProposeError::Stalled)?;
        Ok(Proposal {
            result,
            deadline: Box::pin(sleep(self.core.config.deadline)),
            core: self.core.clone(),
            proposed: now(),
        })
    }

    /// Returns once everything acknowledged before the call is in this replica's state: under the
    /// leader's lease if it is fresh, else after asking a majority. Gives the position that the
    /// state covers at least.
    pub async fn read_linearizable(&self) -> Result<LogPosition, ReadError> {
        let raft = self.core.raft().ok_or(ReadError::Stalled)?;
        if is_planted(Planted::ReadOfOwnState) && self.leadership().borrow().role == Role::Leader {
            return self.core.machine.progress().borrow().ok_or(ReadError::Stalled);
        }
        let (started, metrics) = (heard::now(), raft.metrics());
        // What is to be read is named by the leader's own entry or by a later one of its term.
        let led_at =
            |position: &LogId| self.core.led_at(&metrics.borrow_watched(), position.leader_id.term);
        let read = async {
            if let Ok(read) = raft.ensure_linearizable(ReadPolicy::LeaseRead).await
                && led_at(read.log_id())
                    .is_some_and(|at| at.elapsed() < self.core.config.timing.lease())
            {
                return Ok(read);
            }
            let read = raft.ensure_linearizable(ReadPolicy::ReadIndex).await?;
            self.core.heard.led_since(started, || led_at(read.log_id())).await;
            Ok(read)
        };
        let read = async {
            let position = match read.await {
                Ok(position) => LogPosition::from(*position.log_id()),
                Err(RaftError::APIError(error)) => return Err(read_error(error)),
                Err(RaftError::Fatal(_)) => return Err(ReadError::Stalled),
            };
            if is_planted(Planted::ReadBeforeApply) {
                return Ok(position);
            }
            // Openraft has handed the entries over; now they must also be in the state.
            let applied = self.core.machine.wait_until_applied(position.index).await;
            applied.map(|()| position).map_err(|_| ReadError::Stalled)
        };
        timeout(self.core.config.deadline, read).await.unwrap_or(Err(ReadError::Stalled))
    }

    /// Makes one step of a membership change, and waits until it is committed.
    pub async fn change_membership(&self, change: MembershipChange) -> Result<(), MembershipError> {
        let raft = self.core.raft().ok_or(MembershipError::Stalled)?;
        let change = async {
            match change {
                MembershipChange::AddLearner(node) => {
                    // What it had persisted in an earlier life says nothing of this one.
                    self.core.peers_persisted.lock().remove(&node);
                    raft.add_learner(node, EmptyNode::new(), false).await
                }
                MembershipChange::SetVoters(voters) => raft.change_membership(voters, false).await,
                MembershipChange::SetVotersOfAll(voters) => {
                    raft.change_membership(voters, true).await
                }
                MembershipChange::RemoveLearner(node) => {
                    let nodes = BTreeSet::from([node]);
                    raft.change_membership(ChangeMembers::RemoveNodes(nodes), false).await
                }
            }
        };
        match timeout(self.core.config.deadline, change).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(error))) => Err(membership_error(error)),
            Ok(Err(RaftError::Fatal(_))) => Err(MembershipError::Stalled),
            Err(_) => Err(MembershipError::Lost),
        }
    }

    /// Whether this replica must be closed, filled from a checkpoint and opened again: it lacks
    /// entries that the leader has purged, or what it holds is wrong.
    pub fn lacks_entries(&self) -> watch::Receiver<bool> {
        self.core.lacks_entries.subscribe()
    }

    /// Says that what this replica holds is wrong: it must be filled anew, whatever its log has.
    pub fn must_be_filled(&self) {
        self.core.is_wrong.store(true, Ordering::Relaxed);
        self.core.lacks_entries.send_replace(true);
        self.core.let_campaign();
    }

    /// Whether what this replica holds is wrong, and must not be opened again.
    pub fn is_wrong(&self) -> bool {
        self.core.is_wrong.load(Ordering::Relaxed)
    }

    /// The newest members that are part of the state, voters first.
    pub async fn applied_members(&self) -> Result<(Vec<NodeId>, Vec<NodeId>), MachineFailure> {
        let applied = self.core.machine.applied().await?;
        Ok(members_of(&applied.members))
    }

    /// Asks this leader to make `to` the leader. Watch [`Group::leadership`] for the effect.
    pub async fn transfer_leader(&self, to: NodeId) -> Result<(), ProposeError> {
        let raft = self.core.raft().ok_or(ProposeError::Stalled)?;
        if !raft.is_leader() {
            return Err(ProposeError::NotLeader { leader: raft.current_leader().await });
        }
        raft.trigger().transfer_leader(to).await.map_err(|_| ProposeError::Stalled)
    }

    /// Says whether this replica may become the leader. One that is must be asked to hand over.
    pub fn may_lead(&self, may: bool) {
        self.core.may_lead.store(may, Ordering::Relaxed);
        self.core.let_campaign();
    }

    /// Returns once the entry at `index` is in the state.
    pub async fn wait_until_applied(&self, index: u64) -> Result<(), MachineFailure> {
        self.core.machine.wait_until_applied(index).await
    }

    /// Has the state machine write a checkpoint, on its thread; gives what the checkpoint covers.
    pub async fn checkpoint(&self) -> Result<Applied, MachineFailure> {
        self.core.machine.checkpoint().await
    }

    /// Where the state machine stands.
    pub async fn applied(&self) -> Result<Applied, MachineFailure> {
        self.core.machine.applied().await
    }

    /// Says that a checkpoint has reached the disk. Entries that every member has persisted are
    /// purged from here on.
    pub fn persisted(&self, checkpoint: Applied) {
        let mut persisted = self.core.persisted.lock();
        if checkpoint.position > persisted.position {
            *persisted = checkpoint;
        }
    }

    /// Bytes of the log above its purge point, to about a megabyte, and how many there may be.
    pub fn log_bytes(&self) -> (u64, u64) {
        (self.core.log.bytes(), self.core.config.log_bytes_max)
    }

    /// How the group is doing.
    pub fn status(&self) -> GroupStatus {
        GroupStatus::of(&self.core)
    }

    /// How long proposals took from being proposed to their outcome.
    pub fn commit_durations(&self) -> &Durations {
        &self.core.commit_durations
    }

    /// Takes the replica out of its group's work. Proposals without an outcome are lost; what was
    /// acknowledged is in the log.
    pub async fn close(&self) {
        self.core.network.unregister(self.core.config.group);
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

/// Voters and learners, of a [`Command::Members`](super::Command::Members)' bytes.
fn members_of(members: &Bytes) -> (Vec<NodeId>, Vec<NodeId>) {
    let Ok(stored) = codec::decode_stored_membership(members) else {
        return (Vec::new(), Vec::new());
    };
    let membership = stored.membership();
    (membership.voter_ids().collect(), membership.learner_ids().collect())
}

fn leader_of(forward: &ForwardToLeader<TypeConfig>) -> Option<NodeId> {
    forward.leader_id
}

fn read_error(error: openraft::errors::LinearizableReadError<TypeConfig>) -> ReadError {
    use openraft::errors::LinearizableReadError as Error;
    match error {
        Error::ForwardToLeader(forward) => ReadError::NotLeader { leader: leader_of(&forward) },
        Error::QuorumNotEnough(_) => ReadError::Stalled,
    }
}

fn propose_error(error: ClientWriteError<TypeConfig>) -> ProposeError {
    match error {
        ClientWriteError::ForwardToLeader(forward) => match forward.reason {
            ForwardReason::LeaseExpired => ProposeError::Stalled,
            ForwardReason::NotLeader | ForwardReason::LeadershipTransfer => {
                ProposeError::NotLeader { leader: leader_of(&forward) }
            }
        },
        ClientWriteError::LogEntryDiscarded(_)
        | ClientWriteError::ChangeMembershipError(_)
        | ClientWriteError::PreconditionFailed(_) => ProposeError::Lost,
    }
}

fn membership_error(error: ClientWriteError<TypeConfig>) -> MembershipError {
    match error {
        ClientWriteError::ForwardToLeader(forward) => {
            MembershipError::NotLeader { leader: leader_of(&forward) }
        }
        ClientWriteError::LogEntryDiscarded(_) => MembershipError::Lost,
        refused => MembershipError::Refused(refused.to_string()),
    }
}

/// A proposed entry whose outcome is not known yet. Dropping it does not take the entry back.
pub struct Proposal {
    result: oneshot::Receiver<ClientWriteResult<TypeConfig>>,
    deadline: Pin<Box<Sleep>>,
    core: Arc<Core>,
    proposed: std::time::Instant,
}

impl Future for Proposal {
    type Output = Result<Outcome, ProposeError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match Pin::new(&mut self.result).poll(context) {
            Poll::Ready(Ok(Ok(response))) => {
                self.core.commit_durations.record(self.proposed.elapsed());
                let position = response.log_id.into();
                Poll::Ready(Ok(Outcome { position, data: response.data.0 }))
            }
            Poll::Ready(Ok(Err(error))) => Poll::Ready(Err(propose_error(error))),
            // The core ended with the answer: the entry may be in the log.
            Poll::Ready(Err(_)) => Poll::Ready(Err(ProposeError::Lost)),
            Poll::Pending => self.deadline.as_mut().poll(context).map(|()| Err(ProposeError::Lost)),
        }
    }
}

impl Core {
    /// Tells openraft whether to campaign: only where votes are given, too, and this replica may.
    pub fn let_campaign(&self) {
        if let Some(raft) = self.raft() {
            let may = self.votes.load(Ordering::Relaxed) && self.can_lead();
            raft.runtime_config().elect(may);
        }
    }

    /// Whether this replica may lead: its clock is right, and so is what it holds.
    pub fn can_lead(&self) -> bool {
        self.may_lead.load(Ordering::Relaxed) && !*self.lacks_entries.borrow()
    }

    /// Takes note that `leader` has purged entries that this replica lacks.
    pub fn told_to_fill(&self, leader: NodeId, purged_index: u64) {
        let reaches = |at: Option<LogPosition>| at.is_some_and(|at| at.index >= purged_index);
        let has = reaches(*self.machine.progress().borrow()) || reaches(self.log.last());
        if !has && !self.lacks_entries.send_replace(true) {
            let group = self.config.group;
            tracing::warn!(%group, leader, purged_index, "this replica lacks entries and is to be filled");
        }
    }

    pub fn count_reopening(&self) {
        self.reopenings.fetch_add(1, Ordering::Relaxed);
    }
}
