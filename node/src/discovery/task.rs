//! Follows the sources of a configuration's jobs and publishes what they say.

use std::{sync::Arc, time::Duration};

use narthex_model::Timestamp;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use super::{Discovered, DiscoveryMetrics, FileGroups, JobGroups};
use crate::{clock::Clock, config::Config};

/// How often files are looked at: a change is seen within this time.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The sources of all jobs.
pub struct Discovery {
    clock: Arc<dyn Clock>,
    config: watch::Receiver<Arc<Config>>,
    published: watch::Sender<Arc<Discovered>>,
    metrics: Arc<DiscoveryMetrics>,
}

/// What discovery found last.
#[derive(Debug, Clone)]
pub struct DiscoveryHandle {
    published: watch::Receiver<Arc<Discovered>>,
}

/// A job with its files.
struct Job {
    name: String,
    listed: JobGroups,
    files: Vec<FileGroups>,
}

impl Discovery {
    /// Sources of whatever `config` holds at the time.
    pub fn new(
        clock: Arc<dyn Clock>,
        config: watch::Receiver<Arc<Config>>,
        metrics: Arc<DiscoveryMetrics>,
    ) -> Self {
        Self { clock, config, published: watch::Sender::new(Arc::default()), metrics }
    }

    /// Follows the sources until `stop` fires. Nothing is lost then: it only reads.
    pub fn spawn(self, tasks: &TaskTracker, stop: CancellationToken) -> DiscoveryHandle {
        let published = self.published.subscribe();
        tasks.spawn(async move {
            let work = self.run();
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
        DiscoveryHandle { published }
    }

    async fn run(self) {
        let Self { clock, mut config, published, metrics } = self;
        loop {
            let current = config.borrow_and_update().clone();
            let jobs = current.scrape_configs.iter().map(Job::new).collect();
            tokio::select! {
                () = follow(jobs, &*clock, &published, &metrics) => return,
                changed = config.changed() => if changed.is_err() { return },
            }
        }
    }
}

impl DiscoveryHandle {
    /// What is known now.
    pub fn discovered(&self) -> Arc<Discovered> {
        self.published.borrow().clone()
    }

    /// Follows what is known.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Discovered>> {
        self.published.clone()
    }
}

/// Polls the files and publishes at the start and after every change.
async fn follow(
    mut jobs: Vec<Job>,
    clock: &dyn Clock,
    published: &watch::Sender<Arc<Discovered>>,
    metrics: &DiscoveryMetrics,
) {
    let mut is_first = true;
    loop {
        let (now, began) = (clock.now(), clock.monotonic());
        let polled = tokio::task::spawn_blocking(move || {
            let changed = jobs.iter_mut().fold(false, |any, job| job.poll(now) | any);
            (jobs, changed)
        });
        let Ok((polled, changed)) = polled.await else { return };
        jobs = polled;
        let took = clock.monotonic().saturating_duration_since(began);
        metrics.note_scan(jobs.iter().map(|job| (job.name.as_str(), job.files.as_slice())), took);
        if changed || is_first {
            metrics.note_update(&publish(&jobs, published));
        }
        is_first = false;
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn publish(jobs: &[Job], published: &watch::Sender<Arc<Discovered>>) -> Arc<Discovered> {
    let found = jobs.iter().map(|job| (job.name.clone(), Arc::new(job.groups())));
    let found: Arc<Discovered> = Arc::new(found.collect());
    for (job, groups) in &*found {
        for problem in &groups.problems {
            warn!(job, problem, "discovery file refused; its last good groups stay");
        }
    }
    published.send_replace(found.clone());
    found
}

impl Job {
    fn new(config: &crate::config::ScrapeConfig) -> Self {
        let listed = JobGroups { groups: config.static_configs.clone(), ..JobGroups::default() };
        let files = config.file_sd_configs.iter().cloned().map(FileGroups::new).collect();
        Self { name: config.job_name.clone(), listed, files }
    }

    fn poll(&mut self, now: Timestamp) -> bool {
        self.files.iter_mut().fold(false, |changed, files| files.poll(now) | changed)
    }

    fn groups(&self) -> JobGroups {
        let mut groups = self.listed.clone();
        for files in &self.files {
            groups.groups.extend(files.groups().cloned());
            groups.problems.extend(files.problems().map(str::to_owned));
        }
        groups.is_synced = self.files.iter().all(FileGroups::is_synced);
        groups
    }
}
