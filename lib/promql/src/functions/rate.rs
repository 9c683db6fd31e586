//! `rate`, `increase`, `delta` and their instant forms: how much a series grew over a range.
//!
//! Samples seldom lie on the edges of a range, so the growth between the first and the last is
//! extrapolated: to an edge if a sample could be expected about there, else by half the mean
//! distance of samples, and for a counter never beyond where it would have been zero.

use narthex_model::{CounterResetHint, FloatHistogram};

use super::window::{Notes, Points, Window};
use crate::value::Sample;

/// Which function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Growth {
    /// `rate`: of a counter, per second.
    Rate,
    /// `increase`: of a counter.
    Increase,
    /// `delta`: of a gauge.
    Delta,
}

impl Growth {
    /// Whether a value that goes down is a reset.
    pub fn is_counter(self) -> bool {
        self != Self::Delta
    }
}

/// A window's outermost samples, in milliseconds since the epoch, and how many lie between.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// The first sample, or the start timestamp that stands for a sample of zero.
    pub first: i64,
    /// The first true sample.
    pub first_sample: i64,
    /// The last sample.
    pub last: i64,
    /// Distances between true samples.
    pub gaps: usize,
}

/// The factor that extrapolates a counter's or gauge's growth to the edges of its range.
/// `first_share` is the first value over the growth of a counter that grew; it says how far back
/// zero was.
pub(crate) fn extrapolation(window: (i64, i64), extent: Extent, first_share: Option<f64>) -> f64 {
    let seconds = |from: i64, to: i64| (to - from) as f64 / 1000.0;
    let sampled = seconds(extent.first, extent.last);
    let mean_gap = match extent.gaps {
        0 => 0.0,
        gaps => seconds(extent.first_sample, extent.last) / gaps as f64,
    };
    let near = mean_gap * 1.1;
    let mut to_start = seconds(window.0, extent.first);
    if to_start >= near {
        to_start = mean_gap / 2.0;
    }
    if let Some(share) = first_share {
        to_start = to_start.min(sampled * share);
    }
    let mut to_end = seconds(extent.last, window.1);
    if to_end >= near {
        to_end = mean_gap / 2.0;
    }
    (sampled + to_start + to_end) / sampled
}

/// The growth over a window.
pub(crate) fn growth(window: &Window<'_>, kind: Growth, notes: &mut Notes<'_>) -> Option<Sample> {
    if window.is_mixed() {
        notes.mixed_kinds();
        return None;
    }
    if window.histograms.is_empty() {
        float_growth(window, kind, notes).map(Sample::Float)
    } else {
        histogram_growth(window, kind, notes).map(Sample::from)
    }
}

/// Where the growth begins, if there are enough samples: two, or one whose counter began inside
/// the range.
fn extent<T>(window: &Window<'_>, points: &Points<'_, T>, kind: Growth) -> Option<Extent> {
    let (first, _) = points.first()?;
    let (last, _) = points.last()?;
    let start = points.start(0);
    let begins_inside = kind.is_counter() && start > window.start && start < first && start != 0;
    if points.len() < 2 && !begins_inside {
        return None;
    }
    let begin = if begins_inside { start } else { first };
    Some(Extent { first: begin, first_sample: first, last, gaps: points.len() - 1 })
}

fn float_growth(window: &Window<'_>, kind: Growth, notes: &mut Notes<'_>) -> Option<f64> {
    let points = &window.floats;
    let extent = extent(window, points, kind)?;
    let begins_inside = extent.first != extent.first_sample;
    let first = if begins_inside { 0.0 } else { points.values[0] };
    let mut grown = points.values[points.len() - 1] - first;
    if kind.is_counter() {
        for at in 1..points.len() {
            if points.values[at] < points.values[at - 1] || points.is_restarted(at) {
                grown += points.values[at - 1];
            }
        }
        warn_of_overlaps(points, notes);
    }
    let share = (kind.is_counter() && grown > 0.0 && first >= 0.0).then(|| first / grown);
    Some(scale(window, kind, grown, extrapolation((window.start, window.end), extent, share)))
}

fn scale(window: &Window<'_>, kind: Growth, grown: f64, factor: f64) -> f64 {
    let factor = if kind == Growth::Rate { factor / window.seconds() } else { factor };
    grown * factor
}

fn warn_of_overlaps<T>(points: &Points<'_, T>, notes: &mut Notes<'_>) {
    if points.starts.is_empty() {
        return;
    }
    if (1..points.len()).any(|at| points.overlaps_previous(at)) {
        let metric = narthex_model::quote(notes.metric).to_string();
        notes.warn(format!(
            "sample has start time that overlaps with previous sample timestamp for metric {metric}"
        ));
    }
}

fn histogram_growth(
    window: &Window<'_>,
    kind: Growth,
    notes: &mut Notes<'_>,
) -> Option<FloatHistogram> {
    let points = &window.histograms;
    let extent = extent(window, points, kind)?;
    let begins_inside = extent.first != extent.first_sample;
    let grown = histogram_difference(points, kind, begins_inside, notes)?;
    warn_of_overlaps(points, notes);
    let first_count = if begins_inside { 0.0 } else { points.values[0].count };
    let has_zero = kind.is_counter() && grown.count > 0.0 && first_count >= 0.0;
    let share = has_zero.then(|| first_count / grown.count);
    let mut factor = extrapolation((window.start, window.end), extent, share);
    if kind == Growth::Rate {
        factor /= window.seconds();
    }
    let mut scaled = grown.mul(factor);
    scaled.counter_reset_hint = CounterResetHint::Gauge;
    Some(scaled)
}

