//! Where buckets begin and end.

use super::{Bucket, FloatHistogram};

/// A bucket with its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BucketRange {
    /// The lower bound.
    pub lower: f64,
    /// The upper bound.
    pub upper: f64,
    /// Whether the lower bound belongs to the bucket.
    pub lower_inclusive: bool,
    /// Whether the upper bound belongs to the bucket.
    pub upper_inclusive: bool,
    /// Observations in it.
    pub count: f64,
}

impl BucketRange {
    /// The number that stands for the two inclusions in the HTTP API: 0 open on the left, 1 open
    /// on the right, 2 open on both sides, 3 closed.
    pub fn boundary_rule(&self) -> u8 {
        match (self.lower_inclusive, self.upper_inclusive) {
            (false, true) => 0,
            (true, false) => 1,
            (false, false) => 2,
            (true, true) => 3,
        }
    }
}

/// The upper bound of bucket `index` by absolute value. A bound beyond the largest float is that
/// float, so that the last bucket stays finite.
pub fn exponential_bound(index: i32, schema: i32) -> f64 {
    let exponent = f64::from(index) * f64::from(-schema).exp2();
    // Whole powers are exact; between them the error is below one unit of the last place.
    if exponent >= 1024.0 { f64::MAX } else { exponent.exp2() }
}

impl FloatHistogram {
    /// The bound of `index` in this histogram's layout, by absolute value unless it is custom.
    pub(super) fn bound(&self, index: i32) -> f64 {
        if !self.uses_custom_buckets() {
            return exponential_bound(index, self.schema);
        }
        match usize::try_from(index) {
            Err(_) => f64::NEG_INFINITY,
            Ok(at) => self.custom_values.get(at).copied().unwrap_or(f64::INFINITY),
        }
    }

    /// A bucket of `positive` with its bounds.
    pub fn positive_range(&self, bucket: &Bucket) -> BucketRange {
        BucketRange {
            lower: self.bound(bucket.index.saturating_sub(1)),
            upper: self.bound(bucket.index),
            lower_inclusive: self.uses_custom_buckets() && bucket.index == 0,
            upper_inclusive: true,
            count: bucket.count,
        }
    }

    /// A bucket of `negative` with its bounds.
    pub fn negative_range(&self, bucket: &Bucket) -> BucketRange {
        BucketRange {
            lower: -self.bound(bucket.index),
            upper: -self.bound(bucket.index.saturating_sub(1)),
            lower_inclusive: true,
            upper_inclusive: false,
            count: bucket.count,
        }
    }

    /// The zero bucket.
    pub fn zero_range(&self) -> BucketRange {
        BucketRange {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        }
    }

    /// All populated buckets from the lowest to the highest, none overlapping the zero bucket. That
    /// one is there only if it counts more than nothing, which differences may not.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = BucketRange> + '_ {
        let populated = |bucket: &&Bucket| bucket.count != 0.0;
        let threshold = if self.uses_custom_buckets() { 0.0 } else { self.zero_threshold };
        let negative = self.negative.iter().rev().filter(populated).map(move |bucket| {
            let range = self.negative_range(bucket);
            BucketRange { upper: range.upper.min(-threshold), ..range }
        });
        let zero = (self.zero_count > 0.0).then(|| self.zero_range());
        let positive = self.positive.iter().filter(populated).map(move |bucket| {
            let range = self.positive_range(bucket);
            let overlaps = range.lower < threshold && range.lower >= 0.0;
            if overlaps { BucketRange { lower: threshold, ..range } } else { range }
        });
        negative.chain(zero).chain(positive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_exponential_schemas() {
        assert_eq!(exponential_bound(0, 0), 1.0);
        assert_eq!(exponential_bound(3, 0), 8.0);
        assert_eq!(exponential_bound(-1, -4), 2f64.powi(-16));
        assert_eq!(exponential_bound(1024, 0), f64::MAX);
        assert_eq!(exponential_bound(1, 1), std::f64::consts::SQRT_2);
        assert_eq!(exponential_bound(-1074, 0), f64::from_bits(1));
    }

    #[test]
    fn buckets_go_from_the_lowest_to_the_highest() {
        let text =
            "{{schema:0 count:9 sum:1 z_bucket:2 z_bucket_w:0.6 buckets:[1 3] n_buckets:[1 2]}}";
        let histogram = FloatHistogram::parse_test_expression(text).expect("valid");
        let bounds: Vec<(f64, f64)> = histogram.buckets().map(|b| (b.lower, b.upper)).collect();
        assert_eq!(bounds, [(-2.0, -1.0), (-1.0, -0.6), (-0.6, 0.6), (0.6, 1.0), (1.0, 2.0)]);
        let rules: Vec<u8> = histogram.buckets().map(|b| b.boundary_rule()).collect();
        assert_eq!(rules, [1, 1, 3, 0, 0]);
        let negated = histogram.mul(-1.0);
        assert_eq!(
            negated.buckets().map(|b| b.count).collect::<Vec<_>>(),
            [-2.0, -1.0, -1.0, -3.0]
        );
    }
}
