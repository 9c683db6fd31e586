//! Aggregations.
//!
//! Operators that reduce a group to one series take series as they are made and keep one state per
//! group and step. Operators that choose among series, and those that need all values of a group
//! at once, collect first.

mod grouping;
mod partial;
mod rank;
mod reduce;
mod values;

use narthex_model::Labels;

use super::{
    EvalError, Grid,
    collect::finish_names,
    evaluator::{Evaluator, Item},
};
use crate::{
    annotations::Annotations,
    ast::{Aggregate, AggregateOp, ByteRange, Expr, ExprKind},
    value::Series,
};
use grouping::Grouping;
pub use partial::{
    PartialAggregate, PartialColumns, evaluate_partial, has_partial_form, merge_partials,
};
use reduce::GroupState;

/// What an aggregation says about its answer.
pub(super) struct AggregateNotes<'n> {
    pub annotations: &'n mut Annotations,
    /// The aggregated vector in the query's text, without brackets around it.
    pub range: ByteRange,
    pub op: AggregateOp,
}

impl AggregateNotes<'_> {
    /// Histograms were left out.
    pub fn histograms_ignored(&mut self) {
        let message = format!("ignored histogram in {} aggregation", self.op);
        self.annotations.inform(message, self.range);
    }

    /// A group held floats and histograms and was dropped.
    pub fn mixed_kinds(&mut self) {
        let message = "encountered a mix of histograms and floats for aggregation";
        self.annotations.warn(message, self.range);
    }

    /// A group held histograms that do not combine and was dropped.
    pub fn mixed_schemas(&mut self, metric: &str) {
        let message =
            "vector contains a mix of histograms with exponential and custom buckets schemas";
        self.annotations.warn(crate::annotations::for_any_metric(message, metric), self.range);
    }

    /// Histograms marked as reset and as not reset were added up.
    pub fn conflicting_resets(&mut self) {
        let message = "conflicting counter resets during histogram aggregation";
        self.annotations.warn(message, self.range);
    }

    /// Custom bounds differed.
    pub fn bounds_reconciled(&mut self) {
        let message = "mismatched custom buckets were reconciled during aggregation";
        self.annotations.inform(message, self.range);
    }
}

impl<'a> Evaluator<'a> {
    /// An aggregation.
    pub(super) fn aggregate(
        &mut self,
        expr: &Expr,
        aggregate: &Aggregate,
        grid: Grid,
    ) -> Result<Vec<Series>, EvalError> {
        match aggregate.op {
            AggregateOp::Topk
            | AggregateOp::Bottomk
            | AggregateOp::Limitk
            | AggregateOp::LimitRatio => self.choose(expr.range, aggregate, grid),
            AggregateOp::Quantile => self.quantile(aggregate, grid),
            AggregateOp::CountValues => self.count_values(aggregate, grid),
            _ => {
                let groups = self.reduce(aggregate, grid)?;
                let mut notes = AggregateNotes {
                    annotations: &mut self.annotations,
                    range: aggregate.expr.unwrapped().range,
                    op: aggregate.op,
                };
                let series = groups.into_iter().map(|group| group.finish(&mut notes)).collect();
                self.finish_groups(series)
            }
        }
    }

    /// Reduces each group of series as they are made.
    fn reduce(&mut self, aggregate: &Aggregate, grid: Grid) -> Result<Vec<GroupState>, EvalError> {
        let mut grouping = Grouping::new(aggregate, self.options.has_delayed_name_removal);
        let mut groups: Vec<GroupState> = Vec::new();
        let op = aggregate.op;
        let range = aggregate.expr.unwrapped().range;
        let nameless = Labels::empty();
        let mut add = |evaluator: &mut Self, item: Item<'_>| {
            if !item.column.has_samples() {
                return Ok(());
            }
            let at = grouping.find(item.labels, item.drop_name);
            if at == groups.len() {
                evaluator.charge(grid.len)?;
                groups.push(GroupState::new(op, grouping.labels(at).clone(), grid.len));
            }
            let annotations = &mut evaluator.annotations;
            let mut notes = AggregateNotes { annotations, range, op };
            let group = &mut groups[at];
            group.drop_name |= item.drop_name && grouping.keeps_name();
            let is_dropped = item.drop_name && !evaluator.options.has_delayed_name_removal;
            let named = if is_dropped { &nameless } else { item.labels };
            group.add(named, item.column, &mut notes);
            Ok(())
        };
        let expr = &aggregate.expr;
        if self.options.has_delayed_name_removal || !may_lose_names_apart(expr) {
            self.stream(expr, grid, &mut add)?;
        } else {
            // Collected, they are found to be the same before they are added up.
            for mut series in self.vector(expr, grid)? {
                let Series { labels, drop_name, column } = &mut series;
                add(self, Item { labels, drop_name: *drop_name, column })?;
            }
        }
        Ok(groups)
    }

    /// Drops groups without samples, and names that are not to be kept.
    fn finish_groups(&self, mut series: Vec<Series>) -> Result<Vec<Series>, EvalError> {
        series.retain(|series| series.column.has_samples());
        if self.options.has_delayed_name_removal { Ok(series) } else { finish_names(series) }
    }
}

/// Whether series may come that a function has made the same by dropping their names: a function
/// of series of several metrics.
fn may_lose_names_apart(expr: &Expr) -> bool {
    match &expr.unwrapped().kind {
        ExprKind::Call(call) => call.args.iter().any(has_several_metrics),
        _ => false,
    }
}

fn has_several_metrics(expr: &Expr) -> bool {
    match &expr.unwrapped().kind {
        ExprKind::Selector(selector) => selector.metric_name().is_none(),
        ExprKind::Matrix(matrix) => matrix.selector.metric_name().is_none(),
        ExprKind::Subquery(subquery) => has_several_metrics(&subquery.expr),
        ExprKind::Call(call) => call.args.iter().any(has_several_metrics),
        ExprKind::Number(_) | ExprKind::String(_) => false,
        ExprKind::Unary(_) | ExprKind::Binary(_) | ExprKind::Aggregate(_) => true,
        ExprKind::Paren(inner) => has_several_metrics(inner),
    }
}
