//! What a protobuf message takes in memory once a library has decoded it, told from its bytes.
//!
//! A field of two bytes can be a message of two hundred, so a body within its limit can need
//! gigabytes. Messages that a library decodes are therefore measured before: every message that
//! has one of its own is counted with the size of its type, and numbers with eight bytes each.
//! Texts take what they take in the body.
//!
//! Invariant: what is passed over here as unknown, the library passes over too; what is malformed
//! here is refused, or it could hide what stands behind it.

use narthex_proto::{
    opentelemetry::proto::{
        collector::metrics::v1::ExportMetricsServiceRequest,
        common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList},
        metrics::v1::{
            Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint,
            ResourceMetrics, ScopeMetrics, SummaryDataPoint,
            exponential_histogram_data_point::Buckets, summary_data_point::ValueAtQuantile,
        },
        resource::v1::Resource,
    },
    v1::{
        AppendBatch, AppendExemplar, AppendHistogram, AppendMetadata, AppendSeries, BucketSpan,
        FloatCounts, IntegerCounts, Label,
    },
};

use crate::wire::{LEN, Malformed, Reader};

/// As deep as the library follows messages within messages.
const DEPTH_MAX: usize = 100;
/// Lists grow by doubling, and are copied then.
const GROWTH: usize = 2;

/// A type of message: its size, and its fields that take memory of their own.
pub struct Shape {
    bytes: usize,
    fields: &'static [(u64, Field)],
}

