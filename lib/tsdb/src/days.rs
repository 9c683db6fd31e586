//! Which series have samples on which UTC day, and of which retention class those are.
//!
//! Apply only sets a bit when a series' chunk begins; what is written of a day, and when, is the
//! checkpoint's business.

use std::{collections::BTreeMap, sync::Arc};

use roaring::RoaringBitmap;

use crate::{RetentionClass, SeriesId};

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
    /// Days that were forgotten, with the log index, until a checkpoint has written that.
    gone: Vec<(i64, u64)>,
}

/// One day. Bitmaps are shared with selections and copied where one still looks at them.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Day {
    pub(crate) present: Arc<RoaringBitmap>,
    /// Those among them whose samples of the day are not of the default class. None is empty.
    pub(crate) classes: BTreeMap<RetentionClass, Arc<RoaringBitmap>>,
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

impl Day {
    /// The class of a series' samples of the day, if it is present.
    pub(crate) fn class_of(&self, id: SeriesId) -> Option<RetentionClass> {
        if !self.present.contains(id.0) {
            return None;
        }
        let other = self.classes.iter().find(|(_, series)| series.contains(id.0));
        Some(other.map_or(RetentionClass::default(), |(class, _)| *class))
    }

    /// The series of each class.
    pub(crate) fn by_class(&self) -> impl Iterator<Item = (RetentionClass, RoaringBitmap)> {
        let default = (RetentionClass::default(), self.of_class(RetentionClass::default()));
        let others = self.classes.iter().map(|(class, series)| (*class, (**series).clone()));
        std::iter::once(default).chain(others)
    }

    fn of_class(&self, class: RetentionClass) -> RoaringBitmap {
        if class != RetentionClass::default() {
            return self.classes.get(&class).map_or_else(RoaringBitmap::new, |it| (**it).clone());
        }
        let others = self.classes.values();
        others.fold((*self.present).clone(), |default, other| default - &**other)
    }

    fn remove(&mut self, id: SeriesId) {
        Arc::make_mut(&mut self.present).remove(id.0);
        self.classes.retain(|_, series| {
            if series.contains(id.0) {
                Arc::make_mut(series).remove(id.0);
            }
            !series.is_empty()
        });
    }
}

/// The series of a day as they were at one moment.
#[derive(Debug, Clone)]
pub(crate) struct DaySeries {
    pub(crate) number: i64,
    day: Day,
}

impl DaySeries {
    /// The class of a series' samples of the day, if it was present.
    pub(crate) fn class_of(&self, id: SeriesId) -> Option<RetentionClass> {
        self.day.class_of(id)
    }
}

impl Days {
    /// Marks a series as present on the day of `time`, by the entry at log index `at`. Where it
    /// was not yet, its samples of the day are of `class`, which is given back.
    pub(crate) fn mark(
        &mut self,
        time: i64,
        id: SeriesId,
        at: u64,
        class: impl FnOnce() -> RetentionClass,
    ) -> Option<RetentionClass> {
        let day = self.days.entry(day_of(time)).or_default();
        if day.present.contains(id.0) {
            return None;
        }
        Arc::make_mut(&mut day.present).insert(id.0);
        let class = class();
        if class != RetentionClass::default() {
            Arc::make_mut(day.classes.entry(class).or_default()).insert(id.0);
        }
        day.touched = at;
        Some(class)
    }

    /// The class of a series' samples of a day, if it is present on it.
    pub(crate) fn class_on(&self, day: i64, id: SeriesId) -> Option<RetentionClass> {
        self.days.get(&day)?.class_of(id)
    }

    /// Marks a series as absent, by the entry at log index `at`, on the days whose samples
    /// `is_deleted` says are all gone; it is given the class and the first and the last time of a
    /// day. Tells whether the series is present on any day still.
    pub(crate) fn clear(
        &mut self,
        id: SeriesId,
        at: u64,
        is_deleted: impl Fn(RetentionClass, i64, i64) -> bool,
    ) -> bool {
        let mut is_present = false;
        for (&number, day) in &mut self.days {
            let Some(class) = day.class_of(id) else { continue };
            let first = number.saturating_mul(DAY_MS);
            if is_deleted(class, first, day_end(first).saturating_sub(1)) {
                day.remove(id);
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
            present |= &*day.present;
        }
        present
    }

    /// The days that `[start, end]` touches, with their series.
    pub(crate) fn between(&self, start: i64, end: i64) -> Vec<DaySeries> {
        if start > end {
            return Vec::new();
        }
        let days = self.days.range(day_of(start)..=day_of(end));
        days.map(|(&number, day)| DaySeries { number, day: day.clone() }).collect()
    }

    /// All days in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, &Day)> {
        self.days.iter().map(|(&day, found)| (day, found))
    }

