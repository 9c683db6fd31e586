//! The state of the cluster as nodes report it: who is there, who leads, who lags.
//!
//! Every node is asked what it hosts; the answers are joined with cluster state and kept for a
//! second, so that watching the page costs nodes nothing to speak of.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use narthex_cluster::{ClusterState, Epoch, Member, MemberState, Move, NodeId, ShardId};
use narthex_model::Timestamp;
use narthex_proto::internal::v1::{DecidedMove, MovesResponse, NodeStatusResponse, ReplicaStatus};
use narthex_web::Clock;
use tokio::sync::Mutex;
use tonic::Status;

use crate::cluster::Cluster;

/// How long an answer is good for.
const KEPT: Duration = Duration::from_secs(1);
/// How long a node may take to answer before it counts as unreachable.
const ANSWER_TIME: Duration = Duration::from_secs(2);

const NO_LEADER: &str = "no node that is known leads the control group";

/// The cluster at a moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClusterStatus {
    /// UUID, or empty before the cluster is founded.
    pub cluster_id: String,
    /// Of cluster state.
    pub revision: u64,
    /// Replicas each shard should have.
    pub replication_factor: u8,
    /// By id.
    pub nodes: Vec<NodeRow>,
    /// The control group.
    pub control: GroupRow,
    /// Shards by id.
    pub shards: Vec<GroupRow>,
    /// Which shards samples fall to, by the times of samples.
    pub ring: Vec<EpochRow>,
    /// What is moved.
    pub moves: MovesRow,
}

/// A time for whose samples the ring is the same.
#[derive(Debug, Clone, PartialEq)]
pub struct EpochRow {
    /// Of the first sample; the first epoch has no beginning.
    pub begins: Timestamp,
    /// Whether samples of now belong to it.
    pub is_current: bool,
    /// The part of all keys that falls to each shard.
    pub shares: BTreeMap<ShardId, f64>,
}

/// Replicas that are moved, and what was decided about them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MovesRow {
    /// Why it is not known what was decided.
    pub error: Option<String>,
    /// Why nothing is moved now; empty while something is.
    pub state: String,
    /// The shards that change, and how.
    pub under_way: Vec<(ShardId, Move)>,
    /// The newest first.
    pub decided: Vec<DecidedMove>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// `HOST:PORT` of its cluster listener.
    pub address: String,
    /// `HOST:PORT` of its web listener.
    pub web_address: String,
    /// Its zone, perhaps empty.
    pub zone: String,
    /// The version of its binary.
    pub version: String,
    /// `active` or `draining`.
    pub state: &'static str,
    /// Why it does not answer.
    pub error: Option<String>,
    /// What it refuses for want of disk space, and why; empty: nothing.
    pub disk_problem: String,
}

/// A raft group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupRow {
    /// The shard's id; 0 for the control group too.
    pub id: u32,
    /// The node that leads it, if one says that it does.
    pub leader: Option<u64>,
    /// The highest term any replica reports.
    pub term: u64,
    /// The leader's commit index.
    pub commit_index: u64,
    /// Series with a sample in memory, on the leader.
    pub active_series: u64,
    /// By node.
    pub replicas: Vec<ReplicaRow>,
}

/// A replica of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaRow {
    /// The node that hosts it.
    pub node: u64,
    /// The highest index known to be on it.
    pub match_index: u64,
    /// The highest index it has applied, as it says; `None` where its node is silent.
    pub applied_index: Option<u64>,
    /// Entries behind the leader's log; `None` without a leader.
    pub lag_entries: Option<u64>,
}

/// Collects the state and keeps it for a moment.
pub struct StatusBoard {
    cluster: Arc<dyn Cluster>,
    clock: Clock,
    kept: Mutex<Option<(Duration, Arc<ClusterStatus>)>>,
}

impl StatusBoard {
    /// A board that has not looked yet.
    pub fn new(cluster: Arc<dyn Cluster>, clock: Clock) -> Self {
        Self { cluster, clock, kept: Mutex::default() }
    }

