use http::StatusCode;
use narthex_proto::{
    client::ShardError,
    internal::v1::{Appended, Refused},
    opentelemetry::proto::{
        collector::metrics::v1::ExportMetricsServiceRequest,
        metrics::v1::{metric::Data, number_data_point::Value},
    },
};

use super::*;
use crate::write::tests::{Case, Told, case, post, told, took_all};

/// As OpenTelemetry's documentation shows it, with integers in both of their forms.
const EXAMPLE: &str = r#"{"resourceMetrics": [{
  "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "my.service"}},
    {"key": "replicas", "value": {"intValue": "3"}}]},
  "scopeMetrics": [{
    "scope": {"name": "my.library", "version": "1.0.0"},
    "metrics": [
      {"name": "my.counter", "unit": "1", "description": "I am a Counter", "sum": {
        "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [{
          "asDouble": 5, "startTimeUnixNano": "900000000", "timeUnixNano": "1000000000",
          "attributes": [{"key": "my.counter.attr", "value": {"stringValue": "some value"}}]}]}},
      {"name": "my.gauge", "unit": "1", "gauge": {"dataPoints": [
        {"asInt": "10", "timeUnixNano": 1000000000, "attributes": []},
        {"asDouble": "NaN", "timeUnixNano": 2000000000}]}},
      {"name": "my.histogram", "unit": "1", "histogram": {
        "aggregationTemporality": "AGGREGATION_TEMPORALITY_CUMULATIVE", "dataPoints": [{
          "timeUnixNano": "1000000000", "count": "2", "sum": 2,
          "bucketCounts": ["1", 1], "explicitBounds": [1], "min": 0, "max": 2,
          "exemplars": [{"timeUnixNano": "1000000000", "asDouble": 1,
            "spanId": "5fb397be34d26b51", "traceId": "5b8aa5a2d2c872e8321cf37308d69df2"}]}]}}
    ]}]}]}"#;

const AS_JSON: &[(&str, &str)] = &[("Content-Type", "application/json")];
const AS_PROTOBUF: &[(&str, &str)] = &[("Content-Type", "application/x-protobuf")];

fn service(case: &Case) -> OtlpService {
    OtlpService { router: Arc::clone(&case.router), message_bytes_max: 1 << 20 }
}

fn example() -> ExportMetricsServiceRequest {
    serde_json::from_str(EXAMPLE).expect("valid")
}

impl Case {
    async fn otlp(&self, headers: &[(&str, &str)], body: impl Into<axum::body::Body>) -> Told {
        told(self.router.otlp(post(headers, body)).await).await
    }

    fn names(&self) -> Vec<String> {
        let stored = std::mem::take(&mut *self.shards.stored.lock());
        let name = |labels: &narthex_model::Labels| labels.metric_name().map(str::to_owned);
        let mut names: Vec<_> = stored.iter().filter_map(|(_, labels, _)| name(labels)).collect();
        names.sort();
        names
    }
}

const NAMES: [&str; 9] = [
    "my_counter_total",
    "my_gauge_ratio",
    "my_gauge_ratio",
    "my_histogram_bucket",
    "my_histogram_bucket",
    "my_histogram_count",
    "my_histogram_sum",
    "target_info",
    "target_info",
];

#[test]
fn json_says_what_protobuf_says() {
    let message = example();
    let metrics = &message.resource_metrics[0].scope_metrics[0].metrics;
    let Some(Data::Gauge(gauge)) = &metrics[1].data else { panic!("{:?}", metrics[1]) };
    assert_eq!(gauge.data_points[0].value, Some(Value::AsInt(10)));
    assert!(matches!(gauge.data_points[1].value, Some(Value::AsDouble(nan)) if nan.is_nan()));
    let Some(Data::Histogram(histogram)) = &metrics[2].data else { panic!("{:?}", metrics[2]) };
    let point = &histogram.data_points[0];
    assert_eq!((point.count, point.sum, &point.bucket_counts[..]), (2, Some(2.0), &[1, 1][..]));
    assert_eq!(point.exemplars[0].span_id[..2], [0x5f, 0xb3]);
}

