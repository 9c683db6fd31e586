//! Sums and means of many histograms, compensated bucket by bucket.

use super::{
    Bucket, CounterResetHint, FloatHistogram, IncompatibleBuckets, arithmetic::merge_hints,
    layout::Layout,
};
use crate::KahanSum;

/// A running sum of histograms.
///
/// Invariant: `total` and `lost` have the same layout and the same bucket indexes.
#[derive(Debug, Clone)]
pub struct HistogramSum {
    total: FloatHistogram,
    lost: FloatHistogram,
    has_reset: bool,
    has_not_reset: bool,
    bounds_reconciled: bool,
}

impl HistogramSum {
    /// A sum that starts with `first`.
    pub fn new(first: &FloatHistogram) -> Self {
        let mut lost = first.clone();
        zero_counts(&mut lost);
        let hint = first.counter_reset_hint;
        Self {
            total: first.clone(),
            lost,
            has_reset: hint == CounterResetHint::Reset,
            has_not_reset: hint == CounterResetHint::NotReset,
            bounds_reconciled: false,
        }
    }

    /// Adds `other`. On an error the sum is unchanged.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<(), IncompatibleBuckets> {
        let layout = Layout::shared(&self.total, other)?;
        self.bounds_reconciled |=
            other.uses_custom_buckets() && self.total.custom_values != other.custom_values;
        if let std::borrow::Cow::Owned(total) = layout.apply(&self.total) {
            self.lost = layout.apply(&self.lost).into_owned();
            self.total = total;
        }
        let other = layout.apply(other);
        let hint = other.counter_reset_hint;
        self.has_reset |= hint == CounterResetHint::Reset;
        self.has_not_reset |= hint == CounterResetHint::NotReset;
        (self.total.counter_reset_hint, _) = merge_hints(self.total.counter_reset_hint, hint);
        self.add_aligned(&other);
        Ok(())
    }

    fn add_aligned(&mut self, other: &FloatHistogram) {
        let Self { total, lost, .. } = self;
        add_one(&mut total.zero_count, &mut lost.zero_count, other.zero_count);
        add_one(&mut total.count, &mut lost.count, other.count);
        add_one(&mut total.sum, &mut lost.sum, other.sum);
        add_buckets(&mut total.positive, &mut lost.positive, &other.positive);
        add_buckets(&mut total.negative, &mut lost.negative, &other.negative);
    }

    /// Adds another sum with what it has lost.
    pub fn merge(&mut self, other: &Self) -> Result<(), IncompatibleBuckets> {
        self.add(&other.total)?;
        self.has_reset |= other.has_reset;
        self.has_not_reset |= other.has_not_reset;
        self.bounds_reconciled |= other.bounds_reconciled;
        let mut lost = other.lost.clone();
        lost.counter_reset_hint = self.total.counter_reset_hint;
        self.add(&lost)
    }

    /// The sum as plain floats add up, and what it has lost; both of one layout. The second's hint
    /// tells which hints were met, as that of a sum forgets them: `Gauge` says both.
    pub fn into_parts(mut self) -> (FloatHistogram, FloatHistogram) {
        self.lost.counter_reset_hint = match (self.has_reset, self.has_not_reset) {
            (false, false) => CounterResetHint::Unknown,
            (true, false) => CounterResetHint::Reset,
            (false, true) => CounterResetHint::NotReset,
            (true, true) => CounterResetHint::Gauge,
        };
        (self.total, self.lost)
    }

    /// The sum that [`HistogramSum::into_parts`] took apart.
    pub fn from_parts(total: &FloatHistogram, lost: &FloatHistogram) -> Self {
        let mut sum = Self::new(total);
        let met = lost.counter_reset_hint;
        let mut lost = lost.clone();
        lost.counter_reset_hint = total.counter_reset_hint;
        // Parts of one layout always combine.
        let _ = sum.add(&lost);
        sum.has_reset |= matches!(met, CounterResetHint::Reset | CounterResetHint::Gauge);
        sum.has_not_reset |= matches!(met, CounterResetHint::NotReset | CounterResetHint::Gauge);
        sum
    }

    /// Whether a histogram marked as reset met one marked as not reset.
    pub fn has_conflicting_resets(&self) -> bool {
        self.has_reset && self.has_not_reset
    }

    /// Whether custom bounds differed.
    pub fn bounds_reconciled(&self) -> bool {
        self.bounds_reconciled
    }

    /// The sum.
    pub fn value(&self) -> FloatHistogram {
        let mut value = self.total.clone();
        value.zero_count += self.lost.zero_count;
        value.count += self.lost.count;
        value.sum += self.lost.sum;
        let add = |buckets: &mut [Bucket], lost: &[Bucket]| {
            for (bucket, lost) in buckets.iter_mut().zip(lost) {
                bucket.count += lost.count;
            }
        };
        add(&mut value.positive, &self.lost.positive);
        add(&mut value.negative, &self.lost.negative);
        value.compact();
        value
    }

    fn scale(&mut self, factor: f64) {
        for part in [&mut self.total, &mut self.lost] {
            for total in [&mut part.zero_count, &mut part.count, &mut part.sum] {
                *total *= factor;
            }
            for bucket in part.positive.iter_mut().chain(&mut part.negative) {
                bucket.count *= factor;
            }
        }
    }

    fn has_overflow(&self) -> bool {
        let total = &self.total;
        let mut buckets = total.positive.iter().chain(&total.negative);
        total.zero_count.is_infinite()
            || total.count.is_infinite()
            || total.sum.is_infinite()
            || buckets.any(|bucket| bucket.count.is_infinite())
    }
}

