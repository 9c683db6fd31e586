//! Operators that reduce a group to one series: `sum avg min max count group stddev stdvar`.

use std::sync::Arc;

use narthex_model::{
    FloatHistogram, KahanSum, Labels,
    histogram::{HistogramMean, HistogramSum, IncompatibleBuckets},
    is_stale,
};

use super::AggregateNotes;
use crate::{
    ast::AggregateOp,
    functions::over_time::FloatMean,
    value::{Column, Sample, Series},
};

/// A group while its series come in.
pub(super) struct GroupState {
    pub labels: Labels,
    pub drop_name: bool,
    pub state: State,
}

/// What a group has come to at each step.
pub(super) enum State {
    Sum(Combining<KahanSum, HistogramSum>),
    Avg(Combining<FloatMean, HistogramMean>),
    Extreme { is_max: bool, column: Column },
    Count(Column),
    Group(Column),
    Deviation { is_root: bool, moments: Vec<Moments> },
}

/// Count, mean and sum of squared distances from the mean.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moments {
    pub count: f64,
    pub mean: f64,
    pub squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    /// Adds the moments of another part of the group.
    pub fn merge(&mut self, other: Self) {
        if self.count == 0.0 {
            *self = other;
        } else if other.count > 0.0 {
            let count = self.count + other.count;
            let delta = other.mean - self.mean;
            self.squares += other.squares + delta * delta * self.count * other.count / count;
            self.mean += delta * other.count / count;
            self.count = count;
        }
    }
}

impl GroupState {
    /// A group without series.
    pub fn new(op: AggregateOp, labels: Labels, len: usize) -> Self {
        let state = match op {
            AggregateOp::Sum => State::Sum(Combining::new(len)),
            AggregateOp::Avg => State::Avg(Combining::new(len)),
            AggregateOp::Min => State::Extreme { is_max: false, column: Column::absent(len) },
            AggregateOp::Max => State::Extreme { is_max: true, column: Column::absent(len) },
            AggregateOp::Count => State::Count(Column::absent(len)),
            AggregateOp::Group => State::Group(Column::absent(len)),
            AggregateOp::Stddev | AggregateOp::Stdvar => State::Deviation {
                is_root: op == AggregateOp::Stddev,
                moments: vec![Moments::default(); len],
            },
            _ => unreachable!("BUG: {op} does not reduce"),
        };
        Self { labels, drop_name: false, state }
    }

    /// Adds a series, whose labels only name it in annotations.
    pub fn add(&mut self, labels: &Labels, column: &Column, notes: &mut AggregateNotes<'_>) {
        match &mut self.state {
            State::Sum(state) => state.add(labels, column, notes),
            State::Avg(state) => state.add(labels, column, notes),
            State::Extreme { is_max, column: best } => {
                ignore_histograms(column, notes);
                add_extremes(best.floats_mut(), column.floats(), *is_max);
            }
            State::Count(counts) => {
                for step in 0..column.len() {
                    if column.is_present(step) {
                        let count = counts.float(step).unwrap_or(0.0);
                        counts.set_float(step, count + 1.0);
                    }
                }
            }
            State::Group(present) => {
                for step in 0..column.len() {
                    if column.is_present(step) {
                        present.set_float(step, 1.0);
                    }
                }
            }
            State::Deviation { moments, .. } => {
                ignore_histograms(column, notes);
                for (moments, value) in moments.iter_mut().zip(column.floats()) {
                    if !is_stale(*value) {
                        moments.add(*value);
                    }
                }
            }
        }
    }

    /// The group's series.
    pub fn finish(self, notes: &mut AggregateNotes<'_>) -> Series {
        let column = match self.state {
            State::Sum(state) => state.finish(notes),
            State::Avg(state) => state.finish(notes),
            State::Extreme { column, .. } | State::Count(column) | State::Group(column) => column,
            State::Deviation { is_root, moments } => {
                let mut column = Column::absent(moments.len());
                for (step, moments) in moments.iter().enumerate() {
                    if moments.count > 0.0 {
                        let variance = moments.squares / moments.count;
                        column.set_float(step, if is_root { variance.sqrt() } else { variance });
                    }
                }
                column
            }
        };
        Series { labels: self.labels, drop_name: self.drop_name, column }
    }
}

fn ignore_histograms(column: &Column, notes: &mut AggregateNotes<'_>) {
    if column.has_histograms() {
        notes.histograms_ignored();
    }
}

/// Keeps the lower or higher floats; any number beats NaN.
pub(super) fn add_extremes(best: &mut [f64], values: &[f64], is_max: bool) {
    for (best, value) in best.iter_mut().zip(values) {
        if is_stale(*value) {
            continue;
        }
        let is_better = if is_max { *value > *best } else { *value < *best };
        if is_better || best.is_nan() && (is_stale(*best) || !value.is_nan()) {
            *best = *value;
        }
    }
}

/// A running result over floats.
pub(super) trait FloatState: Default + Clone {
    fn add(&mut self, value: f64);
    fn value(&self) -> f64;
}

impl FloatState for KahanSum {
    #[inline]
    fn add(&mut self, value: f64) {
        Self::add(self, value);
    }

    fn value(&self) -> f64 {
        Self::value(*self)
    }
}

impl FloatState for FloatMean {
    #[inline]
    fn add(&mut self, value: f64) {
        Self::add(self, value);
    }

    fn value(&self) -> f64 {
        Self::value(self)
    }
}

