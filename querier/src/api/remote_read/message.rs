//! The messages of remote read 1.0, as far as they are used: field numbers are those of
//! Prometheus's `prompb/remote.proto` and `prompb/types.proto`.

use narthex_model::{
    CounterResetHint, FloatHistogram, Labels,
    histogram::{Bucket, Span, spans_of_buckets},
};
use narthex_promql::SampleBuffer;

use crate::chunk;

/// What a client asks.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadRequest {
    #[prost(message, repeated, tag = "1")]
    pub queries: Vec<Query>,
    /// Of [`ResponseType`], the most wanted first; none means samples.
    #[prost(enumeration = "ResponseType", repeated, tag = "2")]
    pub accepted_response_types: Vec<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ResponseType {
    Samples = 0,
    StreamedXorChunks = 1,
}

/// One selection of series and time.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Query {
    #[prost(int64, tag = "1")]
    pub start_ms: i64,
    #[prost(int64, tag = "2")]
    pub end_ms: i64,
    #[prost(message, repeated, tag = "3")]
    pub matchers: Vec<LabelMatcher>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct LabelMatcher {
    /// 0 `=`, 1 `!=`, 2 `=~`, 3 `!~`.
    #[prost(int32, tag = "1")]
    pub op: i32,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub value: String,
}

/// The answers, in the order of the queries.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadResponse {
    #[prost(message, repeated, tag = "1")]
    pub results: Vec<QueryResult>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct QueryResult {
    #[prost(message, repeated, tag = "1")]
    pub series: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    pub histograms: Vec<Histogram>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Label {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Sample {
    #[prost(double, tag = "1")]
    pub value: f64,
    #[prost(int64, tag = "2")]
    pub timestamp_ms: i64,
}

/// One frame of a streamed answer: of one series, which may go on in the next frame.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ChunkedReadResponse {
    #[prost(message, repeated, tag = "1")]
    pub chunked_series: Vec<ChunkedSeries>,
    /// Which of the queries this answers.
    #[prost(int64, tag = "2")]
    pub query_index: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ChunkedSeries {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub chunks: Vec<Chunk>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Chunk {
    #[prost(int64, tag = "1")]
    pub min_time_ms: i64,
    #[prost(int64, tag = "2")]
    pub max_time_ms: i64,
    /// 1 floats, 2 histograms with whole counts, 3 histograms.
    #[prost(int32, tag = "3")]
    pub encoding: i32,
    #[prost(bytes = "vec", tag = "4")]
    pub data: Vec<u8>,
}

impl From<chunk::Chunk> for Chunk {
    fn from(chunk: chunk::Chunk) -> Self {
        Self {
            min_time_ms: chunk.start_ms,
            max_time_ms: chunk.end_ms,
            encoding: chunk.encoding as i32,
            data: chunk.bytes,
        }
    }
}

/// A native histogram in its float form.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Histogram {
    #[prost(double, optional, tag = "2")]
    pub count: Option<f64>,
    #[prost(double, tag = "3")]
    pub sum: f64,
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    #[prost(double, tag = "5")]
    pub zero_threshold: f64,
    #[prost(double, optional, tag = "7")]
    pub zero_count: Option<f64>,
    #[prost(message, repeated, tag = "8")]
    pub negative_spans: Vec<BucketSpan>,
    #[prost(double, repeated, tag = "10")]
    pub negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<BucketSpan>,
    #[prost(double, repeated, tag = "13")]
    pub positive_counts: Vec<f64>,
    /// 0 unknown, 1 yes, 2 no, 3 gauge.
    #[prost(int32, tag = "14")]
    pub reset_hint: i32,
    #[prost(int64, tag = "15")]
    pub timestamp_ms: i64,
    #[prost(double, repeated, tag = "16")]
    pub custom_values: Vec<f64>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct BucketSpan {
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

/// Labels in the order of their names.
pub fn pairs(labels: &Labels) -> Vec<Label> {
    let pair = |(name, value): (&str, &str)| Label { name: name.into(), value: value.into() };
    labels.iter().map(pair).collect()
}

impl TimeSeries {
    /// A series without samples; its labels are sorted.
    pub fn new(labels: &Labels) -> Self {
        Self { labels: pairs(labels), samples: vec![], histograms: vec![] }
    }

    /// Adds the samples of one shard.
    pub fn extend(&mut self, buffer: &SampleBuffer) {
        for (at, (time, value)) in buffer.timestamps().iter().zip(buffer.values()).enumerate() {
            match buffer.histogram(at) {
                Some(histogram) => self.histograms.push(Histogram::new(histogram, *time)),
                None => self.samples.push(Sample { value: *value, timestamp_ms: *time }),
            }
        }
    }
}

impl Histogram {
    fn new(histogram: &FloatHistogram, timestamp_ms: i64) -> Self {
        let spans = |buckets: &[Bucket]| {
            let span = |span: Span| BucketSpan { offset: span.offset, length: span.length };
            spans_of_buckets(buckets).into_iter().map(span).collect()
        };
        let counts = |buckets: &[Bucket]| buckets.iter().map(|bucket| bucket.count).collect();
        Self {
            count: Some(histogram.count),
            sum: histogram.sum,
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            zero_count: Some(histogram.zero_count),
            negative_spans: spans(&histogram.negative),
            negative_counts: counts(&histogram.negative),
            positive_spans: spans(&histogram.positive),
            positive_counts: counts(&histogram.positive),
            reset_hint: match histogram.counter_reset_hint {
                CounterResetHint::Unknown => 0,
                CounterResetHint::Reset => 1,
                CounterResetHint::NotReset => 2,
                CounterResetHint::Gauge => 3,
            },
            timestamp_ms,
            custom_values: histogram.custom_values.to_vec(),
        }
    }
}
