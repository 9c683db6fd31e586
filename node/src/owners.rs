//! Tells whoever works for shards which of them this node leads.
//!
//! A shard is its owner's from the moment its leader has applied its first entry until its leadership
//! ends.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use narthex_cluster::ShardId;
use tokio::task::JoinHandle;

use crate::{
    node::Shared,
    scrape::Stopped,
    shard::{Replica, Replicas},
};

/// Works for the shards that this node leads.
pub(crate) trait Owner: Clone + Send + Sync + 'static {
    /// This node leads the shard of this replica, in this term.
    fn lead(
        &self,
        replica: &Arc<Replica>,
        term: u64,
    ) -> impl Future<Output = Result<(), Stopped>> + Send;
    /// This node no longer leads the shard.
    fn leave(&self, shard: ShardId) -> impl Future<Output = Result<(), Stopped>> + Send;
}

/// Follows all replicas of this node until it stops, or the owner does.
pub(crate) async fn follow<O: Owner>(shared: Arc<Shared>, replicas: Arc<Replicas>, owner: O) {
    let mut changes = replicas.changes();
    // Each with the replica that is followed: one that was filled anew is another.
    let mut followed: BTreeMap<ShardId, (Arc<Replica>, JoinHandle<()>)> = BTreeMap::new();
    loop {
        changes.borrow_and_update();
        let open: BTreeMap<ShardId, Arc<Replica>> =
            replicas.all().into_iter().map(|replica| (replica.shard, replica)).collect();
        let is_open = |shard: &ShardId, followed: &Arc<Replica>| {
            open.get(shard).is_some_and(|replica| Arc::ptr_eq(replica, followed))
        };
        let closed: Vec<ShardId> = followed
            .iter()
            .filter(|(shard, (replica, _))| !is_open(shard, replica))
            .map(|(shard, _)| *shard)
            .collect();
        for shard in closed {
            if let Some((_, task)) = followed.remove(&shard) {
                task.abort();
                let _ = task.await;
                if owner.leave(shard).await == Err(Stopped) {
                    return;
                }
            }
        }
        for (shard, replica) in open {
            followed.entry(shard).or_insert_with(|| {
                let task = follow_leadership(replica.clone(), owner.clone(), shared.clone());
                (replica, shared.tasks.spawn(task))
            });
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

async fn follow_leadership<O: Owner>(replica: Arc<Replica>, owner: O, shared: Arc<Shared>) {
    let mut leadership = replica.group.leadership();
    let mut leads = None;
    loop {
        let now = *leadership.borrow_and_update();
        let term = now.ready.then_some(now.term);
        if term != leads {
            leads = term;
            let told = match term {
                Some(term) => owner.lead(&replica, term).await,
                None => owner.leave(replica.shard).await,
            };
            if told == Err(Stopped) {
                return;
            }
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            changed = leadership.changed() => if changed.is_err() { return },
        }
    }
}
