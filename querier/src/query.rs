//! Runs a query: parse, plan, ask the shards, finish here.
//!
//! Invariants
//! * nothing is asked of a shard before the expression is known to be sound;
//! * when the caller goes away or its time is up, the future is dropped: that ends the streams of
//!   all shards and stops the evaluation here;
//! * of each piece of a query those shards are asked that its samples' epochs name;
//! * an answer has been told in full by every shard it needed, or says which one is missing.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::BytesMut;
use futures_util::future::try_join_all;
use narthex_cluster::ShardId;
use narthex_model::{Matcher, Timestamp};
use narthex_promql::{
    Answer, CancelToken, EvalError, EvalOptions, Fragment, FragmentAnswer, FragmentKind, Plan,
    Steps, Value,
    ast::{Expr, ExprKind},
    cut, join, parse, resolve,
    types::ValueType,
    wire,
};
use narthex_proto::internal::v1::{self as internal, Consistency, FragmentRequest, fragment_part};
use tokio_stream::StreamExt as _;
use tracing::warn;

use crate::{
    Querier,
    active::ActiveQuery,
    answer::Remarks,
    api::broke_off,
    budget::QueryBytes,
    error::{ApiError, ErrorType},
    explain::{Explanation, FragmentExplained, PieceExplained},
    fan_out::{Gathered, TimeRange, ask_all, shards_for},
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

/// What one shard said to one fragment.
pub(crate) struct Told {
    /// An encoded fragment's answer.
    pub bytes: BytesMut,
    age: Duration,
    took: Duration,
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
        prepared: Prepared,
        bytes: &QueryBytes,
    ) -> Result<Answered, ApiError> {
        let state = self.cluster.state();
        let later = state.epochs().iter().skip(1);
        let beginnings: Vec<Timestamp> = later.map(|epoch| epoch.from).collect();
        let (mut answers, mut warnings, mut age) = (Vec::new(), Vec::new(), Duration::ZERO);
        let mut explanation = Explanation { shards: state.shards().len(), pieces: Vec::new() };
        for piece in cut(&prepared.expr, &prepared.options, &beginnings) {
            let (start, end) = piece.reads;
            let reads = TimeRange { start, end };
            let shards = match prepared.selectors.is_empty() {
                true => BTreeSet::new(),
                false => shards_for(&state, &prepared.selectors, reads)?,
            };
            let plan = piece.plan(&prepared.expr, &prepared.options);
            let told = self.ask_for(request, (&plan, piece.steps), &shards, bytes).await?;
            for gathered in &told {
                warnings.extend(gathered.warnings.iter().cloned());
                age = gathered.answers.iter().map(|(_, told)| told.age).fold(age, Duration::max);
            }
            let began = self.clock.monotonic();
            let (answer, fragments) = evaluated(plan, told).await?;
            answers.push(answer);
            explanation.pieces.push(PieceExplained {
                steps: piece.steps,
                is_gathered: piece.crosses,
                fragments,
                finished_in: self.clock.monotonic().saturating_sub(began),
            });
        }
        warnings.sort();
        warnings.dedup();
        if !warnings.is_empty() {
            self.metrics.partial.inc();
        }
        let answered = answered(request, join(answers), warnings, age);
        Ok(Answered { explanation, ..answered })
    }

    /// What all shards say to all fragments of a piece of the query.
    async fn ask_for(
        &self,
        request: &QueryRequest,
        (plan, steps): (&Plan, Steps),
        shards: &BTreeSet<ShardId>,
        bytes: &QueryBytes,
    ) -> Result<Vec<Gathered<Told>>, ApiError> {
        let range = TimeRange { start: steps.start, end: steps.end };
        let partial_response = request.partial_response || self.options.partial_response;
        let asked = plan.fragments().iter().map(|fragment| {
            let shards = shards.iter().copied();
            ask_all(shards, range, partial_response, move |shard| {
                let asked = fragment_request(plan, fragment, shard);
                let consistency = request.consistency.into();
                self.ask(shard, FragmentRequest { consistency, ..asked }, bytes)
            })
        });
        try_join_all(asked).await
    }

    /// Has a shard evaluate a fragment and collects its answer.
    pub(crate) async fn ask(
        &self,
        shard: ShardId,
        request: FragmentRequest,
        held: &QueryBytes,
    ) -> Result<Told, ApiError> {
        let started = self.clock.monotonic();
        let mut parts = self.cluster.fragment(request, self.options.timeout).await?;
        let mut bytes = BytesMut::new();
        while let Some(part) = parts.next().await {
            let part = part.map_err(|status| broke_off(shard, &status))?;
            match part.part {
                Some(fragment_part::Part::Answer(more)) => {
                    held.take(more.len())?;
                    bytes.extend_from_slice(&more);
                }
                Some(fragment_part::Part::End(end)) => {
                    let took = self.clock.monotonic().saturating_sub(started);
                    return Ok(Told { bytes, age: Duration::from_millis(end.age_ms), took });
                }
                Some(fragment_part::Part::Error(error)) => {
                    let kind = ErrorType::from_name(&error.error_type);
                    return Err(ApiError::new(kind.unwrap_or(ErrorType::Internal), error.message));
                }
                Some(fragment_part::Part::NotLeader(_)) | None => break,
            }
        }
        Err(broke_off(shard, &tonic::Status::unavailable("its answer has no end")))
    }
}

