//! Native histograms.
//!
//! A histogram has a *schema*. Schemas -4 to 8 are exponential: bucket `i` of schema `n` holds
//! absolute values in `(2^((i-1)/2^n), 2^(i/2^n)]`, once for positive and once for negative
//! observations, with a *zero bucket* `[-zero_threshold, zero_threshold]` between them. Schema -53
//! has custom bounds: bucket `i` holds `(custom_values[i-1], custom_values[i]]`, the first starts
//! at -Inf, the last ends at +Inf, and there are neither negative buckets nor a zero bucket.
//!
//! Invariants
//! * the indexes of `positive` and of `negative` strictly increase;
//! * what arithmetic returns holds no bucket of count zero: an absent bucket *is* a bucket of zero;
//! * two histograms are combined in one layout: the coarser schema, the wider zero bucket, or the
//!   bounds that both share. An exponential one and one with custom bounds never combine.
//!
//! Only float histograms are computed with. Integer ones are what senders send and storage keeps;
//! they become float ones when they are read.

mod arithmetic;
mod bounds;
mod codec;
mod estimate;
mod layout;
mod native;
mod reset;
mod sum;
mod text;
mod trim;

use std::sync::Arc;

pub use arithmetic::Combined;
pub use bounds::BucketRange;
pub use codec::{EncodedHistogram, MalformedHistogram};
pub use estimate::{Fraction, NanInfluence, Quantile};
pub use layout::IncompatibleBuckets;
pub use native::{InvalidHistogram, NativeHistogram, SpannedCounts, SpannedHistogram};
pub use sum::{HistogramMean, HistogramSum};
pub use text::InvalidHistogramText;

/// The schema of histograms with custom bounds.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;
/// The coarsest exponential schema.
pub const EXPONENTIAL_SCHEMA_MIN: i32 = -4;
/// The finest exponential schema.
pub const EXPONENTIAL_SCHEMA_MAX: i32 = 8;
/// A stored histogram has at most this many populated buckets, and as many custom bounds.
pub const BUCKETS_MAX: usize = 16 << 10;

/// What is known about resets between this histogram and the one before it in its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CounterResetHint {
    /// Nothing: compare to find out.
    #[default]
    Unknown,
    /// The counter was reset.
    Reset,
    /// The counter went on.
    NotReset,
    /// No counter at all.
    Gauge,
}

/// A bucket of an exponential or custom schema.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket<C = f64> {
    /// Its place in the schema.
    pub index: i32,
    /// Observations in it alone, not in those below.
    pub count: C,
}

/// A run of adjacent buckets, as histograms are written on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Buckets left out since the end of the span before; the first bucket's index in the first.
    pub offset: i32,
    /// Buckets in the span.
    pub length: u32,
}

/// A histogram that PromQL computes with.
pub type FloatHistogram = Histogram<f64>;

/// A histogram whose counts are `C`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram<C> {
    /// What is known about resets.
    pub counter_reset_hint: CounterResetHint,
    /// The schema.
    pub schema: i32,
    /// Half the width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: C,
    /// All observations, NaN among them.
    pub count: C,
    /// The sum of all observations; the staleness marker where a series ends.
    pub sum: f64,
    /// Buckets of positive observations, or of all with custom bounds.
    pub positive: Vec<Bucket<C>>,
    /// Buckets of negative observations, by absolute value.
    pub negative: Vec<Bucket<C>>,
    /// Upper bounds of the custom buckets, strictly increasing, without +Inf.
    pub custom_values: Arc<[f64]>,
}

impl<C> Histogram<C> {
    /// Whether the bounds are custom.
    pub fn uses_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// Whether this is the staleness marker of a series of histograms.
    pub fn is_stale(&self) -> bool {
        crate::is_stale(self.sum)
    }
}

impl FloatHistogram {
    /// Drops buckets of count zero.
    pub fn compact(&mut self) {
        self.positive.retain(|bucket| bucket.count != 0.0);
        self.negative.retain(|bucket| bucket.count != 0.0);
    }

    /// Equality as PromQL's `==` sees it: layout, counts and sum, but neither the hint nor
    /// buckets of count zero.
    pub fn same_observations(&self, other: &Self) -> bool {
        let populated = |buckets: &[Bucket], others: &[Bucket]| {
            let keep = |bucket: &&Bucket| bucket.count != 0.0;
            buckets.iter().filter(keep).eq(others.iter().filter(keep))
        };
        self.schema == other.schema
            && self.zero_threshold == other.zero_threshold
            && self.zero_count == other.zero_count
            && self.count == other.count
            && (self.sum == other.sum || (self.sum.is_nan() && other.sum.is_nan()))
            && self.custom_values == other.custom_values
            && populated(&self.positive, &other.positive)
            && populated(&self.negative, &other.negative)
    }

    /// Bytes this histogram takes in memory, in units of a float sample's 16: its weight against
    /// a query's sample limit.
    pub fn sample_weight(&self) -> usize {
        let buckets = self.positive.len() + self.negative.len();
        let bytes = 8 * self.custom_values.len() + 16 * buckets + size_of::<Self>();
        1 + bytes / 16
    }
}

/// Flat buckets from spans and counts. Counts beyond the spans' lengths are ignored, missing ones
/// are zero; pathological offsets saturate.
pub fn buckets_from_spans(spans: &[Span], counts: &[f64]) -> Vec<Bucket> {
    let mut buckets = Vec::with_capacity(counts.len());
    let mut counts = counts.iter();
    let mut next_index = 0i32;
    for span in spans {
        next_index = next_index.saturating_add(span.offset);
        for _ in 0..span.length {
            let Some(&count) = counts.next() else { return buckets };
            buckets.push(Bucket { index: next_index, count });
            next_index = next_index.saturating_add(1);
        }
    }
    buckets
}

/// Spans that hold exactly the given buckets.
pub fn spans_of_buckets(buckets: &[Bucket]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut next_index = 0i32;
    for bucket in buckets {
        match spans.last_mut() {
            Some(span) if bucket.index == next_index => span.length += 1,
            _ => spans.push(Span { offset: bucket.index - next_index, length: 1 }),
        }
        next_index = bucket.index + 1;
    }
    spans
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn spans_read_back(indexes in proptest::collection::btree_set(-200i32..200, 0..40)) {
            let buckets: Vec<Bucket> =
                indexes.iter().map(|&index| Bucket { index, count: f64::from(index) }).collect();
            let counts: Vec<f64> = buckets.iter().map(|b| b.count).collect();
            prop_assert_eq!(buckets_from_spans(&spans_of_buckets(&buckets), &counts), buckets);
        }
    }
}
