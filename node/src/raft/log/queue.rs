//! What the groups want written, in the order the log thread takes it.
//!
//! Invariants
//! * one group's operations leave in the order they came, so a vote never overtakes an entry;
//! * groups with a vote waiting leave first, then the control group, then the others in turn;
//! * what may wait leaves with what may not, or alone after [`WAIT_MAX`].

mod patience;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    time::Duration,
};

use openraft::storage::IOFlushed;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use self::patience::Patience;
use crate::raft::types::{Entry, GroupId, LogId, TypeConfig, Vote};

/// Bytes one batch takes at most, unless a single operation is larger: bounds the time between an
/// entry's arrival and its sync.
pub const BATCH_BYTES_MAX: usize = 8 << 20;

/// Bytes waiting that end a pause between two syncs early: by now a sync is worth its cost.
const PAUSE_BYTES_MAX: usize = 1 << 20;

/// The longest that an operation waits for company. A leader that is needed for a majority after
/// all is late by so much.
pub const WAIT_MAX: Duration = Duration::from_millis(20);

/// When an operation must be on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// With the next sync, which it causes.
    AtOnce,
    /// With the next sync that something else causes: others may make a majority without it.
    MayWait,
}

/// One change of one group's log.
pub enum Op {
    /// Entries to add; `done` fires once they are synced.
    Append { entries: Vec<Entry>, done: Option<IOFlushed<TypeConfig>> },
    /// The vote to keep; answered once it is synced.
    Vote { vote: Vote, done: oneshot::Sender<io::Result<()>> },
    /// Another leader overruled what follows `last`, up to index `end`.
    Truncate { last: Option<LogId>, end: u64 },
    /// Entries up to `upto` are no longer needed; `delete` is what the disk shall forget now.
    Purge { upto: LogId, delete: Option<Deleted> },
}

/// Entries of `[start, end)` that leave the disk, and about how many bytes they take there.
#[derive(Debug, Clone, Copy)]
pub struct Deleted {
    pub start: u64,
    pub end: u64,
    pub bytes: u64,
}

impl Op {
    /// Tells whoever waits how it went.
    pub fn complete(self, result: &io::Result<()>) {
        let copy = || match result {
            Ok(()) => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        match self {
            Self::Append { done: Some(done), .. } => done.io_completed(copy()),
            Self::Vote { done, .. } => {
                done.send(copy()).ok();
            }
            Self::Append { done: None, .. } | Self::Truncate { .. } | Self::Purge { .. } => {}
        }
    }
}

struct Queued {
    op: Op,
    bytes: usize,
}

#[derive(Default)]
struct GroupQueue {
    ops: VecDeque<Queued>,
    votes: usize,
    patience: Patience,
}

impl GroupQueue {
    /// The newest entry that waits.
    fn last(&self) -> Option<LogId> {
        self.ops.iter().rev().find_map(|queued| match &queued.op {
            Op::Append { entries, .. } => entries.last().map(|entry| entry.log_id),
            Op::Vote { .. } | Op::Truncate { .. } | Op::Purge { .. } => None,
        })
    }
}

#[derive(Default)]
struct State {
    groups: BTreeMap<GroupId, GroupQueue>,
    /// Commit marks wait here for the next batch: they never cause a sync of their own.
    committed: BTreeMap<GroupId, LogId>,
    bytes: usize,
    ops: usize,
    /// Those that cause a sync.
    urgent: usize,
    /// The log thread looks again after [`WAIT_MAX`] by itself, so that operations may wait.
    watched: bool,
    votes: usize,
    /// The group served last, so that the next batch begins behind it.
    turn: Option<GroupId>,
    /// Nothing is taken while somebody needs the log as it is.
    held: bool,
    /// What waited when the log was held is still to be taken.
    draining: bool,
    /// The log thread has a batch that it has not come back from.
    writing: bool,
    stopped: bool,
}

/// What one sync makes durable.
#[derive(Default)]
pub struct Batch {
    pub ops: Vec<(GroupId, Op)>,
    pub committed: BTreeMap<GroupId, LogId>,
    pub bytes: usize,
    /// Room in the queue that is free again, see [`room_kib`].
    pub room_kib: usize,
}

/// Room that an operation of this many bytes takes up in the queue. Only entries take any.
pub fn room_kib(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { (bytes / 1024 + 1).min(ROOM_KIB) }
}

/// Entries that may wait, in KiB (64 MiB): half a second of the disk at its best, far above what
/// the shards' own limits let pile up. Beyond that an append waits, and its sender with it.
pub const ROOM_KIB: usize = 64 << 10;

#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// The log thread came back.
    idle: Condvar,
}

