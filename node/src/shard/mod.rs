//! The shards of this node: one replica each, opened where cluster state places it.
//!
//! A replica is a raft group, its state machine over `narthex-tsdb`, and the task that writes
//! while it leads. `core.rs`, `due.rs` and `leaders.rs` decide; the others perform.

pub mod batch;
pub(crate) mod canary;
pub(crate) mod cardinality;
pub mod checkpointer;
pub(crate) mod comparing;
pub mod core;
pub(crate) mod deletion;
pub mod digest;
mod due;
pub(crate) mod exporting;
mod filling;
pub mod forward;
pub mod fragment;
pub(crate) mod hand_over;
mod leaders;
pub(crate) mod machine;
pub(crate) mod moving;
mod numbers;
pub(crate) mod parts;
pub(crate) mod placing;
pub(crate) mod repeats;
pub(crate) mod rewriting;
pub mod series_limits;
pub(crate) mod settle;
pub(crate) mod side;
pub mod sink;
pub mod size_retention;
pub mod source;
pub mod task;
pub mod upkeep;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use narthex_cluster::{NodeId, Placement, ShardId};
use narthex_tsdb::{ShardReader, kv::KeyValue as _};
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::{
    leaders::{LeaderBalance, Led},
    machine::ReplicaState,
    task::Writer,
};
use crate::{
    node::Shared,
    raft::{Group, GroupStatus, Leadership},
};

/// How often the leader of a shard asks whether another one should lead it.
const BALANCE_INTERVAL: Duration = Duration::from_secs(2);
/// How long a stopping node waits for its leaderships to be taken over.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(3);

/// One open replica.
pub struct Replica {
    /// Which shard.
    pub shard: ShardId,
    /// Its raft group.
    pub group: Group,
    /// Its series.
    pub reader: ShardReader,
    pub(crate) state: ReplicaState,
    /// Its write side, which accepts while this replica leads.
    pub writer: Writer,
    stop: CancellationToken,
}

/// The replicas on this node.
pub struct Replicas {
    shared: Arc<Shared>,
    open: RwLock<BTreeMap<ShardId, Arc<Replica>>>,
    changes: watch::Sender<u64>,
}

impl Replicas {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, open: RwLock::default(), changes: watch::Sender::new(0) }
    }

    /// One replica, if it is here and open.
    pub fn get(&self, shard: ShardId) -> Option<Arc<Replica>> {
        self.open.read().get(&shard).cloned()
    }

    /// All open replicas, in order of their shards.
    pub fn all(&self) -> Vec<Arc<Replica>> {
        self.open.read().values().cloned().collect()
    }

    /// Changes when a replica was opened or closed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn insert(&self, replica: Replica) {
        self.open.write().insert(replica.shard, Arc::new(replica));
        self.changes.send_modify(|count| *count += 1);
    }

    fn remove(&self, shard: ShardId) {
        self.open.write().remove(&shard);
        self.changes.send_modify(|count| *count += 1);
    }

    /// Moves leaderships to where they are preferred, one at a time, until the node stops.
    pub(crate) async fn balance_leaders(self: Arc<Self>) {
        let mut balance = LeaderBalance::default();
        loop {
            tokio::select! {
                () = self.shared.stop.cancelled() => return,
                () = tokio::time::sleep(BALANCE_INTERVAL) => {}
            }
            let led = self.led();
            let now = self.shared.clock.monotonic();
            let Some((shard, to)) = balance.decide(self.shared.node, &led, now) else {
                continue;
            };
            let Some(replica) = self.get(shard) else {
                continue;
            };
            match replica.group.transfer_leader(to.0).await {
                Ok(()) => info!(%shard, %to, "leadership handed to the preferred leader"),
                Err(problem) => warn!(%shard, %to, %problem, "leadership was not handed over"),
            }
        }
    }

    fn led(&self) -> Vec<Led> {
        let state = self.shared.control.state().borrow().clone();
        let is_right = |node: &NodeId| !self.shared.clocks.is_off(*node);
        let led = self.all().into_iter().filter(|replica| replica.leadership().ready);
        led.map(|replica| {
            let status = replica.group.status();
            let placement = state.placement(replica.shard);
            Led {
                shard: replica.shard,
                preferred: placement.and_then(preferred).filter(is_right),
                followers: followers(&status),
            }
        })
        .collect()
    }

    /// Gives every leadership to an up-to-date follower whose clock is right, and waits until it is
    /// taken, for a while.
    pub(crate) async fn hand_over(&self) {
        let control = [self.shared.control.group().clone()];
        let groups = self.all().into_iter().map(|replica| replica.group.clone()).chain(control);
        let led = groups.filter(|group| group.leadership().borrow().ready);
        let hand_over = async {
            for group in led {
                let mut followers = followers(&group.status());
                followers.retain(|(node, _)| !self.shared.clocks.is_off(*node));
                let Some((to, _)) = followers.into_iter().min_by_key(|(_, lag)| *lag) else {
                    continue;
                };
                if group.transfer_leader(to.0).await.is_err() {
                    continue;
                }
                let mut leadership = group.leadership();
                let _ = leadership.wait_for(|now| !now.ready).await;
            }
        };
        if tokio::time::timeout(HAND_OVER_TIMEOUT, hand_over).await.is_err() {
            warn!("not every leadership was taken over in time");
        }
    }

    /// Writes last checkpoints and closes the groups. Nothing is lost without it: the log has all.
    pub(crate) async fn close(&self) {
        for replica in self.all() {
            replica.stop.cancel();
            if let Err(problem) = replica.group.checkpoint().await {
                warn!(shard = %replica.shard, %problem, "last checkpoint was not written");
            }
            replica.group.close().await;
        }
        let data = self.shared.data.clone();
        let flushed = tokio::task::spawn_blocking(move || data.flush()).await;
        if let Ok(Err(problem)) = flushed {
            error!(error = %problem, "data was not flushed");
        }
        self.open.write().clear();
    }
}

impl Replica {
    /// Who leads the shard, as this replica sees it.
    pub fn leadership(&self) -> Leadership {
        *self.group.leadership().borrow()
    }
}

/// Who should lead the shard: nobody in particular while the one that should is about to leave.
fn preferred(placement: &Placement) -> Option<NodeId> {
    let leaves = |node: &NodeId| placement.moving.is_some_and(|it| it.remove == Some(*node));
    placement.preferred_leader().filter(|node| !leaves(node))
}

/// Voters that were heard just now, and the entries they lack. One that is dead lacks few, too, where
/// little is written.
fn followers(status: &GroupStatus) -> Vec<(NodeId, u64)> {
    let voters = status.followers.iter().filter(|it| status.voters.contains(&it.node));
    let heard = voters.filter(|it| it.is_heard());
    heard.map(|follower| (NodeId(follower.node), follower.lag_entries)).collect()
}
