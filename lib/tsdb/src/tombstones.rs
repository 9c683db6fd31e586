//! What was deleted and may still lie in chunks.
//!
//! A tombstone hides the samples of one series and time range in every chunk that had ended when
//! the delete was applied. The delete itself ends the open chunk and the late buffer where they
//! overlap its range, so no chunk that ends later holds anything it meant: what is appended
//! afterwards is seen, be it newer than the series' newest sample or late.
//!
//! Tombstones are part of the shard's state until the pages they hide something in have been
//! rewritten (`rewrite.rs`), which changes nothing that is seen.

use std::collections::BTreeMap;

use crate::{SeriesId, columns::Columns, series::GROUP_SERIES};

/// A range of time, both ends included, that is hidden in chunks that ended at log index `at` or
/// before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tombstone {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) at: u64,
}

impl Tombstone {
    fn covers(&self, older: &Self) -> bool {
        self.start <= older.start && self.end >= older.end
    }
}

/// The tombstones of a shard.
#[derive(Debug, Default)]
pub(crate) struct Tombstones {
    by_series: BTreeMap<u32, Vec<Tombstone>>,
    /// Log index of the last delete by group, until a checkpoint has written it.
    touched: BTreeMap<u32, u64>,
}

impl Tombstones {
    /// Adds a tombstone, which replaces those it covers.
    pub(crate) fn add(&mut self, series: SeriesId, tombstone: Tombstone) {
        let all = self.by_series.entry(series.0).or_default();
        all.retain(|older| !tombstone.covers(older));
        all.push(tombstone);
        self.touched.insert(group_of(series.0), tombstone.at);
    }

    /// A tombstone as it was stored.
    pub(crate) fn restore(&mut self, series: SeriesId, tombstone: Tombstone) {
        self.by_series.entry(series.0).or_default().push(tombstone);
    }

    /// A series' tombstones.
    pub(crate) fn of(&self, series: SeriesId) -> &[Tombstone] {
        self.by_series.get(&series.0).map_or(&[], Vec::as_slice)
    }

    /// The tombstones of a group's series.
    pub(crate) fn of_group(&self, group: u32) -> impl Iterator<Item = (SeriesId, &[Tombstone])> {
        let found = self.by_series.range(series_of(group));
        found.map(|(&series, all)| (SeriesId(series), all.as_slice()))
    }

    /// The groups with a tombstone of log index `upto` or before, in order.
    pub(crate) fn groups(&self, upto: u64) -> Vec<u32> {
        let due = |all: &[Tombstone]| all.iter().any(|tombstone| tombstone.at <= upto);
        let series = self.by_series.iter().filter(|(_, all)| due(all)).map(|(&series, _)| series);
        let mut groups: Vec<u32> = series.map(group_of).collect();
        groups.dedup();
        groups
    }

    /// The groups changed by an entry behind log index `confirmed`.
    pub(crate) fn changed(&self, confirmed: u64) -> impl Iterator<Item = u32> {
        let changed = self.touched.iter().filter(move |&(_, &at)| at > confirmed);
        changed.map(|(&group, _)| group)
    }

    /// A checkpoint at log index `upto` has written the changes up to it.
    pub(crate) fn written(&mut self, upto: u64) {
        self.touched.retain(|_, at| *at > upto);
    }

    /// Forgets a group's tombstones up to log index `upto`: its pages hold nothing they hide.
    pub(crate) fn forget(&mut self, group: u32, upto: u64) {
        let series: Vec<u32> =
            self.by_series.range(series_of(group)).map(|(&series, _)| series).collect();
        for series in series {
            let Some(all) = self.by_series.get_mut(&series) else { continue };
            all.retain(|tombstone| tombstone.at > upto);
            if all.is_empty() {
                self.by_series.remove(&series);
            }
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.by_series.values().map(Vec::len).sum()
    }
}

fn group_of(series: u32) -> u32 {
    series / GROUP_SERIES as u32
}

fn series_of(group: u32) -> std::ops::RangeInclusive<u32> {
    let first = group * GROUP_SERIES as u32;
    first..=first + (GROUP_SERIES as u32 - 1)
}

/// Removes from the rows behind the first `before`, read from a chunk that ended at log index
/// `ended`, what `tombstones` hide.
pub(crate) fn hide(tombstones: &[Tombstone], ended: u64, before: usize, rows: &mut Columns) {
    for tombstone in tombstones.iter().filter(|tombstone| ended <= tombstone.at) {
        let times = &rows.timestamps[before..];
        let from = before + times.partition_point(|&time| time < tombstone.start);
        let to = before + times.partition_point(|&time| time <= tombstone.end);
        if from < to {
            rows.remove(from, to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tombstone(start: i64, end: i64, at: u64) -> Tombstone {
        Tombstone { start, end, at }
    }

    #[test]
    fn a_wider_tombstone_replaces_narrower_ones() {
        let mut all = Tombstones::default();
        all.add(SeriesId(70), tombstone(5, 9, 1));
        all.add(SeriesId(70), tombstone(20, 30, 2));
        all.add(SeriesId(70), tombstone(0, 10, 3));
        assert_eq!(all.of(SeriesId(70)), [tombstone(20, 30, 2), tombstone(0, 10, 3)]);
        all.add(SeriesId(64), tombstone(1, 1, 4));
        assert_eq!((all.count(), all.groups(3), all.groups(1)), (3, vec![1], vec![]));
        assert_eq!(all.changed(3).collect::<Vec<_>>(), [1]);
        all.written(4);
        assert_eq!(all.changed(0).count(), 0);
        all.forget(1, 2);
        assert_eq!(all.of(SeriesId(70)), [tombstone(0, 10, 3)]);
        all.forget(1, 4);
        assert_eq!((all.count(), all.of_group(1).count()), (0, 0));
    }

    #[test]
    fn only_chunks_that_ended_before_are_hidden() {
        let rows = || {
            let mut rows = Columns::new();
            (1..5).for_each(|time| rows.push(time, time as f64));
            rows
        };
        let hides = [tombstone(2, 3, 7), tombstone(9, 9, 9)];
        let (mut before, mut after) = (rows(), rows());
        hide(&hides, 7, 0, &mut before);
        hide(&hides, 8, 0, &mut after);
        assert_eq!((before.timestamps, before.values), (vec![1, 4], vec![1.0, 4.0]));
        assert_eq!(after.len(), 4);
        let mut behind = rows();
        hide(&hides, 7, 2, &mut behind);
        assert_eq!(behind.timestamps, [1, 2, 4]);
    }
}
