//! What a rule makes of what its expression answers: samples to store, and alerts.
//!
//! Invariants
//! * a series that a rule stored and does not store again gets a staleness marker, once;
//! * an evaluation that fails changes nothing: the series and alerts of the one before stay, but
//!   for a broken limit, which clears the alerts;
//! * an alert fires no sooner than `hold` after its series was first seen, without a gap.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use narthex_model::{Labels, METRIC_NAME, Timestamp, stale_nan};
use narthex_promql::{Sample, VectorElement};

use crate::{Expansion, Rule, RuleGroup, RuleKind, expansion::Subject, file::Alerting};

/// The label that names an alert.
pub const ALERT_NAME: &str = "alertname";
/// The label of `ALERTS` that tells a state.
const ALERT_STATE: &str = "alertstate";
/// The metric of active alerts.
const ALERTS: &str = "ALERTS";
/// The metric of when alerts became active.
const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";
/// The metrics that alerts are stored as.
pub(crate) const ALERT_METRICS: [&str; 2] = [ALERTS, ALERTS_FOR_STATE];

/// How long an alert that is over is kept, to be sent as resolved.
const RESOLVED_RETENTION: Duration = Duration::from_secs(15 * 60);

/// Why a rule has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Distinguish the series by a label that the rule does not overwrite.
    #[error("vector contains metrics with the same labelset after applying {what} labels")]
    SameLabels {
        /// `rule` or `alert`.
        what: &'static str,
    },
    /// Raise the group's limit, or narrow the expression.
    #[error("exceeded limit of {limit} with {found} {what}")]
    Limit {
        /// The group's.
        limit: usize,
        /// More.
        found: usize,
        /// `series` or `alerts`.
        what: &'static str,
    },
}

/// Where an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertState {
    /// Over; kept for a while to be sent as resolved.
    Inactive,
    /// Its series is there, but not for long enough.
    Pending,
    /// Somebody should know.
    Firing,
}

impl AlertState {
    /// The value of `alertstate`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// An alert.
#[derive(Debug, Clone)]
pub struct Alert {
    /// Where it stands.
    pub state: AlertState,
    /// Templates expanded, `alertname` included: its identity.
    pub labels: Labels,
    /// Templates expanded; unlike a label, an annotation may be empty.
    pub annotations: BTreeMap<String, String>,
    /// The value of its series, when that was last there.
    pub value: Sample,
    /// When its series was first seen.
    pub active_at: Timestamp,
    /// When it began to fire.
    pub fired_at: Option<Timestamp>,
    /// When its series was gone and it had fired for as long as it must.
    pub resolved_at: Option<Timestamp>,
    /// Since when it fires without its series.
    pub keeps_firing_since: Option<Timestamp>,
}

/// What is remembered of one rule between its evaluations.
#[derive(Debug, Clone, Default)]
pub struct RuleState {
    /// What the last successful evaluation stored.
    stored: BTreeSet<Labels>,
    alerts: BTreeMap<Labels, Alert>,
}

impl RuleState {
    /// A state with these alerts that has stored nothing.
    pub fn of_alerts(alerts: impl IntoIterator<Item = Alert>) -> Self {
        let alerts = alerts.into_iter().map(|alert| (alert.labels.clone(), alert)).collect();
        Self { stored: BTreeSet::new(), alerts }
    }

    /// All alerts, those too that are over and still to be told so, in order of their labels.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values()
    }

