//! What scraping counts about itself.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{attempt::Ended, command::SubmitError, core::Skipped};

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
    samples_ahead: AtomicU64,
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
            ("narthex_node_scrape_samples_refused_total", "ahead", count(&self.samples_ahead)),
        ]
    }

    pub(super) fn note_skipped(&self, skipped: Skipped) {
        self.skipped_busy.store(skipped.busy, Ordering::Relaxed);
        self.skipped_late.store(skipped.late, Ordering::Relaxed);
    }

    pub(super) fn note_scrape(&self, ended: &Ended) {
        let result = if ended.error.is_empty() { &self.up } else { &self.down };
        result.fetch_add(1, Ordering::Relaxed);
        self.samples_ahead.fetch_add(ended.samples_ahead, Ordering::Relaxed);
        let lost = match &ended.submitted {
            Ok(()) => return,
            Err(SubmitError::NotLeader(_)) => &self.lost_not_leader,
            Err(SubmitError::Busy(_)) => &self.lost_busy,
            Err(SubmitError::Refused(_)) => &self.lost_refused,
        };
        lost.fetch_add(1, Ordering::Relaxed);
    }
}
