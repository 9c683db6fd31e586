//! What the leader of the control group does for the cluster: it makes new members part of the
//! group, lets an odd number of them vote, and has replicas moved where they should be.
//!
//! The rules are in `voters.rs` and in `narthex-cluster`'s balancer; this file looks and performs.
//! One change is proposed at a time, and looked at before the next.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use narthex_cluster::{
    ClusterState, Command, Decided, EndMove, Gate, MoveReplica, NodeId, Observed, Preference,
    RequestId, ShardId, ShardLoad, decide,
};
use narthex_proto::{
    client::ShardClient,
    internal::v1::{NodeStatusRequest, NodeStatusResponse},
};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::voters::{self, Step};
use crate::{node::Shared, raft::GroupStatus, service::shard_of_group};

/// Pause between looks.
const TURN: Duration = Duration::from_secs(1);
/// Pause before a change of cluster state is looked at, for more to come with it.
const CHANGED_PAUSE: Duration = Duration::from_millis(100);
/// Pause between questions to all nodes what they hold.
const ASK_INTERVAL: Duration = Duration::from_secs(5);
/// How long a cluster runs a new version before nothing can be rolled back any more.
const RAISE_AFTER: Duration = Duration::from_secs(600);
/// How long a node may take to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// A node that was not heard for so long is silent: more than an election, less than a restart.
const SILENT_AFTER: Duration = Duration::from_secs(3);

/// Runs until the node stops; does something while the node leads the control group.
pub(crate) async fn run(shared: Arc<Shared>, client: ShardClient) {
    let mut state = shared.control.state();
    let mut keeper = Keeper { shared, client, led_since: None, raisable_since: None, asked: None };
    loop {
        let changed = async {
            let changed = state.changed().await;
            tokio::time::sleep(CHANGED_PAUSE).await;
            changed
        };
        tokio::select! {
            () = keeper.shared.stop.cancelled() => return,
            () = tokio::time::sleep(TURN) => {}
            changed = changed => if changed.is_err() { return },
        }
        let leadership = *keeper.shared.control.group().leadership().borrow();
        if !leadership.ready || keeper.led_since.is_some_and(|(term, _)| term != leadership.term) {
            (keeper.led_since, keeper.raisable_since, keeper.asked) = (None, None, None);
        }
        if leadership.ready {
            let stop = keeper.shared.stop.clone();
            if stop.run_until_cancelled(keeper.turn(leadership.term)).await.is_none() {
                return;
            }
        }
    }
}

struct Keeper {
    shared: Arc<Shared>,
    client: ShardClient,
    /// In which term it leads, and since when.
    led_since: Option<(u64, Instant)>,
    /// Since when all members run a newer version than the cluster's.
    raisable_since: Option<Instant>,
    /// When all nodes were asked last, and what they said.
    asked: Option<(Instant, Asked)>,
}

#[derive(Debug, Clone, Default)]
struct Asked {
    loads: BTreeMap<ShardId, ShardLoad>,
    led: BTreeSet<ShardId>,
}

impl Keeper {
    async fn turn(&mut self, term: u64) {
        let now = self.shared.clock.monotonic();
        let (_, led_since) = *self.led_since.get_or_insert((term, now));
        let state = self.shared.control.state().borrow().clone();
        let status = self.shared.control.group().status();
        let led_for = now.saturating_duration_since(led_since);
        let quiet = quiet(self.shared.node, &state, (&status, led_for));
        let after = self.shared.repair.rebuild_after;
        if !state.is_open(Gate::Moves) {
            self.raise_version(&state, now).await;
            return;
        }
        let longer_than =
            |least| quiet.iter().filter(move |it| *it.1 >= least).map(|it| *it.0).collect();
        let (lost, silent): (BTreeSet<NodeId>, BTreeSet<NodeId>) =
            (longer_than(after), longer_than(SILENT_AFTER));
        let (me, is_off) = (self.shared.node, |node| self.shared.clocks.is_off(node));
        if let Some(step) = voters::decide(me, &state, &status, &lost, is_off) {
            self.take(step).await;
            return;
        }
        let asked = self.ask(&state, now).await;
        let stalled = state.shards().keys().filter(|shard| !asked.led.contains(shard));
        let seen = Observed {
            silent: silent.difference(&lost).copied().collect(),
            lost,
            stalled: stalled.copied().collect(),
            shards: asked.loads,
        };
        match decide(&state, &seen) {
            Decided::Settled => drop(self.shared.moves.rests("everything is where it should be")),
            Decided::Waiting(why) => {
                if self.shared.moves.rests(&why) {
                    info!(why, "no replica is moved");
                }
            }
            Decided::Step { command, why } => self.propose(command, why).await,
        }
    }

