//! Numbers, histograms with bounds, and summaries: all of them become series of floats.

use narthex_model::{Sample, Timestamp, number, stale_nan};
use narthex_proto::opentelemetry::proto::metrics::v1::{
    DataPointFlags, HistogramDataPoint, NumberDataPoint, SummaryDataPoint, metric::Data,
    number_data_point::Value,
};

use super::{Family, SeriesOf, exemplars::Exemplars, timestamp};
use crate::split::RefuseReason;

/// The label of a bucket's upper bound.
const UPPER_BOUND: &str = "le";
/// The label of a summary's quantile.
const QUANTILE: &str = "quantile";

/// How many points there are.
pub fn count(data: &Data) -> usize {
    match data {
        Data::Gauge(gauge) => gauge.data_points.len(),
        Data::Sum(sum) => sum.data_points.len(),
        Data::Histogram(histogram) => histogram.data_points.len(),
        Data::ExponentialHistogram(histogram) => histogram.data_points.len(),
        Data::Summary(summary) => summary.data_points.len(),
    }
}

/// When the points were taken.
pub fn times(data: &Data) -> Vec<Timestamp> {
    fn all<P>(points: &[P], nanos: impl Fn(&P) -> u64) -> Vec<Timestamp> {
        points.iter().map(|point| timestamp(nanos(point))).collect()
    }
    match data {
        Data::Gauge(gauge) => all(&gauge.data_points, |it| it.time_unix_nano),
        Data::Sum(sum) => all(&sum.data_points, |it| it.time_unix_nano),
        Data::Histogram(histogram) => all(&histogram.data_points, |it| it.time_unix_nano),
        Data::ExponentialHistogram(it) => all(&it.data_points, |it| it.time_unix_nano),
        Data::Summary(summary) => all(&summary.data_points, |it| it.time_unix_nano),
    }
}

/// Whether a point says that there is no value.
pub fn is_stale(flags: u32) -> bool {
    flags & DataPointFlags::NoRecordedValueMask as u32 != 0
}

pub fn add_numbers(points: &[NumberDataPoint], family: &Family<'_>, series: &mut SeriesOf<'_, '_>) {
    for point in points {
        let value = match &point.value {
            _ if is_stale(point.flags) => stale_nan(),
            Some(Value::AsDouble(value)) => *value,
            Some(Value::AsInt(value)) => *value as f64,
            None => {
                series.refuse(RefuseReason::NoData, 1, || format!("a point of {}", family.name));
                continue;
            }
        };
        let sample = Sample { timestamp: timestamp(point.time_unix_nano), value };
        let labels = family.labels(&point.attributes);
        series.add(&family.name, &labels, None, |series| {
            series.push(sample, timestamp(point.start_time_unix_nano));
            Exemplars::of(&point.exemplars).push_rest(series);
            series.metadata = Some(family.metadata);
        });
    }
}

pub fn add_histograms(
    points: &[HistogramDataPoint],
    family: &Family<'_>,
    series: &mut SeriesOf<'_, '_>,
) {
    let (bucket, sum, count) = suffixed(&family.name);
    for point in points {
        let labels = family.labels(&point.attributes);
        let at = At::new(point.time_unix_nano, point.start_time_unix_nano, point.flags);
        if let Some(value) = point.sum {
            series.add(&sum, &labels, None, |series| at.push(series, value));
        }
        series.add(&count, &labels, None, |series| at.push(series, point.count as f64));
        let (mut below, mut exemplars) = (0u64, Exemplars::of(&point.exemplars));
        for (bound, observations) in point.explicit_bounds.iter().zip(&point.bucket_counts) {
            below = below.saturating_add(*observations);
            let text = number::format_label(*bound);
            let more = Some((UPPER_BOUND, text.as_str()));
            series.add(&bucket, &labels, more, |series| {
                at.push(series, below as f64);
                exemplars.push_upto(*bound, series);
            });
        }
        let more = Some((UPPER_BOUND, "+Inf"));
        series.add(&bucket, &labels, more, |series| {
            at.push(series, point.count as f64);
            exemplars.push_rest(series);
            series.metadata = Some(family.metadata);
        });
    }
}

pub fn add_summaries(
    points: &[SummaryDataPoint],
    family: &Family<'_>,
    series: &mut SeriesOf<'_, '_>,
) {
    let (_, sum, count) = suffixed(&family.name);
    for point in points {
        let labels = family.labels(&point.attributes);
        let at = At::new(point.time_unix_nano, point.start_time_unix_nano, point.flags);
        series.add(&sum, &labels, None, |series| at.push(series, point.sum));
        series.add(&count, &labels, None, |series| {
            at.push(series, point.count as f64);
            series.metadata = Some(family.metadata);
        });
        for of in &point.quantile_values {
            let quantile = number::format_label(of.quantile);
            let more = Some((QUANTILE, quantile.as_str()));
            series.add(&family.name, &labels, more, |series| at.push(series, of.value));
        }
    }
}

/// When a point was taken, and whether there is anything in it.
struct At {
    timestamp: Timestamp,
    start: Timestamp,
    is_stale: bool,
}

impl At {
    fn new(nanos: u64, start_nanos: u64, flags: u32) -> Self {
        Self {
            timestamp: timestamp(nanos),
            start: timestamp(start_nanos),
            is_stale: is_stale(flags),
        }
    }

    fn push(&self, series: &mut crate::series::Series<'_>, value: f64) {
        let value = if self.is_stale { stale_nan() } else { value };
        series.push(Sample { timestamp: self.timestamp, value }, self.start);
    }
}

/// The names of buckets, sum and count.
fn suffixed(name: &str) -> (String, String, String) {
    (format!("{name}_bucket"), format!("{name}_sum"), format!("{name}_count"))
}
