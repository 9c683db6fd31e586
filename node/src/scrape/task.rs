//! Performs the [`Schedule`]: one task that owns the targets of this node and their state.
//!
//! It follows the configuration and discovery, is told which shards the node leads, and begins
//! scrapes when they are due. Each scrape runs on its own and comes back with the target's
//! reader; what it found goes to the sink. When the task ends, scrapes under way are dropped:
//! nobody was promised their samples.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
    time::Duration,
};

use narthex_cluster::ShardId;
use narthex_model::{Labels, Timestamp};
use prometheus_client::metrics::histogram::Histogram;
use tokio::{
    runtime::Builder,
    sync::{mpsc, oneshot, watch},
    task::{Id, JoinError, JoinSet},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, error, info, warn};

use super::{
    attempt::{Attempt, Ended},
    command::{LeftOut, ScrapeCommand, ScrapeSink, SubmitError, TargetGone},
    core::{Action, Planned, Schedule, Start},
    job::Job,
    metrics::ScrapeMetrics,
    page::PageReader,
    report::ReportSeries,
    status::{Health, TargetStatus},
    target::{DroppedTarget, JobTargets, Target, TargetId},
};
use crate::{
    clock::Clock,
    config::{Config, ScrapeConfig},
    discovery::{Discovered, JobGroups},
    thread_name::named,
};

/// Messages come from leadership changes and API requests: a handful a second at worst.
const MESSAGE_QUEUE_LEN: usize = 64;
/// The wall clock may be set; so no sleep is longer.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// Says which shard a target with these labels is on.
pub type Routing = Arc<dyn Fn(&Labels) -> ShardId + Send + Sync>;

/// What a scraper works with.
pub struct ScraperInputs<S> {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where scrapes go.
    pub sink: Arc<S>,
    /// The configuration in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// What discovery finds.
    pub discovered: watch::Receiver<Arc<Discovered>>,
    /// Drawn once a process, so that targets cannot choose colliding texts.
    pub hash_seed: u64,
    /// Counters.
    pub metrics: Arc<ScrapeMetrics>,
}

/// A shard that this node began to lead.
#[derive(Debug, Clone)]
pub struct Leadership {
    /// Which shard.
    pub shard: ShardId,
    /// When the leader's first entry was applied.
    pub since: Timestamp,
    /// The targets that have state in the shard.
    pub known: Vec<TargetId>,
}

/// The targets of this node's shards.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    /// Being scraped.
    pub active: Vec<TargetStatus>,
    /// Dropped by relabelling.
    pub dropped: Vec<DroppedTarget>,
    /// Why targets of a job cannot be scraped, by job.
    pub problems: Vec<(String, String)>,
}

enum Message {
    Lead(Leadership),
    Leave(ShardId),
    Route(Routing),
    Targets(oneshot::Sender<Targets>),
}

/// The door to the scraper.
#[derive(Debug, Clone)]
pub struct ScraperHandle {
    messages: mpsc::Sender<Message>,
}

/// The scraper is gone: the node is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the scraper has stopped")]
pub struct Stopped;

impl ScraperHandle {
    /// This node leads a shard now.
    pub async fn lead(&self, leadership: Leadership) -> Result<(), Stopped> {
        self.send(Message::Lead(leadership)).await
    }

    /// This node no longer leads `shard`.
    pub async fn leave(&self, shard: ShardId) -> Result<(), Stopped> {
        self.send(Message::Leave(shard)).await
    }

    /// Targets belong to shards as `routing` says from now on. Before the first call nothing
    /// is scraped.
    pub async fn route(&self, routing: Routing) -> Result<(), Stopped> {
        self.send(Message::Route(routing)).await
    }

    /// The targets of this node's shards and how they are.
    pub async fn targets(&self) -> Result<Targets, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Targets(answer)).await?;
        answered.await.map_err(|_| Stopped)
    }

    async fn send(&self, message: Message) -> Result<(), Stopped> {
        self.messages.send(message).await.map_err(|_| Stopped)
    }
}

