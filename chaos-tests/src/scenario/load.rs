//! The workloads of a scenario, started and stopped together.

use std::time::Duration;

use crate::{
    bed::Bed,
    check::{
        monotonic::{Highest, watch},
        resources::Held,
    },
    namespaces::Network,
    stalls::Stalls,
    targets::{Target, config},
    wait::until,
    worker::Worker,
    workload::{
        questions::{Answers, ask_about},
        registers::{Judged, Racers},
        settings::Setters,
    },
    writer::{Writer, WriterConfig, Written},
};

/// Jobs that are scraped: name, seconds between two scrapes, targets.
pub const JOBS: [(&str, u64, usize); 2] = [("fast", 1, 12), ("slow", 5, 12)];
/// Until everything is scraped and written.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Batches of each writer before the first fault.
const WARM_BATCHES: usize = 30;

/// What works beside the faults.
pub struct Load {
    pub targets: Vec<Vec<Target>>,
    pub writers: Vec<Writer>,
    questioner: Worker<Answers>,
    racers: Racers,
    setters: Setters,
    watcher: Worker<Highest>,
    pub stalls: Stalls,
    /// What nodes held before the first fault.
    pub held: Vec<Option<Held>>,
}

/// What it has left behind.
pub struct Done {
    pub written: Vec<Written>,
    pub answers: Answers,
    pub registers: Judged,
    pub setting: Judged,
    pub highest: Highest,
}

impl Load {
    /// Starts it, and waits until all of it works.
    pub fn start(bed: &Bed, seed: u64, gives_up: bool) -> Self {
        let front = Network::address(bed.shape().nodes + 1);
        let targets: Vec<Vec<Target>> = JOBS
            .iter()
            .map(|(_, _, count)| (0..*count).map(|_| Target::start_at(&front)).collect())
            .collect();
        let jobs: Vec<_> =
            JOBS.iter().zip(&targets).map(|(job, it)| (job.0, job.1, &it[..])).collect();
        bed.apply(&config(&jobs));
        // Enough for every shard.
        let series = if bed.shape().shards > 6 { 90 } else { crate::writer::SERIES };
        let write = |number| {
            Writer::start_with(bed.write().clone(), WriterConfig { number, series, gives_up })
        };
        let writers: Vec<_> = (1..=3).map(write).collect();
        wait_until_warm(bed, &writers);
        let progress = writers.iter().map(Writer::progress).collect();
        Self {
            questioner: ask_about(bed.read().clone(), progress),
            racers: Racers::start(bed.write(), bed.read(), seed),
            setters: Setters::start(bed.write()),
            watcher: watch(bed.read().clone()),
            stalls: Stalls::watch(),
            held: Held::by_nodes(bed),
            targets,
            writers,
        }
    }

    /// Stops it; the targets, and the watch over the machine, stay.
    pub fn stop(self) -> (Done, Vec<Vec<Target>>, Stalls) {
        let done = Done {
            written: self.writers.into_iter().map(Writer::stop).collect(),
            answers: self.questioner.stop(),
            registers: self.racers.stop(),
            setting: self.setters.stop(),
            highest: self.watcher.stop(),
        };
        (done, self.targets, self.stalls)
    }
}

fn wait_until_warm(bed: &Bed, writers: &[Writer]) {
    let count: usize = JOBS.iter().map(|(_, _, count)| count).sum();
    until("every target is up", START_DEADLINE, || {
        let up = bed.read().vector("up", "instance")?;
        let ready = up.len() >= count && up.values().all(|value| *value == 1.0);
        if ready { Ok(()) } else { Err(format!("{up:?}")) }
    });
    until("every writer writes", START_DEADLINE, || {
        let fewest = writers.iter().map(Writer::acknowledged).min().unwrap_or(0);
        if fewest >= WARM_BATCHES { Ok(()) } else { Err(fewest.to_string()) }
    });
}
