//! The log thread: takes what is queued, writes it as one batch, syncs once, then tells.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rocksdb::{DB, WriteBatch};

use super::{
    Shared, SyncSeam, default_cf,
    queue::{Batch, Deleted, Op},
    record::{self, Mark},
    store::DELETE_BYTES_MIN,
    watermark::{Marks, Watermark},
};
use crate::raft::{
    metrics::{self, Durations},
    types::{Entry, GroupId},
};

/// What the log thread counts.
#[derive(Debug, Default)]
pub struct LogMetrics {
    /// How long a write and its sync take.
    pub sync_duration: Durations,
    /// Bytes handed to the database.
    pub written_bytes: AtomicU64,
    /// Appends and votes acknowledged; divided by the syncs, how many share one.
    pub acknowledged: AtomicU64,
}

pub struct Writer {
    pub db: Arc<DB>,
    pub shared: Arc<Shared>,
    pub watermark: Arc<Watermark>,
    pub sync: Arc<dyn SyncSeam>,
    pub spacing: Duration,
    /// What was synced of each group.
    pub durable: Marks,
}

impl Writer {
    /// Runs until the queue is stopped and empty, or a write fails.
    pub fn run(mut self) {
        while let Some(batch) = self.shared.queue.take() {
            match self.write(&batch) {
                Ok(()) => self.acknowledge(batch),
                Err(error) => return self.fail(batch, error),
            }
            self.shared.queue.pause(self.spacing);
        }
    }

    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        let mut encoder = Encoder::new(&self.db);
        for (group, op) in &batch.ops {
            if let Op::Truncate { last, .. } = op {
                self.watermark.lower(*group, last.map_or(0, |last| last.index + 1))?;
            }
            encoder.op(*group, op);
        }
        for (group, committed) in &batch.committed {
            encoder.mark(Mark::Committed, *group, |scratch, key| {
                record::seal_log_id(scratch, key, committed);
            });
        }
        let (db, metrics) = (&self.db, &self.shared.metrics);
        metrics.written_bytes.fetch_add(encoder.batch.size_in_bytes() as u64, Ordering::Relaxed);
        let started = metrics::now();
        db.write(encoder.batch).map_err(io::Error::other)?;
        self.sync.sync(&mut || db.flush_wal(true).map_err(io::Error::other))?;
        metrics.sync_duration.record(started.elapsed());
        Ok(())
    }

    fn acknowledge(&mut self, batch: Batch) {
        let synced = self.synced(&batch);
        self.watermark.raise(&synced);
        self.shared.room.add_permits(batch.room_kib);
        let count = batch.ops.len() as u64;
        self.shared.metrics.acknowledged.fetch_add(count, Ordering::Relaxed);
        for (_, op) in batch.ops {
            op.complete(&Ok(()));
        }
    }

    /// Moves the durable marks over a batch; gives the marks of the groups in it.
    fn synced(&mut self, batch: &Batch) -> Marks {
        let mut synced = Marks::new();
        for (group, op) in &batch.ops {
            let mark = self.durable.entry(*group).or_default();
            match op {
                Op::Append { entries, .. } => {
                    mark.last = entries.last().map(|entry| entry.log_id).or(mark.last);
                    self.written(*group, entries);
                }
                Op::Vote { vote, .. } => mark.vote = Some(*vote),
                Op::Truncate { last, .. } => mark.last = *last,
                Op::Purge { upto, delete } => {
                    mark.last = mark.last.max(Some(*upto));
                    delete.iter().for_each(|deleted| self.drop_files(*group, deleted));
                }
            }
        }
        for (group, _) in &batch.ops {
            synced.insert(*group, self.durable[group]);
        }
        synced
    }

    /// Gives back whole files of entries whose purge was synced: else a large log would stay on
    /// disk until it is compacted. What cannot be given back now is then.
    fn drop_files(&self, group: GroupId, deleted: &Deleted) {
        if deleted.bytes < DELETE_BYTES_MIN {
            return;
        }
        let (start, end) =
            (record::entry_key(group, deleted.start), record::entry_key(group, deleted.end));
        if let Err(error) = self.db.delete_file_in_range_cf(default_cf(&self.db), start, end) {
            tracing::warn!(%group, %error, "files of purged entries were not dropped");
        }
    }

    /// Lets the tail drop entries that can be read from disk now.
    fn written(&self, group: GroupId, entries: &[Entry]) {
        let state = self.shared.groups.lock().get(&group).cloned();
        if let (Some(state), Some(last)) = (state, entries.last()) {
            state.lock().tail.written(last.log_id.index + 1);
        }
    }

    fn fail(&self, batch: Batch, error: io::Error) {
        self.shared.fail(&error);
        let result = Err(error);
        for (_, op) in batch.ops {
            op.complete(&result);
        }
    }
}

/// Turns operations into one batch.
struct Encoder<'a> {
    db: &'a DB,
    batch: WriteBatch,
    scratch: Vec<u8>,
}

impl<'a> Encoder<'a> {
    fn new(db: &'a DB) -> Self {
        Self { db, batch: WriteBatch::default(), scratch: Vec::new() }
    }

    fn op(&mut self, group: GroupId, op: &Op) {
        match op {
            Op::Append { entries, .. } => {
                for entry in entries {
                    let key = record::entry_key(group, entry.log_id.index);
                    record::seal_entry(&mut self.scratch, &key, entry);
                    self.batch.put(key, &self.scratch);
                }
            }
            Op::Vote { vote, .. } => {
                self.mark(Mark::Vote, group, |scratch, key| {
                    record::seal_vote(scratch, key, vote);
                });
            }
            Op::Truncate { last, end } => {
                self.delete(group, last.map_or(0, |last| last.index + 1), *end);
            }
            Op::Purge { upto, delete } => {
                self.mark(Mark::Purged, group, |scratch, key| {
                    record::seal_log_id(scratch, key, upto);
                });
                if let Some(Deleted { start, end, .. }) = delete {
                    self.delete(group, *start, *end);
                }
            }
        }
    }

    fn mark(&mut self, mark: Mark, group: GroupId, seal: impl FnOnce(&mut Vec<u8>, &[u8])) {
        let key = mark.key(group);
        seal(&mut self.scratch, &key);
        self.batch.put(key, &self.scratch);
    }

    fn delete(&mut self, group: GroupId, start: u64, end: u64) {
        let (start, end) = (record::entry_key(group, start), record::entry_key(group, end));
        self.batch.delete_range_cf(default_cf(self.db), start, end);
    }
}
