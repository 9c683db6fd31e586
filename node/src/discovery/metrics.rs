//! What discovery counts, under Prometheus's names.

use std::time::Duration;

use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use super::{Discovered, FileGroups};

/// What the discovered things are for: targets of scrapes, as opposed to Alertmanagers.
const SCRAPE: &str = "scrape";

type Label = [(&'static str, String); 1];
type Labels = [(&'static str, String); 2];

/// Counters since the process started.
#[derive(Debug)]
pub struct DiscoveryMetrics {
    targets: Family<Labels, Gauge>,
    updates: Family<Label, Counter>,
    failures: Family<Labels, Counter>,
    read_errors: Counter,
    scans: Histogram,
    modified: Family<Label, Gauge>,
}

impl Default for DiscoveryMetrics {
    fn default() -> Self {
        Self {
            targets: Family::default(),
            updates: Family::default(),
            failures: Family::default(),
            read_errors: Counter::default(),
            scans: Histogram::new(exponential_buckets(1e-4, 4.0, 9)),
            modified: Family::default(),
        }
    }
}

impl DiscoveryMetrics {
    /// Puts everything into `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Targets that discovery has found";
        registry.register("prometheus_sd_discovered_targets", help, self.targets.clone());
        let help = "Times that what is known of targets was told";
        registry.register("prometheus_sd_updates", help, self.updates.clone());
        let help = "Times that a source of targets could not be read";
        registry.register("prometheus_sd_refresh_failures", help, self.failures.clone());
        let help = "Discovery files that could not be read";
        registry.register("prometheus_sd_file_read_errors", help, self.read_errors.clone());
        let help = "How long looking at all discovery files took, in seconds";
        registry.register("prometheus_sd_file_scan_duration_seconds", help, self.scans.clone());
        let help = "When a discovery file was last written, in seconds since 1970";
        registry.register("prometheus_sd_file_mtime_seconds", help, self.modified.clone());
    }

    /// Counts what is told from here on.
    pub(super) fn note_update(&self, found: &Discovered) {
        self.updates.get_or_create(&[("name", SCRAPE.to_owned())]).inc();
        self.targets.clear();
        for (job, groups) in found {
            let targets: usize = groups.groups.iter().map(|group| group.targets.len()).sum();
            let labels = [("name", SCRAPE.to_owned()), ("config", job.clone())];
            self.targets.get_or_create(&labels).set(targets as i64);
        }
    }

    /// Counts a look at the files of all jobs.
    pub(super) fn note_scan<'a>(
        &self,
        jobs: impl Iterator<Item = (&'a str, &'a [FileGroups])>,
        took: Duration,
    ) {
        self.modified.clear();
        let mut has_files = false;
        for (job, files) in jobs.filter(|(_, files)| !files.is_empty()) {
            has_files = true;
            let errors: u64 = files.iter().map(FileGroups::read_errors).sum();
            let labels = [("mechanism", "file".to_owned()), ("config", job.to_owned())];
            let failures = self.failures.get_or_create(&labels);
            failures.inc_by(errors);
            self.read_errors.inc_by(errors);
            for (path, modified) in files.iter().flat_map(FileGroups::modified) {
                let label = [("filename", path.display().to_string())];
                self.modified.get_or_create(&label).set(modified);
            }
        }
        if has_files {
            self.scans.observe(took.as_secs_f64());
        }
    }
}
