//! Collecting series, dropping their names, and giving answers their shapes.

use std::{collections::HashMap, mem};

use narthex_model::{Labels, METRIC_NAME, Timestamp};

use super::{
    EvalError, Grid,
    evaluator::{Evaluator, Item},
};
use crate::value::{Column, MatrixSeries, SampleBuffer, SampleRef, Series, VectorElement};

/// The labels that go with a metric's name.
pub(crate) const NAME_LABELS: [&str; 3] = [METRIC_NAME, "__type__", "__unit__"];

/// The labels without those that go with a metric's name.
pub(crate) fn without_name(labels: &Labels) -> Labels {
    labels.filtered(|name| !NAME_LABELS.contains(&name))
}

/// Collects series as they are made.
pub(super) struct Collector {
    series: Vec<Series>,
    is_delayed: bool,
    has_dropped: bool,
}

impl Collector {
    /// `is_delayed` says whether dropped names are only flagged.
    pub fn new(is_delayed: bool) -> Self {
        Self { series: Vec::new(), is_delayed, has_dropped: false }
    }

    /// Takes a series, unless it has no sample.
    pub fn take(&mut self, evaluator: &mut Evaluator<'_>, item: Item<'_>) -> Result<(), EvalError> {
        if !item.column.has_samples() {
            return Ok(());
        }
        evaluator.charge(item.column.sample_weight())?;
        let drops_now = item.drop_name && !self.is_delayed;
        self.has_dropped |= drops_now;
        self.series.push(Series {
            labels: if drops_now { without_name(item.labels) } else { item.labels.clone() },
            drop_name: item.drop_name && self.is_delayed,
            column: mem::take(item.column),
        });
        Ok(())
    }

    /// The series. Fails if two became the same.
    pub fn finish(self) -> Result<Vec<Series>, EvalError> {
        if self.has_dropped { merge_same_labels(self.series) } else { Ok(self.series) }
    }
}

/// Drops the names that are flagged.
pub(super) fn finish_names(mut series: Vec<Series>) -> Result<Vec<Series>, EvalError> {
    let mut has_dropped = false;
    for series in &mut series {
        if mem::take(&mut series.drop_name) {
            series.labels = without_name(&series.labels);
            has_dropped = true;
        }
    }
    if has_dropped { merge_same_labels(series) } else { Ok(series) }
}

/// Makes series of equal labels one. Fails if two of them have a sample at the same step.
pub(crate) fn merge_same_labels(series: Vec<Series>) -> Result<Vec<Series>, EvalError> {
    let mut places: HashMap<Labels, usize> = HashMap::with_capacity(series.len());
    let mut merged: Vec<Series> = Vec::with_capacity(series.len());
    for series in series {
        match places.get(&series.labels) {
            Some(&at) => merge_columns(&mut merged[at].column, &series.column)?,
            None => {
                places.insert(series.labels.clone(), merged.len());
                merged.push(series);
            }
        }
    }
    Ok(merged)
}

fn merge_columns(into: &mut Column, from: &Column) -> Result<(), EvalError> {
    for step in 0..from.len() {
        let Some(sample) = from.get(step) else { continue };
        if into.is_present(step) {
            return Err(EvalError::SameLabelset);
        }
        into.set(step, sample.to_owned());
    }
    Ok(())
}

/// The answer to an instant query, in the order of the series.
pub(super) fn to_vector(series: Vec<Series>, timestamp: Timestamp) -> Vec<VectorElement> {
    let element = |series: Series| {
        let sample = series.column.get(0)?.to_owned();
        Some(VectorElement { labels: series.labels, timestamp, sample })
    };
    series.into_iter().filter_map(element).collect()
}

/// The answer to a range query, sorted by labels.
pub(super) fn to_matrix(series: Vec<Series>, grid: Grid) -> Vec<MatrixSeries> {
    let mut matrix: Vec<MatrixSeries> = series
        .into_iter()
        .map(|series| {
            let mut samples = SampleBuffer::new();
            push_column(&mut samples, &series.column, grid);
            MatrixSeries { labels: series.labels, samples }
        })
        .filter(|series| !series.samples.is_empty())
        .collect();
    matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
    matrix
}

/// Appends the samples of a column as raw samples.
pub(super) fn push_column(samples: &mut SampleBuffer, column: &Column, grid: Grid) {
    if !column.has_histograms() {
        samples.extend_present(grid.times(), column.floats());
        return;
    }
    for (step, time) in grid.times().enumerate() {
        match column.get(step) {
            Some(SampleRef::Float(value)) => samples.push_float(time, value),
            Some(SampleRef::Histogram(histogram)) => {
                samples.push_histogram(time, histogram.clone());
            }
            None => {}
        }
    }
}
