//! `AlertmanagerConfig`: names that refer to others, and patterns.

use std::collections::BTreeSet;

use narthex_model::Regex;
use serde_json::Value;

use super::Findings;

/// What routes may name.
struct Names<'a> {
    receivers: BTreeSet<&'a str>,
    intervals: BTreeSet<&'a str>,
}

/// Checks names, matchers and the tree of routes.
pub(super) fn check(findings: &mut Findings, spec: &Value) {
    let mut receivers = BTreeSet::new();
    findings.each("receivers", items(spec, "receivers"), |findings, receiver| {
        let name = text(receiver, "name");
        if !receivers.insert(name) {
            findings.wrong_at("name", format!("{name:?} is the name of a receiver before it"));
        }
    });
    let mut intervals = BTreeSet::new();
    for part in ["muteTimeIntervals", "timeIntervals"] {
        findings.each(part, items(spec, part), |findings, interval| {
            let name = text(interval, "name");
            if !intervals.insert(name) {
                findings.wrong_at("name", format!("{name:?} is the name of an interval before it"));
            }
        });
    }
    findings.each("inhibitRules", items(spec, "inhibitRules"), |findings, rule| {
        for part in ["sourceMatch", "targetMatch"] {
            findings.each(part, items(rule, part), matcher);
        }
    });
    let names = Names { receivers, intervals };
    if let Some(root) = spec.get("route") {
        findings.at("route", |findings| {
            if text(root, "receiver").is_empty() {
                findings.wrong_at("receiver", "the first route needs a receiver");
            }
            route(findings, root, &names);
        });
    }
}

/// Depth is bounded by that of the object.
fn route(findings: &mut Findings, route_: &Value, names: &Names<'_>) {
    let receiver = text(route_, "receiver");
    if !receiver.is_empty() && !names.receivers.contains(receiver) {
        findings.wrong_at("receiver", format!("there is no receiver {receiver:?}"));
    }
    for part in ["muteTimeIntervals", "activeTimeIntervals"] {
        findings.each(part, items(route_, part), |findings, name| {
            let name = name.as_str().unwrap_or_default();
            if !names.intervals.contains(name) {
                findings.wrong(format!("there is no time interval {name:?}"));
            }
        });
    }
    for part in ["groupInterval", "repeatInterval"] {
        let given = narthex_model::duration::parse(text(route_, part));
        if given.is_ok_and(|given| given.is_zero()) {
            findings.wrong_at(part, "it must be longer than 0");
        }
    }
    let group_by: Vec<_> = items(route_, "groupBy").iter().filter_map(Value::as_str).collect();
    if group_by.len() > 1 && group_by.contains(&"...") {
        findings.wrong_at("groupBy", "'...' stands for all labels, and alone");
    }
    findings.each("matchers", items(route_, "matchers"), matcher);
    findings.each("routes", items(route_, "routes"), |findings, inner| {
        route(findings, inner, names);
    });
}

fn matcher(findings: &mut Findings, matcher: &Value) {
    let is_regex =
        matches!(text(matcher, "matchType"), "=~" | "!~") || matcher["regex"] == Value::Bool(true);
    if let (true, Err(error)) = (is_regex, Regex::new(text(matcher, "value"))) {
        findings.wrong_at("value", error.to_string());
    }
}

fn items<'a>(of: &'a Value, part: &str) -> &'a [Value] {
    of[part].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(of: &'a Value, part: &str) -> &'a str {
    of[part].as_str().unwrap_or_default()
}
