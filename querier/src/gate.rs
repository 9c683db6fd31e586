//! How many queries run at once.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{error::ApiError, metrics::QuerierMetrics};

/// Queries that may wait for each one that runs. More are told to come back.
const WAITING_PER_RUNNING: usize = 50;

/// Lets a number of queries run and others wait.
#[derive(Debug)]
pub struct QueryGate {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    metrics: QuerierMetrics,
}

/// A query's right to run, until dropped.
#[derive(Debug)]
pub struct Running {
    _permit: OwnedSemaphorePermit,
    metrics: QuerierMetrics,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.metrics.running.dec();
    }
}

impl QueryGate {
    /// A gate for `concurrency_max` queries at once.
    pub fn new(concurrency_max: usize, metrics: QuerierMetrics) -> Self {
        let concurrency_max = concurrency_max.max(1);
        Self {
            running: Arc::new(Semaphore::new(concurrency_max)),
            waiting: Arc::new(Semaphore::new(concurrency_max * WAITING_PER_RUNNING)),
            metrics,
        }
    }

    /// Waits for a turn, for at most `within`.
    pub async fn enter(&self, within: Duration) -> Result<Running, ApiError> {
        let Ok(_waiting) = Arc::clone(&self.waiting).try_acquire_owned() else {
            return Err(ApiError::timed_out("query queue"));
        };
        self.metrics.waiting.inc();
        let turn = tokio::time::timeout(within, Arc::clone(&self.running).acquire_owned()).await;
        self.metrics.waiting.dec();
        match turn {
            Ok(Ok(permit)) => {
                self.metrics.running.inc();
                Ok(Running { _permit: permit, metrics: self.metrics.clone() })
            }
            _ => Err(ApiError::timed_out("query queue")),
        }
    }
}

#[cfg(test)]
mod tests {
    use narthex_web::Clock;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_query_waits_for_its_turn_or_times_out() {
        let gate = QueryGate::new(1, QuerierMetrics::new(Clock::fixed(Default::default())));
        let second = Duration::from_secs(1);
        let first = gate.enter(second).await.expect("free");
        let error = gate.enter(second).await.expect_err("taken");
        assert_eq!(error.message, "query timed out in query queue");
        assert_eq!(gate.metrics.running.get(), 1);
        drop(first);
        assert!(gate.enter(second).await.is_ok());
        assert_eq!((gate.metrics.running.get(), gate.metrics.waiting.get()), (0, 0));
    }
}
