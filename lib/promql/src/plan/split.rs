//! An expression into the fragments that shards evaluate.

use narthex_model::{METRIC_NAME, MatchOp, Matcher, Timestamp};

use super::{
    Fragment, FragmentKind, Plan, Reach, Scope,
    keys::keeps_target,
    place::{Place, place},
};
use crate::{
    ParseOptions, Steps,
    ast::{Aggregate, AggregateOp, ByteRange, Call, Expr, ExprKind, RangeExtension, Selector},
    eval::{
        CountScope, EvalOptions, Grid, Reference, has_partial_form, info_reference,
        is_step_invariant, subquery_grid,
    },
    functions, parse,
    types::ValueType,
};

/// The metric that `info` joins with if it is not told otherwise.
const INFO_METRIC: &str = "target_info";
/// What the names of info metrics match if only some are excluded.
const INFO_METRICS: &str = ".+_info";

/// Collects fragments on a walk from the whole expression down to what shards can do.
pub(super) struct Splitter<'a> {
    options: &'a EvalOptions,
    reach: Reach,
    /// Which series fragments are about that look at one series at a time.
    scope: Scope,
    /// As the evaluator's flag at the same place of the expression.
    marks_resets: bool,
    /// As the evaluator's scope of counts there.
    counted_at: CountScope,
    /// Whether nothing looks at the next matrix but who asked.
    is_at_root: bool,
    fragments: Vec<Fragment>,
}

impl<'a> Splitter<'a> {
    pub(super) fn new(options: &'a EvalOptions, reach: Reach) -> Self {
        Self {
            options,
            reach,
            scope: Scope::All,
            marks_resets: options.marks_resets,
            counted_at: CountScope::default(),
            is_at_root: true,
            fragments: Vec::new(),
        }
    }

    /// What was collected of `expr`.
    pub(super) fn into_plan(self, expr: &Expr) -> Plan {
        Plan { expr: expr.clone(), options: self.options.clone(), fragments: self.fragments }
    }

    /// Has the shards send all samples that an expression needs, and evaluate nothing.
    pub(super) fn fetch_all(&mut self, expr: &Expr, grid: Grid) {
        let expr = expr.unwrapped();
        let grid = if grid.len > 1 && is_step_invariant(expr) { grid.first() } else { grid };
        if grid.len == 0 {
            return;
        }
        match &expr.kind {
            ExprKind::Selector(selector) => self.fetch_range(selector, 0, expr.range, grid),
            ExprKind::Matrix(matrix) => {
                self.fetch_range(&matrix.selector, matrix.window.millis(), expr.range, grid);
            }
            ExprKind::Subquery(subquery) => {
                self.fetch_all(&subquery.expr, subquery_grid(subquery, self.options, grid));
            }
            ExprKind::Call(call) if call.function.name == "info" => {
                self.fetch_all(&call.args[0], grid);
                self.fetch_info(call, expr.range, grid);
            }
            _ => expr.children().into_iter().for_each(|child| self.fetch_all(child, grid)),
        }
    }

    /// Splits an expression that is evaluated at these steps.
    pub(super) fn split(&mut self, expr: &Expr, grid: Grid) {
        let expr = expr.unwrapped();
        if grid.len == 0 {
            return;
        }
        // The evaluator works such parts out once, and a fragment has to fit.
        if grid.len > 1 && is_step_invariant(expr) {
            let counted_at = self.counted_at;
            self.counted_at = counted_at.once();
            self.split_at(expr, grid.first());
            self.counted_at = counted_at;
        } else {
            self.split_at(expr, grid);
        }
    }

    fn split_at(&mut self, expr: &Expr, grid: Grid) {
        if expr.value_type() == ValueType::Matrix {
            return self.split_matrix(expr, grid);
        }
        self.is_at_root = false;
        match (place(expr), &expr.kind) {
            (Place::Anywhere, _) => {}
            (Place::Shards | Place::ShardsThenMerge, _) => {
                self.ship(FragmentKind::Columns, expr, expr, grid);
            }
            (Place::Querier, ExprKind::Aggregate(aggregate)) => {
                self.split_aggregate(expr, aggregate, grid);
            }
            (Place::Querier, _) if self.is_within_targets(expr) => {
                self.ship_keyed(FragmentKind::Columns, expr, expr, grid);
            }
            (Place::Querier, ExprKind::Call(call)) => self.split_call(expr, call, grid),
            (Place::Querier, _) => {
                expr.children().into_iter().for_each(|child| self.split(child, grid));
            }
        }
    }

