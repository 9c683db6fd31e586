//! One replica of a shard: the door through which entries are applied and checkpoints taken.

use std::{collections::BTreeMap, fmt, sync::Arc};

use parking_lot::RwLock;

use crate::{
    LogPosition, Outcome, ReplicaNumber, RetentionClass,
    checkpoint::{self, FreezePlan, Frozen, OpenError, Tier},
    days::day_of,
    digest::DigestTask,
    entry::{Entry, EntryError},
    head::Head,
    keys,
    kv::{Batch, KeyValue, KvError, Space},
    pins::Pins,
    reader::ShardReader,
    rewrite::Rewriter,
};

/// What the shard's owner, its readers and its checkpoints have in common.
pub(crate) struct Core {
    pub(crate) head: RwLock<Head>,
    pub(crate) kv: Arc<dyn KeyValue>,
    pub(crate) replica: ReplicaNumber,
    /// What selections show.
    pub(crate) pins: Pins,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("replica", &self.replica).finish_non_exhaustive()
    }
}

/// Why an entry was not applied. All stop the replica.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The entry is damaged or newer than this program.
    #[error("apply entry {at}")]
    Entry {
        /// Where in the log it is.
        at: LogPosition,
        /// What is wrong with it.
        #[source]
        source: EntryError,
    },
    /// Entries must come in log order, each once.
    #[error("entry {at} is not behind {applied}, the last applied")]
    NotNext {
        /// Where the entry is.
        at: LogPosition,
        /// The last applied one.
        applied: LogPosition,
    },
    /// Tenants are not built yet.
    #[error("entry {at} is of tenant {tenant}, which this program does not know")]
    UnknownTenant {
        /// Where the entry is.
        at: LogPosition,
        /// The tenant it names.
        tenant: u32,
    },
    /// An entry failed before: reopen the shard from its checkpoint.
    #[error("an entry failed before: the state is torn")]
    Torn,
}

/// How much log a restart would apply again, for the rule when a checkpoint is due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Behind {
    /// Samples stored since the last confirmed checkpoint.
    pub samples: u64,
    /// Bytes of entries applied since then.
    pub bytes: u64,
}

/// See the module. Owned by the shard's thread.
#[derive(Debug)]
pub struct Shard {
    core: Arc<Core>,
    /// The caller's own state in the checkpoint the shard was opened from.
    extra: Vec<u8>,
    confirmed: LogPosition,
    confirmed_totals: Behind,
    totals: Behind,
    /// Totals at freezes that are not confirmed yet.
    frozen: Vec<(LogPosition, Behind)>,
    collected: BTreeMap<RetentionClass, i64>,
    digests: Vec<DigestTask>,
    torn: bool,
}

impl Shard {
    /// Reads back the replica's last checkpoint; an unknown replica is an empty shard. Blocks on
    /// the disk.
    pub fn open(kv: Arc<dyn KeyValue>, replica: ReplicaNumber) -> Result<Self, OpenError> {
        let (head, extra) = checkpoint::restore(kv.as_ref(), replica)?;
        let confirmed = head.applied;
        let pins = Pins::default();
        let core = Arc::new(Core { head: RwLock::new(head), kv, replica, pins });
        Ok(Self {
            core,
            extra,
            confirmed,
            confirmed_totals: Behind::default(),
            totals: Behind::default(),
            frozen: Vec::new(),
            collected: BTreeMap::new(),
            digests: Vec::new(),
            torn: false,
        })
    }

    /// The caller's own state, as it was in the checkpoint the shard was opened from.
    pub fn restored_extra(&self) -> &[u8] {
        &self.extra
    }

    /// The last entry that was applied.
    pub fn applied(&self) -> LogPosition {
        self.core.head.read().applied
    }

    /// Applies one entry: changes memory only. Equal entries in equal order have equal outcomes
    /// on every replica. Readers see all of it or nothing.
    pub fn apply(&mut self, at: LogPosition, entry: &[u8]) -> Result<Outcome, ApplyError> {
        if self.torn {
            return Err(ApplyError::Torn);
        }
        let failed = |source| ApplyError::Entry { at, source };
        let decoded = Entry::decode(entry).map_err(failed)?;
        let tenant = decoded.header().tenant;
        if tenant != 0 {
            return Err(ApplyError::UnknownTenant { at, tenant });
        }
        let mut head = self.core.head.write();
        if at.index <= head.applied.index {
            return Err(ApplyError::NotNext { at, applied: head.applied });
        }
        head.begin(at, &decoded.header());
        let before = head.samples_total;
        let executed = head.execute(&decoded).map_err(|source| {
            self.torn = true;
            failed(source)
        })?;
        head.end();
        self.totals.samples += head.samples_total - before;
        self.totals.bytes += entry.len() as u64;
        drop(head);
        for digest in executed.digests {
            self.digests.push(DigestTask::new(&self.reader(), digest));
        }
        Ok(executed.outcome)
    }

    /// Passes over an entry that is not ours: a blank one, or one that changes the membership.
    pub fn skip(&mut self, at: LogPosition) -> Result<(), ApplyError> {
        let mut head = self.core.head.write();
        if at.index <= head.applied.index {
            return Err(ApplyError::NotNext { at, applied: head.applied });
        }
        head.applied = at;
        Ok(())
    }

