//! Function calls.

use narthex_model::{
    Labels, METRIC_NAME, MatchOp, Matcher, histogram::NanInfluence, number::format_exposition,
};

use super::{
    EvalError, Grid,
    collect::merge_same_labels,
    evaluator::{Evaluator, Sink},
    select::Wanted,
};
use crate::{
    annotations::for_metric,
    ast::{ByteRange, Call, Expr, ExprKind},
    functions::{
        self,
        classic::{AnyHistogram, Histograms},
        date, labels as label_functions,
    },
    value::{Column, Series},
};

impl<'a> Evaluator<'a> {
    /// A call whose function works on one series at a time.
    pub(super) fn stream_call(
        &mut self,
        call: &Call,
        grid: Grid,
        sink: Sink<'_, 'a>,
    ) -> Result<(), EvalError> {
        let name = call.function.name;
        if let Some(function) = functions::range_function(name) {
            return self.stream_range(call, function, grid, sink);
        }
        let function = functions::element_function(name).expect("BUG: not a streamed function");
        let marked = self.marks_resets;
        self.marks_resets = matches!(name, "histogram_count" | "histogram_sum" | "histogram_avg");
        let result = self.stream(&call.args[0], grid, &mut |evaluator, mut item| {
            function.apply(item.column);
            item.drop_name = true;
            sink(evaluator, item)
        });
        self.marks_resets = marked;
        result
    }

    /// A call that returns a scalar.
    pub(super) fn call_scalar(&mut self, call: &Call, grid: Grid) -> Result<Vec<f64>, EvalError> {
        let steps = &self.options.steps;
        let constant = match call.function.name {
            "time" => return Ok(grid.times().map(|time| time as f64 / 1000.0).collect()),
            "scalar" => return self.vector_to_scalar(&call.args[0], grid),
            "min_of" | "max_of" => return self.pick_of(call, grid),
            "pi" => std::f64::consts::PI,
            "start" => steps.start.seconds(),
            "end" => steps.end.seconds(),
            "range" => steps.end.millis_since(steps.start) as f64 / 1000.0,
            "step" => steps.step_millis as f64 / 1000.0,
            name => unreachable!("BUG: {name} is no scalar function"),
        };
        Ok(vec![constant; grid.len])
    }

    fn pick_of(&mut self, call: &Call, grid: Grid) -> Result<Vec<f64>, EvalError> {
        let left = self.scalar(&call.args[0], grid)?;
        let right = self.scalar(&call.args[1], grid)?;
        let is_min = call.function.name == "min_of";
        let pick = |(left, right): (&f64, &f64)| {
            if left.is_nan() || right.is_nan() {
                f64::NAN
            } else if is_min {
                left.min(*right)
            } else {
                left.max(*right)
            }
        };
        Ok(left.iter().zip(&right).map(pick).collect())
    }

    fn vector_to_scalar(&mut self, expr: &Expr, grid: Grid) -> Result<Vec<f64>, EvalError> {
        let vector = self.vector(expr, grid)?;
        let mut values = vec![f64::NAN; grid.len];
        for (step, value) in values.iter_mut().enumerate() {
            let mut floats = vector.iter().filter_map(|series| series.column.float(step));
            if let (Some(only), None) = (floats.next(), floats.next()) {
                *value = only;
            }
        }
        Ok(values)
    }

    /// A call that relates series or changes labels.
    pub(super) fn call_vector(
        &mut self,
        expr: &Expr,
        call: &Call,
        grid: Grid,
    ) -> Result<Vec<Series>, EvalError> {
        let marked = std::mem::replace(&mut self.marks_resets, false);
        let result = self.call_vector_unmarked(expr, call, grid);
        self.marks_resets = marked;
        result
    }

