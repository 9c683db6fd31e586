//! Runs a query: parse, plan, ask the shards, finish here.
//!
//! Invariants
//! * nothing is asked of a shard before the expression is known to be sound;
//! * when the caller goes away or its time is up, the future is dropped: that ends the streams of
//!   all shards and stops the evaluation here;
//! * of each piece of a query those shards are asked that its samples' epochs name;
//! * an answer has been told in full by every shard it needed, or says which one is missing;
//! * an answer that goes on from a remembered one is what the shards would say now.

mod remembered;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use narthex_cluster::{ClusterState, Gate, ShardId};
use narthex_model::{Matcher, Timestamp};
use narthex_promql::{
    Answer, CancelToken, EvalError, EvalOptions, Fragment, FragmentAnswer, FragmentAnswers, Piece,
    Plan, Reach, Steps, Value,
    ast::{Expr, ExprKind},
    cut, join, parse, resolve,
    types::ValueType,
    wire,
};
use narthex_proto::internal::v1::Consistency;
use tracing::warn;

use crate::{
    Querier,
    active::ActiveQuery,
    answer::Remarks,
    ask::{Asking, Told, ToldFragment, rest_of},
    budget::QueryBytes,
    error::{ApiError, ErrorType},
    explain::{Explanation, FragmentExplained, PieceExplained},
    fan_out::{Gathered, TimeRange, shards_for},
    quarantine::is_breach,
};

/// What to evaluate.
#[derive(Debug, Clone)]
pub struct QueryRequest {
    /// A PromQL expression.
    pub text: String,
    /// When.
    pub steps: Steps,
    /// How long it may take with its wait; the server's own limit if that is shorter.
    pub timeout: Option<Duration>,
    /// How old a sample may be; `None`: the server's default.
    pub lookback: Option<Duration>,
    /// Answer without the shards that are missing.
    pub partial_response: bool,
    /// Whether an old state will do for a shard without a majority.
    pub consistency: Consistency,
    /// Count the samples that each step looks at.
    pub counts_samples: bool,
    /// Who asks: users share the turns.
    pub user: Arc<str>,
    /// Whether it may go on from what is remembered of its like, and be remembered.
    pub remembers: bool,
}

/// A query's answer.
#[derive(Debug)]
pub struct Answered {
    /// The value. A matrix is sorted by labels.
    pub value: Value,
    /// What is odd about it.
    pub remarks: Remarks,
    /// How old the oldest state is that a shard answered from; zero: linearizable.
    pub age: Duration,
    /// What it took.
    pub stats: QueryStats,
    /// How it was answered.
    pub explanation: Explanation,
}

/// What a query took.
#[derive(Debug, Clone, Default)]
pub struct QueryStats {
    /// Waiting for a turn.
    pub queued: Duration,
    /// Parsing and planning.
    pub prepared: Duration,
    /// Waiting for shards and finishing.
    pub evaluated: Duration,
    /// Samples read on all shards.
    pub samples_read: u64,
    /// The most samples in memory at once.
    pub samples_peak: usize,
    /// Samples that each step looked at, one that several look at once for each; empty unless they
    /// were to be counted.
    pub queryable: Vec<u64>,
}

struct Prepared {
    expr: Expr,
    options: EvalOptions,
    selectors: Vec<Vec<Matcher>>,
}

/// What the shards have said about a query's steps, or some of them.
struct Evaluated {
    answer: Answer,
    /// A warning for each shard that is missing.
    missing: Vec<String>,
    /// How old the oldest state is.
    age: Duration,
    explanation: Explanation,
    /// The entry of each asked shard's log that it had applied before it answered.
    applied: BTreeMap<ShardId, u64>,
}

impl Evaluated {
    /// Nothing yet, of so many shards.
    fn of(shards: usize) -> Self {
        Self {
            answer: remembered::answer(Vec::new()),
            missing: Vec::new(),
            age: Duration::ZERO,
            explanation: Explanation::of(shards),
            applied: BTreeMap::new(),
        }
    }

    /// Adds a piece; its answer is returned.
    fn add(&mut self, piece: Self) -> Answer {
        self.missing.extend(piece.missing);
        self.age = self.age.max(piece.age);
        self.explanation.pieces.extend(piece.explanation.pieces);
        for (shard, index) in piece.applied {
            lower(&mut self.applied, shard, index);
        }
        piece.answer
    }
}

