//! Evaluation.
//!
//! Every operator yields, per series, a column over all steps of the query. A range function
//! reads a series once and slides over its samples. Operators that sum up consume series as they
//! are made, with one buffer for samples and one column for results; the others collect.
//!
//! Invariants
//! * the steps of an evaluation never change below a node, except under a subquery, whose
//!   expression has steps of its own;
//! * without delayed name removal a collected series has no name that an operation has dropped;
//! * the sample budget covers what is collected and the series being read;
//! * cancellation is noticed between two series.
//!
//! There is no I/O, no clock and no thread here: a [`SeriesSource`] hands over samples, and who
//! wants a deadline fires the [`CancelToken`].

mod aggregate;
mod binary;
mod call;
mod collect;
mod counting;
mod evaluator;
mod grid;
mod info;
mod pool;
mod range;
mod select;
mod source;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use narthex_model::Timestamp;

pub use aggregate::{
    PartialAggregate, PartialColumns, evaluate_partial, has_partial_form, merge_partials,
};
pub(crate) use call::absent_labels;
pub(crate) use collect::{NAME_LABELS, merge_same_labels};
pub(crate) use counting::{CountScope, StepCounts};
use evaluator::Evaluator;
pub(crate) use evaluator::is_step_invariant;
pub(crate) use grid::Grid;
pub(crate) use info::info_reference;
pub use pool::SamplePool;
pub(crate) use range::subquery_grid;
pub(crate) use select::Reference;
pub use source::{
    EmptySource, SelectRequest, SelectedSeries, SeriesData, SeriesSource, SourceError,
};

use crate::{
    Steps,
    annotations::Annotations,
    ast::Expr,
    value::{Series, Value},
};

/// How to evaluate.
#[derive(Debug, Clone)]
pub struct EvalOptions {
    /// The times to evaluate at.
    pub steps: Steps,
    /// How long a sample counts as current. Default 5 min.
    pub lookback: Duration,
    /// The step of subqueries without one: the global evaluation interval. Default 1 min.
    pub subquery_step: Duration,
    /// Samples in memory at once, a histogram counting by its size. Default 50 million.
    pub samples_max: usize,
    /// Names that operations drop go when the query ends, not at once.
    pub has_delayed_name_removal: bool,
    /// Start timestamps tell `rate` and its kin about resets.
    pub uses_start_timestamps: bool,
    /// The label `__type__` tells whether a metric is a counter.
    pub has_type_labels: bool,
    /// Of histograms, only counts and sums matter to what looks at the answer. Set for fragments
    /// of a query, whose text does not show it.
    pub marks_resets: bool,
    /// Other series, which the source does not have, may stand beside those that it has: whether an
    /// operand is empty is not known.
    pub sees_part: bool,
    /// What each step looks at is counted: see [`EvalStats::queryable`].
    pub counts_samples: bool,
    /// What all evaluations of the process may hold together. Default: no limit.
    pub pool: Option<SamplePool>,
}

impl EvalOptions {
    /// Prometheus's defaults for these steps.
    pub fn new(steps: Steps) -> Self {
        Self {
            steps,
            lookback: Duration::from_secs(300),
            subquery_step: Duration::from_secs(60),
            samples_max: 50_000_000,
            has_delayed_name_removal: false,
            uses_start_timestamps: false,
            has_type_labels: false,
            marks_resets: false,
            sees_part: false,
            counts_samples: false,
            pool: None,
        }
    }

    /// Prometheus's defaults for one time.
    pub fn at(time: Timestamp) -> Self {
        Self::new(Steps { start: time, end: time, step_millis: 0 })
    }

    fn is_range(&self) -> bool {
        self.steps.step_millis > 0
    }
}

