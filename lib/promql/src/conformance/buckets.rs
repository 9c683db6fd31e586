//! Classic histograms stored as native ones with custom bounds: `load_with_nhcb`.

use std::{collections::BTreeMap, sync::Arc};

use narthex_model::{
    FloatHistogram, Labels, METRIC_NAME,
    histogram::{Bucket, CUSTOM_BUCKETS_SCHEMA},
    is_stale,
};

use super::{
    script::{Load, LoadSeries},
    series::Item,
    storage::{StoredSample, StoredValue},
};

/// The label that holds a bucket's upper bound.
const BOUND: &str = "le";

/// What is known of a classic histogram at one time.
#[derive(Default)]
struct Classic {
    /// Upper bounds with cumulative counts.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

enum Part {
    Bucket(f64),
    Count,
    Sum,
}

/// The native histograms of all classic ones in a command.
pub(super) fn convert(load: &Load) -> Vec<(Labels, Vec<StoredSample>)> {
    let mut all: BTreeMap<Labels, BTreeMap<i64, Classic>> = BTreeMap::new();
    for series in &load.series {
        let Some((labels, part)) = part_of(series) else { continue };
        let histograms = all.entry(labels).or_default();
        for (i, item) in series.items.iter().enumerate() {
            let Item::Float(value) = item else { continue };
            if is_stale(*value) {
                continue;
            }
            let classic = histograms.entry(load.step_millis * i as i64).or_default();
            match part {
                Part::Bucket(bound) => classic.buckets.push((bound, *value)),
                Part::Count => classic.count = Some(*value),
                Part::Sum => classic.sum = *value,
            }
        }
    }
    let convert_series = |(labels, histograms): (Labels, BTreeMap<i64, Classic>)| {
        let samples = histograms.into_iter().map(|(timestamp, classic)| StoredSample {
            timestamp,
            start_timestamp: 0,
            value: StoredValue::Histogram(Arc::new(classic.into_native())),
        });
        (labels, samples.collect())
    };
    all.into_iter().map(convert_series).collect()
}

/// The histogram that a series is a part of.
fn part_of(series: &LoadSeries) -> Option<(Labels, Part)> {
    let name = series.labels.metric_name()?;
    let (base, part) = if let Some(base) = name.strip_suffix("_bucket") {
        let bound: f64 = series.labels.value(BOUND).parse().ok()?;
        (base, Part::Bucket(bound))
    } else if let Some(base) = name.strip_suffix("_count") {
        (base, Part::Count)
    } else {
        (name.strip_suffix("_sum")?, Part::Sum)
    };
    let mut labels = series.labels.to_builder();
    labels.remove(BOUND).set(METRIC_NAME, base);
    Some((labels.build(), part)).filter(|(_, part)| !matches!(part, Part::Bucket(b) if b.is_nan()))
}

impl Classic {
    fn into_native(mut self) -> FloatHistogram {
        self.buckets.sort_by(|left, right| left.0.total_cmp(&right.0));
        let highest = self.buckets.last().copied();
        let count = self.count.or(highest.map(|(_, count)| count)).unwrap_or(0.0);
        if highest.is_none_or(|(bound, _)| bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut below = 0.0;
        let mut positive = Vec::new();
        for (index, (_, cumulative)) in self.buckets.iter().enumerate() {
            let count = cumulative - below;
            below = *cumulative;
            if count != 0.0 {
                positive.push(Bucket { index: index as i32, count });
            }
        }
        let bounds = self.buckets[..self.buckets.len() - 1].iter().map(|(bound, _)| *bound);
        FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            positive,
            custom_values: bounds.collect(),
            ..FloatHistogram::default()
        }
    }
}
