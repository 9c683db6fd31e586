//! The steps of an evaluation.

use crate::Steps;

/// Evenly spaced times: `start`, `start + step`, … , `len` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    /// The first time, in milliseconds since the epoch.
    pub start: i64,
    /// Milliseconds from one time to the next; not 0.
    pub step: i64,
    /// How many times.
    pub len: usize,
}

impl Grid {
    /// The steps of a query.
    pub fn new(steps: &Steps) -> Self {
        let start = steps.start.millis();
        if steps.step_millis <= 0 {
            return Self { start, step: 1, len: 1 };
        }
        let span = steps.end.millis_since(steps.start).max(0);
        Self { start, step: steps.step_millis, len: (span / steps.step_millis) as usize + 1 }
    }

    /// The first of these times alone.
    pub fn first(self) -> Self {
        Self { len: 1, ..self }
    }

    /// The time of a step.
    pub fn time(self, step: usize) -> i64 {
        self.start.saturating_add(self.step.saturating_mul(step as i64))
    }

    /// The time of the last step.
    pub fn end(self) -> i64 {
        self.time(self.len.max(1) - 1)
    }

    /// All times.
    pub fn times(self) -> impl ExactSizeIterator<Item = i64> {
        (0..self.len).map(move |step| self.time(step))
    }

    /// The steps of a subquery's expression: all multiples of `step` in `(first, last]`.
    pub fn multiples(step: i64, first: i64, last: i64) -> Self {
        let start = step.saturating_mul(first.div_euclid(step) + 1);
        let len = if last < start { 0 } else { ((last - start) / step) as usize + 1 };
        Self { start, step, len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subquery_steps_are_multiples_and_leave_the_start_out() {
        let times = |first, last| Grid::multiples(10, first, last).times().collect::<Vec<_>>();
        assert_eq!(times(0, 30), [10, 20, 30]);
        assert_eq!(times(-11, 9), [-10, 0]);
        assert_eq!(times(1, 9), [] as [i64; 0]);
    }
}
