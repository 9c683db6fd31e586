//! From a request's body to the answers of all shards.
//!
//! Every protocol comes here with a [`Payload`]; what it answers its sender is its own business.
//!
//! Invariants
//! * a request is acknowledged only when every shard has its part;
//! * what is under way is bounded, in all and for each shard, and more is told to wait.

mod answer;
mod append;
mod arrival;
mod grpc;
mod halves;
mod import;
mod otlp;
mod pairs;
mod remote_write;
mod silence;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    thread,
    time::Duration,
};

use axum::{body::Body, extract::Request, response::Response};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, future::join_all};
use narthex_cluster::{ClusterState, ShardId};
use narthex_proto::{
    PUBLIC_DESCRIPTORS, batch::KnownSeries, client::ShardError, internal::v1::Appended,
};
use narthex_web::{Clock, Routes, access};
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

pub use self::{
    answer::Written,
    pairs::{Elections, Pairs},
    remote_write::{AcceptedMessages, MESSAGE_1, MESSAGE_2},
};
use self::{
    answer::{Appends, Ingested, Parts, WriteError},
    append::AppendService,
    grpc::Served,
    otlp::OtlpService,
    silence::Silences,
};
use crate::{
    families::Described,
    limits::Limits,
    memory::{Memory, Share},
    metrics::RouterMetrics,
    pairs::Reports,
    payload::Payload,
    series_cache::{Home, SeriesCache},
    shards::ShardWrites,
    split::{Age, Batch, Labelled, Naming, Split, SplitBy},
};

/// Time a sender has to send its body.
const BODY_TIME: Duration = Duration::from_secs(30);
/// Time the shards have for a request: below the 30 s after which senders give up, so that they
/// hear why.
const APPEND_TIME: Duration = Duration::from_secs(20);
/// The part of the memory for requests that may wait for one shard: a shard without a leader must
/// not starve others.
const WAITING_SHARE: usize = 8;
/// A larger request is decoded off the network threads.
const DECODED_INLINE_BYTES: u64 = 512 << 10;

/// What a router may use.
#[derive(Debug, Clone)]
pub struct RouterOptions {
    /// Series whose numbers it remembers, about 64 bytes each.
    pub series_cached_max: usize,
    /// Random: keeps senders from guessing how their labels are hashed.
    pub seed: u128,
    /// What it takes.
    pub limits: Limits,
    /// Which remote write it takes.
    pub accepted_messages: AcceptedMessages,
    /// Whether one of a pair of senders is heard; else each is.
    pub pairs: Option<Pairs>,
}

/// The write front door of a process.
pub struct Router {
    shards: Arc<dyn ShardWrites>,
    series: Arc<SeriesCache>,
    described: Arc<Described>,
    clock: Clock,
    metrics: RouterMetrics,
    options: RouterOptions,
    memory: Memory,
    /// Requests that are decoded at the same time off the network threads: what that takes beside
    /// the memory that they hold is bounded by it.
    decoding: Semaphore,
    reports: Reports,
    silences: Silences,
    waiting: parking_lot::Mutex<HashMap<ShardId, usize>>,
}

impl Router {
    /// A router that appends to `shards` and registers what it counts.
    pub fn new(
        shards: Arc<dyn ShardWrites>,
        clock: Clock,
        options: RouterOptions,
        registry: &mut Registry,
    ) -> Arc<Self> {
        let metrics = RouterMetrics::default();
        metrics.register(registry);
        let silences = Silences::new(metrics.silent_shards.clone());
        let memory = Memory::new(options.limits, metrics.in_flight_bytes.clone());
        Arc::new(Self {
            shards,
            series: Arc::new(SeriesCache::new(options.series_cached_max, options.seed)),
            described: Arc::default(),
            clock,
            metrics,
            memory,
            decoding: Semaphore::new(thread::available_parallelism().map_or(1, usize::from)),
            reports: Reports::default(),
            silences,
            options,
            waiting: parking_lot::Mutex::default(),
        })
    }

    /// Adds the routes that a router serves.
    pub fn add_routes(self: &Arc<Self>, routes: &mut Routes) {
        let router = Arc::clone(self);
        routes
            .http(&access::WRITE, async move |request: Request| router.remote_write(request).await);
        let router = Arc::clone(self);
        routes
            .http(&access::OTLP_METRICS, async move |request: Request| router.otlp(request).await);
        let router = Arc::clone(self);
        routes.http(&access::IMPORT, async move |request: Request| router.import(request).await);
    }

