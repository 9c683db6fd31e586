//! Registers that clients race for. A series takes one sample at a time: whoever comes first sets
//! the value, a second one with another value is refused, and a query shows which it was. So each
//! (series, time) is a register that is swapped from nothing to a value once, in the shard's log.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    api::Api,
    check::linearizable::{Action, Answer, Operation, check},
    wait::{now, pause_for, wall_millis},
    worker::{Stop, Worker},
};

/// How long clients race for one register.
const ROUND_MILLIS: i64 = 1_500;
/// Enough to be on all shards of a small cluster, one after the other.
const SERIES: i64 = 13;
/// Racing clients.
const CLIENTS: u64 = 4;
/// Between two operations of a client.
const PAUSE: Duration = Duration::from_millis(60);
/// Operations on one register that are judged; more would be a search without end.
const OPERATIONS_MAX: usize = 1_000;

/// The clients at work.
#[derive(Debug)]
pub struct Racers(Vec<Worker<Vec<(i64, Operation)>>>);

/// What all registers together say.
#[derive(Debug, Default, Clone)]
pub struct Judged {
    /// Registers.
    pub registers: usize,
    /// Operations on them.
    pub operations: usize,
    /// Operations of which nobody knows what came of them.
    pub open: usize,
    /// Reads of a value that had been overwritten, where those are not judged.
    pub stale: usize,
    /// Registers without an order that explains all operations, with these.
    pub broken: Vec<String>,
    /// Registers that could not be judged.
    pub undecided: usize,
}

/// One client of the race.
struct Racer {
    write: Api,
    read: Api,
    start: Instant,
    wall: i64,
    numbers: fastrand::Rng,
    number: u64,
}

impl Racers {
    /// Starts clients that write and read.
    pub fn start(write: &Api, read: &Api, seed: u64) -> Self {
        let (start, wall) = (now(), wall_millis());
        let workers = (1..=CLIENTS).map(|number| {
            let numbers = fastrand::Rng::with_seed(seed.wrapping_add(number));
            let (write, read) = (write.clone(), read.clone());
            let racer = Racer { write, read, start, wall, numbers, number };
            Worker::start(move |stop| racer.run(stop))
        });
        Self(workers.collect())
    }

    /// Stops them and judges what they saw.
    pub fn stop(self) -> Judged {
        self.0.iter().for_each(Worker::tell);
        let mut registers: BTreeMap<i64, Vec<Operation>> = BTreeMap::new();
        for worker in self.0 {
            for (round, operation) in worker.stop() {
                registers.entry(round).or_default().push(operation);
            }
        }
        let mut judged = Judged::default();
        for (round, operations) in registers {
            judged.add(&format!("register {round}"), 0, operations);
        }
        judged
    }
}

impl Judged {
    /// Judges the operations on one register, which began with this value.
    pub fn add(&mut self, name: &str, initial: u64, mut operations: Vec<Operation>) {
        operations.sort_by_key(|operation| operation.called);
        // Whoever was called later than all that are left cannot explain what they saw.
        operations.truncate(OPERATIONS_MAX);
        self.registers += 1;
        self.operations += operations.len();
        self.open += operations.iter().filter(|it| it.returned.is_none()).count();
        match check(initial, &operations) {
            Answer::Linearizable => {}
            Answer::Unknown => self.undecided += 1,
            Answer::Not { fitted } => {
                self.broken.push(format!("{name}: {fitted} fit of {operations:?}"));
            }
        }
    }
}

impl Racer {
    fn run(mut self, stop: &Stop) -> Vec<(i64, Operation)> {
        let (mut done, mut written) = (Vec::new(), 0);
        while !stop.is_set() {
            let called = self.micros();
            let round = (wall_millis() - self.wall) / ROUND_MILLIS;
            let action = match self.numbers.u8(0..3) {
                0 => {
                    written += 1;
                    self.swap(round, self.number * 1_000_000 + written)
                }
                // A read that failed says nothing.
                _ => self.value(round).ok().map(|value| (Action::Read(value), true)),
            };
            if let Some((action, is_answered)) = action {
                let returned = is_answered.then(|| self.micros());
                done.push((round, Operation { action, called, returned }));
            }
            pause_for(PAUSE);
        }
        done
    }

    /// What came of it, and whether that is known.
    fn swap(&self, round: i64, value: u64) -> Option<(Action, bool)> {
        let line = format!("{} {value} {}\n", self.series(round), self.time(round));
        match self.write.import(&line) {
            Ok((204, _)) => Some((Action::Swap(0, value, true), true)),
            Ok((400, body)) if body.contains("conflict") => {
                Some((Action::Swap(0, value, false), true))
            }
            // It was too late, or a clock is wrong: nothing of one line is stored.
            Ok((400, _)) => None,
            _ => Some((Action::Swap(0, value, true), false)),
        }
    }

    fn value(&self, round: i64) -> Result<u64, String> {
        #[expect(clippy::cast_precision_loss, reason = "times of this century")]
        let time = format!("{:.3}", self.time(round) as f64 / 1000.0);
        let range = format!("{}[1s]", self.series(round));
        let found = self.read.query(&[("query", &range), ("time", &time)])?;
        let text = found[0]["values"][0][1].as_str().unwrap_or("0");
        text.parse().map_err(|_| format!("no value: {found}"))
    }

    fn series(&self, round: i64) -> String {
        let instance = round % SERIES;
        format!("chaos_register{{job=\"chaos-register\",instance=\"{instance}\"}}")
    }

    fn time(&self, round: i64) -> i64 {
        self.wall + round * ROUND_MILLIS
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).expect("tests are short")
    }
}
