//! Adding, subtracting, scaling.

use std::cmp::Ordering;

use super::{
    Bucket, CounterResetHint, FloatHistogram, IncompatibleBuckets,
    layout::{Aligned, align},
};

/// Two histograms made one, and what was odd about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Combined {
    /// The result.
    pub histogram: FloatHistogram,
    /// One was marked as reset, the other as not reset.
    pub has_conflicting_resets: bool,
    /// Custom bounds differed; only shared ones are left.
    pub bounds_reconciled: bool,
}

impl FloatHistogram {
    /// `self + other`. A gauge makes the result a gauge.
    pub fn add(&self, other: &Self) -> Result<Combined, IncompatibleBuckets> {
        let (hint, has_conflicting_resets) =
            merge_hints(self.counter_reset_hint, other.counter_reset_hint);
        let mut combined = self.combine(other, |left, right| left + right)?;
        combined.histogram.counter_reset_hint = hint;
        combined.has_conflicting_resets = has_conflicting_resets;
        Ok(combined)
    }

    /// `self - other`, always a gauge.
    pub fn sub(&self, other: &Self) -> Result<Combined, IncompatibleBuckets> {
        let (_, has_conflicting_resets) =
            merge_hints(self.counter_reset_hint, other.counter_reset_hint);
        let mut combined = self.combine(other, |left, right| left - right)?;
        combined.histogram.counter_reset_hint = CounterResetHint::Gauge;
        combined.has_conflicting_resets = has_conflicting_resets;
        Ok(combined)
    }

    /// `self * factor`. A negative factor makes it a gauge.
    #[must_use]
    pub fn mul(&self, factor: f64) -> Self {
        let mut scaled = self.clone();
        scaled.map_counts(|count| count * factor);
        if factor < 0.0 {
            scaled.counter_reset_hint = CounterResetHint::Gauge;
        }
        scaled
    }

    /// `self / divisor`. Dividing by zero leaves count, sum and zero bucket, infinite or NaN, and
    /// no other bucket. A negative divisor makes it a gauge.
    #[must_use]
    pub fn div(&self, divisor: f64) -> Self {
        let mut scaled = self.clone();
        if divisor == 0.0 {
            scaled.positive.clear();
            scaled.negative.clear();
        }
        scaled.map_counts(|count| count / divisor);
        if divisor < 0.0 {
            scaled.counter_reset_hint = CounterResetHint::Gauge;
        }
        scaled
    }

    /// Changes the counts of all buckets, the count and the sum.
    pub(super) fn map_counts(&mut self, change: impl Fn(f64) -> f64) {
        for total in [&mut self.zero_count, &mut self.count, &mut self.sum] {
            *total = change(*total);
        }
        for bucket in self.positive.iter_mut().chain(&mut self.negative) {
            bucket.count = change(bucket.count);
        }
        self.compact();
    }

    fn combine(
        &self,
        other: &Self,
        op: impl Fn(f64, f64) -> f64 + Copy,
    ) -> Result<Combined, IncompatibleBuckets> {
        let Aligned { left, right, bounds_reconciled } = align(self, other)?;
        let histogram = Self {
            counter_reset_hint: CounterResetHint::Unknown,
            schema: left.schema,
            zero_threshold: left.zero_threshold,
            zero_count: op(left.zero_count, right.zero_count),
            count: op(left.count, right.count),
            sum: op(left.sum, right.sum),
            positive: join(&left.positive, &right.positive, op),
            negative: join(&left.negative, &right.negative, op),
            custom_values: left.custom_values.clone(),
        };
        Ok(Combined { histogram, has_conflicting_resets: false, bounds_reconciled })
    }
}

/// The hint of a sum, and whether the two contradict each other.
pub(super) fn merge_hints(
    left: CounterResetHint,
    right: CounterResetHint,
) -> (CounterResetHint, bool) {
    use CounterResetHint::{Gauge, NotReset, Reset, Unknown};
    let conflicts = matches!((left, right), (Reset, NotReset) | (NotReset, Reset));
    let merged = match (left, right) {
        (left, right) if left == right => left,
        (Gauge, _) | (_, Gauge) => Gauge,
        _ => Unknown,
    };
    (merged, conflicts)
}

/// Joins buckets by index; a missing one counts zero. Leaves out results of zero.
fn join(left: &[Bucket], right: &[Bucket], op: impl Fn(f64, f64) -> f64) -> Vec<Bucket> {
    let mut joined = Vec::with_capacity(left.len().max(right.len()));
    for_each_pair(left, right, |index, left, right| {
        let count = op(left, right);
        if count != 0.0 {
            joined.push(Bucket { index, count });
        }
    });
    joined
}

/// Calls `visit` with each index that either side has and both sides' counts.
pub(super) fn for_each_pair(
    left: &[Bucket],
    right: &[Bucket],
    mut visit: impl FnMut(i32, f64, f64),
) {
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(l), Some(r)) => l.index.cmp(&r.index),
        };
        let from_left = if order.is_le() { left.next() } else { None };
        let from_right = if order.is_ge() { right.next() } else { None };
        let index = from_left.or(from_right).map_or(0, |bucket| bucket.index);
        let count = |bucket: Option<&Bucket>| bucket.map_or(0.0, |bucket| bucket.count);
        visit(index, count(from_left), count(from_right));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> FloatHistogram {
        FloatHistogram::parse_test_expression(text).expect("valid")
    }

    #[test]
    fn sums_and_differences_join_buckets() {
        let left = parse("{{schema:0 count:4 sum:5 z_bucket:1 buckets:[1 2] n_buckets:[1]}}");
        let right = parse("{{schema:0 count:3 sum:2 buckets:[1 0 2] n_buckets:[1]}}");
        let sum = left.add(&right).expect("compatible").histogram;
        assert_eq!(
            sum,
            parse("{{schema:0 count:7 sum:7 z_bucket:1 buckets:[2 2 2] n_buckets:[2]}}")
        );
        let difference = left.sub(&right).expect("compatible").histogram;
        assert_eq!(
            difference.to_test_expression(),
            "{{count:1 sum:3 z_bucket:1 buckets:[2 -2] offset:1 counter_reset_hint:gauge}}"
        );
    }

    #[test]
    fn hints_merge() {
        let with = |hint| FloatHistogram { counter_reset_hint: hint, ..FloatHistogram::default() };
        let add = |left, right| {
            let combined = with(left).add(&with(right)).expect("compatible");
            (combined.histogram.counter_reset_hint, combined.has_conflicting_resets)
        };
        use CounterResetHint::{Gauge, NotReset, Reset, Unknown};
        assert_eq!(add(NotReset, NotReset), (NotReset, false));
        assert_eq!(add(Gauge, Reset), (Gauge, false));
        assert_eq!(add(Unknown, NotReset), (Unknown, false));
        assert_eq!(add(Reset, NotReset), (Unknown, true));
    }

    #[test]
    fn division_by_zero_drops_the_buckets() {
        let histogram = parse("{{schema:0 count:4 sum:5 z_bucket:1 buckets:[1 2]}}");
        let divided = histogram.div(0.0);
        assert!(divided.positive.is_empty() && divided.count.is_infinite());
        assert_eq!(histogram.mul(-1.0).counter_reset_hint, CounterResetHint::Gauge);
    }
}
