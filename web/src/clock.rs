//! The two clocks a process reads, passed to whoever needs one.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use narthex_model::Timestamp;

type Source<T> = Arc<dyn Fn() -> T + Send + Sync>;

/// Wall-clock time and a time that never goes back. Cloning shares the sources.
#[derive(Clone)]
pub struct Clock {
    wall: Source<Timestamp>,
    monotonic: Source<Duration>,
}

impl Clock {
    /// The machine's clocks. Made once, where a process is put together.
    #[expect(clippy::disallowed_methods, reason = "this is where time is passed in from")]
    pub fn system() -> Self {
        let start = Instant::now();
        Self {
            wall: Arc::new(|| {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
            }),
            monotonic: Arc::new(move || start.elapsed()),
        }
    }

    /// Clocks that a test drives.
    pub fn from_sources(
        wall: impl Fn() -> Timestamp + Send + Sync + 'static,
        monotonic: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        Self { wall: Arc::new(wall), monotonic: Arc::new(monotonic) }
    }

    /// Clocks that stand still at `wall`.
    pub fn fixed(wall: Timestamp) -> Self {
        Self::from_sources(move || wall, || Duration::ZERO)
    }

    /// Now, as the wall clock says. May go back.
    pub fn now(&self) -> Timestamp {
        (self.wall)()
    }

    /// Time since an arbitrary moment. Never goes back: for measuring how long something takes.
    pub fn monotonic(&self) -> Duration {
        (self.monotonic)()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}
