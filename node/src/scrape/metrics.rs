//! What scraping counts about itself.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{
    attempt::{Ended, Exceeded},
    command::{LeftOut, SubmitError},
    core::Skipped,
    target::JobTargets,
};

/// Counters since the process started.
#[derive(Debug, Default)]
pub struct ScrapeMetrics {
    up: AtomicU64,
    down: AtomicU64,
    skipped_busy: AtomicU64,
    skipped_late: AtomicU64,
    lost_not_leader: AtomicU64,
    lost_busy: AtomicU64,
    lost_refused: AtomicU64,
    samples_other: AtomicU64,
    samples_out_of_order: AtomicU64,
    samples_duplicate: AtomicU64,
    samples_out_of_bounds: AtomicU64,
    exceeded_body_size: AtomicU64,
    exceeded_samples: AtomicU64,
    exceeded_labels: AtomicU64,
    exceeded_targets: AtomicU64,
    syncs_failed: AtomicU64,
}

impl ScrapeMetrics {
    /// `(metric, label value, count)` of every counter, for the page of metrics.
    pub fn counts(&self) -> [(&'static str, &'static str, u64); 8] {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("narthex_node_scrapes_total", "up", count(&self.up)),
            ("narthex_node_scrapes_total", "down", count(&self.down)),
            ("narthex_node_scrapes_skipped_total", "busy", count(&self.skipped_busy)),
            ("narthex_node_scrapes_skipped_total", "late", count(&self.skipped_late)),
            ("narthex_node_scrapes_lost_total", "not_leader", count(&self.lost_not_leader)),
            ("narthex_node_scrapes_lost_total", "busy", count(&self.lost_busy)),
            ("narthex_node_scrapes_lost_total", "refused", count(&self.lost_refused)),
            ("narthex_node_scrape_samples_refused_total", "other", count(&self.samples_other)),
        ]
    }

    /// `(metric without its _total, help, count)` of what Prometheus counts under these names.
    pub fn prometheus_counts(&self) -> [(&'static str, &'static str, u64); 8] {
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
            (
                "prometheus_target_sync_failed",
                "Targets that cannot be scraped, each time that a job's were computed",
                count(&self.syncs_failed),
            ),
        ]
    }

    /// Counts what became of a job's targets.
    pub(super) fn note_sync(&self, found: &JobTargets) {
        self.syncs_failed.fetch_add(found.problems.len() as u64, Ordering::Relaxed);
        let exceeded = u64::from(found.limit_exceeded.is_some());
        self.exceeded_targets.fetch_add(exceeded, Ordering::Relaxed);
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
        self.samples_other.fetch_add(left_out.other, Ordering::Relaxed);
    }
}