#[tokio::test]
async fn both_encodings_are_stored_and_answered_in_kind() {
    let case = case(took_all);
    for turn in 0..3 {
        let (status, headers, body) = case.otlp(AS_JSON, EXAMPLE).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "{}"));
        assert_eq!(headers[header::CONTENT_TYPE], JSON);
        assert_eq!(case.names(), NAMES, "turn {turn}");
        let (status, headers, body) = case.otlp(AS_PROTOBUF, example().encode_to_vec()).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, ""));
        assert_eq!(headers[header::CONTENT_TYPE], PROTOBUF);
        assert_eq!(case.names(), NAMES, "turn {turn}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_in_kind() {
    let case = case(took_all);
    let deep = format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"a","value":{}"#,
        r#"{"arrayValue":{"values":["#.repeat(100_000)
    );
    type Headers = &'static [(&'static str, &'static str)];
    let cases: [(Headers, Vec<u8>, u16); 6] = [
        (&[], b"".to_vec(), 415),
        (&[("Content-Type", "text/plain")], b"".to_vec(), 415),
        (&[("Content-Type", JSON), ("Content-Encoding", "br")], b"{}".to_vec(), 415),
        (AS_JSON, b"{".to_vec(), 400),
        (AS_JSON, deep.into_bytes(), 400),
        (AS_PROTOBUF, b"\xff".to_vec(), 400),
    ];
    for (headers, body, want) in cases {
        let (status, answered, text) = case.otlp(headers, body).await;
        assert_eq!(status.as_u16(), want, "{headers:?} {text}");
        if headers == AS_JSON {
            assert_eq!(answered[header::CONTENT_TYPE], JSON);
            assert!(text.starts_with(r#"{"code":3,"message":"malformed JSON"#), "{text}");
        }
    }
}

/// Arrays within arrays, each a message within a message.
#[tokio::test]
async fn deep_nesting_is_refused_and_not_followed() {
    use narthex_proto::opentelemetry::proto::common::v1::{AnyValue, ArrayValue, any_value};
    let mut bytes = Vec::new();
    for _ in 0..5000 {
        let mut outer = Vec::new();
        crate::sender::put_field(&mut outer, 1, &bytes);
        let mut any = Vec::new();
        crate::sender::put_field(&mut any, 5, &outer);
        bytes = any;
    }
    assert!(AnyValue::decode(&bytes[..]).is_err());
    let flat = ArrayValue { values: vec![AnyValue::default()] };
    let flat = AnyValue { value: Some(any_value::Value::ArrayValue(flat)) };
    assert!(AnyValue::decode(&flat.encode_to_vec()[..]).is_ok());
}

#[tokio::test]
async fn a_part_that_is_refused_is_named_in_a_success() {
    let case = case(|_| {
        let reason = "out_of_order".to_owned();
        let row = Refused { reason, samples: 2, example: "up{}".to_owned() };
        Ok(Appended { samples: 5, refused: vec![row], ..Appended::default() })
    });
    let (status, _, body) = case.otlp(AS_JSON, EXAMPLE).await;
    assert_eq!(status, StatusCode::OK);
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let partial = &body["partialSuccess"];
    let count: u64 = partial["rejectedDataPoints"].as_str().expect("text").parse().expect("number");
    assert!(count >= 2 && count.is_multiple_of(2));
    let text = partial["errorMessage"].as_str().expect("text");
    assert!(text.contains("out_of_order (for example up{})"), "{text}");
}

#[tokio::test]
async fn nothing_but_refusals_is_no_success() {
    let case = case(|_| {
        let row = Refused { reason: "too_old".to_owned(), samples: 2, ..Refused::default() };
        Ok(Appended { samples: 0, refused: vec![row], ..Appended::default() })
    });
    let (status, headers, body) = case.otlp(AS_JSON, EXAMPLE).await;
    assert_eq!((status, headers.get(header::RETRY_AFTER)), (StatusCode::BAD_REQUEST, None));
    assert!(body.contains("nothing is stored"), "{body}");
    let service = service(&case);
    let status = service.export(example().encode_to_vec().into()).await.expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_silent_shard_is_worth_another_try() {
    let case = case(|shard| Err(ShardError::Unavailable { shard, reason: "no leader".to_owned() }));
    let (status, headers, body) = case.otlp(AS_PROTOBUF, example().encode_to_vec()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(headers[header::RETRY_AFTER], "1");
    assert!(body.contains("is unavailable: no leader"), "{body}");
    let service = service(&case);
    let status = service.export(example().encode_to_vec().into()).await.expect_err("unavailable");
    assert_eq!(status.code(), Code::Unavailable);
    let details = RpcStatus::decode(status.details()).expect("a status").details;
    assert!(details[0].type_url.ends_with("google.rpc.RetryInfo"));
    let retry = RetryInfo::decode(&details[0].value[..]).expect("a pause");
    assert_eq!(retry.retry_delay, Some(RetryDelay { seconds: 1 }));
}

#[tokio::test]
async fn grpc_stores_what_http_stores() {
    let case = case(took_all);
    let service = service(&case);
    let answer = service.export(example().encode_to_vec().into()).await.expect("stored");
    assert_eq!(answer, ExportMetricsServiceResponse::default());
    assert_eq!(case.names(), NAMES);
}