enum Field {
    Message(&'static Shape),
    /// Repeated numbers of one byte and more.
    Numbers,
    /// Repeated numbers of eight bytes.
    Fixed,
}

use Field::{Fixed, Message, Numbers};

/// The bytes that a message of this shape takes.
pub fn decoded_bytes(bytes: &[u8], shape: &Shape) -> Result<usize, Malformed> {
    measure(Reader::new(bytes), shape, 0)
}

fn measure(mut message: Reader<'_>, shape: &Shape, depth: usize) -> Result<usize, Malformed> {
    if depth > DEPTH_MAX {
        return Err(message.malformed("fewer messages within messages expected"));
    }
    let mut bytes = GROWTH * shape.bytes;
    while let Some((number, wire)) = message.tag()? {
        let field = shape.fields.iter().find(|(known, _)| *known == number);
        match (field, wire) {
            (Some((_, Message(inner))), LEN) => {
                bytes += measure(message.message()?, inner, depth + 1)?;
            }
            (Some((_, Numbers)), LEN) => bytes += GROWTH * 8 * message.message()?.rest().len(),
            (Some((_, Fixed)), LEN) => bytes += GROWTH * message.message()?.rest().len(),
            (Some((_, Numbers | Fixed)), wire) => {
                bytes += GROWTH * 8;
                message.skip(wire)?;
            }
            (_, wire) => message.skip(wire)?,
        }
    }
    Ok(bytes)
}

/// The bytes that OTLP's JSON takes once it is decoded: every object with the size of the largest
/// there is, and every value with what serde keeps it in until it knows which message it is of.
pub fn decoded_json_bytes(json: &[u8]) -> usize {
    const VALUE_BYTES: usize = 32;
    let (mut objects, mut values) = (0, 0);
    for byte in json {
        match byte {
            b'{' => objects += 1,
            b',' => values += 1,
            _ => {}
        }
    }
    GROWTH * (objects * size_of::<ExponentialHistogramDataPoint>() + values * VALUE_BYTES)
        + json.len()
}

/// `opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest`
pub static OTLP_REQUEST: Shape = Shape {
    bytes: size_of::<ExportMetricsServiceRequest>(),
    fields: &[(1, Message(&RESOURCE_METRICS))],
};

static RESOURCE_METRICS: Shape = Shape {
    bytes: size_of::<ResourceMetrics>(),
    fields: &[(1, Message(&RESOURCE)), (2, Message(&SCOPE_METRICS))],
};

static RESOURCE: Shape =
    Shape { bytes: size_of::<Resource>(), fields: &[(1, Message(&KEY_VALUE))] };

static SCOPE_METRICS: Shape =
    Shape { bytes: size_of::<ScopeMetrics>(), fields: &[(2, Message(&METRIC))] };

static METRIC: Shape = Shape {
    bytes: size_of::<Metric>(),
    fields: &[
        (5, Message(&NUMBERS)),
        (7, Message(&NUMBERS)),
        (9, Message(&HISTOGRAM)),
        (10, Message(&EXPONENTIAL_HISTOGRAM)),
        (11, Message(&SUMMARY)),
    ],
};

/// A gauge or a sum. What holds the points is a part of the metric.
static NUMBERS: Shape = Shape { bytes: 0, fields: &[(1, Message(&NUMBER_POINT))] };
static HISTOGRAM: Shape = Shape { bytes: 0, fields: &[(1, Message(&HISTOGRAM_POINT))] };
static EXPONENTIAL_HISTOGRAM: Shape =
    Shape { bytes: 0, fields: &[(1, Message(&EXPONENTIAL_POINT))] };
static SUMMARY: Shape = Shape { bytes: 0, fields: &[(1, Message(&SUMMARY_POINT))] };

static NUMBER_POINT: Shape = Shape {
    bytes: size_of::<NumberDataPoint>(),
    fields: &[(5, Message(&EXEMPLAR)), (7, Message(&KEY_VALUE))],
};

static HISTOGRAM_POINT: Shape = Shape {
    bytes: size_of::<HistogramDataPoint>(),
    fields: &[(6, Fixed), (7, Fixed), (8, Message(&EXEMPLAR)), (9, Message(&KEY_VALUE))],
};

static EXPONENTIAL_POINT: Shape = Shape {
    bytes: size_of::<ExponentialHistogramDataPoint>(),
    fields: &[
        (1, Message(&KEY_VALUE)),
        (8, Message(&BUCKETS)),
        (9, Message(&BUCKETS)),
        (11, Message(&EXEMPLAR)),
    ],
};

static BUCKETS: Shape = Shape { bytes: size_of::<Buckets>(), fields: &[(2, Numbers)] };

static SUMMARY_POINT: Shape = Shape {
    bytes: size_of::<SummaryDataPoint>(),
    fields: &[(6, Message(&QUANTILE)), (7, Message(&KEY_VALUE))],
};

static QUANTILE: Shape = Shape { bytes: size_of::<ValueAtQuantile>(), fields: &[] };

static EXEMPLAR: Shape =
    Shape { bytes: size_of::<Exemplar>(), fields: &[(7, Message(&KEY_VALUE))] };

static KEY_VALUE: Shape =
    Shape { bytes: size_of::<KeyValue>(), fields: &[(2, Message(&ANY_VALUE))] };

static ANY_VALUE: Shape = Shape {
    bytes: size_of::<AnyValue>(),
    fields: &[(5, Message(&ARRAY)), (6, Message(&KEY_VALUES))],
};

static ARRAY: Shape = Shape { bytes: size_of::<ArrayValue>(), fields: &[(1, Message(&ANY_VALUE))] };

static KEY_VALUES: Shape =
    Shape { bytes: size_of::<KeyValueList>(), fields: &[(1, Message(&KEY_VALUE))] };

/// `narthex.v1.AppendBatch`
pub static APPEND_BATCH: Shape =
    Shape { bytes: size_of::<AppendBatch>(), fields: &[(2, Message(&APPEND_SERIES))] };

static APPEND_SERIES: Shape = Shape {
    bytes: size_of::<AppendSeries>(),
    fields: &[
        (1, Message(&LABEL)),
        (2, Numbers),
        (3, Fixed),
        (4, Numbers),
        (5, Message(&APPEND_HISTOGRAM)),
        (6, Message(&APPEND_EXEMPLAR)),
        (7, Message(&APPEND_METADATA)),
    ],
};

static APPEND_HISTOGRAM: Shape = Shape {
    bytes: size_of::<AppendHistogram>(),
    fields: &[
        (6, Message(&INTEGER_COUNTS)),
        (7, Message(&FLOAT_COUNTS)),
        (8, Message(&BUCKET_SPAN)),
        (9, Message(&BUCKET_SPAN)),
        (10, Fixed),
    ],
};

static INTEGER_COUNTS: Shape =
    Shape { bytes: size_of::<IntegerCounts>(), fields: &[(3, Numbers), (4, Numbers)] };

static FLOAT_COUNTS: Shape =
    Shape { bytes: size_of::<FloatCounts>(), fields: &[(3, Fixed), (4, Fixed)] };

static BUCKET_SPAN: Shape = Shape { bytes: size_of::<BucketSpan>(), fields: &[] };

static APPEND_EXEMPLAR: Shape =
    Shape { bytes: size_of::<AppendExemplar>(), fields: &[(1, Message(&LABEL))] };

static APPEND_METADATA: Shape = Shape { bytes: size_of::<AppendMetadata>(), fields: &[] };

static LABEL: Shape = Shape { bytes: size_of::<Label>(), fields: &[] };

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::sender::put_field;