/// A running mean of histograms: a sum divided at the end, or, once that sum would overflow, a
/// mean moved by each new histogram's share.
#[derive(Debug, Clone)]
pub struct HistogramMean {
    /// The sum, or the mean of `len` histograms if `is_incremental`.
    state: HistogramSum,
    len: f64,
    is_incremental: bool,
}

impl HistogramMean {
    /// A mean that starts with `first`.
    pub fn new(first: &FloatHistogram) -> Self {
        Self { state: HistogramSum::new(first), len: 1.0, is_incremental: false }
    }

    /// Adds `other`. On an error the mean is unchanged.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<(), IncompatibleBuckets> {
        if !self.is_incremental {
            let mut sum = self.state.clone();
            sum.add(other)?;
            if !sum.has_overflow() {
                self.state = sum;
                self.len += 1.0;
                return Ok(());
            }
            self.state.scale(1.0 / self.len);
            self.is_incremental = true;
        }
        self.len += 1.0;
        self.state.scale((self.len - 1.0) / self.len);
        let mut share = other.clone();
        share.map_counts(|count| count / self.len);
        self.state.add(&share)
    }

    /// Adds another mean, weighted by how many histograms each stands for.
    pub fn merge(&mut self, other: &Self) -> Result<(), IncompatibleBuckets> {
        let len = self.len + other.len;
        if !self.is_incremental && !other.is_incremental {
            let mut sum = self.state.clone();
            sum.merge(&other.state)?;
            if !sum.has_overflow() {
                (self.state, self.len) = (sum, len);
                return Ok(());
            }
        }
        let mut mean = self.incremental();
        mean.scale(self.len / len);
        let mut other_mean = other.incremental();
        other_mean.scale(other.len / len);
        mean.merge(&other_mean)?;
        *self = Self { state: mean, len, is_incremental: true };
        Ok(())
    }

    fn incremental(&self) -> HistogramSum {
        let mut mean = self.state.clone();
        if !self.is_incremental {
            mean.scale(1.0 / self.len);
        }
        mean
    }

    /// The sum, or the mean if the sum would overflow, what it has lost, and how many histograms
    /// it stands for, negative for a mean.
    pub fn into_parts(self) -> (FloatHistogram, FloatHistogram, f64) {
        let (total, lost) = self.state.into_parts();
        (total, lost, if self.is_incremental { -self.len } else { self.len })
    }

    /// The mean that [`HistogramMean::into_parts`] took apart.
    pub fn from_parts(total: &FloatHistogram, lost: &FloatHistogram, len: f64) -> Self {
        let state = HistogramSum::from_parts(total, lost);
        Self { state, len: len.abs(), is_incremental: len < 0.0 }
    }

    /// See [`HistogramSum::has_conflicting_resets`].
    pub fn has_conflicting_resets(&self) -> bool {
        self.state.has_conflicting_resets()
    }

    /// See [`HistogramSum::bounds_reconciled`].
    pub fn bounds_reconciled(&self) -> bool {
        self.state.bounds_reconciled
    }

    /// The mean.
    pub fn value(&self) -> FloatHistogram {
        if self.is_incremental {
            return self.state.value();
        }
        let mut value = self.state.value();
        value.map_counts(|count| count / self.len);
        value
    }
}