    /// The state, at most a second old. Callers at the same time share one look.
    pub async fn status(&self) -> Arc<ClusterStatus> {
        let mut kept = self.kept.lock().await;
        let now = self.clock.monotonic();
        if let Some((at, status)) = &*kept
            && now.saturating_sub(*at) < KEPT
        {
            return Arc::clone(status);
        }
        let status = Arc::new(self.look().await);
        *kept = Some((self.clock.monotonic(), Arc::clone(&status)));
        status
    }

    async fn look(&self) -> ClusterStatus {
        let state = self.cluster.state();
        let asked = state.members().keys().map(|&id| async move {
            let answer = self.cluster.node_status(id, ANSWER_TIME).await;
            (id, answer.map_err(|status| status.message().to_owned()))
        });
        let status = join(&state, &join_all(asked).await.into_iter().collect());
        let moves = self.moves(&state, status.control.leader).await;
        ClusterStatus { ring: self.ring(&state), moves, ..status }
    }

    fn ring(&self, state: &ClusterState) -> Vec<EpochRow> {
        let current = state.epoch_at(self.clock.now()).map(|epoch| epoch.number);
        let row = |epoch: &Epoch| EpochRow {
            begins: epoch.from,
            is_current: current == Some(epoch.number),
            shares: epoch.ring.shares(),
        };
        state.epochs().iter().map(row).collect()
    }

    /// Only the leader of the control group knows what was decided.
    async fn moves(&self, state: &ClusterState, leader: Option<u64>) -> MovesRow {
        let shards = state.shards().iter();
        let under_way = shards.filter_map(|(shard, at)| at.moving.map(|it| (*shard, it))).collect();
        let asked = match leader {
            Some(leader) => self.cluster.moves(NodeId(leader), ANSWER_TIME).await,
            None => Err(Status::unavailable(NO_LEADER)),
        };
        let error = match asked {
            Ok(MovesResponse { state, moves, leader_node_id: None }) => {
                return MovesRow { error: None, state, under_way, decided: moves };
            }
            Ok(_) => NO_LEADER.to_owned(),
            Err(status) => status.message().to_owned(),
        };
        MovesRow { error: Some(error), under_way, ..MovesRow::default() }
    }
}

impl std::fmt::Debug for StatusBoard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StatusBoard")
    }
}

type Answers = BTreeMap<NodeId, Result<NodeStatusResponse, String>>;

fn join(state: &ClusterState, answers: &Answers) -> ClusterStatus {
    let members = state.members().values();
    let everyone: Vec<NodeId> = state.members().keys().copied().collect();
    let shard = |(id, placement): (&narthex_cluster::ShardId, &narthex_cluster::Placement)| {
        let hosts: Vec<NodeId> = placement.nodes().collect();
        GroupRow { id: id.0, ..group(id.0 + 1, &hosts, answers) }
    };
    ClusterStatus {
        cluster_id: state.cluster().map(|id| id.to_string()).unwrap_or_default(),
        revision: state.revision(),
        replication_factor: state.replication_factor(),
        nodes: members.map(|member| node(member, answers)).collect(),
        control: group(0, &everyone, answers),
        shards: state.shards().iter().map(shard).collect(),
        ..ClusterStatus::default()
    }
}

fn node(member: &Member, answers: &Answers) -> NodeRow {
    let answer = answers.get(&member.id);
    let answered = answer.and_then(|answer| answer.as_ref().ok());
    let reported = answered.map(|it| it.version.clone());
    NodeRow {
        id: member.id.0,
        name: member.name.clone(),
        address: member.addresses.cluster.clone(),
        web_address: member.addresses.web.clone(),
        zone: member.zone.clone(),
        version: reported.unwrap_or_else(|| member.binary.text.clone()),
        state: match member.state {
            MemberState::Active => "active",
            MemberState::Draining => "draining",
        },
        error: answer.and_then(|answer| answer.as_ref().err().cloned()),
        disk_problem: answered.map(|it| it.disk_problem.clone()).unwrap_or_default(),
    }
}

