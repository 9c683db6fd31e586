//! The seam at which the log reaches the disk, so that a test can slow or fail it.

use std::io;

/// Makes what was written durable. Everything the log acknowledges has passed through here.
pub trait SyncSeam: Send + Sync + 'static {
    /// Calls `sync_wal`, which returns once the write-ahead file is on stable storage.
    fn sync(&self, sync_wal: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()>;
}

/// Syncs, and nothing else.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainSync;

impl SyncSeam for PlainSync {
    fn sync(&self, sync_wal: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        sync_wal()
    }
}
