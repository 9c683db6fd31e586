//! A query over several epochs of the ring.
//!
//! A series may live on one shard up to an epoch's beginning and on another from there on. Steps
//! that look at samples of one epoch are evaluated by that epoch's shards; for the few whose look
//! goes over a beginning the samples are fetched, put together by labels and evaluated at the
//! querier.
//!
//! Invariant: every step of the query is in exactly one piece, in order.

use std::collections::BTreeMap;

use narthex_model::{Labels, Timestamp};

use super::{Plan, Reach, distribute, split::Splitter};
use crate::{
    MatrixSeries, Steps, Value,
    ast::{Expr, ExprKind, RangeExtension, Selector},
    eval::{Answer, EvalOptions, Grid, Reference, info_reference},
};

/// Steps of a query that are evaluated in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The steps.
    pub steps: Steps,
    /// The earliest and the latest time of a sample that they may look at.
    pub reads: (Timestamp, Timestamp),
    /// Whether they look at samples of more than one epoch.
    pub crosses: bool,
}

impl Piece {
    /// How this piece of a resolved expression is evaluated.
    pub fn plan(&self, expr: &Expr, options: &EvalOptions, reach: Reach) -> Plan {
        let options = EvalOptions { steps: self.steps, ..options.clone() };
        match self.crosses {
            true => gather(expr, &options),
            false => distribute(expr, &options, reach),
        }
    }
}

/// Cuts a resolved query where its steps look at other epochs. `beginnings` are those of all
/// epochs but the first, in order.
pub fn cut(expr: &Expr, options: &EvalOptions, beginnings: &[Timestamp]) -> Vec<Piece> {
    if beginnings.is_empty() {
        let (steps, reads) = (options.steps, (Timestamp::MIN, Timestamp::MAX));
        return vec![Piece { steps, reads, crosses: false }];
    }
    let epoch_of = |time: i64| beginnings.partition_point(|from| from.millis() <= time);
    let grid = Grid::new(&options.steps);
    // Most queries look at one epoch alone, and need not be looked at step by step.
    if let Some((first, last)) = reads(expr, options, (grid.start, grid.end()))
        && epoch_of(first) == epoch_of(last)
    {
        let reads = (Timestamp::from_millis(first), Timestamp::from_millis(last));
        return vec![Piece { steps: options.steps, reads, crosses: false }];
    }
    let mut pieces: Vec<(Option<usize>, Piece)> = Vec::new();
    for time in grid.times() {
        let (first, last) = reads(expr, options, (time, time)).unwrap_or((time, time));
        let (epoch, last_epoch) = (epoch_of(first), epoch_of(last));
        let epoch = (epoch == last_epoch).then_some(epoch);
        let [time, first, last] = [time, first, last].map(Timestamp::from_millis);
        match pieces.last_mut() {
            Some((of, piece)) if *of == epoch => {
                piece.steps.end = time;
                piece.reads = (piece.reads.0.min(first), piece.reads.1.max(last));
            }
            _ => {
                let steps = Steps { start: time, end: time, ..options.steps };
                let (reads, crosses) = ((first, last), epoch.is_none());
                pieces.push((epoch, Piece { steps, reads, crosses }));
            }
        }
    }
    pieces.into_iter().map(|(_, piece)| piece).collect()
}

/// How far behind a step the latest sample lies that the step may look at, in milliseconds, which is
/// the same for all steps. `None` if that is no matter of the distance: the expression looks at fixed
/// times, or at no samples.
pub fn looks_ahead(expr: &Expr, options: &EvalOptions) -> Option<i64> {
    let mut is_fixed = expr.selectors().into_iter().any(|selector| selector.at.is_some());
    expr.walk(&mut |node| {
        is_fixed |= matches!(&node.kind, ExprKind::Subquery(subquery) if subquery.at.is_some());
    });
    let (_, last) = reads(expr, options, (0, 0)).filter(|_| !is_fixed)?;
    Some(last)
}

/// Puts the answers of a query's pieces together, in their order.
pub fn join(answers: Vec<Answer>) -> Answer {
    let mut answers = answers.into_iter();
    let mut whole = answers.next().expect("BUG: a query without pieces");
    let Value::Matrix(first) = &mut whole.value else { return whole };
    let mut series: BTreeMap<Labels, MatrixSeries> =
        first.drain(..).map(|series| (series.labels.clone(), series)).collect();
    for answer in answers {
        whole.annotations.merge(answer.annotations);
        whole.stats.samples_read += answer.stats.samples_read;
        // Pieces have steps of their own, in order.
        whole.stats.queryable.extend(&answer.stats.queryable);
        whole.stats.samples_peak = whole.stats.samples_peak.max(answer.stats.samples_peak);
        let Value::Matrix(more) = answer.value else { continue };
        for more in more {
            match series.get_mut(&more.labels) {
                Some(series) => {
                    series.samples.extend_of(&more.samples, 0..more.samples.len());
                }
                None => drop(series.insert(more.labels.clone(), more)),
            }
        }
    }
    whole.value = Value::Matrix(series.into_values().collect());
    whole
}

/// A plan in which shards send samples and the querier evaluates.
fn gather(expr: &Expr, options: &EvalOptions) -> Plan {
    let mut splitter = Splitter::new(options, Reach::Series);
    splitter.fetch_all(expr, Grid::new(&options.steps));
    splitter.into_plan(expr)
}

