//! Compares what the replicas of each shard hold, and has one that differs rebuilt.
//!
//! Replicas apply the same entries by the same rules, so they differ only where a disk, a memory or
//! a program has failed. A digest reads and checks all that a replica has, so this is the scrub of
//! its pages, too. The leader of a shard asks all replicas for a digest at one log index. The
//! few that differ from the majority are told, one at a time, to fill themselves from another one.
//!
//! Invariants
//! * a digest that did not come is a failure, never equal;
//! * a replica that differs serves no checkpoint from when it is told, and leads no more;
//! * without a majority that agrees nothing is rebuilt: a human must look.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use narthex_cluster::{NodeId, ShardId};
use narthex_proto::{
    client::ShardClient,
    internal::v1::{DigestRequest, RebuildRequest},
};
use tokio::time::timeout;
use tonic::Code;
use tracing::{debug, error, info, warn};

use super::{Replica, Replicas, digest, followers};
use crate::node::Shared;

/// Pause between looks at which shards are due.
const TURN: Duration = Duration::from_secs(1);
/// How long a replica may take to hash all it holds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a leader that differs waits for another one to lead.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(5);

/// What came of the comparisons of this node as a leader.
#[derive(Debug, Default)]
pub struct Comparisons {
    /// All replicas held the same.
    pub equal: AtomicU64,
    /// A replica differed and was told to fill itself.
    pub rebuilt: AtomicU64,
    /// Replicas differed, and no majority agreed.
    pub undecided: AtomicU64,
    /// A digest did not come.
    pub failed: AtomicU64,
}

/// What digests say.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Equal,
    /// The first of those that differ from what the majority holds.
    Differs(NodeId),
    /// No majority holds the same.
    Undecided,
    /// These gave no digest, and those who did agree.
    Unknown(Vec<NodeId>),
}

/// `None` is no answer, nothing of content is content that cannot be read.
fn verdict(digests: &[(NodeId, Option<Bytes>)]) -> Verdict {
    let mut holders: BTreeMap<&Bytes, usize> = BTreeMap::new();
    for digest in digests.iter().filter_map(|(_, digest)| digest.as_ref()) {
        *holders.entry(digest).or_default() += 1;
    }
    let is_one = holders.keys().all(|content| !content.is_empty()) && holders.len() <= 1;
    if is_one {
        let silent = digests.iter().filter(|(_, digest)| digest.is_none());
        let silent: Vec<NodeId> = silent.map(|(node, _)| *node).collect();
        return if silent.is_empty() { Verdict::Equal } else { Verdict::Unknown(silent) };
    }
    let is_agreed =
        |(content, count): &(&&Bytes, &usize)| !content.is_empty() && **count > digests.len() / 2;
    let Some((agreed, _)) = holders.iter().find(is_agreed) else { return Verdict::Undecided };
    let differs = |digest: &Option<Bytes>| digest.as_ref().is_some_and(|it| it != *agreed);
    let mut differing = digests.iter().filter(|(_, digest)| differs(digest));
    differing.next().map_or(Verdict::Undecided, |(node, _)| Verdict::Differs(*node))
}

/// Compares each shard that this node leads once in `interval`, until the node stops. Never with an
/// interval of 0.
pub(crate) async fn run(
    shared: Arc<Shared>,
    replicas: Arc<Replicas>,
    client: ShardClient,
    interval: Duration,
) {
    let mut due: BTreeMap<ShardId, Instant> = BTreeMap::new();
    while !interval.is_zero() {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(TURN) => {}
        }
        let all = replicas.all();
        let now = shared.clock.monotonic();
        due.retain(|shard, _| all.iter().any(|it| it.shard == *shard && it.leadership().ready));
        for (place, replica) in all.iter().enumerate().filter(|(_, it)| it.leadership().ready) {
            // Spread over the interval: each costs reading all that the replicas hold.
            let share = (place as u32 + 1, all.len() as u32 + 1);
            let first = || now + interval * share.0 / share.1;
            let at = due.entry(replica.shard).or_insert_with(first);
            if *at <= now {
                *at = now + interval;
                let compare = compare(&shared, &client, replica);
                if shared.stop.run_until_cancelled(compare).await.is_none() {
                    return;
                }
            }
        }
    }
}

