//! When a child is started again. Plain rules: no clock, no processes.
//!
//! A child that dies is started again after 1 s, 2 s, 4 s … up to 30 s; one that lived for a
//! minute starts over at 1 s. A child that is being stopped is never started again.

use std::time::Duration;

/// The first pause before a new start.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Long enough to spare a broken machine, short enough to watch a repaired one come back.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A child that lived this long was healthy: its death is the first of a new row.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// How often one child has died in a row.
#[derive(Debug, Default)]
pub struct Restarts {
    in_a_row: u32,
}

impl Restarts {
    /// How long to wait before starting a child again that lived for `lived`.
    pub fn pause_after(&mut self, lived: Duration) -> Duration {
        if lived >= HEALTHY_AFTER {
            self.in_a_row = 0;
        }
        let pause = PAUSE_MIN.saturating_mul(1 << self.in_a_row.min(16)).min(PAUSE_MAX);
        self.in_a_row += 1;
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(lived_seconds: &[u64]) -> Vec<u64> {
        let mut restarts = Restarts::default();
        lived_seconds
            .iter()
            .map(|lived| restarts.pause_after(Duration::from_secs(*lived)).as_secs())
            .collect()
    }

    #[test]
    fn pauses_double_up_to_half_a_minute() {
        assert_eq!(pauses(&[0, 0, 1, 0, 2, 0, 0]), [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn a_minute_of_life_starts_the_row_over() {
        assert_eq!(pauses(&[0, 0, 60, 0]), [1, 2, 1, 2]);
    }

    #[test]
    fn a_long_row_does_not_overflow() {
        assert_eq!(pauses(&[0; 100]).last(), Some(&30));
    }
}
