//! The series that every scrape gives about itself.

use std::{sync::Arc, time::Duration};

use narthex_model::{Labels, METRIC_NAME, Timestamp};

use super::command::{ScrapedSample, ScrapedSeries};

const NAMES: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

/// What a scrape says about itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// The page was fetched, read and within all limits.
    pub is_up: bool,
    /// From the request to the last byte, and reading it.
    pub duration: Duration,
    /// Samples on the page.
    pub scraped: u64,
    /// Samples that relabelling left.
    pub kept: u64,
    /// Series that the last page did not have.
    pub added: u64,
}

/// The report's series of one target. Metric relabelling and limits do not apply to them.
#[derive(Debug, Clone)]
pub struct ReportSeries([Arc<ScrapedSeries>; 5]);

impl ReportSeries {
    /// The series of a target with these labels.
    pub fn new(target_labels: &Labels) -> Self {
        Self(NAMES.map(|name| {
            let labels = target_labels.to_builder().set(METRIC_NAME, name).build();
            Arc::new(ScrapedSeries::new(labels, true))
        }))
    }

    /// The report as samples.
    pub fn samples(&self, report: &Report, timestamp: Timestamp) -> [ScrapedSample; 5] {
        let values = [
            f64::from(u8::from(report.is_up)),
            report.duration.as_secs_f64(),
            report.scraped as f64,
            report.kept as f64,
            report.added as f64,
        ];
        std::array::from_fn(|at| ScrapedSample::new(self.0[at].clone(), timestamp, values[at]))
    }
}