    fn call_vector_unmarked(
        &mut self,
        expr: &Expr,
        call: &Call,
        grid: Grid,
    ) -> Result<Vec<Series>, EvalError> {
        let args = &call.args;
        match call.function.name {
            "vector" => {
                let column = Column::from_floats(self.scalar(&args[0], grid)?);
                Ok(vec![Series::new(Labels::empty(), column)])
            }
            "absent" => {
                let vector = self.vector(&args[0], grid)?;
                Ok(absent(&args[0], &vector, grid))
            }
            "absent_over_time" => self.absent_over_time(call, grid),
            "timestamp" => self.timestamps(&args[0], Wanted::Timestamp, grid),
            "start_timestamp" => self.timestamps(&args[0], Wanted::StartTimestamp, grid),
            "clamp" | "clamp_min" | "clamp_max" => self.clamp(call, grid),
            "round" => {
                let to = match args.get(1) {
                    Some(to) => self.scalar(to, grid)?,
                    None => vec![1.0; grid.len],
                };
                let mut vector = self.vector(&args[0], grid)?;
                vector.iter_mut().for_each(|series| functions::round(&mut series.column, &to));
                self.finish_elements(vector)
            }
            "label_replace" | "label_join" => self.change_labels(call, grid),
            "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => {
                self.sort(expr, call, grid)
            }
            "histogram_quantile" => self.histogram_quantile(call, grid),
            "histogram_quantiles" => self.histogram_quantiles(call, grid),
            "histogram_fraction" => self.histogram_fraction(call, grid),
            "info" => self.info(call, grid),
            name => match date::date_function(name) {
                Some(function) => self.date(function, call, grid),
                None => unreachable!("BUG: {name} is no vector function"),
            },
        }
    }

    /// Drops series without samples, and names.
    fn finish_elements(&self, mut vector: Vec<Series>) -> Result<Vec<Series>, EvalError> {
        vector.retain(|series| series.column.has_samples());
        self.drop_names(vector)
    }

    fn clamp(&mut self, call: &Call, grid: Grid) -> Result<Vec<Series>, EvalError> {
        let (min, max) = match call.function.name {
            "clamp_min" => (Some(1), None),
            "clamp_max" => (None, Some(1)),
            _ => (Some(1), Some(2)),
        };
        let mut bound = |at: Option<usize>, default: f64| match at {
            Some(at) => self.scalar(&call.args[at], grid),
            None => Ok(vec![default; grid.len]),
        };
        let min = bound(min, f64::NEG_INFINITY)?;
        let max = bound(max, f64::INFINITY)?;
        let mut vector = self.vector(&call.args[0], grid)?;
        for series in &mut vector {
            functions::clamp(&mut series.column, &min, &max);
        }
        self.finish_elements(vector)
    }

    fn date(
        &mut self,
        function: date::DateFunction,
        call: &Call,
        grid: Grid,
    ) -> Result<Vec<Series>, EvalError> {
        let Some(arg) = call.args.first() else {
            let values = grid.times().map(|time| date::apply(function, time as f64 / 1000.0));
            let column = Column::from_floats(values.collect());
            return Ok(vec![Series::new(Labels::empty(), column)]);
        };
        let mut vector = self.vector(arg, grid)?;
        for series in &mut vector {
            series.column.map_floats(|seconds| date::apply(function, seconds));
        }
        self.finish_elements(vector)
    }

    fn timestamps(
        &mut self,
        arg: &Expr,
        wanted: Wanted,
        grid: Grid,
    ) -> Result<Vec<Series>, EvalError> {
        if let ExprKind::Selector(selector) = &arg.unwrapped().kind {
            let mut collector =
                super::collect::Collector::new(self.options.has_delayed_name_removal);
            let reference = super::select::Reference::of(selector, self);
            let looked_at = (selector.matchers.as_slice(), reference);
            self.stream_instant(looked_at, wanted, grid, &mut |evaluator, item| {
                collector.take(evaluator, item)
            })?;
            return collector.finish();
        }
        if wanted == Wanted::StartTimestamp {
            return Ok(Vec::new());
        }
        let mut vector = self.vector(arg, grid)?;
        for series in &mut vector {
            for step in 0..grid.len {
                if series.column.is_present(step) {
                    series.column.set_float(step, grid.time(step) as f64 / 1000.0);
                }
            }
            series.column.remove_histograms();
        }
        self.finish_elements(vector)
    }

    fn absent_over_time(&mut self, call: &Call, grid: Grid) -> Result<Vec<Series>, EvalError> {
        let function = functions::range_function("present_over_time").expect("is one");
        let mut present = Column::absent(grid.len);
        self.stream_range(call, function, grid, &mut |_, item| {
            for step in 0..grid.len {
                if item.column.is_present(step) {
                    present.set_float(step, 1.0);
                }
            }
            Ok(())
        })?;
        let labels = absent_labels(&call.args[0]);
        Ok(absent(&call.args[0], &[Series::new(labels, present)], grid))
    }

    fn change_labels(&mut self, call: &Call, grid: Grid) -> Result<Vec<Series>, EvalError> {
        let mut vector = self.vector(&call.args[0], grid)?;
        let texts: Vec<&str> = call.args[1..].iter().map(|arg| self.string(arg)).collect();
        if call.function.name == "label_join" {
            label_functions::join(&mut vector, texts[0], texts[1], &texts[2..])?;
        } else {
            let replace = label_functions::LabelReplace {
                destination: texts[0],
                replacement: texts[1],
                source: texts[2],
                regex: texts[3],
            };
            replace.apply(&mut vector)?;
        }
        merge_same_labels(vector)
    }

    fn sort(&mut self, expr: &Expr, call: &Call, grid: Grid) -> Result<Vec<Series>, EvalError> {
        let mut vector = self.vector(&call.args[0], grid)?;
        let name = call.function.name;
        let is_by_value = matches!(name, "sort" | "sort_desc");
        if is_by_value {
            vector.iter_mut().for_each(|series| series.column.remove_histograms());
            vector.retain(|series| series.column.has_samples());
        }
        // A part of a range may have one step, and a subquery of an instant query many.
        if grid.len > 1 || self.options.is_range() {
            let message =
                "sort is ineffective for range queries since results are always ordered by labels";
            self.annotations.warn(message, expr.range);
            return Ok(vector);
        }
        if is_by_value {
            let value = |series: &Series| series.column.floats()[0];
            // NaN comes last either way.
            vector.sort_by(|a, b| match (value(a), value(b)) {
                (a, b) if a.is_nan() || b.is_nan() => a.is_nan().cmp(&b.is_nan()),
                (a, b) if name == "sort" => a.total_cmp(&b),
                (a, b) => b.total_cmp(&a),
            });
            return Ok(vector);
        }
        let names: Vec<&str> = call.args[1..].iter().map(|arg| self.string(arg)).collect();
        vector.sort_by(|a, b| label_functions::compare_by(&a.labels, &b.labels, &names));
        if name == "sort_by_label_desc" {
            vector.reverse();
        }
        Ok(vector)
    }

    fn histogram_quantile(&mut self, call: &Call, grid: Grid) -> Result<Vec<Series>, EvalError> {
        let quantiles = self.scalar(&call.args[0], grid)?;
        self.check_quantiles(&quantiles, call.args[0].unwrapped().range);
        let vector = self.vector(&call.args[1], grid)?;
        let result =
            self.quantiles_of(&vector, &quantiles, call.args[1].unwrapped().range, grid)?;
        self.drop_names(result)
    }

    fn histogram_quantiles(&mut self, call: &Call, grid: Grid) -> Result<Vec<Series>, EvalError> {
        let vector = self.vector(&call.args[0], grid)?;
        let label = self.string(&call.args[1]).to_owned();
        if !label_functions::is_valid_label_name(&label) {
            return Err(EvalError::Argument(format!("invalid label name \"{label}\"")));
        }
        let mut result = Vec::new();
        for arg in &call.args[2..] {
            let quantiles = self.scalar(arg, grid)?;
            self.check_quantiles(&quantiles, arg.unwrapped().range);
            let found =
                self.quantiles_of(&vector, &quantiles, call.args[0].unwrapped().range, grid)?;
            // The label tells the quantile, which may change from step to step.
            let mut distinct: Vec<u64> = quantiles.iter().map(|q| q.to_bits()).collect();
            distinct.sort_unstable();
            distinct.dedup();
            for bits in distinct {
                let text = format_quantile(f64::from_bits(bits));
                for series in &found {
                    let mut series = series.clone();
                    series.column.retain_steps(|step| quantiles[step].to_bits() == bits);
                    let mut builder = series.labels.to_builder();
                    series.labels = builder.set(&label, text.clone()).build();
                    result.push(series);
                }
            }
        }
        result.retain(|series| series.column.has_samples());
        self.drop_names(result)
    }

    fn check_quantiles(&mut self, quantiles: &[f64], range: ByteRange) {
        for q in quantiles {
            if !(0.0..=1.0).contains(q) {
                self.warn_of_quantile(*q, range);
            }
        }
    }

    fn quantiles_of(
        &mut self,
        vector: &[Series],
        quantiles: &[f64],
        range: ByteRange,
        grid: Grid,
    ) -> Result<Vec<Series>, EvalError> {
        let mut warnings: Vec<String> = Vec::new();
        let histograms = Histograms::gather(vector, |message| warnings.push(message));
        let annotations = &mut self.annotations;
        let is_delayed = self.options.has_delayed_name_removal;
        let result = histograms.map(
            grid,
            |labels, step, histogram| {
                let metric = labels.metric_name().unwrap_or("");
                match histogram {
                    AnyHistogram::Classic(histogram) => {
                        let (found, repair) = histogram.quantile(quantiles[step], grid.time(step));
                        if let Some(repair) = repair {
                            annotations.repaired(metric, range, repair);
                        }
                        found
                    }
                    AnyHistogram::Native(histogram) => {
                        let found = histogram.quantile(quantiles[step]);
                        let outcome = match found.nan {
                            NanInfluence::None => return found.value,
                            NanInfluence::Result => "result is NaN",
                            NanInfluence::Skewed => "result is skewed higher",
                        };
                        let message =
                            format!("input to histogram_quantile has NaN observations, {outcome}");
                        // A name that is dropped at once is gone by now.
                        let metric = if is_delayed { metric } else { "" };
                        annotations.inform(for_metric(&message, metric), range);
                        found.value
                    }
                }
            },
            |message| warnings.push(message),
        )?;
        for message in warnings {
            self.annotations.warn(message, range);
        }
        Ok(result)
    }

    fn histogram_fraction(&mut self, call: &Call, grid: Grid) -> Result<Vec<Series>, EvalError> {
        let lower = self.scalar(&call.args[0], grid)?;
        let upper = self.scalar(&call.args[1], grid)?;
        let range = call.args[2].unwrapped().range;
        let vector = self.vector(&call.args[2], grid)?;
        let mut warnings: Vec<String> = Vec::new();
        let histograms = Histograms::gather(&vector, |message| warnings.push(message));
        let annotations = &mut self.annotations;
        let is_delayed = self.options.has_delayed_name_removal;
        let result = histograms.map(
            grid,
            |labels, step, histogram| match histogram {
                AnyHistogram::Classic(histogram) => histogram.fraction(lower[step], upper[step]),
                AnyHistogram::Native(histogram) => {
                    let found = histogram.fraction(lower[step], upper[step]);
                    if found.has_nan_observations {
                        let message = "input to histogram_fraction has NaN observations, \
                                       which are excluded from all fractions";
                        let metric = labels.metric_name().filter(|_| is_delayed).unwrap_or("");
                        annotations.inform(for_metric(message, metric), range);
                    }
                    found.value
                }
            },
            |message| warnings.push(message),
        )?;
        for message in warnings {
            self.annotations.warn(message, range);
        }
        self.drop_names(result)
    }
}