impl Querier {
    /// Evaluates a query over all shards.
    pub async fn query(&self, request: &QueryRequest) -> Result<Answered, ApiError> {
        let QueryRequest { text, steps, .. } = request;
        let started = self.clock.monotonic();
        self.quarantine.check(text, steps, started)?;
        let answered = self.run(request, started).await;
        let ended = self.clock.monotonic();
        match &answered {
            Ok(_) => self.quarantine.note(text, steps, ended, None),
            Err(error) if is_breach(error, request.timeout) => {
                self.quarantine.note(text, steps, ended, Some(error));
            }
            Err(_) => {}
        }
        self.log_if_slow(request, ended.saturating_sub(started), &answered);
        answered
    }

    async fn run(&self, request: &QueryRequest, started: Duration) -> Result<Answered, ApiError> {
        let timeout = request.timeout.map_or(self.options.timeout, |t| t.min(self.options.timeout));
        let prepared = self.prepare(request)?;
        let since = |from: Duration| self.clock.monotonic().saturating_sub(from);
        let prepared_in = since(started);
        let QueryRequest { text, user, steps, .. } = request;
        let listed = ActiveQuery::new(text, user, Some(*steps), self.clock.now());
        let turn = self.turn(listed, timeout).await?;
        let began = self.clock.monotonic();
        let left = timeout.saturating_sub(since(started));
        let evaluate = self.evaluate(request, prepared, &turn.bytes);
        let mut answered = turn.work(left, "expression evaluation", evaluate).await?;
        answered.stats.prepared = prepared_in;
        answered.stats.queued = began.saturating_sub(started).saturating_sub(prepared_in);
        answered.stats.evaluated = since(began);
        self.metrics.answered(&answered.stats);
        Ok(answered)
    }

    /// Writes down a query that took long, with its wait, whatever came of it.
    fn log_if_slow(
        &self,
        request: &QueryRequest,
        took: Duration,
        answered: &Result<Answered, ApiError>,
    ) {
        if self.options.slow_after.is_none_or(|slow| took < slow) {
            return;
        }
        self.metrics.slow.inc();
        let QueryRequest { text, user, steps, .. } = request;
        let (stats, error) = match answered {
            Ok(answered) => (answered.stats.clone(), ""),
            Err(error) => (QueryStats::default(), error.message.as_str()),
        };
        let (seconds, queued) = (took.as_secs_f64(), stats.queued.as_secs_f64());
        let (start, end) = (steps.start.seconds(), steps.end.seconds());
        let (step, samples) = (steps.step_millis, stats.samples_read);
        warn!(
            query = %text, %user, start, end, step_ms = step, seconds, queued_seconds = queued,
            samples, error, "slow query"
        );
    }

    fn prepare(&self, request: &QueryRequest) -> Result<Prepared, ApiError> {
        let wrong = |why: String| ApiError::invalid_parameter("query", &why);
        let expr = parse(&request.text, &self.options.parse).map_err(|e| wrong(e.to_string()))?;
        let kind = expr.value_type();
        if request.steps.step_millis > 0 && !matches!(kind, ValueType::Scalar | ValueType::Vector) {
            return Err(wrong(format!(
                "invalid expression type {:?} for range query, must be Scalar or instant Vector",
                kind.documented()
            )));
        }
        let expr =
            resolve(expr, &request.text, &request.steps).map_err(|e| wrong(e.to_string()))?;
        let mut options = EvalOptions::new(request.steps);
        options.lookback = request.lookback.unwrap_or(self.options.lookback);
        options.subquery_step = self.options.subquery_step;
        options.samples_max = self.options.samples_max;
        options.pool = Some(self.pool.clone());
        options.has_delayed_name_removal = self.options.delayed_name_removal;
        options.counts_samples = request.counts_samples;
        Ok(Prepared { selectors: selectors(&expr), expr, options })
    }

