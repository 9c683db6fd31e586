//! Quantiles: of plain values, and of classic histograms given as counts below bounds.

use crate::annotations::MonotonicRepair;

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

/// Buckets made fit for questions: sorted, one per bound, counts never going down.
#[derive(Debug, Clone)]
pub(crate) struct ClassicHistogram {
    buckets: Vec<ClassicBucket>,
    /// What it took, if counts went down by more than float errors.
    pub repair: Option<MonotonicRepair>,
}

impl ClassicHistogram {
    /// Takes the buckets of one histogram at one time. `None` without a bucket up to +Inf.
    pub fn new(mut buckets: Vec<ClassicBucket>, time: i64) -> Option<Self> {
        buckets.sort_by(|a, b| a.bound.total_cmp(&b.bound));
        if buckets.last()?.bound != f64::INFINITY {
            return None;
        }
        buckets.dedup_by(|later, kept| {
            let is_same = later.bound == kept.bound;
            if is_same {
                kept.count += later.count;
            }
            is_same
        });
        let repair = make_monotonic(&mut buckets, time);
        Some(Self { buckets, repair })
    }

    /// All observations.
    fn count(&self) -> f64 {
        self.buckets.last().map_or(0.0, |last| last.count)
    }

    /// The value below which the share `q` of the observations lies.
    pub fn quantile(&self, q: f64) -> f64 {
        let buckets = &self.buckets;
        if q.is_nan() || buckets.len() < 2 || self.count() == 0.0 || self.count().is_nan() {
            return if q < 0.0 {
                f64::NEG_INFINITY
            } else if q > 1.0 {
                f64::INFINITY
            } else {
                f64::NAN
            };
        }
        if q < 0.0 {
            return f64::NEG_INFINITY;
        }
        if q > 1.0 {
            return f64::INFINITY;
        }
        let rank = q * self.count();
        let last = buckets.len() - 1;
        let at = buckets[..last].partition_point(|bucket| bucket.count < rank);
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

    /// The share of observations between two values.
    pub fn fraction(&self, lower: f64, upper: f64) -> f64 {
        let count = self.count();
        if count == 0.0 || count.is_nan() || lower.is_nan() || upper.is_nan() {
            return f64::NAN;
        }
        if lower >= upper {
            return 0.0;
        }
        (self.count_below(upper) - self.count_below(lower)) / count
    }

    fn count_below(&self, value: f64) -> f64 {
        let at = self.buckets.partition_point(|bucket| bucket.bound < value);
        let Some(bucket) = self.buckets.get(at) else { return self.count() };
        if bucket.bound == value {
            return bucket.count;
        }
        let before = match at {
            0 if bucket.bound > 0.0 => ClassicBucket { bound: 0.0, count: 0.0 },
            0 => return if value == f64::NEG_INFINITY { 0.0 } else { bucket.count },
            at => self.buckets[at - 1],
        };
        if value <= before.bound {
            return before.count;
        }
        if bucket.bound == f64::INFINITY {
            return before.count;
        }
        let share = (value - before.bound) / (bucket.bound - before.bound);
        before.count + (bucket.count - before.count) * share
    }
}

/// Lifts counts that went down to the highest one before them.
fn make_monotonic(buckets: &mut [ClassicBucket], time: i64) -> Option<MonotonicRepair> {
    let mut repair: Option<MonotonicRepair> = None;
    let mut highest = buckets.first()?.count;
    for bucket in &mut buckets[1..] {
        let difference = highest - bucket.count;
        if difference == 0.0 || difference.is_nan() {
            continue;
        }
        if difference.abs() <= TOLERANCE * bucket.count.abs() {
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

    fn histogram(buckets: &[(f64, f64)]) -> ClassicHistogram {
        let buckets =
            buckets.iter().map(|&(bound, count)| ClassicBucket { bound, count }).collect();
        ClassicHistogram::new(buckets, 0).expect("has +Inf")
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
        let inf = f64::INFINITY;
        let plain = histogram(&[(1.0, 2.0), (2.0, 4.0), (inf, 8.0)]);
        assert_eq!(plain.quantile(0.25), 1.0);
        assert_eq!(plain.quantile(0.375), 1.5);
        assert_eq!(plain.quantile(0.9), 2.0);
        assert_eq!(plain.fraction(0.5, 1.5), 0.25);
        assert!(ClassicHistogram::new(vec![], 0).is_none());
    }

    #[test]
    fn counts_that_go_down_are_lifted() {
        let inf = f64::INFINITY;
        let bent = histogram(&[(0.1, 2.0), (1.0, 1.0), (10.0, 5.0), (100.0, 4.0), (inf, 8.0)]);
        let repair = bent.repair.expect("was needed");
        assert_eq!((repair.bucket_min, repair.bucket_max), (1.0, 100.0));
        let close = histogram(&[(0.1, 2.0), (1.0, 2.0 - 1e-13), (inf, 3.0)]);
        assert!(close.repair.is_none());
    }
}
