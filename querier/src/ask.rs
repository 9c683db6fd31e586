//! Asks shards to evaluate the fragments of a query.
//!
//! Invariant: a shard that left series out of a fragment about keyed ones is asked for those too.

use std::{collections::BTreeSet, time::Duration};

use bytes::BytesMut;
use futures_util::future::try_join_all;
use narthex_cluster::ShardId;
use narthex_promql::{Fragment, FragmentKind, Plan, Scope};
use narthex_proto::internal::v1::{self as internal, FragmentRequest, fragment_part};
use tokio_stream::StreamExt as _;

use crate::{
    Querier,
    api::broke_off,
    budget::QueryBytes,
    error::{ApiError, ErrorType},
    fan_out::{Gathered, TimeRange, ask_all},
    hedge::Pace,
    query::QueryRequest,
};

/// What the fragments of a piece of a query have in common.
pub(crate) struct Asking<'a> {
    /// The query.
    pub request: &'a QueryRequest,
    /// What a missing shard leaves open.
    pub range: TimeRange,
    /// Of the epoch whose samples are read.
    pub spread_jobs: Option<Vec<String>>,
    /// Where answers count.
    pub bytes: &'a QueryBytes,
}

/// What one shard said to one fragment.
pub(crate) struct Told {
    /// An encoded fragment's answer.
    pub bytes: BytesMut,
    /// How old the state is that it is about; zero: linearizable.
    pub age: Duration,
    /// From the question to the last byte.
    pub took: Duration,
    /// Series that the fragment's scope left out.
    pub left_out: u64,
    /// The last entry of its log that it had applied before it began.
    pub applied: u64,
}

/// What shards said to one fragment.
pub(crate) struct ToldFragment {
    /// The answers.
    pub of_shards: Gathered<Told>,
    /// For each fragment of its rest, if series were left out, what those shards said that did.
    pub of_rest: Vec<Gathered<Told>>,
}

impl ToldFragment {
    /// All answers.
    pub fn all(&self) -> impl Iterator<Item = &Gathered<Told>> {
        std::iter::once(&self.of_shards).chain(&self.of_rest)
    }
}

/// The fragments that tell what `fragment` leaves out.
pub(crate) fn rest_of(fragment: &Fragment) -> &[Fragment] {
    fragment.rest().map_or(&[], Plan::fragments)
}

impl Querier {
    /// What all shards say to all fragments of a piece of the query.
    pub(crate) async fn ask_plan(
        &self,
        asked: &Asking<'_>,
        plan: &Plan,
        shards: &BTreeSet<ShardId>,
    ) -> Result<Vec<ToldFragment>, ApiError> {
        let fragments = plan.fragments().iter();
        try_join_all(fragments.map(|fragment| async move {
            let of_shards = self.ask_fragment(asked, (plan, fragment), shards).await?;
            let Some(rest) = fragment.rest() else {
                return Ok(ToldFragment { of_shards, of_rest: Vec::new() });
            };
            let unfinished = of_shards.answers.iter().filter(|(_, told)| told.left_out > 0);
            let unfinished: BTreeSet<ShardId> = unfinished.map(|(shard, _)| *shard).collect();
            let fragments = rest.fragments().iter().filter(|_| !unfinished.is_empty());
            let of_rest = fragments.map(|of| self.ask_fragment(asked, (rest, of), &unfinished));
            Ok(ToldFragment { of_rest: try_join_all(of_rest).await?, of_shards })
        }))
        .await
    }

    async fn ask_fragment(
        &self,
        asked: &Asking<'_>,
        of: (&Plan, &Fragment),
        shards: &BTreeSet<ShardId>,
    ) -> Result<Gathered<Told>, ApiError> {
        let Asking { request, range, bytes, .. } = asked;
        let partial_response = request.partial_response || self.options.partial_response;
        let template = fragment_request(asked, of);
        let pace = Pace::new(shards.len(), self.clock.monotonic());
        ask_all(shards.iter().copied(), *range, partial_response, |shard| {
            let request = FragmentRequest { shard_id: shard.0, ..template.clone() };
            self.ask_at_pace(shard, request, (&pace, *bytes))
        })
        .await
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
        let (mut bytes, mut taken) = (BytesMut::new(), held.take_none());
        while let Some(part) = parts.next().await {
            let part = part.map_err(|status| broke_off(shard, &status))?;
            match part.part {
                Some(fragment_part::Part::Answer(more)) => {
                    taken.add(more.len())?;
                    bytes.extend_from_slice(&more);
                }
                Some(fragment_part::Part::End(end)) => {
                    taken.keep();
                    let took = self.clock.monotonic().saturating_sub(started);
                    return Ok(Told {
                        bytes,
                        age: Duration::from_millis(end.age_ms),
                        took,
                        left_out: end.left_out,
                        applied: end.applied_index,
                    });
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

/// What to ask of a shard that is still to be named.
fn fragment_request(asked: &Asking<'_>, (plan, fragment): (&Plan, &Fragment)) -> FragmentRequest {
    let options = plan.fragment_options(fragment);
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let kind = match fragment.kind {
        FragmentKind::Columns => internal::FragmentKind::Columns,
        FragmentKind::Partial => internal::FragmentKind::Partial,
        FragmentKind::Absent => internal::FragmentKind::Absent,
        FragmentKind::Samples => internal::FragmentKind::Samples,
    };
    let scope = match fragment.scope {
        Scope::All => internal::FragmentScope::All,
        Scope::Keyed => internal::FragmentScope::Keyed,
        Scope::Unkeyed => internal::FragmentScope::Unkeyed,
    };
    FragmentRequest {
        tenant: 0,
        shard_id: 0,
        query: fragment.text.clone(),
        start_ms: fragment.steps.start.millis(),
        end_ms: fragment.steps.end.millis(),
        step_ms: fragment.steps.step_millis,
        lookback_delta_ms: millis(options.lookback),
        samples_max: options.samples_max as u64,
        consistency: asked.request.consistency.into(),
        kind: kind.into(),
        subquery_step_ms: millis(options.subquery_step),
        delayed_name_removal: options.has_delayed_name_removal,
        start_timestamps: options.uses_start_timestamps,
        type_labels: options.has_type_labels,
        marks_resets: options.marks_resets,
        count_samples: options.counts_samples,
        scope: scope.into(),
        spread_jobs: match fragment.scope {
            Scope::All => Vec::new(),
            Scope::Keyed | Scope::Unkeyed => asked.spread_jobs.clone().unwrap_or_default(),
        },
    }
}
