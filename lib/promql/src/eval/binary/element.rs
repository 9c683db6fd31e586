//! An operator between two samples, and between two columns.

use std::sync::Arc;

use narthex_model::{
    CounterResetHint, FloatHistogram,
    histogram::{Combined, IncompatibleBuckets},
    is_stale,
};

use crate::{
    annotations::Annotations,
    ast::{BinaryOp, ByteRange},
    value::{ABSENT, Column, Sample, SampleRef},
};

/// An operator as written in a query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    /// The operator.
    pub op: BinaryOp,
    /// `bool`
    pub return_bool: bool,
    /// The whole operation in the query's text.
    pub range: ByteRange,
}

/// An operator between scalars, whose comparisons are always `bool`.
pub(super) fn scalar_operation(op: BinaryOp, left: f64, right: f64) -> f64 {
    match compare(op, left, right) {
        Some(holds) => f64::from(u8::from(holds)),
        None => calculate(op, left, right),
    }
}

/// The result of an arithmetic operator.
fn calculate(op: BinaryOp, left: f64, right: f64) -> f64 {
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::Div => left / right,
        BinaryOp::Mod => left % right,
        BinaryOp::Pow => left.powf(right),
        BinaryOp::Atan2 => left.atan2(right),
        _ => f64::NAN,
    }
}

/// The result of a comparison; `None` if it is none.
fn compare(op: BinaryOp, left: f64, right: f64) -> Option<bool> {
    Some(match op {
        BinaryOp::Equal => left == right,
        BinaryOp::NotEqual => left != right,
        BinaryOp::Greater => left > right,
        BinaryOp::Less => left < right,
        BinaryOp::GreaterEqual => left >= right,
        BinaryOp::LessEqual => left <= right,
        _ => return None,
    })
}