    /// Alerts that are pending or firing, in order of their labels.
    pub fn active_alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values().filter(|alert| alert.state != AlertState::Inactive)
    }

    /// What is to be stored, staleness markers last, once the rule's expression has answered.
    pub fn evaluate(
        &mut self,
        group: &RuleGroup,
        rule: &Rule,
        answer: Vec<VectorElement>,
        expansion: &Expansion<'_>,
    ) -> Result<Vec<(Labels, Sample)>, RuleError> {
        let mut samples = self.answered(group, rule, answer, expansion)?;
        let stored = samples.iter().map(|(labels, _)| labels.clone()).collect();
        let before = std::mem::replace(&mut self.stored, stored);
        let gone = before.difference(&self.stored).cloned();
        samples.extend(gone.map(|labels| (labels, Sample::Float(stale_nan()))));
        Ok(samples)
    }

    /// The same without staleness markers, for whoever knows by other means what was stored.
    pub fn answered(
        &mut self,
        group: &RuleGroup,
        rule: &Rule,
        answer: Vec<VectorElement>,
        expansion: &Expansion<'_>,
    ) -> Result<Vec<(Labels, Sample)>, RuleError> {
        match &rule.kind {
            RuleKind::Recording => recorded(group, rule, answer),
            RuleKind::Alerting(alerting) => {
                let found = found_alerts(rule, alerting, answer, expansion)?;
                self.step(found, alerting, expansion.time);
                self.check_limit(group.limit)?;
                Ok(self.alert_samples())
            }
        }
    }

    /// Moves every alert on, given those whose series are there.
    fn step(&mut self, found: BTreeMap<Labels, Alert>, alerting: &Alerting, now: Timestamp) {
        let gone: Vec<Labels> =
            self.alerts.keys().filter(|labels| !found.contains_key(*labels)).cloned().collect();
        for (labels, fresh) in found {
            let alert = self.alerts.entry(labels).or_insert_with(|| fresh.clone());
            if alert.state == AlertState::Inactive {
                *alert = fresh;
            } else {
                alert.value = fresh.value;
                alert.annotations = fresh.annotations;
            }
            alert.keeps_firing_since = None;
            alert.fire_if_due(alerting.hold, now);
        }
        for labels in gone {
            let Some(alert) = self.alerts.get_mut(&labels) else { continue };
            if !alert.outlives_its_series(alerting.keep_firing, now) {
                self.alerts.remove(&labels);
            }
        }
    }

    fn check_limit(&mut self, limit: usize) -> Result<(), RuleError> {
        let found = self.active_alerts().count();
        if limit == 0 || found <= limit {
            return Ok(());
        }
        self.alerts.clear();
        Err(RuleError::Limit { limit, found, what: "alerts" })
    }

    /// The two series of each active alert.
    fn alert_samples(&self) -> Vec<(Labels, Sample)> {
        let mut samples = Vec::new();
        for alert in self.active_alerts() {
            let mut labels = alert.labels.to_builder();
            labels.set(METRIC_NAME, ALERTS_FOR_STATE);
            let since = alert.active_at.millis().div_euclid(1000) as f64;
            samples.push((labels.build(), Sample::Float(since)));
            labels.set(METRIC_NAME, ALERTS).set(ALERT_STATE, alert.state.name());
            samples.push((labels.build(), Sample::Float(1.0)));
        }
        samples
    }
}

impl Alert {
    fn fire_if_due(&mut self, hold: Duration, now: Timestamp) {
        if self.state == AlertState::Pending && now >= self.active_at + hold {
            self.state = AlertState::Firing;
            self.fired_at = Some(now);
        }
    }

    /// What becomes of an alert whose series is gone; `false` if it is to be forgotten.
    fn outlives_its_series(&mut self, keep_firing: Duration, now: Timestamp) -> bool {
        match self.state {
            AlertState::Pending => false,
            AlertState::Firing => {
                let since = *self.keeps_firing_since.get_or_insert(now);
                if keep_firing.is_zero() || now >= since + keep_firing {
                    self.state = AlertState::Inactive;
                    self.resolved_at = Some(now);
                }
                true
            }
            AlertState::Inactive => {
                self.resolved_at.is_some_and(|resolved| now <= resolved + RESOLVED_RETENTION)
            }
        }
    }
}

/// The answer under the rule's name, with its labels.
fn recorded(
    group: &RuleGroup,
    rule: &Rule,
    answer: Vec<VectorElement>,
) -> Result<Vec<(Labels, Sample)>, RuleError> {
    let mut seen = BTreeSet::new();
    let mut samples = Vec::with_capacity(answer.len());
    for element in answer {
        let mut labels = element.labels.to_builder();
        labels.set(METRIC_NAME, rule.name.as_str());
        for (name, value) in &rule.labels {
            labels.set(name, value.as_str());
        }
        let labels = labels.build();
        if !seen.insert(labels.clone()) {
            return Err(RuleError::SameLabels { what: "rule" });
        }
        samples.push((labels, element.sample));
    }
    if group.limit > 0 && samples.len() > group.limit {
        let (limit, found) = (group.limit, samples.len());
        return Err(RuleError::Limit { limit, found, what: "series" });
    }
    Ok(samples)
}

/// The alerts of an answer, as if each were seen for the first time.
fn found_alerts(
    rule: &Rule,
    alerting: &Alerting,
    answer: Vec<VectorElement>,
    expansion: &Expansion<'_>,
) -> Result<BTreeMap<Labels, Alert>, RuleError> {
    let mut found = BTreeMap::new();
    for element in answer {
        let subject = Subject::new(expansion, &element.labels, &element.sample);
        let mut labels = element.labels.to_builder();
        labels.remove(METRIC_NAME);
        for (name, template) in &alerting.labels {
            labels.set(name, subject.expand(template));
        }
        labels.set(ALERT_NAME, rule.name.as_str());
        let labels = labels.build();
        let annotations = alerting
            .annotations
            .iter()
            .map(|(name, template)| (name.clone(), subject.expand(template)));
        let alert = Alert {
            state: AlertState::Pending,
            labels: labels.clone(),
            annotations: annotations.collect(),
            value: element.sample,
            active_at: expansion.time,
            fired_at: None,
            resolved_at: None,
            keeps_firing_since: None,
        };
        if found.insert(labels, alert).is_some() {
            return Err(RuleError::SameLabels { what: "alert" });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
