//! Finding out whether a counter was reset between two histograms.

use super::{Bucket, CounterResetHint, FloatHistogram, arithmetic::for_each_pair, layout::align};

impl FloatHistogram {
    /// Whether a counter was reset between `previous` and `self`: a hint says so, or a count went
    /// down, a populated bucket vanished, or the layout became finer, which never happens
    /// without a reset.
    pub fn detect_reset(&self, previous: &Self) -> bool {
        match self.counter_reset_hint {
            CounterResetHint::Reset => true,
            CounterResetHint::NotReset => false,
            // Functions for counters may meet a gauge; they treat it as a counter and warn.
            CounterResetHint::Unknown | CounterResetHint::Gauge => self.is_reset_from(previous),
        }
    }

    /// Whether a counter histogram of unknown history goes on from the sample before it. Storage
    /// marks it as not reset then.
    pub fn goes_on_from(&self, previous: Option<&Self>) -> bool {
        previous.is_some_and(|previous| {
            self.counter_reset_hint == CounterResetHint::Unknown
                && previous.counter_reset_hint != CounterResetHint::Gauge
                && !previous.is_stale()
                && !self.is_stale()
                && !self.is_reset_from(previous)
        })
    }

    /// As [`FloatHistogram::detect_reset`], blind to the hint.
    pub fn is_reset_from(&self, previous: &Self) -> bool {
        if self.count < previous.count || self.is_finer_than(previous) {
            return true;
        }
        let Ok(aligned) = align(self, previous) else { return true };
        let went_down = |now: &[Bucket], before: &[Bucket]| {
            let mut found = false;
            for_each_pair(now, before, |_, now, before| found |= now < before);
            found
        };
        aligned.left.zero_count < aligned.right.zero_count
            || went_down(&aligned.left.positive, &aligned.right.positive)
            || went_down(&aligned.left.negative, &aligned.right.negative)
    }

    fn is_finer_than(&self, previous: &Self) -> bool {
        if self.uses_custom_buckets() || previous.uses_custom_buckets() {
            return false;
        }
        // A threshold that had to be lifted cuts through a populated bucket of `previous`.
        self.schema > previous.schema
            || self.zero_threshold < previous.zero_threshold
            || previous.zero_threshold_at_least(self.zero_threshold) != self.zero_threshold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_reset(previous: &str, now: &str) -> bool {
        let parse = |text| FloatHistogram::parse_test_expression(text).expect("valid");
        parse(now).detect_reset(&parse(previous))
    }

    #[test]
    fn a_count_that_goes_down_is_a_reset() {
        let before = "{{schema:0 count:6 z_bucket:1 buckets:[2 3]}}";
        assert!(!is_reset(before, before));
        assert!(!is_reset(before, "{{schema:0 count:7 z_bucket:1 buckets:[2 3 1]}}"));
        assert!(is_reset(before, "{{schema:0 count:5 z_bucket:1 buckets:[2 2]}}"));
        assert!(is_reset(before, "{{schema:0 count:7 z_bucket:1 buckets:[1 5]}}"));
        assert!(is_reset(before, "{{schema:0 count:7 z_bucket:1 buckets:[6]}}"));
        assert!(is_reset(before, "{{schema:0 count:7 z_bucket:0 buckets:[3 4]}}"));
    }

    #[test]
    fn a_finer_layout_is_a_reset_and_a_coarser_one_is_not() {
        let before = "{{schema:1 count:6 z_bucket:1 z_bucket_w:0.25 buckets:[2 3]}}";
        assert!(is_reset(before, "{{schema:2 count:6 z_bucket:1 z_bucket_w:0.25 buckets:[5 5]}}"));
        assert!(is_reset(before, "{{schema:1 count:6 z_bucket:1 z_bucket_w:0.1 buckets:[2 3]}}"));
        assert!(!is_reset(before, "{{schema:0 count:6 z_bucket:1 z_bucket_w:0.5 buckets:[2 3]}}"));
    }

    #[test]
    fn custom_bounds_are_compared_where_shared() {
        let before = "{{schema:-53 count:15 custom_values:[2 4 6] buckets:[1 2 5 7]}}";
        assert!(is_reset(
            before,
            "{{schema:-53 count:15 custom_values:[2 3 4 6] buckets:[1 0 1 5 8]}}"
        ));
        assert!(!is_reset(before, "{{schema:-53 count:15 custom_values:[4] buckets:[3 12]}}"));
        assert!(is_reset(before, "{{schema:0 count:15 buckets:[15]}}"));
    }
}