impl Operation {
    /// Whether the result has no name: all but comparisons that filter.
    pub fn drops_name(self) -> bool {
        let is_trim = matches!(self.op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
        self.return_bool || !(self.op.is_comparison() || is_trim)
    }

    /// Whether it is a comparison that drops samples.
    pub fn is_filter(self) -> bool {
        self.op.is_comparison() && !self.return_bool
    }

    /// Runs the operator at every step at which both sides have a sample. `keeps_right` says that
    /// a filter keeps the right side's sample.
    pub fn columns(
        self,
        left: &Column,
        right: &Column,
        keeps_right: bool,
        annotations: &mut Annotations,
    ) -> Column {
        if left.has_histograms() || right.has_histograms() {
            let mut column = Column::absent(left.len());
            for step in 0..left.len() {
                let (Some(a), Some(b)) = (left.get(step), right.get(step)) else { continue };
                if let Some(sample) = self.samples(a, b, keeps_right, annotations) {
                    column.set(step, sample);
                }
            }
            return column;
        }
        let (left, right) = (left.floats(), right.floats());
        Column::from_floats(match self.op {
            BinaryOp::Add => zip(left, right, |a, b| a + b),
            BinaryOp::Sub => zip(left, right, |a, b| a - b),
            BinaryOp::Mul => zip(left, right, |a, b| a * b),
            BinaryOp::Div => zip(left, right, |a, b| a / b),
            BinaryOp::TrimUpper | BinaryOp::TrimLower => {
                if left.iter().zip(right).any(|(a, b)| !is_stale(*a) && !is_stale(*b)) {
                    self.incompatible_types("float", "float", annotations);
                }
                vec![ABSENT; left.len()]
            }
            op if op.is_comparison() && self.return_bool => {
                zip(left, right, |a, b| scalar_operation(op, a, b))
            }
            op if op.is_comparison() => zip(left, right, |a, b| {
                let kept = if keeps_right { b } else { a };
                if compare(op, a, b) == Some(true) { kept } else { ABSENT }
            }),
            op => zip(left, right, |a, b| calculate(op, a, b)),
        })
    }

    /// The result for two samples; `None` if they are filtered out or do not fit.
    pub fn samples(
        self,
        left: SampleRef<'_>,
        right: SampleRef<'_>,
        keeps_right: bool,
        annotations: &mut Annotations,
    ) -> Option<Sample> {
        use SampleRef::{Float, Histogram};
        match (left, right) {
            (Float(a), Float(b)) => match compare(self.op, a, b) {
                Some(holds) if self.return_bool => Some(Sample::Float(f64::from(u8::from(holds)))),
                Some(holds) => holds.then_some(Sample::Float(if keeps_right { b } else { a })),
                None if matches!(self.op, BinaryOp::TrimUpper | BinaryOp::TrimLower) => {
                    self.incompatible_types("float", "float", annotations);
                    None
                }
                None => Some(Sample::Float(calculate(self.op, a, b))),
            },
            (Float(a), Histogram(b)) => match self.op {
                BinaryOp::Mul => Some(Sample::from(b.mul(a))),
                _ => {
                    self.incompatible_types("float", "histogram", annotations);
                    None
                }
            },
            (Histogram(a), Float(b)) => match self.op {
                BinaryOp::Mul => Some(Sample::from(a.mul(b))),
                BinaryOp::Div => Some(Sample::from(a.div(b))),
                BinaryOp::TrimUpper => Some(Sample::from(a.trim_above(b))),
                BinaryOp::TrimLower => Some(Sample::from(a.trim_below(b))),
                _ => {
                    self.incompatible_types("histogram", "float", annotations);
                    None
                }
            },
            (Histogram(a), Histogram(b)) => self.histograms(a, b, annotations),
        }
    }

    fn histograms(
        self,
        left: &Arc<FloatHistogram>,
        right: &Arc<FloatHistogram>,
        annotations: &mut Annotations,
    ) -> Option<Sample> {
        match self.op {
            BinaryOp::Add => self.combined(left.add(right), "addition", annotations),
            BinaryOp::Sub => {
                let mut sample = self.combined(left.sub(right), "subtraction", annotations)?;
                if let Sample::Histogram(histogram) = &mut sample {
                    Arc::make_mut(histogram).counter_reset_hint = CounterResetHint::Gauge;
                }
                Some(sample)
            }
            BinaryOp::Equal | BinaryOp::NotEqual => {
                let holds = left.same_observations(right) == (self.op == BinaryOp::Equal);
                if self.return_bool {
                    return Some(Sample::Float(f64::from(u8::from(holds))));
                }
                holds.then(|| Sample::Histogram(Arc::clone(left)))
            }
            _ => {
                self.incompatible_types("histogram", "histogram", annotations);
                None
            }
        }
    }

    fn combined(
        self,
        combined: Result<Combined, IncompatibleBuckets>,
        noun: &str,
        annotations: &mut Annotations,
    ) -> Option<Sample> {
        let Ok(combined) = combined else {
            let op = self.op;
            let message =
                format!("incompatible bucket layout encountered for binary operator {op}");
            annotations.warn(message, self.range);
            return None;
        };
        if combined.has_conflicting_resets {
            let message = format!("conflicting counter resets during histogram {noun}");
            annotations.warn(message, self.range);
        }
        if combined.bounds_reconciled {
            let message = format!("mismatched custom buckets were reconciled during {noun}");
            annotations.inform(message, self.range);
        }
        Some(Sample::from(combined.histogram))
    }

    fn incompatible_types(self, left: &str, right: &str, annotations: &mut Annotations) {
        let op = self.op;
        let message = format!(
            "incompatible sample types encountered for binary operator \"{op}\": {left} {op} {right}"
        );
        annotations.inform(message, self.range);
    }
}

/// Joins two columns of floats; the result is absent where either is.
fn zip(left: &[f64], right: &[f64], op: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let pair = |(a, b): (&f64, &f64)| {
        if is_stale(*a) || is_stale(*b) { ABSENT } else { op(*a, *b) }
    };
    left.iter().zip(right).map(pair).collect()
}
