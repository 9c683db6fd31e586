//! The store on disk: one RocksDB for all replicas of a node.
//!
//! Invariants
//! * nothing is written ahead here: the raft log is the write-ahead log, and a batch is durable
//!   once the memtables that hold it were flushed, of all spaces together (atomic flush);
//! * a write error is final: the caller stops the node.
//!
//! All spaces have one write-buffer size, or a small one would force flushes of all others.

use std::{ops::ControlFlow, path::Path};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRawIterator,
    FlushOptions, Options, ReadOptions, ReadTier, SnapshotWithThreadMode, WriteBatch,
    WriteBufferManager, WriteOptions, checkpoint::Checkpoint,
};

use super::{Batch, KeyValue, KvError, Space, View, Visit, Write};

/// Memory of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataDbConfig {
    /// Bytes of decoded blocks and memtables in all. Default 48 MiB, which is also the least.
    pub memory_bytes: usize,
}

impl Default for DataDbConfig {
    fn default() -> Self {
        Self { memory_bytes: MEMORY_BYTES_MIN }
    }
}

/// Less makes every checkpoint its own small file.
const MEMORY_BYTES_MIN: usize = 48 << 20;
/// Memtables are flushed by the node's flusher; RocksDB does it by itself only beyond this.
const WRITE_BUFFER_BYTES: usize = 64 << 20;
/// How memtables grow: small beside what the node flushes at once.
const ARENA_BLOCK_BYTES: usize = 256 << 10;
/// A page of sealed chunks has up to 32 KiB, so most blocks are one page.
const CHUNK_BLOCK_BYTES: usize = 32 << 10;
/// Labels of neighbours resemble each other: large blocks compress them better.
const INDEX_BLOCK_BYTES: usize = 32 << 10;
/// What a change takes in a batch beside its content: its kind, its column family, two lengths.
const CHANGE_BYTES_MAX: usize = 16;
/// RocksDB's threads for flushes and compactions.
const BACKGROUND_JOBS: i32 = 2;

/// See the module.
pub struct DataDb {
    db: DB,
}

impl std::fmt::Debug for DataDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataDb").field("path", &self.db.path()).finish()
    }
}

/// Figures of the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DataDbStats {
    /// Bytes of all files that hold keys.
    pub file_bytes: u64,
    /// Bytes of those with sealed chunks.
    pub chunk_bytes: u64,
    /// Bytes of memtables, flushed or not.
    pub memtable_bytes: u64,
    /// Whether RocksDB has stopped taking writes.
    pub is_write_stopped: bool,
}

fn failed(step: &'static str) -> impl FnOnce(rocksdb::Error) -> KvError {
    move |source| KvError { step, source: Box::new(source) }
}

impl DataDb {
    /// Opens the store in a folder, making it if there is none. Blocks on the disk.
    pub fn open(path: &Path, config: DataDbConfig) -> Result<Self, KvError> {
        let memory = config.memory_bytes.max(MEMORY_BYTES_MIN);
        let cache = Cache::new_hyper_clock_cache(memory, CHUNK_BLOCK_BYTES / 4);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_atomic_flush(true);
        options.set_max_background_jobs(BACKGROUND_JOBS);
        options.set_bytes_per_sync(1 << 20);
        options.set_keep_log_file_num(4);
        options.set_stats_dump_period_sec(0);
        let memtables = WriteBufferManager::new_write_buffer_manager_with_cache(
            memory * 2 / 3,
            false,
            cache.clone(),
        );
        options.set_write_buffer_manager(&memtables);
        let mut spaces = vec![ColumnFamilyDescriptor::new("default", space_options(None, &cache))];
        for space in Space::ALL {
            let options = space_options(Some(space), &cache);
            spaces.push(ColumnFamilyDescriptor::new(space.name(), options));
        }
        let db =
            DB::open_cf_descriptors(&options, path, spaces).map_err(failed("open data store"))?;
        Ok(Self { db })
    }

