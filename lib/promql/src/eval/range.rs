//! Range functions: one pass over a series' samples, a window sliding along.

use std::{mem, sync::Arc};

use narthex_model::{FloatHistogram, Labels, quote};

use super::{
    EvalError, EvalOptions, Grid,
    collect::push_column,
    counting::{self, CountScope},
    evaluator::{Evaluator, Item, Sink},
    select::Reference,
};
use crate::{
    ast::{ByteRange, Call, Expr, ExprKind, MatrixSelector, RangeExtension, Subquery},
    functions::{
        RangeFunction, extended, fast,
        quantile::odd_quantile,
        window::{Notes, Points, Window},
    },
    value::{Column, MatrixSeries, SampleBuffer},
};

/// A series' samples by kind, as range functions want them. Borrows if there is one kind.
pub(super) struct SplitSamples<'a> {
    floats: Points<'a, f64>,
    histogram_times: Vec<i64>,
    histograms: Vec<Arc<FloatHistogram>>,
    histogram_starts: Vec<i64>,
    mixed: Option<Box<MixedFloats>>,
}

#[derive(Default)]
struct MixedFloats {
    times: Vec<i64>,
    values: Vec<f64>,
    starts: Vec<i64>,
}

impl<'a> SplitSamples<'a> {
    /// Splits a buffer without staleness markers.
    pub fn new(buffer: &'a SampleBuffer, with_starts: bool) -> Self {
        let starts = if with_starts { buffer.start_timestamps() } else { &[] };
        let mut split = Self {
            floats: Points { times: buffer.timestamps(), values: buffer.values(), starts },
            histogram_times: Vec::new(),
            histograms: Vec::new(),
            histogram_starts: Vec::new(),
            mixed: None,
        };
        if !buffer.has_histograms() {
            return split;
        }
        let mut floats = MixedFloats::default();
        for at in 0..buffer.len() {
            let start = starts.get(at).copied();
            match buffer.histogram(at) {
                Some(histogram) => {
                    split.histogram_times.push(buffer.timestamps()[at]);
                    split.histograms.push(Arc::clone(histogram));
                    split.histogram_starts.extend(start);
                }
                None => {
                    floats.times.push(buffer.timestamps()[at]);
                    floats.values.push(buffer.values()[at]);
                    floats.starts.extend(start);
                }
            }
        }
        split.floats = Points::default();
        split.mixed = Some(Box::new(floats));
        split
    }

    fn floats(&self) -> Points<'_, f64> {
        match &self.mixed {
            None => self.floats,
            Some(mixed) => {
                Points { times: &mixed.times, values: &mixed.values, starts: &mixed.starts }
            }
        }
    }

    fn histograms(&self) -> Points<'_, Arc<FloatHistogram>> {
        Points {
            times: &self.histogram_times,
            values: &self.histograms,
            starts: &self.histogram_starts,
        }
    }
}

/// The edges of a window in a run of times.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cursor {
    from: usize,
    to: usize,
}

impl Cursor {
    /// Moves to the samples of `(after, until]`. Neither may go back.
    #[inline]
    pub fn move_to(&mut self, times: &[i64], after: i64, until: i64) -> (usize, usize) {
        while self.to < times.len() && times[self.to] <= until {
            self.to += 1;
        }
        while self.from < self.to && times[self.from] <= after {
            self.from += 1;
        }
        (self.from, self.to)
    }
}

/// Cursors for both kinds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cursors {
    floats: Cursor,
    histograms: Cursor,
}

impl Cursors {
    /// The samples of `(after, until]`.
    pub fn move_to<'s>(
        &mut self,
        samples: &'s SplitSamples<'_>,
        after: i64,
        until: i64,
    ) -> (Points<'s, f64>, Points<'s, Arc<FloatHistogram>>) {
        let (floats, histograms) = (samples.floats(), samples.histograms());
        let (from, to) = self.floats.move_to(floats.times, after, until);
        let (hist_from, hist_to) = self.histograms.move_to(histograms.times, after, until);
        (floats.slice(from, to), histograms.slice(hist_from, hist_to))
    }
}

