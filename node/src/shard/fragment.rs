//! Evaluates fragments of PromQL on one shard.
//!
//! Evaluation reads and computes for as long as it takes, so it runs on the blocking pool; it
//! stops soon after the caller went away.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use narthex_cluster::routing;
use narthex_model::Timestamp;
use narthex_promql::{
    CancelToken, EvalError, EvalOptions, FragmentKind, SamplePool, Scope, ScopedSource, Steps,
    eval::{Inputs, NoLeaves},
    newest_samples,
    plan::FragmentError,
    run_fragment, stream_samples, wire,
};
use narthex_proto::{
    internal::v1::{
        self as internal, FragmentEnd, FragmentPart, FragmentRequest, fragment_part::Part,
    },
    service::Answers,
};
use narthex_tsdb::ShardReader;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::source::ShardSource;

/// Bytes of an answer in one message.
const PART_BYTES: usize = 256 << 10;
/// Parts under way to a caller: back-pressure for large answers.
const PARTS_QUEUE_LEN: usize = 4;

/// Starts evaluating on a state that is up to `age` old, with samples out of `pool`; the parts come
/// as they are read by the caller.
pub fn evaluate(
    reader: ShardReader,
    request: FragmentRequest,
    (age, pool): (Duration, SamplePool),
) -> Answers<FragmentPart> {
    let (parts, stream) = mpsc::channel(PARTS_QUEUE_LEN);
    let cancel = CancelToken::new();
    let guard = CancelOnDrop { cancel: cancel.clone(), stream: ReceiverStream::new(stream) };
    tokio::task::spawn_blocking(move || {
        let options = EvalOptions { pool: Some(pool), ..options(&request) };
        let applied_index = reader.applied().index;
        let send = |part| parts.blocking_send(Ok(FragmentPart { part: Some(part) })).is_ok();
        let spread_jobs: BTreeSet<String> = request.spread_jobs.iter().cloned().collect();
        let is_keyed = |job: &str, instance: &str| routing::is_keyed(job, instance, &spread_jobs);
        let stored = ShardSource(&reader);
        let source = ScopedSource::new(&stored, scope(&request), &is_keyed);
        let inputs = Inputs { source: &source, leaves: &NoLeaves, cancel: &cancel };
        let told = match request.kind() {
            internal::FragmentKind::SortedSamples => {
                stream_samples(&request.query, &options, inputs, &mut |answer| {
                    send(Part::Answer(wire::encode(&answer).into()))
                })
            }
            kind => {
                let answer = match kind {
                    internal::FragmentKind::NewestSamples => {
                        newest_samples(&request.query, &options, inputs)
                    }
                    kind => run_fragment(&request.query, evaluated(kind), &options, inputs),
                };
                answer.map(|answer| _ = split(wire::encode(&answer).into()).all(send))
            }
        };
        let end = match told {
            Ok(()) => Part::End(FragmentEnd {
                age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
                left_out: source.left_out(),
                applied_index,
            }),
            Err(error) => Part::Error(internal::FragmentError {
                error_type: error_type(&error).to_owned(),
                message: with_causes(&error),
            }),
        };
        // A caller that went away needs no end.
        let _ = parts.blocking_send(Ok(FragmentPart { part: Some(end) }));
    });
    Box::pin(guard)
}

fn split(mut answer: Bytes) -> impl Iterator<Item = Part> {
    std::iter::from_fn(move || {
        let part = answer.split_to(answer.len().min(PART_BYTES));
        (!part.is_empty()).then_some(Part::Answer(part))
    })
}

fn error_type(error: &FragmentError) -> &'static str {
    match error {
        FragmentError::Parse(_) | FragmentError::Kind(_) => "internal",
        FragmentError::Eval(EvalError::Cancelled) => "canceled",
        FragmentError::Eval(EvalError::PoolExhausted { .. }) => "unavailable",
        FragmentError::Eval(EvalError::Source(_)) => "internal",
        FragmentError::Eval(EvalError::Undecided) => "undecided",
        FragmentError::Eval(_) => "execution",
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn evaluated(kind: internal::FragmentKind) -> FragmentKind {
    match kind {
        internal::FragmentKind::Columns => FragmentKind::Columns,
        internal::FragmentKind::Partial => FragmentKind::Partial,
        internal::FragmentKind::Absent => FragmentKind::Absent,
        internal::FragmentKind::Samples
        | internal::FragmentKind::SortedSamples
        | internal::FragmentKind::NewestSamples => FragmentKind::Samples,
    }
}

fn scope(request: &FragmentRequest) -> Scope {
    match request.scope() {
        internal::FragmentScope::All => Scope::All,
        internal::FragmentScope::Keyed => Scope::Keyed,
        internal::FragmentScope::Unkeyed => Scope::Unkeyed,
    }
}

fn options(request: &FragmentRequest) -> EvalOptions {
    let steps = Steps {
        start: Timestamp::from_millis(request.start_ms),
        end: Timestamp::from_millis(request.end_ms),
        step_millis: request.step_ms,
    };
    EvalOptions {
        lookback: Duration::from_millis(request.lookback_delta_ms),
        subquery_step: Duration::from_millis(request.subquery_step_ms),
        samples_max: usize::try_from(request.samples_max).unwrap_or(usize::MAX),
        has_delayed_name_removal: request.delayed_name_removal,
        uses_start_timestamps: request.start_timestamps,
        has_type_labels: request.type_labels,
        marks_resets: request.marks_resets,
        sees_part: scope(request) == Scope::Keyed,
        counts_samples: request.count_samples,
        ..EvalOptions::new(steps)
    }
}

/// Tells the evaluation that nobody reads the answer any more.
struct CancelOnDrop {
    cancel: CancelToken,
    stream: ReceiverStream<Result<FragmentPart, Status>>,
}

impl tokio_stream::Stream for CancelOnDrop {
    type Item = Result<FragmentPart, Status>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::pin::Pin::new(&mut self.stream).poll_next(context)
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