    /// A message of `count` empty messages in field `field`, within fields of those numbers.
    fn nested(outer: &[u8], field: u8, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        (0..count).for_each(|_| put_field(&mut bytes, field, b""));
        outer.iter().rev().fold(bytes, |inner, field| {
            let mut message = Vec::new();
            put_field(&mut message, *field, &inner);
            message
        })
    }

    #[test]
    fn small_fields_are_large_messages() {
        let cases: [(&[u8], u8, usize); 7] = [
            (&[], 1, size_of::<ResourceMetrics>()),
            (&[1, 2], 2, size_of::<Metric>()),
            (&[1, 2, 2, 5], 1, size_of::<NumberDataPoint>()),
            (&[1, 2, 2, 9], 1, size_of::<HistogramDataPoint>()),
            (&[1, 2, 2, 10], 1, size_of::<ExponentialHistogramDataPoint>()),
            (&[1, 2, 2, 11], 1, size_of::<SummaryDataPoint>()),
            (&[1, 2, 2, 7, 1], 5, size_of::<Exemplar>()),
        ];
        for (outer, field, size) in cases {
            let bytes = nested(outer, field, 10_000);
            ExportMetricsServiceRequest::decode(&bytes[..]).expect("valid");
            let measured = decoded_bytes(&bytes, &OTLP_REQUEST).expect("valid");
            assert!(measured >= 10_000 * size, "{outer:?} {field}: {measured}");
        }
        let bytes = nested(&[2], 1, 10_000);
        AppendBatch::decode(&bytes[..]).expect("valid");
        let measured = decoded_bytes(&bytes, &APPEND_BATCH).expect("valid");
        assert!(measured >= 10_000 * size_of::<Label>());
    }

    #[test]
    fn packed_numbers_and_values_in_json_are_counted() {
        let buckets = nested(&[1, 2, 2, 10, 1], 8, 1);
        let few = decoded_bytes(&buckets, &OTLP_REQUEST).expect("valid");
        let mut inner = Vec::new();
        put_field(&mut inner, 2, &[1; 1000]);
        let mut bytes = inner;
        for field in [8, 1, 10, 2, 2, 1] {
            let mut message = Vec::new();
            put_field(&mut message, field, &bytes);
            bytes = message;
        }
        let many = decoded_bytes(&bytes, &OTLP_REQUEST).expect("valid");
        assert!(many - few >= 8000, "{few} {many}");
        assert!(decoded_json_bytes(&b"{},".repeat(1000)) > 200_000);
    }

    #[test]
    fn what_is_malformed_hides_nothing() {
        // A group, which prost passes over, in front of what is large.
        let mut bytes = vec![0x9b, 0x01, 0x9c, 0x01];
        bytes.extend_from_slice(&nested(&[], 1, 10));
        ExportMetricsServiceRequest::decode(&bytes[..]).expect("prost takes it");
        assert!(decoded_bytes(&bytes, &OTLP_REQUEST).is_err());
    }
}
