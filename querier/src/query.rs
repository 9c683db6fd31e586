//! Runs a query: parse, plan, ask the shards, finish here.
//!
//! Invariants
//! * nothing is asked of a shard before the expression is known to be sound;
//! * when the caller goes away or its time is up, the future is dropped: that ends the streams of
//!   all shards and stops the evaluation here;
//! * of each piece of a query those shards are asked that its samples' epochs name;
//! * an answer has been told in full by every shard it needed, or says which one is missing.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

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

use crate::{
    Querier,
    answer::Remarks,
    api::broke_off,
    error::{ApiError, ErrorType},
    fan_out::{Gathered, TimeRange, ask_all, shards_for},
};

/// Bytes that shards may send for one query: as much as its samples take in memory, and no more.
pub(crate) const BYTES_PER_SAMPLE: usize = 16;

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
}

/// What a query took.
#[derive(Debug, Clone, Copy, Default)]
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
}

impl Querier {
    /// Evaluates a query over all shards.
    pub async fn query(&self, request: &QueryRequest) -> Result<Answered, ApiError> {
        let timeout = request.timeout.map_or(self.options.timeout, |t| t.min(self.options.timeout));
        let started = self.clock.monotonic();
        let prepared = self.prepare(request)?;
        let since = |from: Duration| self.clock.monotonic().saturating_sub(from);
        let prepared_in = since(started);
        let running = self.gate.enter(timeout).await?;
        let turn = self.clock.monotonic();
        let left = timeout.saturating_sub(since(started));
        let evaluated = tokio::time::timeout(left, self.evaluate(request, prepared)).await;
        drop(running);
        let mut answered =
            evaluated.unwrap_or_else(|_| Err(ApiError::timed_out("expression evaluation")))?;
        answered.stats.prepared = prepared_in;
        answered.stats.queued = turn.saturating_sub(started).saturating_sub(prepared_in);
        answered.stats.evaluated = since(turn);
        self.metrics.answered(&answered.stats);
        Ok(answered)
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
        options.has_delayed_name_removal = self.options.delayed_name_removal;
        Ok(Prepared { selectors: selectors(&expr), expr, options })
    }

    async fn evaluate(
        &self,
        request: &QueryRequest,
        prepared: Prepared,
    ) -> Result<Answered, ApiError> {
        let state = self.cluster.state();
        let later = state.epochs().iter().skip(1);
        let beginnings: Vec<Timestamp> = later.map(|epoch| epoch.from).collect();
        let bytes_left =
            AtomicUsize::new(self.options.samples_max.saturating_mul(BYTES_PER_SAMPLE));
        let (mut answers, mut warnings, mut age) = (Vec::new(), Vec::new(), Duration::ZERO);
        for piece in cut(&prepared.expr, &prepared.options, &beginnings) {
            let (start, end) = piece.reads;
            let reads = TimeRange { start, end };
            let shards = match prepared.selectors.is_empty() {
                true => BTreeSet::new(),
                false => shards_for(&state, &prepared.selectors, reads)?,
            };
            let plan = piece.plan(&prepared.expr, &prepared.options);
            let told = self.ask_for(request, (&plan, piece.steps), &shards, &bytes_left).await?;
            for gathered in &told {
                warnings.extend(gathered.warnings.iter().cloned());
                age = gathered.answers.iter().map(|(_, told)| told.age).fold(age, Duration::max);
            }
            answers.push(evaluated(plan, told).await?);
        }
        warnings.sort();
        warnings.dedup();
        if !warnings.is_empty() {
            self.metrics.partial.inc();
        }
        Ok(answered(request, join(answers), warnings, age))
    }

    /// What all shards say to all fragments of a piece of the query.
    async fn ask_for(
        &self,
        request: &QueryRequest,
        (plan, steps): (&Plan, Steps),
        shards: &BTreeSet<ShardId>,
        bytes_left: &AtomicUsize,
    ) -> Result<Vec<Gathered<Told>>, ApiError> {
        let range = TimeRange { start: steps.start, end: steps.end };
        let partial_response = request.partial_response || self.options.partial_response;
        let asked = plan.fragments().iter().map(|fragment| {
            let shards = shards.iter().copied();
            ask_all(shards, range, partial_response, move |shard| {
                let asked = fragment_request(plan, fragment, shard);
                let consistency = request.consistency.into();
                self.ask(shard, FragmentRequest { consistency, ..asked }, bytes_left)
            })
        });
        try_join_all(asked).await
    }

    /// Has a shard evaluate a fragment and collects its answer.
    pub(crate) async fn ask(
        &self,
        shard: ShardId,
        request: FragmentRequest,
        bytes_left: &AtomicUsize,
    ) -> Result<Told, ApiError> {
        let mut parts = self.cluster.fragment(request, self.options.timeout).await?;
        let mut bytes = BytesMut::new();
        while let Some(part) = parts.next().await {
            let part = part.map_err(|status| broke_off(shard, &status))?;
            match part.part {
                Some(fragment_part::Part::Answer(more)) => {
                    let taken =
                        bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                            left.checked_sub(more.len())
                        });
                    if taken.is_err() {
                        let text = EvalError::TooManySamples.to_string();
                        return Err(ApiError::new(ErrorType::Execution, text));
                    }
                    bytes.extend_from_slice(&more);
                }
                Some(fragment_part::Part::End(end)) => {
                    return Ok(Told { bytes, age: Duration::from_millis(end.age_ms) });
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
async fn evaluated(plan: Plan, told: Vec<Gathered<Told>>) -> Result<Answer, ApiError> {
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
        ..QueryStats::default()
    };
    Answered { value: sorted(answer.value), remarks, age, stats }
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
) -> Result<Answer, ApiError> {
    let mut answers: Vec<Vec<FragmentAnswer>> = Vec::with_capacity(told.len());
    for gathered in told {
        // In order of shards, so that sums do not depend on who answered first.
        let mut of_shards = gathered.answers;
        of_shards.sort_by_key(|(shard, _)| *shard);
        let decode = |(shard, told): (ShardId, Told)| {
            wire::decode(&told.bytes).map_err(|error| {
                let text = format!("answer of shard {shard}: {error}");
                ApiError::new(ErrorType::Internal, text)
            })
        };
        answers.push(of_shards.into_iter().map(decode).collect::<Result<_, _>>()?);
    }
    plan.finish(answers, cancel).map_err(eval_error)
}

fn eval_error(error: EvalError) -> ApiError {
    let kind = match &error {
        EvalError::Cancelled => ErrorType::Canceled,
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
