//! OTLP metrics as series, by Prometheus's rules for them.
//!
//! | metric | series |
//! |---|---|
//! | gauge, sum | one; a rising sum ends in `_total` |
//! | histogram | `_bucket` for each bound and +Inf, `_count`, and `_sum` where it is sent |
//! | exponential histogram | one of native histograms |
//! | summary | one for each quantile, `_count`, `_sum` |
//! | resource | `target_info`, over the time that its points cover |
//!
//! Deltas are refused, as they are by Prometheus. A point without a recorded value is a staleness
//! marker.

mod attributes;
mod exemplars;
mod exponential;
mod names;
mod points;

use narthex_model::{METRIC_NAME, MetricType, Sample, Timestamp};
use narthex_proto::opentelemetry::proto::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::KeyValue,
    metrics::v1::{AggregationTemporality, Metric, ResourceMetrics, metric::Data},
};

use self::{
    attributes::{Identity, Pairs},
    names::{Kind, metric_name},
};
use crate::{
    remote_write::DecodeError,
    series::{Metadata, Series},
    series_cache::Lookup,
    split::{Naming, RefuseReason, Split, SplitBy, Splitter},
};

/// Between two samples of a `target_info`: half of what a query looks back.
const TARGET_INFO_MILLIS: i64 = 150_000;
/// A request whose points lie further apart gets fewer: its clock is off, or it imports history.
const TARGET_INFO_MAX: i64 = 600;
const TARGET_INFO: &str = "target_info";

/// Splits what a request of as many bytes says.
pub fn split_otlp(
    request: &ExportMetricsServiceRequest,
    body_bytes: usize,
    by: &SplitBy<'_>,
) -> Result<Split, DecodeError> {
    let mut series = SeriesOf {
        splitter: Splitter::new(by, body_bytes),
        lookup: by.cache.look_up(),
        naming: by.naming,
    };
    for resource in &request.resource_metrics {
        add_resource(resource, &mut series);
    }
    series.splitter.finish()
}

/// Where the series of a request go.
struct SeriesOf<'s, 'e> {
    splitter: Splitter<'e>,
    lookup: Lookup<'s>,
    naming: Naming,
}

/// What a metric's points have in common.
struct Family<'a> {
    /// The name in Prometheus's words.
    name: String,
    identity: &'a Identity<'a>,
    metadata: Metadata<'a>,
}

impl Family<'_> {
    /// The labels of a point, but for its series' name.
    fn labels<'p>(&'p self, attributes: &'p [KeyValue]) -> Pairs<'p> {
        self.identity.labels(attributes)
    }
}

impl SeriesOf<'_, '_> {
    /// Adds what `fill` says of the series with these labels, and with one more if there is one.
    fn add<'p>(
        &mut self,
        name: &'p str,
        labels: &'p Pairs<'_>,
        more: Option<(&'p str, &'p str)>,
        fill: impl FnOnce(&mut Series<'p>),
    ) {
        let mut series = Series::default();
        series.labels.reserve(labels.len() + 2);
        series.labels.push((METRIC_NAME, name));
        series.labels.extend(labels.iter().map(|(name, value)| (&**name, &**value)));
        if let Some((name, value)) = more {
            series.labels.retain(|(found, _)| *found != name);
            series.labels.push((name, value));
        }
        fill(&mut series);
        self.splitter.add_by_labels(&mut series, &mut self.lookup, self.naming);
    }

    fn refuse(&mut self, reason: RefuseReason, points: usize, example: impl FnOnce() -> String) {
        self.splitter.refuse_with(reason, points, example);
    }
}

fn add_resource(metrics: &ResourceMetrics, series: &mut SeriesOf<'_, '_>) {
    let identity = Identity::of(metrics.resource.as_ref());
    let mut covered: Option<(Timestamp, Timestamp)> = None;
    for metric in metrics.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
        add_metric(metric, &identity, series);
        for time in metric.data.iter().flat_map(points::times) {
            let (first, last) = covered.get_or_insert((time, time));
            (*first, *last) = ((*first).min(time), (*last).max(time));
        }
    }
    let info = identity.target_info(metrics.resource.as_ref());
    if let (Some((first, last)), Some(labels)) = (covered, info) {
        series.add(TARGET_INFO, &labels, None, |series| {
            for timestamp in target_info_times(first, last) {
                series.push(Sample { timestamp, value: 1.0 }, Timestamp::default());
            }
        });
    }
}

/// Times from `first` to `last`, both included, that no query misses between.
fn target_info_times(first: Timestamp, last: Timestamp) -> impl Iterator<Item = Timestamp> {
    let millis = last.millis().saturating_sub(first.millis());
    let from = last.millis().saturating_sub(millis.min(TARGET_INFO_MAX * TARGET_INFO_MILLIS));
    (from..last.millis())
        .step_by(TARGET_INFO_MILLIS as usize)
        .chain([last.millis()])
        .map(Timestamp::from_millis)
}

fn add_metric(metric: &Metric, identity: &Identity<'_>, series: &mut SeriesOf<'_, '_>) {
    let Some(data) = &metric.data else {
        return series.refuse(RefuseReason::NoData, 1, || format!("metric {:?}", metric.name));
    };
    let count = points::count(data);
    if count == 0 {
        return;
    }
    if !is_cumulative(data) {
        let example = || format!("metric {:?}", metric.name);
        return series.refuse(RefuseReason::DeltaTemporality, count, example);
    }
    let (metric_type, suffixes) = kinds(data);
    let Some(name) = metric_name(&metric.name, &metric.unit, suffixes) else {
        let example = || format!("metric {:?}", metric.name);
        return series.refuse(RefuseReason::InvalidName, count, example);
    };
    let metadata = Metadata { metric_type, help: &metric.description, unit: &metric.unit };
    let family = Family { name, identity, metadata };
    match data {
        Data::Gauge(gauge) => points::add_numbers(&gauge.data_points, &family, series),
        Data::Sum(sum) => points::add_numbers(&sum.data_points, &family, series),
        Data::Histogram(histogram) => {
            points::add_histograms(&histogram.data_points, &family, series);
        }
        Data::ExponentialHistogram(histogram) => {
            exponential::add(&histogram.data_points, &family, series);
        }
        Data::Summary(summary) => points::add_summaries(&summary.data_points, &family, series),
    }
}

/// Whether values are since a start and not since the point before.
fn is_cumulative(data: &Data) -> bool {
    let temporality = match data {
        Data::Gauge(_) | Data::Summary(_) => return true,
        Data::Sum(sum) => sum.aggregation_temporality,
        Data::Histogram(histogram) => histogram.aggregation_temporality,
        Data::ExponentialHistogram(histogram) => histogram.aggregation_temporality,
    };
    temporality == AggregationTemporality::Cumulative as i32
}

/// What a metric is, and what its name ends in.
fn kinds(data: &Data) -> (MetricType, Kind) {
    match data {
        Data::Gauge(_) => (MetricType::Gauge, Kind::Gauge),
        Data::Sum(sum) if sum.is_monotonic => (MetricType::Counter, Kind::Counter),
        Data::Sum(_) => (MetricType::Gauge, Kind::Other),
        Data::Histogram(_) | Data::ExponentialHistogram(_) => (MetricType::Histogram, Kind::Other),
        Data::Summary(_) => (MetricType::Summary, Kind::Other),
    }
}

/// Nanoseconds as milliseconds.
fn timestamp(nanos: u64) -> Timestamp {
    Timestamp::from_millis((nanos / 1_000_000) as i64)
}

#[cfg(test)]
mod tests;