    /// Figures for metrics.
    pub fn stats(&self) -> Result<DataDbStats, KvError> {
        let mut stats = DataDbStats::default();
        for space in Space::ALL {
            let of = |name: &str| {
                let found = self.db.property_int_value_cf(self.space(space), name);
                found.map(Option::unwrap_or_default).map_err(failed("read property"))
            };
            let file_bytes = of("rocksdb.total-sst-files-size")?;
            stats.file_bytes += file_bytes;
            stats.chunk_bytes += if space == Space::Chunks { file_bytes } else { 0 };
            stats.memtable_bytes += of("rocksdb.cur-size-all-mem-tables")?;
            stats.is_write_stopped |= of("rocksdb.is-write-stopped")? > 0;
        }
        Ok(stats)
    }

    /// Rewrites everything in its final order, so that deleted keys take no space. Slow.
    pub fn compact_all(&self) {
        for space in Space::ALL {
            self.db.compact_range_cf(self.space(space), None::<&[u8]>, None::<&[u8]>);
        }
    }

    /// Makes a copy of the store as it is now in a new folder, by links to its files, after a
    /// flush. Blocks on the disk.
    pub fn link_to(&self, folder: &Path) -> Result<(), KvError> {
        let linked = Checkpoint::new(&self.db).and_then(|it| it.create_checkpoint(folder));
        linked.map_err(failed("link files"))
    }

    fn space(&self, space: Space) -> &rocksdb::ColumnFamily {
        self.db.cf_handle(space.name()).expect("every space was opened")
    }
}

fn space_options(space: Option<Space>, cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_format_version(6);
    let mut options = Options::default();
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_arena_block_size(ARENA_BLOCK_BYTES);
    match space {
        // The values are encoded as small as they get.
        Some(Space::Chunks) => {
            blocks.set_block_size(CHUNK_BLOCK_BYTES);
            options.set_compression_type(DBCompressionType::None);
        }
        Some(Space::Index) => {
            blocks.set_block_size(INDEX_BLOCK_BYTES);
            options.set_compression_type(DBCompressionType::Zstd);
        }
        _ => options.set_compression_type(DBCompressionType::Lz4),
    }
    options.set_block_based_table_factory(&blocks);
    options
}

/// Bytes of a change in RocksDB's batch, or a few more.
fn encoded_bytes(write: &Write) -> usize {
    let content = match write {
        Write::Put { key, value, .. } => key.len() + value.len(),
        Write::Delete { key, .. } => key.len(),
        Write::DeleteRange { start, end, .. } => start.len() + end.len(),
    };
    content + CHANGE_BYTES_MAX
}

/// The store as it was when this was made.
struct DataView<'d> {
    db: &'d DataDb,
    snapshot: SnapshotWithThreadMode<'d, DB>,
}

impl View for DataView<'_> {
    fn scan(
        &self,
        space: Space,
        start: &[u8],
        end: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), KvError> {
        if start >= end {
            return Ok(());
        }
        let options = up_to(end);
        let cursor = self.snapshot.raw_iterator_cf_opt(self.db.space(space), options);
        visit_all(cursor, start, visit)
    }
}

fn up_to(end: &[u8]) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_upper_bound(end);
    options
}

fn visit_all(
    mut cursor: DBRawIterator<'_>,
    start: &[u8],
    visit: &mut Visit<'_>,
) -> Result<(), KvError> {
    cursor.seek(start);
    while let Some((key, value)) = cursor.item() {
        if visit(key, value) == ControlFlow::Break(()) {
            return Ok(());
        }
        cursor.next();
    }
    cursor.status().map_err(failed("scan"))
}