/// A range function with its range and scalar arguments.
struct RangeCall {
    function: RangeFunction,
    extension: Option<RangeExtension>,
    window: i64,
    reference: Reference,
    /// The scalar arguments at each step.
    args: Vec<Vec<f64>>,
    /// Why the arguments of a step are refused, once there is a sample to use them on. Empty if all
    /// are fine.
    refusals: Vec<Option<String>>,
    grid: Grid,
    lookback: i64,
    with_starts: bool,
    range: ByteRange,
}

impl RangeCall {
    fn first_needed(&self) -> i64 {
        let before = if self.extension.is_some() { self.lookback } else { 0 };
        let first = self.reference.time(self.grid.start);
        first.saturating_sub(self.window).saturating_sub(before).saturating_add(1)
    }

    fn last_needed(&self) -> i64 {
        let is_smoothed = self.extension == Some(RangeExtension::Smoothed);
        let after = if is_smoothed { self.lookback } else { 0 };
        self.reference.time(self.grid.end()).saturating_add(after)
    }

    /// Fills `column` from a series' samples, which have no staleness markers.
    fn fill(
        &self,
        buffer: &SampleBuffer,
        column: &mut Column,
        notes: &mut Notes<'_>,
    ) -> Result<(), EvalError> {
        column.reset(self.grid.len);
        let plain = !buffer.has_histograms() && self.extension.is_none();
        let no_starts = !self.with_starts || buffer.start_timestamps().is_empty();
        if let Some(growth) = self.function.growth.filter(|_| plain && no_starts) {
            let samples = (buffer.timestamps(), buffer.values());
            let ends = |step| self.reference.time(self.grid.time(step));
            fast::growth(samples, self.window, ends, growth, column.floats_mut());
            return Ok(());
        }
        let samples = SplitSamples::new(buffer, self.with_starts);
        let mut cursors = Cursors::default();
        for (step, time) in self.grid.times().enumerate() {
            let end = self.reference.time(time);
            let mut args = [0.0; 2];
            for (arg, values) in args.iter_mut().zip(&self.args) {
                *arg = values[step];
            }
            let mut window = Window {
                floats: Points::default(),
                histograms: Points::default(),
                start: end.saturating_sub(self.window),
                end,
                time,
                args,
            };
            if !self.move_to(&mut cursors, &samples, &mut window) {
                continue;
            }
            if let Some(Some(refusal)) = self.refusals.get(step) {
                return Err(EvalError::Argument(refusal.clone()));
            }
            let sample = match (self.function.growth, self.extension) {
                (Some(growth), Some(extension)) => {
                    extended::growth(&window, growth, extension, notes)
                }
                _ => (self.function.kernel)(&window, notes),
            };
            if let Some(sample) = sample {
                column.set(step, sample);
            }
        }
        Ok(())
    }

    /// Puts the window's samples in. Says whether there is any.
    fn move_to<'s>(
        &self,
        cursors: &mut Cursors,
        samples: &'s SplitSamples<'_>,
        window: &mut Window<'s>,
    ) -> bool {
        let Some(extension) = self.extension else {
            let (floats, histograms) = cursors.move_to(samples, window.start, window.end);
            (window.floats, window.histograms) = (floats, histograms);
            return !(floats.is_empty() && histograms.is_empty());
        };
        let is_smoothed = extension == RangeExtension::Smoothed;
        let after = window.start.saturating_sub(self.lookback);
        let until = if is_smoothed { window.end.saturating_add(self.lookback) } else { window.end };
        let (floats, histograms) = cursors.move_to(samples, after, until);
        // The sample that anchors the range is the last one of either kind at or before its start.
        let anchor =
            |times: &[i64]| times.iter().copied().take_while(|at| *at <= window.start).last();
        let anchor = anchor(floats.times).max(anchor(histograms.times)).unwrap_or(i64::MIN);
        let behind = |times: &[i64]| times.iter().copied().find(|at| *at >= window.end);
        let behind = [behind(floats.times), behind(histograms.times)];
        let last = behind.into_iter().flatten().min().unwrap_or(i64::MAX);
        window.floats = cut(&floats, anchor, last);
        window.histograms = cut(&histograms, anchor, last);
        let mut times = window.floats.times.iter().chain(window.histograms.times);
        times.any(|at| *at > window.start)
    }
}

