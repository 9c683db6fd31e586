//! A setting of the cluster as a register: clients set it and read it with `narthex cluster set` and
//! `get`, through one process. What is set is in the log of the control group.
//!
//! Such a process answers with what it was told last. While the node that tells it is cut off that
//! may be old, so reads during faults are only counted; what is judged is the order of writes and
//! what is read when all is healed.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    api::Api,
    check::linearizable::{Action, Operation},
    cluster::program,
    wait::{now, pause_for, within},
    worker::{Stop, Worker},
    workload::registers::Judged,
};

/// Nobody reaches so many series, so that it changes nothing.
const NAME: &str = "ingest.max-series-per-job";
/// Added to every value: no limit that could be felt.
const BASE: u64 = 100_000_000;
const CLIENTS: u64 = 2;
/// After which a client gives up and does not know what came of it.
const PATIENCE: Duration = Duration::from_secs(8);
const PAUSE: Duration = Duration::from_millis(500);

/// The clients at work.
#[derive(Debug)]
pub struct Setters(Vec<Worker<Vec<Operation>>>);

/// One of them.
struct Setter {
    url: String,
    start: Instant,
    number: u64,
}

impl Setters {
    /// Starts clients of this process, a router or a querier.
    pub fn start(api: &Api) -> Self {
        let start = now();
        let workers = (1..=CLIENTS).map(|number| {
            let setter = Setter { url: api.url().to_owned(), start, number };
            Worker::start(move |stop| setter.run(stop))
        });
        Self(workers.collect())
    }

    /// Stops them, when all is healed, and judges what they saw.
    pub fn stop(self) -> Judged {
        self.0.iter().for_each(Worker::tell);
        let operations: Vec<_> = self.0.into_iter().flat_map(Worker::stop).collect();
        let (writes, reads): (Vec<_>, Vec<_>) =
            operations.into_iter().partition(|it| matches!(it.action, Action::Write(_)));
        let stale = reads.iter().filter(|read| is_stale(read, &writes)).count();
        let last = reads.into_iter().max_by_key(|read| read.called);
        let mut judged = Judged { stale, ..Judged::default() };
        judged.add("the setting", 0, writes.into_iter().chain(last).collect());
        judged
    }
}

/// Whether what was read had been overwritten before the question.
fn is_stale(read: &Operation, writes: &[Operation]) -> bool {
    let Action::Read(value) = read.action else { return false };
    let of = writes.iter().find(|write| write.action == Action::Write(value));
    let end = of.map_or(Some(0), |write| write.returned);
    let is_later = |write: &Operation| end.is_some_and(|end| write.called > end);
    let overwritten = |write: &&Operation| {
        is_later(write) && write.returned.is_some_and(|returned| returned < read.called)
    };
    writes.iter().any(|write| overwritten(&write))
}

impl Setter {
    fn run(self, stop: &Stop) -> Vec<Operation> {
        let mut done = Vec::new();
        for turn in 0.. {
            // Whoever is told to stop reads once more.
            let is_last = stop.is_set();
            let called = self.micros();
            let action = match turn % 2 {
                0 if !is_last => {
                    let value = self.number * 100_000 + turn;
                    let answered = self.set(value);
                    Some((Action::Write(value), answered))
                }
                // A read that failed says nothing.
                _ => self.value().map(|value| (Action::Read(value), true)),
            };
            if let Some((action, is_answered)) = action {
                let returned = is_answered.then(|| self.micros());
                done.push(Operation { action, called, returned });
            }
            if is_last {
                break;
            }
            pause_for(PAUSE);
        }
        done
    }

    /// Whether it is known to be set.
    fn set(&self, value: u64) -> bool {
        self.cluster(&["set", &format!("{NAME}={}", BASE + value)]).is_some()
    }

    /// What is set; 0 before anything was.
    fn value(&self) -> Option<u64> {
        let value: u64 = self.cluster(&["get", NAME])?.trim().parse().ok()?;
        Some(value.saturating_sub(BASE))
    }

    /// What `narthex cluster` prints, unless it fails or takes too long.
    fn cluster(&self, arguments: &[&str]) -> Option<String> {
        let mut command = Command::new(program());
        command.arg("cluster").args(arguments).args(["--server", &self.url]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the program starts");
        let ended = within(PATIENCE, || match child.try_wait() {
            Ok(Some(status)) => Ok(status.success()),
            other => Err(format!("{other:?}")),
        });
        if ended != Ok(true) {
            end(&mut child);
            return None;
        }
        std::io::read_to_string(child.stdout?).ok()
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).expect("tests are short")
    }
}

/// One that has ended already cannot be killed.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_stale_if_another_value_was_set_before_it() {
        let operation = |action, called, returned| Operation { action, called, returned };
        let writes = [
            operation(Action::Write(1), 0, Some(1)),
            operation(Action::Write(2), 2, Some(4)),
            operation(Action::Write(3), 5, None),
        ];
        let read = |value, called| {
            is_stale(&operation(Action::Read(value), called, Some(called + 1)), &writes)
        };
        assert!(!read(1, 3), "the second may not be there yet");
        assert!(read(1, 5) && read(0, 5));
        assert!(!read(2, 9), "nobody knows of the third");
        assert!(!read(3, 9));
    }
}