    /// A range vector that something at the querier looks at.
    fn split_matrix(&mut self, expr: &Expr, grid: Grid) {
        match &expr.kind {
            ExprKind::Subquery(subquery) => {
                let counted_at = self.counted_at;
                self.counted_at = match std::mem::take(&mut self.is_at_root) {
                    true => CountScope::All,
                    false => CountScope::Nowhere,
                };
                self.split(&subquery.expr, subquery_grid(subquery, self.options, grid));
                self.counted_at = counted_at;
            }
            ExprKind::Matrix(matrix) => {
                self.fetch_range(&matrix.selector, matrix.window.millis(), expr.range, grid);
            }
            _ => unreachable!("BUG: nothing else is a range vector"),
        }
    }

    fn split_aggregate(&mut self, expr: &Expr, aggregate: &Aggregate, grid: Grid) {
        let param = aggregate.param.as_ref();
        let takes_any = param.is_none_or(|param| place(param) == Place::Anywhere);
        let is_of_each = takes_any && place(&aggregate.expr) == Place::Shards;
        let is_of_targets = takes_any && self.is_within_targets(&aggregate.expr);
        match aggregate.op {
            op if is_of_each && has_partial_form(op) => {
                self.ship(FragmentKind::Partial, expr, expr, grid);
            }
            // What is chosen from all is among what each shard chooses from its own: the querier
            // chooses again from that.
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk if is_of_each => {
                self.ship(FragmentKind::Columns, expr, &aggregate.expr, grid);
            }
            _ if self.is_within_targets(expr) => {
                self.ship_keyed(FragmentKind::Columns, expr, expr, grid);
            }
            op if is_of_targets && has_partial_form(op) => {
                self.ship_keyed(FragmentKind::Partial, expr, expr, grid);
            }
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk if is_of_targets => {
                self.ship_keyed(FragmentKind::Columns, expr, &aggregate.expr, grid);
            }
            _ => expr.children().into_iter().for_each(|child| self.split(child, grid)),
        }
    }

    fn is_within_targets(&self, expr: &Expr) -> bool {
        self.reach == Reach::Targets && keeps_target(expr)
    }

    fn split_call(&mut self, expr: &Expr, call: &Call, grid: Grid) {
        match call.function.name {
            // Absent from all shards is what every shard says is absent.
            "absent" | "absent_over_time" if place(&call.args[0]) == Place::Shards => {
                self.ship(FragmentKind::Absent, expr, expr, grid);
            }
            "info" => {
                self.split(&call.args[0], grid);
                self.fetch_info(call, expr.range, grid);
            }
            name => {
                let outer = self.marks_resets;
                self.marks_resets = match name {
                    "histogram_count" | "histogram_sum" | "histogram_avg" => true,
                    _ => outer && functions::is_streamed(call),
                };
                call.args.iter().for_each(|arg| self.split(arg, grid));
                self.marks_resets = outer;
            }
        }
    }

    /// Has the shards evaluate `expr` in place of `replaced`.
    fn ship(&mut self, kind: FragmentKind, expr: &Expr, replaced: &Expr, grid: Grid) {
        self.add((kind, self.scope), expr, replaced, grid);
    }

    /// Has the shards evaluate `expr` in place of `replaced` for their keyed series, and the querier
    /// what `expr` says about the others.
    fn ship_keyed(&mut self, kind: FragmentKind, expr: &Expr, replaced: &Expr, grid: Grid) {
        let options = EvalOptions {
            steps: steps(grid),
            marks_resets: self.marks_resets,
            sees_part: true,
            ..self.options.clone()
        };
        let mut rest = Splitter::new(&options, Reach::Series);
        rest.scope = Scope::Unkeyed;
        let whole = match &expr.kind {
            ExprKind::Aggregate(aggregate) if kind == FragmentKind::Partial => {
                rest.split(&aggregate.expr, grid);
                expr
            }
            _ => {
                rest.split(replaced, grid);
                replaced
            }
        };
        let rest = Box::new(rest.into_plan(whole));
        if let Some(added) = self.add((kind, Scope::Keyed), expr, replaced, grid) {
            added.rest = Some(rest);
        }
    }