/// Scrapes what this node owns.
pub struct Scraper<S> {
    inputs: ScraperInputs<S>,
    routing: Option<Routing>,
    schedule: Schedule,
    jobs: BTreeMap<String, JobState>,
    targets: HashMap<TargetId, TargetState>,
    running: JoinSet<Ended>,
    running_targets: HashMap<Id, TargetId>,
    /// Shards being told of targets that are gone.
    endings: JoinSet<(ShardId, TargetId, Result<LeftOut, SubmitError>)>,
}

struct JobState {
    job: Arc<Job>,
    groups: Arc<JobGroups>,
    found: JobTargets,
}

struct TargetState {
    job: Arc<Job>,
    /// Away while a scrape is under way.
    reader: Option<PageReader>,
    report: ReportSeries,
    status: TargetStatus,
    page_bytes: usize,
    shard: ShardId,
    /// When its last scrape began.
    started: Option<std::time::Instant>,
    /// Where the time from one to the next is noted.
    interval_lengths: Histogram,
}

impl<S: ScrapeSink> Scraper<S> {
    /// A scraper that owns nothing yet.
    pub fn new(inputs: ScraperInputs<S>) -> Self {
        Self {
            inputs,
            routing: None,
            schedule: Schedule::new(),
            jobs: BTreeMap::new(),
            targets: HashMap::new(),
            running: JoinSet::new(),
            running_targets: HashMap::new(),
            endings: JoinSet::new(),
        }
    }

