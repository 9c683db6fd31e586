//! Rule files, checked as Prometheus checks them: every problem is reported, not only the first.
//!
//! Invariants
//! * groups of a file have different names, none of which is empty;
//! * every expression and every template of a rule was parsed;
//! * a recording rule has neither annotations nor times of an alert.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use narthex_model::METRIC_NAME;
use narthex_promql::{Expr, ParseOptions, parse};
use narthex_template::Template;
use narthex_yaml::{Fields, Node, Problem, decode};

use crate::expansion;

/// A checked rule file.
#[derive(Debug, Clone)]
pub struct RuleFile {
    /// The groups, in the file's order.
    pub groups: Vec<RuleGroup>,
}

/// Rules that are evaluated one after the other, at the same time of the data.
#[derive(Debug, Clone)]
pub struct RuleGroup {
    /// Unique within the file.
    pub name: String,
    /// Pause between two evaluations; the configuration's where absent.
    pub interval: Option<Duration>,
    /// How far before the time of evaluation queries look; the configuration's where absent.
    pub query_offset: Option<Duration>,
    /// Series, or alerts, that one rule may have; 0 is no limit.
    pub limit: usize,
    /// The rules, in the file's order.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The metric that is recorded, or the alert.
    pub name: String,
    /// The expression as written: places in annotations refer to it.
    pub query: String,
    /// The same, parsed.
    pub expr: Expr,
    /// The group's labels with those of the rule over them. Those of an alert are templates.
    pub labels: BTreeMap<String, String>,
    /// What the rule does with the answer.
    pub kind: RuleKind,
}

/// What a rule does with the answer.
#[derive(Debug, Clone)]
pub enum RuleKind {
    /// Stores it as a metric.
    Recording,
    /// Raises an alert for each of its series.
    Alerting(Box<Alerting>),
}

/// What only alerts have.
#[derive(Debug, Clone)]
pub struct Alerting {
    /// How long a series must be in the answer before its alert fires.
    pub hold: Duration,
    /// How long the alert goes on firing behind that.
    pub keep_firing: Duration,
    /// The labels, as templates.
    pub labels: Vec<(String, Template)>,
    /// Texts for whoever receives the alert.
    pub annotations: Vec<(String, Template)>,
    /// The annotations as written.
    pub written_annotations: BTreeMap<String, String>,
    /// Whether a template may ask queries.
    pub asks_queries: bool,
}

impl RuleFile {
    /// Reads and checks a file's text.
    pub fn parse(text: &str, options: &ParseOptions) -> Result<Self, Vec<Problem>> {
        let root = narthex_yaml::parse(text).map_err(|problem| vec![problem])?;
        let written = written_groups(&root).map_err(|problem| vec![problem])?;
        let mut checker = Checker { options, problems: Vec::new() };
        let groups = checker.groups(written);
        match checker.problems.is_empty() {
            true => Ok(Self { groups }),
            false => Err(checker.problems),
        }
    }

    /// How many rules there are.
    pub fn rule_count(&self) -> usize {
        self.groups.iter().map(|group| group.rules.len()).sum()
    }
}

/// A group as it is written.
struct WrittenGroup {
    line: usize,
    name: String,
    interval: Option<Duration>,
    query_offset: Option<Duration>,
    limit: u64,
    labels: BTreeMap<String, String>,
    rules: Vec<WrittenRule>,
}

