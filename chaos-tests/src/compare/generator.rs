//! Makes questions out of numbers.
//!
//! The grammar knows types, and what goes with what well enough for most answers to have samples:
//! counters under `rate`, buckets under `histogram_quantile`, operands whose labels match. Beside
//! that it makes what makes no sense, for the errors must agree, too. Where the language leaves open
//! which series are chosen (`limitk`, `topk` among equals), what is chosen is only counted or added up.

mod aggregations;
mod functions;
mod operators;
mod selectors;

use fastrand::Rng;

use super::{
    MINUTE, Span,
    expression::{Expression, Kind},
    vocabulary::NUMBERS,
};

/// When an expression is evaluated, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Once.
    Instant(i64),
    /// At `start` and every `step` up to and with `end`.
    Range {
        /// Of the first step.
        start: i64,
        /// No step is later.
        end: i64,
        /// Between two.
        step: i64,
    },
}

impl When {
    /// Fewer steps than these.
    fn smaller(self) -> Vec<Self> {
        let Self::Range { start, end, step } = self else { return Vec::new() };
        let count = (end - start) / step;
        let mut smaller = vec![Self::Instant(start), Self::Instant(start + count * step)];
        if count > 0 {
            let middle = start + count / 2 * step;
            smaller.push(Self::Range { start, end: middle.max(start), step });
            smaller.push(Self::Range { start: start + (count + 1) / 2 * step, end, step });
        }
        smaller.retain(|it| it.steps() < self.steps() || matches!(it, Self::Instant(_)));
        smaller
    }

    fn steps(self) -> i64 {
        match self {
            Self::Instant(_) => 1,
            Self::Range { start, end, step } => (end - start) / step + 1,
        }
    }
}

/// What both systems are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The expression.
    pub expression: Expression,
    /// When it is evaluated.
    pub when: When,
}

impl Question {
    /// The question of this seed about samples of `span`.
    pub fn of(seed: u64, span: Span) -> Self {
        Generator { numbers: Rng::with_seed(seed), span }.question()
    }

    /// Questions with something taken away from this one.
    pub fn smaller(&self) -> Vec<Self> {
        let of = |expression, when| Self { expression, when };
        let expressions = self.expression.smaller().into_iter().map(|it| of(it, self.when));
        let times = self.when.smaller().into_iter().map(|it| of(self.expression.clone(), it));
        expressions.chain(times).collect()
    }
}

/// Draws expressions. How deep they may still get is passed down.
struct Generator {
    numbers: Rng,
    span: Span,
}

impl Generator {
    fn question(&mut self) -> Question {
        let depth = self.weighted(&[(1, 4), (2, 8), (3, 6), (4, 2)]);
        let is_range = self.one_in(2);
        let expression = match self.numbers.u8(0..20) {
            0..=1 => self.scalar(depth),
            2..=4 if !is_range => self.matrix(depth),
            5 if !is_range => {
                Expression::leaf(Kind::Text, self.pick(&["\"te\\txt\"", "'it\\'s'", "`a\\n`"]))
            }
            _ => self.vector(depth),
        };
        let when = if is_range { self.range() } else { When::Instant(self.time()) };
        Question { expression, when }
    }

    /// A moment that has samples around it, seldom one that has none.
    fn time(&mut self) -> i64 {
        let Span { start, end } = self.span;
        let time = self.numbers.i64(start - 2 * MINUTE..end + 8 * MINUTE);
        match self.numbers.u8(0..4) {
            0 => time,
            1 => time / 1000 * 1000,
            _ => time / MINUTE * MINUTE,
        }
    }

    fn range(&mut self) -> When {
        let start = self.time();
        let steps = [15_000, 30_000, 37_000, 60_000, 90_500, 1_000, 300_000, 7];
        let step = self.pick(&steps);
        let count = self.numbers.i64(0..40);
        let rest = if self.one_in(3) { self.numbers.i64(0..step) } else { 0 };
        When::Range { start, end: start + count * step + rest, step }
    }

