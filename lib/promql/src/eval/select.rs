//! Instant selectors, and the reading of series.

use std::{mem, sync::Arc};

use narthex_model::{CounterResetHint, FloatHistogram, Matcher, is_stale};

use super::{
    EvalError, Grid, SelectedSeries, counting,
    evaluator::{Evaluator, Item, Sink},
    range::{Cursors, SplitSamples},
};
use crate::{
    Steps,
    ast::{AtModifier, ByteRange, RangeExtension, Selector},
    functions::{
        extended,
        window::{Notes, Window},
    },
    value::{Column, SampleBuffer},
};

/// Where a selector looks at each step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reference {
    at: Option<i64>,
    offset: i64,
}

impl Reference {
    /// From `@` and `offset`.
    pub fn new(at: Option<AtModifier>, offset: i64, steps: &Steps) -> Self {
        let at = at.map(|at| match at {
            AtModifier::Time(time) => time.millis(),
            AtModifier::Start => steps.start.millis(),
            AtModifier::End => steps.end.millis(),
        });
        Self { at, offset }
    }

    /// Of a selector.
    pub fn of(selector: &Selector, evaluator: &Evaluator<'_>) -> Self {
        Self::new(selector.at, selector.offset_millis(), &evaluator.options.steps)
    }

    /// Where `inner` looks from the times that this looks at.
    pub fn then(self, inner: Self) -> Self {
        match inner.at {
            Some(_) => inner,
            None => Self { at: self.at, offset: self.offset.saturating_add(inner.offset) },
        }
    }

    /// The time looked at from a step of this time.
    pub fn time(self, step_time: i64) -> i64 {
        self.at.unwrap_or(step_time).saturating_sub(self.offset)
    }
}

/// What an instant selector yields of the sample it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Value,
    /// `timestamp(selector)`
    Timestamp,
    /// `start_timestamp(selector)`
    StartTimestamp,
}

impl<'a> Evaluator<'a> {
    /// An instant selector.
    pub(super) fn stream_selector(
        &mut self,
        selector: &Selector,
        range: ByteRange,
        grid: Grid,
        sink: Sink<'_, 'a>,
    ) -> Result<(), EvalError> {
        if selector.extension == Some(RangeExtension::Smoothed) {
            return self.stream_smoothed(selector, range, grid, sink);
        }
        let reference = Reference::of(selector, self);
        self.stream_instant((&selector.matchers, reference), Wanted::Value, grid, sink)
    }

    /// The current sample of each series, or something about it.
    pub(super) fn stream_instant(
        &mut self,
        (matchers, reference): (&[Matcher], Reference),
        wanted: Wanted,
        grid: Grid,
        sink: Sink<'_, 'a>,
    ) -> Result<(), EvalError> {
        let lookback = self.lookback();
        let first = reference.time(grid.start).saturating_sub(lookback).saturating_add(1);
        let span = (first, reference.time(grid.end()));
        let mut column = Column::default();
        self.read_series(matchers, span, &mut |evaluator, series, buffer| {
            column.reset(grid.len);
            let found = Current { buffer, lookback, wanted };
            found.fill(&mut column, grid, reference);
            evaluator.count_column(&column);
            let drop_name = wanted != Wanted::Value;
            sink(evaluator, Item { labels: &series.labels, drop_name, column: &mut column })
        })
    }

    fn stream_smoothed(
        &mut self,
        selector: &Selector,
        range: ByteRange,
        grid: Grid,
        sink: Sink<'_, 'a>,
    ) -> Result<(), EvalError> {
        let reference = Reference::of(selector, self);
        let lookback = self.lookback();
        let first = reference.time(grid.start).saturating_sub(lookback).saturating_add(1);
        let span = (first, reference.time(grid.end()).saturating_add(lookback));
        let mut column = Column::default();
        let matchers = &selector.matchers;
        self.read_series(matchers, span, &mut |evaluator, series, buffer| {
            buffer.drop_stale();
            column.reset(grid.len);
            let samples = SplitSamples::new(buffer, false);
            let mut cursors = Cursors::default();
            for (step, time) in grid.times().enumerate() {
                let end = reference.time(time);
                let (from, to) = (end.saturating_sub(lookback), end.saturating_add(lookback));
                let (floats, histograms) = cursors.move_to(&samples, from, to);
                let window = Window { floats, histograms, start: from, end, time, args: [0.0; 2] };
                let metric = series.labels.metric_name().unwrap_or("");
                let annotations = &mut evaluator.annotations;
                let mut notes = Notes { annotations, metric, range };
                if let Some(sample) = extended::smoothed_instant(&window, &mut notes) {
                    column.set(step, sample);
                }
            }
            evaluator.count_column(&column);
            sink(evaluator, Item { labels: &series.labels, drop_name: false, column: &mut column })
        })
    }

