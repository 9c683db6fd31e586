//! Numbers about raft, as plain values: whoever serves `/metrics` names them.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// The time, for measuring how long our own work takes.
#[expect(clippy::disallowed_methods, reason = "only ever measured, nothing is decided by it")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Bounds of the buckets double from 16 µs; the last one takes everything above 8 s.
const BUCKETS: usize = 20;
const FIRST_BOUND_MICROS: u64 = 16;

/// A histogram of durations that many threads add to.
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [AtomicU64; BUCKETS + 1],
    sum_nanos: AtomicU64,
}

impl Durations {
    /// Counts one duration.
    pub fn record(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let at = (0..BUCKETS).find(|&at| micros <= FIRST_BOUND_MICROS << at).unwrap_or(BUCKETS);
        self.buckets[at].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Upper bound of each bucket in seconds (the last is infinite) with how many durations lie at
    /// or below it: a Prometheus histogram.
    pub fn cumulative(&self) -> Vec<(f64, u64)> {
        let mut below = 0;
        let bucket = |(at, count): (usize, &AtomicU64)| {
            below += count.load(Ordering::Relaxed);
            (bound_seconds(at), below)
        };
        self.buckets.iter().enumerate().map(bucket).collect()
    }

    /// Sum of all durations, in seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.sum_nanos.load(Ordering::Relaxed) as f64 / 1e9
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// The bound below which a share `quantile` of the durations lies; zero when there are none.
    pub fn quantile_bound(&self, quantile: f64) -> Duration {
        let wanted = quantile * self.count() as f64;
        if wanted == 0.0 {
            return Duration::ZERO;
        }
        let found = self.cumulative().into_iter().find(|&(_, count)| count as f64 >= wanted);
        match found {
            Some((bound, _)) if bound.is_finite() => Duration::from_secs_f64(bound),
            _ => Duration::MAX,
        }
    }
}

fn bound_seconds(at: usize) -> f64 {
    if at == BUCKETS { f64::INFINITY } else { (FIRST_BOUND_MICROS << at) as f64 / 1e6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_bounds_of_buckets() {
        let durations = Durations::default();
        assert_eq!(durations.quantile_bound(0.99), Duration::ZERO);
        for micros in [10, 10, 10, 100] {
            durations.record(Duration::from_micros(micros));
        }
        assert_eq!(durations.quantile_bound(0.5), Duration::from_micros(16));
        assert_eq!(durations.quantile_bound(0.99), Duration::from_micros(128));
        assert_eq!(durations.cumulative().last(), Some(&(f64::INFINITY, 4)));
        durations.record(Duration::from_secs(60));
        assert_eq!(durations.quantile_bound(1.0), Duration::MAX);
        assert_eq!(durations.count(), 5);
    }
}
