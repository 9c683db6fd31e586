//! Raw samples of one series, as columns.

use std::sync::Arc;

use narthex_model::{CounterResetHint, FloatHistogram, is_stale};

/// Samples of one series in order of time. Made once and filled again for each series.
///
/// Invariants
/// * `timestamps` strictly increase, and `values` is as long;
/// * `histograms` and `start_timestamps` are as long too, or empty if no sample has one;
/// * the value of a histogram is its sum, so that a staleness marker looks the same for both kinds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SampleBuffer {
    timestamps: Vec<i64>,
    values: Vec<f64>,
    histograms: Vec<Option<Arc<FloatHistogram>>>,
    start_timestamps: Vec<i64>,
}

impl SampleBuffer {
    /// A buffer without samples.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the samples and keeps the memory.
    pub fn clear(&mut self) {
        self.timestamps.clear();
        self.values.clear();
        self.histograms.clear();
        self.start_timestamps.clear();
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// Appends a float, in milliseconds since the epoch.
    #[inline]
    pub fn push_float(&mut self, timestamp: i64, value: f64) {
        self.timestamps.push(timestamp);
        self.values.push(value);
        if !self.histograms.is_empty() {
            self.histograms.push(None);
        }
        if !self.start_timestamps.is_empty() {
            self.start_timestamps.push(0);
        }
    }

    /// Appends floats. Both slices have the same length.
    pub fn extend_floats(&mut self, timestamps: &[i64], values: &[f64]) {
        assert_eq!(timestamps.len(), values.len(), "BUG: columns of different lengths");
        self.timestamps.extend_from_slice(timestamps);
        self.values.extend_from_slice(values);
        if !self.histograms.is_empty() {
            self.histograms.resize(self.timestamps.len(), None);
        }
        if !self.start_timestamps.is_empty() {
            self.start_timestamps.resize(self.timestamps.len(), 0);
        }
    }

    /// Appends those of the floats that are no staleness markers.
    pub(crate) fn extend_present(&mut self, times: impl Iterator<Item = i64>, values: &[f64]) {
        let present = values.iter().filter(|value| !is_stale(**value)).count();
        self.timestamps.reserve(present);
        self.values.reserve(present);
        for (time, value) in times.zip(values) {
            if !is_stale(*value) {
                self.timestamps.push(time);
                self.values.push(*value);
            }
        }
        if !self.histograms.is_empty() {
            self.histograms.resize(self.timestamps.len(), None);
        }
        if !self.start_timestamps.is_empty() {
            self.start_timestamps.resize(self.timestamps.len(), 0);
        }
    }

    /// Appends a histogram.
    pub fn push_histogram(&mut self, timestamp: i64, histogram: Arc<FloatHistogram>) {
        self.push_float(timestamp, histogram.sum);
        self.histograms.resize(self.timestamps.len(), None);
        let last = self.histograms.last_mut().expect("a sample was pushed");
        *last = Some(histogram);
    }

    /// Appends one sample of another buffer, which is newer.
    pub fn push_of(&mut self, other: &Self, at: usize) {
        let timestamp = other.timestamps[at];
        match other.histogram(at) {
            Some(histogram) => self.push_histogram(timestamp, Arc::clone(histogram)),
            None => self.push_float(timestamp, other.values[at]),
        }
        self.set_last_start(other.start_timestamp(at));
    }

    /// Appends samples of another buffer, which are newer, without their start timestamps.
    pub fn extend_of(&mut self, other: &Self, range: std::ops::Range<usize>) {
        if other.histograms.is_empty() {
            return self.extend_floats(&other.timestamps[range.clone()], &other.values[range]);
        }
        range.for_each(|at| match other.histogram(at) {
            Some(histogram) => self.push_histogram(other.timestamps[at], Arc::clone(histogram)),
            None => self.push_float(other.timestamps[at], other.values[at]),
        });
    }

    /// The samples of one series in order of time. Parts may overlap and then agree; those of
    /// shards that had the series in turn lie between each other.
    pub fn together(parts: &[Arc<Self>]) -> Arc<Self> {
        if let [part] = parts {
            return Arc::clone(part);
        }
        let times = |(number, part): (usize, &Arc<Self>)| {
            let times = part.timestamps.clone().into_iter().enumerate();
            times.map(move |(at, time)| (time, number, at))
        };
        let mut all: Vec<(i64, usize, usize)> = parts.iter().enumerate().flat_map(times).collect();
        all.sort_unstable();
        all.dedup_by_key(|(time, _, _)| *time);
        let mut samples = Self::new();
        for (_, number, at) in all {
            samples.push_of(&parts[number], at);
        }
        Arc::new(samples)
    }

    /// Gives the last sample its start timestamp; 0 says it is unknown.
    pub fn set_last_start(&mut self, start_timestamp: i64) {
        if start_timestamp == 0 && self.start_timestamps.is_empty() {
            return;
        }
        self.start_timestamps.resize(self.timestamps.len(), 0);
        if let Some(last) = self.start_timestamps.last_mut() {
            *last = start_timestamp;
        }
    }

    /// Milliseconds since the epoch.
    pub fn timestamps(&self) -> &[i64] {
        &self.timestamps
    }

    /// Values of floats, sums of histograms.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Per sample its histogram; empty if there is none at all.
    pub fn histograms(&self) -> &[Option<Arc<FloatHistogram>>] {
        &self.histograms
    }

    /// The histogram of a sample that is one.
    pub fn histogram(&self, at: usize) -> Option<&Arc<FloatHistogram>> {
        self.histograms.get(at).and_then(Option::as_ref)
    }

    /// The start timestamp of a sample; 0 if unknown.
    pub fn start_timestamp(&self, at: usize) -> i64 {
        self.start_timestamps.get(at).copied().unwrap_or(0)
    }

    /// Per sample its start timestamp; empty if none is known.
    pub fn start_timestamps(&self) -> &[i64] {
        &self.start_timestamps
    }

    /// Whether any sample is a histogram.
    pub fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    /// Changes a histogram.
    pub fn replace_histogram(&mut self, at: usize, histogram: Arc<FloatHistogram>) {
        self.histograms[at] = Some(histogram);
    }

    /// Forgets what counter histograms know of resets, which holds only next to the sample that
    /// came before them in storage.
    pub(crate) fn forget_reset_hints(&mut self) {
        for histogram in self.histograms.iter_mut().flatten() {
            let hint = histogram.counter_reset_hint;
            if matches!(hint, CounterResetHint::Reset | CounterResetHint::NotReset) {
                Arc::make_mut(histogram).counter_reset_hint = CounterResetHint::Unknown;
            }
        }
    }

    /// Drops the staleness markers.
    pub fn drop_stale(&mut self) {
        if !self.values.iter().any(|value| is_stale(*value)) {
            return;
        }
        let mut kept = 0;
        for at in 0..self.len() {
            if is_stale(self.values[at]) {
                continue;
            }
            self.timestamps[kept] = self.timestamps[at];
            self.values[kept] = self.values[at];
            if !self.histograms.is_empty() {
                self.histograms.swap(kept, at);
            }
            if !self.start_timestamps.is_empty() {
                self.start_timestamps[kept] = self.start_timestamps[at];
            }
            kept += 1;
        }
        self.timestamps.truncate(kept);
        self.values.truncate(kept);
        self.histograms.truncate(kept);
        self.start_timestamps.truncate(kept);
    }

    /// What the samples weigh against a query's limit: 1 a float, more a histogram.
    pub fn sample_weight(&self) -> usize {
        let histograms = self.histograms.iter().flatten();
        self.len() + histograms.map(|histogram| histogram.sample_weight()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use narthex_model::stale_nan;

    use super::*;

    #[test]
    fn optional_columns_begin_when_needed() {
        let mut buffer = SampleBuffer::new();
        buffer.push_float(1, 10.0);
        assert!(!buffer.has_histograms());
        buffer.push_histogram(2, Arc::new(FloatHistogram { sum: 7.0, ..Default::default() }));
        buffer.set_last_start(1);
        buffer.push_float(3, 30.0);
        assert_eq!(buffer.values(), [10.0, 7.0, 30.0]);
        assert!(buffer.histogram(0).is_none() && buffer.histogram(1).is_some());
        assert_eq!(buffer.start_timestamps(), [0, 1, 0]);
    }

    #[test]
    fn parts_of_a_series_are_put_together_by_time() {
        let part = |times: &[i64]| {
            let mut buffer = SampleBuffer::new();
            times.iter().for_each(|time| buffer.push_float(*time, *time as f64));
            Arc::new(buffer)
        };
        let whole = SampleBuffer::together(&[part(&[3, 4, 9]), part(&[1, 3, 7])]);
        assert_eq!(whole.timestamps(), [1, 3, 4, 7, 9]);
        assert_eq!(SampleBuffer::together(&[part(&[2])]).timestamps(), [2]);
        assert!(SampleBuffer::together(&[]).is_empty());
    }

    #[test]
    fn staleness_markers_of_both_kinds_are_dropped() {
        let mut buffer = SampleBuffer::new();
        buffer.push_float(1, stale_nan());
        let marker = FloatHistogram { sum: stale_nan(), ..Default::default() };
        buffer.push_histogram(2, Arc::new(marker));
        buffer.push_float(3, f64::NAN);
        buffer.drop_stale();
        assert_eq!(buffer.timestamps(), [3]);
        assert!(buffer.histogram(0).is_none());
    }
}