/// Asks an evaluation to stop. Clones share the request.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token nobody has fired.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why there is no answer. All but [`EvalError::PoolExhausted`], [`EvalError::Cancelled`] and
/// [`EvalError::Source`] come again with the same data.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The query is too large for its budget.
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// Other queries hold what this one needs: ask again when they have ended.
    #[error(
        "queries of this process hold as many samples as its memory allows, {samples_max} at 16 \
         bytes each (--query.max-memory-bytes); try again when others have ended"
    )]
    PoolExhausted {
        /// What all of them may hold.
        samples_max: usize,
    },
    /// Somebody asked to stop.
    #[error("query was canceled in expression evaluation")]
    Cancelled,
    /// Two series of the answer cannot be told apart.
    #[error("vector cannot contain metrics with the same labelset")]
    SameLabelset,
    /// An argument has a value that the function cannot work with.
    #[error("{0}")]
    Argument(String),
    /// Series did not find exactly one partner.
    #[error("{0}")]
    Match(String),
    /// It depends on series that were not seen whether there is an error: see
    /// [`EvalOptions::sees_part`].
    #[error("more series are needed to tell whether they match")]
    Undecided,
    /// Storage failed.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// The answer to a query.
#[derive(Debug)]
pub struct Answer {
    /// The value.
    pub value: Value,
    /// What is odd about it.
    pub annotations: Annotations,
    /// What it took.
    pub stats: EvalStats,
}

/// What an evaluation took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EvalStats {
    /// Samples read from the source, histograms counting by size.
    pub samples_read: u64,
    /// The most samples in memory at once.
    pub samples_peak: usize,
    /// Samples that each step looked at, as Prometheus counts them: one that several steps look
    /// at counts at each. Empty unless [`EvalOptions::counts_samples`].
    pub queryable: Vec<u64>,
}

impl EvalStats {
    /// Adds those of an evaluation that ended before this one began.
    pub(crate) fn follow(&mut self, before: &Self) {
        self.samples_read += before.samples_read;
        self.samples_peak = self.samples_peak.max(before.samples_peak);
    }
}

/// Columns that stand for parts of an expression: what other shards have worked out.
pub trait Leaves {
    /// The series that `expr` stands for, one sample at most per step of the query, or `None` if
    /// it is to be evaluated.
    fn replace(&self, expr: &Expr) -> Option<Vec<Series>>;

    /// Whether [`Leaves::replace`] has an answer.
    fn replaces(&self, expr: &Expr) -> bool {
        self.replace(expr).is_some()
    }
}

/// Nothing is replaced.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLeaves;

impl Leaves for NoLeaves {
    fn replace(&self, _expr: &Expr) -> Option<Vec<Series>> {
        None
    }
}

/// Evaluates a resolved expression.
pub fn evaluate(
    expr: &Expr,
    options: &EvalOptions,
    source: &dyn SeriesSource,
    cancel: &CancelToken,
) -> Result<Answer, EvalError> {
    evaluate_with(expr, options, Inputs { source, leaves: &NoLeaves, cancel })
}

/// What an evaluation works on.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// Storage.
    pub source: &'a dyn SeriesSource,
    /// Parts that are worked out already.
    pub leaves: &'a dyn Leaves,
    /// Fires when nobody wants the answer any more.
    pub cancel: &'a CancelToken,
}

/// As [`evaluate`], with parts of the expression worked out already.
pub fn evaluate_with(
    expr: &Expr,
    options: &EvalOptions,
    inputs: Inputs<'_>,
) -> Result<Answer, EvalError> {
    let mut evaluator = Evaluator::new(options, inputs);
    let value = evaluator.answer(expr)?;
    let (annotations, stats) = evaluator.finish();
    Ok(Answer { value, annotations, stats })
}

/// A vector over the steps of a query: what a shard sends for a fragment.
#[derive(Debug)]
pub struct Columns {
    /// The series, names of dropped ones still flagged.
    pub series: Vec<Series>,
    /// What is odd about them.
    pub annotations: Annotations,
    /// What it took.
    pub stats: EvalStats,
}

/// Evaluates an instant vector and leaves it as columns, with names not yet dropped.
pub fn evaluate_columns(
    expr: &Expr,
    options: &EvalOptions,
    inputs: Inputs<'_>,
) -> Result<Columns, EvalError> {
    let mut evaluator = Evaluator::new(options, inputs);
    let series = evaluator.vector(expr, Grid::new(&options.steps))?;
    let (annotations, stats) = evaluator.finish();
    Ok(Columns { series, annotations, stats })
}
