//! Quantiles: of plain values, and of classic histograms given as counts below bounds.

use std::cmp::Ordering;

use narthex_model::number::format_exposition;

use crate::annotations::MonotonicRepair;

/// What is said of a quantile outside of `[0, 1]`.
pub(crate) fn odd_quantile(q: f64) -> String {
    format!("quantile value should be between 0 and 1, got {}", format_exposition(q))
}

/// Sorts by value, NaN first.
pub(crate) fn sort(values: &mut [f64]) -> &[f64] {
    values.sort_unstable_by(|a, b| match (a.is_nan(), b.is_nan()) {
        (false, false) => a.partial_cmp(b).expect("neither is NaN"),
        (a_nan, b_nan) => b_nan.cmp(&a_nan),
    });
    values
}

/// The `q`-quantile of sorted values, interpolated between the two nearest.
pub(crate) fn quantile_of_sorted(q: f64, sorted: &[f64]) -> f64 {
    if sorted.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let last = sorted.len() - 1;
    let rank = q * last as f64;
    let lower = (rank.floor() as usize).min(last);
    let upper = (lower + 1).min(last);
    let weight = rank - rank.floor();
    sorted[lower] * (1.0 - weight) + sorted[upper] * weight
}

/// A bucket of a classic histogram: how many observations are at most `bound`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ClassicBucket {
    /// The upper bound, from the label `le`.
    pub bound: f64,
    /// Observations up to it.
    pub count: f64,
}

/// Counts that differ by less than this share are float errors, which are repaired in silence.
const TOLERANCE: f64 = 1e-12;

/// Buckets fit for questions: sorted, one per bound.
#[derive(Debug, Clone)]
pub(crate) struct ClassicHistogram {
    buckets: Vec<ClassicBucket>,
}

impl ClassicHistogram {
    /// Takes the buckets of one histogram at one time.
    pub fn new(mut buckets: Vec<ClassicBucket>) -> Self {
        buckets.sort_by(|a, b| a.bound.total_cmp(&b.bound));
        buckets.dedup_by(|later, kept| {
            let is_same = later.bound == kept.bound;
            if is_same {
                kept.count += later.count;
            }
            is_same
        });
        Self { buckets }
    }

    /// All observations; `None` without a bucket up to +Inf, as then nobody knows.
    fn count(&self) -> Option<f64> {
        self.buckets.last().filter(|last| last.bound == f64::INFINITY).map(|last| last.count)
    }

    /// The value below which the share `q` of the observations lies, and what had to be repaired
    /// because counts went down. `time` is that of the histogram.
    pub fn quantile(mut self, q: f64, time: i64) -> (f64, Option<MonotonicRepair>) {
        if !(0.0..=1.0).contains(&q) {
            return (beyond(q), None);
        }
        if self.count().is_none() {
            return (f64::NAN, None);
        }
        let repair = make_monotonic(&mut self.buckets, time);
        match self.count() {
            Some(count) if count != 0.0 && self.buckets.len() > 1 => {
                (self.value_at(q * count), repair)
            }
            _ => (f64::NAN, None),
        }
    }

    /// The value with `rank` observations below it. There are at least two buckets.
    fn value_at(&self, rank: f64) -> f64 {
        let buckets = &self.buckets;
        let last = buckets.len() - 1;
        // What is no number is below none.
        let is_below = |bucket: &ClassicBucket| {
            !matches!(bucket.count.partial_cmp(&rank), Some(Ordering::Greater | Ordering::Equal))
        };
        let at = buckets[..last].partition_point(is_below);
        if at == last {
            return buckets[last - 1].bound;
        }
        if at == 0 && buckets[0].bound <= 0.0 {
            return buckets[0].bound;
        }
        let before = match at {
            0 => ClassicBucket { bound: 0.0, count: 0.0 },
            at => buckets[at - 1],
        };
        let share = (rank - before.count) / (buckets[at].count - before.count);
        before.bound + (buckets[at].bound - before.bound) * share
    }

    /// The share of observations between two values, of the counts as they are.
    pub fn fraction(&self, lower: f64, upper: f64) -> f64 {
        let Some(count) = self.count().filter(|count| *count != 0.0) else { return f64::NAN };
        if lower.is_nan() || upper.is_nan() {
            return f64::NAN;
        }
        if lower >= upper {
            return 0.0;
        }
        let below = |value| {
            let below = self.count_below(value).unwrap_or(count);
            if below > count { count } else { below }
        };
        (below(upper) - below(lower)) / count
    }

