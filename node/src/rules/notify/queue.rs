//! What waits for one Alertmanager. Pure: `sender.rs` sends.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use narthex_model::Timestamp;

use super::Outgoing;

/// Alerts that wait: Prometheus's default.
pub(super) const CAPACITY: usize = 10_000;
/// Alerts of one request, as in Prometheus.
const BATCH_MAX: usize = 256;
/// Pauses after a batch that was not taken: the first, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Arc<Outgoing>>,
    failures: u32,
}

impl Queue {
    /// Takes alerts; how many older ones were dropped for them.
    pub(super) fn push(&mut self, alerts: impl IntoIterator<Item = Arc<Outgoing>>) -> u64 {
        self.waiting.extend(alerts);
        let dropped = self.waiting.len().saturating_sub(CAPACITY);
        self.waiting.drain(..dropped);
        dropped as u64
    }

    /// The next batch, and how many alerts before it were dropped because they are out of date.
    pub(super) fn next(&mut self, now: Timestamp) -> (Vec<Arc<Outgoing>>, u64) {
        let before = self.waiting.len();
        self.waiting.retain(|alert| !alert.is_out_of_date(now));
        let dropped = before - self.waiting.len();
        let batch = self.waiting.drain(..self.waiting.len().min(BATCH_MAX)).collect();
        (batch, dropped as u64)
    }

    /// The batch was taken, or will never be.
    pub(super) fn done(&mut self) {
        self.failures = 0;
    }

    /// The batch was not taken: it goes back to the front, unless newer alerts need the room. How long
    /// to wait, and how many alerts were dropped.
    pub(super) fn failed(&mut self, batch: Vec<Arc<Outgoing>>) -> (Duration, u64) {
        let room = CAPACITY.saturating_sub(self.waiting.len());
        let dropped = batch.len().saturating_sub(room);
        batch.into_iter().skip(dropped).rev().for_each(|alert| self.waiting.push_front(alert));
        let pause = PAUSE_MIN.saturating_mul(2u32.saturating_pow(self.failures)).min(PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        (pause, dropped as u64)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use narthex_model::Labels;

    use super::*;

    fn alert(number: usize, ends_at: i64, is_resolved: bool) -> Arc<Outgoing> {
        Arc::new(Outgoing {
            labels: Labels::from_pairs([("n", number.to_string())]).expect("valid"),
            annotations: BTreeMap::new(),
            starts_at: Timestamp::from_millis(0),
            ends_at: Timestamp::from_millis(ends_at),
            is_resolved,
            generator_url: String::new(),
        })
    }

    fn number(alert: &Outgoing) -> usize {
        alert.labels.value("n").parse().expect("a number")
    }

    #[test]
    fn the_oldest_are_dropped_and_batches_keep_their_order() {
        let mut queue = Queue::default();
        let now = Timestamp::from_millis(5);
        assert_eq!(queue.push((0..CAPACITY + 7).map(|n| alert(n, 10, false))), 7);
        let (batch, dropped) = queue.next(now);
        assert_eq!((batch.len(), dropped, number(&batch[0])), (BATCH_MAX, 0, 7));
        assert_eq!(queue.push((0..100).map(|n| alert(n, 10, false))), 0);
        let (pause, dropped) = queue.failed(batch);
        assert_eq!((pause, dropped, queue.len()), (PAUSE_MIN, 100, CAPACITY));
        let (batch, _) = queue.next(now);
        assert_eq!(number(&batch[0]), 107, "the rest of the batch is at the front again");
    }

    #[test]
    fn pauses_grow_and_end_with_success() {
        let mut queue = Queue::default();
        let pauses: Vec<u128> = (0..9).map(|_| queue.failed(Vec::new()).0.as_millis()).collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
        queue.done();
        assert_eq!(queue.failed(Vec::new()).0, PAUSE_MIN);
    }

    #[test]
    fn what_is_out_of_date_is_not_sent_but_an_end_is() {
        let mut queue = Queue::default();
        queue.push([alert(1, 10, false), alert(2, 10, true), alert(3, 30, false)]);
        let (batch, dropped) = queue.next(Timestamp::from_millis(20));
        assert_eq!(dropped, 1);
        assert_eq!(batch.iter().map(|it| number(it)).collect::<Vec<_>>(), [2, 3]);
    }
}