    async fn evaluate(
        &self,
        request: &QueryRequest,
        mut prepared: Prepared,
        bytes: &QueryBytes,
    ) -> Result<Answered, ApiError> {
        let question = self.question(request, &prepared);
        let recalled = match &question {
            Some(question) => self.recall(question, &prepared).await,
            None => None,
        };
        let evaluated = match recalled {
            None => self.ask_shards(request, &prepared, bytes).await?,
            Some(recalled) if recalled.is_whole() => recalled.alone(),
            Some(recalled) => {
                prepared.options.steps.start = recalled.next;
                recalled.followed_by(self.ask_shards(request, &prepared, bytes).await?)
            }
        };
        if let Some(question) = question {
            self.remember(question, request.steps, &evaluated);
        }
        Ok(answered(request, evaluated))
    }

    /// Has the shards evaluate what was prepared.
    async fn ask_shards(
        &self,
        request: &QueryRequest,
        prepared: &Prepared,
        bytes: &QueryBytes,
    ) -> Result<Evaluated, ApiError> {
        let state = self.cluster.state();
        let later = state.epochs().iter().skip(1);
        let beginnings: Vec<Timestamp> = later.map(|epoch| epoch.from).collect();
        let reach = match state.is_open(Gate::Scopes) {
            true => Reach::Targets,
            false => Reach::Series,
        };
        let (mut answers, mut whole) = (Vec::new(), Evaluated::of(state.shards().len()));
        for piece in cut(&prepared.expr, &prepared.options, &beginnings) {
            let ask = |reach| self.ask_piece(request, prepared, (&state, piece, reach), bytes);
            let evaluated = match ask(reach).await {
                Err(error) if error.kind == ErrorType::Undecided => ask(Reach::Series).await?,
                evaluated => evaluated?,
            };
            answers.push(whole.add(evaluated));
        }
        whole.missing.sort();
        whole.missing.dedup();
        if !whole.missing.is_empty() {
            self.metrics.partial.inc();
        }
        whole.answer = join(answers);
        Ok(whole)
    }

    /// Has the shards evaluate a piece of what was prepared.
    async fn ask_piece(
        &self,
        request: &QueryRequest,
        prepared: &Prepared,
        (state, piece, reach): (&ClusterState, Piece, Reach),
        bytes: &QueryBytes,
    ) -> Result<Evaluated, ApiError> {
        let (start, end) = piece.reads;
        let shards = match prepared.selectors.is_empty() {
            true => BTreeSet::new(),
            false => shards_for(state, &prepared.selectors, TimeRange { start, end })?,
        };
        let plan = piece.plan(&prepared.expr, &prepared.options, reach);
        let epoch = state.epoch_at(end);
        let asking = Asking {
            request,
            range: TimeRange { start: piece.steps.start, end: piece.steps.end },
            spread_jobs: epoch.map(|epoch| epoch.spread_jobs.iter().cloned().collect()),
            bytes,
        };
        let told = self.ask_plan(&asking, &plan, &shards).await?;
        let mut into = Evaluated::of(state.shards().len());
        for gathered in told.iter().flat_map(ToldFragment::all) {
            into.missing.extend(gathered.warnings.iter().cloned());
            for (shard, told) in &gathered.answers {
                into.age = into.age.max(told.age);
                lower(&mut into.applied, *shard, told.applied);
            }
        }
        let began = self.clock.monotonic();
        let (answer, fragments) = evaluated(plan, told).await?;
        into.answer = answer;
        into.explanation.pieces.push(PieceExplained {
            steps: piece.steps,
            is_gathered: piece.crosses,
            fragments,
            finished_in: self.clock.monotonic().saturating_sub(began),
        });
        Ok(into)
    }
}

/// Notes that a shard had applied this entry, unless it is known of an earlier one.
fn lower(applied: &mut BTreeMap<ShardId, u64>, shard: ShardId, index: u64) {
    applied.entry(shard).and_modify(|known| *known = index.min(*known)).or_insert(index);
}

/// Puts the shards' answers together on a thread that may work for a while.
async fn evaluated(
    plan: Plan,
    told: Vec<ToldFragment>,
) -> Result<(Answer, Vec<FragmentExplained>), ApiError> {
    let cancel = CancelToken::new();
    let on_drop = CancelOnDrop(cancel.clone());
    let work = move || finish(&plan, told, &cancel);
    let answer = tokio::task::spawn_blocking(work).await.map_err(|error| {
        ApiError::new(ErrorType::Internal, format!("evaluation failed: {error}"))
    })??;
    drop(on_drop);
    Ok(answer)
}

