//! Bodies that nobody sends by mistake: every door answers with 4xx, keeps within its memory and
//! goes on.

use std::io::Write as _;

use axum::{body::Body, extract::Request};
use flate2::{Compression, write::GzEncoder};
use http::StatusCode;
use narthex_proto::{
    opentelemetry::proto::{
        collector::metrics::v1::ExportMetricsServiceRequest,
        common::v1::{AnyValue, KeyValue, any_value},
        metrics::v1::{
            AggregationTemporality, Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint,
            Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
            ScopeMetrics, exponential_histogram_data_point::Buckets, metric::Data,
            number_data_point::Value,
        },
    },
    v1::{
        AppendBatch, AppendExemplar, AppendHistogram, AppendMetadata, AppendSeries, BucketSpan,
        IntegerCounts, Label, append_histogram::Counts,
    },
};
use proptest::prelude::*;
use prost::Message as _;

use super::tests::{Case, Told, case, case_with, post, request, told, took_all};
use crate::{
    limits::Limits,
    sender::{compress, encode, encode_v2, put_field, put_varint},
};

const V2: &[(&str, &str)] =
    &[("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")];
const OTLP: &[(&str, &str)] = &[("Content-Type", "application/x-protobuf")];
const OTLP_JSON: &[(&str, &str)] = &[("Content-Type", "application/json")];
const GZIP: &[(&str, &str)] = &[("Content-Encoding", "gzip")];

/// A door for bodies.
#[derive(Debug, Clone, Copy)]
enum Door {
    Write1,
    Write2,
    Otlp,
    OtlpJson,
    OtlpGzip,
    Import,
    ImportGzip,
    Append,
}

const DOORS: [Door; 8] = [
    Door::Write1,
    Door::Write2,
    Door::Otlp,
    Door::OtlpJson,
    Door::OtlpGzip,
    Door::Import,
    Door::ImportGzip,
    Door::Append,
];

impl Door {
    /// Sends a body and returns the status as HTTP would show it.
    async fn send(self, case: &Case, body: Vec<u8>) -> Told {
        let router = &case.router;
        match self {
            Self::Write1 => case.send(&[], body).await,
            Self::Write2 => case.send(V2, body).await,
            Self::Otlp => told(router.otlp(post(OTLP, body)).await).await,
            Self::OtlpJson => told(router.otlp(post(OTLP_JSON, body)).await).await,
            Self::OtlpGzip => told(router.otlp(post(&[OTLP, GZIP].concat(), body)).await).await,
            Self::Import => told(router.import(post(&[], body)).await).await,
            Self::ImportGzip => told(router.import(post(GZIP, body)).await).await,
            Self::Append => {
                let answer = router.append_batch(body.into()).await;
                let status = match answer.failure {
                    None => StatusCode::OK,
                    Some(failure) if failure.code == "too_large" => StatusCode::PAYLOAD_TOO_LARGE,
                    Some(failure) if failure.retryable => StatusCode::TOO_MANY_REQUESTS,
                    Some(failure) if failure.code == "malformed" => StatusCode::BAD_REQUEST,
                    Some(failure) => panic!("{failure:?}"),
                };
                (status, http::HeaderMap::new(), String::new())
            }
        }
    }

    /// A body that is taken, with every kind of field in it.
    fn sound(self) -> Vec<u8> {
        match self {
            Self::Write1 => encode(&request()),
            Self::Write2 => encode_v2(&request()),
            Self::Otlp | Self::OtlpGzip => otlp().encode_to_vec(),
            Self::OtlpJson => OTLP_TEXT.as_bytes().to_vec(),
            Self::Import | Self::ImportGzip => {
                b"# TYPE a counter\na{x=\"1\",y=\"\\n\"} 1 5\nb NaN\nc{} -Inf 7\n".to_vec()
            }
            Self::Append => append().encode_to_vec(),
        }
    }

    /// A body as it travels.
    fn packed(self, body: &[u8]) -> Vec<u8> {
        match self {
            Self::Write1 | Self::Write2 => compress(body),
            Self::OtlpGzip | Self::ImportGzip => gzip(body),
            _ => body.to_vec(),
        }
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).expect("memory");
    encoder.finish().expect("memory")
}

fn attributes() -> Vec<KeyValue> {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue("v".to_owned())) });
    vec![KeyValue { key: "k".to_owned(), value }]
}