/// A rule as it is written.
struct WrittenRule {
    line: usize,
    record: String,
    alert: String,
    expr: String,
    expr_line: usize,
    hold: Duration,
    keep_firing: Duration,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

fn written_groups(root: &Node) -> Result<Vec<WrittenGroup>, Problem> {
    let mut fields = Fields::open(root, "rulefmt.RuleGroups")?;
    let groups = fields.read("groups", |node| decode::list(node, written_group))?;
    fields.finish()?;
    Ok(groups.unwrap_or_default())
}

fn written_group(node: &Node) -> Result<WrittenGroup, Problem> {
    let mut fields = Fields::open(node, "rulefmt.RuleGroup")?;
    let group = WrittenGroup {
        line: node.line,
        name: fields.read("name", decode::text)?.unwrap_or_default(),
        interval: fields.read("interval", decode::period)?.filter(|period| !period.is_zero()),
        query_offset: fields.read("query_offset", decode::period)?,
        limit: fields.read("limit", decode::count)?.unwrap_or(0),
        labels: texts(&mut fields, "labels")?,
        rules: fields.read("rules", |node| decode::list(node, written_rule))?.unwrap_or_default(),
    };
    fields.finish()?;
    Ok(group)
}

fn written_rule(node: &Node) -> Result<WrittenRule, Problem> {
    let mut fields = Fields::open(node, "rulefmt.Rule")?;
    let expr = fields.take("expr");
    let rule = WrittenRule {
        line: node.line,
        record: fields.read("record", decode::text)?.unwrap_or_default(),
        alert: fields.read("alert", decode::text)?.unwrap_or_default(),
        expr: expr.map(decode::text).transpose()?.unwrap_or_default(),
        expr_line: expr.map_or(node.line, |node| node.line),
        hold: fields.read("for", decode::period)?.unwrap_or_default(),
        keep_firing: fields.read("keep_firing_for", decode::period)?.unwrap_or_default(),
        labels: texts(&mut fields, "labels")?,
        annotations: texts(&mut fields, "annotations")?,
    };
    fields.finish()?;
    Ok(rule)
}

fn texts(fields: &mut Fields<'_>, key: &str) -> Result<BTreeMap<String, String>, Problem> {
    let pairs = fields.read(key, |node| decode::map(node, decode::text))?;
    Ok(pairs.unwrap_or_default().into_iter().collect())
}

/// Collects what is wrong. What it returns is of use only if nothing is.
struct Checker<'a> {
    options: &'a ParseOptions,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn groups(&mut self, written: Vec<WrittenGroup>) -> Vec<RuleGroup> {
        let mut names = BTreeSet::new();
        let mut groups = Vec::with_capacity(written.len());
        for group in written {
            if group.name.is_empty() {
                self.problems.push(Problem::at(group.line, "Groupname must not be empty"));
            }
            if !names.insert(group.name.clone()) {
                let message = format!("groupname: {:?} is repeated in the same file", group.name);
                self.problems.push(Problem::at(group.line, message));
            }
            for name in group.labels.keys().filter(|name| !is_label_name(name)) {
                self.problems.push(Problem::at(group.line, format!("invalid label name: {name}")));
            }
            groups.push(self.group(group));
        }
        groups
    }

    fn group(&mut self, written: WrittenGroup) -> RuleGroup {
        let WrittenGroup { name, interval, query_offset, limit, labels, rules, .. } = written;
        let mut checked = Vec::with_capacity(rules.len());
        for (number, mut rule) in (1..).zip(rules) {
            let rule_name = if rule.alert.is_empty() { &rule.record } else { &rule.alert };
            let place = format!("group {name:?}, rule {number}, {rule_name:?}");
            let mut report = Report { place, line: rule.line, problems: &mut self.problems };
            report.check_rule(&rule);
            for (name, value) in &labels {
                rule.labels.entry(name.clone()).or_insert_with(|| value.clone());
            }
            checked.extend(report.rule(rule, self.options));
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        RuleGroup { name, interval, query_offset, limit, rules: checked }
    }
}

/// Where problems of one rule go.
struct Report<'a> {
    place: String,
    line: usize,
    problems: &'a mut Vec<Problem>,
}

