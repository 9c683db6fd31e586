//! Samples as they are stored, series after series in the order of their labels, read from all
//! shards at once without holding more than a series and a message of each shard.
//!
//! Invariants
//! * a series comes once, also where epochs put it on two shards;
//! * what is held is counted against the limits of a query's answer, and no more than that.

use std::{collections::VecDeque, sync::Arc};

use narthex_cluster::ShardId;
use narthex_model::Labels;
use narthex_promql::{SampleBuffer, SampledSeries};
use narthex_proto::{
    internal::v1::{self as internal, FragmentPart, FragmentRequest, fragment_part::Part},
    service::Answers,
};
use tokio_stream::StreamExt as _;
use tonic::Status;

use crate::{
    Querier,
    api::broke_off,
    budget::QueryBytes,
    error::{ApiError, ErrorType},
    fan_out::{TimeRange, ask_all, shards_for},
    raw::{RawSelector, decoded},
};

/// What all shards have of the series that a selector names, as it is read.
pub struct SortedSeries<'a> {
    shards: Vec<ShardStream>,
    bytes: &'a QueryBytes,
    /// Bytes of messages of which nothing is left but what was handed out last.
    spent: usize,
    /// What is missing, if partial answers are allowed.
    pub warnings: Vec<String>,
}

struct ShardStream {
    shard: ShardId,
    parts: Answers<FragmentPart>,
    has_ended: bool,
    /// Series of the last message that were not handed out yet.
    series: VecDeque<SampledSeries>,
    /// The message's bytes.
    held: usize,
}

impl Querier {
    /// Starts reading on all shards.
    pub(crate) async fn sorted_series<'a>(
        &self,
        selector: &RawSelector,
        range: TimeRange,
        bytes: &'a QueryBytes,
    ) -> Result<SortedSeries<'a>, ApiError> {
        let state = self.cluster.state();
        let shards = shards_for(&state, std::slice::from_ref(&selector.matchers), range)?;
        let kind = internal::FragmentKind::SortedSamples;
        let asked = self.raw_request(&selector.text, kind, range);
        let ask = |shard: ShardId| {
            let request = FragmentRequest { shard_id: shard.0, ..asked.clone() };
            async move { Ok(self.cluster.fragment(request, self.options.timeout).await?) }
        };
        let told = ask_all(shards, range, self.options.partial_response, ask).await?;
        let mut streams: Vec<_> = told.answers.into_iter().map(ShardStream::new).collect();
        // In order of shards, so that what two of them have is put together in one way.
        streams.sort_by_key(|stream| stream.shard);
        Ok(SortedSeries { shards: streams, bytes, spent: 0, warnings: told.warnings })
    }
}

impl SortedSeries<'_> {
    /// The next series with its samples in order of time, staleness markers included. What was
    /// handed out before is no longer counted.
    pub async fn next(&mut self) -> Result<Option<(Labels, Arc<SampleBuffer>)>, ApiError> {
        self.bytes.give_back(std::mem::take(&mut self.spent));
        for stream in &mut self.shards {
            stream.fill(self.bytes).await?;
        }
        let fronts = self.shards.iter().filter_map(|stream| stream.series.front());
        let Some(labels) = fronts.map(|series| &series.labels).min().cloned() else {
            return Ok(None);
        };
        let mut parts = Vec::new();
        for stream in &mut self.shards {
            while let Some(series) = stream.series.pop_front_if(|it| it.labels == labels) {
                parts.push(series.samples);
                self.spent += stream.take_spent();
                stream.fill(self.bytes).await?;
            }
        }
        Ok(Some((labels, SampleBuffer::together(&parts))))
    }
}

impl ShardStream {
    fn new((shard, parts): (ShardId, Answers<FragmentPart>)) -> Self {
        Self { shard, parts, has_ended: false, series: VecDeque::new(), held: 0 }
    }

    /// Waits for a message unless something is left of the last one.
    async fn fill(&mut self, bytes: &QueryBytes) -> Result<(), ApiError> {
        while self.series.is_empty() && !self.has_ended {
            let part = self.parts.next().await.transpose();
            let part = part.map_err(|status| broke_off(self.shard, &status))?;
            match part.and_then(|part| part.part) {
                Some(Part::Answer(answer)) => {
                    bytes.take(answer.len())?;
                    self.held += answer.len();
                    self.series = decoded(self.shard, &answer)?.into();
                }
                Some(Part::End(_)) => self.has_ended = true,
                Some(Part::Error(error)) => {
                    let kind = ErrorType::from_name(&error.error_type);
                    return Err(ApiError::new(kind.unwrap_or(ErrorType::Internal), error.message));
                }
                Some(Part::NotLeader(_)) | None => {
                    let status = Status::unavailable("its answer has no end");
                    return Err(broke_off(self.shard, &status));
                }
            }
        }
        Ok(())
    }

    /// The bytes of the last message once nothing is left of it.
    fn take_spent(&mut self) -> usize {
        if self.series.is_empty() { std::mem::take(&mut self.held) } else { 0 }
    }
}
