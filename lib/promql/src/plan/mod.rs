//! Queries over shards.
//!
//! Shards hold disjoint series. What looks at one series at a time is evaluated where the series
//! is; what relates series is evaluated at the querier, over the columns that shards send. So an
//! answer does not depend on how series are spread, up to the last bits of sums.
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
//! * each part of the expression that reads series is in exactly one fragment.
//!
//! Which shards exist, and how fragments reach them, is not known here.

mod cut;
mod fragment;
mod place;
mod split;

use std::collections::HashMap;

pub use cut::{Piece, cut, join};
pub use fragment::{
    FragmentAnswer, FragmentContent, FragmentError, SampledSeries, newest_samples, run_fragment,
    stream_samples,
};

use crate::{
    Steps,
    ast::{ByteRange, Expr, ExprKind},
    eval::{
        Answer, CancelToken, EvalError, EvalOptions, EvalStats, Grid, Inputs, Leaves, Scope,
        StepCounts, absent_labels, evaluate_with, merge_partials, merge_same_labels,
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
#[derive(Debug, Clone, PartialEq)]
pub struct Fragment {
    /// What to evaluate, as PromQL.
    pub text: String,
    /// What to do with it.
    pub kind: FragmentKind,
    /// The times to evaluate at; of [`FragmentKind::Samples`] the range to read, both ends
    /// included.
    pub steps: Steps,
    /// See [`EvalOptions::marks_resets`].
    pub marks_resets: bool,
    /// The node that the answer stands for.
    replaces: ByteRange,
    /// Where what shards count belongs among the query's steps.
    scope: Scope,
    /// Places in `text` and the places in the query they came from.
    places: Vec<(ByteRange, ByteRange)>,
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

/// Splits a resolved expression for shards.
pub fn distribute(expr: &Expr, options: &EvalOptions) -> Plan {
    let mut splitter = Splitter::new(options);
    splitter.split(expr, Grid::new(&options.steps));
    splitter.into_plan(expr)
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
            ..self.options.clone()
        }
    }

    /// The query's answer from those of all shards, one list per fragment.
    pub fn finish(
        &self,
        answers: Vec<Vec<FragmentAnswer>>,
        cancel: &CancelToken,
    ) -> Result<Answer, EvalError> {
        assert_eq!(answers.len(), self.fragments.len(), "BUG: fragments without answers");
        let mut shipped = Shipped::default();
        let mut annotations = crate::Annotations::default();
        let mut stats = EvalStats::default();
        let mut counts = StepCounts::new(Grid::new(&self.options.steps).len);
        let mut source = FetchedSource::default();
        for (fragment, answers) in self.fragments.iter().zip(answers) {
            for answer in &answers {
                for mut note in answer.annotations.iter() {
                    note.range = fragment.place_in_query(note.range);
                    annotations.add(note);
                }
                stats.samples_read += answer.stats.samples_read;
                stats.samples_peak += answer.stats.samples_peak;
                // Samples that shards only send are counted where they are looked at.
                counts.add_all(&answer.stats.queryable, fragment.scope);
            }
            match self.merge(fragment, answers, &mut annotations)? {
                Merged::Columns(series) => {
                    shipped.columns.insert(fragment.replaces, series);
                }
                Merged::Samples(series) => source.add(series),
            }
        }
        let inputs = Inputs { source: &source, leaves: &shipped, cancel };
        let mut answer = evaluate_with(&self.expr, &self.options, inputs)?;
        annotations.merge(answer.annotations);
        answer.annotations = annotations;
        answer.stats.samples_read += stats.samples_read;
        answer.stats.samples_peak = answer.stats.samples_peak.max(stats.samples_peak);
        counts.add_all(&answer.stats.queryable, Scope::Steps);
        if self.options.counts_samples {
            answer.stats.queryable = counts.into_counts();
        }
        Ok(answer)
    }

    fn merge(
        &self,
        fragment: &Fragment,
        answers: Vec<FragmentAnswer>,
        annotations: &mut crate::Annotations,
    ) -> Result<Merged, EvalError> {
        let (mut columns, mut partials, mut samples) = (Vec::new(), Vec::new(), Vec::new());
        for answer in answers {
            match answer.content {
                FragmentContent::Columns(series) => columns.push(series),
                FragmentContent::Partial(groups) => partials.extend(groups),
                FragmentContent::Samples(series) => samples.extend(series),
            }
        }
        match fragment.kind {
            FragmentKind::Columns => {
                let all = sorted(columns.into_iter().flatten().collect());
                Ok(Merged::Columns(merge_same_labels(all)?))
            }
            FragmentKind::Absent => {
                let mut absent = absent_from_all(columns);
                // Labels depend on the order of matchers, which the fragment's text does not keep.
                if let ExprKind::Call(call) = &find(&self.expr, fragment.replaces).kind {
                    let labels = absent_labels(&call.args[0]);
                    absent.iter_mut().for_each(|series| series.labels = labels.clone());
                }
                Ok(Merged::Columns(absent))
            }
            FragmentKind::Partial => {
                let ExprKind::Aggregate(aggregate) = &find(&self.expr, fragment.replaces).kind
                else {
                    unreachable!("BUG: only aggregations are worked out in parts");
                };
                let steps = Grid::new(&fragment.steps).len;
                let merged = merge_partials(aggregate, partials, steps, annotations);
                Ok(Merged::Columns(sorted(merged)))
            }
            FragmentKind::Samples => Ok(Merged::Samples(samples)),
        }
    }
}

enum Merged {
    Columns(Vec<Series>),
    Samples(Vec<SampledSeries>),
}

impl Fragment {
    /// Where in the query a place of the fragment's text came from.
    fn place_in_query(&self, range: ByteRange) -> ByteRange {
        let found = self.places.iter().find(|(in_text, _)| *in_text == range);
        found.map_or(self.replaces, |(_, in_query)| *in_query)
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

impl Leaves for Shipped {
    fn replace(&self, expr: &Expr) -> Option<Vec<Series>> {
        self.columns.get(&expr.range).cloned()
    }
}
