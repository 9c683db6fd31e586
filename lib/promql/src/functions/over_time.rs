//! Functions that sum up the samples of a range one way or another.

use std::sync::Arc;

use narthex_model::{
    FloatHistogram, KahanSum,
    histogram::{HistogramMean, HistogramSum, IncompatibleBuckets},
};

use super::{
    quantile::{odd_quantile, quantile_of_sorted},
    window::{Notes, Window},
};
use crate::value::Sample;

/// Runs `of_floats` on the floats of a window. Without floats there is no result; histograms
/// beside them are ignored with an info.
fn on_floats(
    window: &Window<'_>,
    notes: &mut Notes<'_>,
    of_floats: impl FnOnce(&[f64]) -> f64,
) -> Option<Sample> {
    if window.floats.is_empty() {
        return None;
    }
    if window.is_mixed() {
        notes.histograms_ignored();
    }
    Some(Sample::Float(of_floats(window.floats.values)))
}

/// `sum_over_time`
pub(super) fn sum(window: &Window<'_>, notes: &mut Notes<'_>) -> Option<Sample> {
    if window.is_mixed() {
        notes.mixed_kinds();
        return None;
    }
    let Some((first, rest)) = window.histograms.values.split_first() else {
        return on_floats(window, notes, |values| kahan_sum(values).value());
    };
    let mut sum = HistogramSum::new(first);
    let added = rest.iter().try_for_each(|histogram| sum.add(histogram));
    finish_histograms(added, notes, || {
        (sum.value(), sum.has_conflicting_resets(), sum.bounds_reconciled())
    })
}

/// `avg_over_time`
pub(super) fn avg(window: &Window<'_>, notes: &mut Notes<'_>) -> Option<Sample> {
    if window.is_mixed() {
        notes.mixed_kinds();
        return None;
    }
    let Some((first, rest)) = window.histograms.values.split_first() else {
        return on_floats(window, notes, mean);
    };
    let mut mean = HistogramMean::new(first);
    let added = rest.iter().try_for_each(|histogram| mean.add(histogram));
    finish_histograms(added, notes, || {
        (mean.value(), mean.has_conflicting_resets(), mean.bounds_reconciled())
    })
}

fn finish_histograms(
    added: Result<(), IncompatibleBuckets>,
    notes: &mut Notes<'_>,
    value: impl FnOnce() -> (FloatHistogram, bool, bool),
) -> Option<Sample> {
    if added.is_err() {
        notes.mixed_schemas();
        return None;
    }
    let (histogram, has_conflicts, reconciled) = value();
    if has_conflicts {
        notes.conflicting_resets("aggregation");
    }
    if reconciled {
        notes.bounds_reconciled("aggregation");
    }
    Some(Sample::from(histogram))
}

/// The sum of `values`.
pub(crate) fn kahan_sum(values: &[f64]) -> KahanSum {
    let mut sum = KahanSum::default();
    for value in values {
        sum.add(*value);
    }
    sum
}

/// The mean of `values`; their sum divided, or moved step by step where the sum would overflow.
pub(crate) fn mean(values: &[f64]) -> f64 {
    let mut mean = FloatMean::default();
    for value in values {
        mean.add(*value);
    }
    mean.value()
}

/// A running mean.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FloatMean {
    /// The sum, or the mean once incremental.
    sum: KahanSum,
    len: f64,
    is_incremental: bool,
}

impl FloatMean {
    /// Adds `value`.
    #[inline]
    pub fn add(&mut self, value: f64) {
        self.len += 1.0;
        if !self.is_incremental {
            let mut sum = self.sum;
            sum.add(value);
            if self.len == 1.0 || sum.sum.is_finite() || sum.sum.is_nan() {
                self.sum = sum;
                return;
            }
            self.is_incremental = true;
            let before = self.len - 1.0;
            self.sum = KahanSum { sum: self.sum.sum / before, lost: self.sum.lost / before };
        }
        self.move_towards(value);
    }

    fn move_towards(&mut self, value: f64) {
        let mean = self.sum.sum;
        if mean.is_infinite() && (value.is_infinite() == (mean.signum() == value.signum())) {
            // An infinite mean stays, unless it meets the other infinity or NaN.
            if !value.is_nan() {
                return;
            }
        }
        let before = (self.len - 1.0) / self.len;
        self.sum = KahanSum { sum: before * self.sum.sum, lost: before * self.sum.lost };
        self.sum.add(value / self.len);
    }

    /// Adds another mean, weighted by how many values each stands for.
    pub fn merge(&mut self, other: &Self) {
        let len = self.len + other.len;
        if !self.is_incremental && !other.is_incremental {
            let mut sum = self.sum;
            sum.merge(other.sum);
            if !sum.sum.is_infinite() || self.sum.sum.is_infinite() || other.sum.sum.is_infinite() {
                *self = Self { sum, len, is_incremental: false };
                return;
            }
        }
        let mut sum = self.share_of(len);
        sum.merge(other.share_of(len));
        *self = Self { sum, len, is_incremental: true };
    }

