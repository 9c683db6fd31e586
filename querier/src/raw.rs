//! Samples as they are stored, of whole series: what federation and remote read hand on.
//!
//! Invariants
//! * a series has one place, also where epochs put it on two shards;
//! * what shards send is counted against the same limits as a query's answer.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use narthex_cluster::ShardId;
use narthex_model::{Labels, Matcher};
use narthex_promql::{FragmentContent, SampleBuffer, SampledSeries, wire};
use narthex_proto::internal::v1::{self as internal, Consistency, FragmentRequest};

use crate::{
    Querier,
    active::ActiveQuery,
    budget::QueryBytes,
    error::{ApiError, ErrorType},
    fan_out::{TimeRange, ask_all, shards_for},
    turn::Turn,
};

/// What shards have of some series.
#[derive(Default)]
pub struct RawSamples {
    /// Samples with staleness markers, once for each shard and selector that a series was found
    /// by, in no order.
    pub series: BTreeMap<Labels, Vec<Arc<SampleBuffer>>>,
    /// What is missing, if partial answers are allowed.
    pub warnings: Vec<String>,
}

/// A selector as written and as read.
pub struct RawSelector {
    /// PromQL.
    pub text: String,
    /// What it asks of labels.
    pub matchers: Vec<Matcher>,
}

/// A read of what these selectors name, as it is listed among the queries under way.
pub fn listed(api: &Querier, selectors: &[RawSelector], sender: &Arc<str>) -> ActiveQuery {
    let text = selectors.iter().map(|it| it.text.as_str()).collect::<Vec<_>>().join(" ");
    ActiveQuery::new(&text, sender, None, api.clock.now())
}

/// The samples of a shard's answer.
pub fn decoded(shard: ShardId, bytes: &[u8]) -> Result<Vec<SampledSeries>, ApiError> {
    let internal = |text: String| ApiError::new(ErrorType::Internal, text);
    let answer = wire::decode(bytes);
    match answer.map_err(|error| internal(format!("answer of shard {shard}: {error}")))?.content {
        FragmentContent::Samples(series) => Ok(series),
        FragmentContent::Columns(_) | FragmentContent::Partial(_) => {
            Err(internal(format!("shard {shard} answered with no samples")))
        }
    }
}

impl Querier {
    /// The samples in `range` of the series that any of the selectors names. As a query does, it
    /// ends in time and takes no more than its turn has left.
    pub(crate) async fn raw_samples(
        &self,
        selectors: &[RawSelector],
        range: TimeRange,
        turn: &Turn,
    ) -> Result<RawSamples, ApiError> {
        let kind = internal::FragmentKind::Samples;
        let read = self.read_raw(selectors, (kind, range), &turn.bytes);
        turn.work(self.options.timeout, "reading samples", read).await
    }

    /// The same, but of each shard's series only the newest sample.
    pub(crate) async fn newest_samples(
        &self,
        selectors: &[RawSelector],
        range: TimeRange,
        turn: &Turn,
    ) -> Result<RawSamples, ApiError> {
        let kind = internal::FragmentKind::NewestSamples;
        let read = self.read_raw(selectors, (kind, range), &turn.bytes);
        turn.work(self.options.timeout, "reading samples", read).await
    }

    async fn read_raw(
        &self,
        selectors: &[RawSelector],
        (kind, range): (internal::FragmentKind, TimeRange),
        bytes: &QueryBytes,
    ) -> Result<RawSamples, ApiError> {
        let state = self.cluster.state();
        let mut all = RawSamples::default();
        for selector in selectors {
            let shards = shards_for(&state, std::slice::from_ref(&selector.matchers), range)?;
            let asked = self.raw_request(&selector.text, kind, range);
            let ask = |shard: ShardId| {
                let request = FragmentRequest { shard_id: shard.0, ..asked.clone() };
                self.read_shard(shard, request, bytes)
            };
            let told = ask_all(shards, range, self.options.partial_response, ask).await?;
            all.warnings.extend(told.warnings);
            for series in told.answers.into_iter().flat_map(|(_, series)| series) {
                all.series.entry(series.labels).or_default().push(series.samples);
            }
        }
        Ok(all)
    }

    async fn read_shard(
        &self,
        shard: ShardId,
        request: FragmentRequest,
        bytes: &QueryBytes,
    ) -> Result<Vec<SampledSeries>, ApiError> {
        let told = self.ask(shard, request, bytes).await?;
        decoded(shard, &told.bytes)
    }

    /// What a shard is asked for; the shard itself is not named yet.
    pub(crate) fn raw_request(
        &self,
        query: &str,
        kind: internal::FragmentKind,
        range: TimeRange,
    ) -> FragmentRequest {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        FragmentRequest {
            query: query.to_owned(),
            start_ms: range.start.millis(),
            end_ms: range.end.millis(),
            lookback_delta_ms: millis(self.options.lookback),
            samples_max: self.options.samples_max as u64,
            consistency: Consistency::Linearizable.into(),
            kind: kind.into(),
            subquery_step_ms: millis(self.options.subquery_step),
            ..FragmentRequest::default()
        }
    }
}