    /// Adds a fragment, unless there is an equal one, which then stands for `replaced`, too.
    fn add(
        &mut self,
        (kind, scope): (FragmentKind, Scope),
        expr: &Expr,
        replaced: &Expr,
        grid: Grid,
    ) -> Option<&mut Fragment> {
        let text = expr.to_string();
        let mut places = Vec::new();
        let options = ParseOptions { input_bytes_max: u32::MAX, ..ParseOptions::everything() };
        if let Ok(fragment) = parse(&text, &options) {
            pair_places(&fragment, expr, &mut places);
        }
        let replaces = replaced.unwrapped().range;
        let (steps, marks_resets, counted_at) = (steps(grid), self.marks_resets, self.counted_at);
        let is_equal = |other: &&mut Fragment| {
            (other.kind, other.scope, other.steps) == (kind, scope, steps)
                && (other.marks_resets, other.counted_at) == (marks_resets, counted_at)
                && other.text == text
        };
        if let Some(equal) = self.fragments.iter_mut().find(is_equal) {
            equal.replaces.push(replaces);
            equal.places.extend(places);
            return None;
        }
        let (replaces, rest) = (vec![replaces], None);
        self.fragments.push(Fragment {
            text,
            kind,
            scope,
            steps,
            marks_resets,
            rest,
            replaces,
            counted_at,
            places,
        });
        self.fragments.last_mut()
    }

    /// Has the shards send the samples of a range, and those before it that its start looks at.
    fn fetch_range(&mut self, selector: &Selector, before: i64, replaces: ByteRange, grid: Grid) {
        let steps = &self.options.steps;
        let reference = Reference::new(selector.at, selector.offset_millis(), steps);
        let after = match selector.extension {
            Some(RangeExtension::Smoothed) => self.lookback(),
            _ => 0,
        };
        let start = reference.time(grid.start).saturating_sub(before);
        let end = reference.time(grid.end()).saturating_add(after);
        let bare = Selector { offset: None, at: None, extension: None, ..selector.clone() };
        self.fetch(bare, replaces, (start, end));
    }

    /// Has the shards send samples of a closed range of times, and those that count as current at
    /// its start.
    fn fetch(&mut self, selector: Selector, replaces: ByteRange, (start, end): (i64, i64)) {
        let start = start.saturating_sub(self.lookback());
        self.fragments.push(Fragment {
            text: Expr::new(ExprKind::Selector(selector), replaces).to_string(),
            kind: FragmentKind::Samples,
            scope: self.scope,
            steps: Steps {
                start: Timestamp::from_millis(start),
                end: Timestamp::from_millis(end),
                step_millis: 0,
            },
            marks_resets: self.marks_resets,
            rest: None,
            replaces: vec![replaces],
            places: Vec::new(),
            counted_at: self.counted_at,
        });
    }

    fn lookback(&self) -> i64 {
        i64::try_from(self.options.lookback.as_millis()).unwrap_or(i64::MAX)
    }

    /// Fetches the series that `info` may join with. Which labels they must share with those of
    /// the first argument, the evaluator knows.
    fn fetch_info(&mut self, call: &Call, replaces: ByteRange, grid: Grid) {
        let given = call.args.get(1).map(|arg| arg.unwrapped());
        let matchers: &[Matcher] = match given.map(|arg| &arg.kind) {
            Some(ExprKind::Selector(selector)) => &selector.matchers,
            _ => &[],
        };
        let mut names: Vec<Matcher> =
            matchers.iter().filter(|matcher| matcher.name() == METRIC_NAME).cloned().collect();
        let is_positive =
            |matcher: &Matcher| matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex);
        if names.is_empty() {
            names.push(Matcher::equal(METRIC_NAME, INFO_METRIC));
        } else if !names.iter().any(is_positive) {
            let pattern = Matcher::new(MatchOp::Regex, METRIC_NAME, INFO_METRICS);
            names.push(pattern.expect("the pattern is valid"));
        }
        let reference = info_reference(&call.args[0], &self.options.steps);
        let times = (reference.time(grid.start), reference.time(grid.end()));
        let info =
            Selector { name: None, matchers: names, offset: None, at: None, extension: None };
        self.fetch(info, replaces, times);
    }
}

fn steps(grid: Grid) -> Steps {
    Steps {
        start: Timestamp::from_millis(grid.start),
        end: Timestamp::from_millis(grid.end()),
        step_millis: if grid.len > 1 { grid.step } else { 0 },
    }
}

/// Pairs the places of equal nodes in a fragment's text and in the query it was made from.
fn pair_places(fragment: &Expr, original: &Expr, places: &mut Vec<(ByteRange, ByteRange)>) {
    places.push((fragment.range, original.range));
    let (fragment, original) = (fragment.unwrapped(), original.unwrapped());
    places.push((fragment.range, original.range));
    for (fragment, original) in fragment.children().into_iter().zip(original.children()) {
        pair_places(fragment, original, places);
    }
}
