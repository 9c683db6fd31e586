//! Retention by size: every node finds the first day it has room for, and the leader of a shard
//! moves the shard's horizon to the latest such day of the nodes that host it.
//!
//! The limit is a node's, as Prometheus's is a server's, but a horizon is a shard's and equal on all
//! its replicas; see `docs/decisions/retention-by-size.md`. `first_day_kept` decides; `run` performs.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use narthex_cluster::NodeId;
use narthex_model::Timestamp;
use narthex_proto::{client::ShardClient, internal::v1::NodeStatusRequest};
use narthex_tsdb::{entry::Horizon, kv::KvError};
use tokio::time::timeout;
use tracing::{error, warn};

use super::{
    Replicas,
    upkeep::{self, Due},
};
use crate::node::Shared;

/// How often sizes are looked at.
const TURN: Duration = Duration::from_secs(5);
/// How long another node may take to say what it has room for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const DAY_MILLIS: i64 = 86_400_000;
/// Stands for "room for all".
const ALL: i64 = i64::MIN;

/// The first day a node has room for, as it found it last.
#[derive(Debug)]
pub struct FirstDay(AtomicI64);

impl Default for FirstDay {
    fn default() -> Self {
        Self(AtomicI64::new(ALL))
    }
}

impl FirstDay {
    /// Days since the epoch; `None` while there is room for all.
    pub fn get(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|day| *day != ALL)
    }

    fn set(&self, day: Option<i64>) {
        self.0.store(day.unwrap_or(ALL), Ordering::Relaxed);
    }
}

/// What a node's folder holds, without what retention has dropped already.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    /// Bytes of each day's chunks, all replicas together.
    pub days: BTreeMap<i64, u64>,
    /// Bytes of everything else: logs, open chunks, index.
    pub other: u64,
}

/// The first day for which there is room within `limit` bytes; `None` if there is for all. Today
/// is always kept: samples come in all the time.
pub fn first_day_kept(held: &Held, limit: u64, today: i64) -> Option<i64> {
    let mut bytes = held.days.values().sum::<u64>() + held.other;
    let mut first = None;
    for (&day, &of_day) in held.days.range(..today) {
        if bytes <= limit {
            break;
        }
        bytes -= of_day;
        first = Some(day + 1);
    }
    first
}

/// Keeps what this node says it has room for up to date, and moves the horizons of the shards led
/// here, until the node stops.
pub(crate) async fn run(shared: Arc<Shared>, replicas: Arc<Replicas>, client: ShardClient) {
    let state = shared.control.state();
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(TURN) => {}
        }
        let Some(limit) = limit(state.borrow().settings().retention_bytes) else {
            shared.first_day_kept.set(None);
            continue;
        };
        match held(&shared, &replicas).await {
            Ok(held) => {
                // Before there is agreement on the time, nothing is dropped.
                let now = shared.clocks.agreed_time(shared.clock.monotonic());
                let first = now.and_then(|now| first_day_kept(&held, limit, now.utc_day()));
                shared.first_day_kept.set(first);
            }
            Err(problem) => error!(error = %problem, "size of the data is not known"),
        }
        move_horizons(&shared, &replicas, &client).await;
    }
}

fn limit(retention_bytes: i64) -> Option<u64> {
    u64::try_from(retention_bytes).ok().filter(|limit| *limit > 0)
}

async fn held(shared: &Arc<Shared>, replicas: &Replicas) -> Result<Held, KvError> {
    let (shared, all) = (shared.clone(), replicas.all());
    let looked = tokio::task::spawn_blocking(move || {
        let mut held = Held::default();
        for replica in all {
            for (day, bytes) in replica.reader.day_bytes()? {
                *held.days.entry(day).or_default() += bytes;
            }
        }
        let stats = shared.data.stats()?;
        held.other =
            stats.file_bytes - stats.chunk_bytes + folder_bytes(&shared.folder.join("log"));
        Ok(held)
    });
    looked.await.expect("BUG: looking at sizes panicked")
}

/// Files come and go meanwhile: what cannot be read counts as nothing.
fn folder_bytes(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|it| it.len()).sum()
}

async fn move_horizons(shared: &Arc<Shared>, replicas: &Replicas, client: &ShardClient) {
    let first_days = first_days(shared, client).await;
    let state = shared.control.state().borrow().clone();
    for replica in replicas.all().into_iter().filter(|replica| replica.leadership().ready) {
        let hosts = state.placement(replica.shard).into_iter().flat_map(|it| it.nodes());
        let first = hosts.filter_map(|node| first_days.get(&node)).max();
        let Some(&first) = first else { continue };
        let time = Timestamp::from_millis(first.saturating_mul(DAY_MILLIS));
        // The oldest days go, however long their classes would be kept.
        let passed = replica.reader.horizons().into_iter().filter(|before| before.time < time);
        let moved: Vec<Horizon> = passed.map(|before| Horizon { time, ..before }).collect();
        if !moved.is_empty() {
            warn!(shard = %replica.shard, horizon = %time, "oldest days are dropped: their nodes are full");
            upkeep::tell(&replica, Due::Horizons(moved)).await;
        }
    }
}

/// What each node has room for, of those that have not room for all.
async fn first_days(shared: &Arc<Shared>, client: &ShardClient) -> BTreeMap<NodeId, i64> {
    let members: Vec<NodeId> = shared.control.state().borrow().members().keys().copied().collect();
    let asked = members.into_iter().map(|node| async move {
        if node == shared.node {
            return Some((node, shared.first_day_kept.get()?));
        }
        let service = client.node(node).ok()?;
        let status = timeout(ANSWER_TIMEOUT, service.node_status(NodeStatusRequest {})).await;
        Some((node, status.ok()?.ok()?.first_day_kept?))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(days: &[(i64, u64)], other: u64) -> Held {
        Held { days: days.iter().copied().collect(), other }
    }

    #[test]
    fn whole_days_go_from_the_oldest_until_the_rest_fits() {
        let held = held(&[(3, 100), (4, 100), (6, 100), (7, 100)], 50);
        assert_eq!(first_day_kept(&held, 450, 7), None);
        assert_eq!(first_day_kept(&held, 449, 7), Some(4));
        assert_eq!(first_day_kept(&held, 250, 7), Some(5));
        assert_eq!(first_day_kept(&held, 249, 7), Some(7));
    }

    #[test]
    fn today_is_always_kept() {
        let held = held(&[(6, 100), (7, 100), (8, 5)], 50);
        assert_eq!(first_day_kept(&held, 1, 7), Some(7));
        assert_eq!(first_day_kept(&held, 1, 6), None);
    }

    #[test]
    fn no_limit_is_no_limit() {
        assert_eq!((limit(0), limit(-1), limit(7)), (None, None, Some(7)));
        let first = FirstDay::default();
        assert_eq!(first.get(), None);
        first.set(Some(-3));
        assert_eq!(first.get(), Some(-3));
    }
}
