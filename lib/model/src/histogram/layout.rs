//! Bringing histograms into one layout.

use std::{borrow::Cow, ops::AddAssign, sync::Arc};

use super::{Bucket, CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Histogram};

/// One histogram has exponential buckets, the other custom ones: they never combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot combine exponential with custom buckets")]
pub struct IncompatibleBuckets;

/// Two histograms in one layout.
pub(super) struct Aligned<'a> {
    pub left: Cow<'a, FloatHistogram>,
    pub right: Cow<'a, FloatHistogram>,
    /// Whether custom bounds differed, so that only shared ones are left.
    pub bounds_reconciled: bool,
}

/// Brings `left` and `right` into the finest layout that both can be brought into.
pub(super) fn align<'a>(
    left: &'a FloatHistogram,
    right: &'a FloatHistogram,
) -> Result<Aligned<'a>, IncompatibleBuckets> {
    let layout = Layout::shared(left, right)?;
    Ok(Aligned {
        left: layout.apply(left),
        right: layout.apply(right),
        bounds_reconciled: left.custom_values != right.custom_values && left.uses_custom_buckets(),
    })
}

/// A layout that a histogram can be brought into without splitting one of its buckets.
#[derive(Debug, Clone)]
pub(super) enum Layout {
    Exponential { schema: i32, zero_threshold: f64 },
    Custom { bounds: Arc<[f64]> },
}

impl Layout {
    /// The finest layout for both histograms.
    pub fn shared(
        left: &FloatHistogram,
        right: &FloatHistogram,
    ) -> Result<Self, IncompatibleBuckets> {
        match (left.uses_custom_buckets(), right.uses_custom_buckets()) {
            (true, true) if left.custom_values == right.custom_values => {
                Ok(Self::Custom { bounds: Arc::clone(&left.custom_values) })
            }
            (true, true) => Ok(Self::Custom {
                bounds: shared_bounds(&left.custom_values, &right.custom_values),
            }),
            (false, false) => Ok(Self::Exponential {
                schema: left.schema.min(right.schema),
                zero_threshold: shared_zero_threshold(left, right),
            }),
            _ => Err(IncompatibleBuckets),
        }
    }

    /// The histogram in this layout; borrowed where it already is.
    pub fn apply<'a>(&self, histogram: &'a FloatHistogram) -> Cow<'a, FloatHistogram> {
        match self {
            Self::Custom { bounds } => {
                if histogram.custom_values == *bounds {
                    return Cow::Borrowed(histogram);
                }
                Cow::Owned(histogram.with_custom_bounds(bounds))
            }
            Self::Exponential { schema, zero_threshold } => {
                let is_same =
                    histogram.schema == *schema && histogram.zero_threshold == *zero_threshold;
                if is_same {
                    return Cow::Borrowed(histogram);
                }
                let mut changed = histogram.clone();
                changed.widen_zero_bucket(*zero_threshold);
                changed.reduce_resolution(*schema);
                Cow::Owned(changed)
            }
        }
    }
}

impl<C: Copy + AddAssign> Histogram<C> {
    /// Merges buckets into those of a coarser exponential schema. Does nothing if the schema is
    /// not coarser or the bounds are custom.
    pub fn reduce_resolution(&mut self, schema: i32) {
        if schema >= self.schema || self.uses_custom_buckets() {
            return;
        }
        let shift = (self.schema - schema).min(31) as u32;
        merge_buckets(&mut self.positive, |index| ((index - 1) >> shift) + 1);
        merge_buckets(&mut self.negative, |index| ((index - 1) >> shift) + 1);
        self.schema = schema;
    }
}

impl FloatHistogram {
    /// Moves buckets that begin below `threshold` into the zero bucket. The threshold lies on a
    /// bound or in an empty bucket: [`FloatHistogram::zero_threshold_at_least`] finds one.
    pub(super) fn widen_zero_bucket(&mut self, threshold: f64) {
        if threshold <= self.zero_threshold {
            return;
        }
        let schema = self.schema;
        let is_inside = |bucket: &Bucket| {
            super::bounds::exponential_bound(bucket.index - 1, schema) < threshold
        };
        for buckets in [&mut self.positive, &mut self.negative] {
            let inside = buckets.partition_point(is_inside);
            self.zero_count += buckets.drain(..inside).map(|bucket| bucket.count).sum::<f64>();
        }
        self.zero_threshold = threshold;
    }

