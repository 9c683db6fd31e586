//! Rules of retention, and what they mean.

use std::sync::Arc;

use narthex_model::{MatchOp, Matcher};
use narthex_tsdb::{RetentionClass, RetentionRule};

/// Every class that a rule names, and the default one.
pub const CLASSES: [u16; 4] = [0, 1, 2, 40];
/// How many sets of rules there are.
pub const RULES: usize = 4;

/// A set of rules. Series `n` is `m(n / 3)` of job `job(n % 3)`.
pub fn rules(number: usize) -> Arc<[RetentionRule]> {
    let rule = |class, op, name: &str, value: &str| RetentionRule {
        matchers: vec![Matcher::new(op, name, value).expect("valid")],
        class: RetentionClass(class),
    };
    match number {
        0 => Arc::default(),
        1 => [rule(1, MatchOp::Equal, "job", "job0")].into(),
        2 => [rule(2, MatchOp::Regex, "job", "job[01]"), rule(1, MatchOp::NotEqual, "job", "job0")]
            .into(),
        _ => [rule(40, MatchOp::NotRegex, "__name__", "m1.*")].into(),
    }
}

/// The class that a set of rules gives a series.
pub fn class(number: usize, series: usize) -> u16 {
    match (number, series % 3) {
        (1, 0) => 1,
        (2, 0 | 1) => 2,
        (2, _) => 1,
        (3, _) if !(series / 3).to_string().starts_with('1') => 40,
        _ => 0,
    }
}
