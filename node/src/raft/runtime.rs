//! The runtime that raft has to itself.
//!
//! Heartbeats and elections run here and nothing else does: no database call, no apply, no query.
//! Should a task hold a thread for long all the same, the poll times show it.
//!
//! Timers of all groups fire together, on a grid that the threads of a runtime share: a thread
//! that wakes for one group costs more than the ticks of all.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use openraft::async_runtime::{AsyncRuntime, Instant as _};
use rand::{Rng as _, TryRng};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    time::{Interval, MissedTickBehavior, interval},
};

use super::metrics::{Durations, now};

/// Threads for what blocks. Reads of old log entries: a few suffice, since a follower that needs them
/// is behind already. And names of peers, of which each holds a thread at the most, for tens of
/// seconds where nobody knows it any more.
const BLOCKING_THREADS_MAX: usize = 16;

/// How long the end of the runtime waits for tasks that do not end by themselves.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause between two moments at which timers fire. Openraft's own tick is 30 ms, each group with
/// a phase of its own; a heartbeat is due after 150 ms, a lease over after 700.
const TIMER_GRID: Duration = Duration::from_millis(50);

/// A shorter sleep is no tick: openraft joins what happens within a microsecond that way.
const GRID_SLEEP_MIN: Duration = Duration::from_millis(1);

thread_local! {
    /// Where polls on this thread are counted; set when a raft runtime starts the thread.
    static POLLS: RefCell<Option<Arc<Durations>>> = const { RefCell::new(None) };
    /// Where the grid of timers begins; set likewise.
    static GRID_ORIGIN: Cell<Option<RaftInstant>> = const { Cell::new(None) };
    /// What randomness on this thread is drawn from; the system's where it is `None`.
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Where openraft's randomness comes from: the system, or a seed where everything must come out
/// the same again.
#[derive(Debug, Clone, Copy)]
pub struct Randomness;

impl Randomness {
    /// Draws from `seed` on this thread from now on.
    #[cfg(test)]
    pub fn seed(seed: u64) {
        SEED.set(Some(seed));
    }

    /// The next number: splitmix64 of the seed.
    pub fn draw(self) -> u64 {
        let Some(seed) = SEED.get() else { return Tokio::thread_rng().next_u64() };
        let seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        SEED.set(Some(seed));
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl TryRng for Randomness {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.draw() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.draw())
    }

    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), Infallible> {
        for chunk in into.chunks_mut(8) {
            chunk.copy_from_slice(&self.draw().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// How long until the first point of the grid at or after `elapsed` since its origin.
fn until_grid(elapsed: Duration) -> Duration {
    let grid = TIMER_GRID.as_nanos();
    let behind = elapsed.as_nanos() % grid;
    Duration::from_nanos(((grid - behind) % grid) as u64)
}

/// Ticks every `period`, together with the timers of all groups.
pub(super) fn interval_on_grid(period: Duration) -> Interval {
    let elapsed = GRID_ORIGIN.get().map_or(Duration::ZERO, |origin| origin.elapsed());
    let mut interval = interval(period);
    interval.reset_after(until_grid(elapsed));
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    interval
}

/// Begins the grid of this thread at `origin` from now on.
#[cfg(test)]
pub(super) fn begin_grid(origin: RaftInstant) {
    GRID_ORIGIN.set(Some(origin));
}

/// A small tokio runtime for raft alone.
#[derive(Debug)]
pub struct RaftRuntime {
    runtime: Option<Runtime>,
    polls: Arc<Durations>,
}

impl RaftRuntime {
    /// Starts the runtime with `threads` threads, at least one.
    pub fn start(threads: usize) -> io::Result<Self> {
        let polls = Arc::new(Durations::default());
        let (counted, origin) = (polls.clone(), RaftInstant::now());
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_name("raft")
            .on_thread_start(move || {
                POLLS.set(Some(counted.clone()));
                GRID_ORIGIN.set(Some(origin));
            })
            .enable_all()
            .build()?;
        Ok(Self { runtime: Some(runtime), polls })
    }

    /// Where to spawn.
    pub fn handle(&self) -> &Handle {
        self.runtime.as_ref().expect("the runtime is only taken when dropped").handle()
    }

    /// How long tasks held a thread. Above 5 ms for one in a hundred, raft is being starved.
    pub fn poll_durations(&self) -> &Durations {
        &self.polls
    }
}

impl Drop for RaftRuntime {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        if Handle::try_current().is_ok() {
            // Within another runtime nothing may wait.
            runtime.shutdown_background();
        } else {
            runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
        }
    }
}

/// Counts how long each poll of a task takes.
pub(super) struct Polled<F> {
    task: Pin<Box<F>>,
}

impl<F: Future> Polled<F> {
    pub fn new(task: F) -> Self {
        Self { task: Box::pin(task) }
    }
}

impl<F: Future> Future for Polled<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let started = now();
        let result = self.task.as_mut().poll(context);
        let took = started.elapsed();
        POLLS.with_borrow(|polls| {
            if let Some(polls) = polls {
                polls.record(took);
            }
        });
        result
    }
}

type Tokio = openraft::impls::TokioRuntime;
pub(super) type RaftInstant = <Tokio as AsyncRuntime>::Instant;

/// Tokio as openraft uses it, with the polls of every task counted and ticks on a grid.
#[derive(Debug)]
pub struct MeteredRuntime(Tokio);

impl AsyncRuntime for MeteredRuntime {
    type JoinError = <Tokio as AsyncRuntime>::JoinError;
    type JoinHandle<T: Send + 'static> = <Tokio as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <Tokio as AsyncRuntime>::Sleep;
    type Instant = <Tokio as AsyncRuntime>::Instant;
    type TimeoutError = <Tokio as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + Send> = <Tokio as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = Randomness;
    type Mpsc = <Tokio as AsyncRuntime>::Mpsc;
    type Watch = <Tokio as AsyncRuntime>::Watch;
    type Oneshot = <Tokio as AsyncRuntime>::Oneshot;
    type Mutex<T: Send + 'static> = <Tokio as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        Tokio::spawn(Polled::new(future))
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        Tokio::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        let is_tick = deadline > RaftInstant::now() + GRID_SLEEP_MIN;
        match GRID_ORIGIN.get() {
            Some(origin) if is_tick => Tokio::sleep_until(deadline + until_grid(deadline - origin)),
            _ => Tokio::sleep_until(deadline),
        }
    }

    fn timeout<R, F: Future<Output = R> + Send>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        Tokio::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + Send>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        Tokio::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        Tokio::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        Randomness
    }

    fn new(threads: usize) -> Self {
        Self(Tokio::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_moves_to_the_grid_and_never_to_an_earlier_time() {
        let cases = [(0, 0), (1, 49), (30, 20), (49, 1), (50, 0), (51, 49), (1_000_030, 20)];
        for (elapsed, wait) in cases {
            let waits = until_grid(Duration::from_millis(elapsed));
            assert_eq!(waits, Duration::from_millis(wait), "{elapsed}");
        }
    }
}
