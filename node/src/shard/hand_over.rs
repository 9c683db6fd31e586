//! Where scrapes leave their thread for those that write the log.
//!
//! A hand-over wakes a thread, which costs about as much as reading a page. So scrapes are held
//! back and go in company, shortly before shards stop collecting (`core.rs`): they enter the log
//! no later for it.
//!
//! Invariants
//! * what is held is little, one by one and in all, so that the bound on what waits at a shard is
//!   met no sooner than if nothing were held;
//! * a scrape is held once, for less than [`Limits::linger`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use narthex_cluster::ShardId;
use narthex_model::Timestamp;
use tokio::{runtime::Handle, time::sleep};
use tokio_util::task::TaskTracker;

use super::{
    core::{Limits, left_of},
    sink::size,
};
use crate::{
    clock::Clock,
    scrape::{LeftOut, ScrapeCommand, ScrapeSink, SubmitError},
};

/// How long before shards stop collecting. Much more than it takes to reach a shard's queue: what
/// comes too late there waits for the next time.
const HEAD_START: Duration = Duration::from_millis(20);
/// Of all that is held: half of an entry. With more to do, threads are awake anyway.
const HELD_BYTES_MAX: usize = 128 << 10;

/// A sink on the runtime of the node, for a scraper on another one.
pub struct HandOver<S> {
    /// Takes what is handed over.
    pub sink: Arc<S>,
    /// Where it does so.
    pub runtime: Handle,
    /// Owns what was handed over and is not in the log yet: a scraper that stops drops nothing of
    /// that.
    pub tasks: TaskTracker,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// What is held back now.
    pub held: Held,
}

/// Bytes held back.
#[derive(Debug, Default)]
pub struct Held(AtomicUsize);

/// A part of what is held back.
struct Share<'a>(&'a Held, usize);

impl Held {
    /// Takes part in what is held, if there is room.
    fn share(&self, bytes: usize) -> Option<Share<'_>> {
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        let share = Share(self, bytes);
        (before + bytes <= HELD_BYTES_MAX).then_some(share)
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

impl<S: ScrapeSink> ScrapeSink for HandOver<S> {
    async fn submit(&self, shard: ShardId, command: ScrapeCommand) -> Result<LeftOut, SubmitError> {
        if let Some(_share) = self.held.share(size(shard, &command)) {
            sleep(hold(self.clock.now())).await;
        }
        let sink = self.sink.clone();
        let submit = async move { sink.submit(shard, command).await };
        // One that panicked, or that its runtime dropped when it ended, was not taken.
        let submitted = self.tasks.spawn_on(submit, &self.runtime).await;
        submitted.unwrap_or(Err(SubmitError::Busy(shard)))
    }
}

/// How long to hold back what comes at this time of day.
fn hold(now: Timestamp) -> Duration {
    left_of(Limits::default().linger, now).saturating_sub(HEAD_START)
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        clock::SystemClock,
        scrape::{ScrapeFailed, Slot, TargetId},
    };

    /// Hands every command to the test.
    struct Recorder(mpsc::Sender<ScrapeCommand>);

    impl ScrapeSink for Recorder {
        async fn submit(
            &self,
            shard: ShardId,
            command: ScrapeCommand,
        ) -> Result<LeftOut, SubmitError> {
            let sent = self.0.send(command).await;
            sent.map(|()| LeftOut { other: 7, ..LeftOut::default() })
                .map_err(|_| SubmitError::Busy(shard))
        }
    }

    fn failed(target: u128) -> ScrapeCommand {
        let time = Timestamp::from_millis(0);
        let (report, reason) = (Vec::new(), String::new());
        let (target, slot) = (TargetId(target), Slot(0));
        ScrapeCommand::Failed(ScrapeFailed { target, slot, time, report, reason })
    }

    #[test]
    fn what_comes_in_one_period_is_held_until_the_same_moment() {
        let linger = Limits::default().linger;
        let end = |millis| Timestamp::from_millis(millis) + hold(Timestamp::from_millis(millis));
        let moment = Timestamp::from_millis(1_000) + linger - HEAD_START;
        assert_eq!([1_000, 1_001, 1_200].map(end), [moment; 3]);
        assert_eq!(hold(moment), Duration::ZERO);
        assert_eq!(hold(moment + Duration::from_millis(5)), Duration::ZERO, "collected still");
    }

    #[test]
    fn little_is_held_in_all() {
        let held = Held::default();
        let first = held.share(HELD_BYTES_MAX - 1).expect("room");
        assert!(held.share(2).is_none(), "goes at once");
        assert!(held.share(1).is_some());
        drop(first);
        assert!(held.share(HELD_BYTES_MAX).is_some());
        assert!(held.share(HELD_BYTES_MAX + 1).is_none(), "larger than all");
    }

    /// Stands still while shards stop collecting, so that nothing is held for long.
    #[derive(Debug)]
    struct Still;

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(1_000) - HEAD_START
        }

        fn monotonic(&self) -> std::time::Instant {
            SystemClock.monotonic()
        }
    }

    #[tokio::test]
    async fn an_outcome_comes_back_from_the_other_runtime() {
        let (sender, mut commands) = mpsc::channel(8);
        let over = HandOver {
            sink: Arc::new(Recorder(sender)),
            runtime: Handle::current(),
            tasks: TaskTracker::new(),
            clock: Arc::new(Still),
            held: Held::default(),
        };
        let submits = (0..3).map(|target| over.submit(ShardId(0), failed(target)));
        let outcomes = futures_util::future::join_all(submits).await;
        let outcome = Ok(LeftOut { other: 7, ..LeftOut::default() });
        assert_eq!(outcomes, vec![outcome; 3]);
        assert_eq!(commands.recv_many(&mut Vec::new(), 8).await, 3);
        assert_eq!(over.held.0.load(Ordering::Relaxed), 0);
    }
}
