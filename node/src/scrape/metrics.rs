//! What scraping counts about itself.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use narthex_model::duration;
use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use super::{
    attempt::{Ended, Exceeded},
    command::{LeftOut, SubmitError},
    core::Skipped,
    target::JobTargets,
};

/// One label and its value.
type Label = [(&'static str, String); 1];

fn of_job(job: &str) -> Label {
    [("scrape_job", job.to_owned())]
}

/// What is counted for each job, under Prometheus's names. A job is what Prometheus calls a scrape
/// pool.
#[derive(Debug)]
struct PoolMetrics {
    created: Counter,
    failed: Counter,
    reloads: Counter,
    reloads_failed: Counter,
    syncs: Family<Label, Counter>,
    syncs_failed: Family<Label, Counter>,
    sync_lengths: Family<Label, Histogram>,
    targets: Family<Label, Gauge>,
    target_limits: Family<Label, Gauge>,
    interval_lengths: Family<Label, Histogram>,
}

impl Default for PoolMetrics {
    fn default() -> Self {
        let sync_lengths: fn() -> Histogram = || Histogram::new(exponential_buckets(1e-4, 4.0, 9));
        let interval_lengths: fn() -> Histogram =
            || Histogram::new([0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0]);
        Self {
            created: Counter::default(),
            failed: Counter::default(),
            reloads: Counter::default(),
            reloads_failed: Counter::default(),
            syncs: Family::default(),
            syncs_failed: Family::default(),
            sync_lengths: Family::new_with_constructor(sync_lengths),
            targets: Family::default(),
            target_limits: Family::default(),
            interval_lengths: Family::new_with_constructor(interval_lengths),
        }
    }
}

impl PoolMetrics {
    fn register(&self, registry: &mut Registry) {
        let help = "Jobs that this node has begun to scrape";
        registry.register("prometheus_target_scrape_pools", help, self.created.clone());
        let help = "Jobs that this node could not begin to scrape";
        registry.register("prometheus_target_scrape_pools_failed", help, self.failed.clone());
        let help = "Changes of jobs that are scraped";
        registry.register("prometheus_target_scrape_pool_reloads", help, self.reloads.clone());
        let help = "Changes of jobs that could not be put in force";
        let failed = self.reloads_failed.clone();
        registry.register("prometheus_target_scrape_pool_reloads_failed", help, failed);
        let help = "Times that a job's targets were computed";
        registry.register("prometheus_target_scrape_pool_sync", help, self.syncs.clone());
        let help = "Targets that cannot be scraped, each time that a job's were computed";
        registry.register("prometheus_target_sync_failed", help, self.syncs_failed.clone());
        let help = "How long computing a job's targets took, in seconds";
        let lengths = self.sync_lengths.clone();
        registry.register("prometheus_target_sync_length_seconds", help, lengths);
        let help = "Targets of a job that this node scrapes";
        registry.register("prometheus_target_scrape_pool_targets", help, self.targets.clone());
        let help = "Most targets that a job may have; 0 is no limit";
        let limits = self.target_limits.clone();
        registry.register("prometheus_target_scrape_pool_target_limit", help, limits);
        let help = "Time from one scrape of a target to the next, in seconds";
        let lengths = self.interval_lengths.clone();
        registry.register("prometheus_target_interval_length_seconds", help, lengths);
    }
}

/// Counters since the process started.
#[derive(Debug, Default)]
pub struct ScrapeMetrics {
    pools: PoolMetrics,
    up: AtomicU64,
    down: AtomicU64,
    skipped_busy: AtomicU64,
    skipped_late: AtomicU64,
    lost_not_leader: AtomicU64,
    lost_busy: AtomicU64,
    lost_refused: AtomicU64,
    samples_series_limit: AtomicU64,
    samples_other: AtomicU64,
    samples_out_of_order: AtomicU64,
    samples_duplicate: AtomicU64,
    samples_out_of_bounds: AtomicU64,
    exceeded_body_size: AtomicU64,
    exceeded_samples: AtomicU64,
    exceeded_labels: AtomicU64,
    exceeded_targets: AtomicU64,
}

impl ScrapeMetrics {
    /// Puts what is counted for each job into `registry`.
    pub fn register(&self, registry: &mut Registry) {
        self.pools.register(registry);
    }

    /// `(metric, label value, count)` of every counter, for the page of metrics.
    pub fn counts(&self) -> [(&'static str, &'static str, u64); 9] {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("narthex_node_scrapes_total", "up", count(&self.up)),
            ("narthex_node_scrapes_total", "down", count(&self.down)),
            ("narthex_node_scrapes_skipped_total", "busy", count(&self.skipped_busy)),
            ("narthex_node_scrapes_skipped_total", "late", count(&self.skipped_late)),
            ("narthex_node_scrapes_lost_total", "not_leader", count(&self.lost_not_leader)),
            ("narthex_node_scrapes_lost_total", "busy", count(&self.lost_busy)),
            ("narthex_node_scrapes_lost_total", "refused", count(&self.lost_refused)),
            (
                "narthex_node_scrape_samples_refused_total",
                "series_limit",
                count(&self.samples_series_limit),
            ),
            ("narthex_node_scrape_samples_refused_total", "other", count(&self.samples_other)),
        ]
    }

    /// `(metric without its _total, help, count)` of what Prometheus counts under these names.
    pub fn prometheus_counts(&self) -> [(&'static str, &'static str, u64); 7] {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            (
                "prometheus_target_scrapes_sample_out_of_order",
                "Samples left out because they are older than their series' newest",
                count(&self.samples_out_of_order),
            ),
            (
                "prometheus_target_scrapes_sample_duplicate_timestamp",
                "Samples left out because another value is stored at their time",
                count(&self.samples_duplicate),
            ),
            (
                "prometheus_target_scrapes_sample_out_of_bounds",
                "Samples left out because they lie too far ahead, or behind what is kept",
                count(&self.samples_out_of_bounds),
            ),
            (
                "prometheus_target_scrapes_exceeded_body_size_limit",
                "Scrapes that failed at body_size_limit",
                count(&self.exceeded_body_size),
            ),
            (
                "prometheus_target_scrapes_exceeded_sample_limit",
                "Scrapes that failed at sample_limit",
                count(&self.exceeded_samples),
            ),
            (
                "prometheus_target_scrape_pool_exceeded_label_limits",
                "Scrapes that failed at a limit on labels",
                count(&self.exceeded_labels),
            ),
            (
                "prometheus_target_scrape_pool_exceeded_target_limit",
                "Times that a job's targets were more than target_limit",
                count(&self.exceeded_targets),
            ),
        ]
    }

    /// Counts a job that is scraped for the first time, or by other rules.
    pub(super) fn note_job(&self, is_new: bool, is_usable: bool) {
        let pools = &self.pools;
        let (begun, failed) = match is_new {
            true => (&pools.created, &pools.failed),
            false => (&pools.reloads, &pools.reloads_failed),
        };
        begun.inc();
        failed.inc_by(u64::from(!is_usable));
    }

    /// Counts what became of a job's targets, and how long computing them took.
    pub(super) fn note_sync(&self, job: &str, found: &JobTargets, took: Duration) {
        let (pools, label) = (&self.pools, of_job(job));
        pools.syncs.get_or_create(&label).inc();
        pools.syncs_failed.get_or_create(&label).inc_by(found.problems.len() as u64);
        pools.sync_lengths.get_or_create(&label).observe(took.as_secs_f64());
        let exceeded = u64::from(found.limit_exceeded.is_some());
        self.exceeded_targets.fetch_add(exceeded, Ordering::Relaxed);
    }

    /// Says how many targets of each job this node scrapes, and how many there may be in all.
    pub(super) fn note_targets(&self, jobs: &BTreeMap<&str, (usize, u64)>) {
        self.pools.targets.clear();
        self.pools.target_limits.clear();
        for (job, (targets, limit)) in jobs {
            let label = of_job(job);
            self.pools.targets.get_or_create(&label).set(*targets as i64);
            self.pools.target_limits.get_or_create(&label).set(*limit as i64);
        }
    }

    /// Where to note the time from one scrape to the next, of targets with this interval.
    pub(super) fn interval_lengths(&self, interval: Duration) -> Histogram {
        let label = [("interval", duration::format(interval))];
        self.pools.interval_lengths.get_or_create(&label).clone()
    }

    pub(super) fn note_skipped(&self, skipped: Skipped) {
        self.skipped_busy.store(skipped.busy, Ordering::Relaxed);
        self.skipped_late.store(skipped.late, Ordering::Relaxed);
    }

    pub(super) fn note_scrape(&self, ended: &Ended) {
        let result = if ended.error.is_empty() { &self.up } else { &self.down };
        result.fetch_add(1, Ordering::Relaxed);
        self.samples_out_of_bounds.fetch_add(ended.samples_ahead, Ordering::Relaxed);
        match ended.exceeded {
            Some(Exceeded::BodySize) => self.exceeded_body_size.fetch_add(1, Ordering::Relaxed),
            Some(Exceeded::Samples) => self.exceeded_samples.fetch_add(1, Ordering::Relaxed),
            Some(Exceeded::Labels) => self.exceeded_labels.fetch_add(1, Ordering::Relaxed),
            None => 0,
        };
        let lost = match &ended.submitted {
            Ok(left_out) => return self.note_left_out(left_out),
            Err(SubmitError::NotLeader(_)) => &self.lost_not_leader,
            Err(SubmitError::Busy(_)) => &self.lost_busy,
            Err(SubmitError::TooLarge(_) | SubmitError::Refused(_)) => &self.lost_refused,
        };
        lost.fetch_add(1, Ordering::Relaxed);
    }

    fn note_left_out(&self, left_out: &LeftOut) {
        self.samples_out_of_order.fetch_add(left_out.out_of_order, Ordering::Relaxed);
        self.samples_duplicate.fetch_add(left_out.duplicate, Ordering::Relaxed);
        self.samples_out_of_bounds.fetch_add(left_out.out_of_bounds, Ordering::Relaxed);
        self.samples_series_limit.fetch_add(left_out.series_limit, Ordering::Relaxed);
        self.samples_other.fetch_add(left_out.other, Ordering::Relaxed);
    }
}
