//! Selectors of instant vectors and ranges, and subqueries.

use super::Generator;
use crate::compare::{
    expression::{Expression, Kind, Piece},
    vocabulary::{COUNTERS, GAUGES, LABELS, MATCHERS, NATIVES, OFFSETS, OTHERS, RANGES, STEPS},
};

impl Generator {
    /// A selector of any series.
    pub(super) fn selector(&mut self) -> Expression {
        let of = match self.numbers.u8(0..12) {
            0..=3 => COUNTERS,
            4..=6 => GAUGES,
            7 | 8 => NATIVES,
            _ => OTHERS,
        };
        self.selector_among(of)
    }

    /// A selector of one of these metrics.
    pub(super) fn selector_among(&mut self, metrics: &[&str]) -> Expression {
        let metric = self.pick(metrics);
        let mut pieces = self.matched(metric);
        pieces.extend(self.modifiers());
        Expression::new(Kind::Vector, pieces)
    }

    /// A selector without `@` and `offset`.
    pub(super) fn plain_selector_among(&mut self, metrics: &[&str]) -> Expression {
        let metric = self.pick(metrics);
        Expression::new(Kind::Vector, self.matched(metric))
    }

    /// The metric with matchers.
    fn matched(&mut self, metric: &str) -> Vec<Piece> {
        let count = self.weighted(&[(0, 6), (1, 5), (2, 2)]);
        let head = match metric.strip_suffix('}') {
            // Where the name stands in braces, so do the matchers.
            Some(head) => format!("{head},"),
            None if count == 0 => return vec![metric.into()],
            None => format!("{metric}{{"),
        };
        let mut pieces = vec![Piece::Fixed(head)];
        for _ in 0..count {
            pieces.push(Piece::Optional(format!("{},", self.pick(MATCHERS))));
        }
        pieces.push("}".into());
        pieces
    }

    /// `offset` and `@`, in any order.
    fn modifiers(&mut self) -> Vec<Piece> {
        let mut modifiers = Vec::new();
        if self.one_in(4) {
            modifiers.push(format!(" offset {}", self.pick(OFFSETS)));
        }
        if self.one_in(7) {
            modifiers.push(self.at());
        }
        if self.one_in(2) {
            modifiers.reverse();
        }
        modifiers.into_iter().map(Piece::Optional).collect()
    }

    fn at(&mut self) -> String {
        match self.numbers.u8(0..3) {
            0 => " @ start()".to_owned(),
            1 => " @ end()".to_owned(),
            _ => {
                let time = self.time();
                format!(" @ {}.{:03}", time / 1000, time % 1000)
            }
        }
    }

    /// A range vector of anything.
    pub(super) fn matrix(&mut self, depth: u32) -> Expression {
        if depth > 0 && self.one_in(4) {
            let of = self.vector(depth - 1);
            return self.subquery(of);
        }
        let of = match self.numbers.u8(0..12) {
            0..=2 => COUNTERS,
            3..=6 => GAUGES,
            7..=9 => NATIVES,
            _ => OTHERS,
        };
        self.matrix_among(of)
    }

    /// A range vector of one of these metrics.
    pub(super) fn matrix_among(&mut self, metrics: &[&str]) -> Expression {
        let metric = self.pick(metrics);
        let mut pieces = self.matched(metric);
        pieces.push(format!("[{}]", self.pick(RANGES)).into());
        pieces.extend(self.modifiers());
        Expression::new(Kind::Matrix, pieces)
    }

    /// A subquery of this.
    pub(super) fn subquery(&mut self, of: Expression) -> Expression {
        let range = self.pick(&RANGES[..RANGES.len() - 1]);
        let step = self.pick(STEPS);
        let mut pieces = vec![of.bracketed().into(), format!("[{range}:{step}]").into()];
        pieces.extend(self.modifiers());
        Expression::new(Kind::Matrix, pieces)
    }

    /// Some label names, as in `(job, instance)`.
    pub(super) fn label_list(&mut self) -> String {
        let count = self.weighted(&[(0, 1), (1, 6), (2, 5), (3, 2)]);
        let labels: Vec<&str> = (0..count).map(|_| self.pick(LABELS)).collect();
        format!("({})", labels.join(", "))
    }
}
