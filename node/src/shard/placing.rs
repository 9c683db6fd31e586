//! Opens, fills and closes replicas as cluster state places them on this node.
//!
//! Invariants
//! * a replica that this node has acknowledged entries for never comes back with less: what cannot
//!   go on from its own disk is filled;
//! * one replica is filled at a time; the others are opened meanwhile;
//! * what has left the node is deleted, but for the vote and the name of the last entry in its log,
//!   and only once the shard's own leader counts on it no more;
//! * what is wrong is deleted before it is filled anew.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use narthex_cluster::{ClusterState, NodeId, Placement, ShardId};
use narthex_proto::{client::ShardClient, internal::v1::NodeStatusRequest};
use narthex_tsdb::{OpenError, ReplicaNumber, kv::KvError, persisted};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore},
    time::timeout,
};
use tracing::{debug, error, info, warn};

use super::{
    Replica, Replicas, core,
    filling::{FillError, Filling},
    machine::{ReplicaState, raft_position},
    task::WriteTask,
};
use crate::{
    control::current,
    node::Shared,
    raft::{Group, GroupConfig, GroupId, GroupLog, LogPosition, OpenGroupError},
};

/// How long the preferred leader of a new shard has the first election to itself.
const INITIALIZE_PAUSE: Duration = Duration::from_secs(2);
/// Pause between looks at what no change of cluster state tells, and before a replica that could
/// not be opened is tried again.
const TURN: Duration = Duration::from_secs(1);
/// Pause before a replica is tried to be filled again.
const FILL_PAUSE: Duration = Duration::from_millis(250);
/// The pause doubles up to this.
const FILL_PAUSE_LAST: Duration = Duration::from_secs(10);
/// How long a node may take to say who the members of a shard are.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a replica was not opened.
#[derive(Debug, thiserror::Error)]
enum OpenReplicaError {
    #[error("read the replica's checkpoint")]
    Checkpoint(#[from] OpenError),
    #[error("number the replica")]
    Number(#[from] KvError),
    #[error(transparent)]
    Group(#[from] OpenGroupError),
}

/// How a replica comes into being.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// From its own disk.
    Open(ReplicaNumber),
    /// Empty, with the others of its shard.
    Empty,
    /// From a checkpoint of another node.
    Filled,
}

/// Decides how a replica comes into being, from what this node has of it: its number, the position
/// of its checkpoint, and the purge point and end of its log.
fn beginning(
    number: Option<(ReplicaNumber, Option<LogPosition>)>,
    (purged, last): (Option<LogPosition>, Option<LogPosition>),
    is_new_here: bool,
) -> Beginning {
    match number {
        // Entries between its checkpoint and its log are missing.
        Some((_, checkpoint)) if purged > checkpoint => Beginning::Filled,
        Some((number, _)) => Beginning::Open(number),
        // It has left its data, or is to join those that have theirs.
        None if last.is_some() || is_new_here => Beginning::Filled,
        None => Beginning::Empty,
    }
}

/// Follows cluster state until the node stops.
pub(crate) async fn follow(replicas: Arc<Replicas>, client: ShardClient) {
    let placing = Arc::new(Placing {
        shared: replicas.shared.clone(),
        replicas,
        client,
        filling: Mutex::default(),
        one: Semaphore::new(1),
        filled: Notify::new(),
    });
    let mut state = placing.shared.control.state();
    loop {
        let now = state.borrow_and_update().clone();
        placing.turn(&now).await;
        tokio::select! {
            () = placing.shared.stop.cancelled() => return,
            changed = state.changed() => if changed.is_err() { return },
            () = placing.filled.notified() => {}
            () = tokio::time::sleep(TURN) => {}
        }
    }
}

struct Placing {
    shared: Arc<Shared>,
    replicas: Arc<Replicas>,
    client: ShardClient,
    /// Shards that are being filled.
    filling: Mutex<BTreeSet<ShardId>>,
    /// Held by the one that receives.
    one: Semaphore,
    /// Told when one is done.
    filled: Notify,
}

impl Placing {
    async fn turn(self: &Arc<Self>, state: &ClusterState) {
        let shared = self.shared.clone();
        let numbered = move || shared.numbers.lock().shards().collect::<BTreeSet<u32>>();
        let numbered = tokio::task::spawn_blocking(numbered).await;
        let numbered = numbered.expect("BUG: looking for replicas panicked");
        for (shard, placement) in state.shards() {
            if self.filling.lock().contains(shard) {
                continue;
            }
            let is_here = placement.nodes().any(|node| node == self.shared.node);
            let has_data = numbered.contains(&shard.0);
            let settled = match (is_here, self.replicas.get(*shard)) {
                (true, None) => self.begin(*shard, placement).await,
                (true, Some(replica)) if *replica.group.lacks_entries().borrow() => {
                    self.fill_again(&replica).await
                }
                (true, Some(_)) => Ok(()),
                (false, None) if !has_data && self.log_of(*shard).bytes() == 0 => Ok(()),
                (false, replica) => match (self.has_left(*shard).await, replica) {
                    (true, replica) => self.leave(*shard, replica).await,
                    // It may still be counted on.
                    (false, None) if has_data => self.begin(*shard, placement).await,
                    (false, _) => Ok(()),
                },
            };
            if let Err(problem) = settled {
                error!(%shard, error = &problem as &dyn std::error::Error, "replica was not opened");
            }
        }
    }

    fn log_of(&self, shard: ShardId) -> GroupLog {
        self.shared.raft.log.group(GroupId::shard(shard.0))
    }

    /// Whether nobody counts on this node's replica of a shard any more: cluster state that is
    /// current places it elsewhere, and the shard's leader has members without it, for good. What
    /// cluster state says alone is not enough: a move may have been taken back after raft had made
    /// it.
    async fn has_left(&self, shard: ShardId) -> bool {
        if !current::catch_up(&self.shared.control, &self.client).await {
            return false;
        }
        let state = self.shared.control.state().borrow().clone();
        let Some(placement) = state.placement(shard) else { return false };
        if placement.nodes().any(|node| self.is_here(node)) {
            return false;
        }
        for node in placement.nodes() {
            let asked = async { self.client.node(node)?.node_status(NodeStatusRequest {}).await };
            let Ok(Ok(status)) = timeout(ASK_TIMEOUT, asked).await else { continue };
            let group = GroupId::shard(shard.0).number();
            let mut replicas = status.replicas.iter().filter(|it| it.group_id == group);
            if let Some(led) = replicas.next().filter(|it| it.is_leader_ready) {
                return led.members_settled && !led.member_node_ids.contains(&self.shared.node.0);
            }
        }
        false
    }

    /// Closes a replica that cannot go on, and fills it. One that holds what is wrong is deleted
    /// before, so that it never opens again.
    async fn fill_again(self: &Arc<Self>, replica: &Arc<Replica>) -> Result<(), OpenReplicaError> {
        let shard = replica.shard;
        self.close(replica).await;
        if replica.group.is_wrong() {
            let shared = self.shared.clone();
            let deleted =
                tokio::task::spawn_blocking(move || shared.numbers.lock().assign(shard.0, None));
            deleted.await.expect("BUG: deleting a replica panicked")?;
        }
        self.fill(shard);
        Ok(())
    }

    async fn begin(
        self: &Arc<Self>,
        shard: ShardId,
        placement: &Placement,
    ) -> Result<(), OpenReplicaError> {
        let (shared, log) = (self.shared.clone(), self.log_of(shard));
        let looked = tokio::task::spawn_blocking(move || {
            let Some(number) = shared.numbers.lock().of(shard.0) else { return Ok(None) };
            let checkpoint = persisted(shared.data.as_ref(), number)?;
            Ok::<_, OpenReplicaError>(Some((
                number,
                checkpoint.and_then(|(at, _)| raft_position(at)),
            )))
        });
        let number = looked.await.expect("BUG: looking for a replica panicked")?;
        let is_new_here = !placement.replicas.contains(&self.shared.node);
        match beginning(number, (log.purged(), log.last()), is_new_here) {
            Beginning::Open(number) => match self.open(shard, placement, number).await {
                // What others have of it is as good.
                Err(OpenReplicaError::Checkpoint(problem @ OpenError::Damaged { .. }))
                    if placement.replicas.len() > 1 =>
                {
                    let problem = &problem as &dyn std::error::Error;
                    error!(%shard, problem, "checkpoint is damaged; the replica is filled anew");
                    self.fill(shard);
                    Ok(())
                }
                opened => opened,
            },
            Beginning::Empty => {
                let shared = self.shared.clone();
                let begun =
                    tokio::task::spawn_blocking(move || shared.numbers.lock().begin(shard.0));
                let number = begun.await.expect("BUG: numbering a replica panicked")?;
                self.open(shard, placement, number).await
            }
            Beginning::Filled => {
                if placement.nodes().any(|node| self.is_here(node)) {
                    self.fill(shard);
                }
                Ok(())
            }
        }
    }

    async fn open(
        &self,
        shard: ShardId,
        placement: &Placement,
        number: ReplicaNumber,
    ) -> Result<(), OpenReplicaError> {
        let shared = &self.shared;
        let data = shared.data.clone();
        let opened = tokio::task::spawn_blocking(move || ReplicaState::open(data, number)).await;
        let state = opened.expect("BUG: opening a replica panicked")?;
        let reader = state.reader();
        let log_bytes_max = shared.log_bytes_max;
        let config = GroupConfig { log_bytes_max, ..GroupConfig::new(GroupId::shard(shard.0)) };
        let group = Group::open(&shared.raft, config, Box::new(state.clone())).await?;
        if placement.replicas.contains(&shared.node) {
            let is_preferred = placement.preferred_leader() == Some(shared.node);
            let patience = if is_preferred { Duration::ZERO } else { INITIALIZE_PAUSE };
            let voters = placement.replicas.iter().map(|node| node.0).collect();
            shared.tasks.spawn(initialize(group.clone(), voters, patience));
        }
        let stop = shared.stop.child_token();
        let task = WriteTask {
            shard,
            node: shared.node,
            group: group.clone(),
            reader: reader.clone(),
            clock: shared.clock.clone(),
            limits: core::Limits::default(),
        };
        let writer = task.spawn(&shared.tasks, stop.clone());
        self.replicas.insert(Replica { shard, group, reader, state, writer, stop });
        Ok(())
    }

    /// Fills a replica beside everything else, for as often as it takes, and opens it.
    fn fill(self: &Arc<Self>, shard: ShardId) {
        self.filling.lock().insert(shard);
        let this = self.clone();
        let stop = self.shared.stop.clone();
        self.shared.tasks.spawn(stop.run_until_cancelled_owned(async move {
            if let Err(problem) = this.fill_until_done(shard).await {
                let problem = &problem as &dyn std::error::Error;
                error!(%shard, problem, "replica was not filled");
            }
            this.filling.lock().remove(&shard);
            this.filled.notify_one();
        }));
    }

    async fn fill_until_done(&self, shard: ShardId) -> Result<(), FillError> {
        let mut filling = Filling::begin(&self.shared, shard).await?;
        let mut pause = FILL_PAUSE;
        loop {
            let mut state = self.shared.control.state();
            let placement = state.borrow_and_update().placement(shard).cloned();
            let Some(placement) = placement.filter(|it| it.nodes().any(|id| self.is_here(id)))
            else {
                // Placed elsewhere meanwhile.
                return filling.give_up(&self.shared).await;
            };
            if let Err(reason) = self.shared.disk.check_writes() {
                debug!(%shard, reason, "not filled before there is disk space");
                tokio::time::sleep(FILL_PAUSE_LAST).await;
                continue;
            }
            let attempt = async {
                let _one = self.one.acquire().await;
                filling.attempt(&self.shared, &self.client, &placement).await
            };
            let moved = state.wait_for(|state| state.placement(shard) != Some(&placement));
            let attempted = tokio::select! {
                biased;
                attempted = attempt => Some(attempted),
                _ = moved => None,
            };
            match attempted {
                // It is opened at the next turn, from its own disk.
                Some(Ok(())) => return Ok(()),
                // The placement has changed.
                None => continue,
                Some(Err(problem)) => {
                    let error = &problem as &dyn std::error::Error;
                    match pause < FILL_PAUSE_LAST {
                        true => debug!(%shard, error, "not filled yet"),
                        false => warn!(%shard, error, "not filled yet"),
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(FILL_PAUSE_LAST);
        }
    }

    fn is_here(&self, node: NodeId) -> bool {
        node == self.shared.node
    }

    /// Takes a replica out of its group's work here, and lets nothing more be written of it.
    async fn close(&self, replica: &Replica) {
        self.replicas.remove(replica.shard);
        replica.stop.cancel();
        replica.group.close().await;
        let state = replica.state.clone();
        let left = tokio::task::spawn_blocking(move || state.leave()).await;
        left.expect("BUG: closing a replica panicked");
    }

    /// Deletes what this node has of a shard that is placed elsewhere.
    async fn leave(
        &self,
        shard: ShardId,
        replica: Option<Arc<Replica>>,
    ) -> Result<(), OpenReplicaError> {
        if let Some(replica) = &replica {
            self.close(replica).await;
        }
        if let Err(problem) = self.log_of(shard).forget().await {
            // The log has failed, and the node ends.
            warn!(%shard, %problem, "log of a replica that left was not purged");
        }
        let shared = self.shared.clone();
        let left = tokio::task::spawn_blocking(move || shared.numbers.lock().assign(shard.0, None));
        left.await.expect("BUG: deleting a replica panicked")?;
        info!(%shard, "replica has left this node");
        Ok(())
    }
}

/// Starts the group's first election, unless another replica has done so within `patience`.
async fn initialize(group: Group, voters: BTreeSet<u64>, patience: Duration) {
    tokio::time::sleep(patience).await;
    if group.status().last_index.is_some() {
        return;
    }
    if let Err(problem) = group.initialize(&voters).await {
        debug!(group = %group.id(), %problem, "group is not initialized by this replica");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: ReplicaNumber = ReplicaNumber(9);

    fn at(index: u64) -> Option<LogPosition> {
        Some(LogPosition { term: 1, index })
    }

    #[test]
    fn a_new_shard_begins_empty_and_a_new_replica_filled() {
        assert_eq!(beginning(None, (None, None), false), Beginning::Empty);
        assert_eq!(beginning(None, (None, None), true), Beginning::Filled);
    }

    #[test]
    fn what_has_a_checkpoint_and_the_log_behind_it_goes_on() {
        let here = Some((NUMBER, at(5)));
        assert_eq!(beginning(here, (at(5), at(8)), false), Beginning::Open(NUMBER));
        assert_eq!(beginning(here, (None, None), true), Beginning::Open(NUMBER));
        assert_eq!(beginning(Some((NUMBER, None)), (None, at(3)), false), Beginning::Open(NUMBER));
    }

    #[test]
    fn what_lacks_entries_or_has_left_is_filled() {
        assert_eq!(beginning(Some((NUMBER, at(4))), (at(5), at(8)), false), Beginning::Filled);
        assert_eq!(beginning(Some((NUMBER, None)), (at(0), at(0)), false), Beginning::Filled);
        assert_eq!(beginning(None, (at(8), at(8)), false), Beginning::Filled);
    }
}