    /// Adds the gRPC services that a router serves.
    pub fn add_services(self: &Arc<Self>, routes: &mut Routes) {
        let message_bytes_max = self.options.limits.request_bytes_max;
        let otlp = Served(OtlpService { router: Arc::clone(self), message_bytes_max });
        let append = Served(AppendService { router: Arc::clone(self), message_bytes_max });
        routes.grpc(otlp).grpc(append).reflect(PUBLIC_DESCRIPTORS);
    }

    /// Reads a body of at most `bytes_max`, and holds memory for it as it comes.
    async fn receive(&self, body: Body, bytes_max: usize) -> Result<(Bytes, Share), WriteError> {
        let received = tokio::time::timeout(BODY_TIME, self.receive_all(body, bytes_max));
        received.await.unwrap_or(Err(WriteError::BodyTimedOut))
    }

    async fn receive_all(
        &self,
        body: Body,
        bytes_max: usize,
    ) -> Result<(Bytes, Share), WriteError> {
        let share = self.memory.share();
        // Copied: a sender may send chunks of a byte, each of which keeps a buffer alive.
        let (mut whole, mut chunks) = (BytesMut::new(), body.into_data_stream());
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| WriteError::BodyBrokeOff)?;
            if whole.len() + chunk.len() > bytes_max {
                let limit = self.options.limits.request_bytes_max;
                return Err(WriteError::BodyTooLarge { body_bytes_max: bytes_max, limit });
            }
            share.take(chunk.len())?;
            whole.extend_from_slice(&chunk);
        }
        Ok((whole.freeze(), share))
    }

    /// Decodes a request, which holds `share`, and appends every shard's part.
    async fn ingest(&self, payload: Payload, share: Share) -> Ingested {
        let mut ingested = Ingested::default();
        match self.append_parts(payload, share).await {
            Ok(parts) => {
                let refused = parts.refused.into_iter();
                ingested.refused = refused.map(|(by, it)| (by.name().to_owned(), it)).collect();
                let shards = parts.shards.into_iter();
                shards.for_each(|(_, appends)| ingested.add(appends, &self.metrics));
            }
            Err(error) => ingested.failed = Some(error),
        }
        ingested
    }

    /// The same, told apart by shards.
    async fn append_parts(&self, payload: Payload, share: Share) -> Result<Parts, WriteError> {
        let share = Arc::new(share);
        // A malformed head is the decoder's to report; one that says too much is refused there.
        let bytes_max = self.options.limits.request_bytes_max as u64;
        share.take(payload.declared_len().filter(|len| *len <= bytes_max).unwrap_or(0) as usize)?;
        let state = self.shards.state();
        let split = self.decode(&payload, &state, (Naming::Known, &share)).await?;
        self.metrics.metadata.inc_by(split.metadata);
        let started = self.clock.monotonic();
        let mut appended = self.append_all(split.batches, &state).await;
        let unknown: BTreeSet<ShardId> = appended.iter().filter_map(unknown_series).collect();
        if !unknown.is_empty() {
            self.metrics.relabelled.inc();
            appended.retain(|(shard, _)| !unknown.contains(shard));
            let mut again = self.decode(&payload, &state, (Naming::Labels, &share)).await?.batches;
            again.retain(|shard, _| unknown.contains(shard));
            appended.extend(self.append_all(again, &state).await);
        }
        let took = self.clock.monotonic().saturating_sub(started);
        self.metrics.append_seconds.observe(took.as_secs_f64());
        for (reason, refusal) in &split.refused {
            self.metrics.samples(reason.name(), refusal.samples);
        }
        Ok(Parts { refused: split.refused, shards: appended })
    }

    async fn decode(
        &self,
        payload: &Payload,
        state: &Arc<ClusterState>,
        (naming, share): (Naming, &Arc<Share>),
    ) -> Result<Split, WriteError> {
        if state.epochs().is_empty() {
            return Err(WriteError::Unavailable("cluster state is not known yet".to_owned()));
        }
        let (now, limits) = (self.clock.now(), self.options.limits);
        let pairs = self.options.pairs.as_ref().map(|pairs| pairs.labels.clone());
        let (state, series) = (Arc::clone(state), Arc::clone(&self.series));
        let (described, share) = (Arc::clone(&self.described), Arc::clone(share));
        let run = move |payload: &Payload| {
            let by = SplitBy {
                epochs: state.epochs(),
                now,
                cache: &series,
                naming,
                age: Age::Window,
                limits: &limits,
                described: &described,
                pairs: pairs.as_ref(),
                memory: &share,
            };
            payload.split(&by)
        };
        if payload.declared_len().is_some_and(|len| len <= DECODED_INLINE_BYTES) {
            return Ok(run(payload)?);
        }
        let _turn = self.decoding.acquire().await.expect("nobody closes it");
        let payload = payload.clone();
        match tokio::task::spawn_blocking(move || run(&payload)).await {
            Ok(split) => Ok(split?),
            Err(_) => Err(WriteError::Internal("decoding was interrupted".to_owned())),
        }
    }

    /// Appends every shard's part, all shards at the same time.
    async fn append_all(
        &self,
        batches: BTreeMap<ShardId, Vec<Batch>>,
        state: &ClusterState,
    ) -> Vec<(ShardId, Appends)> {
        let revision = state.revision();
        let append = async |(shard, batches)| (shard, self.append(shard, batches, revision).await);
        join_all(batches.into_iter().map(append)).await
    }

    async fn append(&self, shard: ShardId, batches: Vec<Batch>, revision: u64) -> Appends {
        let bytes = batches.iter().map(|batch| batch.bytes.len()).sum();
        let Some(_waiting) = self.wait_for(shard, bytes) else {
            let reason = "too many bytes wait for it".to_owned();
            return Err(ShardError::Unavailable { shard, reason });
        };
        let Some(attempt) = self.silences.attempt(shard) else {
            let reason = "it has had no leader for a while, and a request waits for one".to_owned();
            return Err(ShardError::Unavailable { shard, reason });
        };
        let mut answers = Vec::with_capacity(batches.len());
        for Batch { bytes, labelled, described, has_samples } in batches {
            let asked = self.clock.monotonic();
            let result = self.append_batch_to(shard, bytes, revision).await;
            match &result {
                Err(ShardError::Unavailable { .. }) => {
                    attempt.unanswered(self.clock.monotonic().saturating_sub(asked));
                }
                _ => attempt.answered(),
            }
            match result {
                Ok(answer) => {
                    self.learn(shard, &labelled, &answer);
                    self.described.learn(&described);
                    answers.push(answer);
                }
                Err(error) if has_samples => return Err(error),
                // Descriptions come again with the next request.
                Err(error) => debug!(%error, "metadata not stored"),
            }
        }
        Ok(answers)
    }

    /// Remembers what the shard calls the series of a batch.
    fn learn(&self, shard: ShardId, labelled: &[Labelled], answer: &Appended) {
        if labelled.is_empty() || labelled.len() != answer.series.len() {
            return;
        }
        let named = labelled.iter().zip(&answer.series).filter(|(_, series)| **series != u32::MAX);
        self.series.learn(named.filter_map(|(labelled, &series)| {
            let series = KnownSeries { series, fingerprint: labelled.fingerprint };
            Some((labelled.hash?, Home { epoch: labelled.epoch, shard, series }))
        }));
        self.metrics.series_cached.set(self.series.len() as i64);
    }

    /// Counts `bytes` as waiting for `shard` until dropped; `None` where too many do.
    fn wait_for(&self, shard: ShardId, bytes: usize) -> Option<Waiting<'_>> {
        let mut waiting = self.waiting.lock();
        let of_shard = waiting.entry(shard).or_default();
        // A request that comes alone is always let through.
        let waiting_max = self.options.limits.memory_bytes_max / WAITING_SHARE;
        if *of_shard > 0 && *of_shard + bytes > waiting_max {
            return None;
        }
        *of_shard += bytes;
        Some(Waiting { router: self, shard, bytes })
    }

    /// Counts a refusal and gives its answer.
    fn refuse(&self, error: &WriteError) -> Response {
        self.metrics.request_failed(error.status().1);
        match error {
            WriteError::Internal(_) => warn!(%error, "write request failed"),
            _ => debug!(%error, "write request refused"),
        }
        error.response()
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Router")
    }
}

/// The shard, if it must be sent labels.
fn unknown_series((_, appends): &(ShardId, Appends)) -> Option<ShardId> {
    match appends {
        Err(ShardError::UnknownSeries { shard }) => Some(*shard),
        _ => None,
    }
}

/// Bytes that wait for a shard.
struct Waiting<'a> {
    router: &'a Router,
    shard: ShardId,
    bytes: usize,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self.router.waiting.lock();
        let left = waiting.get(&self.shard).map_or(0, |bytes| bytes.saturating_sub(self.bytes));
        match left {
            0 => waiting.remove(&self.shard),
            left => waiting.insert(self.shard, left),
        };
    }
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod tests;
