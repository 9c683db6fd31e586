//! Durations, which may be calculated from the query's step and range.

use super::ByteRange;

/// A duration and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct DurationExpr {
    /// What it is.
    pub kind: DurationKind,
    /// Where it stands in the query's text.
    pub range: ByteRange,
}

/// What a duration is.
#[derive(Debug, Clone, PartialEq)]
pub enum DurationKind {
    /// A length written down, `5m`, or a number of seconds, `300`.
    Literal(DurationLiteral),
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// `-duration`
    Negate(Box<DurationExpr>),
    /// `lhs + rhs`, `min_of(lhs, rhs)`
    Binary(DurationOp, Box<DurationExpr>, Box<DurationExpr>),
    /// `(duration)`
    Paren(Box<DurationExpr>),
}

/// What joins two durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DurationOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `min_of(a, b)`
    MinOf,
    /// `max_of(a, b)`
    MaxOf,
}

/// A length written down.
#[derive(Debug, Clone, Copy)]
pub struct DurationLiteral {
    /// Seconds.
    pub seconds: f64,
    /// Whether it was written with units, `5m`, and not as a number.
    pub has_unit: bool,
}

impl PartialEq for DurationLiteral {
    /// By bits, as [`super::NumberLiteral`].
    fn eq(&self, other: &Self) -> bool {
        self.seconds.to_bits() == other.seconds.to_bits() && self.has_unit == other.has_unit
    }
}

impl DurationLiteral {
    /// Milliseconds, rounded half away from zero; the ends of `i64` beyond its range.
    pub fn millis(self) -> i64 {
        (self.seconds * 1000.0).round() as i64
    }
}

impl DurationExpr {
    /// A plain duration of `millis` that stands at `range`.
    pub fn from_millis(millis: i64, range: ByteRange) -> Self {
        let literal = DurationLiteral { seconds: millis as f64 / 1000.0, has_unit: true };
        Self { kind: DurationKind::Literal(literal), range }
    }

    /// The length, if it needs no calculation.
    pub fn literal(&self) -> Option<DurationLiteral> {
        match &self.kind {
            DurationKind::Literal(literal) => Some(*literal),
            _ => None,
        }
    }

    /// Milliseconds of a duration that needs no calculation.
    ///
    /// Panics otherwise: [`crate::resolve()`] replaces calculations by lengths before evaluation.
    pub fn millis(&self) -> i64 {
        self.literal().expect("BUG: duration expression was not resolved").millis()
    }
}
