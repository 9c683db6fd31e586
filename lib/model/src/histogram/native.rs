//! Histograms as senders send them and storage keeps them: with integer or with float counts.
//!
//! Invariants
//! * the rules by which senders' histograms are refused are Prometheus's;
//! * a kept histogram holds no bucket of count zero, and a staleness marker holds nothing else:
//!   what means the same is the same.

use std::sync::Arc;

use super::{
    BUCKETS_MAX, Bucket, CUSTOM_BUCKETS_SCHEMA, CounterResetHint, EXPONENTIAL_SCHEMA_MAX,
    EXPONENTIAL_SCHEMA_MIN, FloatHistogram, Histogram, Span,
};

/// The finest schema that a sender may use; one finer than we keep is reduced to the finest kept.
const SENT_SCHEMA_MAX: i32 = 52;
/// Bucket indexes lie between this and its negative: beyond what any schema needs for a float.
const INDEX_MAX: i64 = 1 << 30;

/// A histogram as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub enum NativeHistogram {
    /// Each count is a number of observations.
    Integer(Histogram<u64>),
    /// Counts may be fractions, as recording rules make them.
    Float(FloatHistogram),
}

/// A histogram as it is written on the wire.
#[derive(Debug, Clone, Copy)]
pub struct SpannedHistogram<'a> {
    /// What the sender knows about resets.
    pub counter_reset_hint: CounterResetHint,
    /// The schema.
    pub schema: i32,
    /// Half the width of the zero bucket.
    pub zero_threshold: f64,
    /// The sum of all observations; the staleness marker where a series ends.
    pub sum: f64,
    /// The counts, all of one kind.
    pub counts: SpannedCounts<'a>,
    /// Where the positive buckets are.
    pub positive_spans: &'a [Span],
    /// Where the negative buckets are.
    pub negative_spans: &'a [Span],
    /// Upper bounds of custom buckets, without +Inf.
    pub custom_values: &'a [f64],
}

/// Counts of a [`SpannedHistogram`].
#[derive(Debug, Clone, Copy)]
pub enum SpannedCounts<'a> {
    /// Integers: each bucket's difference to the bucket before, the first one's to 0.
    Integer {
        /// All observations.
        count: u64,
        /// Those in the zero bucket.
        zero_count: u64,
        /// Positive buckets.
        positive_deltas: &'a [i64],
        /// Negative buckets.
        negative_deltas: &'a [i64],
    },
    /// Floats: each bucket's count.
    Float {
        /// All observations.
        count: f64,
        /// Those in the zero bucket.
        zero_count: f64,
        /// Positive buckets.
        positive: &'a [f64],
        /// Negative buckets.
        negative: &'a [f64],
    },
}

/// Why a sender's histogram is refused: it will be refused every time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHistogram {
    /// Neither exponential nor custom.
    #[error("histogram has an invalid schema: {0}")]
    Schema(i32),
    /// Counts and spans do not go together.
    #[error("histogram spans specify {spans} buckets but {counts} are provided")]
    SpanMismatch {
        /// Buckets that the spans speak of.
        spans: u64,
        /// Buckets that have counts.
        counts: usize,
    },
    /// A span begins before the one before it ends.
    #[error("histogram has a span whose offset is negative")]
    NegativeOffset,
    /// A bucket's count is below zero.
    #[error("histogram has a bucket whose observation count is negative")]
    NegativeCount,
    /// A count does not fit into 64 bits.
    #[error("histogram has a count that is too large")]
    CountOverflow,
    /// The sum is a number, so no observation was NaN, yet buckets and count differ.
    #[error(
        "histogram's observation count should equal the number of observations found in the buckets (in absence of NaN)"
    )]
    CountMismatch,
    /// There are more observations in the buckets than in all.
    #[error(
        "histogram's observation count should be at least the number of observations found in the buckets"
    )]
    CountTooSmall,
    /// A bucket that no float falls into.
    #[error("histogram has a bucket index out of range")]
    BucketIndex,
    /// More than [`BUCKETS_MAX`].
    #[error("histogram has more than {BUCKETS_MAX} buckets")]
    TooManyBuckets,
    /// Custom bounds with a schema that has bounds of its own.
    #[error("histogram with exponential schema must not have custom bounds")]
    ExponentialCustomBounds,
    /// A custom bound that is NaN.
    #[error("custom buckets: histogram custom bounds must not be NaN")]
    BoundNan,
    /// Custom bounds out of order.
    #[error("custom buckets: histogram custom bounds must be in strictly increasing order")]
    BoundOrder,
    /// The bound +Inf, which is implied.
    #[error("custom buckets: histogram custom bounds must be finite")]
    BoundInfinite,
    /// Buckets behind the last bound.
    #[error("custom buckets: histogram custom bounds are too few")]
    TooFewBounds,
    /// A zero bucket beside custom ones.
    #[error("custom buckets: must have zero count of 0")]
    CustomZeroCount,
    /// See [`InvalidHistogram::CustomZeroCount`].
    #[error("custom buckets: must have zero threshold of 0")]
    CustomZeroThreshold,
    /// Negative buckets beside custom ones.
    #[error("custom buckets: must not have negative buckets")]
    CustomNegativeBuckets,
}

