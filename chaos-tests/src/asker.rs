//! A client that asks for what is written, and takes no excuse.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use crate::{api::Api, wait::pause};

/// Asks again and again, and keeps what was no complete answer.
#[derive(Debug)]
pub struct Asker {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(usize, Vec<String>)>,
}

impl Asker {
    /// Starts to ask for what [`Writer`](crate::writer::Writer) writes.
    pub fn start(api: Api) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let (mut asked, mut failed) = (0, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                asked += 1;
                let answer =
                    api.text("/api/v1/query?query=sum(count_over_time(chaos_written[1h]))");
                match answer {
                    Ok((200, body)) if !body.contains("\"warnings\"") => {}
                    other => failed.push(format!("{other:?}")),
                }
                pause();
            }
            (asked, failed)
        });
        Self { stop, thread }
    }

    /// Stops.
    ///
    /// # Panics
    /// With the first answer that was not complete, if there was any.
    pub fn none_failed(self) {
        self.stop.store(true, Ordering::Relaxed);
        let (asked, failed) = self.thread.join().expect("the asker does not panic");
        assert!(asked > 50, "{asked}");
        assert!(failed.is_empty(), "{} of {asked} failed: {:?}", failed.len(), failed.first());
    }
}
