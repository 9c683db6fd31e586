//! What a range function sees at one step.

use std::sync::Arc;

use narthex_model::{FloatHistogram, quote};

use crate::{
    annotations::{Annotations, for_any_metric},
    ast::ByteRange,
};

/// Samples of one kind in order of time, without staleness markers.
#[derive(Debug)]
pub(crate) struct Points<'a, T> {
    /// Milliseconds since the epoch.
    pub times: &'a [i64],
    /// As long as `times`.
    pub values: &'a [T],
    /// Start timestamps, 0 where unknown. As long as `times`, or empty if all are unknown.
    pub starts: &'a [i64],
}

impl<T> Clone for Points<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Points<'_, T> {}

impl<T> Default for Points<'_, T> {
    fn default() -> Self {
        Self { times: &[], values: &[], starts: &[] }
    }
}

impl<'a, T> Points<'a, T> {
    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The samples `[from, to)`.
    pub fn slice(&self, from: usize, to: usize) -> Self {
        let starts = if self.starts.is_empty() { self.starts } else { &self.starts[from..to] };
        Self { times: &self.times[from..to], values: &self.values[from..to], starts }
    }

    /// The start timestamp of a sample, 0 if unknown.
    pub fn start(&self, at: usize) -> i64 {
        self.starts.get(at).copied().unwrap_or(0)
    }

    /// The first sample.
    pub fn first(&self) -> Option<(i64, &'a T)> {
        Some((*self.times.first()?, self.values.first()?))
    }

    /// The last sample.
    pub fn last(&self) -> Option<(i64, &'a T)> {
        Some((*self.times.last()?, self.values.last()?))
    }

    /// Times and values.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (i64, &'a T)> + ExactSizeIterator {
        self.times.iter().copied().zip(self.values)
    }

    /// Whether the counter of sample `at` began anew after the sample before it, as far as start
    /// timestamps tell.
    ///
    /// A start exactly at the sample before is that of a delta, if that one began before itself
    /// too; else it is a cumulative counter whose start is not known.
    pub fn is_restarted(&self, at: usize) -> bool {
        let (start, previous_start) = (self.start(at), self.start(at - 1));
        let (time, previous) = (self.times[at], self.times[at - 1]);
        let is_delta = start == previous && previous_start != 0 && previous_start < previous;
        start != 0 && start < time && (start > previous || is_delta)
    }

    /// Whether a sample claims to have begun amid the time of the sample before it.
    pub fn overlaps_previous(&self, at: usize) -> bool {
        let start = self.start(at);
        start != 0 && start < self.times[at - 1] && start != self.start(at - 1)
    }
}

/// The samples of a range at one step and what else a function may need.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<'a> {
    /// The floats.
    pub floats: Points<'a, f64>,
    /// The histograms.
    pub histograms: Points<'a, Arc<FloatHistogram>>,
    /// The start of the range, itself outside, in milliseconds since the epoch. With `anchored`
    /// and `smoothed` there are samples from before it.
    pub start: i64,
    /// The end of the range, itself inside. With `smoothed` there are samples from behind it.
    pub end: i64,
    /// The time of the step; differs from `end` by the offset.
    pub time: i64,
    /// The scalar arguments at this step.
    pub args: [f64; 2],
}

impl Window<'_> {
    /// The length of the range in seconds.
    pub fn seconds(&self) -> f64 {
        (self.end - self.start) as f64 / 1000.0
    }

    /// Whether the range holds both kinds.
    pub fn is_mixed(&self) -> bool {
        !self.floats.is_empty() && !self.histograms.is_empty()
    }
}

/// Lets a function annotate the answer for the series at hand.
pub(crate) struct Notes<'a> {
    /// The query's annotations.
    pub annotations: &'a mut Annotations,
    /// The metric's name, empty without one.
    pub metric: &'a str,
    /// The argument in the query's text.
    pub range: ByteRange,
}

impl Notes<'_> {
    /// Warns with a message that ends in `for metric name "…"`, also without a name.
    pub fn warn_for_metric(&mut self, message: &str) {
        self.annotations.warn(for_any_metric(message, self.metric), self.range);
    }

    /// Informs with a message that ends in `for metric name "…"`, also without a name.
    pub fn inform_for_metric(&mut self, message: &str) {
        self.annotations.inform(for_any_metric(message, self.metric), self.range);
    }

    /// Warns with a message that ends in `: "metric"`.
    pub fn warn_named(&mut self, message: &str) {
        let message = format!("{message}: {}", quote(self.metric));
        self.annotations.warn(message, self.range);
    }

    /// Warns as it is.
    pub fn warn(&mut self, message: impl Into<String>) {
        self.annotations.warn(message, self.range);
    }

    /// Informs as it is.
    pub fn inform(&mut self, message: impl Into<String>) {
        self.annotations.inform(message, self.range);
    }

    /// A range held floats and histograms and was dropped.
    pub fn mixed_kinds(&mut self) {
        self.warn_for_metric("encountered a mix of histograms and floats");
    }

    /// A range held both kinds and only floats were used.
    pub fn histograms_ignored(&mut self) {
        self.inform_for_metric(
            "ignored histograms in a range containing both floats and histograms",
        );
    }

    /// Histograms with exponential and with custom buckets met.
    pub fn mixed_schemas(&mut self) {
        self.warn_for_metric(
            "vector contains a mix of histograms with exponential and custom buckets schemas",
        );
    }

    /// Custom bounds differed.
    pub fn bounds_reconciled(&mut self, operation: &str) {
        self.inform(format!("mismatched custom buckets were reconciled during {operation}"));
    }

    /// Histograms marked as reset and as not reset met.
    pub fn conflicting_resets(&mut self, operation: &str) {
        self.warn(format!("conflicting counter resets during histogram {operation}"));
    }
}
