//! Real time: what is measured here, and how conditions are waited for.

use std::time::{Duration, Instant};

use crate::unmeasured::Unmeasured;

/// Between two looks at a condition: short beside a start, which is what is timed with it.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
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

/// Lets time pass.
#[expect(clippy::disallowed_methods, reason = "measured processes get time to work")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// What `look` returns once it returns something.
pub fn until<T>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Result<T, Unmeasured>,
) -> Result<T, Unmeasured> {
    let start = now();
    loop {
        let seen = match look() {
            Ok(found) => return Ok(found),
            Err(seen) => seen,
        };
        if start.elapsed() > deadline {
            return Err(Unmeasured::Late { what: what.to_owned(), deadline, seen: Box::new(seen) });
        }
        pause(LOOK_PAUSE);
    }
}
