//! Remote-write requests of both versions, with floats and native histograms.

use prost::Message;

/// A native histogram as both versions have it.
#[derive(Clone, PartialEq, Message)]
pub struct Histogram {
    /// Observations, where they are whole numbers.
    #[prost(uint64, optional, tag = "1")]
    pub count_int: Option<u64>,
    /// Observations, where they are not.
    #[prost(double, optional, tag = "2")]
    pub count_float: Option<f64>,
    /// Sum of what was observed.
    #[prost(double, tag = "3")]
    pub sum: f64,
    /// Resolution, or -53 for bounds of its own.
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    /// Width of the zero bucket.
    #[prost(double, tag = "5")]
    pub zero_threshold: f64,
    /// Observations near zero, where they are whole numbers.
    #[prost(uint64, optional, tag = "6")]
    pub zero_count_int: Option<u64>,
    /// Observations near zero, where they are not.
    #[prost(double, optional, tag = "7")]
    pub zero_count_float: Option<f64>,
    /// Where there are buckets of negative observations.
    #[prost(message, repeated, tag = "8")]
    pub negative_spans: Vec<Span>,
    /// Their counts, each less the one before.
    #[prost(sint64, repeated, tag = "9")]
    pub negative_deltas: Vec<i64>,
    /// Their counts.
    #[prost(double, repeated, tag = "10")]
    pub negative_counts: Vec<f64>,
    /// Where there are buckets of positive observations.
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<Span>,
    /// Their counts, each less the one before.
    #[prost(sint64, repeated, tag = "12")]
    pub positive_deltas: Vec<i64>,
    /// Their counts.
    #[prost(double, repeated, tag = "13")]
    pub positive_counts: Vec<f64>,
    /// 3 for a gauge, 0 where nothing is known.
    #[prost(int32, tag = "14")]
    pub reset_hint: i32,
    /// Milliseconds.
    #[prost(int64, tag = "15")]
    pub timestamp: i64,
    /// Upper bounds of custom buckets.
    #[prost(double, repeated, tag = "16")]
    pub custom_values: Vec<f64>,
}

/// Buckets that follow each other.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Span {
    /// Empty buckets in front of it.
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    /// Buckets.
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Message)]
struct Request1 {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<Series1>,
}

#[derive(Message)]
struct Series1 {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<Histogram>,
}

#[derive(Message)]
struct Request2 {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<Series2>,
}

#[derive(Message)]
struct Series2 {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    histograms: Vec<Histogram>,
}

/// A sample's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number.
    Float(f64),
    /// A native histogram, whose time is not set yet.
    Histogram(Box<Histogram>),
}

impl From<Histogram> for Value {
    fn from(histogram: Histogram) -> Self {
        Self::Histogram(Box::new(histogram))
    }
}

/// Labels in order of their names, and samples in order of their times.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Names and values.
    pub labels: Vec<(String, String)>,
    /// Milliseconds and values.
    pub samples: Vec<(i64, Value)>,
}

impl Series {
    /// The metric.
    pub fn name(&self) -> &str {
        let name = self.labels.iter().find(|(name, _)| name == "__name__");
        name.map_or("", |(_, value)| value)
    }

    fn between(&self, from: i64, to: i64) -> impl Iterator<Item = &(i64, Value)> {
        self.samples.iter().filter(move |(time, _)| (from..to).contains(time))
    }

    fn floats(&self, from: i64, to: i64) -> Vec<Sample> {
        let floats = self.between(from, to).filter_map(|(timestamp, value)| match value {
            Value::Float(value) => Some(Sample { value: *value, timestamp: *timestamp }),
            Value::Histogram(_) => None,
        });
        floats.collect()
    }

    fn histograms(&self, from: i64, to: i64) -> Vec<Histogram> {
        let histograms = self.between(from, to).filter_map(|(timestamp, value)| match value {
            Value::Float(_) => None,
            Value::Histogram(histogram) => {
                Some(Histogram { timestamp: *timestamp, ..(**histogram).clone() })
            }
        });
        histograms.collect()
    }
}

/// The samples of `[from, to)` as version 1.0 sends them, compressed.
pub fn version_1(series: &[&Series], from: i64, to: i64) -> Vec<u8> {
    let label =
        |(name, value): &(String, String)| Label { name: name.clone(), value: value.clone() };
    let message = |series: &&Series| Series1 {
        labels: series.labels.iter().map(label).collect(),
        samples: series.floats(from, to),
        histograms: series.histograms(from, to),
    };
    compressed(&Request1 { timeseries: series.iter().map(message).collect() })
}

/// The same as version 2.0 sends them.
pub fn version_2(series: &[&Series], from: i64, to: i64) -> Vec<u8> {
    let mut symbols = vec![String::new()];
    let mut timeseries = Vec::new();
    for series in series {
        let texts = series.labels.iter().flat_map(|(name, value)| [name, value]);
        let labels_refs = texts.map(|text| reference(&mut symbols, text)).collect();
        let (samples, histograms) = (series.floats(from, to), series.histograms(from, to));
        timeseries.push(Series2 { labels_refs, samples, histograms });
    }
    compressed(&Request2 { symbols, timeseries })
}

fn reference(symbols: &mut Vec<String>, text: &str) -> u32 {
    let known = symbols.iter().position(|symbol| symbol == text);
    let at = known.unwrap_or_else(|| {
        symbols.push(text.to_owned());
        symbols.len() - 1
    });
    u32::try_from(at).expect("few symbols")
}

fn compressed(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    snap::raw::Encoder::new().compress_vec(&bytes).expect("a small request can be compressed")
}
