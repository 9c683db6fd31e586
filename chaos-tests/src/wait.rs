//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// Between two looks at a condition: short beside everything that is measured here.
const PAUSE: Duration = Duration::from_millis(20);

/// What `look` returns once it returns something.
///
/// # Panics
/// When `deadline` has passed; the message says what was waited for and what was seen last.
pub fn until<T>(what: &str, deadline: Duration, look: impl FnMut() -> Result<T, String>) -> T {
    let found = within(deadline, look);
    found.unwrap_or_else(|seen| panic!("{what}: not within {deadline:?}; last seen: {seen}"))
}

/// The same, with what was seen last as an error when `deadline` has passed.
pub fn within<T>(
    deadline: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> Result<T, String> {
    let start = now();
    loop {
        match look() {
            Err(seen) if start.elapsed() >= deadline => return Err(seen),
            Err(_) => pause(),
            found => return found,
        }
    }
}

/// Gives way before a condition is looked at again.
pub fn pause() {
    pause_for(PAUSE);
}

/// Lets the processes under test work.
#[expect(clippy::disallowed_methods, reason = "real processes are waited for in real time")]
pub fn pause_for(time: Duration) {
    std::thread::sleep(time);
}

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "how long a real failover takes is real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// Wall-clock time in milliseconds.
#[expect(clippy::disallowed_methods, reason = "samples carry real time")]
pub fn wall_millis() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let millis = since.expect("the clock is past 1970").as_millis();
    i64::try_from(millis).expect("the clock is before the year 292 million")
}

/// A duration in milliseconds.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).expect("tests are short")
}
