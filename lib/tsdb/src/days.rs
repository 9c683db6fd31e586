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
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Day {
    pub(crate) present: RoaringBitmap,
    /// Log index of the entry that changed it last.
    pub(crate) touched: u64,
    /// The longest time a page of the day covers, in milliseconds: how far before a query's
    /// start its pages may begin.
    pub(crate) page_span: i64,
    /// Log index of the last checkpoint that wrote a page of the day.
    pub(crate) pages_at: u64,
    /// The chunks that ended up to this log index were joined.
    pub(crate) joined_at: u64,
}

impl Days {
    /// Marks a series as present on the day of `time`, by the entry at log index `at`.
    pub(crate) fn mark(&mut self, time: i64, id: SeriesId, at: u64) {
        let day = self.days.entry(day_of(time)).or_default();
        if day.present.insert(id.0) {
            day.touched = at;
        }
    }

    /// Marks a series as absent, by the entry at log index `at`, on the days whose samples
    /// `is_deleted` says are all gone; it is given the first and the last time of a day. Tells
    /// whether the series is present on any day still.
    pub(crate) fn clear(
        &mut self,
        id: SeriesId,
        at: u64,
        is_deleted: impl Fn(i64, i64) -> bool,
    ) -> bool {
        let mut is_present = false;
        for (&number, day) in &mut self.days {
            if !day.present.contains(id.0) {
                continue;
            }
            let first = number.saturating_mul(DAY_MS);
            if is_deleted(first, day_end(first).saturating_sub(1)) {
                day.present.remove(id.0);
                day.touched = at;
            } else {
                is_present = true;
            }
        }
        is_present
    }

    /// A day as it was stored.
    pub(crate) fn restore(&mut self, number: i64, day: Day) {
        self.days.insert(number, day);
    }

    /// Notes that a page of `[start, end]` is being written by the checkpoint at log index `at`.
    pub(crate) fn note_page(&mut self, start: i64, end: i64, at: u64) {
        let Some(day) = self.days.get_mut(&day_of(start)) else { return };
        day.page_span = end.saturating_sub(start).max(day.page_span);
        (day.pages_at, day.touched) = (at, at);
    }

    /// Notes that a page of a day that covers `span` is about to be written.
    pub(crate) fn widen(&mut self, day: i64, span: i64) {
        if let Some(day) = self.days.get_mut(&day) {
            day.page_span = span.max(day.page_span);
        }
    }

    /// Notes that a day's chunks were joined up to log index `at`.
    pub(crate) fn joined(&mut self, day: i64, at: u64) {
        if let Some(day) = self.days.get_mut(&day) {
            day.joined_at = at;
        }
    }

    /// The longest time a page of a day covers; a whole day, if it is not known any more.
    pub(crate) fn page_span(&self, day: i64) -> i64 {
        self.days.get(&day).map_or(DAY_MS, |day| day.page_span)
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

    /// The days that `[start, end]` touches and that have series.
    pub(crate) fn between(&self, start: i64, end: i64) -> Vec<i64> {
        if start > end {
            return Vec::new();
        }
        let days = self.days.range(day_of(start)..=day_of(end));
        days.map(|(&number, _)| number).collect()
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
        assert_eq!(days.between(-DAY_MS, DAY_MS), [0, 1]);
        assert!(days.present(9, 8).is_empty());
        days.forget_before(1);
        days.note_page(DAY_MS, DAY_MS + 7, 4);
        assert_eq!(days.between(i64::MIN, i64::MAX), [1]);
        assert_eq!((days.page_span(1), days.page_span(0)), (7, DAY_MS));
        days.widen(1, 9);
        days.widen(1, 8);
        assert_eq!(days.page_span(1), 9);
        assert!(days.clear(SeriesId(3), 5, |first, last| first > DAY_MS || last < DAY_MS));
        assert!(
            !days.clear(SeriesId(3), 5, |first, last| (first, last) == (DAY_MS, 2 * DAY_MS - 1))
        );
        assert_eq!((day_end(-1), day_end(0), day_end(i64::MAX)), (0, DAY_MS, i64::MAX));
    }
}