/// The earliest and the latest time at which a sample may be looked at, where `expr` is evaluated
/// at times of the closed range `at`; `None` if it looks at none.
fn reads(expr: &Expr, options: &EvalOptions, at: (i64, i64)) -> Option<(i64, i64)> {
    let expr = expr.unwrapped();
    let lookback = i64::try_from(options.lookback.as_millis()).unwrap_or(i64::MAX);
    let around = |reference: Reference, before: i64, after: i64| {
        let first = reference.time(at.0).saturating_sub(before).saturating_sub(lookback);
        (first, reference.time(at.1).saturating_add(after))
    };
    let of = |selector: &Selector, window: i64| {
        let after = match selector.extension {
            Some(RangeExtension::Smoothed) => lookback,
            _ => 0,
        };
        let reference = Reference::new(selector.at, selector.offset_millis(), &options.steps);
        around(reference, window, after)
    };
    match &expr.kind {
        ExprKind::Selector(selector) => Some(of(selector, 0)),
        ExprKind::Matrix(matrix) => Some(of(&matrix.selector, matrix.window.millis())),
        ExprKind::Subquery(subquery) => {
            let reference = Reference::new(subquery.at, subquery.offset_millis(), &options.steps);
            let first = reference.time(at.0).saturating_sub(subquery.window.millis());
            reads(&subquery.expr, options, (first, reference.time(at.1)))
        }
        kind => {
            let is_info = matches!(kind, ExprKind::Call(call) if call.function.name == "info");
            let children = expr.children();
            // Its second argument is no expression that is evaluated.
            let read = if is_info { &children[..1] } else { &children[..] };
            let info = is_info.then(|| around(info_reference(children[0], &options.steps), 0, 0));
            let of_children = read.iter().filter_map(|child| reads(child, options, at));
            of_children.chain(info).reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ParseOptions, parse, resolve};

    /// (first step, last step, whether it crosses), in minutes, for one step a minute over an hour
    /// and epochs that begin at the given minutes.
    fn pieces(text: &str, beginnings: &[i64]) -> Vec<(i64, i64, bool)> {
        let minute = |minutes: i64| Timestamp::from_millis(minutes * 60_000);
        let steps = Steps { start: minute(0), end: minute(60), step_millis: 60_000 };
        let expr = parse(text, &ParseOptions::everything()).expect("valid");
        let expr = resolve(expr, text, &steps).expect("resolved");
        let beginnings: Vec<_> = beginnings.iter().map(|at| minute(*at)).collect();
        let cut = cut(&expr, &EvalOptions::new(steps), &beginnings);
        let minutes = |time: Timestamp| time.millis() / 60_000;
        cut.iter().map(|it| (minutes(it.steps.start), minutes(it.steps.end), it.crosses)).collect()
    }

    #[test]
    fn only_steps_that_look_over_a_beginning_cross() {
        let whole = [(0, 60, false)];
        assert_eq!(pieces("up", &[]), whole);
        assert_eq!(pieces("up", &[100]), whole);
        assert_eq!(pieces("1 + time()", &[30]), [(0, 29, false), (30, 60, false)]);
        // The lookback is five minutes.
        assert_eq!(pieces("up", &[30]), [(0, 29, false), (30, 34, true), (35, 60, false)]);
        assert_eq!(
            pieces("sum(rate(up[10m])) / sum(up offset 20m)", &[30]),
            [(0, 29, false), (30, 54, true), (55, 60, false)]
        );
        assert_eq!(
            pieces("up offset -10m", &[30]),
            [(0, 19, false), (20, 24, true), (25, 60, false)]
        );
        assert_eq!(
            pieces("max_over_time(up[10m:1m])", &[30]),
            [(0, 29, false), (30, 44, true), (45, 60, false)]
        );
        assert_eq!(
            pieces("up", &[10, 12]),
            [(0, 9, false), (10, 16, true), (17, 60, false)],
            "what crosses either beginning is evaluated together"
        );
    }

    #[test]
    fn a_fixed_time_is_looked_at_from_every_step() {
        assert_eq!(pieces("up @ 60", &[30]), whole_steps(false));
        assert_eq!(pieces("up @ 1860", &[30]), whole_steps(true));
        let crossing = [(0, 29, false), (30, 60, true)];
        assert_eq!(pieces("up - up @ 0", &[30]), crossing);
    }

    #[test]
    fn steps_look_ahead_by_their_offsets() {
        let ahead = |text: &str| {
            let minute = |minutes: i64| Timestamp::from_millis(minutes * 60_000);
            let steps = Steps { start: minute(0), end: minute(60), step_millis: 60_000 };
            let expr = parse(text, &ParseOptions::everything()).expect("valid");
            let expr = resolve(expr, text, &steps).expect("resolved");
            looks_ahead(&expr, &EvalOptions::new(steps))
        };
        assert_eq!(ahead("sum(rate(up[5m]))"), Some(0));
        assert_eq!(ahead("up offset 2m"), Some(-120_000));
        assert_eq!(ahead("up offset 2m + up offset -1m"), Some(60_000));
        assert_eq!(ahead("max_over_time(up[10m:1m] offset 1m)"), Some(-60_000));
        assert_eq!(ahead("info(up offset 1m)"), Some(-60_000));
        assert_eq!(ahead("up + up @ 60"), None);
        assert_eq!(ahead("max_over_time(up[10m:1m] @ end())"), None);
        assert_eq!(ahead("1 + time()"), None);
    }

    fn whole_steps(crosses: bool) -> [(i64, i64, bool); 1] {
        [(0, 60, crosses)]
    }
}
