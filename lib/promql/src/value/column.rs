//! One series over the steps of an evaluation.

use std::sync::Arc;

use narthex_model::{FloatHistogram, Labels, is_stale, stale_nan};

/// Stands where a column has no float. It is the staleness marker: no sample that is kept has
/// these bits, and no calculation makes them, since arithmetic turns it into a quiet NaN.
pub(crate) const ABSENT: f64 = stale_nan();

/// A sample of either kind.
#[derive(Debug, Clone)]
pub enum Sample {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

impl Sample {
    /// A histogram that is not shared yet.
    pub fn histogram(histogram: FloatHistogram) -> Self {
        Self::Histogram(Arc::new(histogram))
    }
}

/// A sample of either kind, borrowed.
#[derive(Debug, Clone, Copy)]
pub enum SampleRef<'a> {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(&'a Arc<FloatHistogram>),
}

impl SampleRef<'_> {
    /// The sample, sharing its histogram.
    pub fn to_owned(self) -> Sample {
        match self {
            Self::Float(value) => Sample::Float(value),
            Self::Histogram(histogram) => Sample::Histogram(Arc::clone(histogram)),
        }
    }
}

/// At most one sample per step.
///
/// Invariants
/// * `values` has one entry per step, `ABSENT` where there is no float;
/// * `histograms` is empty, or has one entry per step, `None` wherever `values` has a float.
#[derive(Debug, Clone, Default)]
pub struct Column {
    values: Vec<f64>,
    histograms: Vec<Option<Arc<FloatHistogram>>>,
}

impl Column {
    /// A column of `len` steps without samples.
    pub fn absent(len: usize) -> Self {
        Self { values: vec![ABSENT; len], histograms: Vec::new() }
    }

    /// A column of floats, one per step.
    pub fn from_floats(values: Vec<f64>) -> Self {
        Self { values, histograms: Vec::new() }
    }

    /// Makes this a column of `len` steps without samples and keeps the memory.
    pub fn reset(&mut self, len: usize) {
        self.values.clear();
        self.values.resize(len, ABSENT);
        self.histograms.clear();
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no step.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Per step its float, [`ABSENT`] without one.
    pub(crate) fn floats(&self) -> &[f64] {
        &self.values
    }

    /// As [`Column::floats`], to be changed.
    pub(crate) fn floats_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }

    /// Whether any step may hold a histogram.
    pub fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    /// The sample at a step.
    #[inline]
    pub fn get(&self, step: usize) -> Option<SampleRef<'_>> {
        let value = self.values[step];
        if !is_stale(value) {
            return Some(SampleRef::Float(value));
        }
        self.histogram(step).map(SampleRef::Histogram)
    }

    /// The float at a step.
    #[inline]
    pub fn float(&self, step: usize) -> Option<f64> {
        let value = self.values[step];
        (!is_stale(value)).then_some(value)
    }

    /// The histogram at a step.
    #[inline]
    pub fn histogram(&self, step: usize) -> Option<&Arc<FloatHistogram>> {
        self.histograms.get(step).and_then(Option::as_ref)
    }

    /// Whether a step holds a sample.
    #[inline]
    pub fn is_present(&self, step: usize) -> bool {
        !is_stale(self.values[step]) || self.histogram(step).is_some()
    }

    /// Whether any step holds a sample.
    pub fn has_samples(&self) -> bool {
        (0..self.len()).any(|step| self.is_present(step))
    }

    /// How many steps hold a sample.
    pub fn count(&self) -> usize {
        let floats = self.values.iter().filter(|value| !is_stale(**value)).count();
        floats + self.histograms.iter().flatten().count()
    }

    /// Puts a sample at a step.
    pub fn set(&mut self, step: usize, sample: Sample) {
        match sample {
            Sample::Float(value) => self.set_float(step, value),
            Sample::Histogram(histogram) => self.set_histogram(step, histogram),
        }
    }

    /// Puts a float at a step.
    #[inline]
    pub fn set_float(&mut self, step: usize, value: f64) {
        self.values[step] = value;
        if !self.histograms.is_empty() {
            self.histograms[step] = None;
        }
    }

    /// Puts a histogram at a step.
    pub fn set_histogram(&mut self, step: usize, histogram: Arc<FloatHistogram>) {
        if self.histograms.is_empty() {
            self.histograms.resize(self.values.len(), None);
        }
        self.values[step] = ABSENT;
        self.histograms[step] = Some(histogram);
    }

    /// Removes the sample of a step.
    #[inline]
    pub fn remove(&mut self, step: usize) {
        self.values[step] = ABSENT;
        if !self.histograms.is_empty() {
            self.histograms[step] = None;
        }
    }

    /// Removes all histograms.
    pub fn remove_histograms(&mut self) {
        self.histograms.clear();
    }

    /// Keeps the samples of the steps for which `keep` holds.
    pub fn retain_steps(&mut self, keep: impl Fn(usize) -> bool) {
        for step in 0..self.len() {
            if !keep(step) {
                self.remove(step);
            }
        }
    }

    /// Changes every float and drops every histogram.
    pub fn map_floats(&mut self, change: impl Fn(f64) -> f64) {
        self.histograms.clear();
        for value in &mut self.values {
            if !is_stale(*value) {
                *value = change(*value);
            }
        }
    }

    /// Repeats the only step `len` times.
    #[must_use]
    pub fn broadcast(&self, len: usize) -> Self {
        debug_assert_eq!(self.len(), 1, "only a single step can be repeated");
        let histograms = match self.histogram(0) {
            Some(histogram) => vec![Some(Arc::clone(histogram)); len],
            None => Vec::new(),
        };
        Self { values: vec![self.values[0]; len], histograms }
    }

    /// The first step alone.
    #[must_use]
    pub fn first(&self) -> Self {
        let histograms = self.histograms.first().cloned().into_iter().collect();
        Self { values: vec![self.values[0]], histograms }
    }

    /// What the column weighs against a query's sample limit. Steps without samples take memory
    /// too, if less.
    pub fn sample_weight(&self) -> usize {
        let histograms = self.histograms.iter().flatten();
        let histograms: usize = histograms.map(|histogram| histogram.sample_weight()).sum();
        let floats = self.values.iter().filter(|value| !is_stale(**value)).count();
        (floats + histograms).max(self.len() / 8)
    }
}

/// Equal samples by their bits.
impl PartialEq for Column {
    fn eq(&self, other: &Self) -> bool {
        let bits = |column: &Self| column.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let same_histograms =
            || (0..self.len()).all(|step| self.histogram(step) == other.histogram(step));
        bits(self) == bits(other) && same_histograms()
    }
}

/// A series over the steps of an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its labels. With delayed name removal the metric's name may still be among them though an
    /// operation has dropped it.
    pub labels: Labels,
    /// Whether the metric's name goes when the query ends.
    pub drop_name: bool,
    /// Its samples.
    pub column: Column,
}

impl Series {
    /// A series that keeps its labels as they are.
    pub fn new(labels: Labels, column: Column) -> Self {
        Self { labels, drop_name: false, column }
    }
}
