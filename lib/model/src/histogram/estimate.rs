//! What a histogram says about the distribution of its observations.
//!
//! Observations of NaN are counted but lie in no bucket, except the last custom one. They are
//! recognised by a sum of NaN.

use super::{BucketRange, FloatHistogram, trim::fraction_inside};

/// A quantile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantile {
    /// The value.
    pub value: f64,
    /// How observations of NaN bent it.
    pub nan: NanInfluence,
}

/// What observations of NaN do to a quantile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NanInfluence {
    /// There are none.
    None,
    /// The quantile falls among them.
    Result,
    /// They push the quantile up.
    Skewed,
}

/// A fraction of observations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fraction {
    /// The value.
    pub value: f64,
    /// Whether there are observations of NaN, which belong to no fraction.
    pub has_nan_observations: bool,
}

impl FloatHistogram {
    /// The value below which the share `q` of the observations lies. NaN if there are none or `q`
    /// is NaN; infinite if `q` is outside `[0, 1]`.
    pub fn quantile(&self, q: f64) -> Quantile {
        let plain = |value| Quantile { value, nan: NanInfluence::None };
        if q < 0.0 {
            return plain(f64::NEG_INFINITY);
        }
        if q > 1.0 {
            return plain(f64::INFINITY);
        }
        if self.count == 0.0 || q.is_nan() {
            return plain(f64::NAN);
        }
        let may_have_nan = self.sum.is_nan();
        // NaN observations are behind all buckets, so only counting upwards is right with them.
        let is_upward = may_have_nan || q < 0.5;
        let rank = if is_upward { q } else { 1.0 - q } * self.count;
        let Some((bucket, reached)) = self.bucket_at_rank(rank, is_upward) else {
            return Quantile { value: f64::NAN, nan: NanInfluence::Result };
        };
        let reached = reached.min(self.count);
        if reached < rank {
            if may_have_nan {
                return Quantile { value: f64::NAN, nan: NanInfluence::Result };
            }
            // Only counts below zero, of a difference, never add up to the rank.
            return plain(self.outer_bound(bucket));
        }
        let into = if is_upward { rank - (reached - bucket.count) } else { reached - rank };
        let is_skewed = may_have_nan && self.bucket_total() < self.count;
        let nan = if is_skewed { NanInfluence::Skewed } else { NanInfluence::None };
        let last = self.buckets().next_back().filter(|_| may_have_nan && !self.is_settled(bucket));
        let value = match last {
            // As in Prometheus: to find out whether all observations lie in buckets it goes on to the
            // last one, and stays there.
            Some(last) if last != bucket => self.at_share(last, into / last.count),
            _ => self.interpolate(bucket, into / bucket.count),
        };
        Quantile { value, nan }
    }

    /// Whether the value is the same wherever in a custom bucket it lies.
    fn is_settled(&self, bucket: BucketRange) -> bool {
        let is_first = bucket.lower == f64::NEG_INFINITY;
        let is_below_zero = is_first && bucket.upper <= 0.0;
        self.uses_custom_buckets()
            && (is_below_zero || (!is_first && bucket.upper == f64::INFINITY))
    }

    /// The upper bound of a bucket, or where the last custom one begins.
    fn outer_bound(&self, bucket: BucketRange) -> f64 {
        let is_endless = self.uses_custom_buckets() && bucket.upper == f64::INFINITY;
        if is_endless { bucket.lower } else { bucket.upper }
    }

    /// The bucket in which the counts, added up from one end, reach `rank`, and that count. The
    /// last bucket if they never do; none if there is no bucket.
    fn bucket_at_rank(&self, rank: f64, is_upward: bool) -> Option<(BucketRange, f64)> {
        let mut reached = 0.0;
        let mut last = None;
        let mut buckets = self.buckets();
        loop {
            let next = if is_upward { buckets.next() } else { buckets.next_back() };
            let Some(bucket) = next else { return last };
            reached += bucket.count;
            last = Some((bucket, reached));
            if reached >= rank {
                return last;
            }
        }
    }

