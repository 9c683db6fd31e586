//! Aggregations.
//!
//! Their parameters are constants: 3.5 takes that of the first step for all of them.

use super::Generator;
use crate::compare::{
    expression::{Expression, Kind, Piece},
    vocabulary::{COUNTERS, PLAIN_AGGREGATIONS, QUANTILES},
};

use Kind::{Scalar, Text, Vector};

impl Generator {
    /// One of a vector.
    pub(super) fn aggregation(&mut self, depth: u32) -> Expression {
        match self.numbers.u8(0..20) {
            0..=10 => {
                let name = self.pick(PLAIN_AGGREGATIONS);
                let of = self.vector(depth);
                self.aggregate(name, None, of)
            }
            11..=13 => {
                let quantile = self.constant(QUANTILES);
                let of = self.vector(depth);
                self.aggregate("quantile", Some(quantile), of)
            }
            14 | 15 => {
                let label =
                    self.pick(&["\"value\"", "\"job\"", "\"count\"", "\"\"", "\"some.value\""]);
                // What is computed may differ in its last digit, which a text shows.
                let of = self.selector();
                self.aggregate("count_values", Some(Expression::leaf(Text, label)), of)
            }
            16 | 17 => self.ranking(depth),
            18 => self.first_ones(depth),
            _ => self.sampled(depth),
        }
    }

    fn constant(&mut self, among: &[&str]) -> Expression {
        Expression::leaf(Scalar, self.pick(among))
    }

    /// `name by (labels) (parameter, of)`, the clause in front or behind.
    fn aggregate(
        &mut self,
        name: &str,
        parameter: Option<Expression>,
        of: Expression,
    ) -> Expression {
        let clause = match self.numbers.u8(0..8) {
            0 | 1 => String::new(),
            2 | 3 => format!(" without {} ", self.label_list()),
            _ => format!(" by {} ", self.label_list()),
        };
        let is_behind = self.one_in(4);
        let (front, behind) = if is_behind { ("", clause.as_str()) } else { (clause.as_str(), "") };
        let mut pieces = vec![name.into(), Piece::Optional(front.to_owned()), "(".into()];
        if let Some(parameter) = parameter {
            pieces.push(parameter.into());
            pieces.push(", ".into());
        }
        pieces.push(of.into());
        pieces.push(")".into());
        pieces.push(Piece::Optional(behind.to_owned()));
        Expression::new(Vector, pieces)
    }

    /// The largest or smallest. Which of equal ones is open, but not what they are.
    fn ranking(&mut self, depth: u32) -> Expression {
        let name = self.pick(&["topk", "bottomk"]);
        let count = self.constant(&["1", "3", "2.9", "0", "-1", "NaN", "1000", "5", "Inf"]);
        if self.one_in(3) {
            let of = self.selector_among(&["load"]);
            return self.aggregate(name, Some(count), of);
        }
        let of = self.vector(depth);
        let ranked = self.aggregate(name, Some(count), of);
        let outer = self.pick(&["sum", "min", "max", "count"]);
        Expression::call(Vector, outer, [ranked])
    }

    /// Any few of each group: their count is known, or all of them.
    fn first_ones(&mut self, depth: u32) -> Expression {
        let of = self.vector(depth);
        if self.one_in(2) {
            let count = self.constant(&["10000", "0", "-3", "1e9"]);
            return self.aggregate("limitk", Some(count), of);
        }
        let count = self.constant(&["1", "2", "3.7", "NaN", "Inf"]);
        let few = self.aggregate("limitk", Some(count), of);
        Expression::call(Vector, "count", [few])
    }

    /// Some share of the series, and its complement: together they are all. Which ones is open.
    fn sampled(&mut self, depth: u32) -> Expression {
        let of = match self.one_in(2) {
            true => self.vector(depth),
            false => self.selector_among(COUNTERS),
        };
        if self.one_in(2) {
            let ratio = self.constant(&["0", "1", "-1", "1.5", "-2", "NaN", "Inf"]);
            return self.aggregate("limit_ratio", Some(ratio), of);
        }
        let (one, other) = self.pick(&[("0.3", "-0.7"), ("0.5", "-0.5"), ("0.25", "-0.75")]);
        let pieces = [
            format!("limit_ratio({one}, ").into(),
            of.clone().into(),
            format!(") or limit_ratio({other}, ").into(),
            of.into(),
            ")".into(),
        ];
        Expression::new(Vector, pieces).bracketed()
    }
}