    fn share_of(&self, len: f64) -> KahanSum {
        let factor = if self.is_incremental { self.len / len } else { 1.0 / len };
        KahanSum { sum: self.sum.sum * factor, lost: self.sum.lost * factor }
    }

    /// The sum, or the mean if the sum would overflow, what it has lost, and how many values it
    /// stands for, negative for a mean.
    pub fn into_parts(self) -> [f64; 3] {
        let len = if self.is_incremental { -self.len } else { self.len };
        [self.sum.sum, self.sum.lost, len]
    }

    /// The mean that [`FloatMean::into_parts`] took apart.
    pub fn from_parts([sum, lost, len]: [f64; 3]) -> Self {
        Self { sum: KahanSum { sum, lost }, len: len.abs(), is_incremental: len < 0.0 }
    }

    /// The mean.
    pub fn value(&self) -> f64 {
        if self.is_incremental {
            return self.sum.value();
        }
        self.sum.sum / self.len + self.sum.lost / self.len
    }
}

/// `min_over_time`
pub(super) fn min(window: &Window<'_>, notes: &mut Notes<'_>) -> Option<Sample> {
    on_floats(window, notes, |values| extreme(values, f64::min))
}

/// `max_over_time`
pub(super) fn max(window: &Window<'_>, notes: &mut Notes<'_>) -> Option<Sample> {
    on_floats(window, notes, |values| extreme(values, f64::max))
}

/// The extreme of `values`; NaN only if all are. Four at a time, since each comparison waits for
/// the one before it.
fn extreme(values: &[f64], pick: impl Fn(f64, f64) -> f64) -> f64 {
    let (chunks, rest) = values.as_chunks::<4>();
    let mut best = [f64::NAN; 4];
    for chunk in chunks {
        for (best, value) in best.iter_mut().zip(chunk) {
            *best = pick(*best, *value);
        }
    }
    rest.iter().chain(&best).copied().fold(f64::NAN, pick)
}

/// `ts_of_min_over_time`: the last one of equal minima.
pub(super) fn time_of_min(window: &Window<'_>, notes: &mut Notes<'_>) -> Option<Sample> {
    time_of_extreme(window, notes, |value, best| value <= best)
}

/// `ts_of_max_over_time`: the last one of equal maxima.
pub(super) fn time_of_max(window: &Window<'_>, notes: &mut Notes<'_>) -> Option<Sample> {
    time_of_extreme(window, notes, |value, best| value >= best)
}

fn time_of_extreme(
    window: &Window<'_>,
    notes: &mut Notes<'_>,
    is_better: impl Fn(f64, f64) -> bool,
) -> Option<Sample> {
    let (mut time, mut best) = window.floats.first().map(|(time, value)| (time, *value))?;
    if window.is_mixed() {
        notes.histograms_ignored();
    }
    for (at, value) in window.floats.iter() {
        if is_better(*value, best) || best.is_nan() {
            (time, best) = (at, *value);
        }
    }
    Some(Sample::Float(time as f64 / 1000.0))
}

/// `count_over_time`
pub(super) fn count(window: &Window<'_>) -> Option<Sample> {
    let count = window.floats.len() + window.histograms.len();
    (count > 0).then_some(Sample::Float(count as f64))
}

/// `present_over_time`
pub(super) fn present(window: &Window<'_>) -> Option<Sample> {
    count(window).map(|_| Sample::Float(1.0))
}

/// `first_over_time`
pub(super) fn first(window: &Window<'_>) -> Option<Sample> {
    pick(window.floats.first(), window.histograms.first(), |float, hist| float < hist)
}

/// `last_over_time`
pub(super) fn last(window: &Window<'_>) -> Option<Sample> {
    pick(window.floats.last(), window.histograms.last(), |float, hist| float > hist)
}

fn pick(
    float: Option<(i64, &f64)>,
    histogram: Option<(i64, &Arc<FloatHistogram>)>,
    takes_float: impl Fn(i64, i64) -> bool,
) -> Option<Sample> {
    match (float, histogram) {
        (Some((at, value)), Some((hist_at, _))) if takes_float(at, hist_at) => {
            Some(Sample::Float(*value))
        }
        (_, Some((_, histogram))) => Some(Sample::Histogram(Arc::clone(histogram))),
        (Some((_, value)), None) => Some(Sample::Float(*value)),
        (None, None) => None,
    }
}

/// `ts_of_first_over_time`
pub(super) fn time_of_first(window: &Window<'_>) -> Option<Sample> {
    let times = [window.floats.times.first(), window.histograms.times.first()];
    let first = times.into_iter().flatten().min()?;
    Some(Sample::Float(*first as f64 / 1000.0))
}

