//! Aggregations worked out in parts: each shard reduces its own series, the querier merges.
//!
//! A part is a set of columns, so that it travels like any result:
//!
//! | operator | columns |
//! |---|---|
//! | `sum` | sum, what it lost |
//! | `avg` | sum, what it lost, count; or mean, what it lost, minus count, if the sum overflows |
//! | `stddev` `stdvar` | mean, sum of squared distances, count |
//! | `min` `max` `count` `group` | the value |
//!
//! A step whose samples do not combine has a second column without a first one.
//!
//! Merged parts equal the aggregation over all series, up to the last bits that compensation
//! leaves open. Operators that keep elements need no parts: choosing from what shards chose is
//! choosing from all.

use narthex_model::{
    KahanSum, Labels,
    histogram::{HistogramMean, HistogramSum},
};

use super::{
    AggregateNotes,
    reduce::{Combining, GroupState, Met, Moments, State, add_extremes},
};
use crate::{
    annotations::Annotations,
    ast::{Aggregate, AggregateOp, ByteRange, Expr, ExprKind},
    eval::{EvalError, EvalOptions, EvalStats, Grid, Inputs, evaluator::Evaluator},
    functions::over_time::FloatMean,
    value::{Column, Sample, SampleRef, Series},
};

/// A group's part.
#[derive(Debug, Clone, PartialEq)]
pub struct PartialAggregate {
    /// The group's labels.
    pub labels: Labels,
    /// Whether its name goes when the query ends.
    pub drop_name: bool,
    /// The columns of the table above.
    pub columns: Vec<Column>,
}

/// All parts that one shard has.
#[derive(Debug)]
pub struct PartialColumns {
    /// One per group.
    pub groups: Vec<PartialAggregate>,
    /// What is odd about them.
    pub annotations: Annotations,
    /// What it took.
    pub stats: EvalStats,
}

/// Whether an aggregation can be worked out in parts.
pub fn has_partial_form(op: AggregateOp) -> bool {
    use AggregateOp::{Avg, Count, Group, Max, Min, Stddev, Stdvar, Sum};
    matches!(op, Sum | Avg | Min | Max | Count | Group | Stddev | Stdvar)
}

/// Works out the part of the aggregation `expr` that the source's series make.
///
/// Panics if `expr` is no aggregation that [`has_partial_form`].
pub fn evaluate_partial(
    expr: &Expr,
    options: &EvalOptions,
    inputs: Inputs<'_>,
) -> Result<PartialColumns, EvalError> {
    let ExprKind::Aggregate(aggregate) = &expr.unwrapped().kind else {
        panic!("BUG: {expr:?} is no aggregation");
    };
    let mut evaluator = Evaluator::new(options, inputs);
    let groups = evaluator.reduce(aggregate, Grid::new(&options.steps))?;
    let groups = groups.into_iter().map(GroupState::into_partial).collect();
    let (annotations, stats) = evaluator.finish();
    Ok(PartialColumns { groups, annotations, stats })
}

/// Merges the parts of all shards for `aggregate`, over `len` steps. The order of the parts does
/// not matter beyond the last bits.
pub fn merge_partials(
    aggregate: &Aggregate,
    parts: impl IntoIterator<Item = PartialAggregate>,
    len: usize,
    annotations: &mut Annotations,
) -> Vec<Series> {
    let range: ByteRange = aggregate.expr.unwrapped().range;
    let mut notes = AggregateNotes { annotations, range, op: aggregate.op };
    let mut places: std::collections::HashMap<Labels, usize> = std::collections::HashMap::new();
    let mut groups: Vec<GroupState> = Vec::new();
    for part in parts {
        let at = *places.entry(part.labels.clone()).or_insert_with(|| {
            groups.push(GroupState::new(aggregate.op, part.labels.clone(), len));
            groups.len() - 1
        });
        groups[at].drop_name |= part.drop_name;
        groups[at].merge(&part, &mut notes);
    }
    let series = groups.into_iter().map(|group| group.finish(&mut notes));
    series.filter(|series| series.column.has_samples()).collect()
}

impl GroupState {
    fn into_partial(self) -> PartialAggregate {
        let columns = match self.state {
            State::Sum(state) => sum_columns(state),
            State::Avg(state) => mean_columns(state),
            State::Extreme { column, .. } | State::Count(column) | State::Group(column) => {
                vec![column]
            }
            State::Deviation { moments, .. } => moments_columns(&moments),
        };
        PartialAggregate { labels: self.labels, drop_name: self.drop_name, columns }
    }

