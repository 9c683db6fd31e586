//! One group's view of the log: what openraft reads and writes.

use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use futures_util::{Stream, stream};
use openraft::{
    EntryPayload, LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};
use parking_lot::Mutex;
use rocksdb::{Direction, IteratorMode, ReadOptions};
use tokio::sync::oneshot;

use super::{
    GroupState, Shared,
    queue::{Deleted, Haste, Op, room_kib},
    record,
};
use crate::raft::{
    codec::entry_bytes,
    types::{Entry, GroupId, LogId, LogPosition, Malformed, TypeConfig, Vote},
};

/// Bytes of entries that one operation carries, unless a single entry is larger: a follower that
/// catches up must not fill a batch alone.
const OP_BYTES_MAX: usize = 4 << 20;

/// Bytes of entries that one read gives at most, but at least one entry: what fits a message.
const READ_BYTES_MAX: usize = 1 << 20;

/// Purged entries are deleted from disk once this many have gathered, or this many bytes: each
/// deletion leaves a range tombstone that readers must step over.
const DELETE_ENTRIES_MIN: u64 = 10_000;
pub(super) const DELETE_BYTES_MIN: u64 = 64 << 20;

/// The log of one group. Clones share it.
#[derive(Clone)]
pub struct GroupLog {
    group: GroupId,
    shared: Arc<Shared>,
    state: Arc<Mutex<GroupState>>,
}

impl GroupLog {
    pub(super) fn new(group: GroupId, shared: Arc<Shared>, state: Arc<Mutex<GroupState>>) -> Self {
        Self { group, shared, state }
    }

    /// Whether the group was ever used: it has a vote or an entry.
    pub fn is_used(&self) -> bool {
        let state = self.state.lock();
        state.vote.is_some() || state.last.is_some()
    }

    /// Bytes of entries held in memory.
    pub fn tail_bytes(&self) -> usize {
        self.state.lock().tail.bytes()
    }

    /// Bytes of the entries above the purge point, to about a megabyte.
    pub fn bytes(&self) -> u64 {
        let state = self.state.lock();
        state.sizes.above(state.begin)
    }

    /// The index below which entries must be purged to leave so many bytes, to about a megabyte.
    pub fn index_leaving(&self, bytes: u64) -> u64 {
        self.state.lock().sizes.leaving(bytes)
    }

    /// Lets entries below `first` leave memory once they are on disk: all who follow have them.
    pub fn release(&self, first: u64) {
        self.state.lock().tail.release(first);
    }

    /// The newest entry there ever was, or was purged: what this replica may have acknowledged.
    pub fn last(&self) -> Option<LogPosition> {
        self.state.lock().last.map(LogPosition::from)
    }

    /// The newest entry that was purged.
    pub fn purged(&self) -> Option<LogPosition> {
        self.state.lock().purged.map(LogPosition::from)
    }

    /// Makes the log begin above a checkpoint that the replica was filled from. Entries of the log
    /// that are newer and of an older term were never committed: they go. A log that goes on from
    /// the checkpoint stays as it is.
    pub async fn begin_above(&self, checkpoint: Option<LogPosition>) -> io::Result<()> {
        let Some(checkpoint) = checkpoint.map(LogId::from) else { return Ok(()) };
        let (last, purged) = {
            let state = self.state.lock();
            (state.last, state.purged)
        };
        if last.is_none_or(|last| last >= checkpoint) {
            return Ok(());
        }
        let mut log = self.clone();
        log.truncate_after(purged).await?;
        log.purge(checkpoint).await
    }

    /// Forgets all entries of a replica that has left this node. The vote stays, and the name of
    /// the last entry: the replica must not come back with less.
    pub async fn forget(&self) -> io::Result<()> {
        let last = self.state.lock().last;
        match last {
            Some(last) => self.clone().purge(last).await,
            None => Ok(()),
        }
    }

    fn push(&self, op: Op, bytes: usize, haste: Haste) -> io::Result<()> {
        self.shared.queue.push(self.group, op, bytes, haste).map_err(|op| {
            op.complete(&Err(ended()));
            ended()
        })
    }

    /// Entries of `[start, end)` that the log has, as many as fit but at least one.
    async fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        loop {
            let (start, disk_end, generation) = {
                let state = self.state.lock();
                let start = start.max(state.begin);
                let end = end.min(state.last.map_or(0, |last| last.index + 1));
                if start >= end {
                    return Ok(Vec::new());
                }
                let first = state.tail.first();
                if start >= first {
                    return Ok(state.tail.read(start, end, bytes_max));
                }
                (start, end.min(first), state.generation)
            };
            let (shared, group) = (self.shared.clone(), self.group);
            let read = move || read_disk(&shared, group, (start, disk_end), bytes_max);
            // Disk reads may wait: they do not belong on the raft runtime's own threads.
            let entries = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?;
            // A purge or truncation meanwhile explains missing entries: look again.
            if self.state.lock().generation == generation {
                return entries;
            }
        }
    }
}

