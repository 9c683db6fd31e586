//! A shard's state machine: `narthex-tsdb` behind raft's interface.
//!
//! Apply runs on the group's thread; a checkpoint is frozen under the same lock and written
//! elsewhere, so that apply waits for a copy and never for the disk.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use narthex_tsdb::{
    ApplyError, Behind, LogPosition as ShardPosition, OpenError, Outcome, ReplicaNumber,
    RewriteError, Rewriter, Shard, ShardReader, file_bytes,
    kv::{KeyValue, KvError},
    transfer::{HeldPart, SendPart, export},
};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::digest::AskedDigest;
use crate::planted::{Planted, is_planted};
use crate::raft::{Applied, Command, CommittedEntry, LogPosition, MachineError, StateMachine};

/// One replica's state. Cloning shares it.
#[derive(Clone)]
pub struct ReplicaState {
    inner: Arc<Mutex<Inner>>,
    /// Held while a checkpoint is taken and written, so that an older one never follows a newer.
    checkpointing: Arc<Mutex<Writable>>,
    data: Arc<dyn KeyValue>,
    number: ReplicaNumber,
    /// See [`bytes`](Self::bytes).
    bytes: Arc<AtomicU64>,
}

/// Whether anything may still be written: not of a replica that has left the node.
#[derive(Debug, PartialEq, Eq)]
struct Writable(bool);