    /// Observations below a value; `None` if that is all.
    fn count_below(&self, value: f64) -> Option<f64> {
        let mut start = if self.buckets[0].bound > 0.0 { 0.0 } else { f64::NEG_INFINITY };
        let mut below = 0.0;
        for bucket in &self.buckets {
            if start >= value {
                return Some(below);
            }
            let end = bucket.bound;
            if end > value {
                // Where in an endless bucket they are, nobody knows.
                let share = if start == f64::NEG_INFINITY {
                    1.0
                } else if end == f64::INFINITY {
                    0.0
                } else {
                    (value - start) / (end - start)
                };
                return Some(below + (bucket.count - below) * share);
            }
            (start, below) = (end, bucket.count);
        }
        None
    }
}

/// The quantile for what is no share.
fn beyond(q: f64) -> f64 {
    if q < 0.0 {
        f64::NEG_INFINITY
    } else if q > 1.0 {
        f64::INFINITY
    } else {
        f64::NAN
    }
}

/// Lifts counts that went down to the highest one before them.
fn make_monotonic(buckets: &mut [ClassicBucket], time: i64) -> Option<MonotonicRepair> {
    let mut repair: Option<MonotonicRepair> = None;
    let mut highest = buckets.first()?.count;
    for bucket in &mut buckets[1..] {
        let difference = highest - bucket.count;
        if difference == 0.0 {
            continue;
        }
        if difference.is_nan() {
            highest = bucket.count;
        } else if difference.abs() <= TOLERANCE * bucket.count.abs() {
            bucket.count = highest;
        } else if difference < 0.0 {
            highest = bucket.count;
        } else {
            bucket.count = highest;
            let known = repair.get_or_insert(MonotonicRepair {
                bucket_min: bucket.bound,
                bucket_max: bucket.bound,
                difference_max: difference,
                count: 1,
                time_min: time,
                time_max: time,
            });
            known.bucket_max = bucket.bound;
            known.difference_max = known.difference_max.max(difference);
        }
    }
    repair
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: f64 = f64::INFINITY;

    fn histogram(buckets: &[(f64, f64)]) -> ClassicHistogram {
        let buckets = buckets.iter().map(|&(bound, count)| ClassicBucket { bound, count });
        ClassicHistogram::new(buckets.collect())
    }

    fn quantile(q: f64, buckets: &[(f64, f64)]) -> f64 {
        histogram(buckets).quantile(q, 0).0
    }

    #[test]
    fn quantiles_of_values() {
        assert_eq!(quantile_of_sorted(0.5, &[1.0, 2.0, 4.0]), 2.0);
        assert_eq!(quantile_of_sorted(0.75, &[1.0, 2.0, 4.0]), 3.0);
        assert_eq!(quantile_of_sorted(2.0, &[1.0]), f64::INFINITY);
        assert!(sort(&mut [1.0, f64::NAN])[0].is_nan());
    }

    #[test]
    fn classic_quantiles_interpolate() {
        let plain = [(1.0, 2.0), (2.0, 4.0), (INF, 8.0)];
        assert_eq!(quantile(0.25, &plain), 1.0);
        assert_eq!(quantile(0.375, &plain), 1.5);
        assert_eq!(quantile(0.9, &plain), 2.0);
        assert_eq!(histogram(&plain).fraction(0.5, 1.5), 0.25);
    }

    #[test]
    fn quantiles_beyond_all_need_no_observations() {
        let endless = [(1.0, 2.0)];
        assert_eq!(quantile(-0.1, &endless), -INF);
        assert_eq!(quantile(1.1, &endless), INF);
        assert!(quantile(0.5, &endless).is_nan());
        assert!(quantile(f64::NAN, &[(1.0, 2.0), (INF, 3.0)]).is_nan());
        assert!(histogram(&endless).fraction(0.0, 1.0).is_nan());
        // A rank that is no number lies behind all bounds.
        assert_eq!(quantile(0.5, &[(1.0, 2.0), (2.0, 3.0), (INF, f64::NAN)]), 2.0);
    }

    #[test]
    fn counts_that_go_down_are_lifted_for_quantiles() {
        let bent = [(0.1, 2.0), (1.0, 1.0), (10.0, 5.0), (100.0, 4.0), (INF, 8.0)];
        let repair = histogram(&bent).quantile(0.5, 0).1.expect("was needed");
        assert_eq!((repair.bucket_min, repair.bucket_max), (1.0, 100.0));
        assert!(histogram(&bent).quantile(-1.0, 0).1.is_none(), "nobody looked");
        let close = [(0.1, 2.0), (1.0, 2.0 - 1e-13), (INF, 3.0)];
        assert!(histogram(&close).quantile(0.5, 0).1.is_none());
        assert_eq!(histogram(&bent).fraction(0.1, 1.0), -0.125, "fractions take them as they are");
    }
}