/// The samples of `[first, last]`.
fn cut<'a, T>(points: &Points<'a, T>, first: i64, last: i64) -> Points<'a, T> {
    let from = points.times.partition_point(|at| *at < first);
    let to = points.times.partition_point(|at| *at <= last);
    points.slice(from, to.max(from))
}

impl<'a> Evaluator<'a> {
    /// A range function over a selector or a subquery.
    pub(super) fn stream_range(
        &mut self,
        call: &Call,
        function: RangeFunction,
        grid: Grid,
        sink: Sink<'_, 'a>,
    ) -> Result<(), EvalError> {
        let mut args = Vec::new();
        let mut ranged = None;
        for arg in &call.args {
            match &arg.unwrapped().kind {
                ExprKind::Matrix(_) | ExprKind::Subquery(_) => ranged = Some(arg),
                _ => args.push(self.scalar(arg, grid)?),
            }
        }
        let ranged = ranged.expect("BUG: the parser lets no range function be without a range");
        // Whatever is odd about `quantile_over_time` is said of its first argument.
        let annotated =
            if call.function.name == "quantile_over_time" { &call.args[0] } else { ranged };
        let mut range_call = RangeCall {
            function,
            extension: None,
            window: 0,
            reference: Reference::new(None, 0, &self.options.steps),
            refusals: refusals(call, &args),
            args,
            grid,
            lookback: self.lookback(),
            with_starts: self.options.uses_start_timestamps,
            range: annotated.unwrapped().range,
        };
        match &ranged.unwrapped().kind {
            ExprKind::Matrix(matrix) => {
                range_call.extension = matrix.selector.extension;
                range_call.window = matrix.window.millis();
                range_call.reference = Reference::of(&matrix.selector, self);
                self.stream_matrix(matrix, &range_call, sink)
            }
            ExprKind::Subquery(subquery) => {
                range_call.window = subquery.window.millis();
                range_call.reference =
                    Reference::new(subquery.at, subquery.offset_millis(), &self.options.steps);
                self.stream_subquery(subquery, &range_call, sink)
            }
            _ => unreachable!("BUG: chosen above"),
        }
    }

    fn stream_matrix(
        &mut self,
        matrix: &MatrixSelector,
        range_call: &RangeCall,
        sink: Sink<'_, 'a>,
    ) -> Result<(), EvalError> {
        let span = (range_call.first_needed(), range_call.last_needed());
        let drop_name = !range_call.function.keeps_name;
        let mut column = Column::default();
        let matchers = &matrix.selector.matchers;
        self.read_series(matchers, span, &mut |evaluator, series, buffer| {
            buffer.drop_stale();
            if buffer.is_empty() {
                return Ok(());
            }
            evaluator.fill_range(range_call, &series.labels, buffer, &mut column)?;
            sink(evaluator, Item { labels: &series.labels, drop_name, column: &mut column })
        })
    }

