//! Samples as they are stored, of whole series: what federation and remote read hand on.
//!
//! Invariants
//! * a series has one place, also where epochs put it on two shards;
//! * what shards send is counted against the same limits as a query's answer.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use narthex_cluster::ShardId;
use narthex_model::{Labels, Matcher};
use narthex_promql::{FragmentContent, SampleBuffer, SampledSeries, wire};
use narthex_proto::internal::v1::{self as internal, Consistency, FragmentRequest};

use crate::{
    Querier,
    error::{ApiError, ErrorType},
    fan_out::{TimeRange, ask_all, shards_for},
    query::BYTES_PER_SAMPLE,
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

impl Querier {
    /// What may be sent for one request, in bytes: as much as for a query.
    pub(crate) fn raw_budget(&self) -> AtomicUsize {
        AtomicUsize::new(self.options.samples_max.saturating_mul(BYTES_PER_SAMPLE))
    }

    /// The samples in `range` of the series that any of the selectors names. Runs as a query does:
    /// waits for its turn, ends in time, and takes no more than the request has left.
    pub(crate) async fn raw_samples(
        &self,
        selectors: &[RawSelector],
        range: TimeRange,
        bytes_left: &AtomicUsize,
    ) -> Result<RawSamples, ApiError> {
        let timeout = self.options.timeout;
        let _running = self.gate.enter(timeout).await?;
        let read = tokio::time::timeout(timeout, self.read_raw(selectors, range, bytes_left)).await;
        read.unwrap_or_else(|_| Err(ApiError::timed_out("reading samples")))
    }

    async fn read_raw(
        &self,
        selectors: &[RawSelector],
        range: TimeRange,
        bytes_left: &AtomicUsize,
    ) -> Result<RawSamples, ApiError> {
        let state = self.cluster.state();
        let mut all = RawSamples::default();
        for selector in selectors {
            let shards = shards_for(&state, std::slice::from_ref(&selector.matchers), range)?;
            let query = &selector.text;
            let ask = |shard| self.read_shard(shard, query, range, bytes_left);
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
        query: &str,
        range: TimeRange,
        bytes_left: &AtomicUsize,
    ) -> Result<Vec<SampledSeries>, ApiError> {
        let request = FragmentRequest { shard_id: shard.0, ..self.raw_request(query, range) };
        let told = self.ask(shard, request, bytes_left).await?;
        let internal = |text: String| ApiError::new(ErrorType::Internal, text);
        let answer = wire::decode(&told.bytes)
            .map_err(|error| internal(format!("answer of shard {shard}: {error}")))?;
        match answer.content {
            FragmentContent::Samples(series) => Ok(series),
            FragmentContent::Columns(_) | FragmentContent::Partial(_) => {
                Err(internal(format!("shard {shard} answered with no samples")))
            }
        }
    }

    fn raw_request(&self, query: &str, range: TimeRange) -> FragmentRequest {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        FragmentRequest {
            query: query.to_owned(),
            start_ms: range.start.millis(),
            end_ms: range.end.millis(),
            lookback_delta_ms: millis(self.options.lookback),
            samples_max: self.options.samples_max as u64,
            consistency: Consistency::Linearizable.into(),
            kind: internal::FragmentKind::Samples.into(),
            subquery_step_ms: millis(self.options.subquery_step),
            ..FragmentRequest::default()
        }
    }
}
