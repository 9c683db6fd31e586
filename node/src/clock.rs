//! Time, as everything in a node takes it: passed in, so that a test or a simulation passes another.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use narthex_model::Timestamp;

/// Where time comes from.
pub trait Clock: Send + Sync + std::fmt::Debug + 'static {
    /// Time of day.
    fn now(&self) -> Timestamp;
    /// Time that never runs backwards, for durations.
    fn monotonic(&self) -> Instant;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The machine's clock, to be passed on.
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    #[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}