impl Report<'_> {
    fn wrong(&mut self, message: &str) {
        self.wrong_at(self.line, message);
    }

    fn wrong_at(&mut self, line: usize, message: &str) {
        self.problems.push(Problem::at(line, format!("{}: {message}", self.place)));
    }

    /// What is wrong with the rule's keys.
    fn check_rule(&mut self, rule: &WrittenRule) {
        match (rule.record.is_empty(), rule.alert.is_empty()) {
            (false, false) => self.wrong("only one of 'record' and 'alert' must be set"),
            (true, true) => self.wrong("one of 'record' or 'alert' must be set"),
            (false, true) | (true, false) => {}
        }
        if rule.expr.is_empty() {
            self.wrong("field 'expr' must be set in rule");
        }
        if !rule.record.is_empty() {
            self.check_recording(rule);
        }
        for name in rule.labels.keys().filter(|name| !is_label_name(name)) {
            self.wrong(&format!("invalid label name: {name}"));
        }
        for name in rule.annotations.keys().filter(|name| name.is_empty()) {
            self.wrong(&format!("invalid annotation name: {name}"));
        }
    }

    fn check_recording(&mut self, rule: &WrittenRule) {
        if !rule.annotations.is_empty() {
            self.wrong("invalid field 'annotations' in recording rule");
        }
        if !rule.hold.is_zero() {
            self.wrong("invalid field 'for' in recording rule");
        }
        if !rule.keep_firing.is_zero() {
            self.wrong("invalid field 'keep_firing_for' in recording rule");
        }
        // Any text is a name; but one with braces is an expression in the wrong place.
        if rule.record.contains(['{', '}']) {
            let message = "braces present in the recording rule name; should it be in expr?: ";
            self.wrong(&format!("{message}{}", rule.record));
        }
    }

    /// The rule, with its expression and templates parsed.
    fn rule(&mut self, written: WrittenRule, options: &ParseOptions) -> Option<Rule> {
        let expr = match parse(&written.expr, options) {
            Ok(expr) => Some(expr),
            // Reported already.
            Err(_) if written.expr.is_empty() => None,
            Err(error) => {
                let message = format!("could not parse expression: {error}");
                self.wrong_at(written.expr_line, &message);
                None
            }
        };
        let kind = match written.alert.is_empty() {
            true => RuleKind::Recording,
            false => RuleKind::Alerting(Box::new(self.alerting(&written))),
        };
        let WrittenRule { record, alert, expr: query, labels, .. } = written;
        let name = if alert.is_empty() { record } else { alert };
        Some(Rule { name, query, expr: expr?, labels, kind })
    }

    fn alerting(&mut self, written: &WrittenRule) -> Alerting {
        let mut texts = written.labels.values().chain(written.annotations.values());
        Alerting {
            asks_queries: texts.any(|text| text.contains("query")),
            written_annotations: written.annotations.clone(),
            hold: written.hold,
            keep_firing: written.keep_firing,
            labels: self.templates("label", &written.alert, &written.labels),
            annotations: self.templates("annotation", &written.alert, &written.annotations),
        }
    }

    fn templates(
        &mut self,
        what: &str,
        alert: &str,
        texts: &BTreeMap<String, String>,
    ) -> Vec<(String, Template)> {
        let mut templates = Vec::with_capacity(texts.len());
        for (name, text) in texts {
            match expansion::parse(alert, text) {
                Ok(template) => templates.push((name.clone(), template)),
                Err(error) => self.wrong(&format!("{what} {name:?}: {error}")),
            }
        }
        templates
    }
}

