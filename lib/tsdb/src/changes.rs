//! How far back in time entries reached lately: what of an answer is still true.
//!
//! Samples mostly come in order, so that what was said of times long before the present stays
//! true. Whoever remembers an answer and the log index that it is of asks here which times later
//! entries changed.
//!
//! Invariant: the steps' times and indexes both increase strictly, and a step's time is the
//! earliest that its entry or a later one changed, or up to a second before it.
//!
//! Not part of the replicated state: a replica that was opened knows of nothing before.

use std::collections::VecDeque;

/// Steps that are kept: more than an hour's, 64 KiB.
const STEPS_MAX: usize = 4096;
/// Entries whose earliest times lie within as much share a step.
const COARSE_MILLIS: i64 = 1000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Changes {
    /// What entries up to this one changed is not known.
    forgotten: u64,
    steps: VecDeque<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    /// The last entry that it is about.
    index: u64,
    earliest: i64,
}

impl Changes {
    /// Knows of what comes behind entry `applied`.
    pub(crate) fn behind(applied: u64) -> Self {
        Self { forgotten: applied, steps: VecDeque::new() }
    }

    /// Entry `index` changed something at `earliest`, and nothing before it. Entries come in order.
    pub(crate) fn note(&mut self, index: u64, earliest: i64) {
        while self.steps.back().is_some_and(|step| step.earliest >= earliest) {
            self.steps.pop_back();
        }
        match self.steps.back_mut() {
            Some(step) if earliest.saturating_sub(step.earliest) < COARSE_MILLIS => {
                step.index = index;
            }
            _ => self.steps.push_back(Step { index, earliest }),
        }
        if self.steps.len() > STEPS_MAX
            && let Some(oldest) = self.steps.pop_front()
        {
            self.forgotten = oldest.index;
        }
    }

    /// The earliest time that entries behind `index` changed; the end of time if they changed
    /// nothing, the beginning if that is not known.
    pub(crate) fn since(&self, index: u64) -> i64 {
        if index < self.forgotten {
            return i64::MIN;
        }
        let first = self.steps.partition_point(|step| step.index <= index);
        self.steps.get(first).map_or(i64::MAX, |step| step.earliest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn late_samples_reach_back_and_the_rest_does_not() {
        let mut changes = Changes::behind(10);
        assert_eq!(changes.since(9), i64::MIN, "before it was opened");
        assert_eq!(changes.since(10), i64::MAX);
        changes.note(11, 60_000);
        changes.note(12, 75_000);
        changes.note(14, 30_000);
        changes.note(15, 90_000);
        assert_eq!(changes.since(10), 30_000);
        assert_eq!(changes.since(13), 30_000);
        assert_eq!(changes.since(14), 90_000);
        assert_eq!(changes.since(15), i64::MAX);
        changes.note(16, i64::MIN);
        assert_eq!(changes.since(15), i64::MIN);
    }

    #[test]
    fn what_is_not_kept_is_not_known() {
        let mut changes = Changes::behind(0);
        for entry in 1..=STEPS_MAX as u64 + 2 {
            changes.note(entry, entry as i64 * COARSE_MILLIS);
        }
        assert_eq!(changes.since(1), i64::MIN);
        assert_eq!(changes.since(2), 3 * COARSE_MILLIS);
    }

    proptest! {
        #[test]
        fn an_answer_is_never_too_late_and_hardly_too_early(
            entries in proptest::collection::vec(0_i64..20_000, 1..200),
        ) {
            let mut changes = Changes::behind(0);
            for (number, earliest) in entries.iter().enumerate() {
                changes.note(number as u64 + 1, *earliest);
            }
            for since in 0..=entries.len() {
                let expected = entries[since..].iter().min().copied();
                let got = changes.since(since as u64);
                match expected {
                    None => prop_assert_eq!(got, i64::MAX),
                    Some(min) => prop_assert!(got <= min && min - got < COARSE_MILLIS, "{got} {min}"),
                }
            }
        }
    }
}
