//! Bytes that shards' answers may take in this process: those of one query, and all together.
//!
//! Invariant: what a query took is given back when it ends, however it ends.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use narthex_promql::EvalError;

use crate::error::{ApiError, ErrorType};

/// What the queries of a process hold.
#[derive(Debug)]
pub struct Budget {
    held: AtomicUsize,
    bytes_max: usize,
}

/// What one query holds, until dropped.
#[derive(Debug)]
pub struct QueryBytes {
    budget: Arc<Budget>,
    taken: AtomicUsize,
    bytes_max: usize,
}

impl Budget {
    /// A budget of `bytes_max` for all queries.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), bytes_max })
    }

    /// A query that may take `bytes_max` of it.
    pub fn query(self: &Arc<Self>, bytes_max: usize) -> QueryBytes {
        QueryBytes { budget: Arc::clone(self), taken: AtomicUsize::new(0), bytes_max }
    }
}

impl QueryBytes {
    /// Counts `bytes` that arrived, or says whose limit they break.
    pub fn take(&self, bytes: usize) -> Result<(), ApiError> {
        if add(&self.taken, bytes, self.bytes_max).is_err() {
            let text = EvalError::TooManySamples.to_string();
            return Err(ApiError::new(ErrorType::Execution, text));
        }
        let Err(held) = add(&self.budget.held, bytes, self.budget.bytes_max) else {
            return Ok(());
        };
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
        let limit = self.budget.bytes_max;
        Err(ApiError::new(
            ErrorType::Unavailable,
            format!(
                "queries hold {held} bytes of answers and this one has {bytes} more: \
                 --query.max-memory-bytes is {limit}; try again when others have ended"
            ),
        ))
    }

    /// Counts bytes out that were taken and are held no more, though the query goes on.
    pub fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
        self.budget.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl QueryBytes {
    /// Nothing yet of what may have to be given back before the query ends.
    pub fn take_none(&self) -> Taken<'_> {
        Taken { of: self, bytes: 0 }
    }
}

/// What a part of a query took: given back when dropped, unless kept for the query.
#[derive(Debug)]
pub struct Taken<'a> {
    of: &'a QueryBytes,
    bytes: usize,
}

impl Taken<'_> {
    /// As [`QueryBytes::take`].
    pub fn add(&mut self, bytes: usize) -> Result<(), ApiError> {
        self.of.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// The query needs it until it ends.
    pub fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.of.taken.fetch_sub(self.bytes, Ordering::Relaxed);
        self.of.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Adds unless the sum is above `limit`; what there was then.
fn add(count: &AtomicUsize, more: usize, limit: usize) -> Result<usize, usize> {
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
        count.checked_add(more).filter(|sum| *sum <= limit)
    })
}

impl Drop for QueryBytes {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(*self.taken.get_mut(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_hold_and_what_was_taken_comes_back() {
        let budget = Budget::new(100);
        let query = budget.query(80);
        let mut given_back = query.take_none();
        assert!(given_back.add(70).is_ok() && given_back.add(20).is_err());
        drop(given_back);
        let mut kept = query.take_none();
        assert!(kept.add(60).is_ok());
        kept.keep();
        assert!(query.take(20).is_ok());
        let error = query.take(1).expect_err("more than a query may have");
        assert_eq!(error.kind, ErrorType::Execution);
        let other = budget.query(80);
        let error = other.take(21).expect_err("more than all may have");
        assert_eq!(error.kind, ErrorType::Unavailable);
        assert!(error.message.contains("hold 80 bytes"), "{error}");
        assert!(error.message.contains("--query.max-memory-bytes is 100"), "{error}");
        assert!(other.take(20).is_ok());
        other.give_back(5);
        assert!(other.take(5).is_ok());
        drop(query);
        assert!(other.take(60).is_ok());
        drop(other);
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
    }
}