    fn vector(&mut self, depth: u32) -> Expression {
        if depth == 0 {
            return self.selector();
        }
        let choice =
            self.weighted(&[(0, 8), (1, 24), (2, 12), (3, 22), (4, 22), (5, 20), (6, 3), (7, 3)]);
        match choice {
            0 => self.selector(),
            1 => self.range_function(depth - 1),
            2 => self.element_function(depth - 1),
            3 => self.other_function(depth - 1),
            4 => self.aggregation(depth - 1),
            5 => self.binary(depth - 1),
            6 => {
                let sign = self.pick(&["-", "+"]);
                let operand = self.operand(depth - 1);
                Expression::new(Kind::Vector, [sign.into(), operand.into()])
            }
            _ => self.vector(depth - 1).bracketed(),
        }
    }

    fn scalar(&mut self, depth: u32) -> Expression {
        let choice = if depth == 0 { 0 } else { self.numbers.u8(0..8) };
        match choice {
            0..=2 => Expression::leaf(Kind::Scalar, self.pick(NUMBERS)),
            3 => Expression::leaf(Kind::Scalar, self.pick(&["time()", "pi()"])),
            4 | 5 => {
                let vector = self.vector(depth - 1);
                Expression::call(Kind::Scalar, "scalar", [vector])
            }
            6 => {
                let operand = self.scalar(depth - 1).bracketed();
                Expression::new(Kind::Scalar, ["-".into(), operand.into()])
            }
            _ => self.scalar_binary(depth - 1),
        }
    }

    /// A number as it is written, mostly; else whatever is one.
    fn parameter(&mut self, usual: &[&str], depth: u32) -> Expression {
        match self.numbers.u8(0..10) {
            0 => self.scalar(depth),
            _ => Expression::leaf(Kind::Scalar, self.pick(usual)),
        }
    }

    fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.numbers.usize(0..among.len())]
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.numbers.u32(0..count) == 0
    }

    /// One of these, each as often as its weight says.
    fn weighted(&mut self, choices: &[(u32, u32)]) -> u32 {
        let total = choices.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.numbers.u32(0..total);
        for (choice, weight) in choices {
            if drawn < *weight {
                return *choice;
            }
            drawn -= weight;
        }
        unreachable!("less than the sum of the weights was drawn")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::vocabulary::all_names;

    const SPAN: Span = Span { start: 1_700_000_000_000, end: 1_700_009_000_000 };

    #[test]
    fn a_seed_makes_one_question() {
        for seed in 0..200 {
            assert_eq!(Question::of(seed, SPAN), Question::of(seed, SPAN));
        }
        let texts: std::collections::BTreeSet<_> =
            (0..1000).map(|seed| Question::of(seed, SPAN).expression.to_string()).collect();
        assert!(texts.len() > 900, "{} of 1000 are different", texts.len());
    }

    #[test]
    fn everything_by_name_is_asked_for() {
        let mut missing = all_names();
        let rest =
            ["bool", "on (", "ignoring (", "group_left", "group_right", "offset -", "@ start()"];
        let more =
            ["@ end()", "by (", "without (", "=~", "!~", "!=\"", "__name__", "{\"http.latency\""];
        missing.extend([&rest[..], &more[..]].concat().into_iter().map(str::to_owned));
        for seed in 0..3000 {
            let text = Question::of(seed, SPAN).expression.to_string();
            missing.retain(|name| !text.contains(name));
        }
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn brackets_are_closed() {
        for seed in 0..2000 {
            let text = Question::of(seed, SPAN).expression.to_string();
            let quoted = text.contains("a(p\"") || text.contains('\\');
            let count = |bracket| text.matches(bracket).count();
            assert!(quoted || count('(') == count(')'), "{text}");
            assert!(quoted || count('{') == count('}'), "{text}");
        }
    }

    #[test]
    fn fewer_steps_are_smaller() {
        let when = When::Range { start: 100, end: 175, step: 10 };
        assert!(when.smaller().contains(&When::Instant(170)));
        assert!(when.smaller().contains(&When::Range { start: 140, end: 175, step: 10 }));
        let one = When::Range { start: 100, end: 100, step: 10 };
        assert_eq!(one.smaller(), [When::Instant(100), When::Instant(100)]);
        assert!(When::Instant(100).smaller().is_empty());
    }
}