impl Queue {
    /// Adds an operation; gives it back when the log thread has ended.
    pub fn push(&self, group: GroupId, op: Op, bytes: usize, haste: Haste) -> Result<(), Op> {
        let mut state = self.state.lock();
        if state.stopped {
            return Err(op);
        }
        let vote = matches!(op, Op::Vote { .. });
        let queue = state.groups.entry(group).or_default();
        queue.ops.push_back(Queued { op, bytes });
        queue.votes += usize::from(vote);
        let may_wait = haste == Haste::MayWait && queue.patience.allows();
        // The first that might have waited wakes the log thread, which then watches.
        let urgent = !(may_wait && state.watched);
        state.watched |= may_wait;
        state.ops += 1;
        state.urgent += usize::from(urgent);
        state.bytes += bytes;
        state.votes += usize::from(vote);
        if vote || (urgent && state.urgent == 1) || state.bytes >= PAUSE_BYTES_MAX {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Remembers how far a group is committed; written along with the next batch.
    pub fn mark_committed(&self, group: GroupId, committed: LogId) {
        self.state.lock().committed.insert(group, committed);
    }

    /// Waits for work; `None` once stopped and empty.
    pub fn take(&self) -> Option<Batch> {
        let mut state = self.state.lock();
        state.writing = false;
        self.idle.notify_all();
        while !state.is_due() {
            if !state.watched {
                self.changed.wait(&mut state);
            } else if self.changed.wait_for(&mut state, WAIT_MAX).timed_out() {
                state.lapse();
            }
        }
        if state.ops == 0 && state.committed.is_empty() {
            return None;
        }
        state.writing = true;
        Some(state.take())
    }

    /// What waits by now, if anything does.
    #[cfg(test)]
    pub fn take_waiting(&self) -> Option<Batch> {
        let mut state = self.state.lock();
        (state.ops > 0).then(|| state.take())
    }

    /// Keeps what comes in the queue from now on, and waits until what came before is written.
    /// False, and nothing is held, if another holds the queue or the log thread has ended.
    pub fn hold(&self) -> bool {
        let mut state = self.state.lock();
        if state.held || state.stopped {
            return false;
        }
        state.held = true;
        state.draining = state.ops > 0;
        state.urgent = state.ops;
        self.changed.notify_one();
        while (state.writing || state.draining) && !state.stopped {
            self.idle.wait(&mut state);
        }
        true
    }

    /// Lets a held queue go on.
    pub fn release(&self) {
        self.state.lock().held = false;
        self.changed.notify_one();
    }

    /// Lets more work gather for up to `spacing` if some came while the last sync ran. A vote, a
    /// megabyte or the end of the node cuts the pause short, and so may a stray wake-up: harmless.
    pub fn pause(&self, spacing: Duration) {
        let mut state = self.state.lock();
        if state.urgent > 0
            && state.votes == 0
            && state.bytes < PAUSE_BYTES_MAX
            && !state.stopped
            && !state.held
        {
            self.changed.wait_for(&mut state, spacing);
        }
    }

    /// Refuses further work; what is queued is still taken.
    pub fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_one();
        self.idle.notify_all();
    }

    /// Refuses further work and gives up what is queued.
    pub fn abandon(&self) -> Batch {
        let mut state = self.state.lock();
        state.stopped = true;
        self.idle.notify_all();
        let mut all = Batch::default();
        while state.ops > 0 {
            all.ops.append(&mut state.take().ops);
        }
        all
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.state.lock().bytes
    }
}

impl State {
    /// Whether the log thread has something to do.
    fn is_due(&self) -> bool {
        self.stopped || (self.urgent > 0 && (!self.held || self.draining))
    }

