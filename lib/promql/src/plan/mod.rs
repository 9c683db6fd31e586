//! Queries over shards.
//!
//! Shards hold disjoint series. What looks at one series at a time is evaluated where the series
//! is, and so is what relates series of one target only ([`Scope`]); what relates others is
//! evaluated at the querier, over the columns that shards send. So an answer does not depend on how
//! series are spread, up to the last bits of sums.
//!
//! ```text
//! query ── distribute ──▶ Plan ── fragments as text ──▶ run_fragment on each shard
//!                          │                                   │
//!                          ◀──────── FragmentAnswer ───────────┘   (as bytes: crate::wire)
//!                          └─ finish ──▶ Answer
//! ```
//!
//! Invariants
//! * a fragment's text means the same on every shard: durations and times are resolved in it;
//! * the evaluator of the querier is that of the shards, with the answers in place of what the
//!   shards evaluated;
//! * each part of the expression that reads series is in exactly one fragment, and in a second one
//!   if the first is about keyed series alone; equal parts share a fragment.
//!
//! Which shards exist, and how fragments reach them, is not known here.

mod cut;
mod fragment;
mod keys;
mod place;
mod split;

use std::collections::HashMap;

pub use cut::{Piece, cut, join, looks_ahead};
pub use fragment::{
    FragmentAnswer, FragmentContent, FragmentError, SampledSeries, newest_samples, run_fragment,
    stream_samples,
};
pub use keys::{Scope, ScopedSource};

use crate::{
    Annotations, Steps,
    ast::{ByteRange, Expr, ExprKind},
    eval::{
        Answer, CancelToken, CountScope, EvalError, EvalOptions, EvalStats, Grid, Inputs, Leaves,
        PartialAggregate, StepCounts, absent_labels, evaluate_columns, evaluate_partial,
        evaluate_with, merge_partials, merge_same_labels,
    },
    value::Series,
};
use fragment::{FetchedSource, absent_from_all, sorted};
use split::Splitter;

/// A query whose parts shards evaluate.
#[derive(Debug)]
pub struct Plan {
    expr: Expr,
    options: EvalOptions,
    fragments: Vec<Fragment>,
}

/// A part of a query that every shard evaluates for its own series.
#[derive(Debug)]
pub struct Fragment {
    /// What to evaluate, as PromQL.
    pub text: String,
    /// What to do with it.
    pub kind: FragmentKind,
    /// Which series it is about.
    pub scope: Scope,
    /// The times to evaluate at; of [`FragmentKind::Samples`] the range to read, both ends
    /// included.
    pub steps: Steps,
    /// See [`EvalOptions::marks_resets`].
    pub marks_resets: bool,
    /// What the querier makes of the series that the scope leaves out.
    rest: Option<Box<Plan>>,
    /// The nodes that the answer stands for, one at least.
    replaces: Vec<ByteRange>,
    /// Where what shards count belongs among the query's steps.
    counted_at: CountScope,
    /// Places in `text` and the places in the query they came from.
    places: Vec<(ByteRange, ByteRange)>,
}

/// What shards answer to a fragment.
#[derive(Debug, Default)]
pub struct FragmentAnswers {
    /// One answer a shard.
    pub of_shards: Vec<FragmentAnswer>,
    /// If series were left out: for each fragment of [`Fragment::rest`] the answers of the shards
    /// that left some out.
    pub of_rest: Vec<Vec<FragmentAnswer>>,
}

/// What a shard does with a fragment's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FragmentKind {
    /// Evaluates it.
    Columns,
    /// Evaluates the operand of the aggregation that it is, and reduces it for a merge.
    Partial,
    /// Evaluates it; the querier keeps what all shards answer.
    Absent,
    /// Sends the samples of the series that it selects.
    Samples,
}

/// How far the work on a query goes to the shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// What looks at one series at a time, and parts of aggregations.
    Series,
    /// Also what relates series of one target. The answer may be [`EvalError::Undecided`]; then
    /// [`Reach::Series`] tells.
    Targets,
}

/// Splits a resolved expression for shards.
pub fn distribute(expr: &Expr, options: &EvalOptions, reach: Reach) -> Plan {
    let mut splitter = Splitter::new(options, reach);
    splitter.split(expr, Grid::new(&options.steps));
    splitter.into_plan(expr)
}

/// What a plan's expression is evaluated over, made of fragments' answers.
#[derive(Default)]
struct Merged {
    shipped: Shipped,
    source: FetchedSource,
    annotations: Annotations,
    stats: EvalStats,
    counts: StepCounts,
}

