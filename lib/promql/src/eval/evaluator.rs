//! The evaluator: which operator evaluates what.

use narthex_model::{Labels, Matcher, Timestamp};

use super::{
    EvalError, EvalOptions, EvalStats, Grid, Inputs, SelectRequest, SelectedSeries,
    collect::{Collector, finish_names, to_matrix, to_vector},
    counting::{CountScope, StepCounts},
    pool::Reservation,
};
use crate::{
    annotations::Annotations,
    ast::{Expr, ExprKind, UnaryOp},
    functions,
    types::ValueType,
    value::{Column, Sample, SampleBuffer, ScalarPoint, Series, StringPoint, Value},
};

/// A series as it is made. Whoever gets it may take the column or change it.
pub(crate) struct Item<'a> {
    /// The labels, before any dropping of names.
    pub labels: &'a Labels,
    /// Whether an operation drops the metric's name.
    pub drop_name: bool,
    /// The samples.
    pub column: &'a mut Column,
}

/// Takes series as they are made.
pub(crate) type Sink<'s, 'a> =
    &'s mut dyn FnMut(&mut Evaluator<'a>, Item<'_>) -> Result<(), EvalError>;

/// One evaluation.
pub(crate) struct Evaluator<'a> {
    /// How to evaluate.
    pub options: &'a EvalOptions,
    inputs: Inputs<'a>,
    /// What is odd about the answer.
    pub annotations: Annotations,
    samples_live: usize,
    reservation: Reservation<'a>,
    stats: EvalStats,
    /// Samples that steps look at, if they are counted.
    pub counts: Option<StepCounts>,
    /// Whether only counts and sums of histograms are wanted, so that resets, which buckets would
    /// reveal later, must be marked while the samples are read.
    pub marks_resets: bool,
    /// Lent to whoever reads series, and given back.
    pub buffer: SampleBuffer,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(options: &'a EvalOptions, inputs: Inputs<'a>) -> Self {
        Self {
            options,
            inputs,
            annotations: Annotations::default(),
            samples_live: 0,
            reservation: Reservation::new(options.pool.as_ref()),
            stats: EvalStats::default(),
            counts: options.counts_samples.then(|| StepCounts::new(Grid::new(&options.steps).len)),
            marks_resets: options.marks_resets,
            buffer: SampleBuffer::new(),
        }
    }

    pub(super) fn finish(self) -> (Annotations, EvalStats) {
        let queryable = self.counts.map(StepCounts::into_counts).unwrap_or_default();
        (self.annotations, EvalStats { queryable, ..self.stats })
    }

    /// Has what is counted belong to other steps, and says to which it did.
    pub(super) fn set_scope(&mut self, change: impl Fn(CountScope) -> CountScope) -> CountScope {
        let Some(counts) = &mut self.counts else { return CountScope::Steps };
        let before = counts.scope;
        counts.scope = change(before);
        before
    }

    /// Evaluates a whole query.
    pub(super) fn answer(&mut self, expr: &Expr) -> Result<Value, EvalError> {
        let grid = Grid::new(&self.options.steps);
        let timestamp = self.options.steps.start;
        match expr.value_type() {
            ValueType::String => {
                let value = self.string(expr).to_owned();
                Ok(Value::String(StringPoint { timestamp, value }))
            }
            ValueType::Scalar => {
                let values = self.scalar(expr, grid)?;
                if !self.options.is_range() {
                    return Ok(Value::Scalar(ScalarPoint { timestamp, value: values[0] }));
                }
                let series = Series::new(Labels::empty(), Column::from_floats(values));
                Ok(Value::Matrix(to_matrix(vec![series], grid)))
            }
            ValueType::Vector => {
                let series = finish_names(self.vector(expr, grid)?)?;
                if self.options.is_range() {
                    return Ok(Value::Matrix(to_matrix(series, grid)));
                }
                Ok(Value::Vector(to_vector(series, timestamp)))
            }
            ValueType::Matrix => Ok(Value::Matrix(self.raw_matrix(expr, grid)?)),
        }
    }

    /// Fails if somebody asked to stop.
    pub fn check_cancelled(&self) -> Result<(), EvalError> {
        if self.inputs.cancel.is_cancelled() { Err(EvalError::Cancelled) } else { Ok(()) }
    }

    /// Counts samples that stay in memory. See [`Evaluator::live`].
    pub fn charge(&mut self, samples: usize) -> Result<(), EvalError> {
        self.samples_live += samples;
        self.note_peak(self.samples_live)
    }

    /// Counts samples that were read and are gone with the next series.
    pub fn charge_read(&mut self, samples: usize) -> Result<(), EvalError> {
        self.stats.samples_read += samples as u64;
        self.note_peak(self.samples_live + samples)
    }

    /// Samples in memory. An operator notes them at its start and [`Evaluator::settle`]s at its
    /// end, when what its operands took is gone.
    pub fn live(&self) -> usize {
        self.samples_live
    }

    /// Sets the samples in memory to `before` and the weight of a result.
    pub fn settle(&mut self, before: usize, result: &[Series]) -> Result<(), EvalError> {
        let weight: usize = result.iter().map(|series| series.column.sample_weight()).sum();
        self.samples_live = before;
        self.charge(weight)
    }

    fn note_peak(&mut self, live: usize) -> Result<(), EvalError> {
        self.stats.samples_peak = self.stats.samples_peak.max(live);
        if live > self.options.samples_max {
            return Err(EvalError::TooManySamples);
        }
        self.reservation.cover(live)
    }

    /// Asks the source.
    pub fn select(
        &self,
        matchers: &[Matcher],
        start: i64,
        end: i64,
    ) -> Result<Vec<SelectedSeries>, EvalError> {
        self.check_cancelled()?;
        let [start, end] = [start, end].map(Timestamp::from_millis);
        Ok(self.inputs.source.select(&SelectRequest { matchers, start, end })?)
    }

    /// The lookback in milliseconds.
    pub fn lookback(&self) -> i64 {
        i64::try_from(self.options.lookback.as_millis()).unwrap_or(i64::MAX)
    }

    /// The text of a string expression.
    pub fn string<'e>(&self, expr: &'e Expr) -> &'e str {
        match &expr.unwrapped().kind {
            ExprKind::String(text) => text,
            _ => unreachable!("BUG: the parser lets only literals be strings"),
        }
    }

    /// A scalar's value at each step.
    pub fn scalar(&mut self, expr: &Expr, grid: Grid) -> Result<Vec<f64>, EvalError> {
        match &expr.unwrapped().kind {
            ExprKind::Number(number) => Ok(vec![number.value; grid.len]),
            ExprKind::Unary(unary) => {
                let mut values = self.scalar(&unary.expr, grid)?;
                if unary.op == UnaryOp::Minus {
                    values.iter_mut().for_each(|value| *value = -*value);
                }
                Ok(values)
            }
            ExprKind::Binary(binary) => self.binary_scalars(binary, grid),
            ExprKind::Call(call) => self.call_scalar(call, grid),
            _ => unreachable!("BUG: the parser lets nothing else be a scalar"),
        }
    }

    /// An instant vector at each step, collected.
    pub fn vector(&mut self, expr: &Expr, grid: Grid) -> Result<Vec<Series>, EvalError> {
        let expr = expr.unwrapped();
        if let Some(series) = self.replaced(expr, grid)? {
            return Ok(series);
        }
        if grid.len > 1 && is_step_invariant(expr) {
            return self.vector_once(expr, grid);
        }
        let before = self.live();
        let series = match &expr.kind {
            ExprKind::Unary(unary) => {
                let series = self.vector(&unary.expr, grid)?;
                if unary.op == UnaryOp::Plus {
                    return Ok(series);
                }
                self.negate(series)?
            }
            ExprKind::Binary(binary) => self.binary_vector(expr, binary, grid)?,
            ExprKind::Aggregate(aggregate) => self.aggregate(expr, aggregate, grid)?,
            ExprKind::Call(call) if !functions::is_streamed(call) => {
                self.call_vector(expr, call, grid)?
            }
            _ => {
                let mut collector = Collector::new(self.options.has_delayed_name_removal);
                self.stream(expr, grid, &mut |evaluator, item| collector.take(evaluator, item))?;
                collector.finish()?
            }
        };
        self.settle(before, &series)?;
        Ok(series)
    }

    /// An instant vector, series by series as they are made.
    pub fn stream(&mut self, expr: &Expr, grid: Grid, sink: Sink<'_, 'a>) -> Result<(), EvalError> {
        let expr = expr.unwrapped();
        let is_invariant = grid.len > 1 && is_step_invariant(expr);
        match &expr.kind {
            ExprKind::Selector(selector) if !is_invariant && !self.is_replaced(expr) => {
                self.stream_selector(selector, expr.range, grid, sink)
            }
            ExprKind::Call(call)
                if !is_invariant && functions::is_streamed(call) && !self.is_replaced(expr) =>
            {
                self.stream_call(call, grid, sink)
            }
            _ => {
                for mut series in self.vector(expr, grid)? {
                    let Series { labels, drop_name, column } = &mut series;
                    sink(self, Item { labels, drop_name: *drop_name, column })?;
                }
                Ok(())
            }
        }
    }

    fn is_replaced(&self, expr: &Expr) -> bool {
        self.inputs.leaves.replaces(expr)
    }

    /// The series that stand for `expr`, brought to these steps if they are for one step only.
    fn replaced(&mut self, expr: &Expr, grid: Grid) -> Result<Option<Vec<Series>>, EvalError> {
        let Some(mut series) = self.inputs.leaves.replace(expr) else { return Ok(None) };
        for series in &mut series {
            // A part that is the same at every step is asked for one step alone, or was shipped so.
            match (series.column.len(), grid.len) {
                (1, len) if len > 1 => series.column = series.column.broadcast(len),
                (len, 1) if len > 1 => series.column = series.column.first(),
                _ => {}
            }
            self.charge(series.column.sample_weight())?;
        }
        Ok(Some(series))
    }

    /// Evaluates at the first step and repeats the result.
    fn vector_once(&mut self, expr: &Expr, grid: Grid) -> Result<Vec<Series>, EvalError> {
        let before = self.live();
        let scope = self.set_scope(CountScope::once);
        let mut series = self.vector(expr, grid.first())?;
        self.set_scope(|_| scope);
        for series in &mut series {
            series.column = series.column.broadcast(grid.len);
        }
        self.settle(before, &series)?;
        Ok(series)
    }

    fn negate(&mut self, mut series: Vec<Series>) -> Result<Vec<Series>, EvalError> {
        for series in &mut series {
            let column = &mut series.column;
            for step in 0..column.len() {
                let negated = match column.histogram(step) {
                    Some(histogram) => Sample::from(histogram.mul(-1.0)),
                    None => continue,
                };
                column.set(step, negated);
            }
            for value in column.floats_mut() {
                if !narthex_model::is_stale(*value) {
                    *value = -*value;
                }
            }
        }
        self.drop_names(series)
    }

    /// Marks the names of all series as dropped, or drops them at once.
    pub fn drop_names(&self, mut series: Vec<Series>) -> Result<Vec<Series>, EvalError> {
        for series in &mut series {
            series.drop_name = true;
        }
        if self.options.has_delayed_name_removal { Ok(series) } else { finish_names(series) }
    }
}

/// Functions whose value depends on the time of the step even if all their arguments are fixed.
const TIME_DEPENDENT: [&str; 11] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "time",
    "timestamp",
    "year",
];

/// Whether an expression has the same value at every step: all its selectors have `@`.
pub(crate) fn is_step_invariant(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => true,
        ExprKind::Selector(selector) => selector.at.is_some(),
        ExprKind::Matrix(matrix) => matrix.selector.at.is_some(),
        ExprKind::Subquery(subquery) => subquery.at.is_some(),
        ExprKind::Call(call) if call.function.name == "info" => is_step_invariant(&call.args[0]),
        ExprKind::Call(call) => {
            !TIME_DEPENDENT.contains(&call.function.name) && call.args.iter().all(is_step_invariant)
        }
        ExprKind::Unary(_) | ExprKind::Binary(_) | ExprKind::Aggregate(_) | ExprKind::Paren(_) => {
            expr.children().into_iter().all(is_step_invariant)
        }
    }
}