fn is_label_name(name: &str) -> bool {
    !name.is_empty() && name != METRIC_NAME
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> RuleFile {
        RuleFile::parse(text, &ParseOptions::default()).unwrap_or_else(|found| panic!("{found:?}"))
    }

    fn problems(text: &str) -> Vec<String> {
        let found = RuleFile::parse(text, &ParseOptions::default()).expect_err(text);
        found.iter().map(ToString::to_string).collect()
    }

    /// A file with one rule, whose keys are given.
    fn rule(keys: &str) -> String {
        let keys: String = keys.lines().map(|line| format!("      {line}\n")).collect();
        format!("groups:\n  - name: g\n    rules:\n    -\n{keys}")
    }

    #[test]
    fn a_file_is_read_whole() {
        let file = parsed(
            "groups:
- name: a
  interval: 30s
  query_offset: 1m
  limit: 7
  labels: {team: x, severity: none}
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
  - alert: Down
    expr: up == 0
    for: 5m
    keep_firing_for: 1m
    labels: {severity: page}
    annotations:
      summary: '{{ $labels.instance }} is down: {{ $value | humanize }}'
- name: b
",
        );
        assert_eq!(file.rule_count(), 2);
        let group = &file.groups[0];
        assert_eq!((group.interval, group.limit), (Some(Duration::from_secs(30)), 7));
        assert_eq!(group.query_offset, Some(Duration::from_secs(60)));
        assert!(matches!(group.rules[0].kind, RuleKind::Recording));
        assert_eq!(group.rules[0].labels["team"], "x");
        let RuleKind::Alerting(alerting) = &group.rules[1].kind else { panic!("an alert") };
        assert_eq!(alerting.hold, Duration::from_secs(300));
        assert_eq!(group.rules[1].labels["severity"], "page");
        assert_eq!(parsed("").rule_count(), 0);
    }

    #[test]
    fn unknown_keys_are_refused_with_their_line() {
        let found = problems("groups:\n- name: a\n  rulez: []\n");
        assert_eq!(found, ["line 3: field rulez not found in type rulefmt.RuleGroup"]);
        let found = problems(&rule("record: a\nexpr: up\nforr: 5m"));
        assert_eq!(found, ["line 7: field forr not found in type rulefmt.Rule"]);
        assert_eq!(problems("groups: [{name: a, interval: 5}]").len(), 1);
        assert_eq!(problems("- groups").len(), 1);
    }

    #[test]
    fn what_a_rule_gets_wrong_is_named() {
        let cases = [
            ("expr: up", "one of 'record' or 'alert' must be set"),
            ("record: a\nalert: b\nexpr: up", "only one of 'record' and 'alert' must be set"),
            ("record: a", "field 'expr' must be set in rule"),
            ("record: a\nexpr: up{", "could not parse expression: 1:4: parse error"),
            ("record: a\nexpr: up\nfor: 1m", "invalid field 'for' in recording rule"),
            (
                "record: a\nexpr: up\nkeep_firing_for: 1m",
                "invalid field 'keep_firing_for' in recording rule",
            ),
            (
                "record: a\nexpr: up\nannotations: {a: b}",
                "invalid field 'annotations' in recording rule",
            ),
            ("record: 'a{b}'\nexpr: up", "braces present in the recording rule name"),
            ("record: a\nexpr: up\nlabels: {__name__: x}", "invalid label name: __name__"),
            ("alert: a\nexpr: up\nlabels: {x: '{{ $y }}'}", "label \"x\": template: __alert_a:1:"),
            (
                "alert: a\nexpr: up\nannotations: {x: '{{ foo }}'}",
                "annotation \"x\": template: __alert_a:1: function \"foo\" not defined",
            ),
        ];
        for (keys, message) in cases {
            let found = problems(&rule(keys));
            assert_eq!(found.len(), 1, "{keys}: {found:?}");
            assert!(found[0].contains(message), "{keys}: {}", found[0]);
            assert!(found[0].contains("group \"g\", rule 1, "), "{}", found[0]);
        }
        assert!(parsed(&rule("record: 'a b'\nexpr: up")).rule_count() == 1);
    }

    #[test]
    fn every_problem_is_reported() {
        let found = problems("groups:\n- name: a\n- name: a\n- rules:\n  - {}\n");
        assert_eq!(found.len(), 4, "{found:?}");
        assert_eq!(found[0], "line 3: groupname: \"a\" is repeated in the same file");
        assert_eq!(found[1], "line 4: Groupname must not be empty");
    }
}
