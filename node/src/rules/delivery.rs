//! Brings parts of rules' results to the shards that they belong to.
//!
//! What is to be stored is decided when the group's own shard has it: from then on it is sent until
//! each shard has it, by whoever leads the group's shard. A shard takes a rule's part only if its slot
//! is above the last one it took, so that sending twice stores once.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{
    FutureExt as _,
    stream::{self, StreamExt as _},
};
use narthex_cluster::{ClusterState, ShardId, TenantId};
use narthex_model::{Labels, NativeHistogram, Timestamp};
use narthex_promql::Sample;
use narthex_proto::{
    batch::{BatchWriter, Owner as SeriesOwner, Point, RichRows},
    client::{ShardClient, ShardError},
    internal::v1::{ForwardKind, ForwardRequest},
};
use tokio::time::Instant;
use tracing::warn;

use super::{groups::RuleKey, metrics::RuleMetrics, state::Parcel};
use crate::shard::forward::{FENCED, Owner};

/// Parts that are on their way at once.
const UNDER_WAY_MAX: usize = 32;
/// Parts that wait for a shard. With more the oldest are given up: a shard that has been away for so
/// long has a gap anyway.
const WAITING_MAX: usize = 2048;
/// Bytes of theirs, of which an entry takes 4 MiB with all else.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// Sends parcels.
pub(super) struct Delivery {
    pub client: ShardClient,
    pub metrics: Arc<RuleMetrics>,
}

/// What is to be stored of one rule's result, at one time.
pub(super) struct RuleResult<'a> {
    pub rule: RuleKey,
    pub samples: &'a [(Labels, Sample)],
    /// The shards that have series of the result before.
    pub before: &'a [u32],
    pub position: u64,
    pub time: Timestamp,
}

/// The parcels of a result: one for each shard that has a part of it or had one of that before. The
/// shards that have one now, in order.
pub(super) fn parcels(state: &ClusterState, result: &RuleResult<'_>) -> (Vec<Parcel>, Vec<u32>) {
    let mut batches = std::collections::BTreeMap::<u32, BatchWriter>::new();
    for (labels, sample) in result.samples {
        let Some(shard) = state.shard_of(TenantId(0), labels, result.time) else { continue };
        let batch = batches.entry(shard.0).or_default();
        match sample {
            Sample::Float(value) => {
                let sample = narthex_model::Sample { timestamp: result.time, value: *value };
                batch.push(labels, std::iter::once(sample));
            }
            Sample::Histogram(histogram) => {
                let point = Point {
                    timestamp: result.time,
                    start: Timestamp::default(),
                    value: NativeHistogram::Float((**histogram).clone()),
                };
                let rows = RichRows { histograms: &[point], ..RichRows::default() };
                batch.push_rich(SeriesOwner::Labels(labels), rows);
            }
        }
    }
    let shards: Vec<u32> = batches.keys().copied().collect();
    let parcel = |shard, samples: Option<Bytes>| Parcel {
        shard,
        rule: result.rule.0,
        position: result.position,
        time_ms: result.time.millis(),
        is_gone: samples.is_none(),
        samples: samples.unwrap_or_default(),
    };
    let gone = result.before.iter().filter(|shard| !batches.contains_key(shard));
    let mut parcels: Vec<Parcel> = gone.map(|shard| parcel(*shard, None)).collect();
    parcels.extend(batches.into_iter().map(|(shard, batch)| parcel(shard, Some(batch.finish()))));
    (parcels, shards)
}

impl Delivery {
    /// Sends what is in the outbox, older slots first, and takes out what has arrived. What a shard does
    /// not take by `deadline` stays, in order.
    pub(super) async fn deliver(&self, owner: Owner, outbox: &mut Vec<Parcel>, deadline: Instant) {
        let mut away = BTreeSet::new();
        let mut left = Vec::new();
        for slot in std::mem::take(outbox).chunk_by(|a, b| a.position == b.position) {
            let (kept, sent): (Vec<&Parcel>, Vec<&Parcel>) =
                slot.iter().partition(|parcel| away.contains(&parcel.shard));
            left.extend(kept.into_iter().cloned());
            let sends = sent.into_iter().map(|parcel| self.tried(owner, parcel, deadline).boxed());
            let sends: Vec<_> = sends.collect();
            let mut sends = stream::iter(sends).buffered(UNDER_WAY_MAX);
            while let Some((parcel, has_arrived)) = sends.next().await {
                if !has_arrived {
                    away.insert(parcel.shard);
                    left.push(parcel.clone());
                }
            }
        }
        *outbox = left;
        self.give_up_old(outbox);
    }

    /// Keeps the outbox small enough for an entry.
    fn give_up_old(&self, outbox: &mut Vec<Parcel>) {
        let bytes: usize = outbox.iter().map(|parcel| parcel.samples.len()).sum();
        if bytes <= WAITING_BYTES_MAX && outbox.len() <= WAITING_MAX {
            return;
        }
        let (mut bytes, mut count) = (bytes, 0);
        for parcel in outbox.iter() {
            if bytes <= WAITING_BYTES_MAX && outbox.len() - count <= WAITING_MAX {
                break;
            }
            bytes -= parcel.samples.len();
            count += 1;
        }
        outbox.drain(..count);
        self.metrics.note_lost(count as u64);
        warn!(parts = count, "parts of rules' results are given up: their shards do not answer");
    }

    async fn tried<'p>(
        &self,
        owner: Owner,
        parcel: &'p Parcel,
        deadline: Instant,
    ) -> (&'p Parcel, bool) {
        (parcel, self.send(owner, parcel, deadline).await)
    }

    /// Whether the shard has the parcel now.
    async fn send(&self, owner: Owner, parcel: &Parcel, deadline: Instant) -> bool {
        let shard = ShardId(parcel.shard);
        let kind = if parcel.is_gone { ForwardKind::Gone } else { ForwardKind::Rule };
        let request = ForwardRequest {
            tenant: 0,
            shard_id: parcel.shard,
            owner_shard_id: owner.shard.0,
            owner_term: owner.term,
            owner_node_id: owner.node,
            kind: kind.into(),
            target: Bytes::copy_from_slice(&parcel.rule.to_be_bytes()),
            slot: parcel.position,
            time_ms: parcel.time_ms,
            samples: parcel.samples.clone(),
            stamped: BatchWriter::new().finish(),
            report: BatchWriter::new().finish(),
        };
        loop {
            match self.client.forward(shard, request.clone(), deadline).await {
                Ok(appended) => {
                    let refused = appended.refused.iter().filter(|it| it.reason != FENCED);
                    let samples: u64 = refused.clone().map(|it| it.samples).sum();
                    if samples > 0 {
                        let reasons: Vec<&str> = refused.map(|it| it.reason.as_str()).collect();
                        let rule = parcel.rule;
                        warn!(%shard, rule = format!("{rule:032x}"), samples, ?reasons,
                            "samples of a rule were not stored");
                        self.metrics.note_refused(samples);
                    }
                    return true;
                }
                Err(ShardError::Busy { retry_after, .. }) => {
                    let pause = tokio::time::sleep(retry_after.max(Duration::from_millis(10)));
                    if tokio::time::timeout_at(deadline, pause).await.is_err() {
                        return false;
                    }
                }
                // It would be refused every time.
                Err(ShardError::Refused { status, .. }) => {
                    warn!(%shard, problem = status.message(), "part of a rule's result is refused");
                    self.metrics.note_lost(1);
                    return true;
                }
                Err(ShardError::Unavailable { .. } | ShardError::UnknownSeries { .. }) => {
                    return false;
                }
            }
        }
    }
}
