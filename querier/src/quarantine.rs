//! Queries that break a limit again and again are refused for a while, before they take what
//! others need: a dashboard asks again every few seconds, whatever it is answered.
//!
//! A query is known by its text and the length and step of its range, so that it is the same one a
//! minute later. What is remembered is bounded; what is forgotten is allowed.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use narthex_promql::{EvalError, Steps};
use parking_lot::Mutex;

use crate::error::{ApiError, ErrorType};

/// Breaches further apart than this are not counted together.
const COUNTED_FOR: Duration = Duration::from_secs(300);
/// How long a query is refused after its last breach.
const REFUSED_FOR: Duration = Duration::from_secs(60);
/// Queries that are remembered.
const REMEMBERED_MAX: usize = 1024;

/// See the module. Times are of a clock that only rises.
#[derive(Debug)]
pub struct Quarantine {
    /// Breaches after which a query is refused; 0: never.
    breaches_max: u32,
    seed: RandomState,
    offenders: Mutex<HashMap<u64, Offender>>,
}

#[derive(Debug)]
struct Offender {
    breaches: u32,
    last: Duration,
    error: String,
}

impl Quarantine {
    /// Refuses a query after so many breaches; 0: never.
    pub fn new(breaches_max: u32) -> Self {
        Self { breaches_max, seed: RandomState::new(), offenders: Mutex::default() }
    }

    /// Refuses a query that is in quarantine.
    pub fn check(&self, text: &str, steps: &Steps, now: Duration) -> Result<(), ApiError> {
        if self.breaches_max == 0 {
            return Ok(());
        }
        let offenders = self.offenders.lock();
        let Some(offender) = offenders.get(&self.key(text, steps)) else { return Ok(()) };
        let left = (offender.last + REFUSED_FOR).saturating_sub(now);
        if offender.breaches < self.breaches_max || left.is_zero() {
            return Ok(());
        }
        let Offender { breaches, error, .. } = offender;
        let seconds = left.as_secs_f64().ceil();
        Err(ApiError::new(
            ErrorType::Execution,
            format!(
                "query is refused for another {seconds}s: it broke a limit {breaches} times in a \
                 row (--query.quarantine-after is {}), the last time: {error}",
                self.breaches_max
            ),
        ))
    }

    /// Remembers how a query that was not refused ended.
    pub fn note(&self, text: &str, steps: &Steps, now: Duration, error: Option<&ApiError>) {
        if self.breaches_max == 0 {
            return;
        }
        let key = self.key(text, steps);
        let mut offenders = self.offenders.lock();
        let Some(error) = error else {
            offenders.remove(&key);
            return;
        };
        offenders.retain(|_, offender| now.saturating_sub(offender.last) < COUNTED_FOR);
        if offenders.len() >= REMEMBERED_MAX && !offenders.contains_key(&key) {
            return;
        }
        let error = error.message.clone();
        let offender = offenders.entry(key).or_insert(Offender {
            breaches: 0,
            last: now,
            error: String::new(),
        });
        offender.breaches = offender.breaches.saturating_add(1);
        (offender.last, offender.error) = (now, error);
    }

    fn key(&self, text: &str, steps: &Steps) -> u64 {
        let length = steps.end.millis().saturating_sub(steps.start.millis());
        self.seed.hash_one((text, length, steps.step_millis))
    }
}

/// Whether a query ended for what it took, so that it will again. A caller's own `timeout` says
/// nothing of the query.
pub fn is_breach(error: &ApiError, timeout: Option<Duration>) -> bool {
    match error.kind {
        ErrorType::Timeout => timeout.is_none() && !error.message.ends_with("query queue"),
        ErrorType::Execution => error.message == EvalError::TooManySamples.to_string(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use narthex_model::Timestamp;

    use super::*;

    fn hour_from(minute: i64) -> Steps {
        let at = |minutes: i64| Timestamp::from_millis(minutes * 60_000);
        Steps { start: at(minute), end: at(minute + 60), step_millis: 15_000 }
    }

    fn second(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_query_that_breaks_limits_in_a_row_is_refused_for_a_while() {
        let quarantine = Quarantine::new(3);
        let error = ApiError::timed_out("expression evaluation");
        for turn in 0..3 {
            let steps = hour_from(i64::from(turn));
            assert!(quarantine.check("up", &steps, second(10)).is_ok());
            quarantine.note("up", &steps, second(10), Some(&error));
        }
        let refused = quarantine.check("up", &hour_from(9), second(20)).expect_err("three times");
        assert!(refused.message.contains("another 50s"), "{refused}");
        assert!(refused.message.contains("timed out"), "{refused}");
        assert!(quarantine.check("down", &hour_from(9), second(20)).is_ok());
        assert!(quarantine.check("up", &hour_from(9), second(70)).is_ok());
        quarantine.note("up", &hour_from(9), second(71), None);
        quarantine.note("up", &hour_from(9), second(72), Some(&error));
        assert!(quarantine.check("up", &hour_from(9), second(73)).is_ok());
    }

    #[test]
    fn only_what_the_query_itself_took_counts() {
        let samples = ApiError::new(ErrorType::Execution, EvalError::TooManySamples.to_string());
        assert!(is_breach(&samples, None));
        assert!(is_breach(&ApiError::timed_out("expression evaluation"), None));
        assert!(!is_breach(&ApiError::timed_out("expression evaluation"), Some(second(1))));
        assert!(!is_breach(&ApiError::timed_out("query queue"), None));
        assert!(!is_breach(&ApiError::new(ErrorType::Execution, "many-to-many"), None));
    }

    #[test]
    fn old_breaches_are_forgotten_and_memory_is_bounded() {
        let quarantine = Quarantine::new(2);
        let error = ApiError::timed_out("expression evaluation");
        quarantine.note("up", &hour_from(0), second(0), Some(&error));
        quarantine.note("up", &hour_from(0), second(400), Some(&error));
        assert!(quarantine.check("up", &hour_from(0), second(401)).is_ok());
        for number in 0..2 * REMEMBERED_MAX {
            quarantine.note(&number.to_string(), &hour_from(0), second(401), Some(&error));
        }
        assert_eq!(quarantine.offenders.lock().len(), REMEMBERED_MAX);
        let off = Quarantine::new(0);
        off.note("up", &hour_from(0), second(0), Some(&error));
        assert!(off.offenders.lock().is_empty());
    }
}