fn zero_counts(histogram: &mut FloatHistogram) {
    histogram.zero_count = 0.0;
    histogram.count = 0.0;
    histogram.sum = 0.0;
    for bucket in histogram.positive.iter_mut().chain(&mut histogram.negative) {
        bucket.count = 0.0;
    }
}

fn add_one(total: &mut f64, lost: &mut f64, value: f64) {
    let mut sum = KahanSum { sum: *total, lost: *lost };
    sum.add(value);
    (*total, *lost) = (sum.sum, sum.lost);
}

/// Adds `other` into `total` and `lost`, inserting the buckets they lack.
fn add_buckets(total: &mut Vec<Bucket>, lost: &mut Vec<Bucket>, other: &[Bucket]) {
    let mut at = 0;
    for bucket in other {
        at += total[at..].partition_point(|known| known.index < bucket.index);
        if total.get(at).is_none_or(|known| known.index != bucket.index) {
            total.insert(at, Bucket { index: bucket.index, count: 0.0 });
            lost.insert(at, Bucket { index: bucket.index, count: 0.0 });
        }
        add_one(&mut total[at].count, &mut lost[at].count, bucket.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> FloatHistogram {
        FloatHistogram::parse_test_expression(text).expect("valid")
    }

    #[test]
    fn a_sum_in_parts_still_knows_which_hints_it_met() {
        let with = |hint: &str| parse(&format!("{{{{count:1 buckets:[1] {hint}}}}}"));
        let of = |hints: &[&str]| {
            let mut sum = HistogramSum::new(&with(hints[0]));
            hints[1..].iter().for_each(|hint| sum.add(&with(hint)).expect("compatible"));
            let (total, lost) = sum.into_parts();
            HistogramSum::from_parts(&total, &lost)
        };
        let (gauge, reset, not_reset) = (
            "counter_reset_hint:gauge",
            "counter_reset_hint:reset",
            "counter_reset_hint:not_reset",
        );
        let mut sum = of(&[gauge, reset]);
        assert!(!sum.has_conflicting_resets());
        sum.merge(&of(&[gauge, gauge])).expect("compatible");
        assert!(!sum.has_conflicting_resets());
        sum.merge(&of(&[not_reset, gauge])).expect("compatible");
        assert!(sum.has_conflicting_resets());
        assert!(of(&[reset, gauge, not_reset]).has_conflicting_resets());
    }

    #[test]
    fn small_counts_survive_large_ones() {
        let mut sum = HistogramSum::new(&parse("{{schema:0 count:1 sum:1 buckets:[1 1e100]}}"));
        sum.add(&parse("{{schema:0 count:2 sum:1e100 buckets:[1 1]}}")).expect("compatible");
        sum.add(&parse("{{schema:0 count:3 sum:1 buckets:[0 -1e100]}}")).expect("compatible");
        sum.add(&parse("{{schema:0 count:4 sum:-1e100}}")).expect("compatible");
        assert_eq!(sum.value(), parse("{{schema:0 count:10 sum:2 buckets:[2 1]}}"));
    }

    #[test]
    fn layouts_may_change_on_the_way() {
        let mut sum = HistogramSum::new(&parse("{{schema:1 count:4 buckets:[1 1 1 1] offset:-1}}"));
        sum.add(&parse("{{schema:0 count:1 buckets:[1]}}")).expect("compatible");
        assert_eq!(sum.value(), parse("{{schema:0 count:5 buckets:[3 2]}}"));
        assert!(sum.add(&parse("{{schema:-53 custom_values:[1]}}")).is_err());
    }

    #[test]
    fn means_do_not_overflow() {
        let mut mean = HistogramMean::new(&parse("{{schema:0 count:1.7e308 sum:1}}"));
        mean.add(&parse("{{schema:0 count:1e308 sum:3}}")).expect("compatible");
        assert_eq!(mean.value().count, 1.35e308);
        assert_eq!(mean.value().sum, 2.0);
    }

    #[test]
    fn merged_sums_equal_one_sum() {
        let parts = [
            "{{schema:0 count:3 sum:1e100 buckets:[3]}}",
            "{{schema:0 count:1 sum:1 buckets:[0 1]}}",
        ];
        let mut left = HistogramSum::new(&parse(parts[0]));
        left.add(&parse(parts[1])).expect("compatible");
        let mut right = HistogramSum::new(&parse("{{schema:0 count:0 sum:-1e100}}"));
        right.add(&parse(parts[1])).expect("compatible");
        left.merge(&right).expect("compatible");
        assert_eq!(left.value(), parse("{{schema:0 count:5 sum:2 buckets:[3 2]}}"));
    }
}
