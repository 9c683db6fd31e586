//! `anchored` and `smoothed`: growth between exact edges, without extrapolation.
//!
//! An anchored range begins with the last sample at or before its start. A smoothed one begins
//! and ends with values interpolated from the samples around its edges; a counter that was reset
//! between the two is taken to have grown from zero all the way.

use std::sync::Arc;

use narthex_model::{CounterResetHint, FloatHistogram, histogram::IncompatibleBuckets};

use super::{
    rate::{Growth, check_hints},
    window::{Notes, Points, Window},
};
use crate::{ast::RangeExtension, value::Sample};

/// A value that grows: a float or a histogram.
pub(crate) trait Growing: Sized {
    /// Whether a counter was reset between `before` and this.
    fn is_reset_after(&self, before: &Self) -> bool;
    /// The value at `share` of the way to `next`; from zero if `from_zero`.
    fn towards(
        &self,
        next: &Self,
        share: f64,
        from_zero: bool,
    ) -> Result<Self, IncompatibleBuckets>;
    /// `self + other`
    fn plus(&self, other: &Self) -> Result<Self, IncompatibleBuckets>;
    /// `self - other`
    fn minus(&self, other: &Self) -> Result<Self, IncompatibleBuckets>;
    /// `self / divisor`
    fn over(&self, divisor: f64) -> Self;
}

impl Growing for f64 {
    fn is_reset_after(&self, before: &Self) -> bool {
        self < before
    }

    fn towards(
        &self,
        next: &Self,
        share: f64,
        from_zero: bool,
    ) -> Result<Self, IncompatibleBuckets> {
        let from = if from_zero { 0.0 } else { *self };
        Ok(from + (next - from) * share)
    }

    fn plus(&self, other: &Self) -> Result<Self, IncompatibleBuckets> {
        Ok(self + other)
    }

    fn minus(&self, other: &Self) -> Result<Self, IncompatibleBuckets> {
        Ok(self - other)
    }

    fn over(&self, divisor: f64) -> Self {
        self / divisor
    }
}

impl Growing for Arc<FloatHistogram> {
    fn is_reset_after(&self, before: &Self) -> bool {
        self.detect_reset(before)
    }

    fn towards(
        &self,
        next: &Self,
        share: f64,
        from_zero: bool,
    ) -> Result<Self, IncompatibleBuckets> {
        if from_zero {
            return Ok(Self::new(next.mul(share)));
        }
        let gap = next.sub(self)?.histogram.mul(share);
        let mut value = self.add(&gap)?.histogram;
        value.counter_reset_hint = next.counter_reset_hint;
        Ok(Self::new(value))
    }

    fn plus(&self, other: &Self) -> Result<Self, IncompatibleBuckets> {
        Ok(Self::new(self.add(other)?.histogram))
    }

    fn minus(&self, other: &Self) -> Result<Self, IncompatibleBuckets> {
        Ok(Self::new(self.sub(other)?.histogram))
    }

    fn over(&self, divisor: f64) -> Self {
        Self::new(self.div(divisor))
    }
}

/// The growth over a window whose samples reach past its edges.
pub(crate) fn growth(
    window: &Window<'_>,
    kind: Growth,
    extension: RangeExtension,
    notes: &mut Notes<'_>,
) -> Option<Sample> {
    if window.is_mixed() {
        notes.mixed_kinds();
        return None;
    }
    let is_smoothed = extension == RangeExtension::Smoothed;
    let span = Span { start: window.start, end: window.end, is_smoothed };
    let seconds = (kind == Growth::Rate).then(|| window.seconds());
    if !window.floats.is_empty() {
        let grown = span.growth(&window.floats, kind).expect("floats always combine")?;
        return Some(Sample::Float(seconds.map_or(grown, |seconds| grown.over(seconds))));
    }
    let points = span.relevant(&window.histograms)?;
    check_hints(points.values.iter().map(|h| h.counter_reset_hint), kind, notes);
    let first = points.values[0].uses_custom_buckets();
    let is_mixed = points.values.iter().any(|h| h.uses_custom_buckets() != first);
    let grown = if is_mixed { Err(IncompatibleBuckets) } else { span.growth(&points, kind) };
    let Ok(grown) = grown else {
        notes.mixed_schemas();
        return None;
    };
    let mut grown = grown?.over(seconds.unwrap_or(1.0)).as_ref().clone();
    grown.counter_reset_hint = CounterResetHint::Gauge;
    Some(Sample::from(grown))
}

