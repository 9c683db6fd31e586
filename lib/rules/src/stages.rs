//! Which rules of a group may be evaluated before the results of others are stored.
//!
//! A later rule sees what an earlier one has stored at the same time. Few rules look at others' results,
//! so a group falls into few stages: what a stage stores is stored at once, and no rule of a stage reads
//! what another one of it stores.

use std::{collections::BTreeSet, ops::Range};

use narthex_model::{METRIC_NAME, MatchOp};
use narthex_promql::{Expr, ExprKind};

use crate::{Rule, RuleKind, evaluation::ALERT_METRICS};

/// The stages of these rules, in order: neighbours that together cover them all.
pub fn stages(rules: &[Rule]) -> Vec<Range<usize>> {
    let mut stages = Vec::new();
    let mut stored = BTreeSet::new();
    let mut begin = 0;
    for (at, rule) in rules.iter().enumerate() {
        if reads(rule, &stored) {
            stages.push(begin..at);
            begin = at;
            stored.clear();
        }
        match &rule.kind {
            RuleKind::Recording => drop(stored.insert(rule.name.as_str())),
            RuleKind::Alerting(_) => stored.extend(ALERT_METRICS),
        }
    }
    if begin < rules.len() {
        stages.push(begin..rules.len());
    }
    stages
}

/// Whether a rule may read one of these metrics.
fn reads(rule: &Rule, stored: &BTreeSet<&str>) -> bool {
    if stored.is_empty() {
        return false;
    }
    let asks = matches!(&rule.kind, RuleKind::Alerting(alerting) if alerting.asks_queries);
    asks || calls_info(&rule.expr)
        || rule.expr.selectors().iter().any(|selector| {
            let mut named = selector.matchers.iter().filter(|it| it.name() == METRIC_NAME);
            match named.find(|matcher| matcher.op() == MatchOp::Equal) {
                Some(name) => stored.contains(name.value()),
                // It may select anything.
                None => true,
            }
        })
}

/// `info` reads series that no selector names.
fn calls_info(expr: &Expr) -> bool {
    let mut found = false;
    expr.walk(&mut |node| {
        found |= matches!(&node.kind, ExprKind::Call(call) if call.function.name == "info");
    });
    found
}

#[cfg(test)]
mod tests {
    use narthex_promql::ParseOptions;
    use proptest::prelude::*;

    use super::*;
    use crate::RuleFile;

    fn stages_of(rules: &str) -> Vec<Range<usize>> {
        let text = format!("groups: [{{name: g, rules: [{rules}]}}]");
        let file = RuleFile::parse(&text, &ParseOptions::everything());
        let file = file.unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
        stages(&file.groups[0].rules)
    }

    #[test]
    fn a_rule_that_reads_a_result_begins_a_stage() {
        let rules = "{record: a, expr: x}, {record: b, expr: y}, {record: c, expr: a + b}, \
                     {alert: D, expr: c > 1}, {record: e, expr: ALERTS}";
        assert_eq!(stages_of(rules), [0..2, 2..3, 3..4, 4..5]);
        let whole = vec![std::ops::Range { start: 0, end: 2 }];
        assert_eq!(stages_of("{record: a, expr: a}, {alert: B, expr: x}"), whole);
        assert_eq!(
            stages_of("{record: a, expr: x}, {record: b, expr: '{job=\"y\"}'}"),
            [0..1, 1..2]
        );
        assert_eq!(stages_of("{record: a, expr: x}, {record: b, expr: 'vector(1)'}"), whole);
        assert_eq!(stages_of("{record: a, expr: x}, {record: b, expr: 'info(y)'}"), [0..1, 1..2]);
        let asks = "{record: a, expr: x}, \
                    {alert: B, expr: y, annotations: {s: '{{ query `a` }}'}}";
        assert_eq!(stages_of(asks), [0..1, 1..2]);
        assert!(stages_of("").is_empty());
    }

    proptest! {
        #[test]
        fn no_rule_reads_what_its_stage_stores(
            reads in proptest::collection::vec((0usize..6, 0usize..6), 1..20),
        ) {
            let rule = |(name, read): &(usize, usize)| format!("{{record: m{name}, expr: m{read}}}");
            let rules: Vec<String> = reads.iter().map(rule).collect();
            let stages = stages_of(&rules.join(", "));
            prop_assert_eq!(stages.iter().cloned().flatten().collect::<Vec<_>>(),
                (0..reads.len()).collect::<Vec<_>>());
            for stage in stages {
                for at in stage.clone() {
                    prop_assert!(reads[stage.start..at].iter().all(|(name, _)| *name != reads[at].1));
                }
            }
        }
    }
}