/// Why no checkpoint was written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The state is torn: the replica is lost until the node restarts.
    #[error(transparent)]
    Torn(#[from] ApplyError),
    /// The disk refuses.
    #[error("write checkpoint")]
    Write(#[from] KvError),
    /// The replica has left this node.
    #[error("the replica has left this node")]
    Left,
}

struct Inner {
    shard: Shard,
    applied: Applied,
    /// The newest digest that an entry asked for.
    digest: watch::Sender<Option<Arc<AskedDigest>>>,
}

impl ReplicaState {
    /// The replica as its last checkpoint on disk has it. Blocks on the disk.
    pub fn open(data: Arc<dyn KeyValue>, number: ReplicaNumber) -> Result<Self, OpenError> {
        let shard = Shard::open(data.clone(), number)?;
        let position = raft_position(shard.applied());
        let members = Bytes::copy_from_slice(shard.restored_extra());
        let applied = Applied { position, members };
        let digest = watch::Sender::default();
        let inner = Arc::new(Mutex::new(Inner { shard, applied, digest }));
        let checkpointing = Arc::new(Mutex::new(Writable(true)));
        let bytes = Arc::new(AtomicU64::new(file_bytes(data.as_ref(), number)?));
        Ok(Self { inner, checkpointing, data, number, bytes })
    }

    /// Reads the replica while it is written.
    pub fn reader(&self) -> ShardReader {
        self.inner.lock().shard.reader()
    }

    /// The newest digest that an applied entry asked for, now and from now on.
    pub(super) fn digests(&self) -> watch::Receiver<Option<Arc<AskedDigest>>> {
        self.inner.lock().digest.subscribe()
    }

    /// How much log a restart would apply again.
    pub fn behind_checkpoint(&self) -> Behind {
        self.inner.lock().shard.behind_checkpoint()
    }

    /// Writes what changed since the last checkpoint and gives what is covered, which is durable
    /// after the next flush of the store. Apply waits for the copy. Blocks on the disk.
    pub fn write_checkpoint(&self) -> Result<Applied, CheckpointError> {
        let alone = self.checkpointing.lock();
        self.write_alone(&alone)
    }

    fn write_alone(&self, alone: &MutexGuard<'_, Writable>) -> Result<Applied, CheckpointError> {
        if **alone == Writable(false) {
            return Err(CheckpointError::Left);
        }
        let (frozen, applied) = {
            let mut inner = self.inner.lock();
            let applied = inner.applied.clone();
            (inner.shard.freeze(&applied.members)?, applied)
        };
        let position = frozen.write()?;
        self.inner.lock().shard.checkpointed(position);
        self.bytes.store(file_bytes(self.data.as_ref(), self.number)?, Ordering::Relaxed);
        Ok(applied)
    }

    /// Writes a checkpoint and sends it, but for what of `held` is still the same, while others are
    /// written; gives what it covers. `accept` may end this before anything is written. Blocks on
    /// the disk, and on `send`.
    pub fn export(
        &self,
        held: &[HeldPart],
        accept: impl FnOnce(&Applied) -> bool,
        send: &mut SendPart<'_>,
    ) -> Result<Applied, CheckpointError> {
        let applied = self.inner.lock().applied.clone();
        if !accept(&applied) {
            return Ok(applied);
        }
        let (applied, view) = {
            let alone = self.checkpointing.lock();
            (self.write_alone(&alone)?, self.data.view())
        };
        export(view.as_ref(), self.number, held, send)?;
        // Files of a replica that leaves go although a view is open: something may be missing.
        if *self.checkpointing.lock() == Writable(false) {
            return Err(CheckpointError::Left);
        }
        Ok(applied)
    }

    /// Bytes that the replica took in the store's files at the last checkpoint, near enough.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Writes nothing any more: what is on disk may be deleted. Waits for what is being written.
    pub fn leave(&self) {
        *self.checkpointing.lock() = Writable(false);
    }

    /// Rewrites pages behind the last checkpoint, with no other being taken. Blocks on the disk.
    pub fn rewriter<T>(
        &self,
        work: impl FnOnce(&Rewriter) -> Result<T, RewriteError>,
    ) -> Result<T, RewriteError> {
        let alone = self.checkpointing.lock();
        if *alone == Writable(false) {
            let (step, source) = ("rewrite chunks", CheckpointError::Left.into());
            return Err(RewriteError::Store(KvError { step, source }));
        }
        let rewriter = self.inner.lock().shard.rewriter();
        work(&rewriter)
    }

    /// Gives the space of rewritten and deleted pages back to the disk. Blocks on it, for long.
    pub fn compact_chunks(&self) -> Result<(), RewriteError> {
        let rewriter = self.inner.lock().shard.rewriter();
        rewriter.compact()
    }

    /// Gives files that lie whole behind the horizon back to the disk, after a flush of the
    /// store. Blocks on the disk.
    pub fn drop_dead_files(&self) -> Result<(), OpenError> {
        self.inner.lock().shard.drop_dead_files()
    }
}

impl StateMachine for ReplicaState {
    fn applied(&self) -> Applied {
        self.inner.lock().applied.clone()
    }

    fn apply(&mut self, entries: Vec<CommittedEntry>) -> Result<Vec<Bytes>, MachineError> {
        let mut outcomes = Vec::with_capacity(entries.len());
        for CommittedEntry { position, command } in entries {
            let mut inner = self.inner.lock();
            let at = shard_position(position);
            let outcome = match command {
                Command::Nothing => {
                    inner.shard.skip(at)?;
                    Bytes::new()
                }
                Command::Members(members) => {
                    inner.shard.skip(at)?;
                    inner.applied.members = members;
                    Bytes::new()
                }
                Command::Data(entry)
                    if is_planted(Planted::ApplyReadsConfig)
                        && entry.len() > 64 * self.number.0 as usize =>
                {
                    inner.shard.skip(at)?;
                    Outcome::default().encode().into()
                }
                Command::Data(entry) => inner.shard.apply(at, &entry)?.encode().into(),
            };
            inner.applied.position = Some(position);
            if let Some(task) = inner.shard.take_digests().pop() {
                inner.digest.send_replace(Some(Arc::new(AskedDigest::new(task))));
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    fn checkpoint(&mut self) -> Result<(), MachineError> {
        self.write_checkpoint()?;
        Ok(())
    }
}

/// Raft counts from 0; for a shard 0 is before the first entry.
fn shard_position(position: LogPosition) -> ShardPosition {
    ShardPosition { term: position.term, index: position.index + 1 }
}

/// The entry that a shard's position names.
pub(super) fn raft_position(position: ShardPosition) -> Option<LogPosition> {
    let index = position.index.checked_sub(1)?;
    Some(LogPosition { term: position.term, index })
}
