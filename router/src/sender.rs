//! What stands on both sides of a router, for tests and benchmarks: a sender of remote write 1.0
//! and 2.0, and a shard's leader that reads batches.

use std::collections::HashMap;

use narthex_model::{Labels, Sample};
use narthex_proto::batch::{BatchReader, Item, KnownSeries, Point, Rich, Subject};

/// A series on its way out.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Names and values, in the order they are written.
    pub labels: Vec<(String, String)>,
    /// Milliseconds and values.
    pub samples: Vec<(i64, f64)>,
}

/// A protobuf `WriteRequest`, not yet compressed.
pub fn encode(series: &[Outgoing]) -> Vec<u8> {
    let mut request = Vec::new();
    for one in series {
        let mut message = Vec::new();
        for (name, value) in &one.labels {
            let mut label = Vec::new();
            put_field(&mut label, 1, name.as_bytes());
            put_field(&mut label, 2, value.as_bytes());
            put_field(&mut message, 1, &label);
        }
        one.samples.iter().for_each(|sample| put_field(&mut message, 2, &encode_sample(*sample)));
        put_field(&mut request, 1, &message);
    }
    request
}

/// A protobuf `io.prometheus.write.v2.Request`, not yet compressed.
pub fn encode_v2(series: &[Outgoing]) -> Vec<u8> {
    let (mut symbols, mut places): (Vec<&str>, HashMap<&str, u64>) = Default::default();
    let mut reference = |text| {
        *places.entry(text).or_insert_with(|| {
            symbols.push(text);
            symbols.len() as u64 - 1
        })
    };
    reference("");
    let mut all = Vec::new();
    for one in series {
        let (mut message, mut refs) = (Vec::new(), Vec::new());
        for (name, value) in &one.labels {
            put_varint(&mut refs, reference(name));
            put_varint(&mut refs, reference(value));
        }
        put_field(&mut message, 1, &refs);
        one.samples.iter().for_each(|sample| put_field(&mut message, 2, &encode_sample(*sample)));
        put_field(&mut all, 5, &message);
    }
    let mut request = Vec::new();
    symbols.iter().for_each(|symbol| put_field(&mut request, 4, symbol.as_bytes()));
    request.extend_from_slice(&all);
    request
}

/// A `Sample`, which both versions write alike.
pub fn encode_sample((timestamp, value): (i64, f64)) -> Vec<u8> {
    let mut sample = vec![9];
    sample.extend_from_slice(&value.to_bits().to_le_bytes());
    sample.push(16);
    put_varint(&mut sample, timestamp as u64);
    sample
}

/// The body of an HTTP request.
pub fn compress(request: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(request).expect("the request is shorter than 4 GiB")
}

/// The floats of a batch by series. Those that come by number have the labels that `known` gives
/// them.
pub fn read_batch(
    bytes: &[u8],
    known: impl Fn(KnownSeries) -> Labels,
) -> Vec<(Labels, Vec<Sample>)> {
    let mut reader = BatchReader::new(bytes).expect("a batch that a router wrote");
    let (mut all, mut samples) = (Vec::new(), Vec::new());
    while let Some(item) = reader.next(&mut samples).expect("a batch that a router wrote") {
        let (subject, samples) = match item {
            Item::Floats(subject) => (subject, samples.clone()),
            Item::Rich(Rich { subject, floats, .. }) => {
                let of = |Point { timestamp, value, .. }| Sample { timestamp, value };
                (subject, floats.into_iter().map(of).collect())
            }
            Item::Metadata(_) => continue,
        };
        let labels = match subject {
            Subject::Labels(labels) => Labels::from_bytes(labels).expect("checked labels"),
            Subject::Known(series) => known(series),
        };
        all.push((labels, samples));
    }
    all
}

/// Of a sender whose series are never known.
pub fn none_known(series: KnownSeries) -> Labels {
    panic!("{series:?} was never named")
}

/// Appends a length-delimited field with a number below 16.
pub fn put_field(message: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    message.push(field << 3 | 2);
    put_varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

/// Appends a varint.
pub fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}
