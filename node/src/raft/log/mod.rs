//! The raft log of a node: one database for the entries, votes and marks of all its groups.
//!
//! It is the node's only write-ahead log. Entries are readable from memory as soon as they are
//! appended; one thread writes what all groups have queued, syncs once, and only then tells them.
//!
//! Invariants
//! * a callback fires after the sync that covers its entries, in the order the entries came;
//! * within a group nothing is written out of order, votes included;
//! * samples of shards that this node leads may be synced late, as others make a majority without
//!   it; everything else is synced at once (see [`queue`]);
//! * after the first failed write or sync nothing is acknowledged any more: the node must end;
//! * a log that holds less than was once synced is not opened (see [`watermark`]).
//!
//! There is no state machine here, no snapshot, and no network.

mod queue;
mod record;
#[cfg(test)]
pub(super) mod simulated;
mod sizes;
mod store;
mod sync;
mod tail;
mod wal;
mod watermark;
mod writer;

use std::{
    collections::BTreeMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    thread::JoinHandle,
    time::Duration,
};

use parking_lot::Mutex;
use rocksdb::{
    ColumnFamilyDescriptor, DB, Direction, IteratorMode, Options, ReadOptions,
    checkpoint::Checkpoint,
};
use tokio::sync::{Semaphore, watch};

use self::{
    queue::Queue,
    record::Mark,
    sizes::Sizes,
    tail::Tail,
    watermark::{GroupMark, Marks, Watermark},
    writer::Writer,
};
pub use self::{
    store::GroupLog,
    sync::{PlainSync, SyncSeam},
    watermark::{LogIdentity, MissingLog},
    writer::LogMetrics,
};
use super::types::{GroupId, LogId, Malformed, NodeId, Vote};

/// How the log of a node is opened.
#[derive(Clone)]
pub struct LogConfig {
    /// Folder of the database; made if it is not there.
    pub path: PathBuf,
    /// The watermark's file: outside `path`, so that the two are not lost together.
    pub watermark_path: PathBuf,
    /// Whose log it is.
    pub identity: LogIdentity,
    /// Opens a log that is below its watermark. Only ever set by an operator.
    pub accept_log_loss: bool,
    /// Newest entries kept in memory per group, in bytes. Default 8 MiB: a follower that far
    /// behind still reads from memory.
    pub tail_bytes_max: usize,
    /// A memtable's size in bytes. Default 4 MiB: up to three are in memory, and a larger one saves
    /// no work, as entries are purged long after it is full.
    pub memtable_bytes: usize,
    /// Pause between two syncs under load. Default 2 ms: fewer syncs, half the bytes written, and
    /// no worse latency. An idle log syncs at once.
    pub sync_spacing: Duration,
    /// Where writes become durable.
    pub sync: Arc<dyn SyncSeam>,
}

impl LogConfig {
    /// The defaults for a log in `path`.
    pub fn new(path: PathBuf, watermark_path: PathBuf, identity: LogIdentity) -> Self {
        Self {
            path,
            watermark_path,
            identity,
            accept_log_loss: false,
            tail_bytes_max: 8 << 20,
            memtable_bytes: 4 << 20,
            sync_spacing: Duration::from_millis(2),
            sync: Arc::new(PlainSync),
        }
    }
}

/// Why the log was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenLogError {
    /// The disk or the database refuses; look at the folder.
    #[error("open raft log in {}", path.display())]
    Database {
        /// The folder.
        path: PathBuf,
        /// What the database says.
        #[source]
        source: rocksdb::Error,
    },
    /// Written by another version.
    #[error("raft log has format version {found}, this program reads version {supported}")]
    Version {
        /// The folder's.
        found: u8,
        /// This program's.
        supported: u8,
    },
    /// The watermark's file cannot be read.
    #[error("read watermark {}", path.display())]
    Watermark {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The folder is another node's.
    #[error(
        "raft log belongs to node {} with folder {:016x}, not to node {} with folder {:016x}",
        found.node, found.folder, wanted.node, wanted.folder
    )]
    OtherIdentity {
        /// The folder's.
        found: LogIdentity,
        /// Ours.
        wanted: LogIdentity,
    },
    /// Synced entries are gone: rejoin as a new node, or accept the loss.
    #[error("raft log lost synced data: {}", display_missing(.0))]
    LogLoss(Vec<MissingLog>),
    /// A synced batch is damaged and others follow it: rejoin as a new node, or accept the loss.
    #[error(
        "raft log in {} is damaged: batches up to sequence number {had} are there, those behind \
         {have} cannot be read", path.display()
    )]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// The last sequence number before the damage.
        have: u64,
        /// The last one there is.
        had: u64,
    },
    /// A record is damaged.
    #[error("read raft log of {group}")]
    Record {
        /// Whose record.
        group: GroupId,
        /// What is wrong.
        #[source]
        source: Malformed,
    },
    /// The disk refuses.
    #[error("open raft log")]
    Io(#[from] io::Error),
}

