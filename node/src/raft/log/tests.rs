//! The log against openraft's own suite, against crashes, and against a slow or failing disk.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use openraft::{
    EntryPayload, OptionalSend, RaftLogReader, RaftSnapshotBuilder, StorageError,
    alias::{SnapshotMetaOf, SnapshotOf},
    storage::{EntryResponder, IOFlushed, RaftLogStorage, RaftLogStorageExt, RaftStateMachine},
    testing::log::{StoreBuilder, Suite},
};
use tempfile::TempDir;

use super::*;
use crate::raft::{
    metrics::now,
    types::{Entry, LogPosition, Opaque, StoredMembership, TypeConfig},
};

const IDENTITY: LogIdentity = LogIdentity { node: 1, folder: 5 };

fn config(folder: &Path) -> LogConfig {
    LogConfig::new(folder.join("log"), folder.join("WATERMARK"), IDENTITY)
}

fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let payload = EntryPayload::Normal(Opaque(Bytes::from(vec![index as u8; bytes])));
    Entry { log_id: LogId::new_term_index(term, index), payload }
}

fn positions(entries: &[Entry]) -> Vec<(u64, u64)> {
    entries.iter().map(|entry| (entry.log_id.leader_id.term, entry.log_id.index)).collect()
}

/// A machine that openraft's suite may do anything to; only the log is under test.
#[derive(Default)]
struct SuiteMachine {
    applied: Option<LogId>,
    members: StoredMembership,
    snapshot: Option<SnapshotMetaOf<TypeConfig>>,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotMetaOf<TypeConfig> {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<TypeConfig, ()>> {
        Ok(SnapshotOf::<TypeConfig, ()> { meta: self.clone(), snapshot: () })
    }
}

impl RaftStateMachine<TypeConfig> for SuiteMachine {
    type SnapshotData = ();
    type SnapshotBuilder = SnapshotMetaOf<TypeConfig>;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.members.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: futures_util::Stream<Item = io::Result<EntryResponder<TypeConfig>>>
            + Unpin
            + OptionalSend,
    {
        while let Some(item) = futures_util::StreamExt::next(&mut entries).await {
            let (entry, responder) = item?;
            self.applied = Some(entry.log_id);
            if let EntryPayload::Membership(members) = entry.payload {
                self.members = StoredMembership::new(Some(entry.log_id), members);
            }
            if let Some(responder) = responder {
                responder.send(Opaque::default());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotMetaOf<TypeConfig> {
        let meta = SnapshotMetaOf::<TypeConfig> {
            last_log_id: self.applied,
            last_membership: self.members.clone(),
        };
        self.snapshot = Some(meta.clone());
        meta
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TypeConfig>,
        (): (),
    ) -> io::Result<()> {
        self.applied = meta.last_log_id;
        self.members = meta.last_membership.clone();
        self.snapshot = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<TypeConfig, ()>>> {
        let wrap = |meta| SnapshotOf::<TypeConfig, ()> { meta, snapshot: () };
        Ok(self.snapshot.clone().map(wrap))
    }
}

struct Builder;

impl StoreBuilder<TypeConfig, GroupLog, SuiteMachine, (LogDb, TempDir)> for Builder {
    async fn build(
        &self,
    ) -> Result<((LogDb, TempDir), GroupLog, SuiteMachine), StorageError<TypeConfig>> {
        let folder = tempfile::tempdir().unwrap();
        let db = LogDb::open(config(folder.path())).unwrap();
        let log = db.group(GroupId::shard(0));
        Ok(((db, folder), log, SuiteMachine::default()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openraft_s_own_suite_passes() {
    Suite::test_all(Builder).await.unwrap();
}

#[tokio::test]
async fn everything_is_there_after_a_restart_and_groups_are_apart() {
    let folder = tempfile::tempdir().unwrap();
    let db = LogDb::open(config(folder.path())).unwrap();
    let (mut control, mut shard) = (db.group(GroupId::CONTROL), db.group(GroupId::shard(7)));
    control.blocking_append((0..5).map(|index| entry(1, index, 10))).await.unwrap();
    shard.blocking_append((0..100).map(|index| entry(2, index, 3000))).await.unwrap();
    shard.save_vote(&Vote::new_committed(3, 2)).await.unwrap();
    shard.save_committed(Some(LogId::new_term_index(2, 90))).await.unwrap();
    shard.truncate_after(Some(LogId::new_term_index(2, 97))).await.unwrap();
    shard.blocking_append([entry(3, 98, 1)]).await.unwrap();
    shard.purge(LogId::new_term_index(2, 9)).await.unwrap();
    drop(db);

    let db = LogDb::open(config(folder.path())).unwrap();
    assert_eq!(db.groups(), [GroupId::CONTROL, GroupId::shard(7)]);
    let mut control = db.group(GroupId::CONTROL);
    let entries = control.try_get_log_entries(..).await.unwrap();
    assert_eq!(entries, (0..5).map(|index| entry(1, index, 10)).collect::<Vec<_>>());

    let mut shard = db.group(GroupId::shard(7));
    let state = shard.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(LogId::new_term_index(2, 9)));
    assert_eq!(state.last_log_id, Some(LogId::new_term_index(3, 98)));
    assert_eq!(shard.read_vote().await.unwrap(), Some(Vote::new_committed(3, 2)));
    assert_eq!(shard.read_committed().await.unwrap(), Some(LogId::new_term_index(2, 90)));
    let entries = shard.try_get_log_entries(..).await.unwrap();
    let expected: Vec<_> = (10..98).map(|index| (2, index)).chain([(3, 98)]).collect();
    assert_eq!(positions(&entries), expected);

    shard.blocking_append([entry(3, 99, 1)]).await.unwrap();
    let entries = shard.try_get_log_entries(96..).await.unwrap();
    assert_eq!(positions(&entries), [(2, 96), (2, 97), (3, 98), (3, 99)]);
}

#[tokio::test]
async fn reads_are_bounded_by_bytes_in_memory_and_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let small = LogConfig { tail_bytes_max: 600 << 10, ..config(folder.path()) };
    let db = LogDb::open(small).unwrap();
    let mut log = db.group(GroupId::shard(0));
    log.blocking_append((0..20).map(|index| entry(1, index, 200 << 10))).await.unwrap();
    // The second append finds the first on disk, so the tail can shrink.
    log.blocking_append([entry(1, 20, 200 << 10)]).await.unwrap();
    assert!(log.tail_bytes() <= 600 << 10);

    let read = log.limited_get_log_entries(0, 21).await.unwrap();
    assert_eq!(positions(&read), (0..5).map(|index| (1, index)).collect::<Vec<_>>());
    let all = log.try_get_log_entries(0..21).await.unwrap();
    assert_eq!(all.len(), 21);
    let stream = log.entries_stream(3..21).await;
    let streamed: Vec<Entry> = futures_util::TryStreamExt::try_collect(stream).await.unwrap();
    assert_eq!(streamed, all[3..]);
}

/// Sleeps in the sync, as a slow disk does, or fails it.
#[derive(Default)]
struct TestSync {
    slow_millis: AtomicU64,
    fails: AtomicBool,
    syncs: AtomicU64,
}

impl SyncSeam for TestSync {
    #[expect(clippy::disallowed_methods, reason = "the slowness is what is tested")]
    fn sync(&self, sync_wal: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(self.slow_millis.load(Ordering::Relaxed)));
        if self.fails.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk is gone"));
        }
        self.syncs.fetch_add(1, Ordering::Relaxed);
        sync_wal()
    }
}

#[tokio::test]
async fn no_callback_comes_before_its_sync() {
    let folder = tempfile::tempdir().unwrap();
    let sync = Arc::new(TestSync::default());
    let db = LogDb::open(LogConfig { sync: sync.clone(), ..config(folder.path()) }).unwrap();
    let mut log = db.group(GroupId::shard(0));
    sync.slow_millis.store(20, Ordering::Relaxed);
    for index in 0..5 {
        let (before, syncs) = (now(), sync.syncs.load(Ordering::Relaxed));
        log.blocking_append([entry(1, index, 10)]).await.unwrap();
        assert!(before.elapsed() >= Duration::from_millis(20));
        assert!(sync.syncs.load(Ordering::Relaxed) > syncs);
        let before = now();
        log.save_vote(&Vote::new(index + 2, 1)).await.unwrap();
        assert!(before.elapsed() >= Duration::from_millis(20));
    }
}

#[tokio::test]
async fn groups_share_a_sync() {
    let folder = tempfile::tempdir().unwrap();
    let sync = Arc::new(TestSync::default());
    let db = LogDb::open(LogConfig { sync: sync.clone(), ..config(folder.path()) }).unwrap();
    sync.slow_millis.store(20, Ordering::Relaxed);
    let before = sync.syncs.load(Ordering::Relaxed);
    let appends = (0..12).map(|shard| {
        let mut log = db.group(GroupId::shard(shard));
        async move { log.blocking_append([entry(1, 0, 10)]).await.unwrap() }
    });
    futures_util::future::join_all(appends).await;
    assert!(sync.syncs.load(Ordering::Relaxed) - before <= 2, "the first alone, the rest together");
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_acknowledged_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let sync = Arc::new(TestSync::default());
    let db = LogDb::open(LogConfig { sync: sync.clone(), ..config(folder.path()) }).unwrap();
    let mut log = db.group(GroupId::shard(0));
    log.blocking_append([entry(1, 0, 10)]).await.unwrap();
    let mut failure = db.failure();
    assert!(failure.borrow().is_none());

    sync.fails.store(true, Ordering::Relaxed);
    assert!(log.blocking_append([entry(1, 1, 10)]).await.is_err());
    assert!(failure.wait_for(Option::is_some).await.is_ok());
    sync.fails.store(false, Ordering::Relaxed);
    assert!(log.blocking_append([entry(1, 2, 10)]).await.is_err());
    assert!(log.save_vote(&Vote::new(9, 1)).await.is_err());
    assert!(log.append([entry(1, 3, 10)], IOFlushed::noop()).await.is_err());
}

#[tokio::test]
async fn a_log_that_lost_synced_entries_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let db = LogDb::open(config(folder.path())).unwrap();
    let mut log = db.group(GroupId::shard(2));
    log.blocking_append((0..4).map(|index| entry(1, index, 10))).await.unwrap();
    log.save_vote(&Vote::new_committed(1, 1)).await.unwrap();
    drop(db);

    // The folder comes back from before the entries were written.
    let lost = LogConfig { path: folder.path().join("older"), ..config(folder.path()) };
    let refusal = LogDb::open(lost.clone()).err().unwrap();
    let OpenLogError::LogLoss(missing) = &refusal else { panic!("{refusal}") };
    assert_eq!(missing[0].group, GroupId::shard(2));
    assert_eq!(missing[0].had, Some(LogPosition { term: 1, index: 3 }));
    assert!(missing[0].vote_lost);
    assert!(refusal.to_string().contains("shard-2: log ends at nothing"), "{refusal}");

    let other = LogIdentity { node: 1, folder: 6 };
    let stranger = LogDb::open(LogConfig { identity: other, ..config(folder.path()) });
    assert!(matches!(stranger.err(), Some(OpenLogError::OtherIdentity { .. })));

    drop(LogDb::open(LogConfig { accept_log_loss: true, ..lost.clone() }).unwrap());
    drop(LogDb::open(lost).unwrap());
}

/// The write-ahead log's file with the newest batches.
fn wal_file(folder: &Path) -> PathBuf {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|it| it == "log")).max().unwrap()
}

/// A copy of a log as a crash would leave it after ten appends, with its newest file as `spoil`
/// makes it.
async fn crashed(spoil: impl FnOnce(&mut Vec<u8>)) -> (tempfile::TempDir, LogConfig) {
    let folder = tempfile::tempdir().unwrap();
    let db = LogDb::open(config(folder.path())).unwrap();
    let mut log = db.group(GroupId::shard(0));
    for index in 0..10 {
        log.blocking_append([entry(1, index, 10_000)]).await.unwrap();
    }
    let copy = LogConfig {
        path: folder.path().join("copy"),
        watermark_path: folder.path().join("none"),
        ..config(folder.path())
    };
    std::fs::create_dir(&copy.path).unwrap();
    for entry in std::fs::read_dir(config(folder.path()).path).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path.join(entry.file_name())).unwrap();
    }
    drop(db);
    let file = wal_file(&copy.path);
    let mut bytes = std::fs::read(&file).unwrap();
    spoil(&mut bytes);
    std::fs::write(&file, bytes).unwrap();
    (folder, copy)
}

