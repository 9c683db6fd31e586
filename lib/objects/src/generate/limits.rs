//! Limits of a job: what a monitor asks for, and what its `Prometheus` allows.

use serde_json::Value;

use super::Config;
use crate::types::{Limits, PrometheusSpec};

/// Puts the limits into a job's configuration.
pub(super) fn put(config: &mut Config, own: &Limits, spec: &PrometheusSpec) {
    let general = &spec.limits;
    let counts = [
        ("sample_limit", own.sample_limit, general.sample_limit, spec.enforced_sample_limit),
        ("target_limit", own.target_limit, general.target_limit, spec.enforced_target_limit),
        ("label_limit", own.label_limit, general.label_limit, spec.enforced_label_limit),
        (
            "label_name_length_limit",
            own.label_name_length_limit,
            general.label_name_length_limit,
            spec.enforced_label_name_length_limit,
        ),
        (
            "label_value_length_limit",
            own.label_value_length_limit,
            general.label_value_length_limit,
            spec.enforced_label_value_length_limit,
        ),
        (
            "keep_dropped_targets",
            own.keep_dropped_targets,
            general.keep_dropped_targets,
            spec.enforced_keep_dropped_targets,
        ),
    ];
    for (name, own, general, enforced) in counts {
        if let Some(limit) = lower(own.or(general), enforced) {
            config.insert(name, limit.into());
        }
    }
    let size = |text: &str| narthex_yaml::decode::parse_byte_size(text).ok();
    let own = size(&own.body_size_limit).or_else(|| size(&general.body_size_limit));
    if let Some(limit) = lower(own, size(&spec.enforced_body_size_limit)) {
        config.insert("body_size_limit", Value::String(format!("{limit}B")));
    }
}

/// The lower of both; 0 is no limit.
fn lower(asked: Option<u64>, enforced: Option<u64>) -> Option<u64> {
    let given = |limit: Option<u64>| limit.filter(|limit| *limit > 0);
    match (given(asked), given(enforced)) {
        (Some(asked), Some(enforced)) => Some(asked.min(enforced)),
        (asked, enforced) => asked.or(enforced),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_limit_counts_and_none_inherits() {
        assert_eq!(lower(Some(5), None), Some(5));
        assert_eq!(lower(Some(5), Some(3)), Some(3));
        assert_eq!(lower(Some(2), Some(3)), Some(2));
        assert_eq!(lower(None, Some(3)), Some(3));
        assert_eq!(lower(Some(0), Some(3)), Some(3), "0 is no limit, and cannot be had");
        assert_eq!(lower(None, None), None);
    }
}