    /// Scrapes on a thread of its own until `stop` fires: what else the process does makes no
    /// slot late, and a page that arrives wakes no second thread. Waits for nothing but pages and
    /// the sink, so one thread reads millions of samples a second.
    pub fn spawn(self, tasks: &TaskTracker, stop: CancellationToken) -> io::Result<ScraperHandle> {
        let runtime = Builder::new_current_thread().thread_name("scrape").enable_all().build()?;
        let (messages, inbox) = mpsc::channel(MESSAGE_QUEUE_LEN);
        let work = async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.run(inbox) => {}
            }
        };
        tasks.spawn_blocking(move || {
            named(c"scrape", || runtime.block_on(work));
            // Whoever still looks up a target's name is not waited for.
            runtime.shutdown_background();
        });
        Ok(ScraperHandle { messages })
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        self.reassign();
        loop {
            let wait = self.until_due();
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(message) => self.take(message),
                    None => return,
                },
                Ok(()) = self.inputs.config.changed() => self.reassign(),
                Ok(()) = self.inputs.discovered.changed() => self.reassign(),
                Some(ended) = self.running.join_next_with_id() => self.end(ended),
                Some(Ok((shard, target, told))) = self.endings.join_next() => {
                    if let Err(error) = told {
                        debug!(%shard, %target, %error, "target could not be ended; trying again");
                        self.schedule.retry_gone(shard, target, self.inputs.clock.now());
                    }
                }
                () = tokio::time::sleep(wait) => {}
            }
            self.tick();
        }
    }

    /// Brings the count of targets in line with what is ours.
    fn count_targets(&self) {
        let owned: Vec<ShardId> = self.schedule.owned().collect();
        let limit = |state: &JobState| state.job.config.limits.target_limit;
        let mut jobs: BTreeMap<&str, (usize, u64)> =
            self.jobs.iter().map(|(name, state)| (name.as_str(), (0, limit(state)))).collect();
        for state in self.targets.values().filter(|state| owned.contains(&state.shard)) {
            if let Some((targets, _)) = jobs.get_mut(state.job.config.job_name.as_str()) {
                *targets += 1;
            }
        }
        self.inputs.metrics.note_targets(&jobs);
    }

    fn until_due(&self) -> Duration {
        let Some(due) = self.schedule.next_due() else { return SLEEP_MAX };
        let millis = due.millis_since(self.inputs.clock.now());
        Duration::from_millis(u64::try_from(millis).unwrap_or(0)).min(SLEEP_MAX)
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Lead(leadership) => {
                let Leadership { shard, since, known } = leadership;
                info!(%shard, targets_known = known.len(), "shard is ours: scraping its targets");
                self.schedule.own(shard, since, known);
                self.count_targets();
            }
            Message::Leave(shard) => {
                info!(%shard, "shard is no longer ours");
                self.schedule.disown(shard);
                self.count_targets();
            }
            Message::Route(routing) => {
                self.routing = Some(routing);
                self.reassign();
            }
            Message::Targets(answer) => drop(answer.send(self.report_targets())),
        }
    }

    /// Recomputes what changed in configuration, discovery or routing, and plans the targets.
    fn reassign(&mut self) {
        let config = self.inputs.config.borrow_and_update().clone();
        let discovered = self.inputs.discovered.borrow_and_update().clone();
        self.jobs.retain(|name, _| config.job(name).is_some());
        for job in &config.scrape_configs {
            if let Some(groups) = discovered.get(&job.job_name) {
                self.refresh_job(job, groups);
            }
        }
        let Some(routing) = self.routing.clone() else { return };
        let planned = self.refresh_targets(&routing);
        let is_synced = config
            .scrape_configs
            .iter()
            .all(|job| discovered.get(&job.job_name).is_some_and(|groups| groups.is_synced));
        let now = self.inputs.clock.now();
        self.schedule.assign(&planned, is_synced, now);
        self.count_targets();
    }

    fn refresh_job(&mut self, config: &ScrapeConfig, groups: &Arc<JobGroups>) {
        let known = self.jobs.get(&config.job_name).filter(|known| known.job.config == *config);
        if known.is_some_and(|known| Arc::ptr_eq(&known.groups, groups)) {
            return;
        }
        let job = match known {
            Some(known) => known.job.clone(),
            None => {
                let job = Job::new(config.clone());
                let is_new = !self.jobs.contains_key(&config.job_name);
                self.inputs.metrics.note_job(is_new, job.is_ok());
                match job {
                    Ok(job) => Arc::new(job),
                    Err(error) => {
                        error!(job = config.job_name, %error, "job refused: its rules do not compile");
                        return;
                    }
                }
            }
        };
        let began = self.inputs.clock.monotonic();
        let found = job.targets(&groups.groups);
        let took = self.inputs.clock.monotonic().saturating_duration_since(began);
        self.inputs.metrics.note_sync(&config.job_name, &found, took);
        for problem in &found.problems {
            warn!(job = config.job_name, problem, "target cannot be scraped");
        }
        let state = JobState { job, groups: groups.clone(), found };
        self.jobs.insert(config.job_name.clone(), state);
    }

    /// Brings the targets' states in line with the jobs and says where each belongs.
    fn refresh_targets(&mut self, routing: &Routing) -> Vec<Planned> {
        let mut before = std::mem::take(&mut self.targets);
        let mut planned = Vec::new();
        for state in self.jobs.values() {
            for target in &state.found.active {
                let shard = routing(&target.labels);
                let mut kept = match before.remove(&target.id) {
                    Some(kept) if Arc::ptr_eq(&kept.job, &state.job) => kept,
                    // Other rules: what was remembered of its series may be wrong.
                    Some(kept) => TargetState {
                        status: kept.status,
                        page_bytes: kept.page_bytes,
                        started: kept.started,
                        ..self.new_target(&state.job, target)
                    },
                    None => self.new_target(&state.job, target),
                };
                kept.shard = shard;
                if *kept.status.target != *target {
                    kept.interval_lengths = self.inputs.metrics.interval_lengths(target.interval);
                    kept.status.target = Arc::new(target.clone());
                }
                self.targets.insert(target.id, kept);
                planned.push(Planned { target: target.id, shard, interval: target.interval });
            }
        }
        planned
    }

    fn new_target(&self, job: &Arc<Job>, target: &Target) -> TargetState {
        TargetState {
            job: job.clone(),
            reader: Some(PageReader::new(job.rules_for(target), self.inputs.hash_seed)),
            report: ReportSeries::new(&target.labels),
            status: TargetStatus::new(Arc::new(target.clone())),
            page_bytes: 0,
            shard: ShardId(0),
            started: None,
            interval_lengths: self.inputs.metrics.interval_lengths(target.interval),
        }
    }

    fn tick(&mut self) {
        let now = self.inputs.clock.now();
        let actions = self.schedule.tick(now);
        self.inputs.metrics.note_skipped(self.schedule.skipped());
        for action in actions {
            match action {
                Action::Start(start) => self.start(start),
                Action::Gone { shard, target, has_moved: true } => {
                    self.end_target(shard, TargetGone::moved(target));
                }
                Action::Gone { shard, target, has_moved: false } => {
                    self.end_target(shard, TargetGone { target, time: now });
                }
            }
        }
    }

    fn end_target(&mut self, shard: ShardId, gone: TargetGone) {
        let sink = self.inputs.sink.clone();
        self.endings.spawn(async move {
            (shard, gone.target, sink.submit(shard, ScrapeCommand::Gone(gone)).await)
        });
    }

    fn start(&mut self, start: Start) {
        let Some(state) = self.targets.get_mut(&start.target) else {
            return self.schedule.finish(start.target);
        };
        let target = state.status.target.clone();
        let now = self.inputs.clock.monotonic();
        if let Some(before) = state.started.replace(now) {
            let length = now.saturating_duration_since(before);
            state.interval_lengths.observe(length.as_secs_f64());
        }
        let fresh = || PageReader::new(state.job.rules_for(&target), self.inputs.hash_seed);
        let reader = state.reader.take().unwrap_or_else(fresh);
        let job_state = self.jobs.get(&target.job_name);
        let attempt = Attempt {
            clock: self.inputs.clock.clone(),
            sink: self.inputs.sink.clone(),
            job: state.job.clone(),
            start,
            reader,
            report: state.report.clone(),
            forced_error: job_state.and_then(|job| job.found.limit_exceeded.clone()),
            expected_bytes: state.page_bytes,
            target,
        };
        let task = self.running.spawn(attempt.run());
        self.running_targets.insert(task.id(), start.target);
    }

    fn end(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let (id, ended) = match ended {
            Ok((id, ended)) => (id, Some(ended)),
            Err(failed) => {
                error!(error = %failed, "a scrape ended in a panic");
                (failed.id(), None)
            }
        };
        let Some(target) = self.running_targets.remove(&id) else { return };
        self.schedule.finish(target);
        let (Some(ended), Some(state)) = (ended, self.targets.get_mut(&target)) else { return };
        self.inputs.metrics.note_scrape(&ended);
        match &ended.submitted {
            Ok(left_out) => log_left_out(&state.status.target, left_out),
            Err(error) => log_lost(&state.status.target, error),
        }
        let is_up = ended.error.is_empty();
        state.status.health = if is_up { Health::Up } else { Health::Down };
        state.status.last_error = ended.error;
        state.status.last_scrape = Some(ended.time);
        state.status.last_duration = ended.duration;
        state.page_bytes = ended.page_bytes;
        // A reader that is there came with new rules while the scrape was under way.
        state.reader.get_or_insert(ended.reader);
    }

    fn report_targets(&self) -> Targets {
        let owned: Vec<ShardId> = self.schedule.owned().collect();
        let is_ours = |shard: ShardId| owned.contains(&shard);
        let mut report = Targets::default();
        let active = self.targets.values().filter(|state| is_ours(state.shard));
        report.active = active.map(|state| state.status.clone()).collect();
        report.active.sort_by(|a, b| {
            let key =
                |status: &TargetStatus| (status.target.job_name.clone(), status.target.url.clone());
            key(a).cmp(&key(b))
        });
        for (name, state) in &self.jobs {
            let problems = state.found.problems.iter();
            report.problems.extend(problems.map(|problem| (name.clone(), problem.clone())));
            let Some(routing) = &self.routing else { continue };
            let dropped = state.found.dropped.iter();
            let ours = dropped.filter(|dropped| is_ours(routing(&dropped.discovered)));
            report.dropped.extend(ours.cloned());
        }
        report
    }
}

fn log_left_out(target: &Target, left_out: &LeftOut) {
    if *left_out == LeftOut::default() {
        return;
    }
    let LeftOut { out_of_order, duplicate, out_of_bounds, series_limit, other } = left_out;
    warn!(
        job = target.job(),
        instance = target.instance(),
        out_of_order,
        duplicate,
        out_of_bounds,
        series_limit,
        other,
        "samples of a scrape were not stored"
    );
}

fn log_lost(target: &Target, error: &SubmitError) {
    match error {
        SubmitError::NotLeader(_) => debug!(url = target.url, %error, "scrape lost"),
        SubmitError::Busy(_) | SubmitError::TooLarge(_) | SubmitError::Refused(_) => {
            warn!(url = target.url, %error, "scrape lost");
        }
    }
}

#[cfg(test)]
mod tests;