async fn entries_of(db: &LogDb) -> usize {
    db.group(GroupId::shard(0)).try_get_log_entries(..).await.unwrap().len()
}

#[tokio::test]
async fn a_torn_last_batch_was_never_acknowledged() {
    let (_folder, copy) = crashed(|bytes| {
        let torn = bytes.len() - 5_000;
        bytes[torn..].fill(0);
    })
    .await;
    assert_eq!(entries_of(&LogDb::open(copy).unwrap()).await, 9);
}

#[tokio::test]
async fn damage_before_synced_batches_is_refused_until_it_is_accepted() {
    let (_folder, copy) = crashed(|bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    })
    .await;
    for _ in 0..2 {
        let refusal = LogDb::open(copy.clone()).err().unwrap();
        assert!(matches!(refusal, OpenLogError::Damaged { .. }), "{refusal}");
    }
    let accepted = LogDb::open(LogConfig { accept_log_loss: true, ..copy }).unwrap();
    assert!((3..7).contains(&entries_of(&accepted).await));
}

#[tokio::test]
async fn logs_that_are_written_over_keep_what_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogConfig { memtable_bytes: 64 << 10, ..config(folder.path()) };
    let db = LogDb::open(config.clone()).unwrap();
    let mut log = db.group(GroupId::shard(0));
    let before = wal_file(&config.path);
    for index in 0..100 {
        log.blocking_append([entry(1, index, 10_000)]).await.unwrap();
    }
    assert_ne!(wal_file(&config.path), before);
    drop(db);
    assert_eq!(entries_of(&LogDb::open(config).unwrap()).await, 100);
}

