//! Rules of relabelling, as Prometheus checks them.

use narthex_model::Regex;

use super::Findings;
use crate::types::Relabeling;

const DEFAULT_REGEX: &str = "(.*)";
const DEFAULT_REPLACEMENT: &str = "$1";
const DEFAULT_SEPARATOR: &str = ";";

/// Checks a list of rules.
pub(super) fn rules(findings: &mut Findings, part: &str, rules: &[Relabeling]) {
    findings.each(part, rules, rule);
}

fn rule(findings: &mut Findings, rule: &Relabeling) {
    if let Err(error) = Regex::new(&rule.regex) {
        findings.wrong_at("regex", error.to_string());
    }
    let action = match rule.action.to_lowercase() {
        action if action.is_empty() => "replace".to_owned(),
        action => action,
    };
    let is = |actions: &[&str]| actions.contains(&action.as_str());
    let replacement = rule.replacement.as_deref().unwrap_or(DEFAULT_REPLACEMENT);
    let separator = rule.separator.as_deref().unwrap_or(DEFAULT_SEPARATOR);
    let is_default_regex = rule.regex.is_empty() || rule.regex == DEFAULT_REGEX;
    let is_plain =
        rule.modulus == 0 && separator == DEFAULT_SEPARATOR && replacement == DEFAULT_REPLACEMENT;
    let writes = ["replace", "hashmod", "lowercase", "uppercase", "keepequal", "dropequal"];
    if is(&["hashmod"]) && rule.modulus == 0 {
        findings.wrong_at("modulus", "hashmod needs a modulus that is not 0");
    }
    if is(&writes) && rule.target_label.is_empty() {
        findings.wrong_at("targetLabel", format!("{action} needs a target label"));
    }
    if is(&["lowercase", "uppercase", "keepequal", "dropequal"])
        && replacement != DEFAULT_REPLACEMENT
    {
        findings.wrong_at("replacement", format!("{action} takes no replacement"));
    }
    if is(&["labelmap"]) && replacement.is_empty() {
        findings.wrong_at("replacement", "labelmap needs a replacement that is not empty");
    }
    if is(&["keepequal", "dropequal"]) && !(is_plain && is_default_regex) {
        findings.wrong(format!("{action} takes only sourceLabels and targetLabel"));
    }
    if is(&["labeldrop", "labelkeep"])
        && !(is_plain && rule.source_labels.is_empty() && rule.target_label.is_empty())
    {
        findings.wrong(format!("{action} takes only a regex"));
    }
}