    fn stream_subquery(
        &mut self,
        subquery: &Subquery,
        range_call: &RangeCall,
        sink: Sink<'_, 'a>,
    ) -> Result<(), EvalError> {
        let inner_grid = subquery_grid(subquery, self.options, range_call.grid);
        if inner_grid.len == 0 {
            return Ok(());
        }
        // Subqueries evaluate at steps of their own, where marks made while reading mean nothing.
        let marks_resets = mem::take(&mut self.marks_resets);
        let scope = self.set_scope(|_| CountScope::Nowhere);
        let nameless = Labels::empty();
        let mut buffer = SampleBuffer::new();
        let mut column = Column::default();
        let result = self.stream(&subquery.expr, inner_grid, &mut |evaluator, item| {
            buffer.clear();
            push_column(&mut buffer, item.column, inner_grid);
            buffer.forget_reset_hints();
            if buffer.is_empty() {
                return Ok(());
            }
            evaluator.charge_read(buffer.sample_weight())?;
            let inner = evaluator.set_scope(|_| scope);
            // A name that is dropped at once is gone by now.
            let is_dropped = item.drop_name && !evaluator.options.has_delayed_name_removal;
            let named = if is_dropped { &nameless } else { item.labels };
            evaluator.fill_range(range_call, named, &buffer, &mut column)?;
            let drop_name = item.drop_name || !range_call.function.keeps_name;
            sink(evaluator, Item { labels: item.labels, drop_name, column: &mut column })?;
            evaluator.set_scope(|_| inner);
            Ok(())
        });
        self.marks_resets = marks_resets;
        self.set_scope(|_| scope);
        result
    }

    fn fill_range(
        &mut self,
        range_call: &RangeCall,
        labels: &Labels,
        buffer: &SampleBuffer,
        column: &mut Column,
    ) -> Result<(), EvalError> {
        self.count_windows(range_call, buffer);
        let metric = labels.metric_name().unwrap_or("");
        let mut notes =
            Notes { annotations: &mut self.annotations, metric, range: range_call.range };
        range_call.fill(buffer, column, &mut notes)?;
        let is_counted = range_call.function.growth.is_some_and(|growth| growth.is_counter());
        if is_counted
            && !metric.is_empty()
            && column.floats().iter().any(|v| !narthex_model::is_stale(*v))
        {
            let kind = self.options.has_type_labels.then(|| labels.value("__type__"));
            inform_of_non_counter(&mut notes, kind);
        }
        Ok(())
    }

    /// Counts the samples in each step's window, if there is a need to.
    fn count_windows(&mut self, range_call: &RangeCall, buffer: &SampleBuffer) {
        let Some(counts) = &mut self.counts else { return };
        let size = |at| counting::size(buffer.histogram(at).map(Arc::as_ref), self.marks_resets);
        // What all samples before one count.
        let mut before = vec![0];
        before.extend((0..buffer.len()).map(size).scan(0, |sum, size| {
            *sum += size;
            Some(*sum)
        }));
        let mut cursor = Cursor::default();
        for (step, time) in range_call.grid.times().enumerate() {
            let end = range_call.reference.time(time);
            let after = end.saturating_sub(range_call.window);
            let (from, to) = cursor.move_to(buffer.timestamps(), after, end);
            counts.add(step, before[to] - before[from]);
        }
    }

    /// Warns of a quantile outside of `[0, 1]`.
    pub(super) fn warn_of_quantile(&mut self, q: f64, range: ByteRange) {
        self.annotations.warn(odd_quantile(q), range);
    }