fn otlp() -> ExportMetricsServiceRequest {
    let exemplars = vec![Exemplar { filtered_attributes: attributes(), ..Exemplar::default() }; 2];
    let number = NumberDataPoint {
        attributes: attributes(),
        time_unix_nano: 1_000_000,
        exemplars: exemplars.clone(),
        value: Some(Value::AsDouble(1.0)),
        ..NumberDataPoint::default()
    };
    let histogram = HistogramDataPoint {
        attributes: attributes(),
        time_unix_nano: 1_000_000,
        count: 3,
        bucket_counts: vec![1, 2],
        explicit_bounds: vec![0.5],
        exemplars,
        ..HistogramDataPoint::default()
    };
    let exponential = ExponentialHistogramDataPoint {
        time_unix_nano: 1_000_000,
        count: 3,
        sum: Some(3.0),
        scale: 20,
        positive: Some(Buckets { offset: -3, bucket_counts: vec![1, 0, 2] }),
        ..ExponentialHistogramDataPoint::default()
    };
    let cumulative = AggregationTemporality::Cumulative as i32;
    let metric =
        |name: &str, data| Metric { name: name.to_owned(), data: Some(data), ..Metric::default() };
    let metrics = vec![
        metric("a", Data::Gauge(Gauge { data_points: vec![number] })),
        metric(
            "b",
            Data::Histogram(Histogram {
                data_points: vec![histogram],
                aggregation_temporality: cumulative,
            }),
        ),
        metric(
            "c",
            Data::ExponentialHistogram(ExponentialHistogram {
                data_points: vec![exponential],
                aggregation_temporality: cumulative,
            }),
        ),
    ];
    let scope_metrics = vec![ScopeMetrics { metrics }];
    let resource_metrics = vec![ResourceMetrics { resource: None, scope_metrics }];
    ExportMetricsServiceRequest { resource_metrics }
}

const OTLP_TEXT: &str = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"a","sum":{
  "aggregationTemporality":2,"dataPoints":[{"asDouble":5,"timeUnixNano":"1000000","attributes":[
  {"key":"k","value":{"arrayValue":{"values":[{"intValue":"1"},{"bytesValue":"AA=="}]}}}]}]}}]}]}]}"#;