    /// The value at `share` of the bucket: linear in custom buckets and around zero, exponential
    /// elsewhere.
    fn interpolate(&self, bucket: BucketRange, share: f64) -> f64 {
        let mut bucket = bucket;
        if self.uses_custom_buckets() {
            if bucket.lower == f64::NEG_INFINITY {
                if bucket.upper <= 0.0 {
                    return bucket.upper;
                }
                bucket.lower = 0.0;
            }
            if bucket.upper == f64::INFINITY {
                return bucket.lower;
            }
        } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
            bucket = self.biased_zero_range();
        }
        self.at_share(bucket, share)
    }

    /// The value at `share` of the bucket as it is.
    fn at_share(&self, bucket: BucketRange, share: f64) -> f64 {
        let BucketRange { lower, upper, .. } = bucket;
        if self.uses_custom_buckets() || (lower <= 0.0 && upper >= 0.0) {
            return lower + (upper - lower) * share;
        }
        let (log_lower, log_upper) = (lower.abs().log2(), upper.abs().log2());
        if lower > 0.0 {
            (log_lower + (log_upper - log_lower) * share).exp2()
        } else {
            -(log_upper + (log_lower - log_upper) * (1.0 - share)).exp2()
        }
    }

    /// The share of observations between `lower` and `upper`. NaN if there are no observations or
    /// a bound is NaN.
    pub fn fraction(&self, lower: f64, upper: f64) -> Fraction {
        let plain = |value| Fraction { value, has_nan_observations: false };
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return plain(f64::NAN);
        }
        if lower >= upper {
            return plain(0.0);
        }
        let in_buckets = if self.sum.is_nan() { self.bucket_total() } else { self.count };
        let count_below = |bound| self.count_below(bound).unwrap_or(in_buckets).min(in_buckets);
        Fraction {
            value: (count_below(upper) - count_below(lower)) / self.count,
            has_nan_observations: in_buckets < self.count,
        }
    }

    /// Observations below `bound`; `None` if all buckets lie below.
    fn count_below(&self, bound: f64) -> Option<f64> {
        let mut below = 0.0;
        for bucket in self.buckets() {
            let is_zero_bucket =
                !self.uses_custom_buckets() && bucket.lower <= 0.0 && bucket.upper >= 0.0;
            let mut bucket = if is_zero_bucket { self.biased_zero_range() } else { bucket };
            // The first custom bucket begins at zero, as for quantiles, if that is inside it.
            if bucket.lower == f64::NEG_INFINITY && bucket.upper > 0.0 {
                bucket.lower = if bound == f64::NEG_INFINITY { bound } else { 0.0 };
            }
            if bucket.lower >= bound {
                return Some(below);
            }
            if bucket.upper > bound {
                return Some(below + self.count_inside(bucket, bound, is_zero_bucket));
            }
            below += bucket.count;
        }
        None
    }

    /// Observations of `bucket` below `bound`, which lies inside it.
    fn count_inside(&self, bucket: BucketRange, bound: f64, is_zero_bucket: bool) -> f64 {
        if bucket.lower == f64::NEG_INFINITY {
            return bucket.count;
        }
        if bucket.upper == f64::INFINITY {
            return 0.0;
        }
        let is_linear = self.uses_custom_buckets() || is_zero_bucket;
        bucket.count * fraction_inside(bucket, bound, is_linear)
    }

    /// The population variance, each observation taken to lie in its bucket's middle.
    pub fn variance(&self) -> f64 {
        let mean = self.sum / self.count;
        let mut total = crate::KahanSum::default();
        for bucket in self.buckets() {
            let middle = if self.uses_custom_buckets() {
                (bucket.upper + bucket.lower) / 2.0
            } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
                0.0
            } else {
                (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
            };
            total.add(bucket.count * (middle - mean) * (middle - mean));
        }
        total.value() / self.count
    }

    fn bucket_total(&self) -> f64 {
        self.buckets().map(|bucket| bucket.count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> FloatHistogram {
        FloatHistogram::parse_test_expression(text).expect("valid")
    }

    #[test]
    fn quantiles_interpolate_exponentially() {
        let histogram = parse("{{schema:0 sum:5 count:4 buckets:[1 2 1]}}");
        assert_eq!(histogram.quantile(0.5).value, std::f64::consts::SQRT_2);
        assert_eq!(histogram.quantile(1.0).value, 4.0);
        assert_eq!(histogram.quantile(0.0).value, 0.5);
        assert_eq!(histogram.quantile(1.1).value, f64::INFINITY);
        assert!(histogram.quantile(f64::NAN).value.is_nan());
    }

    #[test]
    fn nan_observations_push_quantiles_up() {
        let histogram = parse("{{schema:0 count:15 sum:NaN buckets:[12]}}");
        assert_eq!(histogram.quantile(0.8), Quantile { value: 1.0, nan: NanInfluence::Skewed });
        assert_eq!(histogram.quantile(0.81).nan, NanInfluence::Result);
        let fraction = histogram.fraction(f64::NEG_INFINITY, f64::INFINITY);
        assert_eq!(fraction, Fraction { value: 0.8, has_nan_observations: true });
    }

    /// The numbers are those of Prometheus 3.5.3.
    #[test]
    fn a_sum_of_nan_puts_quantiles_into_the_last_bucket() {
        let exact = parse("{{schema:0 count:6 sum:NaN buckets:[1 2 3]}}");
        let plain = |value| Quantile { value, nan: NanInfluence::None };
        assert_eq!(exact.quantile(0.0), plain(2.0));
        assert_eq!(exact.quantile(0.1).value, 2.2973967099940698);
        assert_eq!(exact.quantile(0.5).value, 3.1748021039363987);
        assert_eq!(exact.quantile(1.0), plain(4.0));
        let more = parse("{{schema:0 count:10 sum:NaN buckets:[1 2 3]}}");
        assert_eq!(more.quantile(0.0), Quantile { value: 2.0, nan: NanInfluence::Skewed });
        assert_eq!(more.quantile(0.3).value, 3.1748021039363987);
        let custom = |count, buckets| {
            let layout = "schema:-53 sum:NaN custom_values:[1 2 4]";
            parse(&format!("{{{{{layout} count:{count} buckets:[{buckets}]}}}}"))
        };
        assert_eq!(custom(6, "1 2 3").quantile(0.1).value, 2.4);
        assert_eq!(custom(10, "1 2 3 4").quantile(0.3).value, f64::INFINITY);
        assert_eq!(custom(10, "1 2 3 4").quantile(0.9).value, 4.0);
    }

    #[test]
    fn custom_buckets_interpolate_linearly() {
        let histogram = parse("{{schema:-53 sum:5 count:4 custom_values:[5 10] buckets:[1 2 1]}}");
        assert_eq!(histogram.quantile(0.5).value, 7.5);
        assert_eq!(histogram.quantile(1.0).value, 10.0);
        assert_eq!(histogram.fraction(5.0, 10.0).value, 0.5);
    }

    #[test]
    fn counts_below_zero_have_quantiles_at_the_end_of_the_search() {
        let custom =
            parse("{{schema:-53 sum:-5 count:-4 custom_values:[5 10] buckets:[-1 -2 -1]}}");
        assert_eq!(custom.quantile(1.0).value, 5.0);
        assert_eq!(custom.quantile(0.0).value, 10.0);
        let plain = parse("{{schema:0 sum:-5 count:-4 buckets:[-1 -2 -1]}}");
        assert_eq!(plain.quantile(0.0).value, 4.0);
        assert_eq!(plain.quantile(1.0).value, 1.0);
    }

    #[test]
    fn fractions_agree_with_quantiles() {
        let histogram = parse(
            "{{schema:2 count:20 sum:9 z_bucket:2 z_bucket_w:0.01 buckets:[1 2 4 3] n_buckets:[3 5]}}",
        );
        for q in [0.05, 0.2, 0.45, 0.5, 0.77, 0.95] {
            let below = histogram.fraction(f64::NEG_INFINITY, histogram.quantile(q).value);
            assert!((below.value - q).abs() < 1e-12, "{q} {below:?}");
        }
    }
}
