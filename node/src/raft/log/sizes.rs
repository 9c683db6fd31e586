//! How many bytes the entries of a group's log take: known at a point about once per megabyte, and
//! estimated in between.
//!
//! Invariants
//! * points rise in index and in bytes, and none lies behind the newest entry;
//! * the estimate for an index never falls as the index rises.

use std::collections::VecDeque;

/// How far points are apart.
const STEP_BYTES: u64 = 1 << 20;

/// So many bytes were appended before this index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Point {
    index: u64,
    bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Sizes {
    /// At least one: where the log begins, or did.
    points: VecDeque<Point>,
    /// Behind the newest entry.
    end: Point,
}

impl Sizes {
    /// A log whose entries of `[begin, end)` take `bytes` in all, as near as is known.
    pub fn of(begin: u64, end: u64, bytes: u64) -> Self {
        let first = Point { index: begin, bytes: 0 };
        Self { points: VecDeque::from([first]), end: Point { index: end.max(begin), bytes } }
    }

    /// Counts an entry that follows the newest one.
    pub fn append(&mut self, index: u64, bytes: u64) {
        if self.points.len() == 1 && self.end == self.points[0] {
            // Nothing is held: the log may begin anywhere.
            self.points[0].index = index;
        }
        self.end = Point { index: index + 1, bytes: self.end.bytes + bytes };
        if self.end.bytes >= self.last().bytes + STEP_BYTES {
            self.points.push_back(self.end);
        }
    }

    /// Entries from `end` on are gone.
    pub fn truncate(&mut self, end: u64) {
        let bytes = self.before(end);
        while self.points.len() > 1 && self.last().index > end {
            self.points.pop_back();
        }
        self.end = Point { index: end.max(self.last().index), bytes: bytes.max(self.last().bytes) };
    }

    /// Nobody asks for entries below `begin` any more.
    pub fn forget(&mut self, begin: u64) {
        while self.points.get(1).is_some_and(|next| next.index <= begin) {
            self.points.pop_front();
        }
    }

    /// Bytes of the entries of `[begin, end)`.
    pub fn between(&self, begin: u64, end: u64) -> u64 {
        self.before(end).saturating_sub(self.before(begin))
    }

    /// Bytes of the entries from `begin` on.
    pub fn above(&self, begin: u64) -> u64 {
        self.end.bytes.saturating_sub(self.before(begin))
    }

    /// The index from which on entries take no more than `bytes`, to a point.
    pub fn leaving(&self, bytes: u64) -> u64 {
        let fits = |point: &Point| self.end.bytes - point.bytes <= bytes;
        let found = self.points.iter().find(|point| fits(point));
        found.map_or(self.end.index, |point| point.index)
    }

    fn last(&self) -> Point {
        *self.points.back().expect("there is always a point")
    }

    fn before(&self, index: u64) -> u64 {
        let behind = self.points.partition_point(|point| point.index <= index);
        let Some(before) = behind.checked_sub(1).map(|at| self.points[at]) else {
            return self.points[0].bytes;
        };
        let next = self.points.get(behind).copied().unwrap_or(self.end);
        let (entries, bytes) = (next.index - before.index, next.bytes - before.bytes);
        let part = index.min(next.index) - before.index;
        match entries {
            0 => before.bytes,
            _ => before.bytes + (u128::from(bytes) * u128::from(part) / u128::from(entries)) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIB: u64 = 1024;

    #[test]
    fn a_log_is_cut_where_the_rest_fits() {
        let mut sizes = Sizes::of(0, 0, 0);
        for index in 5..105 {
            sizes.append(index, 100 * KIB);
        }
        assert_eq!(sizes.above(5), 10_000 * KIB);
        assert_eq!(sizes.above(0), 10_000 * KIB);
        let begin = sizes.leaving(5_000 * KIB);
        assert!((55..66).contains(&begin), "{begin}");
        assert!(sizes.above(begin) <= 5_000 * KIB);
        assert_eq!(sizes.leaving(u64::MAX), 5);
        assert_eq!(sizes.leaving(0), 105);
        sizes.forget(begin);
        assert!(sizes.above(begin) <= 5_000 * KIB && sizes.above(begin) > 3_900 * KIB);
    }

    #[test]
    fn what_was_there_at_the_start_is_spread_evenly() {
        let mut sizes = Sizes::of(10, 20, 1000);
        assert_eq!((sizes.above(10), sizes.above(15), sizes.between(12, 14)), (1000, 500, 200));
        sizes.append(20, 50);
        assert_eq!(sizes.above(10), 1050);
        sizes.truncate(15);
        assert!(sizes.above(10) <= 525, "{}", sizes.above(10));
    }

    proptest! {
        #[test]
        fn an_estimate_is_off_by_a_step_at_most(
            entries in proptest::collection::vec(1u64..300_000, 1..200),
            cut in 0usize..200,
            forgotten in 0usize..200,
        ) {
            let mut sizes = Sizes::of(0, 0, 0);
            for (index, bytes) in entries.iter().enumerate() {
                sizes.append(index as u64, *bytes);
            }
            let cut = cut.min(entries.len());
            sizes.truncate(cut as u64);
            sizes.forget(forgotten.min(cut) as u64);
            let mut before = u64::MAX;
            for begin in forgotten.min(cut)..cut {
                let real: u64 = entries[begin..cut].iter().sum();
                let above = sizes.above(begin as u64);
                prop_assert!(above.abs_diff(real) <= 2 * (STEP_BYTES + 300_000));
                prop_assert!(above <= before);
                before = above;
            }
        }
    }
}
