//! Digests: what proves that the replicas of a shard hold the same at the same log position.
//!
//! The leader proposes an entry that asks for one. Every replica pins its content when it applies
//! that entry, and hashes it when it is asked for the result.

use std::{sync::Arc, time::Duration};

use narthex_model::Timestamp;
use narthex_tsdb::{Digest, DigestTask, entry};
use parking_lot::Mutex;
use tokio::{sync::OnceCell, time::timeout};

use super::{
    Replica,
    core::Urgency,
    task::{Write, WriteError},
};

/// How long a replica may take to apply the entry: a follower that lags this much is out of step
/// in its own way.
const APPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// The size of the entry.
const ENTRY_BYTES: usize = 32;

/// Why there is no digest. It counts as a failure, never as equal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Ask again later, or look why the replica lags.
    #[error("entry {index} is not applied within {}s", APPLY_TIMEOUT.as_secs())]
    Behind {
        /// The entry that asked.
        index: u64,
    },
    /// Ask for another one.
    #[error("entry {index} was followed by another request, entry {newest}")]
    Replaced {
        /// The entry that asked.
        index: u64,
        /// The one that replaced it.
        newest: u64,
    },
    /// Whoever asked first went away: ask for another one.
    #[error("an earlier reading was cut off")]
    CutOff,
    /// Content on disk cannot be read.
    #[error("content cannot be read: {0}")]
    Unreadable(String),
}

/// A digest that an entry asked for: pinned when that was applied, computed when it is asked for.
#[derive(Debug)]
pub(super) struct AskedDigest {
    index: u64,
    task: Mutex<Option<DigestTask>>,
    result: OnceCell<Result<Digest, DigestError>>,
}

impl AskedDigest {
    pub(super) fn new(task: DigestTask) -> Self {
        let index = task.position().index;
        Self { index, task: Mutex::new(Some(task)), result: OnceCell::new() }
    }

    async fn result(&self) -> Result<Digest, DigestError> {
        let compute = || async {
            let task = self.task.lock().take().ok_or(DigestError::CutOff)?;
            let computed = tokio::task::spawn_blocking(move || task.run()).await;
            let computed = computed.map_err(|_| DigestError::CutOff)?;
            computed.map_err(|error| DigestError::Unreadable(error.to_string()))
        };
        self.result.get_or_init(compute).await.clone()
    }
}

/// Has every replica of the shard that `leader` leads digest all it holds. Gives the log index,
/// as the storage counts it, that the digests are of.
pub(crate) async fn propose(leader: &Replica) -> Result<u64, WriteError> {
    let write = Write {
        encode: Box::new(|entry, _| {
            entry.digest(entry::Digest { start: Timestamp::MIN, end: Timestamp::MAX });
            Ok(())
        }),
        bytes: ENTRY_BYTES,
        urgency: Urgency::AtOnce,
    };
    leader.writer.write(write).await?;
    // Ours is applied by now; a later one is as good.
    let newest = leader.state.digests().borrow().as_ref().map(|asked| asked.index);
    newest.ok_or(WriteError::Unknown)
}

/// This replica's digest at `index`, once it has got there.
pub(crate) async fn at(replica: &Replica, index: u64) -> Result<Digest, DigestError> {
    let mut digests = replica.state.digests();
    let reached =
        |asked: &Option<Arc<AskedDigest>>| asked.as_ref().is_some_and(|asked| asked.index >= index);
    let asked = match timeout(APPLY_TIMEOUT, digests.wait_for(reached)).await {
        Ok(Ok(asked)) => asked.clone(),
        _ => None,
    };
    match asked.ok_or(DigestError::Behind { index })? {
        asked if asked.index == index => asked.result().await,
        later => Err(DigestError::Replaced { index, newest: later.index }),
    }
}