    /// [`WAIT_MAX`] has passed: nothing waits longer, and where nothing did nobody watches.
    fn lapse(&mut self) {
        self.watched = self.ops > 0;
        if self.held {
            return;
        }
        self.urgent = self.ops;
        for (group, queue) in &mut self.groups {
            if let Some(last) = queue.last() {
                queue.patience.learn(self.committed.get(group) >= Some(&last));
            }
        }
    }

    fn take(&mut self) -> Batch {
        let mut batch =
            Batch { committed: std::mem::take(&mut self.committed), ..Batch::default() };
        let draining = std::mem::take(&mut self.draining);
        for group in self.order() {
            while batch.bytes < BATCH_BYTES_MAX || draining {
                let Some(queue) = self.groups.get_mut(&group) else { break };
                let Some(queued) = queue.ops.pop_front() else { break };
                let vote = usize::from(matches!(queued.op, Op::Vote { .. }));
                queue.votes -= vote;
                self.votes -= vote;
                self.ops -= 1;
                self.bytes -= queued.bytes;
                batch.bytes += queued.bytes;
                batch.room_kib += room_kib(queued.bytes);
                batch.ops.push((group, queued.op));
                self.turn = Some(group);
            }
        }
        self.urgent = self.ops;
        batch
    }

    fn order(&self) -> Vec<GroupId> {
        let waiting = |(group, queue): (&GroupId, &GroupQueue)| {
            (!queue.ops.is_empty()).then_some((*group, queue.votes > 0))
        };
        let mut groups: Vec<(GroupId, bool)> = self.groups.iter().filter_map(waiting).collect();
        groups.sort_by_key(|&(group, votes)| {
            (!votes, group != GroupId::CONTROL, Some(group) <= self.turn, group)
        });
        groups.into_iter().map(|(group, _)| group).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use openraft::EntryPayload;

    use super::*;

    fn append(index: u64) -> Op {
        let log_id = LogId::new_term_index(1, index);
        let entries = vec![Entry { log_id, payload: EntryPayload::Blank }];
        Op::Append { entries, done: None }
    }

    fn vote() -> Op {
        Op::Vote { vote: Vote::new(1, 1), done: oneshot::channel().0 }
    }

    fn taken(queue: &Queue) -> Vec<String> {
        let name = |(group, op): &(GroupId, Op)| match op {
            Op::Append { entries, .. } => format!("{group} {}", entries[0].log_id.index),
            Op::Vote { .. } => format!("{group} vote"),
            Op::Truncate { .. } => format!("{group} truncate"),
            Op::Purge { .. } => format!("{group} purge"),
        };
        queue.take().unwrap().ops.iter().map(name).collect()
    }

    fn push(queue: &Queue, group: GroupId, op: Op, bytes: usize) {
        assert!(queue.push(group, op, bytes, Haste::AtOnce).is_ok());
    }

    #[test]
    fn votes_and_the_control_group_leave_first_without_overtaking_their_own_group() {
        let queue = Queue::default();
        push(&queue, GroupId::shard(0), append(1), 10);
        push(&queue, GroupId::shard(1), append(1), 10);
        push(&queue, GroupId::CONTROL, append(1), 10);
        push(&queue, GroupId::shard(1), vote(), 10);
        assert_eq!(taken(&queue), ["shard-1 1", "shard-1 vote", "control 1", "shard-0 1"]);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn a_batch_is_bounded_and_groups_take_turns() {
        let queue = Queue::default();
        for index in 0..3 {
            for shard in 0..2 {
                push(&queue, GroupId::shard(shard), append(index), BATCH_BYTES_MAX / 2);
            }
        }
        assert_eq!(taken(&queue), ["shard-0 0", "shard-0 1"]);
        assert_eq!(taken(&queue), ["shard-1 0", "shard-1 1"]);
        assert_eq!(taken(&queue), ["shard-0 2", "shard-1 2"]);
        queue.stop();
        assert!(queue.take().is_none());
        assert!(queue.push(GroupId::CONTROL, vote(), 1, Haste::AtOnce).is_err());
    }

    #[test]
    fn a_held_queue_keeps_what_comes_until_it_is_released() {
        let queue = Queue::default();
        push(&queue, GroupId::shard(0), append(1), 10);
        assert_eq!(taken(&queue), ["shard-0 1"]);
        thread::scope(|scope| {
            let holder = scope.spawn(|| queue.hold());
            while !queue.state.lock().held {
                thread::yield_now();
            }
            assert!(!holder.is_finished(), "a batch that was taken is written first");
            push(&queue, GroupId::shard(0), append(2), 10);
            let writer = scope.spawn(|| taken(&queue));
            assert!(holder.join().unwrap());
            assert!(!queue.hold(), "one at a time");
            assert!(!writer.is_finished());
            queue.release();
            assert_eq!(writer.join().unwrap(), ["shard-0 2"]);
        });
    }

    #[test]
    fn a_held_queue_ends_with_its_node() {
        let queue = Queue::default();
        assert!(queue.hold());
        push(&queue, GroupId::shard(0), append(1), 10);
        queue.stop();
        assert_eq!(taken(&queue), ["shard-0 1"]);
        assert!(queue.take().is_none());
        queue.release();
        assert!(!queue.hold());
    }

    fn push_patiently(queue: &Queue, index: u64) {
        let pushed = queue.push(GroupId::shard(0), append(index), 10, Haste::MayWait);
        assert!(pushed.is_ok());
    }

    fn urgent(queue: &Queue) -> usize {
        queue.state.lock().urgent
    }

    #[test]
    fn what_may_wait_leaves_with_what_may_not() {
        let queue = Queue::default();
        push_patiently(&queue, 1);
        assert_eq!(taken(&queue), ["shard-0 1"], "nobody watched, so it did not wait");
        push_patiently(&queue, 2);
        assert_eq!(urgent(&queue), 0);
        push(&queue, GroupId::shard(1), append(1), 10);
        assert_eq!(urgent(&queue), 1);
        assert_eq!(taken(&queue), ["shard-1 1", "shard-0 2"]);
    }

    #[test]
    fn what_waits_alone_leaves_after_a_while_and_is_not_delayed_again_if_it_was_needed() {
        let queue = Queue::default();
        push_patiently(&queue, 1);
        taken(&queue);
        push_patiently(&queue, 2);
        queue.mark_committed(GroupId::shard(0), LogId::new_term_index(1, 2));
        assert_eq!(taken(&queue), ["shard-0 2"], "after a while");
        push_patiently(&queue, 3);
        assert_eq!(urgent(&queue), 0, "the one before was committed without this disk");
        assert_eq!(taken(&queue), ["shard-0 3"], "after a while");
        push_patiently(&queue, 4);
        assert_eq!(urgent(&queue), 1, "the one before was not");
    }

    #[test]
    fn a_log_is_held_with_all_that_came_before() {
        let queue = Queue::default();
        push_patiently(&queue, 1);
        taken(&queue);
        push_patiently(&queue, 2);
        thread::scope(|scope| {
            let holder = scope.spawn(|| queue.hold());
            while !queue.state.lock().held {
                thread::yield_now();
            }
            assert_eq!(taken(&queue), ["shard-0 2"]);
            push_patiently(&queue, 3);
            let writer = scope.spawn(|| taken(&queue));
            assert!(holder.join().unwrap());
            assert!(!writer.is_finished());
            queue.release();
            assert_eq!(writer.join().unwrap(), ["shard-0 3"]);
        });
    }

    #[test]
    fn commit_marks_wait_for_company() {
        let queue = Queue::default();
        queue.mark_committed(GroupId::shard(3), LogId::new_term_index(1, 4));
        queue.mark_committed(GroupId::shard(3), LogId::new_term_index(1, 5));
        push(&queue, GroupId::CONTROL, append(1), 1);
        let batch = queue.take().unwrap();
        assert_eq!(batch.committed[&GroupId::shard(3)].index, 5);
        queue.mark_committed(GroupId::shard(3), LogId::new_term_index(1, 6));
        queue.stop();
        assert_eq!(queue.take().unwrap().committed[&GroupId::shard(3)].index, 6);
    }
}
