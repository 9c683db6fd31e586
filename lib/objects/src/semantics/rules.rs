//! Rule groups: checked as Prometheus checks a file of them, one rule at a time for its path.

use std::collections::BTreeSet;

use narthex_promql::ParseOptions;
use narthex_rules::RuleFile;
use serde_json::{Value, json};

use super::Findings;
use crate::rules::written_rule;

/// Checks the groups of a `PrometheusRule`.
pub(super) fn check(findings: &mut Findings, spec: &Value) {
    let groups = spec["groups"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut names = BTreeSet::new();
    findings.each("groups", groups, |findings, group| {
        let name = group["name"].as_str().unwrap_or_default();
        if !names.insert(name) {
            findings.wrong_at("name", format!("{name:?} is the name of a group before it"));
        }
        let rules = group["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
        findings.each("rules", rules, check_rule);
    });
}

fn check_rule(findings: &mut Findings, rule: &Value) {
    let file = json!({ "groups": [{ "name": "g", "rules": [written_rule(rule)] }] });
    let Err(problems) = RuleFile::parse(&file.to_string(), &ParseOptions::default()) else {
        return;
    };
    for problem in problems {
        // Which group and rule it is, the path says.
        let message = problem.message();
        let message = message.split_once("rule 1, ").map_or(message, |(_, behind)| behind);
        let name = ["alert", "record"].into_iter().find_map(|key| rule[key].as_str());
        let place = format!("{:?}: ", name.unwrap_or_default());
        let message = message.strip_prefix(&place).unwrap_or(message).to_owned();
        match message.starts_with("could not parse expression") {
            true => findings.wrong_at("expr", message),
            false => findings.wrong(message),
        }
    }
}