fn display_missing(missing: &[MissingLog]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What the log knows of one group.
#[derive(Debug)]
struct GroupState {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    /// Index of the oldest entry; the next index when there is none.
    begin: u64,
    /// The newest entry, synced or not; the purge point when there is none above it.
    last: Option<LogId>,
    tail: Tail,
    /// Counts purges and truncations, so that a reader notices one that came between two looks.
    generation: u64,
    /// Entries below are gone from disk, or will be with the next batch.
    deleted_end: u64,
    /// Of the entries that are on disk, purged ones too until they leave it.
    sizes: Sizes,
}

impl GroupState {
    fn new(tail_bytes_max: usize) -> Self {
        Self {
            vote: None,
            committed: None,
            purged: None,
            begin: 0,
            last: None,
            tail: Tail::new(0, tail_bytes_max),
            generation: 0,
            deleted_end: 0,
            sizes: Sizes::of(0, 0, 0),
        }
    }

    fn mark(&self) -> GroupMark {
        GroupMark { vote: self.vote, last: self.last }
    }
}

struct Shared {
    /// Held by [`LogDb`] and its thread, so that the database is closed when they end, whoever
    /// still has a handle on a group's log.
    db: Weak<DB>,
    /// Whose log it is.
    node: NodeId,
    queue: Queue,
    groups: Mutex<BTreeMap<GroupId, Arc<Mutex<GroupState>>>>,
    /// A permit per KiB of [`queue::ROOM_KIB`].
    room: Semaphore,
    failure: watch::Sender<Option<Arc<io::Error>>>,
    metrics: LogMetrics,
    tail_bytes_max: usize,
}

/// The log while nothing is written to it.
pub struct HeldLog {
    shared: Arc<Shared>,
}

impl HeldLog {
    /// Makes a copy of the log in a new folder, by links to its files. Blocks on the disk.
    pub fn link_to(&self, folder: &Path) -> io::Result<()> {
        let ended = || io::Error::other("the raft log has ended");
        let db = self.shared.db.upgrade().ok_or_else(ended)?;
        let linked = Checkpoint::new(&db).and_then(|it| it.create_checkpoint(folder));
        linked.map_err(io::Error::other)
    }
}

impl Drop for HeldLog {
    fn drop(&mut self) {
        self.shared.queue.release();
    }
}

/// The log of this node. Dropping it writes what is queued and ends its threads.
pub struct LogDb {
    db: Arc<DB>,
    shared: Arc<Shared>,
    watermark: Arc<Watermark>,
    threads: Vec<JoinHandle<()>>,
}

impl LogDb {
    /// Opens the log, or makes a new one, and starts its thread.
    pub fn open(config: LogConfig) -> Result<Self, OpenLogError> {
        let db = Arc::new(open_database(&config)?);
        let groups = load_groups(&db, &config)?;
        let have: Marks = groups.iter().map(|(group, state)| (*group, state.mark())).collect();
        check_watermark(&config, &have)?;
        let path = config.watermark_path.clone();
        let watermark = Arc::new(Watermark::new(path, config.identity, have.clone()));
        let wrap = |(group, state)| (group, Arc::new(Mutex::new(state)));
        let shared = Arc::new(Shared {
            db: Arc::downgrade(&db),
            node: config.identity.node,
            queue: Queue::default(),
            groups: Mutex::new(groups.into_iter().map(wrap).collect()),
            room: Semaphore::new(queue::ROOM_KIB),
            failure: watch::Sender::new(None),
            metrics: LogMetrics::default(),
            tail_bytes_max: config.tail_bytes_max,
        });
        let threads = spawn_threads(&config, &shared, &watermark, (db.clone(), have))?;
        Ok(Self { db, shared, watermark, threads })
    }

    /// The log of one group; new groups begin empty.
    pub fn group(&self, group: GroupId) -> GroupLog {
        let mut groups = self.shared.groups.lock();
        let tail_bytes_max = self.shared.tail_bytes_max;
        let state = groups
            .entry(group)
            .or_insert_with(|| Arc::new(Mutex::new(GroupState::new(tail_bytes_max))));
        GroupLog::new(group, self.shared.clone(), state.clone())
    }

    /// The groups that have anything in the log.
    pub fn groups(&self) -> Vec<GroupId> {
        self.shared.groups.lock().keys().copied().collect()
    }

    /// Becomes `Some` with the first write or sync that fails. Then nothing more is acknowledged:
    /// the node gives up its leaderships and ends.
    pub fn failure(&self) -> watch::Receiver<Option<Arc<io::Error>>> {
        self.shared.failure.subscribe()
    }

    /// What the log thread counts.
    pub fn metrics(&self) -> &LogMetrics {
        &self.shared.metrics
    }

    /// Lets nothing more be written until what it gives is dropped, and waits until what is being
    /// written is synced. Votes wait, too, so it must be short. `None` where the log is held already
    /// or has ended. Blocks.
    pub fn hold(&self) -> Option<HeldLog> {
        let held = self.shared.queue.hold();
        held.then(|| HeldLog { shared: self.shared.clone() })
    }

    /// Forgets purged entries on disk now rather than when enough have gathered, and shrinks the
    /// files. Blocks; for a node at rest.
    pub fn settle(&self) -> io::Result<()> {
        let groups: Vec<_> = {
            let groups = self.shared.groups.lock();
            groups.iter().map(|(group, state)| (*group, state.clone())).collect()
        };
        for (group, state) in groups {
            let (start, end) = {
                let mut state = state.lock();
                let end = state.purged.map_or(0, |purged| purged.index + 1);
                (std::mem::replace(&mut state.deleted_end, end), end)
            };
            if start < end {
                let (start, end) = (record::entry_key(group, start), record::entry_key(group, end));
                let deleted = self.db.delete_range_cf(default_cf(&self.db), start, end);
                deleted.map_err(io::Error::other)?;
            }
        }
        self.db.flush().map_err(io::Error::other)?;
        self.db.compact_range(None::<&[u8]>, None::<&[u8]>);
        Ok(())
    }
}

impl Drop for LogDb {
    fn drop(&mut self) {
        self.shared.queue.stop();
        for thread in self.threads.drain(..1) {
            thread.join().ok();
        }
        self.watermark.stop();
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

/// Memtables that gather on disk before they are merged.
const FILES_MERGED: i32 = 12;

/// Write-ahead logs kept to be written over: where a file neither grows nor gets new blocks, a sync
/// needs no commit of the file system's journal and costs two thirds.
const WALS_KEPT: usize = 2;

fn default_cf(db: &DB) -> &rocksdb::ColumnFamily {
    db.cf_handle(rocksdb::DEFAULT_COLUMN_FAMILY_NAME)
        .expect("RocksDB always has its default column family")
}

fn open_database(config: &LogConfig) -> Result<DB, OpenLogError> {
    let mut options = Options::default();
    options.create_if_missing(true);
    // One explicit sync per batch instead of a write per entry.
    options.set_manual_wal_flush(true);
    // Replay ends at a torn record: a batch that was never acknowledged, see `check_wal`.
    options.set_wal_recovery_mode(rocksdb::DBRecoveryMode::PointInTime);
    options.set_recycle_log_file_num(WALS_KEPT);
    options.set_write_buffer_size(config.memtable_bytes);
    options.set_max_write_buffer_number(3);
    options.set_max_total_wal_size(4 * config.memtable_bytes as u64);
    // Purging empties most files before anybody reads them: merging them early is work for nothing.
    options.set_level_zero_file_num_compaction_trigger(FILES_MERGED);
    options.set_level_zero_slowdown_writes_trigger(4 * FILES_MERGED);
    options.set_level_zero_stop_writes_trigger(6 * FILES_MERGED);
    // Payloads arrive compressed, and most are gone before a compaction sees them.
    options.set_compression_type(rocksdb::DBCompressionType::None);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(2);
    options.set_max_open_files(64);
    check_wal(config, &options)?;
    let failed = |source| OpenLogError::Database { path: config.path.clone(), source };
    // By a descriptor: a column family that is only named gets RocksDB's options, not ours.
    let family = ColumnFamilyDescriptor::new(rocksdb::DEFAULT_COLUMN_FAMILY_NAME, options.clone());
    let db = DB::open_cf_descriptors(&options, &config.path, [family]).map_err(failed)?;
    match db.get(record::FORMAT_KEY).map_err(failed)? {
        Some(found) if found != [record::FORMAT_VERSION] => {
            let found = found.first().copied().unwrap_or_default();
            Err(OpenLogError::Version { found, supported: record::FORMAT_VERSION })
        }
        Some(_) => Ok(db),
        None => {
            db.put(record::FORMAT_KEY, [record::FORMAT_VERSION]).map_err(failed)?;
            db.flush_wal(true).map_err(failed)?;
            Ok(db)
        }
    }
}

/// Refuses a write-ahead log that is damaged before its end. Looks before the log is opened: what
/// cannot be replayed would be gone afterwards.
fn check_wal(config: &LogConfig, options: &Options) -> Result<(), OpenLogError> {
    let Some(found) = wal::batches(&config.path)?.filter(|found| !found.contiguous) else {
        return Ok(());
    };
    let path = config.path.clone();
    let have = match DB::open_for_read_only(options, &path, false) {
        Ok(db) => db.latest_sequence_number(),
        Err(source) => return Err(OpenLogError::Database { path, source }),
    };
    if have >= found.last {
        // A file between two others had served its time.
        return Ok(());
    }
    if !config.accept_log_loss {
        return Err(OpenLogError::Damaged { path, have, had: found.last });
    }
    tracing::error!(have, had = found.last, "opening a damaged raft log, as told");
    Ok(())
}

fn check_watermark(config: &LogConfig, have: &Marks) -> Result<(), OpenLogError> {
    let read = watermark::read(&config.watermark_path).map_err(|source| {
        OpenLogError::Watermark { path: config.watermark_path.clone(), source }
    })?;
    let Some((found, marks)) = read else { return Ok(()) };
    if found != config.identity {
        return Err(OpenLogError::OtherIdentity { found, wanted: config.identity });
    }
    let missing = watermark::missing(&marks, have);
    if missing.is_empty() {
        return Ok(());
    }
    if !config.accept_log_loss {
        return Err(OpenLogError::LogLoss(missing));
    }
    for lost in missing {
        tracing::error!(lost = %lost, "opening a raft log that lost synced data, as told");
    }
    Ok(())
}

/// What is on disk of every group.
fn load_groups(db: &DB, config: &LogConfig) -> Result<BTreeMap<GroupId, GroupState>, OpenLogError> {
    let mut groups = BTreeMap::new();
    let failed = |source| OpenLogError::Database { path: config.path.clone(), source };
    let new = || GroupState::new(config.tail_bytes_max);
    for mark in Mark::ALL {
        let (start, end) = mark.key_range();
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(end);
        for item in db.iterator_opt(IteratorMode::From(&start, Direction::Forward), options) {
            let (key, value) = item.map_err(failed)?;
            let group = record::mark_group(&key).map_err(io::Error::from)?;
            let state: &mut GroupState = groups.entry(group).or_insert_with(new);
            load_mark(state, mark, &key, &value)
                .map_err(|source| OpenLogError::Record { group, source })?;
        }
    }
    let mut next = record::entry_key(GroupId::from_number(0), 0);
    while let Some((group, _)) = seek(db, &next, Direction::Forward, config)? {
        let state = groups.entry(group).or_insert_with(new);
        load_last(db, group, state, config)?;
        let Some(number) = group.number().checked_add(1) else { break };
        next = record::entry_key(GroupId::from_number(number), 0);
    }
    for (group, state) in &mut groups {
        state.last = state.last.max(state.purged);
        state.begin = state.purged.map_or(0, |purged| purged.index + 1);
        let end = state.last.map_or(0, |last| last.index + 1);
        state.tail = Tail::new(end, config.tail_bytes_max);
        let (first, behind) = (state.begin, end.max(state.begin));
        let keys = [record::entry_key(*group, first), record::entry_key(*group, behind)];
        let range = rocksdb::Range::new(&keys[0], &keys[1]);
        let bytes = db.get_approximate_sizes_cf(default_cf(db), &[range])[0];
        state.sizes = Sizes::of(first, behind, bytes);
    }
    Ok(groups)
}

fn load_mark(
    state: &mut GroupState,
    mark: Mark,
    key: &[u8],
    value: &[u8],
) -> Result<(), Malformed> {
    match mark {
        Mark::Vote => state.vote = Some(record::unseal_vote(key, value)?),
        Mark::Committed => state.committed = Some(record::unseal_log_id(key, value)?),
        Mark::Purged => state.purged = Some(record::unseal_log_id(key, value)?),
    }
    Ok(())
}

/// Finds the group's newest entry, and refuses a log whose beginning is missing.
fn load_last(
    db: &DB,
    group: GroupId,
    state: &mut GroupState,
    config: &LogConfig,
) -> Result<(), OpenLogError> {
    let begin = state.purged.map_or(0, |purged| purged.index + 1);
    let damaged =
        |problem| OpenLogError::Record { group, source: Malformed { what: "log", problem } };
    let first = seek(db, &record::entry_key(group, begin), Direction::Forward, config)?;
    let Some((_, first)) = first.filter(|(found, _)| *found == group) else {
        state.deleted_end = 0;
        return Ok(());
    };
    if first != begin {
        return Err(damaged("entries are missing above the purge point"));
    }
    let end = record::entry_key(group, u64::MAX);
    let (_, last) = seek(db, &end, Direction::Reverse, config)?
        .filter(|(found, _)| *found == group)
        .ok_or(damaged("has a first entry and no last one"))?;
    let key = record::entry_key(group, last);
    let failed = |source| OpenLogError::Database { path: config.path.clone(), source };
    let value = db.get(key).map_err(failed)?.ok_or(damaged("has no last entry"))?;
    let entry = record::unseal_entry(&key, &value)
        .map_err(|source| OpenLogError::Record { group, source })?;
    state.last = Some(entry.log_id);
    Ok(())
}

fn seek(
    db: &DB,
    key: &[u8],
    direction: Direction,
    config: &LogConfig,
) -> Result<Option<(GroupId, u64)>, OpenLogError> {
    let Some(item) = db.iterator(IteratorMode::From(key, direction)).next() else {
        return Ok(None);
    };
    let (key, _) =
        item.map_err(|source| OpenLogError::Database { path: config.path.clone(), source })?;
    Ok(record::parse_entry_key(&key).map_err(io::Error::from)?)
}

fn spawn_threads(
    config: &LogConfig,
    shared: &Arc<Shared>,
    watermark: &Arc<Watermark>,
    (db, durable): (Arc<DB>, Marks),
) -> io::Result<Vec<JoinHandle<()>>> {
    let writer = Writer {
        db,
        shared: shared.clone(),
        watermark: watermark.clone(),
        sync: config.sync.clone(),
        spacing: config.sync_spacing,
        durable,
    };
    let failing = shared.clone();
    let run = move || {
        // A callback that is dropped instead of called would leave its group waiting for ever.
        if catch_unwind(AssertUnwindSafe(|| writer.run())).is_err() {
            failing.fail(&io::Error::other("BUG: the raft log's thread panicked"));
        }
    };
    let log = std::thread::Builder::new().name("raft-log".to_owned()).spawn(run)?;
    let (shared, watermark) = (shared.clone(), watermark.clone());
    let marks = std::thread::Builder::new().name("raft-watermark".to_owned()).spawn(move || {
        if let Err(error) = watermark.run() {
            shared.fail(&error);
        }
    })?;
    Ok(vec![log, marks])
}

impl Shared {
    /// Ends all acknowledging, once and for ever.
    fn fail(&self, error: &io::Error) {
        let error = Arc::new(io::Error::new(error.kind(), error.to_string()));
        let first = self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            failure.get_or_insert_with(|| error.clone());
            first
        });
        if first {
            tracing::error!(%error, "raft log failed; this node must end");
        }
        let result = Err(io::Error::new(error.kind(), error.to_string()));
        for (_, op) in self.queue.abandon().ops {
            op.complete(&result);
        }
        self.room.close();
    }
}

#[cfg(test)]
mod tests;
