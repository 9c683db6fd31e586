//! How many samples a query looks at, step by step, as Prometheus counts them: each time that a
//! step looks at a sample counts, a histogram by its size.
//!
//! What is worked out once for all steps counts at each of them. Of a subquery that a function looks
//! at, what is in its windows counts, as samples do, and not what its expression looked at; of one
//! that is the query, that counts.

use narthex_model::{FloatHistogram, histogram::spans_of_buckets};

/// Bytes that Prometheus reckons for a histogram without buckets, and for its time.
const HISTOGRAM_BYTES: usize = 168 + 8;

/// Where among the steps of a query counts belong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum CountScope {
    /// Each where it was counted.
    #[default]
    Steps,
    /// To every step.
    All,
    /// To no step.
    Nowhere,
}

impl CountScope {
    /// The scope of what is worked out once for all steps of this scope.
    pub fn once(self) -> Self {
        match self {
            Self::Steps | Self::All => Self::All,
            Self::Nowhere => Self::Nowhere,
        }
    }
}

/// Samples that each step looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StepCounts {
    /// Where what is counted now belongs.
    pub scope: CountScope,
    counts: Vec<u64>,
}

impl StepCounts {
    /// None yet, for so many steps.
    pub fn new(steps: usize) -> Self {
        Self { scope: CountScope::Steps, counts: vec![0; steps] }
    }

    /// Counts what a step looked at.
    pub fn add(&mut self, step: usize, samples: u64) {
        match self.scope {
            CountScope::Steps => self.counts[step] += samples,
            CountScope::All => self.counts.iter_mut().for_each(|count| *count += samples),
            CountScope::Nowhere => {}
        }
    }

    /// Counts what was counted elsewhere at steps of this scope.
    pub fn add_all(&mut self, counts: &[u64], scope: CountScope) {
        self.scope = scope;
        let steps = self.counts.len();
        for (step, samples) in counts.iter().enumerate() {
            if scope != CountScope::Steps || step < steps {
                self.add(step, *samples);
            }
        }
    }

    /// The counts, one a step.
    pub fn into_counts(self) -> Vec<u64> {
        self.counts
    }
}

/// What a sample counts; `is_bare` says that only count and sum of histograms are looked at.
pub(crate) fn size(histogram: Option<&FloatHistogram>, is_bare: bool) -> u64 {
    let Some(histogram) = histogram else { return 1 };
    let mut numbers = 0;
    if !is_bare {
        for buckets in [&histogram.positive, &histogram.negative] {
            numbers += buckets.len() + spans_of_buckets(buckets).len();
        }
        numbers += histogram.custom_values.len();
    }
    ((HISTOGRAM_BYTES + 8 * numbers) / 16) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_say_at_which_steps() {
        let mut counts = StepCounts::new(3);
        counts.add(1, 5);
        counts.scope = CountScope::Steps.once();
        counts.add(0, 10);
        counts.scope = CountScope::Nowhere.once();
        counts.add(7, 100);
        assert_eq!(counts.into_counts(), [10, 15, 10]);
    }

    #[test]
    fn histograms_count_by_their_size() {
        let text = "{{schema:0 count:3 sum:4 buckets:[1 2 0 4]}}";
        let histogram = FloatHistogram::parse_test_expression(text).expect("valid");
        assert_eq!(size(None, false), 1);
        assert_eq!(size(Some(&histogram), true), 11);
        assert!(size(Some(&histogram), false) > 11);
    }
}
