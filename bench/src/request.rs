//! Bodies of remote write 1.0.
//!
//! Labels are encoded once for each series; a request is the labels' bytes and a sample behind
//! them, so that making requests takes little of the CPU that the measured servers want.

use crate::{
    fleet::{JOB, instance},
    page::PageSeries,
};

/// Field numbers with their wire types, as in `WriteRequest`, `TimeSeries`, `Label`, `Sample`.
const SERIES: u8 = 1 << 3 | 2;
const LABELS: u8 = 1 << 3 | 2;
const SAMPLES: u8 = 2 << 3 | 2;
const NAME: u8 = 1 << 3 | 2;
const TEXT: u8 = 2 << 3 | 2;
const VALUE: u8 = 1 << 3 | 1;
const TIMESTAMP: u8 = 2 << 3;

/// The encoded labels of each series of a host.
pub fn labels_of_host(page: &[PageSeries], host: usize) -> Vec<Vec<u8>> {
    let instance = instance(host);
    page.iter()
        .map(|series| {
            let of_series =
                series.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let of_target = [("instance", instance.as_str()), ("job", JOB)];
            let mut labels: Vec<_> = of_series
                .filter(|(name, _)| of_target.iter().all(|(target, _)| target != name))
                .collect();
            labels.extend(of_target);
            labels.sort_unstable();
            encoded_labels(&labels)
        })
        .collect()
}

fn encoded_labels(labels: &[(&str, &str)]) -> Vec<u8> {
    let (mut bytes, mut label) = (Vec::new(), Vec::new());
    for (name, text) in labels {
        label.clear();
        put_bytes(NAME, name.as_bytes(), &mut label);
        put_bytes(TEXT, text.as_bytes(), &mut label);
        put_bytes(LABELS, &label, &mut bytes);
    }
    bytes
}

/// Adds one series with one sample to a request.
pub fn put_series(labels: &[u8], millis: i64, value: f64, request: &mut Vec<u8>) {
    let timestamp = millis as u64;
    let sample_len = 1 + 8 + 1 + varint_len(timestamp);
    request.push(SERIES);
    put_varint((labels.len() + 1 + varint_len(sample_len as u64) + sample_len) as u64, request);
    request.extend_from_slice(labels);
    request.push(SAMPLES);
    put_varint(sample_len as u64, request);
    request.push(VALUE);
    request.extend_from_slice(&value.to_le_bytes());
    request.push(TIMESTAMP);
    put_varint(timestamp, request);
}

fn put_bytes(field: u8, bytes: &[u8], into: &mut Vec<u8>) {
    into.push(field);
    put_varint(bytes.len() as u64, into);
    into.extend_from_slice(bytes);
}

fn put_varint(mut number: u64, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::page;

    #[derive(Message)]
    struct WriteRequest {
        #[prost(message, repeated, tag = "1")]
        timeseries: Vec<TimeSeries>,
    }

    #[derive(Message)]
    struct TimeSeries {
        #[prost(message, repeated, tag = "1")]
        labels: Vec<Label>,
        #[prost(message, repeated, tag = "2")]
        samples: Vec<Sample>,
    }

    #[derive(Message)]
    struct Label {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(string, tag = "2")]
        value: String,
    }

    #[derive(Message)]
    struct Sample {
        #[prost(double, tag = "1")]
        value: f64,
        #[prost(int64, tag = "2")]
        timestamp: i64,
    }

    #[test]
    fn a_request_is_what_protobuf_reads() {
        let page = page::read(&page::made_up()).unwrap();
        let labels = labels_of_host(&page, 7);
        let mut request = Vec::new();
        for (at, labels) in labels.iter().enumerate() {
            put_series(labels, 1_700_000_000_000 + at as i64, at as f64 / 3.0, &mut request);
        }
        let read = WriteRequest::decode(request.as_slice()).unwrap();
        assert_eq!(read.timeseries.len(), page.len());
        for (at, (series, of_page)) in read.timeseries.iter().zip(&page).enumerate() {
            assert!(series.labels.is_sorted_by(|a, b| a.name < b.name), "{:?}", series.labels);
            let value = |name: &str| {
                series.labels.iter().find(|label| label.name == name).map(|label| &*label.value)
            };
            assert_eq!(value("__name__"), Some(&*of_page.labels[0].1));
            assert_eq!(value("instance"), Some("host-00007.example:9100"));
            assert_eq!(value("job"), Some("node"));
            assert_eq!(series.samples.len(), 1);
            assert_eq!(series.samples[0].timestamp, 1_700_000_000_000 + at as i64);
            assert_eq!(series.samples[0].value, at as f64 / 3.0);
        }
    }

    #[test]
    fn lengths_of_varints_are_those_written() {
        for number in [0, 1, 127, 128, 16_383, 16_384, 1 << 35, u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(number, &mut bytes);
            assert_eq!(bytes.len(), varint_len(number), "{number}");
        }
    }
}