impl Plan {
    /// The fragments, each for every shard.
    pub fn fragments(&self) -> &[Fragment] {
        &self.fragments
    }

    /// The options under which a shard evaluates a fragment.
    pub fn fragment_options(&self, fragment: &Fragment) -> EvalOptions {
        EvalOptions {
            steps: fragment.steps,
            marks_resets: fragment.marks_resets,
            sees_part: fragment.scope == Scope::Keyed,
            ..self.options.clone()
        }
    }

    /// The query's answer from those of all shards, one element per fragment.
    pub fn finish(
        &self,
        answers: Vec<FragmentAnswers>,
        cancel: &CancelToken,
    ) -> Result<Answer, EvalError> {
        let merged = self.merge_all(answers, cancel)?;
        let inputs = Inputs { source: &merged.source, leaves: &merged.shipped, cancel };
        let mut answer = evaluate_with(&self.expr, &self.options, inputs)?;
        answer.annotations.merge(merged.annotations);
        self.add_stats(&mut answer.stats, merged.stats, merged.counts);
        Ok(answer)
    }

    fn merge_all(
        &self,
        answers: Vec<FragmentAnswers>,
        cancel: &CancelToken,
    ) -> Result<Merged, EvalError> {
        assert_eq!(answers.len(), self.fragments.len(), "BUG: fragments without answers");
        let counts = StepCounts::new(Grid::new(&self.options.steps).len);
        let mut merged = Merged { counts, ..Merged::default() };
        for (fragment, answers) in self.fragments.iter().zip(answers) {
            for answer in &answers.of_shards {
                merged.note(fragment, answer);
            }
            let rest = match (&fragment.rest, answers.of_rest) {
                (Some(plan), of_rest) if !of_rest.is_empty() => {
                    Some(plan.finish_rest(fragment.kind, of_rest, cancel)?)
                }
                _ => None,
            };
            self.merge(fragment, (answers.of_shards, rest), &mut merged)?;
        }
        Ok(merged)
    }

    /// What this plan, of the series that a fragment leaves out, adds to the fragment's answers.
    fn finish_rest(
        &self,
        kind: FragmentKind,
        answers: Vec<Vec<FragmentAnswer>>,
        cancel: &CancelToken,
    ) -> Result<FragmentAnswer, EvalError> {
        let alone = |of_shards| FragmentAnswers { of_shards, of_rest: Vec::new() };
        let merged = self.merge_all(answers.into_iter().map(alone).collect(), cancel)?;
        let inputs = Inputs { source: &merged.source, leaves: &merged.shipped, cancel };
        let (content, mut annotations, mut stats) = match kind {
            FragmentKind::Partial => {
                let partial = evaluate_partial(&self.expr, &self.options, inputs)?;
                (FragmentContent::Partial(partial.groups), partial.annotations, partial.stats)
            }
            _ => {
                let columns = evaluate_columns(&self.expr, &self.options, inputs)?;
                (FragmentContent::Columns(columns.series), columns.annotations, columns.stats)
            }
        };
        annotations.merge(merged.annotations);
        self.add_stats(&mut stats, merged.stats, merged.counts);
        Ok(FragmentAnswer { content, annotations, stats })
    }

    /// Adds to what evaluating took what shards took before it.
    fn add_stats(&self, stats: &mut EvalStats, before: EvalStats, mut counts: StepCounts) {
        stats.follow(&before);
        if self.options.counts_samples {
            counts.add_all(&stats.queryable, CountScope::Steps);
            stats.queryable = counts.into_counts();
        }
    }

