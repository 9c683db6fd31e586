//! What works in the background of a test until it is told to stop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

/// A thread that ends soon after it was told to, and what it has to say then.
#[derive(Debug)]
pub struct Worker<T> {
    stop: Stop,
    thread: JoinHandle<T>,
}

/// Whether a worker was told to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Whether it was.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl<T: Send + 'static> Worker<T> {
    /// Starts `work`, which looks at its argument again and again.
    pub fn start(work: impl FnOnce(&Stop) -> T + Send + 'static) -> Self {
        let stop = Stop::default();
        let stopped = stop.clone();
        Self { stop, thread: std::thread::spawn(move || work(&stopped)) }
    }

    /// Tells it to stop, without waiting for it.
    pub fn tell(&self) {
        self.stop.0.store(true, Ordering::Relaxed);
    }

    /// Tells it to stop and waits for what it has to say.
    ///
    /// # Panics
    /// Where the worker has panicked.
    pub fn stop(self) -> T {
        self.tell();
        self.thread.join().expect("a worker does not panic")
    }
}