struct Span {
    start: i64,
    end: i64,
    is_smoothed: bool,
}

impl Span {
    /// The samples that matter: the last one at or before the start, those inside, and for a
    /// smoothed range the first one at or behind the end.
    fn relevant<'a, T>(&self, points: &Points<'a, T>) -> Option<Points<'a, T>> {
        let inside = points.times.partition_point(|time| *time <= self.start);
        let first = inside.saturating_sub(1);
        let last = if self.is_smoothed {
            points.times.partition_point(|time| *time < self.end).min(points.len().checked_sub(1)?)
        } else {
            points.len().checked_sub(1)?
        };
        if points.times[last] <= self.start || points.times[first] > self.end {
            return None;
        }
        Some(points.slice(first, last + 1))
    }

    fn growth<T: Growing + Clone>(
        &self,
        points: &Points<'_, T>,
        kind: Growth,
    ) -> Result<Option<T>, IncompatibleBuckets> {
        let Some(points) = self.relevant(points) else { return Ok(None) };
        let is_counter = kind.is_counter();
        let last = points.len() - 1;
        let cuts_left = self.is_smoothed && points.times[0] < self.start && last > 0;
        let cuts_right = self.is_smoothed && points.times[last] > self.end && last > 0;
        let left = match cuts_left {
            true => between(&points, 0, self.start, is_counter)?,
            false => points.values[0].clone(),
        };
        let right = match cuts_right {
            true => between(&points, last - 1, self.end, is_counter)?,
            false => points.values[last].clone(),
        };
        let mut grown = right.minus(&left)?;
        if !is_counter {
            return Ok(Some(grown));
        }
        // A gap that the left edge cuts is free of resets: the interpolation has dealt with it.
        for at in 1 + usize::from(cuts_left)..=last {
            if points.values[at].is_reset_after(&points.values[at - 1]) {
                grown = grown.plus(&points.values[at - 1])?;
            }
        }
        Ok(Some(grown))
    }
}

/// The value at `time` between the samples `at` and `at + 1`.
fn between<T: Growing>(
    points: &Points<'_, T>,
    at: usize,
    time: i64,
    is_counter: bool,
) -> Result<T, IncompatibleBuckets> {
    let (before, after) = (&points.values[at], &points.values[at + 1]);
    let (from, to) = (points.times[at], points.times[at + 1]);
    let share = (time - from) as f64 / (to - from) as f64;
    before.towards(after, share, is_counter && after.is_reset_after(before))
}

/// What a smoothed instant selector yields at a time: the sample there, else a value between the
/// samples around it, else the sample before it.
pub(crate) fn smoothed_instant(window: &Window<'_>, notes: &mut Notes<'_>) -> Option<Sample> {
    if window.is_mixed() {
        notes.mixed_kinds();
        return None;
    }
    if !window.floats.is_empty() {
        let value = instant_between(&window.floats, window.end, |_, _| false);
        return value.expect("floats always combine").map(Sample::Float);
    }
    let from_zero = |before: &Arc<FloatHistogram>, after: &Arc<FloatHistogram>| {
        after.uses_custom_buckets() == before.uses_custom_buckets()
            && after.counter_reset_hint != CounterResetHint::Gauge
            && after.detect_reset(before)
    };
    match instant_between(&window.histograms, window.end, from_zero) {
        Ok(value) => value.map(Sample::Histogram),
        Err(IncompatibleBuckets) => {
            notes.mixed_schemas();
            None
        }
    }
}

fn instant_between<T: Growing + Clone>(
    points: &Points<'_, T>,
    time: i64,
    from_zero: impl Fn(&T, &T) -> bool,
) -> Result<Option<T>, IncompatibleBuckets> {
    let behind = points.times.partition_point(|at| *at <= time);
    let Some(before) = behind.checked_sub(1) else { return Ok(None) };
    let value = &points.values[before];
    if points.times[before] == time || behind == points.len() {
        return Ok(Some(value.clone()));
    }
    let (from, to) = (points.times[before], points.times[behind]);
    let share = (time - from) as f64 / (to - from) as f64;
    let next = &points.values[behind];
    value.towards(next, share, from_zero(value, next)).map(Some)
}
