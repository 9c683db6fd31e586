//! Cutting off observations above or below a bound (`</` and `>/`).
//!
//! A bucket that the bound cuts keeps the share that interpolation puts on the kept side. The sum
//! is then estimated anew: each kept piece counts as if all of it lay in its middle, which is the
//! geometric mean in exponential buckets and the arithmetic mean elsewhere.

use super::{BucketRange, FloatHistogram};

/// Which observations stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Below,
    Above,
}

/// How observations are thought to lie in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spread {
    Linear,
    Exponential,
}

/// What stays of a bucket.
struct Kept {
    count: f64,
    middle: f64,
}

impl FloatHistogram {
    /// `self </ bound`: the observations up to `bound`.
    #[must_use]
    pub fn trim_above(&self, bound: f64) -> Self {
        self.trim(bound, Keep::Below)
    }

    /// `self >/ bound`: the observations from `bound` on.
    #[must_use]
    pub fn trim_below(&self, bound: f64) -> Self {
        self.trim(bound, Keep::Above)
    }

    fn trim(&self, bound: f64, keep: Keep) -> Self {
        let spread = if self.uses_custom_buckets() { Spread::Linear } else { Spread::Exponential };
        let mut trimmed = self.clone();
        let (mut count, mut sum) = (0.0, 0.0);
        let mut add = |kept: Kept, old_count: &mut f64| {
            count += kept.count;
            sum += kept.count * kept.middle;
            let is_changed = *old_count != kept.count;
            *old_count = kept.count;
            is_changed
        };
        let mut is_changed = false;
        for bucket in trimmed.positive.iter_mut().filter(|bucket| bucket.count != 0.0) {
            let kept = trim_bucket(self.positive_range(bucket), bound, keep, spread);
            is_changed |= add(kept, &mut bucket.count);
        }
        for bucket in trimmed.negative.iter_mut().filter(|bucket| bucket.count != 0.0) {
            let kept = trim_bucket(self.negative_range(bucket), bound, keep, spread);
            is_changed |= add(kept, &mut bucket.count);
        }
        if self.zero_count != 0.0 {
            let kept = trim_bucket(self.biased_zero_range(), bound, keep, Spread::Linear);
            is_changed |= add(kept, &mut trimmed.zero_count);
        }
        if is_changed {
            (trimmed.count, trimmed.sum) = (count, sum);
            trimmed.compact();
        }
        trimmed
    }

    /// The zero bucket; only its positive half if all other buckets are positive, and only its
    /// negative half if all are negative.
    pub(super) fn biased_zero_range(&self) -> BucketRange {
        let mut range = self.zero_range();
        match (self.negative.is_empty(), self.positive.is_empty()) {
            (true, false) => range.lower = 0.0,
            (false, true) => range.upper = 0.0,
            _ => {}
        }
        range
    }
}

fn trim_bucket(bucket: BucketRange, bound: f64, keep: Keep, spread: Spread) -> Kept {
    let BucketRange { lower, upper, count, .. } = bucket;
    let (is_whole, is_cut) = match keep {
        Keep::Below => (upper <= bound, lower < bound),
        Keep::Above => (lower >= bound, upper > bound),
    };
    if is_whole {
        Kept { count, middle: middle(lower, upper, spread) }
    } else if is_cut {
        cut_bucket(bucket, bound, keep, spread)
    } else {
        Kept { count: 0.0, middle: 0.0 }
    }
}

fn cut_bucket(bucket: BucketRange, bound: f64, keep: Keep, spread: Spread) -> Kept {
    let BucketRange { lower, upper, count, .. } = bucket;
    if lower.is_infinite() || upper.is_infinite() {
        return cut_endless_bucket(bucket, bound, keep);
    }
    let below = count * fraction_below(lower, upper, bound, spread);
    match keep {
        Keep::Below => Kept { count: below, middle: middle(lower, bound, spread) },
        Keep::Above => Kept { count: count - below, middle: middle(bound, upper, spread) },
    }
}

/// The first and the last custom bucket have no width to interpolate in. The first counts as
/// `[0, upper]` where that makes sense, as for quantiles; else nothing is kept on the finite side
/// and everything, at the bound itself, on the endless one.
fn cut_endless_bucket(bucket: BucketRange, bound: f64, keep: Keep) -> Kept {
    let BucketRange { lower, upper, count, .. } = bucket;
    let nothing = Kept { count: 0.0, middle: 0.0 };
    let everything = Kept { count, middle: bound };
    match (lower.is_infinite(), upper.is_infinite(), keep) {
        (true, true, _) | (false, true, Keep::Below) => nothing,
        (false, true, Keep::Above) => everything,
        (true, false, keep) if upper > 0.0 && bound >= 0.0 => {
            cut_bucket(BucketRange { lower: 0.0, ..bucket }, bound, keep, Spread::Linear)
        }
        (true, false, Keep::Below) if upper <= 0.0 => everything,
        _ => nothing,
    }
}

/// The share of a bucket's observations that lies below `bound`, which lies inside.
pub(super) fn fraction_inside(range: BucketRange, bound: f64, is_linear: bool) -> f64 {
    let spread = if is_linear { Spread::Linear } else { Spread::Exponential };
    fraction_below(range.lower, range.upper, bound, spread)
}

fn fraction_below(lower: f64, upper: f64, bound: f64, spread: Spread) -> f64 {
    if spread == Spread::Linear {
        return (bound - lower) / (upper - lower);
    }
    let [log_lower, log_upper, log_bound] = [lower, upper, bound].map(|at| at.abs().log2());
    if upper > 0.0 {
        (log_bound - log_lower) / (log_upper - log_lower)
    } else {
        1.0 - (log_bound - log_upper) / (log_lower - log_upper)
    }
}

fn middle(lower: f64, upper: f64, spread: Spread) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        (false, false) if spread == Spread::Linear => f64::midpoint(lower, upper),
        (false, false) if upper > 0.0 => (lower * upper).abs().sqrt(),
        (false, false) => -(lower * upper).abs().sqrt(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> FloatHistogram {
        FloatHistogram::parse_test_expression(text).expect("valid")
    }

    #[test]
    fn bounds_of_buckets_cut_cleanly() {
        let histogram = parse(
            "{{schema:-53 sum:172.5 count:15 custom_values:[5 10 15 20] buckets:[1 6 4 3 1]}}",
        );
        let below =
            parse("{{schema:-53 count:11 sum:97.5 custom_values:[5 10 15 20] buckets:[1 6 4]}}");
        assert_eq!(histogram.trim_above(15.0), below);
        assert_eq!(histogram.trim_below(f64::NEG_INFINITY), histogram);
        assert_eq!(histogram.trim_above(50.0).count, 14.0);
        assert_eq!(histogram.trim_above(7.5).sum, 21.25);
    }

    #[test]
    fn the_zero_bucket_leans_to_the_side_that_has_buckets() {
        let histogram = parse("{{schema:0 sum:8 count:12 z_bucket:2 z_bucket_w:0.5 buckets:[10]}}");
        assert_eq!(histogram.trim_below(0.1).zero_count, 1.6);
        assert_eq!(histogram.trim_above(0.0).count, 0.0);
    }
}
