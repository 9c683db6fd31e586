//! The newest entries of one group in memory.
//!
//! Replication and apply read from here; only a replica far behind reads from disk.
//!
//! Invariants
//! * the entries are consecutive and end with the newest of the log;
//! * an entry that is not on disk yet is here, whatever the limit says.

use std::collections::VecDeque;

use crate::raft::{codec::entry_bytes, types::Entry};

#[derive(Debug)]
pub struct Tail {
    entries: VecDeque<Entry>,
    /// Index after the last one; equals the next index of the log even when nothing is held.
    end: u64,
    /// Entries below are on disk and may be dropped.
    written_end: u64,
    bytes: usize,
    bytes_max: usize,
}

impl Tail {
    pub fn new(end: u64, bytes_max: usize) -> Self {
        Self { entries: VecDeque::new(), end, written_end: end, bytes: 0, bytes_max }
    }

    /// Index of the first entry held; the next index of the log when none is.
    pub fn first(&self) -> u64 {
        self.end - self.entries.len() as u64
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn push(&mut self, entry: Entry) {
        assert!(
            self.entries.is_empty() || entry.log_id.index == self.end,
            "BUG: entry {} after index {} leaves a hole in the log",
            entry.log_id,
            self.end
        );
        if self.entries.is_empty() {
            self.written_end = self.written_end.min(entry.log_id.index);
        }
        self.end = entry.log_id.index + 1;
        self.bytes += entry_bytes(&entry);
        self.entries.push_back(entry);
    }

    /// Entries below `end` are on disk from now on.
    pub fn written(&mut self, end: u64) {
        self.written_end = self.written_end.max(end).min(self.end);
        while self.bytes > self.bytes_max && self.first() < self.written_end {
            self.drop_first();
        }
    }

    /// Drops entries below `first` that are on disk: whoever follows has them.
    pub fn release(&mut self, first: u64) {
        let end = first.min(self.written_end);
        while !self.entries.is_empty() && self.first() < end {
            self.drop_first();
        }
    }

    /// Drops what lies at or behind `end`.
    pub fn truncate(&mut self, end: u64) {
        while self.end > end {
            match self.entries.pop_back() {
                Some(entry) => {
                    self.bytes -= entry_bytes(&entry);
                    self.end -= 1;
                }
                None => self.end = end,
            }
        }
        self.written_end = self.written_end.min(end);
    }

    /// Drops what lies below `first`; a log that ends below begins again there.
    pub fn purge(&mut self, first: u64) {
        while !self.entries.is_empty() && self.first() < first {
            self.drop_first();
        }
        self.end = self.end.max(first);
        self.written_end = self.written_end.max(first);
    }

    fn drop_first(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry_bytes(&entry);
        }
    }

    /// Held entries of `[start, end)`, the first of them always, then while they fit `bytes_max`.
    pub fn read(&self, start: u64, end: u64, bytes_max: usize) -> Vec<Entry> {
        let first = self.first();
        let from = start.max(first) - first;
        let until = end.min(self.end).saturating_sub(first).max(from);
        let mut bytes = 0;
        self.entries
            .range(from.min(self.entries.len() as u64) as usize..until as usize)
            .take_while(|entry| {
                let fits = bytes == 0 || bytes + entry_bytes(entry) <= bytes_max;
                bytes += entry_bytes(entry);
                fits
            })
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use openraft::EntryPayload;
    use proptest::prelude::*;

    use super::*;
    use crate::raft::types::{LogId, Opaque};

    fn entry(index: u64, bytes: usize) -> Entry {
        let payload = EntryPayload::Normal(Opaque(Bytes::from(vec![0; bytes])));
        Entry { log_id: LogId::new_term_index(1, index), payload }
    }

    fn indexes(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.log_id.index).collect()
    }

    #[test]
    fn only_written_entries_are_dropped() {
        let mut tail = Tail::new(0, 300);
        for index in 0..10 {
            tail.push(entry(index, 36));
        }
        assert_eq!(tail.first(), 0, "nothing is on disk yet");
        tail.written(4);
        assert_eq!(tail.first(), 4);
        tail.written(10);
        assert_eq!(tail.first(), 7, "the newest that fit the limit stay");
    }

    #[test]
    fn a_read_gives_at_least_one_entry_and_stops_at_its_limit() {
        let mut tail = Tail::new(5, 1 << 20);
        for index in 5..9 {
            tail.push(entry(index, 100));
        }
        assert_eq!(indexes(&tail.read(5, 9, 1)), [5]);
        assert_eq!(indexes(&tail.read(5, 9, 350)), [5, 6]);
        assert_eq!(indexes(&tail.read(0, 7, usize::MAX)), [5, 6]);
        assert!(tail.read(9, 12, usize::MAX).is_empty());
        assert!(tail.read(2, 4, usize::MAX).is_empty());
    }

    #[test]
    fn only_what_is_on_disk_is_released() {
        let mut tail = Tail::new(3, 1 << 20);
        for index in 3..9 {
            tail.push(entry(index, 36));
        }
        tail.release(9);
        assert_eq!(tail.first(), 3, "nothing is on disk yet");
        tail.written(6);
        tail.release(5);
        assert_eq!(tail.first(), 5);
        tail.release(9);
        assert_eq!(tail.first(), 6);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(usize),
        Written(u64),
        Truncate(u64),
        Purge(u64),
        Release(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0usize..200).prop_map(Step::Push),
            2 => (0u64..40).prop_map(Step::Written),
            1 => (0u64..40).prop_map(Step::Truncate),
            1 => (0u64..40).prop_map(Step::Purge),
            1 => (0u64..40).prop_map(Step::Release),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn the_tail_is_an_end_of_the_whole_log(steps in steps()) {
            let mut tail = Tail::new(0, 500);
            let (mut log, mut begin) = (Vec::<Entry>::new(), 0u64);
            for step in steps {
                let end = begin + log.len() as u64;
                match step {
                    Step::Push(bytes) => {
                        log.push(entry(end, bytes));
                        tail.push(entry(end, bytes));
                    }
                    Step::Written(upto) => tail.written(upto.min(end)),
                    Step::Release(first) => tail.release(first.min(end)),
                    Step::Truncate(upto) => {
                        let upto = upto.clamp(begin, end);
                        log.truncate((upto - begin) as usize);
                        tail.truncate(upto);
                    }
                    Step::Purge(first) => {
                        let first = first.max(begin);
                        log.drain(..((first - begin) as usize).min(log.len()));
                        begin = first;
                        tail.purge(first);
                    }
                }
                let end = begin + log.len() as u64;
                let held = tail.read(0, u64::MAX, usize::MAX);
                prop_assert_eq!(tail.bytes(), held.iter().map(entry_bytes).sum::<usize>());
                prop_assert_eq!(tail.first() + held.len() as u64, end);
                prop_assert_eq!(&log[log.len() - held.len()..], &held[..]);
            }
        }
    }
}