/// `ts_of_last_over_time`
pub(super) fn time_of_last(window: &Window<'_>) -> Option<Sample> {
    let times = [window.floats.times.last(), window.histograms.times.last()];
    let last = times.into_iter().flatten().max()?;
    Some(Sample::Float(*last as f64 / 1000.0))
}

/// `stdvar_over_time`
pub(super) fn variance(window: &Window<'_>, notes: &mut Notes<'_>) -> Option<Sample> {
    on_floats(window, notes, variance_of)
}

/// `stddev_over_time`
pub(super) fn deviation(window: &Window<'_>, notes: &mut Notes<'_>) -> Option<Sample> {
    on_floats(window, notes, |values| variance_of(values).sqrt())
}

/// The population variance by Welford's method with compensated sums.
fn variance_of(values: &[f64]) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, KahanSum::default(), KahanSum::default());
    for value in values {
        count += 1.0;
        let delta = value - mean.value();
        mean.add(delta / count);
        squares.add(delta * (value - mean.value()));
    }
    squares.value() / count
}

/// `quantile_over_time`
pub(super) fn quantile(window: &Window<'_>, notes: &mut Notes<'_>) -> Option<Sample> {
    let q = window.args[0];
    if !window.floats.is_empty() && !(0.0..=1.0).contains(&q) {
        notes.warn(odd_quantile(q));
    }
    on_floats(window, notes, |values| {
        let mut sorted = values.to_vec();
        quantile_of_sorted(q, super::quantile::sort(&mut sorted))
    })
}

/// `mad_over_time`: the median distance from the median.
pub(super) fn median_deviation(window: &Window<'_>, notes: &mut Notes<'_>) -> Option<Sample> {
    on_floats(window, notes, |values| {
        if values.iter().any(|value| value.is_nan()) {
            return f64::NAN;
        }
        let mut sorted = values.to_vec();
        let median = quantile_of_sorted(0.5, super::quantile::sort(&mut sorted));
        for value in &mut sorted {
            *value = (*value - median).abs();
        }
        quantile_of_sorted(0.5, super::quantile::sort(&mut sorted))
    })
}

/// A step from one sample to the next, whatever their kinds, in order of time.
enum Transition<'a> {
    Floats(f64, f64),
    Histograms { before: &'a FloatHistogram, after: &'a FloatHistogram, is_restarted: bool },
    KindChanged,
}

fn transitions<'a>(window: &Window<'a>) -> Vec<Transition<'a>> {
    let (floats, histograms) = (&window.floats, &window.histograms);
    let mut found = Vec::with_capacity(floats.len() + histograms.len());
    let (mut float, mut histogram) = (0, 0);
    let mut was_float = None;
    while float < floats.len() || histogram < histograms.len() {
        let takes_float = match (floats.times.get(float), histograms.times.get(histogram)) {
            (Some(at), Some(hist_at)) => at < hist_at,
            (at, _) => at.is_some(),
        };
        match was_float {
            Some(before) if before != takes_float => found.push(Transition::KindChanged),
            Some(true) => {
                found.push(Transition::Floats(floats.values[float - 1], floats.values[float]));
            }
            Some(false) => found.push(Transition::Histograms {
                before: &histograms.values[histogram - 1],
                after: &histograms.values[histogram],
                is_restarted: histograms.is_restarted(histogram),
            }),
            None => {}
        }
        was_float = Some(takes_float);
        if takes_float { float += 1 } else { histogram += 1 }
    }
    found
}

/// `changes`: how often the value changed. A change of kind is one.
pub(super) fn changes(window: &Window<'_>) -> Option<Sample> {
    count(window)?;
    let is_change = |transition: &Transition<'_>| match transition {
        Transition::Floats(before, after) => {
            before != after && !(before.is_nan() && after.is_nan())
        }
        Transition::Histograms { before, after, .. } => !before.same_observations(after),
        Transition::KindChanged => true,
    };
    if window.histograms.is_empty() {
        let pairs = window.floats.values.windows(2);
        let changed = pairs.filter(|pair| is_change(&Transition::Floats(pair[0], pair[1])));
        return Some(Sample::Float(changed.count() as f64));
    }
    Some(Sample::Float(transitions(window).iter().filter(|t| is_change(t)).count() as f64))
}

/// `resets`: how often a counter began anew. A change of kind counts as one.
pub(super) fn resets(window: &Window<'_>) -> Option<Sample> {
    count(window)?;
    let floats = &window.floats;
    if window.histograms.is_empty() {
        let is_reset =
            |at: &usize| floats.values[*at] < floats.values[*at - 1] || floats.is_restarted(*at);
        return Some(Sample::Float((1..floats.len()).filter(is_reset).count() as f64));
    }
    let is_reset = |transition: &&Transition<'_>| match transition {
        Transition::Floats(before, after) => after < before,
        Transition::Histograms { before, after, is_restarted } => {
            *is_restarted || after.detect_reset(before)
        }
        Transition::KindChanged => true,
    };
    Some(Sample::Float(transitions(window).iter().filter(is_reset).count() as f64))
}
