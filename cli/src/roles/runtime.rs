//! The runtime of a process's tasks: connections, requests, timers.

use std::{io, thread};

use tokio::runtime::{Builder, Runtime};

/// Starts the runtime, its threads named `name`.
///
/// It has a thread for every second core. Raft, its log, apply, scrapes and all that computes have
/// threads of their own; what is left is short, and each idle thread more is woken only to find that
/// another one has done the work: on two cores the second one cost a tenth of all CPU.
pub fn start(name: &str) -> io::Result<Runtime> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    Builder::new_multi_thread()
        .worker_threads((cores / 2).max(1))
        .thread_name(name)
        .enable_all()
        .build()
}
