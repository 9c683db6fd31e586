//! How long samples of some series are kept: rules, of which the first that matches counts.
//!
//! What no rule matches is kept as long as [`crate::Settings`] say. Leaders hand a change on to
//! their shards as an entry.

use narthex_model::{InvalidRegex, MatchOp, Matcher};

use crate::{
    ClusterState, Refusal,
    codec::{wire_enum, wire_struct},
};

/// Rules at most: each is tried for every series once a day.
pub const RETENTION_RULES_MAX: usize = 64;
/// Matchers of a rule at most.
pub const RETENTION_MATCHERS_MAX: usize = 16;
/// Bytes of a matcher's name and of its value at most.
pub const RETENTION_TEXT_BYTES_MAX: usize = 4096;
/// Days at most: 179 years.
pub const RETENTION_DAYS_MAX: u32 = 65_535;

/// Series that are kept for another time than the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionRule {
    /// All of them must hold.
    pub matchers: Vec<RuleMatcher>,
    /// Whole days, 1 to [`RETENTION_DAYS_MAX`].
    pub keep_days: u32,
}

/// A condition on one label, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleMatcher {
    /// How it compares.
    pub op: MatchOp,
    /// The label's name.
    pub name: String,
    /// What it is compared with.
    pub value: String,
}

impl RuleMatcher {
    /// What is stored of a matcher.
    pub fn of(matcher: &Matcher) -> Self {
        Self { op: matcher.op(), name: matcher.name().into(), value: matcher.value().into() }
    }

    /// The matcher. Those of an applied rule are valid.
    pub fn compile(&self) -> Result<Matcher, InvalidRegex> {
        Matcher::new(self.op, self.name.clone(), self.value.clone())
    }
}

/// What is wrong with a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleProblem {
    /// Keep it for a day at least, or leave the rule out.
    #[error("it keeps for less than a day, or more than {RETENTION_DAYS_MAX} days")]
    Days,
    /// Say which series.
    #[error("it has no matcher, or more than {RETENTION_MATCHERS_MAX}")]
    Matchers,
    /// Shorten it.
    #[error("a matcher is longer than {RETENTION_TEXT_BYTES_MAX} bytes, or has no name")]
    Text,
    /// Correct it.
    #[error("a matcher has an invalid pattern")]
    Pattern,
}

impl RetentionRule {
    fn check(&self) -> Result<(), RuleProblem> {
        if !(1..=RETENTION_DAYS_MAX).contains(&self.keep_days) {
            return Err(RuleProblem::Days);
        }
        if !(1..=RETENTION_MATCHERS_MAX).contains(&self.matchers.len()) {
            return Err(RuleProblem::Matchers);
        }
        for matcher in &self.matchers {
            let longest = matcher.name.len().max(matcher.value.len());
            if matcher.name.is_empty() || longest > RETENTION_TEXT_BYTES_MAX {
                return Err(RuleProblem::Text);
            }
            matcher.compile().map_err(|_| RuleProblem::Pattern)?;
        }
        Ok(())
    }
}

impl ClusterState {
    /// Which series are kept for another time than [`crate::Settings`] say, in order.
    pub fn retention(&self) -> &[RetentionRule] {
        &self.retention
    }

    /// Whether anything changed.
    pub(crate) fn set_retention(&mut self, rules: &[RetentionRule]) -> Result<bool, Refusal> {
        if rules.len() > RETENTION_RULES_MAX {
            let max = RETENTION_RULES_MAX as u64;
            return Err(Refusal::TooManyRules { rules: rules.len() as u64, max });
        }
        for (at, rule) in rules.iter().enumerate() {
            let number = at as u64 + 1;
            rule.check().map_err(|problem| Refusal::InvalidRule { number, problem })?;
        }
        let is_changed = self.retention != rules;
        if is_changed {
            self.retention = rules.to_vec();
        }
        Ok(is_changed)
    }
}

wire_struct!(RetentionRule { matchers, keep_days });
wire_struct!(RuleMatcher { op, name, value });
wire_enum!(MatchOp, "match operator" {
    1 => Equal,
    2 => NotEqual,
    3 => Regex,
    4 => NotRegex,
});
wire_enum!(RuleProblem, "problem of a rule" {
    1 => Days,
    2 => Matchers,
    3 => Text,
    4 => Pattern,
});

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(op: MatchOp, value: &str, keep_days: u32) -> RetentionRule {
        let matcher = RuleMatcher { op, name: "job".into(), value: value.into() };
        RetentionRule { matchers: vec![matcher], keep_days }
    }

    fn refused(rules: &[RetentionRule]) -> Refusal {
        ClusterState::new().set_retention(rules).expect_err("refused")
    }

    #[test]
    fn rules_are_kept_in_order() {
        let mut state = ClusterState::new();
        let rules = [rule(MatchOp::Regex, "a|b", 7), rule(MatchOp::Equal, "a", 1)];
        assert_eq!(state.set_retention(&rules), Ok(true));
        assert_eq!(state.set_retention(&rules), Ok(false));
        assert_eq!(state.retention(), rules);
        let turned = [rules[1].clone(), rules[0].clone()];
        assert_eq!(state.set_retention(&turned), Ok(true));
        assert_eq!(ClusterState::decode(&state.encode()).as_ref(), Ok(&state));
        assert_eq!(state.set_retention(&[]), Ok(true));
    }

    #[test]
    fn a_wrong_rule_is_named_and_changes_nothing() {
        let good = rule(MatchOp::Equal, "a", 1);
        let many = RetentionRule {
            matchers: vec![good.matchers[0].clone(); RETENTION_MATCHERS_MAX + 1],
            ..good.clone()
        };
        for (wrong, problem) in [
            (rule(MatchOp::Equal, "a", 0), RuleProblem::Days),
            (rule(MatchOp::Equal, "a", RETENTION_DAYS_MAX + 1), RuleProblem::Days),
            (RetentionRule { matchers: Vec::new(), ..good.clone() }, RuleProblem::Matchers),
            (many, RuleProblem::Matchers),
            (rule(MatchOp::Equal, &"a".repeat(5000), 1), RuleProblem::Text),
            (rule(MatchOp::Regex, "(", 1), RuleProblem::Pattern),
        ] {
            let refusal = refused(&[good.clone(), wrong]);
            assert_eq!(refusal, Refusal::InvalidRule { number: 2, problem });
        }
        let rules = vec![good; RETENTION_RULES_MAX + 1];
        assert_eq!(refused(&rules), Refusal::TooManyRules { rules: 65, max: 64 });
    }
}