    fn merge(
        &self,
        fragment: &Fragment,
        (of_shards, rest): (Vec<FragmentAnswer>, Option<FragmentAnswer>),
        merged: &mut Merged,
    ) -> Result<(), EvalError> {
        let mut parts = Parts::default();
        of_shards.into_iter().for_each(|answer| parts.add(answer.content));
        if let Some(rest) = rest {
            let places = |range| fragment.places_like(range);
            merged.annotations.merge(rest.annotations.said_of(places));
            merged.stats.follow(&rest.stats);
            merged.count(fragment, &rest.stats);
            parts.add(rest.content);
        }
        let node = find(&self.expr, fragment.replaces[0]);
        let columns = match (fragment.kind, &node.kind) {
            // Labels of one target's series may be equal here; whoever looks at them tells.
            (FragmentKind::Columns, _) if fragment.scope == Scope::Keyed => {
                sorted(parts.columns.into_iter().flatten().collect())
            }
            (FragmentKind::Columns, _) => {
                merge_same_labels(sorted(parts.columns.into_iter().flatten().collect()))?
            }
            (FragmentKind::Absent, kind) => {
                let mut absent = absent_from_all(parts.columns);
                // Labels depend on the order of matchers, which the fragment's text does not keep.
                if let ExprKind::Call(call) = kind {
                    let labels = absent_labels(&call.args[0]);
                    absent.iter_mut().for_each(|series| series.labels = labels.clone());
                }
                absent
            }
            (FragmentKind::Partial, ExprKind::Aggregate(aggregate)) => {
                let steps = Grid::new(&fragment.steps).len;
                let mut notes = Annotations::default();
                let series = merge_partials(aggregate, parts.partials, steps, &mut notes);
                merged.annotations.merge(notes.said_of(|range| fragment.places_like(range)));
                sorted(series)
            }
            (FragmentKind::Partial, _) => {
                unreachable!("BUG: only aggregations are worked out in parts")
            }
            (FragmentKind::Samples, _) => {
                merged.source.add(parts.samples);
                return Ok(());
            }
        };
        merged.shipped.add(fragment, columns);
        Ok(())
    }
}

impl Merged {
    /// Takes over what an answer says beside its content, for each node that it stands for.
    fn note(&mut self, fragment: &Fragment, answer: &FragmentAnswer) {
        let places = |range| fragment.places_in_query(range);
        self.annotations.merge(answer.annotations.said_of(places));
        self.stats.samples_read += answer.stats.samples_read * fragment.replaces.len() as u64;
        self.stats.samples_peak += answer.stats.samples_peak;
        self.count(fragment, &answer.stats);
    }

    /// Counts what steps looked at. Samples that shards only send are counted where they are looked
    /// at.
    fn count(&mut self, fragment: &Fragment, stats: &EvalStats) {
        for _ in &fragment.replaces {
            self.counts.add_all(&stats.queryable, fragment.counted_at);
        }
    }
}

/// Contents of answers, by their kind.
#[derive(Default)]
struct Parts {
    columns: Vec<Vec<Series>>,
    partials: Vec<PartialAggregate>,
    samples: Vec<SampledSeries>,
}

impl Parts {
    fn add(&mut self, content: FragmentContent) {
        match content {
            FragmentContent::Columns(series) => self.columns.push(series),
            FragmentContent::Partial(groups) => self.partials.extend(groups),
            FragmentContent::Samples(series) => self.samples.extend(series),
        }
    }
}

impl Fragment {
    /// How the querier evaluates what the fragment's scope leaves out: from answers of those shards
    /// that left series out. `None` if its scope leaves out none.
    pub fn rest(&self) -> Option<&Plan> {
        self.rest.as_deref()
    }

    /// Where in the query a place of the fragment's text came from.
    fn places_in_query(&self, range: ByteRange) -> Vec<ByteRange> {
        let found = self.places.iter().filter(|(in_text, _)| *in_text == range);
        let mut places: Vec<ByteRange> = found.map(|(_, in_query)| *in_query).collect();
        // A part without brackets is there twice: what is counted must not be.
        places.sort_unstable_by_key(|range| (range.start, range.end));
        places.dedup();
        if places.is_empty() {
            places.clone_from(&self.replaces);
        }
        places
    }

    /// The places in the query that are of the same part of the fragment as `range` there.
    fn places_like(&self, range: ByteRange) -> Vec<ByteRange> {
        match self.places.iter().find(|(_, in_query)| *in_query == range) {
            Some((in_text, _)) => self.places_in_query(*in_text),
            None => vec![range],
        }
    }
}

/// The node at a range, parentheses aside.
fn find(expr: &Expr, range: ByteRange) -> &Expr {
    let mut found = None;
    expr.walk(&mut |node| {
        if node.range == range {
            found = Some(node.unwrapped());
        }
    });
    found.expect("BUG: a fragment replaces a node of its query")
}

/// The columns of fragments, by the node they stand for.
#[derive(Default)]
struct Shipped {
    columns: HashMap<ByteRange, Vec<Series>>,
}

impl Shipped {
    fn add(&mut self, fragment: &Fragment, columns: Vec<Series>) {
        let (last, others) = fragment.replaces.split_last().expect("BUG: it replaces nothing");
        for replaced in others {
            self.columns.insert(*replaced, columns.clone());
        }
        self.columns.insert(*last, columns);
    }
}

impl Leaves for Shipped {
    fn replace(&self, expr: &Expr) -> Option<Vec<Series>> {
        self.columns.get(&expr.range).cloned()
    }
}