    /// The smallest threshold, at least `threshold`, that cuts through no populated bucket.
    pub(super) fn zero_threshold_at_least(&self, mut threshold: f64) -> f64 {
        if threshold <= self.zero_threshold {
            return threshold;
        }
        // Lifting the threshold over a bucket of one sign may land it inside one of the other.
        loop {
            let cut = self.positive.iter().chain(&self.negative).find(|bucket| {
                bucket.count != 0.0
                    && self.bound(bucket.index - 1) < threshold
                    && self.bound(bucket.index) > threshold
            });
            match cut {
                Some(bucket) => threshold = self.bound(bucket.index),
                None => return threshold,
            }
        }
    }

    /// Merges custom buckets into those of fewer bounds, each of which this histogram has too.
    fn with_custom_bounds(&self, bounds: &Arc<[f64]>) -> Self {
        let mut changed = self.clone();
        merge_buckets(&mut changed.positive, |index| {
            let upper = self.bound(index);
            bounds.partition_point(|bound| *bound < upper) as i32
        });
        changed.custom_values = Arc::clone(bounds);
        changed.schema = CUSTOM_BUCKETS_SCHEMA;
        changed
    }
}

/// Gives each bucket a new index, which never decreases, and adds up those that meet.
fn merge_buckets<C: Copy + AddAssign>(
    buckets: &mut Vec<Bucket<C>>,
    new_index: impl Fn(i32) -> i32,
) {
    for bucket in buckets.iter_mut() {
        bucket.index = new_index(bucket.index);
    }
    buckets.dedup_by(|later, kept| {
        let meets = later.index == kept.index;
        if meets {
            kept.count += later.count;
        }
        meets
    });
}

fn shared_bounds(left: &[f64], right: &[f64]) -> Arc<[f64]> {
    left.iter().copied().filter(|bound| right.contains(bound)).collect()
}

/// The smallest zero threshold that cuts through a populated bucket of neither.
fn shared_zero_threshold(left: &FloatHistogram, right: &FloatHistogram) -> f64 {
    if left.zero_threshold == right.zero_threshold {
        return left.zero_threshold;
    }
    let mut threshold = left.zero_threshold.max(right.zero_threshold);
    loop {
        let lifted = right.zero_threshold_at_least(left.zero_threshold_at_least(threshold));
        if lifted == threshold {
            return threshold;
        }
        threshold = lifted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> FloatHistogram {
        FloatHistogram::parse_test_expression(text).expect("valid")
    }

    #[test]
    fn a_coarser_schema_merges_neighbours() {
        let mut histogram = parse("{{schema:1 count:9 buckets:[1 2 3 4 5] offset:-1}}");
        histogram.reduce_resolution(0);
        // Indexes -1..=3 become 0 0 1 1 2.
        assert_eq!(histogram, parse("{{schema:0 count:9 buckets:[3 7 5] offset:0}}"));
    }

    #[test]
    fn a_wider_zero_bucket_swallows_what_it_cuts() {
        let narrow =
            parse("{{schema:0 count:6 z_bucket:1 z_bucket_w:0.1 buckets:[2 3] offset:-1}}");
        let wide = parse("{{schema:0 count:4 z_bucket:4 z_bucket_w:0.3}}");
        let aligned = align(&narrow, &wide).expect("both exponential");
        // 0.3 lies in (0.25, 0.5], which is populated: the zero bucket ends at 0.5.
        assert_eq!(aligned.left.zero_threshold, 0.5);
        assert_eq!((aligned.left.zero_count, aligned.right.zero_count), (3.0, 4.0));
        assert_eq!(aligned.left.positive, [Bucket { index: 0, count: 3.0 }]);
    }

    #[test]
    fn custom_bounds_are_reduced_to_the_shared_ones() {
        let left = parse("{{schema:-53 count:15 custom_values:[2 4 6] buckets:[1 2 5 7]}}");
        let right = parse("{{schema:-53 count:9 custom_values:[1 2 6] buckets:[1 2 3 3]}}");
        let aligned = align(&left, &right).expect("both custom");
        assert!(aligned.bounds_reconciled);
        assert_eq!(
            *aligned.left,
            parse("{{schema:-53 count:15 custom_values:[2 6] buckets:[1 7 7]}}")
        );
        assert_eq!(
            *aligned.right,
            parse("{{schema:-53 count:9 custom_values:[2 6] buckets:[3 3 3]}}")
        );
    }

    #[test]
    fn exponential_and_custom_never_meet() {
        let custom = parse("{{schema:-53 custom_values:[1]}}");
        assert!(align(&FloatHistogram::default(), &custom).is_err());
    }
}