/// The last histogram less the first, with what resets in between have lost.
fn histogram_difference(
    points: &Points<'_, std::sync::Arc<FloatHistogram>>,
    kind: Growth,
    from_zero: bool,
    notes: &mut Notes<'_>,
) -> Option<FloatHistogram> {
    let hists = points.values;
    let last = hists.last()?;
    check_hints(hists.iter().map(|h| h.counter_reset_hint), kind, notes);
    let is_reset = |at: usize| hists[at].detect_reset(&hists[at - 1]) || points.is_restarted(at);
    // A first histogram from before a reset counts as zero, whatever its layout was.
    let begins_anew = kind.is_counter() && hists.len() > 1 && is_reset(1);
    let first_counts = !(from_zero || begins_anew);
    let relevant = if first_counts || hists.len() == 1 { hists } else { &hists[1..] };
    let checked = if kind.is_counter() { relevant } else { &[hists[0].clone(), last.clone()][..] };
    if checked.iter().any(|h| h.uses_custom_buckets() != last.uses_custom_buckets()) {
        notes.mixed_schemas();
        return None;
    }
    let mut grown = last.as_ref().clone();
    if first_counts {
        let difference = grown.sub(&hists[0]).ok()?;
        if difference.bounds_reconciled {
            notes.bounds_reconciled("subtraction");
        }
        grown = difference.histogram;
    }
    if !kind.is_counter() {
        return Some(grown);
    }
    let skipped = if first_counts || from_zero { 1 } else { 2 };
    for at in skipped..hists.len() {
        if is_reset(at) {
            let sum = grown.add(&hists[at - 1]).ok()?;
            if sum.bounds_reconciled {
                notes.bounds_reconciled("addition");
            }
            grown = sum.histogram;
        }
    }
    coarsest(relevant, kind).into_iter().for_each(|schema| grown.reduce_resolution(schema));
    Some(grown)
}

/// The coarsest exponential schema of a counter's histograms.
fn coarsest(hists: &[std::sync::Arc<FloatHistogram>], kind: Growth) -> Option<i32> {
    let schemas = hists.iter().filter(|h| !h.uses_custom_buckets()).map(|h| h.schema);
    schemas.min().filter(|_| kind.is_counter())
}

/// Warns of gauges among counters, or of counters where gauges belong.
pub(crate) fn check_hints(
    mut hints: impl DoubleEndedIterator<Item = CounterResetHint> + Clone,
    kind: Growth,
    notes: &mut Notes<'_>,
) {
    if kind.is_counter() {
        if hints.any(|hint| hint == CounterResetHint::Gauge) {
            notes.warn_named("this native histogram metric is not a counter");
        }
        return;
    }
    let edges = [hints.clone().next(), hints.next_back()];
    if edges.into_iter().flatten().any(|hint| hint != CounterResetHint::Gauge) {
        notes.warn_named("this native histogram metric is not a gauge");
    }
}

/// `irate` and `idelta`: from the last two samples alone.
pub(crate) fn instant_growth(
    window: &Window<'_>,
    is_rate: bool,
    notes: &mut Notes<'_>,
) -> Option<Sample> {
    let [before, last] = last_two(window)?;
    let seconds = (last.time - before.time) as f64 / 1000.0;
    if last.time == before.time {
        return None;
    }
    match (before.value, last.value) {
        (Sample::Float(before), Sample::Float(value)) => {
            let is_reset = is_rate && (value < before || last.is_restarted);
            let grown = if is_reset { value } else { value - before };
            Some(Sample::Float(if is_rate { grown / seconds } else { grown }))
        }
        (Sample::Histogram(before), Sample::Histogram(value)) => {
            let grown = instant_difference(&before, &value, is_rate, last.is_restarted, notes)?;
            let grown = if is_rate { grown.div(seconds) } else { grown };
            Some(Sample::from(grown))
        }
        _ => {
            notes.mixed_kinds();
            None
        }
    }
}

fn instant_difference(
    before: &FloatHistogram,
    last: &FloatHistogram,
    is_rate: bool,
    is_restarted: bool,
    notes: &mut Notes<'_>,
) -> Option<FloatHistogram> {
    let kind = if is_rate { Growth::Rate } else { Growth::Delta };
    let hints = [before.counter_reset_hint, last.counter_reset_hint];
    check_hints(hints.into_iter(), kind, notes);
    let mut grown = last.clone();
    if !is_rate || !(is_restarted || last.detect_reset(before)) {
        let Ok(difference) = last.sub(before) else {
            notes.mixed_schemas();
            return None;
        };
        if difference.bounds_reconciled {
            notes.bounds_reconciled("subtraction");
        }
        grown = difference.histogram;
    }
    grown.counter_reset_hint = CounterResetHint::Gauge;
    grown.compact();
    Some(grown)
}

struct LastPoint {
    time: i64,
    value: Sample,
    is_restarted: bool,
}

/// The last two samples of a window, whatever their kinds.
fn last_two(window: &Window<'_>) -> Option<[LastPoint; 2]> {
    let mut points: Vec<LastPoint> = Vec::with_capacity(4);
    let floats = &window.floats;
    for at in floats.len().saturating_sub(2)..floats.len() {
        points.push(LastPoint {
            time: floats.times[at],
            value: Sample::Float(floats.values[at]),
            is_restarted: at > 0 && floats.is_restarted(at),
        });
    }
    let histograms = &window.histograms;
    for at in histograms.len().saturating_sub(2)..histograms.len() {
        points.push(LastPoint {
            time: histograms.times[at],
            value: Sample::Histogram(histograms.values[at].clone()),
            is_restarted: at > 0 && histograms.is_restarted(at),
        });
    }
    points.sort_by_key(|point| point.time);
    let last = points.pop()?;
    let before = points.pop()?;
    Some([before, last])
}
