//! Operators that relate series, on the shards.
//!
//! The series of one target, those with the same `job` and `instance`, share a shard unless they
//! are *unkeyed*: without one of the two, or of a job that is spread. So where an operator keeps
//! both labels apart, the keyed series that it relates are all on one shard, and keyed and unkeyed
//! series never meet: each shard answers for its keyed series, and the querier for the unkeyed
//! ones, whose columns it is sent.

use std::sync::atomic::{AtomicU64, Ordering};

use narthex_model::{INSTANCE, JOB, Labels};

use super::place::{Place, place};
use crate::{
    SelectRequest, SelectedSeries, SeriesSource, SourceError,
    ast::{Aggregate, AggregateOp, Call, Expr, ExprKind, VectorMatching},
    types::ValueType,
};

/// The series of a shard that a fragment is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All of them.
    All,
    /// Those that share a shard with all series of their target.
    Keyed,
    /// The others.
    Unkeyed,
}

/// The series of a source that are in a scope.
pub struct ScopedSource<'a> {
    source: &'a dyn SeriesSource,
    scope: Scope,
    /// Tells by `job` and `instance` whether a series is keyed.
    is_keyed: &'a (dyn Fn(&str, &str) -> bool + Sync),
    left_out: AtomicU64,
}

impl<'a> ScopedSource<'a> {
    /// The series of `source` in `scope`.
    pub fn new(
        source: &'a dyn SeriesSource,
        scope: Scope,
        is_keyed: &'a (dyn Fn(&str, &str) -> bool + Sync),
    ) -> Self {
        Self { source, scope, is_keyed, left_out: AtomicU64::new(0) }
    }

    /// How many series were selected and are not in the scope, each counted as often as it was
    /// selected.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    fn has(&self, labels: &Labels) -> bool {
        let is_keyed = (self.is_keyed)(labels.value(JOB), labels.value(INSTANCE));
        match self.scope {
            Scope::All => true,
            Scope::Keyed => is_keyed,
            Scope::Unkeyed => !is_keyed,
        }
    }
}

impl SeriesSource for ScopedSource<'_> {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Vec<SelectedSeries>, SourceError> {
        let mut selected = self.source.select(request)?;
        if self.scope == Scope::All {
            return Ok(selected);
        }
        let found = selected.len();
        selected.retain(|series| self.has(&series.labels));
        self.left_out.fetch_add((found - selected.len()) as u64, Ordering::Relaxed);
        Ok(selected)
    }
}

/// Whether each series of the result has the `job` and `instance` of all series that it was made
/// from, so that shards can evaluate the expression for their keyed series.
pub(super) fn keeps_target(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => false,
        ExprKind::Selector(_) | ExprKind::Matrix(_) => true,
        ExprKind::Paren(inner) => keeps_target(inner),
        ExprKind::Unary(unary) => keeps_target(&unary.expr),
        ExprKind::Subquery(subquery) => keeps_target(&subquery.expr),
        ExprKind::Binary(binary) => match &binary.matching {
            Some(matching) => {
                tells_targets_apart(matching)
                    && keeps_target(&binary.lhs)
                    && keeps_target(&binary.rhs)
            }
            None => one_keeps_target([&binary.lhs, &binary.rhs]),
        },
        ExprKind::Aggregate(aggregate) => {
            groups_by_target(aggregate)
                && keeps_target(&aggregate.expr)
                && aggregate.param.as_ref().is_none_or(|param| place(param) == Place::Anywhere)
        }
        ExprKind::Call(call) => call_keeps_target(expr, call),
    }
}

/// Whether one expression keeps targets and the others need no series.
fn one_keeps_target<'a>(exprs: impl IntoIterator<Item = &'a Expr>) -> bool {
    let (mut kept, mut others) = (0, true);
    for expr in exprs {
        match keeps_target(expr) {
            true => kept += 1,
            // A vector from nowhere would be one on every shard.
            false => others &= place(expr) == Place::Anywhere && !is_vector(expr),
        }
    }
    kept == 1 && others
}