    /// Counts the current samples of a series.
    fn count_column(&mut self, column: &Column) {
        let Some(counts) = &mut self.counts else { return };
        for step in 0..column.len() {
            if column.is_present(step) {
                let histogram = column.histogram(step).map(Arc::as_ref);
                counts.add(step, counting::size(histogram, self.marks_resets));
            }
        }
    }

    /// Reads every series that matches, one after the other into the same buffer.
    pub(super) fn read_series(
        &mut self,
        matchers: &[Matcher],
        (start, end): (i64, i64),
        visit: &mut dyn FnMut(
            &mut Self,
            &SelectedSeries,
            &mut SampleBuffer,
        ) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let selected = self.select(matchers, start, end)?;
        let [from, to] = [start, end].map(narthex_model::Timestamp::from_millis);
        let mut buffer = mem::take(&mut self.buffer);
        for series in &selected {
            self.check_cancelled()?;
            buffer.clear();
            series.data.read(from, to, &mut buffer)?;
            self.charge_read(buffer.sample_weight())?;
            if self.marks_resets && buffer.has_histograms() {
                mark_resets(&mut buffer);
            }
            visit(self, series, &mut buffer)?;
        }
        self.buffer = buffer;
        Ok(())
    }
}

/// Finds current samples.
struct Current<'a> {
    buffer: &'a SampleBuffer,
    lookback: i64,
    wanted: Wanted,
}

impl Current<'_> {
    fn fill(&self, column: &mut Column, grid: Grid, reference: Reference) {
        let times = self.buffer.timestamps();
        let mut next = 0;
        for (step, time) in grid.times().enumerate() {
            let time = reference.time(time);
            while next < times.len() && times[next] <= time {
                next += 1;
            }
            if next == 0 {
                continue;
            }
            let at = next - 1;
            let is_current = times[at] > time.saturating_sub(self.lookback);
            if is_current && !is_stale(self.buffer.values()[at]) {
                self.put(column, step, at);
            }
        }
    }

    fn put(&self, column: &mut Column, step: usize, at: usize) {
        match self.wanted {
            Wanted::Timestamp => {
                column.set_float(step, self.buffer.timestamps()[at] as f64 / 1000.0);
            }
            Wanted::StartTimestamp => {
                column.set_float(step, self.buffer.start_timestamp(at) as f64 / 1000.0);
            }
            Wanted::Value => match self.buffer.histogram(at) {
                Some(histogram) => column.set_histogram(step, Arc::clone(histogram)),
                None => column.set_float(step, self.buffer.values()[at]),
            },
        }
    }
}

/// Gives each counter histogram of unknown history the hint that comparing it with the one before
/// it yields.
fn mark_resets(buffer: &mut SampleBuffer) {
    let mut previous: Option<Arc<FloatHistogram>> = None;
    for at in 0..buffer.len() {
        let Some(histogram) = buffer.histogram(at).cloned() else { continue };
        if histogram.is_stale() {
            continue;
        }
        let is_unknown = histogram.counter_reset_hint == CounterResetHint::Unknown;
        if let Some(previous) = previous.as_ref().filter(|_| is_unknown) {
            let is_reset = histogram.is_reset_from(previous);
            let hint = if is_reset { CounterResetHint::Reset } else { CounterResetHint::NotReset };
            let mut marked = histogram.as_ref().clone();
            marked.counter_reset_hint = hint;
            buffer.replace_histogram(at, Arc::new(marked));
        }
        previous = Some(histogram);
    }
}
