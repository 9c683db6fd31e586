//! A client that asks for what is written, and takes no excuse.

use crate::{api::Api, wait::pause, worker::Worker};

/// Asks again and again, and keeps what was no complete answer.
#[derive(Debug)]
pub struct Asker(Worker<(usize, Vec<String>)>);

impl Asker {
    /// Starts to ask for what [`Writer`](crate::writer::Writer) writes.
    pub fn start(api: Api) -> Self {
        Self(Worker::start(move |stop| {
            let (mut asked, mut failed) = (0, Vec::new());
            while !stop.is_set() {
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
        }))
    }

    /// Stops.
    ///
    /// # Panics
    /// With the first answer that was not complete, if there was any.
    pub fn none_failed(self) {
        let (asked, failed) = self.0.stop();
        assert!(asked > 50, "{asked}");
        assert!(failed.is_empty(), "{} of {asked} failed: {:?}", failed.len(), failed.first());
    }
}
