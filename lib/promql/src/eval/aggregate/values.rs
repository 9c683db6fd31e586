//! Operators that need all values of a group at once: `quantile`, `count_values`.

use std::collections::HashMap;

use narthex_model::{Labels, METRIC_NAME, number::format_label, quote};

use super::Grouping;
use crate::{
    ast::Aggregate,
    eval::{EvalError, Grid, collect::merge_same_labels, evaluator::Evaluator},
    functions::{
        labels::is_valid_label_name,
        quantile::{quantile_of_sorted, sort},
    },
    value::{Column, SampleRef, Series},
};

impl<'a> Evaluator<'a> {
    /// `quantile`
    pub(super) fn quantile(
        &mut self,
        aggregate: &Aggregate,
        grid: Grid,
    ) -> Result<Vec<Series>, EvalError> {
        let param = aggregate.param.as_ref().expect("BUG: the parser demands a parameter");
        let quantiles = self.scalar(param, grid)?;
        // Of a parameter that changes from step to step, only the extremes are told.
        let nan = quantiles.iter().copied().find(|q| q.is_nan());
        let largest = quantiles.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let smallest = quantiles.iter().copied().fold(f64::INFINITY, f64::min);
        let odd = [nan, Some(largest).filter(|q| *q > 1.0), Some(smallest).filter(|q| *q < 0.0)];
        odd.into_iter().flatten().for_each(|q| self.warn_of_quantile(q, param.unwrapped().range));
        let vector = self.vector(&aggregate.expr, grid)?;
        if vector.iter().any(|series| series.column.has_histograms()) {
            let message = "ignored histogram in quantile aggregation";
            self.annotations.inform(message, aggregate.expr.unwrapped().range);
        }
        let mut result = Vec::new();
        for group in self.groups(aggregate, &vector) {
            let mut column = Column::absent(grid.len);
            for (step, q) in quantiles.iter().enumerate() {
                let mut values: Vec<f64> =
                    group.members.iter().filter_map(|series| series.column.float(step)).collect();
                if !values.is_empty() {
                    column.set_float(step, quantile_of_sorted(*q, sort(&mut values)));
                }
            }
            result.push(Series { labels: group.labels, drop_name: group.drop_name, column });
        }
        self.finish_groups(result)
    }

    /// `count_values`
    pub(super) fn count_values(
        &mut self,
        aggregate: &Aggregate,
        grid: Grid,
    ) -> Result<Vec<Series>, EvalError> {
        let param = aggregate.param.as_ref().expect("BUG: the parser demands a parameter");
        let label = self.string(param);
        if !is_valid_label_name(label) {
            let label = quote(label);
            return Err(EvalError::Argument(format!("invalid label name {label}")));
        }
        // Series are grouped once they have the label: one that is grouped away tells nothing apart.
        let is_hidden = aggregate.without
            && (label == METRIC_NAME || aggregate.labels.iter().any(|other| other == label));
        let vector = self.vector(&aggregate.expr, grid)?;
        let mut result = Vec::new();
        for group in self.groups(aggregate, &vector) {
            let mut counts: HashMap<String, Column> = HashMap::new();
            for series in &group.members {
                for step in 0..grid.len {
                    let Some(sample) = series.column.get(step) else { continue };
                    let text = match sample {
                        _ if is_hidden => String::new(),
                        SampleRef::Float(value) => format_label(value),
                        SampleRef::Histogram(histogram) => histogram.to_string(),
                    };
                    let column = counts.entry(text).or_insert_with(|| Column::absent(grid.len));
                    let count = column.float(step).unwrap_or(0.0);
                    column.set_float(step, count + 1.0);
                }
            }
            for (text, column) in counts {
                let mut builder = group.labels.to_builder();
                let labels =
                    if is_hidden { builder.build() } else { builder.set(label, text).build() };
                result.push(Series { labels, drop_name: group.drop_name, column });
            }
        }
        // A grouping label of the same name is overwritten, which may make groups one.
        let merged = add_up_same_labels(result)?;
        self.finish_groups(merged)
    }

    fn groups<'v>(&self, aggregate: &Aggregate, vector: &'v [Series]) -> Vec<Group<'v>> {
        let mut grouping = Grouping::new(aggregate, self.options.has_delayed_name_removal);
        let mut groups: Vec<Group<'v>> = Vec::new();
        for series in vector {
            let at = grouping.find(&series.labels, series.drop_name);
            if at == groups.len() {
                let labels = grouping.labels(at).clone();
                groups.push(Group { labels, drop_name: false, members: Vec::new() });
            }
            groups[at].drop_name |= series.drop_name && grouping.keeps_name();
            groups[at].members.push(series);
        }
        groups
    }
}

struct Group<'v> {
    labels: Labels,
    drop_name: bool,
    members: Vec<&'v Series>,
}

/// Adds up the counts of series of equal labels.
fn add_up_same_labels(series: Vec<Series>) -> Result<Vec<Series>, EvalError> {
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut sums: Vec<Series> = Vec::new();
    for series in series {
        match places.get(&series.labels) {
            None => {
                places.insert(series.labels.clone(), sums.len());
                sums.push(series);
            }
            Some(&at) => {
                for step in 0..series.column.len() {
                    let Some(count) = series.column.float(step) else { continue };
                    let known = sums[at].column.float(step).unwrap_or(0.0);
                    sums[at].column.set_float(step, known + count);
                }
            }
        }
    }
    merge_same_labels(sums)
}
