//! `info`: series enriched with the labels of info series of the same target.

use std::collections::HashMap;

use narthex_model::{Labels, METRIC_NAME};

use super::{
    EvalError, Grid,
    collect::Collector,
    evaluator::Evaluator,
    merge_same_labels,
    select::{Reference, Wanted},
};
use crate::{
    Steps,
    ast::{Call, Expr, ExprKind},
    functions::info::InfoSelector,
    value::{Column, Series},
};

/// Info series by target and metric.
type InfoSeries = HashMap<Labels, Vec<Vec<Info>>>;

/// An info series: its labels and when its current sample was taken.
struct Info {
    labels: Labels,
    times: Column,
}

impl<'a> Evaluator<'a> {
    /// `info`
    pub(super) fn info(&mut self, call: &Call, grid: Grid) -> Result<Vec<Series>, EvalError> {
        let selector = InfoSelector::new(call.args.get(1));
        let vector = self.vector(&call.args[0], grid)?;
        let reference = info_reference(&call.args[0], &self.options.steps);
        let infos = self.info_series(&selector, &vector, reference, grid)?;
        let mut result = Vec::new();
        for series in vector {
            let target = InfoSelector::target(&series.labels);
            let metrics = target.as_ref().and_then(|target| infos.get(target));
            if selector.is_info_metric(&series.labels) {
                result.push(series);
            } else {
                enrich(&selector, series, metrics.map_or(&[], Vec::as_slice), &mut result)?;
            }
        }
        merge_same_labels(result)
    }

    fn info_series(
        &mut self,
        selector: &InfoSelector,
        vector: &[Series],
        reference: Reference,
        grid: Grid,
    ) -> Result<InfoSeries, EvalError> {
        let enriched = vector.iter().map(|series| &series.labels);
        let enriched = enriched.filter(|labels| !selector.is_info_metric(labels));
        let matchers =
            selector.matchers(enriched).map_err(|error| EvalError::Argument(error.to_string()))?;
        let mut times = Collector::new(true);
        let mut histogram = None;
        self.stream_instant((&matchers, reference), Wanted::Value, grid, &mut |_, item| {
            if item.column.has_histograms() {
                histogram = Some(item.labels.clone());
            }
            Ok(())
        })?;
        if let Some(labels) = histogram {
            return Err(EvalError::Argument(format!(
                "this should be an info metric, with float samples: {labels}"
            )));
        }
        // They were counted above.
        let counts = self.counts.take();
        self.stream_instant((&matchers, reference), Wanted::Timestamp, grid, &mut |eval, item| {
            times.take(eval, item)
        })?;
        self.counts = counts;
        let mut found = InfoSeries::new();
        for series in times.finish()? {
            let Some(target) = InfoSelector::target(&series.labels) else { continue };
            let metrics = found.entry(target).or_default();
            let info = Info { labels: series.labels, times: series.column };
            let name = |info: &Info| info.labels.value(METRIC_NAME).to_owned();
            match metrics.iter_mut().find(|known| name(&known[0]) == name(&info)) {
                Some(known) => known.push(info),
                None => metrics.push(vec![info]),
            }
        }
        Ok(found)
    }
}

/// When to look for info series: at the times that the enriched series are read at.
pub(crate) fn info_reference(expr: &Expr, steps: &Steps) -> Reference {
    let mut reference = Reference::new(None, 0, steps);
    let mut expr = expr.unwrapped();
    loop {
        let (at, offset) = match &expr.kind {
            ExprKind::Selector(selector) => (selector.at, selector.offset_millis()),
            ExprKind::Matrix(matrix) => (matrix.selector.at, matrix.selector.offset_millis()),
            ExprKind::Subquery(subquery) => (subquery.at, subquery.offset_millis()),
            _ => (None, 0),
        };
        reference = reference.then(Reference::new(at, offset, steps));
        match expr.children().into_iter().find(|child| !child.selectors().is_empty()) {
            Some(child) => expr = child.unwrapped(),
            None => return reference,
        }
    }
}

/// Splits a series by the labels that its steps are enriched with.
fn enrich(
    selector: &InfoSelector,
    series: Series,
    metrics: &[Vec<Info>],
    result: &mut Vec<Series>,
) -> Result<(), EvalError> {
    let mut parts: HashMap<Vec<usize>, Column> = HashMap::new();
    for step in 0..series.column.len() {
        let Some(sample) = series.column.get(step) else { continue };
        let chosen: Vec<usize> =
            metrics.iter().map(|infos| newest(infos, step)).collect::<Result<_, EvalError>>()?;
        let is_matched = chosen.iter().any(|at| *at != NONE);
        if is_matched || selector.keeps_unmatched() {
            let len = series.column.len();
            let part = parts.entry(chosen).or_insert_with(|| Column::absent(len));
            part.set(step, sample.to_owned());
        }
    }
    for (chosen, column) in parts {
        let infos = metrics.iter().zip(&chosen).filter(|(_, at)| **at != NONE);
        let labels =
            selector.enrich(&series.labels, infos.map(|(infos, at)| &infos[*at].labels))?;
        result.push(Series { labels, drop_name: series.drop_name, column });
    }
    Ok(())
}

/// Stands for no info series.
const NONE: usize = usize::MAX;

/// The info series of one metric whose sample is newest.
fn newest(infos: &[Info], step: usize) -> Result<usize, EvalError> {
    let mut newest = NONE;
    let mut newest_time = f64::NEG_INFINITY;
    for (at, info) in infos.iter().enumerate() {
        let Some(time) = info.times.float(step) else { continue };
        if time == newest_time {
            return Err(EvalError::Match(format!(
                "found duplicate series for info metric: existing {}, new {}",
                infos[newest].labels, info.labels
            )));
        }
        if time > newest_time {
            (newest, newest_time) = (at, time);
        }
    }
    Ok(newest)
}
