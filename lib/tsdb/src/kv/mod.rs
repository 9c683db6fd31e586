//! The store under a shard: an ordered map of bytes with atomic batches.
//!
//! Nothing but checkpoints is written here. A batch becomes visible at once and durable later,
//! all of it or nothing: after a crash the store holds what some prefix of the batches wrote.

mod memory;
mod rocks;

use std::ops::ControlFlow;

pub use memory::MemoryKv;
pub use rocks::{DataDb, DataDbConfig, DataDbStats};

/// A key space of its own. `docs/formats/state.md` lists what each holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Pages of sealed chunks: written once.
    Chunks,
    /// Pages of open chunks: rewritten by every checkpoint.
    Open,
    /// Series and days.
    Index,
    /// Everything else of a shard's state, its log position first.
    State,
}

impl Space {
    /// All spaces.
    pub const ALL: [Self; 4] = [Self::Chunks, Self::Open, Self::Index, Self::State];

    /// As it is named on disk.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chunks => "chunks",
            Self::Open => "open",
            Self::Index => "index",
            Self::State => "state",
        }
    }
}

/// One change of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets a key.
    Put {
        /// Where.
        space: Space,
        /// The key.
        key: Vec<u8>,
        /// Its new value.
        value: Vec<u8>,
    },
    /// Removes a key.
    Delete {
        /// Where.
        space: Space,
        /// The key.
        key: Vec<u8>,
    },
    /// Removes the keys of `[start, end)`.
    DeleteRange {
        /// Where.
        space: Space,
        /// The first key.
        start: Vec<u8>,
        /// The first key that stays.
        end: Vec<u8>,
    },
}

/// Changes that happen together, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The changes.
    pub writes: Vec<Write>,
}

impl Batch {
    /// Sets a key.
    pub fn put(&mut self, space: Space, key: Vec<u8>, value: Vec<u8>) {
        self.writes.push(Write::Put { space, key, value });
    }

    /// Removes a key.
    pub fn delete(&mut self, space: Space, key: Vec<u8>) {
        self.writes.push(Write::Delete { space, key });
    }

    /// Removes the keys of `[start, end)`.
    pub fn delete_range(&mut self, space: Space, start: Vec<u8>, end: Vec<u8>) {
        self.writes.push(Write::DeleteRange { space, start, end });
    }
}

/// The store failed. The replica stops: what it holds in memory may be ahead of what it can keep.
#[derive(Debug, thiserror::Error)]
#[error("{step}")]
pub struct KvError {
    /// What was being done.
    pub step: &'static str,
    /// What went wrong.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// What a scan calls for each key and value until it breaks.
pub type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'v;

/// A store at one moment. Only what [`KeyValue::drop_files`] gives back may be missing.
pub trait View {
    /// Visits the keys of `[start, end)` in order.
    fn scan(
        &self,
        space: Space,
        start: &[u8],
        end: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), KvError>;
}

/// See the module. Calls block on the disk: never make one from an async worker.
pub trait KeyValue: Send + Sync {
    /// Makes all changes of a batch, or none.
    fn write(&self, batch: Batch) -> Result<(), KvError>;

    /// The newest value of a key.
    fn read(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError>;

    /// The value of a key that a crash would leave.
    fn read_persisted(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError>;

    /// Visits the keys of `[start, end)` in order.
    fn scan(
        &self,
        space: Space,
        start: &[u8],
        end: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), KvError>;

    /// The store as it is now, whatever is written meanwhile.
    fn view(&self) -> Box<dyn View + '_>;

    /// Makes everything written so far durable.
    fn flush(&self) -> Result<(), KvError>;

    /// Gives back the space of whole files inside `[start, end)`, whose keys nobody reads.
    fn drop_files(&self, space: Space, start: &[u8], end: &[u8]) -> Result<(), KvError>;

    /// Bytes that files hold in `[start, end)`, near enough.
    fn file_bytes(&self, space: Space, start: &[u8], end: &[u8]) -> Result<u64, KvError>;

    /// Gives back the space of what was deleted in `[start, end)`. Slow.
    fn compact(&self, space: Space, start: &[u8], end: &[u8]) -> Result<(), KvError>;
}
