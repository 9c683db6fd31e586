use narthex_model::histogram::Bucket;
use proptest::prelude::*;
use prost::Message as _;

use super::*;

/// The message of both versions, encoded by a library, as a model.
#[derive(Clone, PartialEq, prost::Message)]
struct ModelHistogram {
    #[prost(oneof = "ModelCount", tags = "1, 2")]
    count: Option<ModelCount>,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(double, tag = "5")]
    zero_threshold: f64,
    #[prost(oneof = "ModelZeroCount", tags = "6, 7")]
    zero_count: Option<ModelZeroCount>,
    #[prost(message, repeated, tag = "8")]
    negative_spans: Vec<ModelSpan>,
    #[prost(sint64, repeated, tag = "9")]
    negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<ModelSpan>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    reset_hint: i32,
    #[prost(int64, tag = "15")]
    timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    custom_values: Vec<f64>,
    #[prost(int64, tag = "17")]
    start_timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
enum ModelCount {
    #[prost(uint64, tag = "1")]
    Integer(u64),
    #[prost(double, tag = "2")]
    Float(f64),
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
enum ModelZeroCount {
    #[prost(uint64, tag = "6")]
    Integer(u64),
    #[prost(double, tag = "7")]
    Float(f64),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct ModelSpan {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

fn read(model: &ModelHistogram) -> SentHistogram {
    let bytes = model.encode_to_vec();
    HistogramReader::default().read(Reader::new(&bytes)).expect("valid protobuf")
}

fn spans(sent: &[ModelSpan]) -> Vec<Span> {
    sent.iter().map(|span| Span { offset: span.offset, length: span.length }).collect()
}

/// What the model says, without our reader.
fn expected(model: &ModelHistogram) -> Result<NativeHistogram, InvalidHistogram> {
    let counts = match model.count {
        Some(ModelCount::Float(count)) => SpannedCounts::Float {
            count,
            zero_count: match model.zero_count {
                Some(ModelZeroCount::Float(zeros)) => zeros,
                _ => 0.0,
            },
            positive: &model.positive_counts,
            negative: &model.negative_counts,
        },
        count => SpannedCounts::Integer {
            count: if let Some(ModelCount::Integer(count)) = count { count } else { 0 },
            zero_count: match model.zero_count {
                Some(ModelZeroCount::Integer(zeros)) => zeros,
                _ => 0,
            },
            positive_deltas: &model.positive_deltas,
            negative_deltas: &model.negative_deltas,
        },
    };
    NativeHistogram::from_spans(&SpannedHistogram {
        counter_reset_hint: [
            CounterResetHint::Unknown,
            CounterResetHint::Reset,
            CounterResetHint::NotReset,
            CounterResetHint::Gauge,
        ][model.reset_hint as usize],
        schema: model.schema,
        zero_threshold: model.zero_threshold,
        sum: model.sum,
        counts,
        positive_spans: &spans(&model.positive_spans),
        negative_spans: &spans(&model.negative_spans),
        custom_values: &model.custom_values,
    })
}

fn model() -> impl Strategy<Value = ModelHistogram> {
    let span = (-5..20i32, 0..4u32).prop_map(|(offset, length)| ModelSpan { offset, length });
    let spans = || proptest::collection::vec(span.clone(), 0..4);
    let deltas = || proptest::collection::vec(-3..9i64, 0..6);
    let floats = || proptest::collection::vec(-1.0..9.0f64, 0..6);
    let count = prop_oneof![
        Just(None),
        (0..50u64).prop_map(|n| Some(ModelCount::Integer(n))),
        (0.0..50.0f64).prop_map(|n| Some(ModelCount::Float(n))),
    ];
    let zeros = prop_oneof![
        Just(None),
        (0..5u64).prop_map(|n| Some(ModelZeroCount::Integer(n))),
        (0.0..5.0f64).prop_map(|n| Some(ModelZeroCount::Float(n))),
    ];
    let head = (count, zeros, any::<f64>(), -60..10i32, 0..4i32, any::<(i64, i64)>());
    (head, spans(), deltas(), floats(), spans(), deltas(), floats(), floats()).prop_map(
        |(head, negative_spans, negative_deltas, negative_counts, ps, pd, pc, custom_values)| {
            let (count, zero_count, sum, schema, reset_hint, (timestamp, start_timestamp)) = head;
            ModelHistogram {
                count,
                sum,
                schema,
                zero_threshold: 0.0,
                zero_count,
                negative_spans,
                negative_deltas,
                negative_counts,
                positive_spans: ps,
                positive_deltas: pd,
                positive_counts: pc,
                reset_hint,
                timestamp,
                custom_values,
                start_timestamp,
            }
        },
    )
}

proptest! {
    #[test]
    fn what_a_library_encodes_is_read(model in model()) {
        let sent = read(&model);
        prop_assert_eq!(sent.timestamp.millis(), model.timestamp);
        prop_assert_eq!(sent.start.millis(), model.start_timestamp);
        prop_assert_eq!(format!("{:?}", sent.value), format!("{:?}", expected(&model)));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = HistogramReader::default().read(Reader::new(&bytes));
    }
}

#[test]
fn a_histogram_as_prometheus_sends_it() {
    let model = ModelHistogram {
        count: Some(ModelCount::Integer(12)),
        zero_count: Some(ModelZeroCount::Integer(2)),
        sum: 18.4,
        schema: 1,
        zero_threshold: 0.001,
        positive_spans: vec![
            ModelSpan { offset: 0, length: 2 },
            ModelSpan { offset: 1, length: 2 },
        ],
        positive_deltas: vec![1, 1, -1, 0],
        negative_spans: vec![ModelSpan { offset: 0, length: 2 }],
        negative_deltas: vec![2, 1],
        timestamp: 5,
        ..ModelHistogram::default()
    };
    let Ok(NativeHistogram::Integer(got)) = read(&model).value else { panic!("an integer one") };
    let bucket = |(index, count)| Bucket { index, count };
    assert_eq!(got.positive, [(0, 1), (1, 2), (3, 1), (4, 1)].map(bucket));
    assert_eq!(got.negative, [(0, 2), (1, 3)].map(bucket));
    assert_eq!((got.count, got.zero_count, got.sum), (12, 2, 18.4));
    let wrong = ModelHistogram { count: Some(ModelCount::Integer(3)), ..model };
    assert_eq!(read(&wrong).value, Err(InvalidHistogram::CountMismatch));
}

#[test]
fn custom_bounds_and_staleness_come_through() {
    let model = ModelHistogram {
        count: Some(ModelCount::Float(3.5)),
        sum: 2.0,
        schema: -53,
        positive_spans: vec![ModelSpan { offset: 0, length: 2 }],
        positive_counts: vec![1.5, 2.0],
        custom_values: vec![0.5, 1.0],
        ..ModelHistogram::default()
    };
    let Ok(NativeHistogram::Float(got)) = read(&model).value else { panic!("a float one") };
    assert_eq!(&got.custom_values[..], [0.5, 1.0]);
    let stale = ModelHistogram { sum: narthex_model::stale_nan(), ..model };
    assert!(matches!(read(&stale).value, Ok(it) if it.is_stale() && it.is_float()));
}
