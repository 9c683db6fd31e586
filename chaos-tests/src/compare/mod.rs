//! Answers of Narthex beside those of a real Prometheus that has the same samples.
//!
//! A seed makes a question: an expression out of a grammar ([`generator`], [`vocabulary`]) and when to
//! evaluate it. Both systems were sent the same requests ([`data`], [`message`]), both are asked
//! ([`peers`]), and what they say is compared to the last label ([`answers`]). What is meant to differ
//! because Narthex follows a later version is listed by name ([`known`]). Where something else
//! differs, the question is made as small as it can be while it still differs ([`shrink`]).
//!
//! Question number n of seed s is question 0 of seed s + n, so one seed repeats one question. The
//! samples are always the same, but for the day that they are of.
//!
//! There is no notion here of what is right: only of what is the same.

pub mod answers;
pub mod data;
pub mod expression;
pub mod generator;
pub mod known;
pub mod message;
pub mod peers;
pub mod shrink;
pub mod vocabulary;

use crate::wait::wall_millis;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// When the samples are of, in milliseconds: `[start, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Of the first sample at the earliest.
    pub start: i64,
    /// Behind the last sample.
    pub end: i64,
}

impl Span {
    /// Two and a half hours around the last midnight that lies far enough back, so that days change
    /// within them. Senders may not write into the future.
    pub fn latest() -> Self {
        Self::before(wall_millis())
    }

    fn before(now: i64) -> Self {
        let length = 150 * MINUTE;
        let midnight = (now - length) / DAY * DAY;
        let start = midnight - HOUR;
        Self { start, end: start + length }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_of_the_past_and_of_two_days() {
        for now in [20_000 * DAY, 20_000 * DAY + 2 * HOUR, 20_000 * DAY + 23 * HOUR] {
            let span = Span::before(now);
            assert!(span.end <= now, "{span:?}");
            assert!(now - span.start < 29 * HOUR, "{span:?}");
            assert_eq!(span.end / DAY, span.start / DAY + 1);
        }
    }
}
