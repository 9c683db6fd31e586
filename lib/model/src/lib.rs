//! What a monitoring system talks about: labels, samples, times. Pure: no I/O, no clock, no async.
//!
//! Everything here means the same in every process and on every machine: orders, hashes and byte
//! encodings are part of the formats in `docs/formats/`. There is no storage, no query language
//! and no configuration here.

pub mod duration;
pub mod histogram;
mod kahan;
mod labels;
mod matcher;
mod metadata;
pub mod number;
mod quote;
mod regex;
mod sample;
mod time;

pub use histogram::{CounterResetHint, FloatHistogram, NativeHistogram};
pub use kahan::KahanSum;
pub use labels::{
    INSTANCE, InvalidLabels, JOB, Labels, LabelsBuilder, LabelsIter, METRIC_NAME,
    is_legacy_label_name, is_legacy_metric_name,
};
pub use matcher::{MatchOp, Matcher};
pub use metadata::{Exemplar, FamilyMetadata, MetricType};
pub use quote::{Quoted, quote};
pub use regex::{InvalidRegex, Regex, SearchRegex};
pub use sample::{STALE_NAN_BITS, Sample, is_stale, stale_nan};
pub use time::Timestamp;