fn is_vector(expr: &Expr) -> bool {
    matches!(expr.value_type(), ValueType::Vector | ValueType::Matrix)
}

fn is_of_target(label: &str) -> bool {
    label == JOB || label == INSTANCE
}

/// Whether only series of one target meet.
fn tells_targets_apart(matching: &VectorMatching) -> bool {
    match matching.on {
        true => [JOB, INSTANCE].iter().all(|label| matching.labels.iter().any(|on| on == label)),
        false => !matching.labels.iter().any(|label| is_of_target(label)),
    }
}

/// Whether the series of a group are of one target, and what comes of them too.
fn groups_by_target(aggregate: &Aggregate) -> bool {
    if aggregate.op == AggregateOp::LimitRatio {
        // Elements are kept or not by their own labels.
        return true;
    }
    let names_value = |param: &Expr| matches!(&param.unwrapped().kind, ExprKind::String(label) if is_of_target(label));
    let overwrites = aggregate.op == AggregateOp::CountValues
        && aggregate.param.as_ref().is_some_and(names_value);
    let groups = match aggregate.without {
        true => !aggregate.labels.iter().any(|label| is_of_target(label)),
        false => [JOB, INSTANCE].iter().all(|label| aggregate.labels.iter().any(|by| by == label)),
    };
    groups && !overwrites
}

/// Functions whose result has a label that no series had, or an order.
const BREAKING: [&str; 9] = [
    "absent",
    "absent_over_time",
    "info",
    "scalar",
    "sort",
    "sort_by_label",
    "sort_by_label_desc",
    "sort_desc",
    "vector",
];

fn call_keeps_target(expr: &Expr, call: &Call) -> bool {
    let sets = |arg: &Expr| matches!(&arg.unwrapped().kind, ExprKind::String(label) if is_of_target(label));
    let overwrites =
        matches!(call.function.name, "label_replace" | "label_join" | "histogram_quantiles")
            && call.args.get(1).is_some_and(sets);
    !BREAKING.contains(&call.function.name)
        && !overwrites
        && is_vector(expr)
        && one_keeps_target(&call.args)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ParseOptions, parse};

    #[test]
    fn targets_are_kept_where_both_labels_stay() {
        let kept = [
            "up",
            "a / b",
            "a / ignoring (zone) b",
            "a * on (job, instance, zone) group_left (le) b",
            "a and b or c unless d",
            "(a > bool b) + 1",
            "2 ^ a",
            "sum by (job, instance) (a / b)",
            "quantile without (zone) (0.9, a)",
            "count_values by (job, instance) (\"value\", a)",
            "topk by (instance, job) (3, a)",
            "limit_ratio(0.5, a / b)",
            "histogram_quantile(0.9, rate(a[5m]))",
            "histogram_quantile(0.9, sum by (job, instance, le) (rate(a[5m])))",
            "label_replace(a, \"zone\", \"$1\", \"job\", \"(.*)\") / b",
            "max_over_time((a / b)[1h:1m])",
        ];
        let lost = [
            "1",
            "vector(1)",
            "a / on (instance) b",
            "a / ignoring (job) b",
            "a or vector(0)",
            "a + on (job, instance) (vector(1))",
            "a * scalar(b)",
            "sum(a)",
            "sum by (instance) (a)",
            "sum without (job) (a)",
            "topk(3, a)",
            "topk by (job, instance) (scalar(b), a)",
            "count_values by (job, instance) (\"job\", a)",
            "count_values without (zone) (\"instance\", a)",
            "histogram_quantile(scalar(b), a)",
            "histogram_quantiles(a, \"job\", 0.5)",
            "label_replace(a, \"job\", \"$1\", \"zone\", \"(.*)\")",
            "label_join(a, \"instance\", \"-\", \"zone\")",
            "absent(a)",
            "sort(a)",
            "info(a)",
        ];
        for (texts, expected) in [(&kept[..], true), (&lost[..], false)] {
            for text in texts {
                let expr = parse(text, &ParseOptions::everything()).expect("valid");
                assert_eq!(keeps_target(&expr), expected, "{text}");
            }
        }
    }
}