/// One group, as its leader sees it where one is known.
fn group(group_id: u32, hosts: &[NodeId], answers: &Answers) -> GroupRow {
    let mut reports: BTreeMap<NodeId, &ReplicaStatus> = BTreeMap::new();
    for (node, answer) in answers {
        let replicas = answer.iter().flat_map(|answer| &answer.replicas);
        reports.extend(replicas.filter(|r| r.group_id == group_id).map(|r| (*node, r)));
    }
    let leads = |(node, report): &(&NodeId, &&ReplicaStatus)| report.leader_node_id == node.0;
    let leader = reports.iter().filter(leads).max_by_key(|(_, report)| report.term);
    let row = |node: NodeId| {
        let own = reports.get(&node);
        let seen = leader.and_then(|(_, report)| {
            report.followers.iter().find(|follower| follower.node_id == node.0)
        });
        let is_leader = leader.is_some_and(|(id, _)| *id == node);
        let match_index = match (is_leader, seen, own) {
            (true, _, Some(own)) => own.last_index,
            (_, Some(seen), _) => seen.match_index,
            (_, None, own) => own.map_or(0, |own| own.applied_index),
        };
        ReplicaRow {
            node: node.0,
            match_index,
            applied_index: own.map(|own| own.applied_index),
            lag_entries: leader.map(|(_, report)| report.last_index.saturating_sub(match_index)),
        }
    };
    GroupRow {
        id: 0,
        leader: leader.map(|(node, _)| node.0),
        term: reports.values().map(|report| report.term).max().unwrap_or(0),
        commit_index: leader.map_or(0, |(_, report)| report.commit_index),
        active_series: leader.map_or(0, |(_, report)| report.active_series),
        replicas: hosts
            .iter()
            .copied()
            .filter(|node| group_id > 0 || reports.contains_key(node))
            .map(row)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::test_cluster::{FakeCluster, founded};

    async fn look(silent_nodes: Vec<u64>) -> ClusterStatus {
        let state = founded(2);
        let cluster = FakeCluster { state, silent_nodes, ..FakeCluster::default() };
        StatusBoard::new(Arc::new(cluster), Clock::fixed(Timestamp::default())).look().await
    }

    #[tokio::test]
    async fn leaders_and_lag_are_joined() {
        let status = look(vec![]).await;
        assert_eq!((status.nodes.len(), status.shards.len()), (3, 2));
        let shard = &status.shards[1];
        assert_eq!((shard.id, shard.leader, shard.term, shard.commit_index), (1, Some(1), 4, 99));
        let lags: BTreeMap<_, _> = shard.replicas.iter().map(|r| (r.node, r.lag_entries)).collect();
        assert_eq!(lags, BTreeMap::from([(1, Some(0)), (2, Some(2)), (3, Some(100))]));
        assert_eq!(status.control.leader, Some(1));
    }

    #[tokio::test]
    async fn the_ring_and_what_was_decided_are_told() {
        let status = look(vec![]).await;
        let [epoch] = &status.ring[..] else { panic!("one epoch: {:?}", status.ring) };
        assert!(epoch.is_current && epoch.shares.len() == 2);
        assert!((epoch.shares.values().sum::<f64>() - 1.0).abs() < 1e-9);
        assert_eq!((status.moves.error, status.moves.decided.len()), (None, 1));
        let silent = look(vec![1]).await;
        assert_eq!(silent.moves.error.as_deref(), Some(NO_LEADER));
    }

    #[tokio::test]
    async fn a_silent_leader_is_no_leader() {
        let status = look(vec![1]).await;
        assert_eq!(status.nodes[0].error.as_deref(), Some("connection refused"));
        assert_eq!(status.shards[0].leader, None);
        assert!(status.shards[0].replicas.iter().all(|replica| replica.lag_entries.is_none()));
        assert_eq!(status.shards[0].term, 4, "the others still know it");
    }

    #[tokio::test]
    async fn one_look_serves_for_a_second() {
        let time = Arc::new(Mutex::new(Duration::ZERO));
        let clock = {
            let time = Arc::clone(&time);
            Clock::from_sources(Timestamp::default, move || *time.lock())
        };
        let cluster = FakeCluster { state: founded(1), ..FakeCluster::default() };
        let board = StatusBoard::new(Arc::new(cluster), clock);
        let first = board.status().await;
        *time.lock() = Duration::from_millis(900);
        assert!(Arc::ptr_eq(&first, &board.status().await));
        *time.lock() = Duration::from_millis(1000);
        assert!(!Arc::ptr_eq(&first, &board.status().await));
    }
}
