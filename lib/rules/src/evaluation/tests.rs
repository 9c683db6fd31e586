use narthex_model::is_stale;
use narthex_promql::ParseOptions;
use proptest::prelude::*;

use super::*;
use crate::{Queries, RuleFile};

struct Nothing;

impl Queries for Nothing {
    fn query(&self, _query: &str, _time: Timestamp) -> Result<Vec<VectorElement>, String> {
        Ok(Vec::new())
    }
}

/// A group with one rule, and what it remembers.
struct Fixture {
    group: RuleGroup,
    state: RuleState,
}

impl Fixture {
    fn new(group_keys: &str, rule_keys: &str) -> Self {
        let text =
            format!("groups: [{{name: g, {group_keys} rules: [{{expr: up, {rule_keys}}}]}}]");
        let file = RuleFile::parse(&text, &ParseOptions::default());
        let file = file.unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
        let group = file.groups.into_iter().next().expect("one group");
        Self { group, state: RuleState::default() }
    }

    /// Evaluates at that second, with a series for each of the instances.
    fn at(&mut self, second: i64, instances: &[&str]) -> Result<Vec<String>, RuleError> {
        let time = Timestamp::from_millis(second * 1000);
        let answer = instances.iter().map(|instance| VectorElement {
            labels: Labels::from_pairs([("__name__", "up"), ("i", *instance)]).expect("valid"),
            timestamp: time,
            sample: Sample::Float(7.0),
        });
        let external_labels = BTreeMap::new();
        let expansion = Expansion {
            time,
            external_labels: &external_labels,
            external_url: "",
            queries: &Nothing,
        };
        let rule = &self.group.rules[0];
        let samples = self.state.evaluate(&self.group, rule, answer.collect(), &expansion)?;
        Ok(samples.iter().map(|(labels, sample)| printed(labels, sample)).collect())
    }

    fn states(&self) -> Vec<&'static str> {
        self.state.active_alerts().map(|alert| alert.state.name()).collect()
    }
}

fn printed(labels: &Labels, sample: &Sample) -> String {
    let name = labels.metric_name().unwrap_or_default();
    let labels = labels.without_metric_name();
    match sample {
        Sample::Float(value) if is_stale(*value) => format!("{name}{labels} stale"),
        Sample::Float(value) => format!("{name}{labels} {value}"),
        Sample::Histogram(histogram) => format!("{name}{labels} {histogram}"),
    }
}

#[test]
fn a_recording_rule_names_and_labels_its_series() {
    let mut rule = Fixture::new("", "record: r, labels: {a: x}");
    assert_eq!(rule.at(0, &["1"]).unwrap(), [r#"r{a="x", i="1"} 7"#]);
    let mut rule = Fixture::new("", "record: r, labels: {i: x}");
    assert_eq!(rule.at(0, &["1", "2"]), Err(RuleError::SameLabels { what: "rule" }));
    let mut rule = Fixture::new("limit: 1,", "record: r");
    let broken = RuleError::Limit { limit: 1, found: 2, what: "series" };
    assert_eq!(rule.at(0, &["1", "2"]), Err(broken));
}

#[test]
fn what_is_not_stored_again_is_marked_stale_once() {
    let mut rule = Fixture::new("", "record: r");
    rule.at(0, &["1", "2"]).unwrap();
    assert_eq!(rule.at(1, &["2"]).unwrap(), [r#"r{i="2"} 7"#, r#"r{i="1"} stale"#]);
    assert_eq!(rule.at(2, &["2"]).unwrap(), [r#"r{i="2"} 7"#]);
}

#[test]
fn an_alert_waits_fires_and_ends() {
    let keys =
        "alert: A, for: 10s, labels: {v: '{{ $value }}'}, annotations: {s: 'on {{ $labels.i }}'}";
    let mut rule = Fixture::new("", keys);
    assert_eq!(
        rule.at(100, &["1"]).unwrap(),
        [
            r#"ALERTS_FOR_STATE{alertname="A", i="1", v="7"} 100"#,
            r#"ALERTS{alertname="A", alertstate="pending", i="1", v="7"} 1"#,
        ]
    );
    rule.at(109, &["1"]).unwrap();
    assert_eq!(rule.states(), ["pending"]);
    let samples = rule.at(110, &["1"]).unwrap();
    assert_eq!(samples[0], r#"ALERTS_FOR_STATE{alertname="A", i="1", v="7"} 100"#);
    assert_eq!(samples[2], r#"ALERTS{alertname="A", alertstate="pending", i="1", v="7"} stale"#);
    let alert = rule.state.active_alerts().next().unwrap();
    assert_eq!((alert.state, alert.annotations["s"].as_str()), (AlertState::Firing, "on 1"));
    assert_eq!(rule.at(120, &[]).unwrap().len(), 2);
    assert!(rule.states().is_empty());
    // It begins anew.
    rule.at(130, &["1"]).unwrap();
    assert_eq!(rule.states(), ["pending"]);
}

#[test]
fn an_alert_may_fire_for_longer_than_its_series_is_there() {
    let mut rule = Fixture::new("", "alert: A, keep_firing_for: 20s");
    rule.at(0, &["1"]).unwrap();
    assert_eq!(rule.states(), ["firing"]);
    rule.at(10, &[]).unwrap();
    rule.at(29, &[]).unwrap();
    assert_eq!(rule.states(), ["firing"]);
    rule.at(30, &[]).unwrap();
    assert!(rule.states().is_empty());
    // Back in between, it counts anew.
    rule.at(40, &["1"]).unwrap();
    rule.at(50, &[]).unwrap();
    rule.at(60, &["1"]).unwrap();
    rule.at(70, &[]).unwrap();
    rule.at(89, &[]).unwrap();
    assert_eq!(rule.states(), ["firing"]);
}

#[test]
fn a_gap_resets_what_is_pending() {
    let mut rule = Fixture::new("", "alert: A, for: 10s");
    rule.at(0, &["1"]).unwrap();
    rule.at(5, &[]).unwrap();
    rule.at(10, &["1"]).unwrap();
    assert_eq!(rule.states(), ["pending"]);
}

#[test]
fn a_broken_limit_clears_the_alerts() {
    let mut rule = Fixture::new("limit: 1,", "alert: A");
    rule.at(0, &["1"]).unwrap();
    let broken = RuleError::Limit { limit: 1, found: 2, what: "alerts" };
    assert_eq!(rule.at(1, &["1", "2"]), Err(broken));
    assert!(rule.states().is_empty());
}

#[test]
fn alerts_that_cannot_be_told_apart_are_an_error() {
    let mut rule = Fixture::new("", "alert: A, labels: {i: x}");
    assert_eq!(rule.at(0, &["1", "2"]), Err(RuleError::SameLabels { what: "alert" }));
}

proptest! {
    /// Against the definition: firing if the series was there at every evaluation for `hold`.
    #[test]
    fn an_alert_fires_when_its_series_was_there_for_long_enough(
        present in proptest::collection::vec(any::<bool>(), 1..40),
        hold in 0i64..5,
    ) {
        let mut rule = Fixture::new("", &format!("alert: A, for: {hold}s"));
        let mut since = None;
        for (second, is_there) in (0..).zip(&present) {
            since = if *is_there { since.or(Some(second)) } else { None };
            rule.at(second, if *is_there { &["1"] } else { &[] }).unwrap();
            let expected: &[&str] = match since {
                None => &[],
                Some(since) if second - since >= hold => &["firing"],
                Some(_) => &["pending"],
            };
            prop_assert_eq!(rule.states(), expected);
        }
    }
}
