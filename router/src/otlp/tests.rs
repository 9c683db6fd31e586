use std::collections::{BTreeMap, BTreeSet};

use narthex_cluster::{Epoch, Ring, ShardId};
use narthex_model::{Labels, stale_nan};
use narthex_proto::opentelemetry::proto::{
    common::v1::{AnyValue, any_value},
    metrics::v1::{
        Gauge, Histogram, HistogramDataPoint, NumberDataPoint, ScopeMetrics, Sum, Summary,
        SummaryDataPoint, number_data_point::Value, summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource,
};

use super::*;
use crate::{
    families::Described,
    limits::Limits,
    memory::Memory,
    sender::{none_known, read_batch},
    series_cache::SeriesCache,
    split::Age,
};

const SECOND: u64 = 1_000_000_000;

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value) }
}

fn metric(name: &str, unit: &str, data: Data) -> Metric {
    let (name, unit) = (name.to_owned(), unit.to_owned());
    Metric { name, unit, data: Some(data), ..Metric::default() }
}

fn request(metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let attributes = vec![attribute("service.name", "api"), attribute("host.name", "h")];
    let resource_metrics = vec![ResourceMetrics {
        resource: Some(Resource { attributes }),
        scope_metrics: vec![ScopeMetrics { metrics }],
    }];
    ExportMetricsServiceRequest { resource_metrics }
}

/// Samples as `labels time value`, but for target_info's, and refusals by reason.
fn split(request: &ExportMetricsServiceRequest) -> (BTreeSet<String>, BTreeMap<&'static str, u64>) {
    let epochs = [Epoch {
        number: 0,
        from: Timestamp::MIN,
        ring: std::sync::Arc::new(Ring::new((0..3).map(ShardId))),
        spread_jobs: BTreeSet::new(),
    }];
    let by = SplitBy {
        epochs: &epochs,
        now: Timestamp::from_millis(1_000_000),
        cache: &SeriesCache::new(10, 1),
        naming: Naming::Known,
        age: Age::Window,
        limits: &Limits::default(),
        described: &Described::default(),
        pairs: None,
        memory: &Memory::new(Limits::default(), Default::default()).share(),
    };
    let split = split_otlp(request, 0, &by).expect("memory");
    let mut rows = BTreeSet::new();
    for batch in split.batches.values().flatten() {
        for (labels, samples) in read_batch(&batch.bytes, none_known) {
            for sample in samples {
                let value = match narthex_model::is_stale(sample.value) {
                    true => "stale".to_owned(),
                    false => sample.value.to_string(),
                };
                let row = format!("{} {} {value}", shown(&labels), sample.timestamp.millis());
                assert!(rows.insert(row), "a sample twice");
            }
        }
    }
    let refused = split.refused.iter().map(|(reason, it)| (reason.name(), it.samples)).collect();
    (rows, refused)
}

fn shown(labels: &Labels) -> String {
    let name = labels.metric_name().unwrap_or_default();
    let rest = labels.without_metric_name().to_string();
    format!("{name}{}", rest.replace(", ", ",").replace('"', ""))
}