/// Puts the shards' answers together on a thread that may work for a while.
async fn evaluated(
    plan: Plan,
    told: Vec<Gathered<Told>>,
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

fn answered(
    request: &QueryRequest,
    answer: Answer,
    missing: Vec<String>,
    age: Duration,
) -> Answered {
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
    let (value, explanation) = (sorted(answer.value), Explanation::default());
    Answered { value, remarks, age, stats, explanation }
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
    told: Vec<Gathered<Told>>,
    cancel: &CancelToken,
) -> Result<(Answer, Vec<FragmentExplained>), ApiError> {
    let mut answers: Vec<Vec<FragmentAnswer>> = Vec::with_capacity(told.len());
    let mut explained = Vec::with_capacity(told.len());
    for (fragment, gathered) in plan.fragments().iter().zip(told) {
        // In order of shards, so that sums do not depend on who answered first.
        let mut of_shards = gathered.answers;
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
        answers.push(decoded);
        explained.push(asked);
    }
    let answer = plan.finish(answers, cancel).map_err(eval_error)?;
    Ok((answer, explained))
}

fn eval_error(error: EvalError) -> ApiError {
    let kind = match &error {
        EvalError::Cancelled => ErrorType::Canceled,
        EvalError::PoolExhausted { .. } => ErrorType::Unavailable,
        EvalError::Source(_) => ErrorType::Internal,
        _ => ErrorType::Execution,
    };
    ApiError::new(kind, error.to_string())
}

fn fragment_request(plan: &Plan, fragment: &Fragment, shard: ShardId) -> FragmentRequest {
    let options = plan.fragment_options(fragment);
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let kind = match fragment.kind {
        FragmentKind::Columns => internal::FragmentKind::Columns,
        FragmentKind::Partial => internal::FragmentKind::Partial,
        FragmentKind::Absent => internal::FragmentKind::Absent,
        FragmentKind::Samples => internal::FragmentKind::Samples,
    };
    FragmentRequest {
        tenant: 0,
        shard_id: shard.0,
        query: fragment.text.clone(),
        start_ms: fragment.steps.start.millis(),
        end_ms: fragment.steps.end.millis(),
        step_ms: fragment.steps.step_millis,
        lookback_delta_ms: millis(options.lookback),
        samples_max: options.samples_max as u64,
        consistency: Consistency::Linearizable.into(),
        kind: kind.into(),
        subquery_step_ms: millis(options.subquery_step),
        delayed_name_removal: options.has_delayed_name_removal,
        start_timestamps: options.uses_start_timestamps,
        type_labels: options.has_type_labels,
        marks_resets: options.marks_resets,
        count_samples: options.counts_samples,
    }
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