fn append() -> AppendBatch {
    let label = |name: &str, value: &str| Label { name: name.to_owned(), value: value.to_owned() };
    let series = |i: i64| AppendSeries {
        labels: vec![label("__name__", "up"), label("i", &i.to_string())],
        timestamps_ms: vec![i, i + 1],
        values: vec![1.0, f64::NAN],
        start_timestamps_ms: vec![1, 0],
        histograms: vec![AppendHistogram {
            timestamp_ms: i + 2,
            sum: 3.0,
            counts: Some(Counts::Integers(IntegerCounts {
                count: 3,
                positive_deltas: vec![1, 1],
                ..IntegerCounts::default()
            })),
            positive_spans: vec![BucketSpan { offset: -1, length: 2 }],
            ..AppendHistogram::default()
        }],
        exemplars: vec![AppendExemplar {
            labels: vec![label("t", "1")],
            value: 1.0,
            timestamp_ms: 1,
        }],
        metadata: Some(AppendMetadata { r#type: 1, help: "h".to_owned(), unit: String::new() }),
    };
    AppendBatch { id: 7, series: (0..5).map(series).collect() }
}

/// What is done to a body.
#[derive(Debug, Clone)]
enum Damage {
    /// It ends early.
    Cut(usize),
    /// A bit is another one.
    Flip(usize, u8),
    /// A byte is another one: where it is a length, it lies.
    Set(usize, u8),
    /// A part of it stands there twice.
    Repeat(usize, usize),
    /// Something stands in the middle.
    Insert(usize, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = 0..1usize << 16;
    prop_oneof![
        at.clone().prop_map(Damage::Cut),
        (at.clone(), 0..8u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (at.clone(), prop_oneof![Just(0xff), Just(0x7f), Just(0x80), any::<u8>()])
            .prop_map(|(at, byte)| Damage::Set(at, byte)),
        (at.clone(), 1..64usize).prop_map(|(at, len)| Damage::Repeat(at, len)),
        (at, proptest::collection::vec(any::<u8>(), 1..20))
            .prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
    ]
}

fn damaged(mut body: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        let len = body.len().max(1);
        match damage {
            Damage::Cut(at) => body.truncate(at % len),
            Damage::Flip(at, bit) => {
                if let Some(byte) = body.get_mut(at % len) {
                    *byte ^= 1 << bit;
                }
            }
            Damage::Set(at, to) => {
                if let Some(byte) = body.get_mut(at % len) {
                    *byte = *to;
                }
            }
            Damage::Repeat(at, count) => {
                let part: Vec<u8> = body.iter().skip(at % len).take(*count).copied().collect();
                let at = (at % len).min(body.len());
                body.splice(at..at, part);
            }
            Damage::Insert(at, bytes) => {
                let at = (at % len).min(body.len());
                body.splice(at..at, bytes.iter().copied());
            }
        }
    }
    body
}

fn is_answer(status: StatusCode) -> bool {
    status.is_success() || status.is_client_error()
}

#[tokio::test]
async fn every_door_takes_what_is_sound() {
    let case = case(took_all);
    for door in DOORS {
        let told = door.send(&case, door.packed(&door.sound())).await;
        assert!(told.0.is_success(), "{door:?}: {told:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    /// Inside its packing, where the decoders of messages meet it, and outside.
    #[test]
    fn damaged_bodies_are_taken_or_refused(
        damages in proptest::collection::vec(damage(), 1..6),
        is_outside in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let case = case(took_all);
            for door in DOORS {
                let body = match is_outside {
                    true => damaged(door.packed(&door.sound()), &damages),
                    false => door.packed(&damaged(door.sound(), &damages)),
                };
                let told = door.send(&case, body).await;
                assert!(is_answer(told.0), "{door:?}: {told:?}");
                assert!(case.router.waiting.lock().is_empty());
                assert_eq!(case.router.memory.free_kib(), Limits::default().memory_kib());
            }
        });
    }
}

/// A request whose series name one long text again and again.
fn symbols_repeated(series: usize, text_bytes: usize) -> Vec<u8> {
    let mut request = Vec::new();
    let texts = ["", "__name__", "up", "n"].map(str::to_owned);
    let long = "x".repeat(text_bytes);
    for symbol in texts.iter().chain([&long]) {
        put_field(&mut request, 4, symbol.as_bytes());
    }
    let names = (0..series).map(|i| format!("l{i}"));
    for name in names.clone() {
        put_field(&mut request, 4, name.as_bytes());
    }
    for (at, _) in names.enumerate() {
        let (mut refs, mut message) = (vec![1, 2], Vec::new());
        put_varint(&mut refs, 5 + at as u64);
        put_varint(&mut refs, 4);
        put_field(&mut message, 1, &refs);
        put_field(&mut message, 2, &crate::sender::encode_sample((1, 1.0)));
        put_field(&mut request, 5, &message);
    }
    request
}

/// One series whose labels all have the same long value.
fn labels_repeated(labels: usize, text_bytes: usize) -> Vec<u8> {
    let mut request = Vec::new();
    let long = "x".repeat(text_bytes);
    for symbol in ["", "__name__", "up", &long] {
        put_field(&mut request, 4, symbol.as_bytes());
    }
    let (mut refs, mut message) = (vec![1, 2], Vec::new());
    for at in 0..labels {
        put_field(&mut request, 4, format!("l{at:07}").as_bytes());
        put_varint(&mut refs, 4 + at as u64);
        put_varint(&mut refs, 3);
    }
    put_field(&mut message, 1, &refs);
    put_field(&mut message, 2, &crate::sender::encode_sample((1, 1.0)));
    put_field(&mut request, 5, &message);
    request
}

/// `count` empty messages in a field, within fields of these numbers.
fn nested(outer: &[u8], field: u8, count: usize) -> Vec<u8> {
    let mut bytes = [field << 3 | 2, 0].repeat(count);
    for outer in outer.iter().rev() {
        let mut message = Vec::new();
        put_field(&mut message, *outer, &bytes);
        bytes = message;
    }
    bytes
}

/// Small bodies that would take gigabytes.
#[tokio::test]
async fn bodies_that_grow_are_refused_before_they_do() {
    let case = case(took_all);
    const MANY: usize = 5 << 20;
    let name = "n".repeat(1 << 19);
    let point = NumberDataPoint { value: Some(Value::AsInt(1)), ..NumberDataPoint::default() };
    let gauge = Gauge { data_points: vec![point; 100_000] };
    let metric = Metric { name, data: Some(Data::Gauge(gauge)), ..Metric::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric] }];
    let resource_metrics = vec![ResourceMetrics { resource: None, scope_metrics }];
    let long_name = ExportMetricsServiceRequest { resource_metrics }.encode_to_vec();
    let in_json = format!(r#"{{"resourceMetrics":[{}{{}}]}}"#, "{},".repeat(MANY));
    let cases = [
        ("one text of many series", Door::Write2, symbols_repeated(100_000, 1 << 19), 413),
        ("one text of many labels", Door::Write2, labels_repeated(60_000, 1 << 19), 413),
        ("labels larger than any entry", Door::Write2, labels_repeated(500, 1 << 13), 400),
        ("more labels than can be", Door::Write2, labels_repeated(200_000, 1), 400),
        ("symbols", Door::Write2, nested(&[], 4, MANY), 400),
        ("histograms in 2.0", Door::Write2, nested(&[5], 3, MANY), 400),
        ("labels", Door::Write1, nested(&[1], 1, MANY), 400),
        ("samples", Door::Write1, nested(&[1], 2, MANY), 400),
        ("exemplars", Door::Write1, nested(&[1], 3, MANY), 400),
        ("labels of an exemplar", Door::Write1, nested(&[1, 3], 1, MANY), 400),
        ("histograms", Door::Write1, nested(&[1], 4, MANY), 400),
        ("spans", Door::Write1, nested(&[1, 4], 11, MANY), 400),
        ("metadata", Door::Write1, nested(&[], 3, MANY), 400),
        ("resources", Door::Otlp, nested(&[], 1, MANY), 413),
        ("metrics", Door::OtlpGzip, nested(&[1, 2], 2, MANY), 413),
        ("points", Door::OtlpGzip, nested(&[1, 2, 2, 10], 1, MANY), 413),
        ("attributes", Door::OtlpGzip, nested(&[1, 2, 2, 5, 1], 7, MANY), 413),
        ("one name of many points", Door::Otlp, long_name, 413),
        ("objects", Door::OtlpJson, in_json.into_bytes(), 413),
        ("histograms of a series", Door::Append, nested(&[2], 5, MANY), 413),
        ("series", Door::Append, nested(&[], 2, MANY), 413),
        ("labels of a series", Door::Append, nested(&[2], 1, MANY), 413),
    ];
    for (what, door, body, want) in cases {
        let (status, _, text) = door.send(&case, door.packed(&body)).await;
        assert_eq!(status.as_u16(), want, "{what}: {text}");
        assert_eq!(case.router.memory.free_kib(), Limits::default().memory_kib(), "{what}");
        assert!(case.shards.stored.lock().len() < 10, "{what}");
        case.shards.stored.lock().clear();
    }
    assert!(case.metrics().contains("narthex_router_in_flight_bytes 0"));
}

/// A label of the query stands once in it, and in each of a million series.
#[tokio::test]
async fn labels_of_an_import_are_counted_with_every_line() {
    let case = case(took_all);
    let page: String = (0..100_000).map(|i| format!("m{i} 1\n")).collect();
    let uri = format!("/?extra_label=x={}", "y".repeat(8000));
    let request = Request::builder().method("POST").uri(uri).body(Body::from(page));
    let (status, _, text) = told(case.router.import(request.expect("valid")).await).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{text}");
    assert!(text.contains("parts of the request exceed 134217728 bytes"), "{text}");
}

/// The same body that one request may not hold is not held by many either.
#[tokio::test]
async fn what_is_received_counts_before_it_is_whole() {
    let limits =
        Limits { memory_bytes_max: 1 << 20, request_bytes_max: 1 << 20, ..Limits::default() };
    let case = case_with(took_all, limits);
    let (sender, body) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let slow = Body::from_stream(futures_util::stream::unfold(body, async |mut body| {
        Some((body.recv().await?, body))
    }));
    let receiving = async { told(case.router.remote_write(post(&[], slow)).await).await };
    let big = compress(&[0; 100 << 10]);
    let others = async {
        sender.send(Ok(vec![0; 1000 << 10])).await.expect("it is read");
        while case.router.memory.free_kib() > 24 {
            tokio::task::yield_now().await;
        }
        assert_eq!(case.send(&[], big.clone()).await.0, StatusCode::TOO_MANY_REQUESTS);
        drop(sender);
    };
    let (received, ()) = tokio::join!(receiving, others);
    assert_eq!(received.0, StatusCode::BAD_REQUEST);
    assert_eq!(case.send(&[], big).await.0, StatusCode::BAD_REQUEST, "there is memory again");
}

/// As deep as a body is long.
#[tokio::test]
async fn nesting_without_end_is_refused() {
    let case = case(took_all);
    let mut bytes = Vec::new();
    for _ in 0..2000 {
        for field in [1, 5] {
            let mut message = Vec::new();
            put_field(&mut message, field, &bytes);
            bytes = message;
        }
    }
    for field in [2, 7, 1, 5, 2, 2, 1] {
        let mut message = Vec::new();
        put_field(&mut message, field, &bytes);
        bytes = message;
    }
    let (status, _, text) = Door::Otlp.send(&case, bytes).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
    assert!(text.contains("fewer messages within messages"), "{text}");
}
