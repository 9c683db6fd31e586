//! Series in memory: what a script has loaded, or what a rule's test has.

use std::{collections::BTreeMap, sync::Arc};

use narthex_model::{
    CounterResetHint, FloatHistogram, INSTANCE, JOB, Labels, Timestamp, is_stale, stale_nan,
};

use super::{
    buckets,
    script::{Load, LoadSeries},
    series::Item,
};
use crate::{
    Sample, SampleBuffer, SelectRequest, SelectedSeries, SeriesData, SeriesSource, SourceError,
};

/// Series in memory, in order of their labels.
#[derive(Default)]
pub struct Storage {
    series: BTreeMap<Labels, Arc<Stored>>,
}

/// A series' samples, in order of time.
#[derive(Default, Clone)]
pub(super) struct Stored(pub(super) Vec<StoredSample>);

#[derive(Clone)]
pub(super) struct StoredSample {
    pub(super) timestamp: i64,
    /// 0 if unknown.
    pub(super) start_timestamp: i64,
    pub(super) value: StoredValue,
}

#[derive(Clone)]
pub(super) enum StoredValue {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

impl Storage {
    /// Stores the series of a command.
    pub(super) fn load(&mut self, load: &Load) {
        for series in &load.series {
            self.extend(&series.labels, samples(series, load.step_millis));
        }
        if load.with_custom_buckets {
            for (labels, samples) in buckets::convert(load) {
                self.extend(&labels, samples);
            }
        }
    }

    /// Stores a sample, unless it is not newer than those its series has.
    pub fn append(&mut self, labels: &Labels, time: Timestamp, sample: Sample) {
        let value = match sample {
            Sample::Float(value) if is_stale(value) && self.ends_with_histogram(labels) => {
                stale_histogram()
            }
            Sample::Float(value) => StoredValue::Float(value),
            Sample::Histogram(histogram) => StoredValue::Histogram(histogram),
        };
        let timestamp = time.millis();
        self.extend(labels, vec![StoredSample { timestamp, start_timestamp: 0, value }]);
    }

    fn ends_with_histogram(&self, labels: &Labels) -> bool {
        let last = self.series.get(labels).and_then(|stored| stored.0.last());
        last.is_some_and(|last| matches!(last.value, StoredValue::Histogram(_)))
    }

    /// Stores samples that are newer than those a series has.
    fn extend(&mut self, labels: &Labels, samples: Vec<StoredSample>) {
        let stored = Arc::make_mut(self.series.entry(labels.clone()).or_default());
        for sample in samples {
            let newest = stored.0.last().map_or(i64::MIN, |last| last.timestamp);
            if sample.timestamp > newest {
                stored.push(sample);
            }
        }
    }

    /// The series spread over `shards` storages, and over one more from each of `splits` on: samples
    /// from then on may be on another one than those before.
    pub(super) fn split(
        &self,
        shards: usize,
        shard_of: &dyn Fn(&Labels) -> usize,
        splits: &[Timestamp],
    ) -> Vec<Self> {
        let count = shards + splits.len();
        let mut parts: Vec<Self> = (0..count).map(|_| Self::default()).collect();
        for (labels, stored) in &self.series {
            let number = shard_of(labels);
            for sample in &stored.0 {
                let begun = splits.partition_point(|split| split.millis() <= sample.timestamp);
                let part = &mut parts[number % (shards + begun)];
                let series = part.series.entry(labels.clone()).or_default();
                Arc::make_mut(series).0.push(sample.clone());
            }
        }
        parts
    }
}

/// A marker in a series of histograms is a histogram itself.
fn stale_histogram() -> StoredValue {
    StoredValue::Histogram(Arc::new(FloatHistogram {
        sum: stale_nan(),
        ..FloatHistogram::default()
    }))
}

fn samples(series: &LoadSeries, step_millis: i64) -> Vec<StoredSample> {
    let mut samples = Vec::with_capacity(series.items.len());
    let mut is_histogram = false;
    for (i, item) in series.items.iter().enumerate() {
        let timestamp = step_millis * i as i64;
        let value = match item {
            Item::Gap => continue,
            Item::Float(value) if is_stale(*value) && is_histogram => stale_histogram(),
            Item::Float(value) => StoredValue::Float(*value),
            Item::Histogram { histogram, .. } => StoredValue::Histogram(Arc::clone(histogram)),
        };
        is_histogram = matches!(value, StoredValue::Histogram(_));
        let start = series.starts.get(i).copied().flatten();
        let start_timestamp = start.map_or(0, |relative| timestamp + relative);
        samples.push(StoredSample { timestamp, start_timestamp, value });
    }
    samples
}

impl SeriesSource for Storage {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Vec<SelectedSeries>, SourceError> {
        let matching = self.series.iter().filter(|(labels, _)| {
            request.matchers.iter().all(|matcher| matcher.matches(labels.value(matcher.name())))
        });
        Ok(matching
            .map(|(labels, stored)| {
                let data = Arc::clone(stored) as Arc<dyn SeriesData>;
                SelectedSeries { labels: labels.clone(), data }
            })
            .collect())
    }
}

impl Stored {
    /// Appends a sample. A counter histogram that goes on from the one before it is marked so, as
    /// storage does; at a reset nothing is known.
    fn push(&mut self, mut sample: StoredSample) {
        if let StoredValue::Histogram(histogram) = &mut sample.value {
            let previous = self.0.last().and_then(|last| match &last.value {
                StoredValue::Histogram(previous) => Some(previous.as_ref()),
                StoredValue::Float(_) => None,
            });
            if histogram.goes_on_from(previous) {
                Arc::make_mut(histogram).counter_reset_hint = CounterResetHint::NotReset;
            }
        }
        self.0.push(sample);
    }
}

impl SeriesData for Stored {
    fn read(
        &self,
        start: Timestamp,
        end: Timestamp,
        into: &mut SampleBuffer,
    ) -> Result<(), SourceError> {
        let from = self.0.partition_point(|sample| sample.timestamp < start.millis());
        let behind = &self.0[from..];
        for sample in behind.iter().take_while(|sample| sample.timestamp <= end.millis()) {
            match &sample.value {
                StoredValue::Float(value) => into.push_float(sample.timestamp, *value),
                StoredValue::Histogram(histogram) => {
                    into.push_histogram(sample.timestamp, Arc::clone(histogram));
                }
            }
            into.set_last_start(sample.start_timestamp);
        }
        Ok(())
    }
}

/// Spreads series as a cluster does: by job and instance where both are set, by all labels but
/// the name otherwise. For tests that have no ring at hand.
pub fn spread(labels: &Labels) -> u64 {
    let (job, instance) = (labels.value(JOB), labels.value(INSTANCE));
    if job.is_empty() || instance.is_empty() {
        return labels.without_metric_name().hash64();
    }
    labels.filtered(|name| name == JOB || name == INSTANCE).hash64()
}