impl KeyValue for DataDb {
    fn write(&self, batch: Batch) -> Result<(), KvError> {
        // Grown step by step it would take twice its size, beside what it is made of.
        let mut writes =
            WriteBatch::with_capacity_bytes(batch.writes.iter().map(encoded_bytes).sum());
        for write in batch.writes {
            match write {
                Write::Put { space, key, value } => writes.put_cf(self.space(space), key, value),
                Write::Delete { space, key } => writes.delete_cf(self.space(space), key),
                Write::DeleteRange { space, start, end } if start < end => {
                    writes.delete_range_cf(self.space(space), start, end);
                }
                Write::DeleteRange { .. } => {}
            }
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(writes, &options).map_err(failed("write batch"))
    }

    fn read(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.db.get_cf(self.space(space), key).map_err(failed("read key"))
    }

    fn read_persisted(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::Persisted);
        let found = self.db.get_cf_opt(self.space(space), key, &options);
        found.map_err(failed("read persisted key"))
    }

    fn scan(
        &self,
        space: Space,
        start: &[u8],
        end: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), KvError> {
        if start >= end {
            return Ok(());
        }
        let options = up_to(end);
        visit_all(self.db.raw_iterator_cf_opt(self.space(space), options), start, visit)
    }

    fn view(&self) -> Box<dyn View + '_> {
        Box::new(DataView { db: self, snapshot: self.db.snapshot() })
    }

    fn flush(&self) -> Result<(), KvError> {
        let spaces = Space::ALL.map(|space| self.space(space));
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db
            .flush_cfs_opt(&spaces.each_ref().map(|space| *space), &options)
            .map_err(failed("flush"))
    }

    fn drop_files(&self, space: Space, start: &[u8], end: &[u8]) -> Result<(), KvError> {
        let dropped = self.db.delete_file_in_range_cf(self.space(space), start, end);
        dropped.map_err(failed("drop files"))
    }

    fn file_bytes(&self, space: Space, start: &[u8], end: &[u8]) -> Result<u64, KvError> {
        let ranges = [rocksdb::Range::new(start, end)];
        Ok(self.db.get_approximate_sizes_cf(self.space(space), &ranges)[0])
    }

    fn compact(&self, space: Space, start: &[u8], end: &[u8]) -> Result<(), KvError> {
        self.db.compact_range_cf(self.space(space), Some(start), Some(end));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(db: &DataDb, space: Space) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        db.scan(space, b"a", b"z", &mut |key, _| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
        keys
    }

    #[test]
    fn a_batch_is_visible_at_once_and_persisted_after_a_flush() {
        let folder = tempfile::tempdir().unwrap();
        let db = DataDb::open(folder.path(), DataDbConfig::default()).unwrap();
        let mut batch = Batch::default();
        batch.put(Space::Chunks, b"b".to_vec(), b"1".to_vec());
        batch.put(Space::State, b"b".to_vec(), b"2".to_vec());
        db.write(batch).unwrap();
        assert_eq!(db.read(Space::State, b"b").unwrap(), Some(b"2".to_vec()));
        assert_eq!(db.read_persisted(Space::State, b"b").unwrap(), None);
        db.flush().unwrap();
        assert_eq!(db.read_persisted(Space::State, b"b").unwrap(), Some(b"2".to_vec()));
        assert_eq!(keys(&db, Space::Chunks), [b"b"]);
        assert!(keys(&db, Space::Open).is_empty());
        assert!(db.stats().unwrap().file_bytes > 0);
    }

    #[test]
    fn ranges_are_deleted_and_scanned_by_half_open_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let db = DataDb::open(folder.path(), DataDbConfig::default()).unwrap();
        let mut batch = Batch::default();
        for key in [b"b", b"c", b"d", b"z"] {
            batch.put(Space::Chunks, key.to_vec(), Vec::new());
        }
        batch.delete_range(Space::Chunks, b"c".to_vec(), b"d".to_vec());
        batch.delete_range(Space::Chunks, b"z".to_vec(), b"a".to_vec());
        db.write(batch).unwrap();
        assert_eq!(keys(&db, Space::Chunks), [b"b", b"d"]);
        db.flush().unwrap();
        db.drop_files(Space::Chunks, b"a", b"c").unwrap();
        drop(db);
        let db = DataDb::open(folder.path(), DataDbConfig::default()).unwrap();
        assert_eq!(keys(&db, Space::Chunks).last().unwrap(), b"d");
    }
}