    /// The answer to an instant query for a range vector: raw samples.
    pub(super) fn raw_matrix(
        &mut self,
        expr: &Expr,
        grid: Grid,
    ) -> Result<Vec<MatrixSeries>, EvalError> {
        let mut matrix = Vec::new();
        match &expr.unwrapped().kind {
            ExprKind::Matrix(selector) => {
                let end = Reference::of(&selector.selector, self).time(grid.start);
                let start = end.saturating_sub(selector.window.millis());
                let span = (start.saturating_add(1), end);
                let matchers = &selector.selector.matchers;
                self.read_series(matchers, span, &mut |evaluator, series, buffer| {
                    buffer.drop_stale();
                    let samples = raw_samples(buffer, start, end);
                    evaluator.charge(samples.sample_weight())?;
                    if let Some(counts) = &mut evaluator.counts {
                        let histogram = |at| samples.histogram(at).map(Arc::as_ref);
                        let sizes =
                            (0..samples.len()).map(|at| counting::size(histogram(at), false));
                        counts.add(0, sizes.sum());
                    }
                    matrix.push(MatrixSeries { labels: series.labels.clone(), samples });
                    Ok(())
                })?;
            }
            ExprKind::Subquery(subquery) => {
                let inner_grid = subquery_grid(subquery, self.options, grid);
                if inner_grid.len == 0 {
                    return Ok(matrix);
                }
                // All that it looks at counts at the only step of the query.
                self.set_scope(|_| CountScope::All);
                let series = self.vector(&subquery.expr, inner_grid)?;
                return Ok(super::collect::to_matrix(
                    super::collect::finish_names(series)?,
                    inner_grid,
                ));
            }
            _ => unreachable!("BUG: the parser lets nothing else be a range vector"),
        }
        matrix.retain(|series| !series.samples.is_empty());
        matrix.sort_by(|a: &MatrixSeries, b| a.labels.cmp(&b.labels));
        Ok(matrix)
    }
}

/// Why the factors of `double_exponential_smoothing` are refused at each step; NaN is none.
fn refusals(call: &Call, args: &[Vec<f64>]) -> Vec<Option<String>> {
    let ("double_exponential_smoothing", [smoothing, trend]) = (call.function.name, args) else {
        return Vec::new();
    };
    let refusal = |name: &str, symbol: &str, factor: f64| {
        let is_odd = factor <= 0.0 || factor >= 1.0;
        is_odd
            .then(|| format!("invalid {name} factor. Expected: 0 < {symbol} < 1, got: {factor:.6}"))
    };
    let steps = smoothing.iter().zip(trend).map(|(smoothing, trend)| {
        refusal("smoothing", "sf", *smoothing).or_else(|| refusal("trend", "tf", *trend))
    });
    steps.collect()
}

/// The samples of `(start, end]` without start timestamps.
fn raw_samples(buffer: &SampleBuffer, start: i64, end: i64) -> SampleBuffer {
    let mut samples = SampleBuffer::new();
    for (at, time) in buffer.timestamps().iter().copied().enumerate() {
        if time <= start || time > end {
            continue;
        }
        match buffer.histogram(at) {
            Some(histogram) => samples.push_histogram(time, Arc::clone(histogram)),
            None => samples.push_float(time, buffer.values()[at]),
        }
    }
    samples
}

/// Tells that `rate` or `increase` met something that is likely no counter. `kind` is the label
/// `__type__` where that is to be trusted.
fn inform_of_non_counter(notes: &mut Notes<'_>, kind: Option<&str>) {
    let metric = quote(notes.metric).to_string();
    match kind {
        Some("counter" | "histogram") => {}
        Some(kind) => notes.inform(format!(
            "metric might not be a counter, __type__ label is not set to \"counter\" or \
             \"histogram\", got {}: {metric}",
            quote(kind)
        )),
        None => {
            let suffixes = ["_total", "_sum", "_count", "_bucket"];
            if !suffixes.iter().any(|suffix| notes.metric.ends_with(suffix)) {
                notes.inform(format!(
                    "metric might not be a counter, name does not end in \
                     _total/_sum/_count/_bucket: {metric}"
                ));
            }
        }
    }
}

/// The steps at which the expression of a subquery is evaluated.
pub(crate) fn subquery_grid(subquery: &Subquery, options: &EvalOptions, grid: Grid) -> Grid {
    let reference = Reference::new(subquery.at, subquery.offset_millis(), &options.steps);
    let default = || i64::try_from(options.subquery_step.as_millis()).unwrap_or(i64::MAX);
    let step = subquery.step.as_ref().map_or_else(default, |step| step.millis()).max(1);
    let first = reference.time(grid.start).saturating_sub(subquery.window.millis());
    Grid::multiples(step, first, reference.time(grid.end()))
}