impl NativeHistogram {
    /// Checks a sender's histogram and brings it into the form that is kept.
    pub fn from_spans(sent: &SpannedHistogram<'_>) -> Result<Self, InvalidHistogram> {
        let is_float = matches!(sent.counts, SpannedCounts::Float { .. });
        if crate::is_stale(sent.sum) {
            return Ok(Self::stale_marker(is_float));
        }
        check_schema(sent)?;
        match sent.counts {
            SpannedCounts::Integer { count, zero_count, positive_deltas, negative_deltas } => {
                let mut histogram = sent.with_counts(count, zero_count);
                histogram.positive = integers(sent.positive_spans, positive_deltas)?;
                histogram.negative = integers(sent.negative_spans, negative_deltas)?;
                check_count(&histogram)?;
                histogram.reduce_resolution(EXPONENTIAL_SCHEMA_MAX);
                Ok(Self::Integer(histogram))
            }
            SpannedCounts::Float { count, zero_count, positive, negative } => {
                let mut histogram = sent.with_counts(count, zero_count);
                histogram.positive = floats(sent.positive_spans, positive)?;
                histogram.negative = floats(sent.negative_spans, negative)?;
                histogram.reduce_resolution(EXPONENTIAL_SCHEMA_MAX);
                Ok(Self::Float(histogram))
            }
        }
    }

    /// The staleness marker of a series of histograms.
    pub fn stale_marker(is_float: bool) -> Self {
        let sum = crate::stale_nan();
        match is_float {
            true => Self::Float(Histogram { sum, ..Histogram::default() }),
            false => Self::Integer(Histogram { sum, ..Histogram::default() }),
        }
    }

    /// How many buckets and custom bounds there are.
    pub fn bucket_count(&self) -> usize {
        let (positive, negative, custom) = match self {
            Self::Integer(it) => (it.positive.len(), it.negative.len(), it.custom_values.len()),
            Self::Float(it) => (it.positive.len(), it.negative.len(), it.custom_values.len()),
        };
        positive + negative + custom
    }

    /// Whether counts are floats.
    pub fn is_float(&self) -> bool {
        matches!(self, Self::Float(_))
    }

    /// Whether this is the staleness marker.
    pub fn is_stale(&self) -> bool {
        crate::is_stale(self.sum())
    }

    /// The sum of all observations.
    pub fn sum(&self) -> f64 {
        match self {
            Self::Integer(histogram) => histogram.sum,
            Self::Float(histogram) => histogram.sum,
        }
    }

    /// As PromQL sees it.
    pub fn into_float(self) -> FloatHistogram {
        let histogram = match self {
            Self::Float(histogram) => return histogram,
            Self::Integer(histogram) => histogram,
        };
        let floats = |buckets: Vec<Bucket<u64>>| {
            let float =
                |bucket: Bucket<u64>| Bucket { index: bucket.index, count: bucket.count as f64 };
            buckets.into_iter().map(float).collect()
        };
        FloatHistogram {
            counter_reset_hint: histogram.counter_reset_hint,
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            zero_count: histogram.zero_count as f64,
            count: histogram.count as f64,
            sum: histogram.sum,
            positive: floats(histogram.positive),
            negative: floats(histogram.negative),
            custom_values: histogram.custom_values,
        }
    }
}

impl SpannedHistogram<'_> {
    fn with_counts<C>(&self, count: C, zero_count: C) -> Histogram<C> {
        Histogram {
            counter_reset_hint: self.counter_reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count,
            count,
            sum: self.sum,
            positive: Vec::new(),
            negative: Vec::new(),
            custom_values: match self.custom_values {
                [] => Arc::default(),
                bounds => bounds.into(),
            },
        }
    }

    fn has_zero_count(&self) -> bool {
        match self.counts {
            SpannedCounts::Integer { zero_count, .. } => zero_count != 0,
            SpannedCounts::Float { zero_count, .. } => zero_count != 0.0,
        }
    }

    fn has_negative_buckets(&self) -> bool {
        let is_counted = match self.counts {
            SpannedCounts::Integer { negative_deltas, .. } => !negative_deltas.is_empty(),
            SpannedCounts::Float { negative, .. } => !negative.is_empty(),
        };
        is_counted || !self.negative_spans.is_empty()
    }
}

