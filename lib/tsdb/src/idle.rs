//! Ending the chunks of series that nobody sends any more.
//!
//! A chunk ends when the next one of its series begins, which for a pod that is gone is never: its
//! open chunk would stay in memory for as long as retention keeps the day. So the chunk of a series
//! whose newest sample is an hour behind the leader's clock is ended. A series that comes back
//! begins another one, and short chunks of past days are joined.
//!
//! Invariants
//! * what is ended, and by which entry, follows from the log alone: the clock is the one that
//!   entries carry;
//! * an entry ends chunks of a sixtieth of the groups for each minute that passed since the one
//!   before it, so that no moment is special.

use crate::{
    SeriesId,
    head::Head,
    series::{GROUP_SERIES, Group},
};

/// How far behind the leader's clock a series' newest sample is when its chunk is ended: longer
/// than any usual interval, and than the pause of a target that is only restarted.
const IDLE_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;
/// Minutes in which every group has its turn once.
const TURNS: i64 = 60;

impl Head {
    /// Ends what is due since an entry at `before`, by the leader's clock.
    pub(crate) fn end_idle(&mut self, before: i64) {
        if before == i64::MIN {
            return;
        }
        let now = self.leader_time.div_euclid(MINUTE_MS);
        let first = (before.div_euclid(MINUTE_MS) + 1).max(now - TURNS + 1);
        let idle_before = self.leader_time.saturating_sub(IDLE_MS);
        for minute in first..=now {
            let turn = minute.rem_euclid(TURNS) as usize;
            for number in (turn..self.groups.len()).step_by(TURNS as usize) {
                self.end_idle_of(number, idle_before);
            }
        }
    }

    fn end_idle_of(&mut self, number: usize, idle_before: i64) {
        let Some(group) = self.groups[number].as_deref_mut() else { return };
        let idle: Vec<usize> =
            (0..group.hot.len()).filter(|&place| group.is_idle(place, idle_before)).collect();
        if idle.is_empty() {
            return;
        }
        group.touched = self.applied.index;
        for place in idle {
            let id = SeriesId((number * GROUP_SERIES + place) as u32);
            let group = self.groups[number].as_deref_mut().expect("it was just there");
            if let Some(ended) = group.seal(place) {
                self.finish(id, ended);
            }
            self.finish_late(id);
        }
    }
}

impl Group {
    /// Whether a series has something open and no sample since `idle_before`.
    fn is_idle(&self, place: usize, idle_before: i64) -> bool {
        let hot = &self.hot[place];
        hot.started
            && hot.run.last_time() < idle_before
            && (self.open_range(place).is_some() || self.has_late(place))
    }
}
