//! Applying a delete.
//!
//! The open chunk and the late buffer end where they overlap the range, so that the tombstone
//! speaks for whole chunks. A series is absent, at once, on every day of which nothing is left by
//! whole days: the range reaches from the day's begin, or from the horizon, to its end, or to the
//! series' newest sample. A series that is absent on all days is removed, like one that retention
//! ends; who sends it again gets another id.

use crate::{
    SeriesId, entry::Delete, head::Head, outcome::CommandOutcome, series::place,
    tombstones::Tombstone,
};

impl Head {
    /// Hides what series have in a range.
    pub(crate) fn delete(&mut self, delete: Delete<'_>, outcome: &mut CommandOutcome) {
        let at = self.applied.index;
        let tombstone = Tombstone { start: delete.start.millis(), end: delete.end.millis(), at };
        if tombstone.start > tombstone.end {
            return;
        }
        let mut dead_groups = Vec::new();
        for series in delete.series.iter() {
            let Some((group, place)) = self.group(series) else { continue };
            // A series without samples has nothing to hide.
            if !group.hot[place].started {
                continue;
            }
            outcome.series_deleted += 1;
            self.earliest = self.earliest.min(tombstone.start);
            if !self.delete_of(series, tombstone) {
                self.remove_series(series);
                self.finished.remove(&series.0);
                dead_groups.push(series.0 as usize / crate::series::GROUP_SERIES);
            }
        }
        dead_groups.dedup();
        dead_groups.into_iter().for_each(|number| self.remove_dead_group(number));
    }

    /// Hides what a series with samples has. Tells whether it may have any left.
    fn delete_of(&mut self, series: SeriesId, tombstone: Tombstone) -> bool {
        let Tombstone { start, end, at } = tombstone;
        self.end_overlapping(series, start, end);
        self.tombstones.add(series, tombstone);
        let (group, place) = self.group(series).expect("the caller found the series");
        let newest = group.hot[place].run.last_time();
        let horizons = &self.horizons;
        self.days.clear(series, at, |class, first, last| {
            start <= first.max(horizons.of(class)) && (end >= last || end >= newest)
        })
    }

    /// Ends a series' open chunk and late buffer where they overlap `[start, end]`.
    pub(crate) fn end_overlapping(&mut self, series: SeriesId, start: i64, end: i64) {
        let at = self.applied.index;
        let (number, place) = place(series);
        let group = self.groups[number].as_deref_mut().expect("the caller found the series");
        let is_late_hit = group.has_late_in(place, start, end);
        let is_open_hit =
            group.open_range(place).is_some_and(|(first, last)| first <= end && last >= start);
        if is_late_hit || is_open_hit {
            group.touched = at;
        }
        let ended = if is_open_hit { group.seal(place) } else { None };
        if let Some(samples) = ended {
            self.finish(series, samples);
        }
        if is_late_hit {
            self.finish_late(series);
        }
    }
}