async fn compare(shared: &Arc<Shared>, client: &ShardClient, replica: &Arc<Replica>) {
    let (shard, counts) = (replica.shard, &shared.comparisons);
    let state = shared.control.state().borrow().clone();
    let Some(placement) = state.placement(shard).filter(|it| it.moving.is_none()) else { return };
    let index = match digest::propose(replica).await {
        Ok(index) => index,
        Err(problem) => {
            debug!(%shard, %problem, "replicas are not compared now");
            return;
        }
    };
    let asked = placement.replicas.iter().map(|node| async move {
        let request = DigestRequest { shard_id: shard.0, index };
        let answer = timeout(ANSWER_TIMEOUT, async { client.node(*node)?.digest(request).await });
        let content = match answer.await {
            Ok(Ok(digest)) if digest.not_leader.is_none() => Some(digest.content),
            Ok(Ok(_)) | Err(_) => None,
            Ok(Err(status)) if status.code() == Code::DataLoss => {
                error!(%shard, %node, problem = status.message(), "a replica cannot be read");
                Some(Bytes::new())
            }
            Ok(Err(status)) => {
                debug!(%shard, %node, %status, "no digest");
                None
            }
        };
        (*node, content)
    });
    let digests = join_all(asked).await;
    match verdict(&digests) {
        Verdict::Equal => {
            counts.equal.fetch_add(1, Ordering::Relaxed);
        }
        Verdict::Unknown(nodes) => {
            counts.failed.fetch_add(1, Ordering::Relaxed);
            warn!(%shard, index, ?nodes, "replicas gave no digest");
        }
        Verdict::Undecided => {
            counts.undecided.fetch_add(1, Ordering::Relaxed);
            error!(%shard, index, ?digests, "replicas differ, and no majority agrees: restore a backup");
        }
        Verdict::Differs(node) => {
            counts.rebuilt.fetch_add(1, Ordering::Relaxed);
            error!(%shard, index, %node, "a replica differs from the others and is rebuilt");
            rebuild(shared, client, (replica, node)).await;
        }
    }
}

/// Has the replica on `node` filled from another one.
async fn rebuild(shared: &Shared, client: &ShardClient, (replica, node): (&Replica, NodeId)) {
    let shard = replica.shard;
    if node == shared.node {
        let mut heard = followers(&replica.group.status());
        heard.retain(|(node, _)| !shared.clocks.is_off(*node));
        let Some((next, _)) = heard.into_iter().min_by_key(|(_, lag)| *lag) else { return };
        if let Err(problem) = replica.group.transfer_leader(next.0).await {
            warn!(%shard, %problem, "leadership of a replica that differs was not handed over");
            return;
        }
        let mut leadership = replica.group.leadership();
        let _ = timeout(HAND_OVER_TIMEOUT, leadership.wait_for(|now| !now.ready)).await;
    }
    let request = RebuildRequest { shard_id: shard.0 };
    let asked = async { client.node(node)?.rebuild(request).await };
    match asked.await {
        Ok(_) => info!(%shard, %node, "replica was told to fill itself"),
        Err(status) => warn!(%shard, %node, %status, "replica was not told to fill itself"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(digests: &[Option<&'static str>]) -> Verdict {
        let digests: Vec<_> = (1..)
            .zip(digests)
            .map(|(node, digest)| {
                (NodeId(node), digest.map(|it| Bytes::from_static(it.as_bytes())))
            })
            .collect();
        verdict(&digests)
    }

    #[test]
    fn equal_digests_are_equal() {
        assert_eq!(of(&[Some("a"), Some("a"), Some("a")]), Verdict::Equal);
        assert_eq!(of(&[Some("a")]), Verdict::Equal);
    }

    #[test]
    fn the_minority_differs() {
        assert_eq!(of(&[Some("a"), Some("b"), Some("a")]), Verdict::Differs(NodeId(2)));
        assert_eq!(of(&[Some("b"), Some("a"), Some("a")]), Verdict::Differs(NodeId(1)));
    }

    #[test]
    fn what_cannot_be_read_differs() {
        assert_eq!(of(&[Some("a"), Some(""), Some("a")]), Verdict::Differs(NodeId(2)));
        assert_eq!(of(&[Some(""), Some(""), Some("a")]), Verdict::Undecided);
        assert_eq!(of(&[Some("")]), Verdict::Undecided);
    }

    #[test]
    fn without_a_majority_nobody_is_blamed() {
        assert_eq!(of(&[Some("a"), Some("b"), Some("c")]), Verdict::Undecided);
        assert_eq!(of(&[Some("a"), Some("b"), None]), Verdict::Undecided);
        assert_eq!(of(&[Some("a"), Some("b")]), Verdict::Undecided);
    }

    #[test]
    fn a_digest_that_did_not_come_is_never_equal() {
        assert_eq!(of(&[Some("a"), None, Some("a")]), Verdict::Unknown(vec![NodeId(2)]));
        assert_eq!(of(&[None]), Verdict::Unknown(vec![NodeId(1)]));
    }
}