    /// The digests that applied entries asked for since the last call, to be run elsewhere.
    pub fn take_digests(&mut self) -> Vec<DigestTask> {
        std::mem::take(&mut self.digests)
    }

    /// A handle for queries; cheap to clone, usable from any thread.
    pub fn reader(&self) -> ShardReader {
        ShardReader::new(Arc::clone(&self.core))
    }

    /// Copies what changed since the last confirmed checkpoint. Apply waits meanwhile, some
    /// milliseconds for 100 000 series; [`Frozen::write`] does the rest on another thread.
    /// `extra` is the caller's own state, such as the raft membership.
    pub fn freeze(&mut self, extra: &[u8]) -> Result<Frozen, ApplyError> {
        if self.torn {
            return Err(ApplyError::Torn);
        }
        let plan =
            FreezePlan { confirmed: self.confirmed.index, collected: &self.collected, extra };
        let frozen = checkpoint::freeze(&self.core, &mut self.core.head.write(), &plan);
        self.frozen.push((frozen.position(), self.totals));
        Ok(frozen)
    }

    /// Confirms that a frozen checkpoint was written. Memory that it holds is freed.
    pub fn checkpointed(&mut self, position: LogPosition) {
        if position.index <= self.confirmed.index {
            return;
        }
        self.confirmed = position;
        let covered = self.frozen.iter().rev().find(|(frozen, _)| *frozen <= position);
        self.confirmed_totals = covered.map_or(self.confirmed_totals, |(_, totals)| *totals);
        self.frozen.retain(|(frozen, _)| *frozen > position);
        let mut head = self.core.head.write();
        head.finished.retain(|_, chunks| {
            chunks.retain(|chunk| chunk.at > position.index);
            !chunks.is_empty()
        });
        if head.finished.len() < head.finished.capacity() / 4 {
            head.finished.shrink_to_fit();
        }
        head.targets.forget_gone(position.index);
        head.rule_groups.forget_gone(position.index);
        head.exemplars.forget_left(position.index);
        head.families.forget_gone(position.index);
        head.tombstones.written(position.index);
        head.days.forget_gone(position.index);
        head.emptied.retain(|&(_, at)| at > position.index);
    }

    /// Applied, but not in a confirmed checkpoint.
    pub fn behind_checkpoint(&self) -> Behind {
        Behind {
            samples: self.totals.samples - self.confirmed_totals.samples,
            bytes: self.totals.bytes - self.confirmed_totals.bytes,
        }
    }

    /// The last confirmed checkpoint.
    pub fn checkpoint(&self) -> LogPosition {
        self.confirmed
    }

    /// The checkpoint that a crash would leave, with the caller's own state in it: the log may be
    /// purged up to its position. Blocks on the disk.
    pub fn persisted(&self) -> Result<Option<(LogPosition, Vec<u8>)>, OpenError> {
        persisted(self.core.kv.as_ref(), self.core.replica)
    }

    /// Rewrites pages of what the last confirmed checkpoint holds, and what nobody reads as it was
    /// before. No checkpoint may be taken or written while it works.
    pub fn rewriter(&self) -> Rewriter {
        Rewriter::new(&self.core, self.confirmed.index)
    }

    /// Gives whole files behind the persisted horizons back to the disk. Blocks on it.
    pub fn drop_dead_files(&mut self) -> Result<(), OpenError> {
        let (kv, replica) = (self.core.kv.as_ref(), self.core.replica);
        let Some(record) = checkpoint::read_head(kv, replica, Tier::Persisted)? else {
            return Ok(());
        };
        for (class, time) in record.horizons.0 {
            let day = day_of(time);
            if self.collected.get(&class).is_none_or(|&collected| collected < day) {
                let dead = keys::chunks_before(replica, class, day);
                kv.drop_files(Space::Chunks, &dead.start, &dead.end)?;
                self.collected.insert(class, day);
            }
        }
        Ok(())
    }
}

/// The checkpoint of a replica that a crash would leave, and the caller's own state in it.
pub fn persisted(
    kv: &dyn KeyValue,
    replica: ReplicaNumber,
) -> Result<Option<(LogPosition, Vec<u8>)>, OpenError> {
    let record = checkpoint::read_head(kv, replica, Tier::Persisted)?;
    Ok(record.map(|record| (record.position, record.extra)))
}

/// Bytes that a replica takes in the store's files, near enough.
pub fn file_bytes(kv: &dyn KeyValue, replica: ReplicaNumber) -> Result<u64, KvError> {
    let range = keys::replica(replica);
    Space::ALL.iter().map(|space| kv.file_bytes(*space, &range.start, &range.end)).sum()
}

/// Deletes everything of a replica that left this node or was refilled under another number.
pub fn delete_replica(kv: &dyn KeyValue, replica: ReplicaNumber) -> Result<(), KvError> {
    let range = keys::replica(replica);
    let mut batch = Batch::default();
    for space in Space::ALL {
        batch.delete_range(space, range.start.clone(), range.end.clone());
    }
    kv.write(batch)?;
    for space in Space::ALL {
        kv.drop_files(space, &range.start, &range.end)?;
    }
    Ok(())
}
