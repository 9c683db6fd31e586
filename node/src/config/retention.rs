//! How long samples of some series are kept, as operators write it:
//!
//! ```yaml
//! retention:
//!   - {match: '{job="x"}', keep: 7d}
//! ```
//!
//! The first rule that a series matches counts. What is checked here is what a file can get wrong;
//! limits are cluster state's.

use std::fmt::Write as _;

use narthex_cluster::{RetentionRule, RuleMatcher};
use narthex_promql::{ParseOptions, parse_selector};
use narthex_yaml::{Fields, Node, Problem, decode};

const DAY_MILLIS: u128 = 86_400_000;

/// The rules in a document.
pub fn parse(text: &str) -> Result<Vec<RetentionRule>, Problem> {
    let document = narthex_yaml::parse(text)?;
    let mut fields = Fields::open(&document, "narthex.Retention")?;
    let rules = fields.take("retention");
    let line = fields.line;
    fields.finish()?;
    // An empty list is how rules are taken away; a forgotten one should not.
    let rules =
        rules.ok_or_else(|| Problem::at(line, "retention is missing; `[]` has no rules"))?;
    decode::list(rules, rule)
}

fn rule(node: &Node) -> Result<RetentionRule, Problem> {
    let mut fields = Fields::open(node, "narthex.RetentionRule")?;
    let line = fields.line;
    let missing = |key: &str| Problem::at(line, format!("{key} is missing in a rule"));
    let matchers = fields.read("match", selector)?.ok_or_else(|| missing("match"))?;
    let keep_days = fields.read("keep", days)?.ok_or_else(|| missing("keep"))?;
    fields.finish()?;
    Ok(RetentionRule { matchers, keep_days })
}

fn selector(node: &Node) -> Result<Vec<RuleMatcher>, Problem> {
    let text = decode::text(node)?;
    matchers(&text).map_err(|problem| Problem::at(node.line, format!("match: {problem}")))
}

/// The matchers of a selector such as `{job="x"}`.
pub fn matchers(selector: &str) -> Result<Vec<RuleMatcher>, String> {
    let parsed = parse_selector(selector, &ParseOptions::everything());
    let parsed = parsed.map_err(|error| error.to_string())?;
    Ok(parsed.iter().map(RuleMatcher::of).collect())
}

fn days(node: &Node) -> Result<u32, Problem> {
    let millis = decode::period(node)?.as_millis();
    let days = u32::try_from(millis / DAY_MILLIS).unwrap_or(u32::MAX);
    match millis % DAY_MILLIS {
        0 if days > 0 => Ok(days),
        _ => Err(Problem::at(node.line, "keep: whole days are kept, 1d at least")),
    }
}

/// The selector that has these matchers.
pub fn selector_text(matchers: &[RuleMatcher]) -> String {
    let text = |matcher: &RuleMatcher| match matcher.compile() {
        Ok(matcher) => matcher.to_string(),
        Err(error) => error.to_string(),
    };
    let matchers: Vec<String> = matchers.iter().map(text).collect();
    format!("{{{}}}", matchers.join(","))
}

/// A document with rules of (selector, days), which [`parse`] reads.
pub fn to_yaml<'a>(rules: impl IntoIterator<Item = (&'a str, u32)>) -> String {
    let mut out = String::new();
    for (selector, days) in rules {
        let quoted = selector.replace('\'', "''");
        writeln!(out, "  - {{match: '{quoted}', keep: {days}d}}").expect("a text takes all");
    }
    if out.is_empty() { "retention: []\n".to_owned() } else { format!("retention:\n{out}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(rules: &[RetentionRule]) -> String {
        let texts: Vec<_> =
            rules.iter().map(|rule| (selector_text(&rule.matchers), rule.keep_days)).collect();
        to_yaml(texts.iter().map(|(text, days)| (text.as_str(), *days)))
    }

    #[test]
    fn rules_read_back_as_they_are_printed() {
        let text = r#"
retention:
  - {match: '{job="it''s", env=~"a|b"}', keep: 1w}
  - match: up{"a b"!="\n"}
    keep: 1y
"#;
        let rules = parse(text).expect("valid");
        let days: Vec<u32> = rules.iter().map(|rule| rule.keep_days).collect();
        assert_eq!((rules.len(), days), (2, vec![7, 365]));
        assert_eq!(parse(&printed(&rules)), Ok(rules));
        assert_eq!(parse("retention: []"), Ok(Vec::new()));
        assert_eq!(parse(&printed(&[])), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let problem = |text: &str| parse(text).expect_err("invalid").to_string();
        let rule = |rule: &str| problem(&format!("retention:\n  - {rule}\n"));
        assert_eq!(problem("{}"), "line 1: retention is missing; `[]` has no rules");
        assert!(problem("rules: []").contains("field rules not found"));
        assert_eq!(
            rule("{match: 'up', keep: 36h}"),
            "line 2: keep: whole days are kept, 1d at least"
        );
        assert!(rule("{match: 'up', keep: 0s}").contains("1d at least"));
        assert!(rule("{match: 'up'}").contains("keep is missing"));
        assert!(rule("{keep: 1d}").contains("match is missing"));
        assert!(rule("{match: '{a=~\".*\"}', keep: 1d}").starts_with("line 2: match: "));
        assert!(rule("{match: 'rate(up[1m])', keep: 1d}").starts_with("line 2: match: "));
        assert!(rule("{match: 'up', keep: 1d, class: 3}").contains("field class not found"));
    }
}
