//! The runtime that raft has to itself.
//!
//! Heartbeats and elections run here and nothing else does: no database call, no apply, no query.
//! Should a task hold a thread for long all the same, the poll times show it.

use std::{
    cell::RefCell,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use openraft::async_runtime::AsyncRuntime;
use tokio::runtime::{Builder, Handle, Runtime};

use super::metrics::{Durations, now};

/// Threads for reads of old log entries, the only blocking work: a few suffice, since a follower
/// that needs them is behind already.
const BLOCKING_THREADS_MAX: usize = 4;

/// How long the end of the runtime waits for tasks that do not end by themselves.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

thread_local! {
    /// Where polls on this thread are counted; set when a raft runtime starts the thread.
    static POLLS: RefCell<Option<Arc<Durations>>> = const { RefCell::new(None) };
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
        let counted = polls.clone();
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_name("raft")
            .on_thread_start(move || POLLS.set(Some(counted.clone())))
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

/// Tokio as openraft uses it, with the polls of every task counted.
#[derive(Debug)]
pub struct MeteredRuntime(Tokio);

impl AsyncRuntime for MeteredRuntime {
    type JoinError = <Tokio as AsyncRuntime>::JoinError;
    type JoinHandle<T: Send + 'static> = <Tokio as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <Tokio as AsyncRuntime>::Sleep;
    type Instant = <Tokio as AsyncRuntime>::Instant;
    type TimeoutError = <Tokio as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + Send> = <Tokio as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <Tokio as AsyncRuntime>::ThreadLocalRng;
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
        Tokio::sleep_until(deadline)
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
        Tokio::thread_rng()
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