fn check_schema(sent: &SpannedHistogram<'_>) -> Result<(), InvalidHistogram> {
    match sent.schema {
        CUSTOM_BUCKETS_SCHEMA => {
            check_bounds(sent.custom_values, sent.positive_spans)?;
            if sent.has_zero_count() {
                return Err(InvalidHistogram::CustomZeroCount);
            }
            if sent.zero_threshold != 0.0 {
                return Err(InvalidHistogram::CustomZeroThreshold);
            }
            if sent.has_negative_buckets() {
                return Err(InvalidHistogram::CustomNegativeBuckets);
            }
            Ok(())
        }
        EXPONENTIAL_SCHEMA_MIN..=SENT_SCHEMA_MAX if sent.custom_values.is_empty() => Ok(()),
        EXPONENTIAL_SCHEMA_MIN..=SENT_SCHEMA_MAX => Err(InvalidHistogram::ExponentialCustomBounds),
        schema => Err(InvalidHistogram::Schema(schema)),
    }
}

fn check_bounds(bounds: &[f64], spans: &[Span]) -> Result<(), InvalidHistogram> {
    if bounds.len() > BUCKETS_MAX {
        return Err(InvalidHistogram::TooManyBuckets);
    }
    if bounds.iter().any(|bound| bound.is_nan()) {
        return Err(InvalidHistogram::BoundNan);
    }
    if bounds.first() == Some(&f64::NEG_INFINITY) || bounds.windows(2).any(|b| b[1] <= b[0]) {
        return Err(InvalidHistogram::BoundOrder);
    }
    if bounds.last() == Some(&f64::INFINITY) {
        return Err(InvalidHistogram::BoundInfinite);
    }
    let mut covered = 0u64;
    for span in spans {
        let offset = u64::try_from(span.offset).map_err(|_| InvalidHistogram::NegativeOffset)?;
        covered += offset + u64::from(span.length);
    }
    if covered > bounds.len() as u64 + 1 { Err(InvalidHistogram::TooFewBounds) } else { Ok(()) }
}

/// The indexes that spans name, one for each of `counts`.
fn indexes(spans: &[Span], counts: usize) -> Result<impl Iterator<Item = i32>, InvalidHistogram> {
    let (mut named, mut end) = (0u64, 0i64);
    for (at, span) in spans.iter().enumerate() {
        if at > 0 && span.offset < 0 {
            return Err(InvalidHistogram::NegativeOffset);
        }
        named += u64::from(span.length);
        end = end.saturating_add(i64::from(span.offset)).saturating_add(i64::from(span.length));
    }
    if named != counts as u64 {
        return Err(InvalidHistogram::SpanMismatch { spans: named, counts });
    }
    if counts > BUCKETS_MAX {
        return Err(InvalidHistogram::TooManyBuckets);
    }
    let first = spans.first().map_or(0, |span| i64::from(span.offset));
    if first < -INDEX_MAX || end > INDEX_MAX {
        return Err(InvalidHistogram::BucketIndex);
    }
    let starts = spans.iter().scan(0i64, |end, span| {
        let start = *end + i64::from(span.offset);
        *end = start + i64::from(span.length);
        Some(start..*end)
    });
    Ok(starts.flatten().map(|index| index as i32))
}

fn integers(spans: &[Span], deltas: &[i64]) -> Result<Vec<Bucket<u64>>, InvalidHistogram> {
    let indexes = indexes(spans, deltas.len())?;
    let mut buckets = Vec::with_capacity(deltas.len());
    let mut count = 0i64;
    for (index, delta) in indexes.zip(deltas) {
        count = count.checked_add(*delta).ok_or(InvalidHistogram::CountOverflow)?;
        let count = u64::try_from(count).map_err(|_| InvalidHistogram::NegativeCount)?;
        if count != 0 {
            buckets.push(Bucket { index, count });
        }
    }
    Ok(buckets)
}

fn floats(spans: &[Span], counts: &[f64]) -> Result<Vec<Bucket>, InvalidHistogram> {
    let indexes = indexes(spans, counts.len())?;
    if counts.iter().any(|count| *count < 0.0) {
        return Err(InvalidHistogram::NegativeCount);
    }
    let buckets = indexes.zip(counts).map(|(index, &count)| Bucket { index, count });
    Ok(buckets.filter(|bucket| bucket.count != 0.0).collect())
}

/// Float counts are not checked: their sums need not come out even.
fn check_count(histogram: &Histogram<u64>) -> Result<(), InvalidHistogram> {
    let mut observed = histogram.zero_count;
    for bucket in histogram.positive.iter().chain(&histogram.negative) {
        observed = observed.checked_add(bucket.count).ok_or(InvalidHistogram::CountOverflow)?;
    }
    match histogram.sum.is_nan() {
        true if observed > histogram.count => Err(InvalidHistogram::CountTooSmall),
        false if observed != histogram.count => Err(InvalidHistogram::CountMismatch),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