    fn merge(&mut self, part: &PartialAggregate, notes: &mut AggregateNotes<'_>) {
        let columns = &part.columns;
        match &mut self.state {
            State::Sum(state) => merge_sums(state, columns, &part.labels, notes),
            State::Avg(state) => merge_means(state, columns, &part.labels, notes),
            State::Extreme { is_max, column } => {
                add_extremes(column.floats_mut(), columns[0].floats(), *is_max);
            }
            State::Count(counts) => {
                for step in 0..counts.len() {
                    if let Some(more) = columns[0].float(step) {
                        let count = counts.float(step).unwrap_or(0.0);
                        counts.set_float(step, count + more);
                    }
                }
            }
            State::Group(present) => {
                for step in 0..present.len() {
                    if columns[0].is_present(step) {
                        present.set_float(step, 1.0);
                    }
                }
            }
            State::Deviation { moments, .. } => {
                for (step, moments) in moments.iter_mut().enumerate() {
                    let part = [0, 1, 2].map(|at: usize| columns[at].float(step));
                    if let [Some(mean), Some(squares), Some(count)] = part {
                        moments.merge(Moments { count, mean, squares });
                    }
                }
            }
        }
    }
}

fn sum_columns(state: Combining<KahanSum, HistogramSum>) -> Vec<Column> {
    let mut columns = vec![Column::absent(state.met.len()); 2];
    let mut histograms = state.histograms.into_iter();
    for (step, met) in state.met.iter().enumerate() {
        let histogram = histograms.next().flatten();
        match met {
            Met::Nothing => {}
            Met::Unfit => columns[1].set_float(step, 0.0),
            Met::Floats => {
                columns[0].set_float(step, state.floats[step].sum);
                columns[1].set_float(step, state.floats[step].lost);
            }
            Met::Histograms => {
                let (total, lost) = histogram.expect("was met").into_parts();
                columns[0].set(step, Sample::from(total));
                columns[1].set(step, Sample::from(lost));
            }
        }
    }
    columns
}

fn mean_columns(state: Combining<FloatMean, HistogramMean>) -> Vec<Column> {
    let mut columns = vec![Column::absent(state.met.len()); 3];
    let mut histograms = state.histograms.into_iter();
    for (step, met) in state.met.iter().enumerate() {
        let histogram = histograms.next().flatten();
        match met {
            Met::Nothing => {}
            Met::Unfit => columns[1].set_float(step, 0.0),
            Met::Floats => {
                for (column, part) in columns.iter_mut().zip(state.floats[step].into_parts()) {
                    column.set_float(step, part);
                }
            }
            Met::Histograms => {
                let (total, lost, len) = histogram.expect("was met").into_parts();
                columns[0].set(step, Sample::from(total));
                columns[1].set(step, Sample::from(lost));
                columns[2].set_float(step, len);
            }
        }
    }
    columns
}

fn moments_columns(moments: &[Moments]) -> Vec<Column> {
    let mut columns = vec![Column::absent(moments.len()); 3];
    for (step, moments) in moments.iter().enumerate() {
        if moments.count > 0.0 {
            columns[0].set_float(step, moments.mean);
            columns[1].set_float(step, moments.squares);
            columns[2].set_float(step, moments.count);
        }
    }
    columns
}

fn merge_sums(
    state: &mut Combining<KahanSum, HistogramSum>,
    columns: &[Column],
    labels: &Labels,
    notes: &mut AggregateNotes<'_>,
) {
    let [sums, lost] = columns else { return };
    for step in 0..state.met.len() {
        match (sums.get(step), lost.get(step)) {
            (Some(SampleRef::Float(sum)), Some(SampleRef::Float(lost))) => {
                let part = KahanSum { sum, lost };
                state.merge_float(step, notes, |state| state.merge(part));
            }
            (Some(SampleRef::Histogram(total)), Some(SampleRef::Histogram(lost))) => {
                let part = HistogramSum::from_parts(total, lost);
                state.merge_histogram(step, labels, part, notes);
            }
            (None, None) => {}
            _ => state.met[step] = Met::Unfit,
        }
    }
}

fn merge_means(
    state: &mut Combining<FloatMean, HistogramMean>,
    columns: &[Column],
    labels: &Labels,
    notes: &mut AggregateNotes<'_>,
) {
    let [sums, lost, counts] = columns else { return };
    for step in 0..state.met.len() {
        let count = counts.float(step).unwrap_or(1.0);
        match (sums.get(step), lost.get(step)) {
            (Some(SampleRef::Float(sum)), Some(SampleRef::Float(lost))) => {
                let part = FloatMean::from_parts([sum, lost, count]);
                state.merge_float(step, notes, |state| state.merge(&part));
            }
            (Some(SampleRef::Histogram(total)), Some(SampleRef::Histogram(lost))) => {
                let part = HistogramMean::from_parts(total, lost, count);
                state.merge_histogram(step, labels, part, notes);
            }
            (None, None) => {}
            _ => state.met[step] = Met::Unfit,
        }
    }
}