fn ended() -> io::Error {
    io::Error::other("the raft log has ended")
}

/// Entries of `[start, end)` from disk, without holes.
fn read_disk(
    shared: &Shared,
    group: GroupId,
    (start, end): (u64, u64),
    bytes_max: usize,
) -> io::Result<Vec<Entry>> {
    let db = shared.db.upgrade().ok_or_else(ended)?;
    let mut options = ReadOptions::default();
    options.set_iterate_upper_bound(record::entry_key(group, end));
    let from = record::entry_key(group, start);
    let mut entries = Vec::new();
    let (mut next, mut bytes) = (start, 0);
    for item in db.iterator_opt(IteratorMode::From(&from, Direction::Forward), options) {
        let (key, value) = item.map_err(io::Error::other)?;
        let entry = record::unseal_entry(&key, &value)?;
        if entry.log_id.index != next {
            break;
        }
        bytes += entry_bytes(&entry);
        if next > start && bytes > bytes_max {
            return Ok(entries);
        }
        entries.push(entry);
        next += 1;
    }
    if next < end {
        return Err(Malformed { what: "raft log", problem: "entries are missing" }.into());
    }
    Ok(entries)
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&last) => last.saturating_add(1),
        Bound::Excluded(&end) => end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogReader<TypeConfig> for GroupLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let (mut next, end) = bounds(&range);
        let mut entries = Vec::new();
        loop {
            let more = self.read(next, end, READ_BYTES_MAX).await?;
            let Some(last) = more.last() else { return Ok(entries) };
            next = last.log_id.index + 1;
            entries.extend(more);
        }
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.state.lock().vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start, end, READ_BYTES_MAX).await
    }

    async fn entries_stream<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend {
        let (start, end) = bounds(&range);
        let log = self.clone();
        let read = stream::try_unfold((log, start), move |(log, next)| async move {
            let entries = log.read(next, end, READ_BYTES_MAX).await?;
            let Some(last) = entries.last() else { return Ok::<_, io::Error>(None) };
            let next = last.log_id.index + 1;
            Ok(Some((stream::iter(entries.into_iter().map(Ok)), (log, next))))
        });
        Box::pin(futures_util::TryStreamExt::try_flatten(read))
    }
}

impl RaftLogStorage<TypeConfig> for GroupLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let state = self.state.lock();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (done, synced) = oneshot::channel();
        self.push(Op::Vote { vote: *vote, done }, 0, Haste::AtOnce)?;
        synced.await.map_err(io::Error::other)??;
        self.state.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if let Some(committed) = committed {
            self.state.lock().committed = Some(committed);
            self.shared.queue.mark_committed(self.group, committed);
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        let state = self.state.lock();
        // The mark is synced with the batch after its entries, never before; but a log whose end
        // an operator gave up may be shorter than its mark.
        Ok(state.committed.min(state.last))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut ops = vec![(Vec::new(), 0)];
        for entry in entries {
            let bytes = entry_bytes(&entry);
            if ops.last().is_some_and(|(_, sum)| *sum > 0 && sum + bytes > OP_BYTES_MAX) {
                ops.push((Vec::new(), 0));
            }
            let (op, sum) = ops.last_mut().expect("there is always one operation");
            op.push(entry);
            *sum += bytes;
        }
        let haste = {
            let mut state = self.state.lock();
            state.append(ops.iter().flat_map(|(entries, _)| entries));
            self.haste(&state, ops.iter().flat_map(|(entries, _)| entries))
        };
        let (last, last_bytes) = ops.pop().expect("there is always one operation");
        for (entries, bytes) in ops {
            self.wait_for_room(bytes).await?;
            self.push(Op::Append { entries, done: None }, bytes, haste)?;
        }
        self.wait_for_room(last_bytes).await?;
        self.push(Op::Append { entries: last, done: Some(callback) }, last_bytes, haste)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let end = {
            let mut state = self.state.lock();
            let end = state.last.map_or(0, |last| last.index + 1);
            let last = last.max(state.purged);
            let begin = last.map_or(0, |last| last.index + 1);
            if begin >= end {
                return Ok(());
            }
            state.tail.truncate(begin);
            state.sizes.truncate(begin);
            state.last = last;
            state.generation += 1;
            end
        };
        self.push(Op::Truncate { last, end }, 0, Haste::AtOnce)
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let delete = {
            let mut state = self.state.lock();
            if state.purged >= Some(upto) {
                return Ok(());
            }
            state.purge(upto)
        };
        self.push(Op::Purge { upto, delete }, 0, Haste::AtOnce)
    }
}

