//! A shard's state machine: `narthex-tsdb` behind raft's interface.
//!
//! Apply runs on the group's thread; a checkpoint is frozen under the same lock and written
//! elsewhere, so that apply waits for a copy and never for the disk.

use std::sync::Arc;

use bytes::Bytes;
use narthex_tsdb::{
    ApplyError, Behind, LogPosition as ShardPosition, OpenError, ReplicaNumber, RewriteError,
    Rewriter, Shard, ShardReader,
    kv::{DataDb, KvError},
};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::digest::AskedDigest;
use crate::raft::{Applied, Command, CommittedEntry, LogPosition, MachineError, StateMachine};

/// One replica's state. Cloning shares it.
#[derive(Clone)]
pub struct ReplicaState {
    inner: Arc<Mutex<Inner>>,
    /// Held while a checkpoint is taken and written, so that an older one never follows a newer.
    checkpointing: Arc<Mutex<()>>,
}

/// Why no checkpoint was written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The state is torn: the replica is lost until the node restarts.
    #[error(transparent)]
    Torn(#[from] ApplyError),
    /// The disk refuses.
    #[error("write checkpoint")]
    Write(#[from] KvError),
}

struct Inner {
    shard: Shard,
    applied: Applied,
    /// The newest digest that an entry asked for.
    digest: watch::Sender<Option<Arc<AskedDigest>>>,
}

impl ReplicaState {
    /// The replica as its last checkpoint on disk has it. Blocks on the disk.
    pub fn open(data: Arc<DataDb>, number: ReplicaNumber) -> Result<Self, OpenError> {
        let shard = Shard::open(data, number)?;
        let position = raft_position(shard.applied());
        let members = Bytes::copy_from_slice(shard.restored_extra());
        let applied = Applied { position, members };
        let digest = watch::Sender::default();
        let inner = Arc::new(Mutex::new(Inner { shard, applied, digest }));
        Ok(Self { inner, checkpointing: Arc::default() })
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
        let _alone = self.checkpointing.lock();
        let (frozen, applied) = {
            let mut inner = self.inner.lock();
            let applied = inner.applied.clone();
            (inner.shard.freeze(&applied.members)?, applied)
        };
        let position = frozen.write()?;
        self.inner.lock().shard.checkpointed(position);
        Ok(applied)
    }

    /// Rewrites pages behind the last checkpoint, with no other being taken. Blocks on the disk.
    pub fn rewriter<T>(
        &self,
        work: impl FnOnce(&Rewriter) -> Result<T, RewriteError>,
    ) -> Result<T, RewriteError> {
        let _alone = self.checkpointing.lock();
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

fn raft_position(position: ShardPosition) -> Option<LogPosition> {
    let index = position.index.checked_sub(1)?;
    Some(LogPosition { term: position.term, index })
}