fn answered(request: &QueryRequest, evaluated: Evaluated) -> Answered {
    let Evaluated { answer, missing, age, explanation, .. } = evaluated;
    let mut remarks = Remarks {
        warnings: answer.annotations.warnings(&request.text),
        infos: answer.annotations.infos(&request.text),
    };
    if !age.is_zero() {
        let age = age.as_secs_f64();
        remarks.warnings.push(format!(
            "a shard has no majority of its replicas: its samples are as of {age:.3}s ago"
        ));
    }
    remarks.warnings.extend(missing);
    let stats = QueryStats {
        samples_read: answer.stats.samples_read,
        samples_peak: answer.stats.samples_peak,
        queryable: answer.stats.queryable,
        ..QueryStats::default()
    };
    Answered { value: sorted(answer.value), remarks, age, stats, explanation }
}

/// Stops an evaluation that nobody waits for any more.
struct CancelOnDrop(CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn finish(
    plan: &Plan,
    told: Vec<ToldFragment>,
    cancel: &CancelToken,
) -> Result<(Answer, Vec<FragmentExplained>), ApiError> {
    let mut answers = Vec::with_capacity(told.len());
    let mut explained = Vec::with_capacity(told.len());
    for (fragment, told) in plan.fragments().iter().zip(told) {
        let of_shards = decoded(fragment, told.of_shards, &mut explained)?;
        let mut of_rest = Vec::with_capacity(told.of_rest.len());
        for (fragment, told) in rest_of(fragment).iter().zip(told.of_rest) {
            of_rest.push(decoded(fragment, told, &mut explained)?);
        }
        answers.push(FragmentAnswers { of_shards, of_rest });
    }
    let answer = plan.finish(answers, cancel).map_err(eval_error)?;
    Ok((answer, explained))
}

/// The answers to a fragment in order of shards, so that sums do not depend on who answered first.
fn decoded(
    fragment: &Fragment,
    told: Gathered<Told>,
    explained: &mut Vec<FragmentExplained>,
) -> Result<Vec<FragmentAnswer>, ApiError> {
    let mut of_shards = told.answers;
    of_shards.sort_by_key(|(shard, _)| *shard);
    let mut asked = FragmentExplained::new(fragment);
    let mut decoded = Vec::with_capacity(of_shards.len());
    for (shard, told) in of_shards {
        let answer = wire::decode(&told.bytes).map_err(|error| {
            let text = format!("answer of shard {shard}: {error}");
            ApiError::new(ErrorType::Internal, text)
        })?;
        asked.add(shard, &answer, (told.bytes.len(), told.took));
        decoded.push(answer);
    }
    explained.push(asked);
    Ok(decoded)
}

fn eval_error(error: EvalError) -> ApiError {
    let kind = match &error {
        EvalError::Cancelled => ErrorType::Canceled,
        EvalError::PoolExhausted { .. } => ErrorType::Unavailable,
        EvalError::Source(_) => ErrorType::Internal,
        EvalError::Undecided => ErrorType::Undecided,
        _ => ErrorType::Execution,
    };
    ApiError::new(kind, error.to_string())
}

/// The matchers of every selector in an expression.
fn selectors(expr: &Expr) -> Vec<Vec<Matcher>> {
    let mut found: Vec<_> = expr.selectors().into_iter().map(|s| s.matchers.clone()).collect();
    expr.walk(&mut |node| match &node.kind {
        // It reads series that no selector names.
        ExprKind::Call(call) if call.function.name == "info" => found.push(Vec::new()),
        _ => {}
    });
    found
}

fn sorted(mut value: Value) -> Value {
    if let Value::Matrix(series) = &mut value
        && !series.is_sorted_by(|a, b| a.labels <= b.labels)
    {
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
    }
    value
}

/// An answer's freshness, for people and programs.
pub(crate) fn consistency(age: Duration) -> String {
    if age.is_zero() {
        return "linearizable".to_owned();
    }
    format!("bounded; age={:.3}s", age.as_secs_f64())
}

#[cfg(test)]
mod tests;
