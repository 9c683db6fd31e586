//! What the other processes are told of scrape targets.

use narthex_model::{Labels, Timestamp, duration};
use narthex_proto::internal::v1 as internal;

use crate::scrape::{DroppedTarget, TargetStatus};

/// A target that is scraped.
pub(super) fn active_target(status: &TargetStatus) -> internal::Target {
    let target = &status.target;
    internal::Target {
        discovered_labels: pairs(&target.discovered),
        labels: pairs(&target.labels),
        scrape_pool: target.job_name.clone(),
        scrape_url: target.url.clone(),
        global_url: target.url.clone(),
        last_error: status.last_error.clone(),
        last_scrape_ms: status.last_scrape.map_or(0, Timestamp::millis),
        last_scrape_duration_seconds: status.last_duration.as_secs_f64(),
        health: status.health.as_str().to_owned(),
        scrape_interval: duration::format(target.interval),
        scrape_timeout: duration::format(target.timeout),
    }
}

/// A target that relabelling dropped.
pub(super) fn dropped_target(target: &DroppedTarget) -> internal::DroppedTarget {
    internal::DroppedTarget {
        discovered_labels: pairs(&target.discovered),
        scrape_pool: target.job_name.clone(),
    }
}

fn pairs(labels: &Labels) -> Vec<internal::LabelPair> {
    let pair = |(name, value): (&str, &str)| internal::LabelPair {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    labels.iter().map(pair).collect()
}
