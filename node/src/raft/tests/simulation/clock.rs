//! The time of day of all simulated nodes: the same on each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Instant,
};

use narthex_model::Timestamp;

use crate::clock::Clock;

/// When a simulation begins.
const BEGINNING_MILLIS: i64 = 1_700_000_000_000;

/// Moves where the simulation moves it. Time for durations is that of the node's runtime.
#[derive(Debug)]
pub struct SimulatedClock(AtomicI64);

impl SimulatedClock {
    pub fn begin() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(BEGINNING_MILLIS)))
    }

    pub fn pass(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}
