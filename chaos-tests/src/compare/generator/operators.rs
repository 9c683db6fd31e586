//! Binary operators between vectors, and between a vector and a number.

use super::Generator;
use crate::compare::{
    expression::{Expression, Kind::Vector, Piece},
    vocabulary::{ARITHMETIC, COMPARISONS, COUNTERS, GAUGES, NATIVES, NUMBERS, SET_OPERATORS},
};

impl Generator {
    /// An operation on two vectors, or on a vector and a number.
    pub(super) fn binary(&mut self, depth: u32) -> Expression {
        match self.numbers.u8(0..20) {
            0..=4 => self.with_number(depth),
            5 | 6 => self.of_each_target(depth),
            7 | 8 => self.of_groups(depth),
            9..=11 => self.many_to_one(),
            12..=15 => self.sets(depth),
            16 => self.same_series(depth),
            _ => self.anything(depth),
        }
    }

    /// A vector as an operand: in brackets, mostly, where it is more than a selector or a call.
    pub(super) fn operand(&mut self, depth: u32) -> Expression {
        let operand = self.vector(depth);
        if depth == 0 || self.one_in(4) { operand } else { operand.bracketed() }
    }

    fn operator(&mut self) -> String {
        match self.numbers.u8(0..5) {
            0 => format!(" {} ", self.pick(COMPARISONS)),
            1 => format!(" {} bool ", self.pick(COMPARISONS)),
            _ => format!(" {} ", self.pick(ARITHMETIC)),
        }
    }

    fn with_number(&mut self, depth: u32) -> Expression {
        let vector = match self.one_in(5) {
            true => self.selector_among(NATIVES),
            false => self.operand(depth),
        };
        let number = self.parameter(NUMBERS, depth);
        let number = if depth > 0 { number.bracketed() } else { number };
        let operator = Piece::Fixed(self.operator());
        match self.one_in(3) {
            true => Expression::new(Vector, [number.into(), operator, vector.into()]),
            false => Expression::new(Vector, [vector.into(), operator, number.into()]),
        }
    }

    /// Operands with one series of each target.
    fn of_each_target(&mut self, depth: u32) -> Expression {
        let families: &[&str] = if self.one_in(3) { NATIVES } else { GAUGES };
        let left = match self.one_in(3) {
            true => self.operand(depth),
            false => self.selector_among(families),
        };
        let right = self.selector_among(families);
        let matching =
            self.pick(&["on (job, instance) ", "ignoring (zone) ", "on (instance, job) "]);
        self.joined(left, matching, right)
    }

    /// Operands that are grouped alike.
    fn of_groups(&mut self, depth: u32) -> Expression {
        let labels = self.pick(&["(job)", "(instance)", "(job, instance)", "(zone)", "()"]);
        let names = ["sum", "avg", "max", "count", "stddev"];
        let mut side = || {
            let name = self.pick(&names);
            let of = self.vector(depth);
            Expression::new(Vector, [format!("{name} by {labels} (").into(), of.into(), ")".into()])
        };
        let (left, right) = (side(), side());
        self.joined(left, "", right)
    }

    fn joined(&mut self, left: Expression, matching: &str, right: Expression) -> Expression {
        let pieces = [
            left.into(),
            self.operator().into(),
            Piece::Optional(matching.to_owned()),
            right.into(),
        ];
        Expression::new(Vector, pieces)
    }

    /// Several series of a target, and one.
    fn many_to_one(&mut self) -> Expression {
        let many = match self.one_in(2) {
            true => self.selector_among(&["http_requests_total", "request_seconds_bucket"]),
            false => {
                let range = self.matrix_among(&["http_requests_total", "request_seconds_bucket"]);
                Expression::call(Vector, "rate", [range])
            }
        };
        let one = self.selector_among(&["build_info", "target_info", "up", "temperature", "load"]);
        let labels =
            ["", "(version)", "(zone, cluster)", "(nosuch)", "(code)", "(os)", "(__name__)"];
        let labels = self.pick(&labels);
        let matching =
            self.pick(&["on (job, instance)", "on (instance)", "ignoring (code, method, le)"]);
        let (side, left, right) = match self.one_in(2) {
            true => ("group_left", many, one),
            false => ("group_right", one, many),
        };
        let operator = self.operator();
        let modifiers = format!("{matching} {side} {labels} ");
        Expression::new(Vector, [left.into(), operator.into(), modifiers.into(), right.into()])
    }

    fn sets(&mut self, depth: u32) -> Expression {
        let (left, right) = (self.operand(depth), self.operand(depth));
        let operator = self.pick(SET_OPERATORS);
        let matching = match self.numbers.u8(0..4) {
            0 => format!("on {} ", self.label_list()),
            1 => format!("ignoring {} ", self.label_list()),
            _ => String::new(),
        };
        let operator = format!(" {operator} ").into();
        let pieces = [left.into(), operator, Piece::Optional(matching), right.into()];
        Expression::new(Vector, pieces)
    }

    /// A counter beside itself at another time.
    fn same_series(&mut self, depth: u32) -> Expression {
        let metric = self.pick(COUNTERS);
        let (left, right) = (self.selector_among(&[metric]), self.selector_among(&[metric]));
        let left = match depth {
            0 => left,
            _ => self.aggregate_of(left),
        };
        self.joined(left, "", right)
    }

    fn aggregate_of(&mut self, of: Expression) -> Expression {
        let name = self.pick(&["abs", "floor", "sgn"]);
        Expression::call(Vector, name, [of])
    }

    /// Whatever, with labels that may not fit.
    fn anything(&mut self, depth: u32) -> Expression {
        let (left, right) = (self.operand(depth), self.operand(depth));
        let matching = match self.numbers.u8(0..6) {
            0 => format!("on {} ", self.label_list()),
            1 => format!("ignoring {} ", self.label_list()),
            2 => format!("on {} group_left ", self.label_list()),
            3 => format!("ignoring {} group_right ", self.label_list()),
            _ => String::new(),
        };
        self.joined(left, &matching, right)
    }
}