/// A running result over histograms.
pub(super) trait HistogramState: Sized {
    fn new(first: &FloatHistogram) -> Self;
    fn add(&mut self, other: &FloatHistogram) -> Result<(), IncompatibleBuckets>;
    fn merge(&mut self, other: &Self) -> Result<(), IncompatibleBuckets>;
    fn value(&self) -> FloatHistogram;
    fn has_conflicting_resets(&self) -> bool;
    fn bounds_reconciled(&self) -> bool;
}

macro_rules! histogram_state {
    ($kind:ty) => {
        impl HistogramState for $kind {
            fn new(first: &FloatHistogram) -> Self {
                Self::new(first)
            }

            fn add(&mut self, other: &FloatHistogram) -> Result<(), IncompatibleBuckets> {
                Self::add(self, other)
            }

            fn merge(&mut self, other: &Self) -> Result<(), IncompatibleBuckets> {
                Self::merge(self, other)
            }

            fn value(&self) -> FloatHistogram {
                Self::value(self)
            }

            fn has_conflicting_resets(&self) -> bool {
                Self::has_conflicting_resets(self)
            }

            fn bounds_reconciled(&self) -> bool {
                Self::bounds_reconciled(self)
            }
        }
    };
}

histogram_state!(HistogramSum);
histogram_state!(HistogramMean);

/// What a step has met so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Met {
    #[default]
    Nothing,
    Floats,
    Histograms,
    /// Floats and histograms, or histograms that do not combine: there is no result.
    Unfit,
}

/// Floats or histograms that are combined, never both.
pub(super) struct Combining<F, H> {
    pub floats: Vec<F>,
    /// Empty until there is a histogram.
    pub histograms: Vec<Option<Box<H>>>,
    pub met: Vec<Met>,
}

impl<F: FloatState, H: HistogramState> Combining<F, H> {
    pub fn new(len: usize) -> Self {
        Self {
            floats: vec![F::default(); len],
            histograms: Vec::new(),
            met: vec![Met::Nothing; len],
        }
    }

    fn add(&mut self, labels: &Labels, column: &Column, notes: &mut AggregateNotes<'_>) {
        let states = self.floats.iter_mut().zip(&mut self.met);
        for ((state, met), value) in states.zip(column.floats()) {
            if is_stale(*value) {
                continue;
            }
            match met {
                Met::Floats => {}
                Met::Nothing => *met = Met::Floats,
                Met::Histograms => {
                    *met = Met::Unfit;
                    notes.mixed_kinds();
                }
                Met::Unfit => continue,
            }
            state.add(*value);
        }
        if column.has_histograms() {
            for step in 0..column.len() {
                if let Some(histogram) = column.histogram(step) {
                    self.add_histogram(step, labels, histogram, notes);
                }
            }
        }
    }

    fn add_histogram(
        &mut self,
        step: usize,
        labels: &Labels,
        histogram: &Arc<FloatHistogram>,
        notes: &mut AggregateNotes<'_>,
    ) {
        if self.histograms.is_empty() {
            self.histograms.resize_with(self.met.len(), || None);
        }
        match (self.met[step], &mut self.histograms[step]) {
            (Met::Floats, _) => {
                self.met[step] = Met::Unfit;
                notes.mixed_kinds();
            }
            (Met::Unfit, _) => {}
            (_, Some(state)) => {
                if state.add(histogram).is_err() {
                    self.met[step] = Met::Unfit;
                    notes.mixed_schemas(labels.metric_name().unwrap_or(""));
                }
            }
            (_, empty) => {
                *empty = Some(Box::new(H::new(histogram)));
                self.met[step] = Met::Histograms;
            }
        }
    }

    /// Merges a part's result over floats.
    pub fn merge_float(
        &mut self,
        step: usize,
        notes: &mut AggregateNotes<'_>,
        merge: impl FnOnce(&mut F),
    ) {
        match self.met[step] {
            Met::Nothing | Met::Floats => {
                self.met[step] = Met::Floats;
                merge(&mut self.floats[step]);
            }
            Met::Histograms => {
                self.met[step] = Met::Unfit;
                notes.mixed_kinds();
            }
            Met::Unfit => {}
        }
    }

    /// Merges a part's result over histograms.
    pub fn merge_histogram(
        &mut self,
        step: usize,
        labels: &Labels,
        part: H,
        notes: &mut AggregateNotes<'_>,
    ) {
        if self.histograms.is_empty() {
            self.histograms.resize_with(self.met.len(), || None);
        }
        match (self.met[step], &mut self.histograms[step]) {
            (Met::Floats, _) => {
                self.met[step] = Met::Unfit;
                notes.mixed_kinds();
            }
            (Met::Unfit, _) => {}
            (_, Some(state)) => {
                if state.merge(&part).is_err() {
                    self.met[step] = Met::Unfit;
                    notes.mixed_schemas(labels.metric_name().unwrap_or(""));
                }
            }
            (_, empty) => {
                *empty = Some(Box::new(part));
                self.met[step] = Met::Histograms;
            }
        }
    }

    fn finish(self, notes: &mut AggregateNotes<'_>) -> Column {
        let mut column = Column::absent(self.met.len());
        for (step, met) in self.met.iter().enumerate() {
            match met {
                Met::Nothing | Met::Unfit => {}
                Met::Floats => column.set_float(step, self.floats[step].value()),
                Met::Histograms => {
                    let state = self.histograms[step].as_ref().expect("was met");
                    if state.has_conflicting_resets() {
                        notes.conflicting_resets();
                    }
                    if state.bounds_reconciled() {
                        notes.bounds_reconciled();
                    }
                    column.set(step, Sample::from(state.value()));
                }
            }
        }
        column
    }
}
