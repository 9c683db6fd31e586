//! Chunks as remote read streams them are read as blocks are.

use std::sync::Arc;

use narthex_model::{
    CounterResetHint, FloatHistogram, STALE_NAN_BITS,
    histogram::{Bucket, CUSTOM_BUCKETS_SCHEMA, Span, buckets_from_spans},
    stale_nan,
};
use narthex_promql::SampleBuffer;
use narthex_querier::chunk::{Encoding, SAMPLES_MAX, chunks};
use proptest::{collection::vec, prelude::*};
use prost::Message as _;

use super::super::{chunk, histogram};

/// A histogram of remote write, with whole counts or fractions.
#[derive(Clone, PartialEq, prost::Message)]
struct Sent {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    float_count: f64,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(double, tag = "5")]
    zero_threshold: f64,
    #[prost(uint64, tag = "6")]
    zero_count: u64,
    #[prost(double, tag = "7")]
    float_zero_count: f64,
    #[prost(message, repeated, tag = "8")]
    negative_spans: Vec<SentSpan>,
    #[prost(sint64, repeated, tag = "9")]
    negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<SentSpan>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    reset_hint: i32,
    #[prost(int64, tag = "15")]
    timestamp_ms: i64,
    #[prost(double, repeated, tag = "16")]
    custom_values: Vec<f64>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct SentSpan {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

impl Sent {
    fn into_float(self, is_float: bool) -> FloatHistogram {
        let buckets = |spans: &[SentSpan], deltas: &[i64], counts: Vec<f64>| {
            let span = |it: &SentSpan| Span { offset: it.offset, length: it.length };
            let spans: Vec<Span> = spans.iter().map(span).collect();
            let whole = deltas.iter().scan(0, |count, delta| {
                *count += delta;
                Some(*count as f64)
            });
            let counts = if is_float { counts } else { whole.collect() };
            buckets_from_spans(&spans, &counts)
        };
        let mut histogram = FloatHistogram {
            counter_reset_hint: match self.reset_hint {
                3 => CounterResetHint::Gauge,
                1 => CounterResetHint::Reset,
                _ => CounterResetHint::Unknown,
            },
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: if is_float { self.float_zero_count } else { self.zero_count as f64 },
            count: if is_float { self.float_count } else { self.count as f64 },
            sum: self.sum,
            positive: buckets(&self.positive_spans, &self.positive_deltas, self.positive_counts),
            negative: buckets(&self.negative_spans, &self.negative_deltas, self.negative_counts),
            custom_values: self.custom_values.into(),
        };
        histogram.compact();
        histogram
    }
}

/// What a reader of blocks finds in the chunks of a series.
fn read(samples: &SampleBuffer) -> SampleBuffer {
    let mut found = SampleBuffer::new();
    for chunk in chunks(samples) {
        let before = found.len();
        match chunk.encoding {
            Encoding::Xor => {
                let mut floats = Vec::new();
                chunk::read(&chunk.bytes, &mut floats).expect("a chunk of floats");
                for (time, bits) in floats {
                    found.push_float(time, f64::from_bits(bits));
                }
            }
            Encoding::Histogram | Encoding::FloatHistogram => {
                let is_float = chunk.encoding == Encoding::FloatHistogram;
                let mut messages = Vec::new();
                histogram::read(&chunk.bytes, is_float, &mut messages).expect("histograms");
                for (time, message) in messages {
                    let sent = Sent::decode(&*message).expect("a message");
                    assert_eq!(sent.timestamp_ms, time);
                    found.push_histogram(time, Arc::new(sent.into_float(is_float)));
                }
            }
        }
        let times = &found.timestamps()[before..];
        assert!((1..=SAMPLES_MAX).contains(&times.len()));
        assert_eq!((times.first(), times.last()), (Some(&chunk.start_ms), Some(&chunk.end_ms)));
    }
    found
}

fn assert_same(found: &SampleBuffer, samples: &SampleBuffer) {
    assert_eq!(found.timestamps(), samples.timestamps());
    let bits = |buffer: &SampleBuffer| {
        buffer.values().iter().map(|value| value.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(bits(found), bits(samples));
    for at in 0..samples.len() {
        // Sums are compared above, as they may be NaN.
        let of = |buffer: &SampleBuffer| {
            buffer.histogram(at).map(|it| FloatHistogram { sum: 0.0, ..(**it).clone() })
        };
        assert_eq!(of(found), of(samples), "at {at}");
    }
}

fn steps() -> impl Strategy<Value = i64> {
    prop_oneof![Just(15_000), 14_990..15_010i64, 1..100_000i64, 1..1i64 << 40]
}

fn values() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(f64::from_bits(STALE_NAN_BITS)),
        Just(0.0),
        (0..1000i32).prop_map(f64::from),
        any::<f64>(),
        any::<u64>().prop_map(f64::from_bits),
    ]
}

fn counts(is_whole: bool) -> BoxedStrategy<f64> {
    match is_whole {
        true => prop_oneof![(0..10u32).prop_map(f64::from), (0..1u64 << 53).prop_map(|n| n as f64)]
            .boxed(),
        false => prop_oneof![(0..10u32).prop_map(f64::from), 0.0..1e300f64].boxed(),
    }
}

fn buckets(is_whole: bool) -> impl Strategy<Value = Vec<Bucket>> {
    let all = proptest::collection::btree_map(-9..9i32, counts(is_whole), 0..5);
    all.prop_map(|all| all.into_iter().map(|(index, count)| Bucket { index, count }).collect())
}

fn histograms(is_whole: bool) -> impl Strategy<Value = FloatHistogram> {
    let hint = prop_oneof![
        4 => Just(CounterResetHint::Unknown),
        1 => Just(CounterResetHint::Gauge),
    ];
    let thresholds = prop_oneof![Just(0.0), Just(2f64.powi(-128)), Just(1e-3)];
    let shape = (hint, -4..=8i32, thresholds, any::<bool>(), any::<bool>());
    let numbers = (values(), counts(is_whole), counts(is_whole));
    (shape, numbers, buckets(is_whole), buckets(is_whole)).prop_map(
        |(shape, (sum, count, zero_count), positive, negative)| {
            let (counter_reset_hint, schema, zero_threshold, is_custom, is_usual) = shape;
            if narthex_model::is_stale(sum) {
                return FloatHistogram { sum: stale_nan(), ..FloatHistogram::default() };
            }
            let schema = if is_usual { 3 } else { schema };
            let exponential = FloatHistogram {
                counter_reset_hint,
                schema,
                zero_threshold,
                zero_count,
                count,
                sum,
                positive,
                negative,
                ..FloatHistogram::default()
            };
            if !is_custom {
                return exponential;
            }
            let positive = exponential.positive.into_iter().filter(|it| it.index >= 0).collect();
            FloatHistogram {
                schema: CUSTOM_BUCKETS_SCHEMA,
                zero_threshold: 0.0,
                zero_count: 0.0,
                positive,
                negative: Vec::new(),
                custom_values: [-1.0, 0.25, 1.0, 7.5, 1e6, 1e9, 1e10, 1e11, 1e12].into(),
                ..exponential
            }
        },
    )
}

fn filled<T>(steps: &[(i64, T)], mut push: impl FnMut(&mut SampleBuffer, i64, &T)) -> SampleBuffer {
    let (mut samples, mut time) = (SampleBuffer::new(), -77_000);
    for (step, sample) in steps {
        time += step;
        push(&mut samples, time, sample);
    }
    samples
}

/// As it is kept: without buckets of count zero.
fn push_kept(samples: &mut SampleBuffer, time: i64, histogram: &FloatHistogram) {
    let mut kept = histogram.clone();
    kept.compact();
    samples.push_histogram(time, Arc::new(kept));
}

proptest! {
    #[test]
    fn floats_read_back(steps in vec((steps(), values()), 0..300)) {
        let samples = filled(&steps, |samples, time, value| samples.push_float(time, *value));
        assert_same(&read(&samples), &samples);
    }

    #[test]
    fn whole_histograms_read_back(steps in vec((steps(), histograms(true)), 0..40)) {
        let samples = filled(&steps, push_kept);
        assert!(chunks(&samples).all(|chunk| chunk.encoding == Encoding::Histogram));
        assert_same(&read(&samples), &samples);
    }

    #[test]
    fn histograms_read_back(steps in vec((steps(), histograms(false)), 0..40)) {
        let samples = filled(&steps, push_kept);
        assert_same(&read(&samples), &samples);
    }
}

/// A counter that grows fills its chunks.
#[test]
fn counters_share_a_layout() {
    let grown = |at: u32| {
        let buckets = (0..at / 30).map(|index| Bucket { index: index as i32, count: at.into() });
        FloatHistogram {
            schema: 3,
            count: f64::from(at),
            sum: f64::from(at) / 3.0,
            positive: buckets.collect(),
            ..FloatHistogram::default()
        }
    };
    let steps: Vec<_> = (30..270).map(|at| (15_000, grown(at))).collect();
    let samples = filled(&steps, push_kept);
    let found: Vec<_> = chunks(&samples).collect();
    assert_eq!(found.len(), 2);
    assert_same(&read(&samples), &samples);
}