fn point(value: Value) -> NumberDataPoint {
    NumberDataPoint {
        attributes: vec![attribute("http.method", "GET")],
        time_unix_nano: 5 * SECOND,
        start_time_unix_nano: SECOND,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

fn sum(temporality: AggregationTemporality, is_monotonic: bool) -> Data {
    Data::Sum(Sum {
        data_points: vec![point(Value::AsInt(7))],
        aggregation_temporality: temporality as i32,
        is_monotonic,
    })
}

const TARGET: &str = "target_info{host_name=h,job=api} 5000 1";

fn rows<const N: usize>(rows: [&str; N]) -> BTreeSet<String> {
    rows.iter().map(|row| (*row).to_owned()).collect()
}

#[test]
fn numbers_are_one_series_each() {
    use AggregationTemporality::Cumulative;
    let gauge = Data::Gauge(Gauge { data_points: vec![point(Value::AsDouble(0.5))] });
    let (found, refused) = split(&request(vec![
        metric("cpu.load", "1", gauge),
        metric("http.requests", "{request}", sum(Cumulative, true)),
        metric("queue.size", "By", sum(Cumulative, false)),
    ]));
    assert!(refused.is_empty(), "{refused:?}");
    let want = [
        "cpu_load_ratio{http_method=GET,job=api} 5000 0.5",
        "http_requests_total{http_method=GET,job=api} 5000 7",
        "queue_size_bytes{http_method=GET,job=api} 5000 7",
        TARGET,
    ];
    assert_eq!(found, rows(want));
}

#[test]
fn what_prometheus_drops_is_refused_by_name() {
    use AggregationTemporality::{Cumulative, Delta, Unspecified};
    let empty = NumberDataPoint { value: None, ..point(Value::AsInt(0)) };
    let (found, refused) = split(&request(vec![
        metric("delta", "", sum(Delta, true)),
        metric("unsaid", "", sum(Unspecified, true)),
        metric("€", "", sum(Cumulative, false)),
        metric("void", "", Data::Gauge(Gauge { data_points: vec![empty] })),
        Metric { name: "nothing".to_owned(), ..Metric::default() },
    ]));
    assert_eq!(found, rows([TARGET]));
    let want = [("delta_temporality", 2), ("invalid_metric_name", 1), ("no_data", 2)];
    assert_eq!(refused, BTreeMap::from(want));
}

fn histogram(flags: u32, sum: Option<f64>) -> Metric {
    let point = HistogramDataPoint {
        time_unix_nano: 5 * SECOND,
        count: 6,
        sum,
        bucket_counts: vec![1, 2, 3],
        explicit_bounds: vec![0.5, 10.0],
        flags,
        ..HistogramDataPoint::default()
    };
    let temporality = AggregationTemporality::Cumulative as i32;
    let data = Histogram { data_points: vec![point], aggregation_temporality: temporality };
    metric("latency", "s", Data::Histogram(data))
}

#[test]
fn a_histogram_is_its_buckets_sum_and_count() {
    let (found, refused) = split(&request(vec![histogram(0, Some(40.5))]));
    assert!(refused.is_empty(), "{refused:?}");
    let want = [
        "latency_seconds_bucket{job=api,le=0.5} 5000 1",
        "latency_seconds_bucket{job=api,le=10} 5000 3",
        "latency_seconds_bucket{job=api,le=+Inf} 5000 6",
        "latency_seconds_count{job=api} 5000 6",
        "latency_seconds_sum{job=api} 5000 40.5",
        TARGET,
    ];
    assert_eq!(found, rows(want));
    let (found, _) = split(&request(vec![histogram(0, None)]));
    assert!(!found.iter().any(|row| row.contains("_sum")), "{found:?}");
    let (found, _) = split(&request(vec![histogram(1, Some(1.0))]));
    assert_eq!(found.iter().filter(|row| row.ends_with(" 5000 stale")).count(), 5, "{found:?}");
}

#[test]
fn a_summary_is_its_quantiles_sum_and_count() {
    let point = SummaryDataPoint {
        time_unix_nano: 5 * SECOND,
        count: 3,
        sum: 4.5,
        quantile_values: vec![ValueAtQuantile { quantile: 0.99, value: 2.0 }],
        ..SummaryDataPoint::default()
    };
    let data = Data::Summary(Summary { data_points: vec![point] });
    let (found, _) = split(&request(vec![metric("rpc", "", data)]));
    let want = [
        "rpc{job=api,quantile=0.99} 5000 2",
        "rpc_count{job=api} 5000 3",
        "rpc_sum{job=api} 5000 4.5",
        TARGET,
    ];
    assert_eq!(found, rows(want));
}

#[test]
fn a_point_without_a_recorded_value_is_a_staleness_marker() {
    let gone = NumberDataPoint { value: None, flags: 1, ..point(Value::AsInt(0)) };
    let data = Data::Gauge(Gauge { data_points: vec![gone] });
    let (found, refused) = split(&request(vec![metric("up", "", data)]));
    assert!(refused.is_empty() && narthex_model::is_stale(stale_nan()));
    assert_eq!(found, rows(["up{http_method=GET,job=api} 5000 stale", TARGET]));
}

#[test]
fn target_info_covers_the_time_between_points() {
    let times = |first: i64, last: i64| -> Vec<i64> {
        let at = Timestamp::from_millis;
        target_info_times(at(first), at(last)).map(Timestamp::millis).collect()
    };
    assert_eq!(times(5, 5), [5]);
    assert_eq!(times(0, 150_000), [0, 150_000]);
    assert_eq!(times(0, 400_000), [0, 150_000, 300_000, 400_000]);
    let all = times(i64::MIN, i64::MAX);
    assert_eq!((all.len(), all[all.len() - 1]), (601, i64::MAX));
}

#[test]
fn times_are_whole_milliseconds() {
    assert_eq!(timestamp(1_999_999).millis(), 1);
    assert_eq!(timestamp(u64::MAX).millis(), (u64::MAX / 1_000_000) as i64);
}
