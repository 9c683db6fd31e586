//! Batches of our own API as series.

use narthex_model::{
    CounterResetHint, NativeHistogram, Sample, Timestamp,
    histogram::{InvalidHistogram, Span, SpannedCounts, SpannedHistogram},
};
use narthex_proto::{
    batch::Point,
    v1::{
        AppendBatch, AppendHistogram, AppendSeries, BucketSpan, ResetHint, append_histogram::Counts,
    },
};

use crate::{
    histogram::SentHistogram,
    remote_write::DecodeError,
    series::{Metadata, Series, metric_type},
    split::{Split, SplitBy, Splitter},
};

/// Splits what a batch says.
pub fn split_batch(
    batch: &AppendBatch,
    body_bytes: usize,
    by: &SplitBy<'_>,
) -> Result<Split, DecodeError> {
    let mut splitter = Splitter::new(by, body_bytes);
    let mut lookup = by.cache.look_up();
    let mut series = Series::default();
    for (at, sent) in batch.series.iter().enumerate() {
        check_columns(at, sent)?;
        series.clear();
        let labels = sent.labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
        series.labels.extend(labels);
        let starts = sent.start_timestamps_ms.iter().chain(std::iter::repeat(&0));
        for ((millis, value), start) in sent.timestamps_ms.iter().zip(&sent.values).zip(starts) {
            let timestamp = Timestamp::from_millis(*millis);
            series.push(Sample { timestamp, value: *value }, Timestamp::from_millis(*start));
        }
        sent.histograms.iter().for_each(|it| series.push_histogram(histogram(it)));
        for exemplar in &sent.exemplars {
            let labels = exemplar.labels.iter();
            let labels: Vec<_> = labels.map(|it| (it.name.as_str(), it.value.as_str())).collect();
            let timestamp = Timestamp::from_millis(exemplar.timestamp_ms);
            series.push_exemplar(&labels, Sample { timestamp, value: exemplar.value });
        }
        series.metadata = sent.metadata.as_ref().map(|it| Metadata {
            metric_type: metric_type(u64::try_from(it.r#type).unwrap_or_default()),
            help: &it.help,
            unit: &it.unit,
        });
        splitter.add_by_labels(&mut series, &mut lookup, by.naming);
    }
    splitter.finish()
}

fn check_columns(series: usize, sent: &AppendSeries) -> Result<(), DecodeError> {
    let (timestamps, values) = (sent.timestamps_ms.len(), sent.values.len());
    let starts = sent.start_timestamps_ms.len();
    if timestamps != values {
        return Err(DecodeError::Columns { series, timestamps, values });
    }
    match starts == 0 || starts == values {
        true => Ok(()),
        false => Err(DecodeError::Columns { series, timestamps: starts, values }),
    }
}

fn histogram(sent: &AppendHistogram) -> SentHistogram {
    Point {
        timestamp: Timestamp::from_millis(sent.timestamp_ms),
        start: Timestamp::from_millis(sent.start_timestamp_ms),
        value: native(sent),
    }
}

fn native(sent: &AppendHistogram) -> Result<NativeHistogram, InvalidHistogram> {
    let spans = |spans: &[BucketSpan]| -> Vec<Span> {
        spans.iter().map(|it| Span { offset: it.offset, length: it.length }).collect()
    };
    let counts = match &sent.counts {
        Some(Counts::Floats(floats)) => SpannedCounts::Float {
            count: floats.count,
            zero_count: floats.zero_count,
            positive: &floats.positive,
            negative: &floats.negative,
        },
        Some(Counts::Integers(integers)) => SpannedCounts::Integer {
            count: integers.count,
            zero_count: integers.zero_count,
            positive_deltas: &integers.positive_deltas,
            negative_deltas: &integers.negative_deltas,
        },
        None => SpannedCounts::Integer {
            count: 0,
            zero_count: 0,
            positive_deltas: &[],
            negative_deltas: &[],
        },
    };
    NativeHistogram::from_spans(&SpannedHistogram {
        counter_reset_hint: match sent.reset_hint() {
            ResetHint::Unknown => CounterResetHint::Unknown,
            ResetHint::Reset => CounterResetHint::Reset,
            ResetHint::NotReset => CounterResetHint::NotReset,
            ResetHint::Gauge => CounterResetHint::Gauge,
        },
        schema: sent.schema,
        zero_threshold: sent.zero_threshold,
        sum: sent.sum,
        counts,
        positive_spans: &spans(&sent.positive_spans),
        negative_spans: &spans(&sent.negative_spans),
        custom_values: &sent.custom_values,
    })
}
