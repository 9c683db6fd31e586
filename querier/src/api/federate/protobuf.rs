//! Pages of messages: field numbers are those of `io/prometheus/client/metrics.proto`.

use narthex_model::{
    CounterResetHint, FloatHistogram,
    histogram::{Bucket as Populated, Span, spans_of_buckets},
};
use prost::Message as _;

use super::{Family, Kind, Newest, Row, cumulative, format::Escaping};

#[derive(Clone, PartialEq, prost::Message)]
struct MetricFamily {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    /// 3 untyped, 4 histogram, 5 gauge histogram.
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(message, optional, tag = "5")]
    untyped: Option<Untyped>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
    #[prost(int64, optional, tag = "6")]
    timestamp_ms: Option<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LabelPair {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    value: Option<String>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Untyped {
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Histogram {
    #[prost(double, optional, tag = "4")]
    sample_count_float: Option<f64>,
    #[prost(double, optional, tag = "2")]
    sample_sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<Bucket>,
    #[prost(sint32, optional, tag = "5")]
    schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    zero_threshold: Option<f64>,
    #[prost(double, optional, tag = "8")]
    zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "9")]
    negative_span: Vec<BucketSpan>,
    #[prost(double, repeated, packed = "false", tag = "11")]
    negative_count: Vec<f64>,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<BucketSpan>,
    #[prost(double, repeated, packed = "false", tag = "14")]
    positive_count: Vec<f64>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Bucket {
    #[prost(double, optional, tag = "4")]
    cumulative_count_float: Option<f64>,
    #[prost(double, optional, tag = "2")]
    upper_bound: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct BucketSpan {
    #[prost(sint32, optional, tag = "1")]
    offset: Option<i32>,
    #[prost(uint32, optional, tag = "2")]
    length: Option<u32>,
}

/// The families of a page.
pub fn write<'a>(families: impl Iterator<Item = Family<'a>>, escaping: Escaping) -> Vec<u8> {
    let mut page = Vec::new();
    for family in families {
        let message = MetricFamily {
            name: Some(escaping.metric(family.name).into_owned()),
            kind: Some(match family.kind {
                Kind::Untyped => 3,
                Kind::Histogram => 4,
                Kind::GaugeHistogram => 5,
            }),
            metric: family.rows.iter().map(|row| metric(row, escaping)).collect(),
        };
        page.extend(message.encode_length_delimited_to_vec());
    }
    page
}

fn metric(row: &Row<'_>, escaping: Escaping) -> Metric {
    let label = |(name, value): &(&str, &str)| LabelPair {
        name: Some(escaping.label(name).into_owned()),
        value: Some((*value).to_owned()),
    };
    let Newest { time, value, histogram } = &row.newest;
    let untyped = Untyped { value: Some(*value) };
    Metric {
        label: row.labels.iter().map(label).collect(),
        untyped: histogram.is_none().then_some(untyped),
        histogram: histogram.map(Histogram::new),
        timestamp_ms: Some(*time),
    }
}

impl Histogram {
    /// One with custom buckets is told as a classic one.
    fn new(histogram: &FloatHistogram) -> Self {
        let totals = Self {
            sample_count_float: Some(histogram.count),
            sample_sum: Some(histogram.sum),
            ..Self::default()
        };
        if histogram.uses_custom_buckets() {
            let bucket = |(bound, count)| Bucket {
                cumulative_count_float: Some(count),
                upper_bound: Some(bound),
            };
            return Self { bucket: cumulative(histogram).map(bucket).collect(), ..totals };
        }
        let counts = |buckets: &[Populated]| buckets.iter().map(|bucket| bucket.count).collect();
        let mut positive_span = spans(&histogram.positive);
        let negative_span = spans(&histogram.negative);
        if positive_span.is_empty() && negative_span.is_empty() {
            // It is by spans that one is known to be native.
            positive_span.push(BucketSpan { offset: Some(0), length: Some(0) });
        }
        Self {
            schema: Some(histogram.schema),
            zero_threshold: Some(histogram.zero_threshold),
            zero_count_float: Some(histogram.zero_count),
            negative_span,
            negative_count: counts(&histogram.negative),
            positive_span,
            positive_count: counts(&histogram.positive),
            ..totals
        }
    }
}

fn spans(buckets: &[Populated]) -> Vec<BucketSpan> {
    let span = |Span { offset, length }| BucketSpan { offset: Some(offset), length: Some(length) };
    spans_of_buckets(buckets).into_iter().map(span).collect()
}

/// What a family of such histograms is called.
pub fn kind(histogram: &FloatHistogram) -> Kind {
    match histogram.counter_reset_hint {
        CounterResetHint::Gauge => Kind::GaugeHistogram,
        _ => Kind::Histogram,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_histograms_are_told_whole() {
        let text = "{{schema:2 count:7 sum:9 z_bucket:1 z_bucket_w:0.25 buckets:[2 0 4]}}";
        let histogram = FloatHistogram::parse_test_expression(text).expect("valid");
        let newest = Newest { time: 5, value: 9.0, histogram: Some(&histogram) };
        let row = Row { labels: vec![("a.b", "c")], newest };
        let family = Family { name: "h", kind: kind(&histogram), rows: vec![row] };
        let page = write([family].into_iter(), Escaping::Underscores);
        let read = MetricFamily::decode_length_delimited(&*page).expect("a message");
        assert_eq!((read.name.as_deref(), read.kind), (Some("h"), Some(4)));
        let metric = &read.metric[0];
        assert_eq!((metric.label[0].name.as_deref(), metric.timestamp_ms), (Some("a_b"), Some(5)));
        let told = metric.histogram.as_ref().expect("a histogram");
        assert_eq!((told.schema, told.zero_count_float), (Some(2), Some(1.0)));
        assert_eq!((told.sample_count_float, told.sample_sum), (Some(7.0), Some(9.0)));
        let counts: f64 = told.positive_count.iter().sum();
        assert_eq!((counts, told.bucket.len()), (6.0, 0));
        let empty = Histogram::new(&FloatHistogram::default());
        assert_eq!(empty.positive_span.len(), 1);
    }
}