/// A quantile as OpenMetrics writes it in labels: always with a fraction or an exponent.
fn format_quantile(q: f64) -> String {
    let text = format_exposition(q);
    let is_whole = text.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
    if is_whole { text + ".0" } else { text }
}

/// 1 at each step at which `vector` has no sample.
fn absent(arg: &Expr, vector: &[Series], grid: Grid) -> Vec<Series> {
    let mut column = Column::absent(grid.len);
    for step in 0..grid.len {
        if !vector.iter().any(|series| series.column.is_present(step)) {
            column.set_float(step, 1.0);
        }
    }
    if !column.has_samples() {
        return Vec::new();
    }
    vec![Series::new(absent_labels(arg), column)]
}

/// The labels that a selector says an absent series would have: those whose last matcher is the
/// first equality about them.
pub(crate) fn absent_labels(arg: &Expr) -> Labels {
    let matchers: &[Matcher] = match &arg.unwrapped().kind {
        ExprKind::Selector(selector) => &selector.matchers,
        ExprKind::Matrix(matrix) => &matrix.selector.matchers,
        _ => return Labels::empty(),
    };
    let mut known: Vec<(&str, &str)> = Vec::new();
    let mut had_equality: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name() != METRIC_NAME) {
        let name = matcher.name();
        known.retain(|(other, _)| *other != name);
        if matcher.op() == MatchOp::Equal && !had_equality.contains(&name) {
            known.push((name, matcher.value()));
            had_equality.push(name);
        }
    }
    Labels::from_pairs(known).expect("each name is there once")
}
