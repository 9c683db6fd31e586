//! The `global` section.

use std::collections::BTreeMap;

use narthex_yaml::{Fields, Node, Problem, decode};

use super::{GlobalConfig, ScrapeLimits, Surroundings, job};

const PROTOCOLS: &[&str] = &[
    "PrometheusProto",
    "OpenMetricsText0.0.1",
    "OpenMetricsText1.0.0",
    "PrometheusText0.0.4",
    "PrometheusText1.0.0",
];

/// Whether a value has its key's type.
type Check = fn(&Node) -> Result<(), Problem>;

/// Keys that are checked for their type and have no effect yet: they are about queries,
/// and leave what is scraped as it is.
const WITHOUT_EFFECT: &[(&str, Check)] = &[("query_log_file", |node| decode::text(node).map(drop))];

/// Reads the section; keys without effect are added to `inactive`.
pub(super) fn read(
    node: &Node,
    surroundings: &Surroundings<'_>,
    inactive: &mut Vec<String>,
) -> Result<GlobalConfig, Problem> {
    let mut fields = Fields::open(node, "config.plain")?;
    let default = GlobalConfig::default();
    let given = |period: Option<std::time::Duration>| period.filter(|period| !period.is_zero());
    let interval = given(fields.read("scrape_interval", decode::period)?);
    let timeout = given(fields.read("scrape_timeout", decode::period)?);
    let evaluation = given(fields.read("evaluation_interval", decode::period)?);
    let external_labels = match fields.take("external_labels") {
        Some(node) => external_labels(node, surroundings)?,
        None => BTreeMap::new(),
    };
    let rule_query_offset = fields.read("rule_query_offset", decode::period)?;
    let limits = limits(&mut fields)?;
    job::refuse_other_values(&mut fields, "global")?;
    for (key, check) in WITHOUT_EFFECT {
        if let Some(node) = fields.take(key) {
            check(node)?;
            inactive.push(format!("global.{key}"));
        }
    }
    fields.finish()?;
    let scrape_interval = interval.unwrap_or(default.scrape_interval);
    if timeout.is_some_and(|timeout| timeout > scrape_interval) {
        return Err(Problem::at(node.line, "global scrape timeout greater than scrape interval"));
    }
    Ok(GlobalConfig {
        scrape_interval,
        scrape_timeout: timeout.unwrap_or(default.scrape_timeout.min(scrape_interval)),
        evaluation_interval: evaluation.unwrap_or(default.evaluation_interval),
        rule_query_offset: rule_query_offset.unwrap_or_default(),
        external_labels,
        limits,
    })
}

/// Takes the keys of limits, which `global` and jobs share.
pub(super) fn limits(fields: &mut Fields<'_>) -> Result<ScrapeLimits, Problem> {
    let mut count = |key| Ok(fields.read(key, decode::count)?.unwrap_or(0));
    let mut limits = ScrapeLimits {
        body_size_limit: 0,
        sample_limit: count("sample_limit")?,
        target_limit: count("target_limit")?,
        label_limit: count("label_limit")?,
        label_name_length_limit: count("label_name_length_limit")?,
        label_value_length_limit: count("label_value_length_limit")?,
        keep_dropped_targets: count("keep_dropped_targets")?,
    };
    limits.body_size_limit = fields.read("body_size_limit", decode::byte_size)?.unwrap_or(0);
    Ok(limits)
}

/// A name out of `scrape_protocols`.
pub(super) fn protocol(node: &Node) -> Result<String, Problem> {
    let text = decode::text(node)?;
    if PROTOCOLS.contains(&text.as_str()) {
        return Ok(text);
    }
    let known = PROTOCOLS.join(" ");
    Err(Problem::at(node.line, format!("unknown scrape protocol {text}, supported: [{known}]")))
}

fn external_labels(
    node: &Node,
    surroundings: &Surroundings<'_>,
) -> Result<BTreeMap<String, String>, Problem> {
    let mut labels = BTreeMap::new();
    for (name, value) in decode::map(node, decode::text)? {
        if name.is_empty() {
            return Err(Problem::at(node.line, format!("{name:?} is not a valid label name")));
        }
        labels.insert(name, expand(&value, surroundings.environment));
    }
    Ok(labels)
}

/// Replaces `$NAME` and `${NAME}` by variables; an unknown one is empty and `$$` is a dollar.
fn expand(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if let Some(behind) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = behind;
        } else if let Some((name, behind)) =
            rest.strip_prefix('{').and_then(|inner| inner.split_once('}'))
        {
            expanded.push_str(&environment(name).unwrap_or_default());
            rest = behind;
        } else {
            let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            if end == 0 {
                expanded.push('$');
            } else {
                expanded.push_str(&environment(&rest[..end]).unwrap_or_default());
            }
            rest = &rest[end..];
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in() {
        let environment = |name: &str| (name == "ZONE").then(|| "eu".to_owned());
        for (text, expanded) in [
            ("a", "a"),
            ("$ZONE-1", "eu-1"),
            ("x${ZONE}y$$z", "xeuy$z"),
            ("[$NOBODY]", "[]"),
            ("$", "$"),
        ] {
            assert_eq!(expand(text, &environment), expanded, "{text}");
        }
    }
}
