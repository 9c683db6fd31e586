//! What a node says of its rule groups to the other processes.

use narthex_model::{Labels, Timestamp};
use narthex_promql::Sample;
use narthex_proto::internal::v1::{
    AlertStatus, AlertmanagersResponse, LabelPair, RuleGroupStatus, RuleStatus as Told,
};
use narthex_rules::{Alert, AlertState, Rule, RuleKind};

use super::{evaluation::RuleStatus, notify::Managers, state::RuleMemory, task::ShownGroup};

/// A group with its rules and their alerts.
pub(crate) fn group_status(shown: &ShownGroup, excludes_alerts: bool) -> RuleGroupStatus {
    let group = &shown.group;
    let rules = group.group.rules.iter().zip(&group.keys).map(|(rule, key)| {
        let (memory, status) = (shown.rules.get(key), shown.statuses.get(key));
        rule_status(rule, memory.map(|memory| &**memory), status, excludes_alerts)
    });
    RuleGroupStatus {
        file: group.file.clone(),
        name: group.group.name.clone(),
        interval_seconds: group.interval.as_secs_f64(),
        limit: group.group.limit as u64,
        last_evaluation_ms: millis(shown.evaluated),
        evaluation_seconds: shown.took.as_secs_f64(),
        rules: rules.collect(),
    }
}

fn rule_status(
    rule: &Rule,
    memory: Option<&RuleMemory>,
    status: Option<&RuleStatus>,
    excludes_alerts: bool,
) -> Told {
    let evaluated = status.and_then(|status| status.evaluated);
    let mut told = Told {
        name: rule.name.clone(),
        query: rule.expr.to_string(),
        labels: pairs(rule.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
        health: match status {
            Some(status) if !status.error.is_empty() => "err",
            Some(_) if evaluated.is_some() => "ok",
            _ => "unknown",
        }
        .to_owned(),
        last_error: status.map(|status| status.error.clone()).unwrap_or_default(),
        last_evaluation_ms: millis(evaluated),
        evaluation_seconds: status.map_or(0.0, |status| status.took.as_secs_f64()),
        ..Told::default()
    };
    let RuleKind::Alerting(alerting) = &rule.kind else { return told };
    told.is_alerting = true;
    let annotations = alerting.written_annotations.iter();
    told.annotations = pairs(annotations.map(|(name, value)| (name.as_str(), value.as_str())));
    told.hold_seconds = alerting.hold.as_secs_f64();
    told.keep_firing_seconds = alerting.keep_firing.as_secs_f64();
    let active = || memory.into_iter().flat_map(|memory| memory.alerts.active_alerts());
    let fires = active().any(|alert| alert.state == AlertState::Firing);
    told.state = match (fires, active().next().is_some()) {
        (true, _) => AlertState::Firing,
        (false, true) => AlertState::Pending,
        (false, false) => AlertState::Inactive,
    }
    .name()
    .to_owned();
    told.unconfirmed_since_ms = millis(memory.and_then(|memory| memory.unconfirmed_since));
    if !excludes_alerts {
        told.alerts = active().map(alert_status).collect();
    }
    told
}

fn alert_status(alert: &Alert) -> AlertStatus {
    let annotations = alert.annotations.iter();
    AlertStatus {
        labels: label_pairs(&alert.labels),
        annotations: pairs(annotations.map(|(name, value)| (name.as_str(), value.as_str()))),
        state: alert.state.name().to_owned(),
        active_at_ms: alert.active_at.millis(),
        keep_firing_since_ms: millis(alert.keeps_firing_since),
        value: match &alert.value {
            Sample::Float(value) => exponential(*value),
            Sample::Histogram(histogram) => histogram.to_string(),
        },
    }
}

/// Where alerts are sent.
pub(crate) fn alertmanagers(managers: Managers) -> AlertmanagersResponse {
    AlertmanagersResponse { active_urls: managers.active, dropped_urls: managers.dropped }
}

/// A number as Go's format `e` has it: the shortest digits, an exponent of at least two.
fn exponential(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

fn millis(time: Option<Timestamp>) -> i64 {
    time.map_or(0, Timestamp::millis)
}

fn label_pairs(labels: &Labels) -> Vec<LabelPair> {
    pairs(labels.iter())
}

fn pairs<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<LabelPair> {
    let pair =
        |(name, value): (&str, &str)| LabelPair { name: name.to_owned(), value: value.to_owned() };
    labels.map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_go_prints_them() {
        let cases = [
            (1.0, "1e+00"),
            (0.0, "0e+00"),
            (-1234.5, "-1.2345e+03"),
            (1e-7, "1e-07"),
            (1e300, "1e+300"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ];
        for (value, expected) in cases {
            assert_eq!(exponential(value), expected);
        }
    }
}
