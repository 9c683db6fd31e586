//! Operators that choose among series: `topk bottomk limitk limit_ratio`.

use std::cmp::Ordering;

use narthex_model::number::format_exposition;

use super::Grouping;
use crate::{
    ast::{Aggregate, AggregateOp, ByteRange},
    eval::{EvalError, Grid, evaluator::Evaluator},
    value::Series,
};

impl<'a> Evaluator<'a> {
    /// Chooses among the series of each group, step by step. `range` is that of the aggregation.
    pub(super) fn choose(
        &mut self,
        range: ByteRange,
        aggregate: &Aggregate,
        grid: Grid,
    ) -> Result<Vec<Series>, EvalError> {
        let param = aggregate.param.as_ref().expect("BUG: the parser demands a parameter");
        let amounts = self.scalar(param, grid)?;
        let vector = self.vector(&aggregate.expr, grid)?;
        let is_ratio = aggregate.op == AggregateOp::LimitRatio;
        if !is_ratio && amounts.iter().all(|amount| *amount < 1.0) {
            // Nothing is chosen, so that not even minus infinity is too small.
            return Ok(Vec::new());
        }
        self.check_amounts(aggregate.op, &amounts, param.unwrapped().range)?;
        let mut grouping = Grouping::new(aggregate, self.options.has_delayed_name_removal);
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (at, series) in vector.iter().enumerate() {
            let group = grouping.find(&series.labels, series.drop_name);
            groups.resize_with(groups.len().max(group + 1), Vec::new);
            groups[group].push(at);
        }
        match aggregate.op {
            AggregateOp::Limitk => Ok(limit(vector, &groups, &amounts, grid)),
            AggregateOp::LimitRatio => Ok(limit_ratio(vector, &amounts)),
            op => {
                if vector.iter().any(|series| series.column.has_histograms()) {
                    let message = format!("ignored histogram in {op} aggregation");
                    self.annotations.inform(message, range);
                }
                let ranking = Ranking { is_top: op == AggregateOp::Topk, groups, amounts, grid };
                Ok(ranking.choose(vector))
            }
        }
    }

    fn check_amounts(
        &mut self,
        op: AggregateOp,
        amounts: &[f64],
        range: ByteRange,
    ) -> Result<(), EvalError> {
        let is_ratio = op == AggregateOp::LimitRatio;
        for amount in amounts {
            if amount.is_nan() {
                let noun = if is_ratio { "Ratio" } else { "Parameter" };
                return Err(EvalError::Argument(format!("{noun} value is NaN")));
            }
            if is_ratio && amount.abs() > 1.0 {
                let cap = amount.signum();
                let message = format!(
                    "ratio value should be between -1 and 1, got {}, capping to {}",
                    format_exposition(*amount),
                    format_exposition(cap)
                );
                self.annotations.warn(message, range);
            } else if !is_ratio && (*amount >= i64::MAX as f64 || *amount <= i64::MIN as f64) {
                let amount = format_exposition(*amount);
                return Err(EvalError::Argument(format!("Scalar value {amount} overflows int64")));
            }
        }
        Ok(())
    }
}

/// Keeps the first `amounts[step]` series of each group.
fn limit(
    mut vector: Vec<Series>,
    groups: &[Vec<usize>],
    amounts: &[f64],
    grid: Grid,
) -> Vec<Series> {
    for group in groups {
        let mut kept = vec![0.0; grid.len];
        for at in group {
            let column = &mut vector[*at].column;
            for step in 0..grid.len {
                if !column.is_present(step) {
                    continue;
                }
                // Parts of a series are no series.
                if kept[step] < amounts[step].trunc() {
                    kept[step] += 1.0;
                } else {
                    column.remove(step);
                }
            }
        }
    }
    vector.retain(|series| series.column.has_samples());
    vector
}

/// Keeps series by the hash of their labels: a ratio and its complement keep each one exactly once.
fn limit_ratio(mut vector: Vec<Series>, ratios: &[f64]) -> Vec<Series> {
    for series in &mut vector {
        let place = series.labels.sampling_hash() as f64 / u64::MAX as f64;
        series.column.retain_steps(|step| {
            let ratio = ratios[step].clamp(-1.0, 1.0);
            if ratio >= 0.0 { place < ratio } else { place >= 1.0 + ratio }
        });
    }
    vector.retain(|series| series.column.has_samples());
    vector
}

/// `topk` and `bottomk`.
struct Ranking {
    is_top: bool,
    groups: Vec<Vec<usize>>,
    amounts: Vec<f64>,
    grid: Grid,
}

impl Ranking {
    fn choose(&self, mut vector: Vec<Series>) -> Vec<Series> {
        vector.iter_mut().for_each(|series| series.column.remove_histograms());
        let mut order: Vec<usize> = Vec::new();
        for group in &self.groups {
            let mut ranked: Vec<usize> = Vec::new();
            for step in 0..self.grid.len {
                ranked = self.rank(group, &vector, step);
                let kept = self.amounts[step].max(0.0) as usize;
                for at in ranked.split_off(kept.min(ranked.len())) {
                    vector[at].column.remove(step);
                }
            }
            // Only an instant query shows the order, and it has but one step.
            if self.grid.len == 1 { order.append(&mut ranked) } else { order.extend(group) }
        }
        let mut vector: Vec<Option<Series>> = vector.into_iter().map(Some).collect();
        let chosen = order.into_iter().filter_map(|at| vector[at].take());
        chosen.filter(|series| series.column.has_samples()).collect()
    }

    /// The series of a group that have a float at a step, best first; NaN is worst.
    fn rank(&self, group: &[usize], vector: &[Series], step: usize) -> Vec<usize> {
        let value = |at: usize| vector[at].column.floats()[step];
        let mut ranked: Vec<usize> =
            group.iter().copied().filter(|at| vector[*at].column.float(step).is_some()).collect();
        ranked.sort_by(|a, b| self.compare(value(*a), value(*b)));
        ranked
    }

    fn compare(&self, a: f64, b: f64) -> Ordering {
        match (a.is_nan(), b.is_nan()) {
            (false, false) if self.is_top => b.partial_cmp(&a).expect("neither is NaN"),
            (false, false) => a.partial_cmp(&b).expect("neither is NaN"),
            (a, b) => a.cmp(&b),
        }
    }
}
