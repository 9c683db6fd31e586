//! A node's log on a disk of the simulation: what was synced survives a crash, and of what was
//! under way a random beginning does.
//!
//! Groups use the log's own queue and memory; the log thread, RocksDB and the watermark are not
//! here. No entry counts as written, so that reads never go to a disk that is not there.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use openraft::EntryPayload;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use super::{
    GroupState, Shared,
    queue::{Batch, Op, Queue, ROOM_KIB},
    store::GroupLog,
    writer::LogMetrics,
};
use crate::{
    planted::{Planted, is_planted},
    raft::{
        codec::entry_bytes,
        runtime::Randomness,
        types::{Entry, GroupId, LogId, Membership, Vote},
    },
};

/// What the disk has of one group.
#[derive(Debug, Default, Clone)]
pub struct Durable {
    pub vote: Option<Vote>,
    pub entries: BTreeMap<u64, Entry>,
    /// Of the entries, those that change the members.
    pub memberships: BTreeMap<u64, Membership>,
    committed: Option<LogId>,
}

/// One node's disk. It outlives the node.
pub struct Disk {
    pub groups: BTreeMap<GroupId, Durable>,
    /// The longest that a sync takes.
    pub sync_max: Duration,
    under_way: Option<(Batch, Duration)>,
}

impl Disk {
    /// An empty disk.
    pub fn new(sync_max: Duration) -> Self {
        Self { groups: BTreeMap::new(), sync_max, under_way: None }
    }

    /// The log as a node finds it when it starts.
    pub fn open(&mut self) -> SimulatedLog {
        let mut groups = BTreeMap::new();
        for (group, durable) in &mut self.groups {
            if is_planted(Planted::ShortenedLog) {
                durable.entries.pop_last();
            }
            groups.insert(*group, Arc::new(Mutex::new(durable.state())));
        }
        let shared = Shared {
            db: Weak::new(),
            node: 0,
            queue: Queue::default(),
            groups: Mutex::new(groups),
            room: Semaphore::new(ROOM_KIB),
            failure: watch::Sender::new(None),
            metrics: LogMetrics::default(),
            tail_bytes_max: usize::MAX,
        };
        SimulatedLog { shared: Arc::new(shared) }
    }

    /// Goes on with what `log` wants written; `now` is the time since the beginning.
    pub fn step(&mut self, log: &SimulatedLog, now: Duration) {
        if let Some((batch, _)) = self.under_way.take_if(|(_, due)| *due <= now) {
            batch.ops.iter().for_each(|(group, op)| self.write(*group, op, usize::MAX));
            for (group, committed) in &batch.committed {
                self.groups.entry(*group).or_default().committed = Some(*committed);
            }
            log.shared.room.add_permits(batch.room_kib);
            batch.ops.into_iter().for_each(|(_, op)| op.complete(&Ok(())));
        }
        if self.under_way.is_none()
            && let Some(mut batch) = log.shared.queue.take_waiting()
        {
            let micros = self.sync_max.as_micros() as u64;
            let due = now + Duration::from_micros(Randomness.draw() % (micros + 1));
            batch.ops.iter_mut().for_each(|(_, op)| self.acknowledge_early(op));
            self.under_way = Some((batch, due));
        }
    }

    fn acknowledge_early(&self, op: &mut Op) {
        match op {
            Op::Append { done, .. } if is_planted(Planted::AckBeforeSync) => {
                done.take().into_iter().for_each(|done| done.io_completed(Ok(())));
            }
            _ => {}
        }
    }

    /// The node is gone: of what was being written, some may have reached the disk.
    pub fn crash(&mut self) {
        let Some((batch, _)) = self.under_way.take() else { return };
        let mut left = Randomness.draw() as usize % (batch.ops.len() + 1);
        for (group, op) in &batch.ops {
            let entries = if left == 0 { Randomness.draw() as usize % 3 } else { usize::MAX };
            self.write(*group, op, entries);
            if left == 0 {
                return;
            }
            left -= 1;
        }
    }

    /// Makes an operation durable, but of its entries no more than so many.
    fn write(&mut self, group: GroupId, op: &Op, entries_max: usize) {
        let skips_votes = is_planted(Planted::VoteNotSynced);
        let durable = self.groups.entry(group).or_default();
        match op {
            Op::Append { entries, .. } => {
                for entry in entries.iter().take(entries_max) {
                    durable.append(entry.clone());
                }
            }
            Op::Vote { .. } if skips_votes || entries_max == 0 => {}
            Op::Vote { vote, .. } => durable.vote = Some(*vote),
            Op::Truncate { .. } if entries_max == 0 => {}
            Op::Truncate { last, .. } => {
                let end = last.map_or(0, |last| last.index + 1);
                durable.entries.split_off(&end);
                durable.memberships.split_off(&end);
            }
            Op::Purge { .. } => panic!("nothing is persisted, so nothing is purged"),
        }
    }
}

impl Durable {
    fn append(&mut self, entry: Entry) {
        let index = entry.log_id.index;
        match &entry.payload {
            EntryPayload::Membership(members) => self.memberships.insert(index, members.clone()),
            _ => self.memberships.remove(&index),
        };
        self.entries.insert(index, entry);
    }

    fn state(&self) -> GroupState {
        let mut state = GroupState::new(usize::MAX);
        state.vote = self.vote;
        state.last = self.entries.values().next_back().map(|entry| entry.log_id);
        state.committed = self.committed.min(state.last);
        for entry in self.entries.values() {
            state.sizes.append(entry.log_id.index, entry_bytes(entry) as u64);
            state.tail.push(entry.clone());
        }
        state
    }
}

/// The log of a running node.
pub struct SimulatedLog {
    shared: Arc<Shared>,
}

impl SimulatedLog {
    /// The log of one group.
    pub fn group(&self, group: GroupId) -> GroupLog {
        let new = || Arc::new(Mutex::new(GroupState::new(usize::MAX)));
        let state = self.shared.groups.lock().entry(group).or_insert_with(new).clone();
        GroupLog::new(group, self.shared.clone(), state)
    }

    pub fn failure(&self) -> watch::Receiver<Option<Arc<std::io::Error>>> {
        self.shared.failure.subscribe()
    }
}
