//! Writes checkpoints when `due.rs` says so, flushes the store, and tells raft what is durable, so
//! that the log can be purged behind it.
//!
//! One checkpoint is written at a time; apply goes on meanwhile.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use narthex_cluster::ShardId;
use narthex_tsdb::kv::KeyValue as _;
use tracing::{debug, error};

use super::{
    Replica, Replicas,
    due::{Backlog, Limits, due},
};
use crate::{node::Shared, raft::Applied, thread_name::named};

/// How often the rule is asked.
const TURN: Duration = Duration::from_secs(1);
/// A written checkpoint is flushed after this long at the latest: until then it holds back the
/// purging of the log.
const FLUSH_INTERVAL: Duration = Duration::from_secs(30);
/// Or once so much waits in memory, at the end of a checkpoint. A checkpoint of 50 000 series has
/// about 12 MiB.
const FLUSH_BYTES: u64 = 8 << 20;

/// What was written and is not durable yet, and since when shards have something to write.
#[derive(Default)]
struct Progress {
    unflushed: BTreeMap<ShardId, Applied>,
    unflushed_since: Option<Instant>,
    behind_since: BTreeMap<ShardId, Instant>,
}

/// Runs until the node stops.
pub(crate) async fn run(shared: Arc<Shared>, replicas: Arc<Replicas>) {
    let mut progress = Progress::default();
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(TURN) => {}
        }
        let now = shared.clock.monotonic();
        let backlogs = backlogs(&replicas, &mut progress, now);
        for shard in due(&backlogs, &Limits::default()) {
            if let Some(replica) = replicas.get(shard) {
                write(&replica, &mut progress, now).await;
                if memtable_bytes(&shared) >= FLUSH_BYTES {
                    flush(&shared, &replicas, &mut progress).await;
                }
            }
        }
        // Nothing of a log is purged that is not behind a checkpoint on disk.
        let is_over = |shard| {
            let log = replicas.get(shard).map(|replica| replica.group.log_bytes());
            log.is_some_and(|(bytes, max)| bytes > max)
        };
        if progress.unflushed.keys().any(|shard| is_over(*shard)) {
            flush(&shared, &replicas, &mut progress).await;
        }
        let is_old = |since: Instant| now.saturating_duration_since(since) >= FLUSH_INTERVAL;
        if progress.unflushed_since.is_some_and(is_old) {
            flush(&shared, &replicas, &mut progress).await;
        }
    }
}

/// Bytes that were written and are not on disk yet. A store that cannot tell is flushed by age.
fn memtable_bytes(shared: &Shared) -> u64 {
    shared.data.stats().map_or(0, |stats| stats.memtable_bytes)
}

/// Writes and flushes all shards now.
pub(crate) async fn write_all(shared: &Arc<Shared>, replicas: &Replicas) {
    let mut progress = Progress::default();
    let now = shared.clock.monotonic();
    for replica in replicas.all() {
        write(&replica, &mut progress, now).await;
    }
    flush(shared, replicas, &mut progress).await;
}

/// Flushes what was rewritten since, and compacts the whole store.
pub(crate) async fn compact_all(shared: &Arc<Shared>, replicas: &Replicas) {
    flush(shared, replicas, &mut Progress::default()).await;
    let data = shared.data.clone();
    if let Err(problem) = tokio::task::spawn_blocking(move || data.compact_all()).await {
        error!(%problem, "BUG: compaction panicked");
    }
}

fn backlogs(replicas: &Replicas, progress: &mut Progress, now: Instant) -> Vec<Backlog> {
    let all = replicas.all();
    all.into_iter()
        .map(|replica| {
            let behind = replica.state.behind_checkpoint();
            if behind.bytes == 0 {
                progress.behind_since.remove(&replica.shard);
            }
            let since = match behind.bytes {
                0 => now,
                _ => *progress.behind_since.entry(replica.shard).or_insert(now),
            };
            let (log_bytes, log_bytes_max) = replica.group.log_bytes();
            Backlog {
                shard: replica.shard,
                is_log_over: log_bytes > log_bytes_max,
                samples: behind.samples,
                bytes: behind.bytes,
                age: now.saturating_duration_since(since),
            }
        })
        .collect()
}

async fn write(replica: &Replica, progress: &mut Progress, now: Instant) {
    let state = replica.state.clone();
    let write = move || named(c"checkpoint", || state.write_checkpoint());
    match tokio::task::spawn_blocking(write).await {
        Ok(Ok(applied)) => {
            debug!(shard = %replica.shard, position = ?applied.position, "checkpoint written");
            progress.behind_since.remove(&replica.shard);
            progress.unflushed.insert(replica.shard, applied);
            progress.unflushed_since.get_or_insert(now);
        }
        Ok(Err(problem)) => {
            let error = &problem as &dyn std::error::Error;
            error!(shard = %replica.shard, error, "checkpoint was not written");
        }
        Err(problem) => error!(shard = %replica.shard, %problem, "BUG: checkpoint panicked"),
    }
}

async fn drop_dead_files(replica: &Replica) {
    let state = replica.state.clone();
    let dropped = tokio::task::spawn_blocking(move || state.drop_dead_files()).await;
    match dropped {
        Ok(Ok(())) => {}
        Ok(Err(problem)) => {
            error!(shard = %replica.shard, error = %problem, "old files were not dropped");
        }
        Err(problem) => error!(shard = %replica.shard, %problem, "BUG: dropping files panicked"),
    }
}

async fn flush(shared: &Arc<Shared>, replicas: &Replicas, progress: &mut Progress) {
    let data = shared.data.clone();
    let flushed = tokio::task::spawn_blocking(move || data.flush()).await;
    match flushed {
        Ok(Ok(())) => {
            progress.unflushed_since = None;
            // Not while a snapshot is being taken: then the next flush tells.
            let Some(_purging) = shared.snapshots.allow_purge() else { return };
            for (shard, applied) in std::mem::take(&mut progress.unflushed) {
                if let Some(replica) = replicas.get(shard) {
                    replica.group.persisted(applied);
                    drop_dead_files(&replica).await;
                }
            }
        }
        Ok(Err(problem)) => error!(error = %problem, "data was not flushed"),
        Err(problem) => error!(%problem, "BUG: flush panicked"),
    }
}