#[tokio::test]
async fn purged_entries_leave_the_disk_when_enough_have_gathered() {
    let folder = tempfile::tempdir().unwrap();
    let db = LogDb::open(config(folder.path())).unwrap();
    let mut log = db.group(GroupId::shard(0));
    let on_disk = |db: &LogDb| {
        let from = record::entry_key(GroupId::shard(0), 0);
        db.db.iterator(IteratorMode::From(&from, Direction::Forward)).count()
    };
    log.blocking_append((0..12_000).map(|index| entry(1, index, 1))).await.unwrap();
    log.purge(LogId::new_term_index(1, 8_999)).await.unwrap();
    log.blocking_append([entry(1, 12_000, 1)]).await.unwrap();
    assert_eq!(on_disk(&db), 12_001);
    log.purge(LogId::new_term_index(1, 10_999)).await.unwrap();
    log.blocking_append([entry(1, 12_001, 1)]).await.unwrap();
    assert_eq!(on_disk(&db), 1_002);
    log.purge(LogId::new_term_index(1, 11_999)).await.unwrap();
    db.settle().unwrap();
    assert_eq!(on_disk(&db), 2);
    let left = log.try_get_log_entries(..).await.unwrap();
    assert_eq!(positions(&left), [(1, 12_000), (1, 12_001)]);
}
