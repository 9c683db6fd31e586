//! Generates the gRPC types and services without needing `protoc`.

use std::{error::Error, fs, path::PathBuf};

use prost::Message as _;
use tonic_prost_build::Builder;

const PROTOS: &[&str] = &[
    "narthex/v1/query.proto",
    "narthex/v1/cluster.proto",
    "narthex/v1/append.proto",
    "narthex/v1/objects.proto",
    "narthex/internal/v1/shard.proto",
    "narthex/internal/v1/control.proto",
    "narthex/internal/v1/raft.proto",
    "narthex/internal/v1/membership.proto",
    "opentelemetry/proto/collector/metrics/v1/metrics_service.proto",
];

/// The part that outside clients may use: what gRPC reflection shows.
const PUBLIC_PROTOS: &[&str] = &[
    "narthex/v1/query.proto",
    "narthex/v1/cluster.proto",
    "narthex/v1/append.proto",
    "narthex/v1/objects.proto",
    "opentelemetry/proto/collector/metrics/v1/metrics_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=narthex");
    println!("cargo:rerun-if-changed=opentelemetry");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let public = protox::compile(PUBLIC_PROTOS, ["."])?;
    fs::write(out.join("public_descriptors.bin"), public.encode_to_vec())?;
    let all = protox::compile(PROTOS, ["."])?;
    otlp_as_json(tonic_prost_build::configure().bytes(".")).compile_fds(all)?;
    Ok(())
}

/// How fields of OTLP's messages are read from JSON where that is not how serde would. Without a
/// leading dot a path means this field and nothing below it.
const JSON_FIELDS: &[(&str, &[(&str, &str)])] = &[
    (
        "common.v1.AnyValue",
        &[
            ("value", "flatten"),
            ("value.int_value", "integer"),
            ("value.double_value", "float"),
            ("value.bytes_value", "base64"),
        ],
    ),
    ("metrics.v1.Metric", &[("data", "flatten")]),
    ("metrics.v1.Sum", &[TEMPORALITY]),
    ("metrics.v1.Histogram", &[TEMPORALITY]),
    ("metrics.v1.ExponentialHistogram", &[TEMPORALITY]),
    ("metrics.v1.NumberDataPoint", &[START, TIME, ("value", "flatten"), AS_INT, AS_DOUBLE]),
    (
        "metrics.v1.HistogramDataPoint",
        &[
            START,
            TIME,
            COUNT,
            ("sum", "optional_float"),
            ("bucket_counts", "integers"),
            ("explicit_bounds", "floats"),
        ],
    ),
    (
        "metrics.v1.ExponentialHistogramDataPoint",
        &[
            START,
            TIME,
            COUNT,
            ("sum", "optional_float"),
            ("zero_count", "integer"),
            ("zero_threshold", "float"),
        ],
    ),
    ("metrics.v1.ExponentialHistogramDataPoint.Buckets", &[("bucket_counts", "integers")]),
    ("metrics.v1.SummaryDataPoint", &[START, TIME, COUNT, ("sum", "float")]),
    ("metrics.v1.SummaryDataPoint.ValueAtQuantile", &[("quantile", "float"), ("value", "float")]),
    (
        "metrics.v1.Exemplar",
        &[TIME, ("value", "flatten"), AS_INT, AS_DOUBLE, ("span_id", "hex"), ("trace_id", "hex")],
    ),
];

const TEMPORALITY: (&str, &str) = ("aggregation_temporality", "temporality");
const START: (&str, &str) = ("start_time_unix_nano", "integer");
const TIME: (&str, &str) = ("time_unix_nano", "integer");
const COUNT: (&str, &str) = ("count", "integer");
const AS_INT: (&str, &str) = ("value.as_int", "integer");
const AS_DOUBLE: (&str, &str) = ("value.as_double", "float");

/// Lets serde read OTLP's messages; functions named above are in `src/otlp_json.rs`.
fn otlp_as_json(builder: Builder) -> Builder {
    const OTLP: &str = ".opentelemetry.proto";
    let mut builder = builder
        .type_attribute(OTLP, "#[derive(serde::Deserialize)]")
        .type_attribute(OTLP, "#[serde(rename_all = \"camelCase\")]")
        .message_attribute(OTLP, "#[serde(default)]");
    for (message, fields) in JSON_FIELDS {
        for (field, how) in *fields {
            let attribute = match *how {
                "flatten" => "#[serde(flatten)]".to_owned(),
                how => format!("#[serde(deserialize_with = \"crate::otlp_json::{how}\")]"),
            };
            builder = builder.field_attribute(format!("{message}.{field}"), attribute);
        }
    }
    builder
}
