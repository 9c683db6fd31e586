//! What stands on both sides of a router, for tests and benchmarks: a sender of remote write 1.0,
//! and a shard's leader that reads batches.

use narthex_model::{Labels, Sample};
use narthex_proto::batch::{BatchReader, Item, KnownSeries, Subject};

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
        for (timestamp, value) in &one.samples {
            let mut sample = vec![9];
            sample.extend_from_slice(&value.to_bits().to_le_bytes());
            sample.push(16);
            put_varint(&mut sample, *timestamp as u64);
            put_field(&mut message, 2, &sample);
        }
        put_field(&mut request, 1, &message);
    }
    request
}

/// The body of an HTTP request.
pub fn compress(request: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(request).expect("the request is shorter than 4 GiB")
}

/// The series of a batch. Those that come by number have the labels that `known` gives them.
pub fn read_batch(
    bytes: &[u8],
    known: impl Fn(KnownSeries) -> Labels,
) -> Vec<(Labels, Vec<Sample>)> {
    let mut reader = BatchReader::new(bytes).expect("a batch that a router wrote");
    let (mut all, mut samples) = (Vec::new(), Vec::new());
    while let Some(item) = reader.next(&mut samples).expect("a batch that a router wrote") {
        let Item::Floats(subject) = item else { panic!("{item:?} was never sent") };
        let labels = match subject {
            Subject::Labels(labels) => Labels::from_bytes(labels).expect("checked labels"),
            Subject::Known(series) => known(series),
        };
        all.push((labels, samples.clone()));
    }
    all
}

/// Of a sender whose series are never known.
pub fn none_known(series: KnownSeries) -> Labels {
    panic!("{series:?} was never named")
}

fn put_field(message: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    message.push(field << 3 | 2);
    put_varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}
