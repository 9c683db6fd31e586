//! Which requests become the next entry of a shard's log, and when.
//!
//! A commit costs about a thousand times what a sample costs, so few, full entries decide the
//! price of everything: a shard with nothing under way proposes written samples at once; what
//! arrives meanwhile becomes the next entry. Scrapes, which nobody waits for, are collected for a
//! moment even when the shard is idle, and all shards end that moment at the same time.
//!
//! Invariants
//! * requests enter the log in the order in which they were offered, except that written samples
//!   may overtake scrapes that are being collected;
//! * bytes under way never exceed `Limits::in_flight_bytes_max` by more than one written request
//!   and one scrape;
//! * every request is proposed or refused exactly once.
//!
//! There is no clock, no I/O and no encoding here: `task.rs` performs what this decides.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use narthex_model::Timestamp;

/// Names a request from when it is offered until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Whether somebody waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Written samples: a sender waits.
    AtOnce,
    /// Scrapes: may be collected for [`Limits::linger`].
    Collect,
    /// Somebody waits, and the entry must hold nothing else.
    Alone,
}

/// Bounds of one shard's write side.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Requests are joined until an entry has this many bytes. Default 256 KiB: beyond it the
    /// fixed cost of a commit is already spread thin, and one entry delays all groups' sync.
    pub entry_bytes_max: usize,
    /// Bytes proposed and not yet applied, beyond which requests are refused with "busy".
    /// Default 1 MiB, about 200 000 samples.
    pub in_flight_bytes_max: usize,
    /// Scrapes are collected until the time of day is a multiple of this. Default 250 ms: a
    /// fifth of the shortest usual interval.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entry_bytes_max: 256 << 10,
            in_flight_bytes_max: 1 << 20,
            linger: Duration::from_millis(250),
        }
    }
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Encode these requests as one entry and propose it; report [`WriteQueue::done`] afterwards.
    Propose(Vec<RequestId>),
    /// Ask again at this time, or when something else happens.
    WaitUntil(Instant),
    /// Nothing to do until something happens.
    Idle,
}

/// The queue is full; the request was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{in_flight_bytes} bytes are proposed and not yet applied")]
pub struct QueueFull {
    /// Bytes waiting and under way.
    pub in_flight_bytes: usize,
}

/// The time, by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For durations.
    pub monotonic: Instant,
    /// Of day, about the same on all nodes.
    pub wall: Timestamp,
}

impl Now {
    /// When the time of day is the next multiple of `period`: the same moment for all shards of
    /// all nodes, so that entries made then share wake-ups and syncs, on followers, too.
    fn end_of(self, period: Duration) -> Instant {
        self.monotonic + left_of(period, self.wall)
    }
}

/// How long until the time of day is the next multiple of `period`.
pub fn left_of(period: Duration, wall: Timestamp) -> Duration {
    let period = i64::try_from(period.as_millis()).unwrap_or(i64::MAX).max(1);
    let left = period - wall.millis().rem_euclid(period);
    Duration::from_millis(left.unsigned_abs())
}

#[derive(Debug)]
struct Waiting {
    id: RequestId,
    bytes: usize,
    is_alone: bool,
}

/// Requests that wait for an entry, and the measure of what is under way.
#[derive(Debug)]
pub struct WriteQueue {
    limits: Limits,
    written: VecDeque<Waiting>,
    collected: VecDeque<Waiting>,
    /// When the oldest collected request has waited long enough.
    collected_due: Option<Instant>,
    waiting_bytes: usize,
    under_way_bytes: usize,
    under_way_entries: usize,
}

