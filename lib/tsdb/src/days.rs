//! Which series have samples on which UTC day.
//!
//! Apply only sets a bit when a series' chunk begins; what is written of a day, and when, is the
//! checkpoint's business.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use crate::SeriesId;

/// Milliseconds of a UTC day.
pub(crate) const DAY_MS: i64 = 86_400_000;

/// The UTC day of a time; far enough for every `i64` of milliseconds.
pub(crate) const fn day_of(time: i64) -> i64 {
    time.div_euclid(DAY_MS)
}

/// The first time after the day of `time`.
pub(crate) const fn day_end(time: i64) -> i64 {
    day_of(time).saturating_add(1).saturating_mul(DAY_MS)
}

/// The series present on each day.
#[derive(Debug, Default)]
pub(crate) struct Days {
    days: BTreeMap<i64, Day>,
}

/// One day.
#[derive(Debug, Default, Clone)]
pub(crate) struct Day {
    pub(crate) present: RoaringBitmap,
    /// Log index of the entry that changed it last.
    pub(crate) touched: u64,
    /// The longest time a page of the day covers, in milliseconds: how far before a query's
    /// start its pages may begin.
    pub(crate) page_span: i64,
}

impl Days {
    /// Marks a series as present on the day of `time`, by the entry at log index `at`.
    pub(crate) fn mark(&mut self, time: i64, id: SeriesId, at: u64) {
        let day = self.days.entry(day_of(time)).or_default();
        if day.present.insert(id.0) {
            day.touched = at;
        }
    }

    /// A day as it was stored.
    pub(crate) fn restore(&mut self, day: i64, present: RoaringBitmap, page_span: i64) {
        self.days.insert(day, Day { present, touched: 0, page_span });
    }

    /// Notes that a page of `[start, end]` is being written by the checkpoint at log index `at`.
    pub(crate) fn note_page(&mut self, start: i64, end: i64, at: u64) {
        let Some(day) = self.days.get_mut(&day_of(start)) else { return };
        let span = end.saturating_sub(start);
        if span > day.page_span {
            day.page_span = span;
            day.touched = at;
        }
    }

    /// The series present on any day that `[start, end]` touches.
    pub(crate) fn present(&self, start: i64, end: i64) -> RoaringBitmap {
        let mut present = RoaringBitmap::new();
        if start > end {
            return present;
        }
        for (_, day) in self.days.range(day_of(start)..=day_of(end)) {
            present |= &day.present;
        }
        present
    }

    /// The days that `[start, end]` touches and that have series, each with its page span.
    pub(crate) fn between(&self, start: i64, end: i64) -> Vec<(i64, i64)> {
        if start > end {
            return Vec::new();
        }
        let days = self.days.range(day_of(start)..=day_of(end));
        days.map(|(&number, day)| (number, day.page_span)).collect()
    }

    /// All days in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, &Day)> {
        self.days.iter().map(|(&day, found)| (day, found))
    }

    /// Forgets the days before `day`.
    pub(crate) fn forget_before(&mut self, day: i64) {
        self.days = self.days.split_off(&day);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presence_is_by_whole_days() {
        let mut days = Days::default();
        days.mark(5, SeriesId(1), 1);
        days.mark(DAY_MS - 1, SeriesId(2), 2);
        days.mark(DAY_MS, SeriesId(3), 3);
        assert_eq!(days.present(7, 8).iter().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(days.present(i64::MIN, i64::MAX).len(), 3);
        assert_eq!(days.between(-DAY_MS, DAY_MS), [(0, 0), (1, 0)]);
        assert!(days.present(9, 8).is_empty());
        days.forget_before(1);
        days.note_page(DAY_MS, DAY_MS + 7, 4);
        assert_eq!(days.between(i64::MIN, i64::MAX), [(1, 7)]);
        assert_eq!((day_end(-1), day_end(0), day_end(i64::MAX)), (0, DAY_MS, i64::MAX));
    }
}
