//! Lines and smooth curves through the samples of a range.

use narthex_model::KahanSum;

use super::window::{Notes, Points, Window};
use crate::value::Sample;

/// A line: its slope per second and its value at a given time.
struct Line {
    slope: f64,
    intercept: f64,
}

/// `deriv`: the slope of the line through the samples.
pub(super) fn deriv(window: &Window<'_>, notes: &mut Notes<'_>) -> Option<Sample> {
    // Times count from the first sample, which keeps digits.
    let origin = window.floats.first()?.0;
    fit(window, origin, notes).map(|line| Sample::Float(line.slope))
}

/// `predict_linear`: where the line will be.
pub(super) fn predict_linear(window: &Window<'_>, notes: &mut Notes<'_>) -> Option<Sample> {
    let line = fit(window, window.time, notes)?;
    Some(Sample::Float(line.slope * window.args[0] + line.intercept))
}

fn fit(window: &Window<'_>, origin: i64, notes: &mut Notes<'_>) -> Option<Line> {
    if window.floats.len() < 2 {
        if window.is_mixed() {
            notes.histograms_ignored();
        }
        return None;
    }
    if window.is_mixed() {
        notes.histograms_ignored();
    }
    Some(least_squares(&window.floats, origin))
}

fn least_squares(points: &Points<'_, f64>, origin: i64) -> Line {
    let first = points.values[0];
    if points.values.iter().all(|value| *value == first) {
        // A constant line is exact only without arithmetic; an infinite one has no slope at all.
        let slope = if first.is_infinite() { f64::NAN } else { 0.0 };
        let intercept = if first.is_infinite() { f64::NAN } else { first };
        return Line { slope, intercept };
    }
    let [mut x, mut y, mut xy, mut xx] = [KahanSum::default(); 4];
    for (time, value) in points.iter() {
        let at = (time - origin) as f64 / 1000.0;
        x.add(at);
        y.add(*value);
        xy.add(at * value);
        xx.add(at * at);
    }
    let count = points.len() as f64;
    let [x, y, xy, xx] = [x, y, xy, xx].map(KahanSum::value);
    let slope = (xy - x * y / count) / (xx - x * x / count);
    Line { slope, intercept: y / count - slope * x / count }
}

/// `double_exponential_smoothing`: Holt's method, with a factor for level and one for trend.
pub(super) fn double_smoothing(window: &Window<'_>, notes: &mut Notes<'_>) -> Option<Sample> {
    let [smoothing, trending] = window.args;
    let values = window.floats.values;
    if window.is_mixed() {
        notes.histograms_ignored();
    }
    let (&first, &second) = (values.first()?, values.get(1)?);
    let (mut level_before, mut level, mut trend) = (0.0, first, second - first);
    for (at, value) in values.iter().enumerate().skip(1) {
        if at > 1 {
            trend = trending * (level - level_before) + (1.0 - trending) * trend;
        }
        level_before = level;
        level = smoothing * value + (1.0 - smoothing) * (level_before + trend);
    }
    Some(Sample::Float(level))
}