impl GroupLog {
    /// Samples that this node replicates may be on a majority of disks without being on its own.
    /// What a group is led by, and who belongs to it, is written at once.
    fn haste<'a>(&self, state: &GroupState, mut entries: impl Iterator<Item = &'a Entry>) -> Haste {
        let led = state.vote.map(|vote| vote.leader_id).filter(|leader| {
            self.group != GroupId::CONTROL && leader.voted_for == self.shared.node
        });
        let may_wait = |term| {
            entries.all(|entry| {
                entry.log_id.leader_id.term == term
                    && matches!(entry.payload, EntryPayload::Normal(_))
            })
        };
        match led.map(|leader| leader.term).is_some_and(may_wait) {
            true => Haste::MayWait,
            false => Haste::AtOnce,
        }
    }

    async fn wait_for_room(&self, bytes: usize) -> io::Result<()> {
        let wanted = u32::try_from(room_kib(bytes)).expect("room_kib is bounded");
        let permit = self.shared.room.acquire_many(wanted).await;
        // The log thread gives the room back with the batch.
        permit.map_err(|_| ended())?.forget();
        Ok(())
    }
}

impl GroupState {
    fn append<'a>(&mut self, entries: impl Iterator<Item = &'a Entry>) {
        for entry in entries {
            if self.begin >= self.last.map_or(0, |last| last.index + 1) {
                self.begin = entry.log_id.index;
            }
            self.sizes.append(entry.log_id.index, entry_bytes(entry) as u64);
            self.last = Some(entry.log_id);
            self.tail.push(entry.clone());
        }
    }

    /// Forgets entries up to `upto`; gives what is due to be deleted from disk.
    fn purge(&mut self, upto: LogId) -> Option<Deleted> {
        let end = upto.index + 1;
        self.purged = Some(upto);
        self.begin = self.begin.max(end);
        self.last = self.last.max(Some(upto));
        self.generation += 1;
        self.tail.purge(end);
        let entries = end.saturating_sub(self.deleted_end);
        let bytes = self.sizes.between(self.deleted_end, end);
        if entries < DELETE_ENTRIES_MIN && bytes < DELETE_BYTES_MIN {
            return None;
        }
        self.sizes.forget(end);
        let start = std::mem::replace(&mut self.deleted_end, end);
        Some(Deleted { start, end, bytes })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use openraft::Membership;

    use super::*;
    use crate::raft::{
        log::{LogConfig, LogDb, LogIdentity},
        types::Opaque,
    };

    fn of_term(term: u64) -> Entry {
        let payload = EntryPayload::Normal(Opaque(Bytes::from_static(b"samples")));
        Entry { log_id: LogId::new_term_index(term, 1), payload }
    }

    #[tokio::test]
    async fn only_samples_of_a_shard_that_is_led_here_may_wait() {
        let folder = tempfile::tempdir().unwrap();
        let (path, watermark) = (folder.path().join("log"), folder.path().join("WATERMARK"));
        let identity = LogIdentity { node: 1, folder: 5 };
        let log = LogDb::open(LogConfig::new(path, watermark, identity)).unwrap();
        let haste =
            |group: &GroupLog, entries: &[Entry]| group.haste(&group.state.lock(), entries.iter());
        let (mut shard, mut control) = (log.group(GroupId::shard(0)), log.group(GroupId::CONTROL));
        assert_eq!(haste(&shard, &[of_term(3)]), Haste::AtOnce, "no vote yet");
        shard.save_vote(&Vote::new(3, 2)).await.unwrap();
        assert_eq!(haste(&shard, &[of_term(3)]), Haste::AtOnce, "led elsewhere");
        for group in [&mut shard, &mut control] {
            group.save_vote(&Vote::new(4, 1)).await.unwrap();
        }
        assert_eq!(haste(&shard, &[of_term(4)]), Haste::MayWait);
        assert_eq!(haste(&control, &[of_term(4)]), Haste::AtOnce);
        assert_eq!(haste(&shard, &[of_term(3)]), Haste::AtOnce, "of an older leader");
        let membership = EntryPayload::Membership(Membership::default());
        for payload in [EntryPayload::Blank, membership] {
            let both = [of_term(4), Entry { payload, ..of_term(4) }];
            assert_eq!(haste(&shard, &both), Haste::AtOnce);
        }
    }
}
