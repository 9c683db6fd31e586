//! Samples that all evaluations of a process may hold together.
//!
//! A query's own limit protects others from it; the pool protects the process from all of them.
//! Evaluations reserve in large steps, so that counting costs nothing to speak of.
//!
//! Invariant: what an evaluation reserved is given back when it ends, however it ends.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::EvalError;

/// Samples reserved at once.
const STEP: usize = 1 << 16;

/// See the module. Clones share it.
#[derive(Debug, Clone)]
pub struct SamplePool(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    held: AtomicUsize,
    samples_max: usize,
}

impl SamplePool {
    /// A pool of so many samples.
    pub fn new(samples_max: usize) -> Self {
        Self(Arc::new(Pool { held: AtomicUsize::new(0), samples_max }))
    }

    /// Samples that are reserved.
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }

    fn take(&self, samples: usize) -> bool {
        let Pool { held, samples_max } = &*self.0;
        let taken = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            held.checked_add(samples).filter(|sum| sum <= samples_max)
        });
        taken.is_ok()
    }
}

/// What one evaluation has reserved.
#[derive(Debug)]
pub(super) struct Reservation<'a> {
    pool: Option<&'a SamplePool>,
    samples: usize,
}

impl<'a> Reservation<'a> {
    /// Nothing yet; without a pool there is no limit.
    pub fn new(pool: Option<&'a SamplePool>) -> Self {
        Self { pool, samples: 0 }
    }

    /// Makes sure that `samples` are reserved.
    #[inline]
    pub fn cover(&mut self, samples: usize) -> Result<(), EvalError> {
        if samples <= self.samples { Ok(()) } else { self.grow(samples) }
    }

    #[cold]
    fn grow(&mut self, samples: usize) -> Result<(), EvalError> {
        let Some(pool) = self.pool else {
            self.samples = samples;
            return Ok(());
        };
        let needed = samples - self.samples;
        // The last ones of a pool are given out exactly.
        let taken = [needed.max(STEP), needed].into_iter().find(|&more| pool.take(more));
        let more = taken.ok_or(EvalError::PoolExhausted { samples_max: pool.0.samples_max })?;
        self.samples += more;
        Ok(())
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if let Some(pool) = self.pool {
            pool.0.held.fetch_sub(self.samples, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluations_share_and_give_back() {
        let pool = SamplePool::new(STEP + 100);
        let mut one = Reservation::new(Some(&pool));
        assert!(one.cover(10).is_ok() && one.cover(STEP).is_ok());
        assert_eq!(pool.held(), STEP);
        let mut other = Reservation::new(Some(&pool));
        assert!(other.cover(100).is_ok());
        let error = other.cover(101).expect_err("all are given out");
        assert!(
            matches!(error, EvalError::PoolExhausted { samples_max } if samples_max == STEP + 100)
        );
        drop(one);
        assert_eq!(pool.held(), 100);
        assert!(other.cover(101).is_ok());
        drop(other);
        assert_eq!(pool.held(), 0);
        assert!(Reservation::new(None).cover(usize::MAX).is_ok());
    }
}