impl WriteQueue {
    /// An empty queue.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            written: VecDeque::new(),
            collected: VecDeque::new(),
            collected_due: None,
            waiting_bytes: 0,
            under_way_bytes: 0,
            under_way_entries: 0,
        }
    }

    /// Takes a request of about `bytes`, unless too much is under way already. One request is
    /// always taken when nothing is, and one scrape when no other waits: a large one would find no
    /// room beside samples that are written all the time.
    pub fn offer(
        &mut self,
        now: Now,
        id: RequestId,
        bytes: usize,
        urgency: Urgency,
    ) -> Result<(), QueueFull> {
        let in_flight_bytes = self.waiting_bytes + self.under_way_bytes;
        let max = self.limits.in_flight_bytes_max;
        let is_first = match urgency {
            Urgency::AtOnce | Urgency::Alone => in_flight_bytes == 0,
            Urgency::Collect => self.collected.is_empty() && self.under_way_bytes <= max,
        };
        if !is_first && in_flight_bytes + bytes > max {
            return Err(QueueFull { in_flight_bytes });
        }
        self.waiting_bytes += bytes;
        let waiting = Waiting { id, bytes, is_alone: urgency == Urgency::Alone };
        match urgency {
            Urgency::AtOnce | Urgency::Alone => self.written.push_back(waiting),
            Urgency::Collect => {
                self.collected_due.get_or_insert(now.end_of(self.limits.linger));
                self.collected.push_back(waiting);
            }
        }
        Ok(())
    }

    /// What to do at `now`. Call again after `Propose`: there may be more.
    pub fn next(&mut self, now: Instant) -> Next {
        let full = self.waiting_bytes >= self.limits.entry_bytes_max;
        let collected_is_due = self.collected_due.is_some_and(|due| due <= now);
        let wanted = full || !self.written.is_empty() || collected_is_due;
        if wanted && (full || self.under_way_entries == 0) {
            return Next::Propose(self.take_entry());
        }
        match self.collected_due {
            Some(due) if self.under_way_entries == 0 => Next::WaitUntil(due),
            _ => Next::Idle,
        }
    }

    /// What was to be one entry is proposed as two; [`WriteQueue::done`] follows for each.
    pub fn divided(&mut self) {
        self.under_way_entries += 1;
    }

    /// The entry made of requests of `bytes` in all is applied or lost.
    pub fn done(&mut self, bytes: usize) {
        self.under_way_entries -= 1;
        self.under_way_bytes -= bytes;
    }

    /// Gives back everything that waits, because this node no longer leads the shard.
    pub fn clear(&mut self) -> Vec<RequestId> {
        self.waiting_bytes = 0;
        self.collected_due = None;
        self.written.drain(..).chain(self.collected.drain(..)).map(|waiting| waiting.id).collect()
    }

    /// Bytes waiting and under way.
    pub fn in_flight_bytes(&self) -> usize {
        self.waiting_bytes + self.under_way_bytes
    }

    /// Requests up to the size of an entry, at least one: written samples first, then scrapes,
    /// which ride along for nothing.
    fn take_entry(&mut self) -> Vec<RequestId> {
        let mut ids = Vec::new();
        let mut bytes = 0;
        let mut is_closed = false;
        for queue in [&mut self.written, &mut self.collected] {
            while let Some(first) = queue.front() {
                let is_full = bytes + first.bytes > self.limits.entry_bytes_max;
                if is_closed || (!ids.is_empty() && (is_full || first.is_alone)) {
                    break;
                }
                is_closed = first.is_alone;
                bytes += first.bytes;
                ids.push(first.id);
                queue.pop_front();
            }
        }
        if self.collected.is_empty() {
            self.collected_due = None;
        }
        self.waiting_bytes -= bytes;
        self.under_way_bytes += bytes;
        self.under_way_entries += 1;
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        entry_bytes_max: 100,
        in_flight_bytes_max: 300,
        linger: Duration::from_millis(250),
    };

    #[expect(clippy::disallowed_methods, reason = "any origin will do")]
    fn origin() -> Now {
        Now { monotonic: Instant::now(), wall: Timestamp::from_millis(1_000) }
    }

    fn ids(of: &[u64]) -> Next {
        Next::Propose(of.iter().copied().map(RequestId).collect())
    }

    #[test]
    fn an_idle_shard_proposes_at_once_and_joins_what_arrives_meanwhile() {
        let (mut queue, now) = (WriteQueue::new(LIMITS), origin());
        queue.offer(now, RequestId(1), 10, Urgency::AtOnce).unwrap();
        assert_eq!(queue.next(now.monotonic), ids(&[1]));
        queue.offer(now, RequestId(2), 10, Urgency::AtOnce).unwrap();
        queue.offer(now, RequestId(3), 10, Urgency::AtOnce).unwrap();
        assert_eq!(queue.next(now.monotonic), Next::Idle);
        queue.done(10);
        assert_eq!(queue.next(now.monotonic), ids(&[2, 3]));
    }

    #[test]
    fn a_full_entry_does_not_wait_for_the_one_under_way() {
        let (mut queue, now) = (WriteQueue::new(LIMITS), origin());
        queue.offer(now, RequestId(1), 10, Urgency::AtOnce).unwrap();
        assert_eq!(queue.next(now.monotonic), ids(&[1]));
        queue.offer(now, RequestId(2), 60, Urgency::AtOnce).unwrap();
        queue.offer(now, RequestId(3), 60, Urgency::AtOnce).unwrap();
        assert_eq!(queue.next(now.monotonic), ids(&[2]));
        assert_eq!(queue.next(now.monotonic), Next::Idle);
    }

    #[test]
    fn scrapes_are_collected_for_a_moment_and_ride_along_with_written_samples() {
        let (mut queue, now) = (WriteQueue::new(LIMITS), origin());
        queue.offer(now, RequestId(1), 10, Urgency::Collect).unwrap();
        let due = now.monotonic + LIMITS.linger;
        assert_eq!(queue.next(now.monotonic), Next::WaitUntil(due));
        queue.offer(now, RequestId(2), 10, Urgency::Collect).unwrap();
        assert_eq!(queue.next(due), ids(&[1, 2]));
        queue.done(20);
        queue.offer(now, RequestId(3), 10, Urgency::Collect).unwrap();
        queue.offer(now, RequestId(4), 10, Urgency::AtOnce).unwrap();
        assert_eq!(queue.next(due), ids(&[4, 3]));
        assert_eq!(queue.next(due), Next::Idle);
    }

    #[test]
    fn all_shards_stop_collecting_at_the_same_time() {
        let now = origin();
        let later = |millis| Now {
            monotonic: now.monotonic + Duration::from_millis(millis),
            wall: now.wall + Duration::from_millis(millis),
        };
        let dues = [0, 100, 249].map(|millis| {
            let mut queue = WriteQueue::new(LIMITS);
            queue.offer(later(millis), RequestId(1), 10, Urgency::Collect).unwrap();
            queue.next(later(millis).monotonic)
        });
        let due = now.monotonic + LIMITS.linger;
        assert_eq!(dues, [due, due, due].map(Next::WaitUntil));
    }

    #[test]
    fn what_must_be_alone_shares_its_entry_with_nothing() {
        let (mut queue, now) = (WriteQueue::new(LIMITS), origin());
        queue.offer(now, RequestId(1), 10, Urgency::Collect).unwrap();
        queue.offer(now, RequestId(2), 10, Urgency::AtOnce).unwrap();
        queue.offer(now, RequestId(3), 10, Urgency::Alone).unwrap();
        queue.offer(now, RequestId(4), 10, Urgency::AtOnce).unwrap();
        assert_eq!(queue.next(now.monotonic), ids(&[2, 1]));
        queue.done(20);
        assert_eq!(queue.next(now.monotonic), ids(&[3]));
        queue.done(10);
        assert_eq!(queue.next(now.monotonic), ids(&[4]));
    }

    #[test]
    fn a_full_queue_refuses_and_an_oversized_request_goes_alone() {
        let (mut queue, now) = (WriteQueue::new(LIMITS), origin());
        queue.offer(now, RequestId(1), 1000, Urgency::AtOnce).unwrap();
        let refused = queue.offer(now, RequestId(2), 1, Urgency::AtOnce);
        assert_eq!(refused, Err(QueueFull { in_flight_bytes: 1000 }));
        assert_eq!(queue.next(now.monotonic), ids(&[1]));
        queue.done(1000);
        assert_eq!(queue.in_flight_bytes(), 0);
        queue.offer(now, RequestId(2), 1, Urgency::AtOnce).unwrap();
    }

    #[test]
    fn one_large_scrape_finds_room_beside_what_is_written() {
        let (mut queue, now) = (WriteQueue::new(LIMITS), origin());
        queue.offer(now, RequestId(1), 290, Urgency::AtOnce).unwrap();
        queue.offer(now, RequestId(2), 1000, Urgency::Collect).unwrap();
        assert!(queue.offer(now, RequestId(3), 1000, Urgency::Collect).is_err());
        assert!(queue.offer(now, RequestId(4), 20, Urgency::AtOnce).is_err());
        assert_eq!(queue.next(now.monotonic), ids(&[1]));
        assert_eq!(queue.next(now.monotonic), ids(&[2]));
        assert!(queue.offer(now, RequestId(5), 1000, Urgency::Collect).is_err(), "only one");
    }

    #[test]
    fn losing_leadership_gives_back_what_waits() {
        let (mut queue, now) = (WriteQueue::new(LIMITS), origin());
        queue.offer(now, RequestId(1), 10, Urgency::Collect).unwrap();
        queue.offer(now, RequestId(2), 10, Urgency::AtOnce).unwrap();
        assert_eq!(queue.clear(), [RequestId(2), RequestId(1)]);
        assert_eq!(queue.next(now.monotonic), Next::Idle);
    }
}