    /// Raises the cluster's version once all members have run a binary that understands the next one
    /// for a while: until then they can be rolled back.
    async fn raise_version(&mut self, state: &ClusterState, now: Instant) {
        let levels = state.members().values().map(|member| member.binary.level);
        let lowest = levels.min().unwrap_or_default();
        if lowest <= state.version() {
            self.raisable_since = None;
            self.shared.moves.rests("a member runs an older version, which moves nothing");
            return;
        }
        let since = *self.raisable_since.get_or_insert(now);
        if now.saturating_duration_since(since) < RAISE_AFTER {
            self.shared.moves.rests("all members run a new version that may still be rolled back");
            return;
        }
        self.propose(Command::RaiseVersion(lowest), "all members run it".to_owned()).await;
    }

    /// What all nodes hold, as they said not long ago.
    async fn ask(&mut self, state: &ClusterState, now: Instant) -> Asked {
        if let Some((at, asked)) = &self.asked
            && now.saturating_duration_since(*at) < ASK_INTERVAL
        {
            return asked.clone();
        }
        let questions = state.members().keys().map(|id| {
            let node = self.client.node(*id);
            async move {
                let answer = timeout(ASK_TIMEOUT, async {
                    node.ok()?.node_status(NodeStatusRequest {}).await.ok()
                });
                answer.await.ok().flatten()
            }
        });
        let answers = futures_util::future::join_all(questions).await;
        let asked = gather(answers.iter().flatten());
        self.asked = Some((now, asked.clone()));
        asked
    }

    async fn propose(&self, command: Command, why: String) {
        let what = describe(&self.shared.control.state().borrow(), &command);
        let id = RequestId(uuid::Uuid::new_v4().as_u128());
        match self.shared.control.request(id, command).await {
            Ok(outcome) => match outcome.accepted() {
                Ok(_) => {
                    info!(what, why, "change of placement decided");
                    self.shared.moves.decided(self.shared.clock.now(), what, why);
                }
                Err(refusal) => warn!(what, %refusal, "BUG: change of placement refused"),
            },
            Err(problem) => debug!(what, %problem, "change of placement not proposed"),
        }
    }

    async fn take(&self, step: Step) {
        let group = self.shared.control.group();
        let taken = match &step {
            Step::Change(change) => {
                let changed = group.change_membership(change.clone()).await;
                changed.map_err(|problem| problem.to_string())
            }
            Step::HandOver(node) => {
                let asked = group.transfer_leader(node.0).await;
                asked.map_err(|problem| problem.to_string())
            }
        };
        match taken {
            Ok(()) => info!(?step, "members of the control group changed"),
            Err(problem) => warn!(?step, problem, "members of the control group not changed"),
        }
    }
}

/// A change of placement as people say it.
fn describe(state: &ClusterState, command: &Command) -> String {
    let name = |node: NodeId| {
        state.member(node).map_or_else(|| format!("node {node}"), |member| member.name.clone())
    };
    match command {
        Command::StartMove(MoveReplica { shard, change, .. }) => {
            match (change.add, change.remove) {
                (Some(add), Some(remove)) => {
                    format!("shard {shard}: replica moves from {} to {}", name(remove), name(add))
                }
                (Some(add), None) => format!("shard {shard}: replica added on {}", name(add)),
                (None, Some(remove)) => {
                    format!("shard {shard}: replica on {} dropped", name(remove))
                }
                (None, None) => format!("shard {shard}: nothing moves"),
            }
        }
        Command::CancelMove(EndMove { shard, .. }) => format!("shard {shard}: move taken back"),
        Command::RaiseVersion(version) => format!("cluster version {version}"),
        Command::SetPreference(Preference { shard, order }) => {
            let order: Vec<String> = order.iter().copied().map(name).collect();
            format!("shard {shard}: to be led by {}", order.join(", then "))
        }
        other => format!("{other:?}"),
    }
}

/// How long each other member has not been heard, as far as this leader can tell. One that does not
/// follow the group yet was never heard.
fn quiet(
    me: NodeId,
    state: &ClusterState,
    (status, led_for): (&GroupStatus, Duration),
) -> BTreeMap<NodeId, Duration> {
    let heard = |node: &NodeId| {
        let mut followers = status.followers.iter().filter(|it| it.node == node.0);
        followers.next().and_then(|it| it.silent_for)
    };
    let others = state.members().keys().filter(|node| **node != me);
    others.map(|node| (*node, heard(node).unwrap_or(led_for))).collect()
}

/// What shards weigh and which have a leader, by what nodes say of their replicas.
fn gather<'a>(answers: impl Iterator<Item = &'a NodeStatusResponse>) -> Asked {
    let mut asked = Asked::default();
    for replica in answers.flat_map(|answer| &answer.replicas) {
        let Some(shard) = shard_of_group(replica.group_id) else { continue };
        if replica.is_leader_ready {
            asked.led.insert(shard);
        }
        let load = asked.loads.entry(shard).or_default();
        load.series = load.series.max(replica.active_series);
        load.bytes = load.bytes.max(replica.bytes);
    }
    asked
}
