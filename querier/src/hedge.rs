//! Asks a follower where a shard's leader is slow beside the others.
//!
//! Shards that are asked the same take about the same time. When half of them have answered, one
//! that takes much longer than they did is asked of a second replica, which catches up with the
//! leader first, so that its answer is as good; the first answer of the two is taken.
//!
//! Invariant: only a tenth of all questions is asked twice, so that a cluster that is slow as a whole
//! is not made slower.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use futures_util::future::{Either, select};
use narthex_cluster::ShardId;
use narthex_proto::internal::v1::{Consistency, FragmentRequest};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{Querier, ask::Told, budget::QueryBytes, error::ApiError};

/// A shard is slow if it takes so many times as long as half of the others.
const SLOW_TIMES: u32 = 3;
/// And so much longer: a busy machine is that late at any time.
const SLOW_BY: Duration = Duration::from_millis(100);
/// What a second question costs, in what every question earns.
const COST: u32 = 10;
/// The most that is earned ahead.
const EARNED_MAX: u32 = 10 * COST;

/// How fast the shards answer one question.
pub(crate) struct Pace {
    asked: usize,
    began: Duration,
    took: Mutex<Vec<Duration>>,
    /// When a shard that has not answered is slow, by the querier's clock.
    slow_from: watch::Sender<Option<Duration>>,
}

impl Pace {
    /// So many shards are asked at `began`.
    pub fn new(asked: usize, began: Duration) -> Self {
        Self { asked, began, took: Mutex::default(), slow_from: watch::Sender::default() }
    }

    /// A shard has answered.
    fn answered(&self, now: Duration) {
        let mut took = self.took.lock();
        took.push(now.saturating_sub(self.began));
        if took.len() == self.asked.div_ceil(2) && took.len() < self.asked {
            took.sort_unstable();
            let median = took[took.len() / 2];
            let slow = self.began + median.saturating_mul(SLOW_TIMES).max(median + SLOW_BY);
            self.slow_from.send_replace(Some(slow));
        }
    }

    /// The time from which who has not answered is slow, once that is known.
    async fn slow_from(&self) -> Duration {
        let mut slow_from = self.slow_from.subscribe();
        let known = slow_from.wait_for(Option::is_some).await.map(|known| *known);
        // Whoever waits holds the sender.
        known.ok().flatten().unwrap_or(Duration::MAX)
    }
}

/// How many questions may be asked twice.
#[derive(Debug)]
pub(crate) struct Hedges(AtomicU32);

impl Default for Hedges {
    fn default() -> Self {
        Self(AtomicU32::new(EARNED_MAX))
    }
}

impl Hedges {
    /// A question was asked.
    fn earn(&self) {
        let more = |earned: u32| (earned < EARNED_MAX).then_some(earned + 1);
        // At the most it stays.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Whether one may be asked again.
    fn spend(&self) -> bool {
        let less = |earned: u32| earned.checked_sub(COST);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

impl Querier {
    /// Asks the shard's leader, and a follower too if the leader is slow.
    pub(crate) async fn ask_at_pace(
        &self,
        shard: ShardId,
        request: FragmentRequest,
        (pace, held): (&Pace, &QueryBytes),
    ) -> Result<Told, ApiError> {
        self.hedges.earn();
        let leader = std::pin::pin!(self.ask(shard, request.clone(), held));
        let slow = std::pin::pin!(self.slow(shard, pace));
        let told = match select(leader, slow).await {
            Either::Left((told, _)) => told,
            Either::Right(((), leader)) => {
                self.metrics.hedged.inc();
                let consistency = Consistency::Follower.into();
                let request = FragmentRequest { consistency, ..request };
                let follower = std::pin::pin!(self.ask(shard, request, held));
                match select(leader, follower).await {
                    Either::Left((Err(error), follower)) => follower.await.map_err(|_| error),
                    Either::Left((told, _)) => told,
                    Either::Right((Err(_), leader)) => leader.await,
                    Either::Right((told, _)) => {
                        self.metrics.hedges_won.inc();
                        told
                    }
                }
            }
        };
        pace.answered(self.clock.monotonic());
        told
    }

    /// Returns when the shard is slow and may be asked of a second replica.
    async fn slow(&self, shard: ShardId, pace: &Pace) {
        let slow_from = pace.slow_from().await;
        tokio::time::sleep(slow_from.saturating_sub(self.clock.monotonic())).await;
        let state = self.cluster.state();
        let has_others = state.placement(shard).is_some_and(|it| it.nodes().count() > 1);
        if !has_others || !self.hedges.spend() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow_from(asked: usize, answers: &[u64]) -> Option<u64> {
        let began = Duration::from_secs(1);
        let pace = Pace::new(asked, began);
        answers.iter().for_each(|after| pace.answered(began + Duration::from_millis(*after)));
        let slow = *pace.slow_from.borrow();
        slow.map(|slow| (slow - began).as_millis() as u64)
    }

    #[test]
    fn half_of_the_shards_tell_who_is_slow() {
        assert_eq!(slow_from(6, &[10, 20]), None);
        assert_eq!(slow_from(6, &[10, 20, 30]), Some(120), "a little late is not slow");
        assert_eq!(slow_from(6, &[100, 200, 300, 900]), Some(600));
        assert_eq!(slow_from(1, &[10]), None, "there is nothing to compare with");
        assert_eq!(slow_from(2, &[10]), Some(110));
    }

    #[test]
    fn a_tenth_is_asked_twice() {
        let hedges = Hedges::default();
        assert!((0..EARNED_MAX / COST).all(|_| hedges.spend()));
        assert!(!hedges.spend());
        (1..COST).for_each(|_| hedges.earn());
        assert!(!hedges.spend());
        hedges.earn();
        assert!(hedges.spend() && !hedges.spend());
    }
}