    /// Forgets, by the entry at log index `at`, what is of a class on the days before
    /// `first_day`. Gives the series that this leaves absent, by day.
    pub(crate) fn forget(
        &mut self,
        class: RetentionClass,
        first_day: i64,
        at: u64,
    ) -> Vec<(i64, RoaringBitmap)> {
        let (mut forgotten, gone) = (Vec::new(), &mut self.gone);
        let mut forget = |number: i64, day: &mut Day| {
            let of_class = day.of_class(class);
            if !of_class.is_empty() {
                *Arc::make_mut(&mut day.present) -= &of_class;
                day.classes.remove(&class);
                day.touched = at;
                forgotten.push((number, of_class));
            }
            if day.present.is_empty() {
                gone.push((number, at));
            }
            !day.present.is_empty()
        };
        let kept = self.days.split_off(&first_day);
        self.days.retain(|&number, day| forget(number, day));
        self.days.extend(kept);
        forgotten
    }

    /// Days that were forgotten and did not come back.
    pub(crate) fn gone(&self) -> impl Iterator<Item = i64> {
        let gone = self.gone.iter().map(|(day, _)| *day);
        gone.filter(|day| !self.days.contains_key(day))
    }

    /// Leaves behind the days whose end a checkpoint at log index `upto` has written.
    pub(crate) fn forget_gone(&mut self, upto: u64) {
        self.gone.retain(|gone| gone.1 > upto);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: RetentionClass = RetentionClass(0);
    const WEEK: RetentionClass = RetentionClass(7);

    fn numbers(days: &Days) -> Vec<i64> {
        days.between(i64::MIN, i64::MAX).iter().map(|day| day.number).collect()
    }

    #[test]
    fn presence_is_by_whole_days() {
        let mut days = Days::default();
        days.mark(5, SeriesId(1), 1, || DEFAULT);
        days.mark(DAY_MS - 1, SeriesId(2), 2, || DEFAULT);
        days.mark(DAY_MS, SeriesId(3), 3, || DEFAULT);
        assert_eq!(days.present(7, 8).iter().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(days.present(i64::MIN, i64::MAX).len(), 3);
        assert_eq!(numbers(&days), [0, 1]);
        assert!(days.present(9, 8).is_empty());
        assert_eq!(days.forget(DEFAULT, 1, 9), [(0, [1, 2].into())]);
        days.note_page(DAY_MS, DAY_MS + 7, 4);
        assert_eq!(numbers(&days), [1]);
        assert_eq!((days.page_span(1), days.page_span(0)), (7, DAY_MS));
        days.widen(1, 9);
        days.widen(1, 8);
        assert_eq!(days.page_span(1), 9);
        assert!(days.clear(SeriesId(3), 5, |_, first, last| first > DAY_MS || last < DAY_MS));
        assert!(
            !days.clear(SeriesId(3), 5, |_, first, last| (first, last) == (DAY_MS, 2 * DAY_MS - 1))
        );
        assert_eq!((day_end(-1), day_end(0), day_end(i64::MAX)), (0, DAY_MS, i64::MAX));
    }

    #[test]
    fn a_class_holds_for_a_series_and_day() {
        let mut days = Days::default();
        assert_eq!(days.mark(5, SeriesId(1), 1, || WEEK), Some(WEEK));
        assert_eq!(days.mark(6, SeriesId(1), 2, || DEFAULT), None);
        days.mark(7, SeriesId(2), 3, || DEFAULT);
        days.mark(DAY_MS, SeriesId(1), 4, || DEFAULT);
        let shown = days.between(0, 0);
        let on = |days: &Days, day, id| days.class_on(day, SeriesId(id));
        assert_eq!(on(&days, 0, 1), Some(WEEK));
        assert_eq!((on(&days, 0, 2), on(&days, 0, 3)), (Some(DEFAULT), None));
        assert_eq!(on(&days, 1, 1), Some(DEFAULT));
        assert_eq!(days.forget(DEFAULT, 1, 5), [(0, [2].into())]);
        assert_eq!((on(&days, 0, 1), on(&days, 0, 2)), (Some(WEEK), None));
        assert!(days.gone().next().is_none());
        assert_eq!(days.forget(WEEK, 9, 6), [(0, [1].into())]);
        assert_eq!((numbers(&days), days.gone().collect::<Vec<_>>()), (vec![1], vec![0]));
        assert_eq!(shown[0].class_of(SeriesId(2)), Some(DEFAULT), "as it was");
        days.forget_gone(6);
        assert!(days.gone().next().is_none());
        days.mark(5, SeriesId(2), 7, || WEEK);
        assert!(!days.clear(SeriesId(2), 8, |class, _, _| class == WEEK));
        assert_eq!(on(&days, 0, 2), None);
    }
}
