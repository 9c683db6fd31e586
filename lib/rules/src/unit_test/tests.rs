use narthex_promql::ParseOptions;

use super::*;
use crate::{RuleFile, RuleGroup};

const RULES: &str = "
groups:
- name: alerts
  rules:
  - alert: InstanceDown
    expr: up == 0
    for: 5m
    labels: {severity: page}
    annotations:
      summary: 'Instance {{ $labels.instance }} down'
      zone: '{{ $externalLabels.zone }} {{ externalURL }}'
- name: records
  rules:
  - {record: 'job:up:sum', expr: sum by (job) (up)}
  - {record: 'job:up:twice', expr: 'job:up:sum * 2'}
";

const SERIES: &str = "
  input_series:
  - {series: 'up{job=\"p\", instance=\"a:1\"}', values: '0x15'}
  - {series: 'up{job=\"n\", instance=\"b:2\"}', values: '1x6 0x8'}
";

fn groups(text: &str) -> Vec<RuleGroup> {
    RuleFile::parse(text, &ParseOptions::default()).expect("valid rules").groups
}

/// What fails in the tests of a file.
fn failures(rules: &str, text: &str) -> Vec<String> {
    let file = TestFile::parse(text).unwrap_or_else(|problem| panic!("{problem}"));
    let options = TestOptions { parse: ParseOptions::default(), delayed_name_removal: false };
    let groups = groups(rules);
    file.tests.iter().flat_map(|test| run(test, &file, &groups, &options)).collect()
}

/// A file with one test on [`SERIES`], every minute.
fn file(cases: &str) -> String {
    format!("rule_files: [r.yml]\ntests:\n- interval: 1m{SERIES}{cases}")
}

fn none() -> Vec<String> {
    Vec::new()
}

#[test]
fn alerts_fire_and_expressions_answer_at_their_times() {
    let cases = "
  external_labels: {zone: eu}
  external_url: https://n.example
  alert_rule_test:
  - {eval_time: 4m, alertname: InstanceDown}
  - eval_time: 10m
    alertname: InstanceDown
    exp_alerts:
    - exp_labels: {severity: page, instance: 'a:1', job: p}
      exp_annotations: {summary: 'Instance a:1 down', zone: eu https://n.example}
  - {eval_time: 10m, alertname: Other}
  promql_expr_test:
  - expr: up > 0
    eval_time: 4m30s
    exp_samples:
    - {labels: 'up{job=\"n\",instance=\"b:2\"}', value: 1}
  - expr: job:up:twice
    eval_time: 5m
    exp_samples:
    - {labels: 'job:up:twice{job=\"p\"}', value: 0}
    - {labels: 'job:up:twice{job=\"n\"}', value: 2}
  - expr: ALERTS
    eval_time: 2m
    exp_samples:
    - labels: 'ALERTS{alertname=\"InstanceDown\",alertstate=\"pending\",instance=\"a:1\",job=\"p\",severity=\"page\"}'
      value: 1
  - {expr: time(), eval_time: 5m, exp_samples: [{labels: '{}', value: 300}]}
  - {expr: 0 / 0, eval_time: 5m, exp_samples: [{value: .nan}]}
";
    assert_eq!(failures(RULES, &file(cases)), none());
}

#[test]
fn what_differs_is_shown_as_by_promtool() {
    let cases = "
  name: first
  alert_rule_test:
  - {eval_time: 10m, alertname: InstanceDown}
  promql_expr_test:
  - expr: sum(up)
    eval_time: 1m
    exp_samples: [{labels: 'x{a=\"b\"}', value: 50}]
";
    let found = failures(RULES, &file(cases));
    assert_eq!(found.len(), 2, "{found:?}");
    let alert = "    name: first,
    alertname: InstanceDown, time: 10m, 
        exp:[], 
        got:[
            0:
              Labels:{alertname=\"InstanceDown\", instance=\"a:1\", job=\"p\", severity=\"page\"}
              Annotations:{summary=\"Instance a:1 down\", zone=\" \"}
            ]";
    assert_eq!(found[0], alert);
    let expr = "    expr: \"sum(up)\", time: 1m,
        exp: {__name__=\"x\", a=\"b\"} 5E+01
        got: {} 1E+00";
    assert_eq!(found[1], expr);
}

#[test]
fn a_rule_that_fails_ends_the_test() {
    let rules =
        "groups: [{name: g, rules: [{record: r, expr: 'sum by (job) (up)', labels: {job: x}}]}]";
    let found = failures(rules, &file("  promql_expr_test: [{expr: '1', eval_time: 2m}]\n"));
    let error = "vector contains metrics with the same labelset after applying rule labels";
    assert_eq!(found, [format!("    rule: r, time: 0s, err: {error}")]);
}

#[test]
fn groups_are_evaluated_in_the_order_asked_for() {
    let rules = "
groups:
- {name: second, rules: [{record: b, expr: a + 1}]}
- {name: first, rules: [{record: a, expr: vector(1)}]}
";
    let cases = "tests: [{promql_expr_test: [{expr: b, eval_time: 0s, exp_samples: [{labels: b, value: 2}]}]}]";
    assert_eq!(failures(rules, cases).len(), 1);
    let ordered = format!("group_eval_order: [first, second]\n{cases}");
    assert_eq!(failures(rules, &ordered), none());
}

#[test]
fn a_series_that_a_rule_no_longer_has_ends() {
    let rules = "groups: [{name: g, rules: [{record: r, expr: up == 1}]}]";
    let cases = "
  promql_expr_test:
  - {expr: count(r), eval_time: 6m, exp_samples: [{value: 1}]}
  - {expr: count(r), eval_time: 7m}
";
    assert_eq!(failures(rules, &file(cases)), none());
}

#[test]
fn a_test_may_start_later_and_compare_loosely() {
    let text = "
fuzzy_compare: true
evaluation_interval: 30s
tests:
- start_timestamp: 2026-01-01T00:00:00Z
  input_series: [{series: a, values: '0.1+0.2x2 {{sum:1 count:2}}'}]
  promql_expr_test:
  - {expr: timestamp(a), eval_time: 30s, exp_samples: [{value: 1767225630}]}
  - {expr: a, eval_time: 30s, exp_samples: [{labels: a, value: 0.3}]}
  - {expr: a, eval_time: 90s, exp_samples: [{labels: a, histogram: '{{sum:1 count:2}}'}]}
";
    assert_eq!(failures("", text), none());
    assert_eq!(failures("", &text.replace("fuzzy_compare: true", "")).len(), 1);
}

#[test]
fn files_are_read_strictly() {
    let problem = |text: &str| TestFile::parse(text).expect_err(text).to_string();
    assert_eq!(problem("test: []"), "line 1: field test not found in type main.unitTestFile");
    assert_eq!(
        problem("tests:\n- alert_rule_test: [{alert: A}]"),
        "line 2: field alert not found in type main.alertTestCase"
    );
    let unnamed = problem("tests: [{name: x, alert_rule_test: [{eval_time: 1m}]}]");
    assert!(unnamed.ends_with("alertname at eval_time 1m (in TestGroup x)"), "{unnamed}");
    let twice = problem("group_eval_order: [a, a]");
    assert_eq!(twice, "group name repeated in evaluation order: a");
    assert!(problem("tests: [{start_timestamp: noon}]").contains("\"noon\""));
    let found = failures("", "tests: [{input_series: [{series: a, values: x}], name: n}]");
    assert_eq!(found, ["    a number is expected: x (in TestGroup n)"]);
}
