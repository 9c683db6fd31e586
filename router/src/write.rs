//! `POST /api/v1/write`.
//!
//! Answers: 204 when every shard has its part; 400 when the request or some of its samples can
//! never be accepted (the rest is stored); 413 for one that is too large; 429 and 503, with
//! `Retry-After`, when sending it again can succeed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::Request,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, StatusCode, header};
use narthex_cluster::{ClusterState, ShardId};
use narthex_proto::{batch::KnownSeries, client::ShardError, internal::v1::Appended};
use narthex_web::{
    Clock, Routes, access,
    body::{self, BodyError},
};
use prometheus_client::registry::Registry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, warn};

use crate::{
    metrics::RouterMetrics,
    remote_write::{DECODED_BYTES_MAX, DecodeError, decompress},
    series_cache::{Home, SeriesCache},
    shards::ShardWrites,
    split::{Batch, Labelled, Naming, Refusal, Split, split},
};

/// Time a sender has to send its body.
const BODY_TIME: Duration = Duration::from_secs(30);
/// Time the shards have for a request: below the 30 s after which senders give up, so that they
/// hear why.
const APPEND_TIME: Duration = Duration::from_secs(20);
/// Decompressed bytes of all requests under way. More is refused, so that a burst costs senders a
/// pause and not this process its memory.
const IN_FLIGHT_KIB: u32 = 256 << 10;
/// The part of it that may wait for one shard: a shard without a leader must not starve others.
const WAITING_BYTES_PER_SHARD: usize = 32 << 20;
/// A larger request is decoded off the network threads.
const DECODED_INLINE_BYTES: usize = 512 << 10;
/// What a sender is asked to wait after 429 or 503.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a write request fails. Each variant is one thing the sender does next.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    /// Send remote write 1.0.
    #[error("{0}")]
    Unsupported(String),
    /// The body could not be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// Drop it: it will be refused every time.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Some samples will be refused every time; the rest is stored.
    #[error("{0}")]
    Samples(String),
    /// Wait, then send again.
    #[error("{0}")]
    Busy(String, Duration),
    /// Wait, then send again: parts of it may be stored, which is harmless.
    #[error("{0}")]
    Unavailable(String),
    /// A shard's node cannot work with what we send.
    #[error("{0}")]
    Internal(String),
}

/// What a router may use.
#[derive(Debug, Clone, Copy)]
pub struct RouterOptions {
    /// Series whose numbers it remembers, about 64 bytes each.
    pub series_cached_max: usize,
    /// Random: keeps senders from guessing how their labels are hashed.
    pub seed: u128,
}

/// The write front door of a process.
pub struct Router {
    shards: Arc<dyn ShardWrites>,
    series: Arc<SeriesCache>,
    clock: Clock,
    metrics: RouterMetrics,
    in_flight: Arc<Semaphore>,
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
        Arc::new(Self {
            shards,
            series: Arc::new(SeriesCache::new(options.series_cached_max, options.seed)),
            clock,
            metrics,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_KIB as usize)),
            waiting: parking_lot::Mutex::default(),
        })
    }

    /// Adds the routes that a router serves.
    pub fn add_routes(self: &Arc<Self>, routes: &mut Routes) {
        let router = Arc::clone(self);
        routes.http(&access::WRITE, async move |request: Request| {
            match router.write(request).await {
                Ok(()) => StatusCode::NO_CONTENT.into_response(),
                Err(error) => router.refuse(&error),
            }
        });
    }

    async fn write(&self, request: Request) -> Result<(), WriteError> {
        check_headers(request.headers())?;
        let compressed_max = snap::raw::max_compress_len(DECODED_BYTES_MAX);
        let body = body::read(request.into_body(), compressed_max, BODY_TIME).await?;
        let _permit = self.admit(&body)?;
        let state = self.shards.state();
        let split = self.decode(&body, &state, Naming::Known).await?;
        self.metrics.metadata.inc_by(split.metadata);
        let started = self.clock.monotonic();
        let mut appended = self.append_all(split.batches, &state).await;
        let unknown: BTreeSet<ShardId> = appended.iter().filter_map(unknown_series).collect();
        if !unknown.is_empty() {
            self.metrics.relabelled.inc();
            appended.retain(|appends| unknown_series(appends).is_none());
            let mut again = self.decode(&body, &state, Naming::Labels).await?.batches;
            again.retain(|shard, _| unknown.contains(shard));
            appended.extend(self.append_all(again, &state).await);
        }
        let took = self.clock.monotonic().saturating_sub(started);
        self.metrics.append_seconds.observe(took.as_secs_f64());
        let mut refused: BTreeMap<String, Refusal> = BTreeMap::new();
        for (reason, refusal) in split.refused {
            self.metrics.samples(reason.name(), refusal.samples);
            refused.insert(reason.name().to_owned(), refusal);
        }
        self.gather(appended, &mut refused)?;
        match refused.is_empty() {
            true => Ok(()),
            false => Err(WriteError::Samples(describe(&refused, split.samples))),
        }
    }

    /// Holds a share of memory for the request's decompressed size.
    fn admit(&self, body: &[u8]) -> Result<InFlight, WriteError> {
        // Malformed heads are reported by the decoder.
        let declared = snap::raw::decompress_len(body).unwrap_or(0).min(DECODED_BYTES_MAX);
        let kib = u32::try_from(declared.div_ceil(1024)).unwrap_or(IN_FLIGHT_KIB);
        let permit = Arc::clone(&self.in_flight)
            .try_acquire_many_owned(kib)
            .map_err(|_| WriteError::Busy("too many bytes under way".to_owned(), RETRY_AFTER))?;
        let gauge = self.metrics.in_flight_bytes.clone();
        gauge.inc_by(declared as i64);
        Ok(InFlight { _permit: permit, gauge, bytes: declared as i64 })
    }

    async fn decode(
        &self,
        body: &Bytes,
        state: &Arc<ClusterState>,
        naming: Naming,
    ) -> Result<Split, WriteError> {
        if state.epochs().is_empty() {
            return Err(WriteError::Unavailable("cluster state is not known yet".to_owned()));
        }
        let now = self.clock.now();
        let inline = snap::raw::decompress_len(body).is_ok_and(|len| len <= DECODED_INLINE_BYTES);
        if inline {
            return Ok(split(&decompress(body)?, state.epochs(), now, &self.series, naming)?);
        }
        let (body, state, series) = (body.clone(), Arc::clone(state), Arc::clone(&self.series));
        let run = move || split(&decompress(&body)?, state.epochs(), now, &series, naming);
        match tokio::task::spawn_blocking(run).await {
            Ok(split) => Ok(split?),
            Err(_) => Err(WriteError::Internal("decoding was interrupted".to_owned())),
        }
    }

    /// Appends every shard's part, all shards at the same time.
    async fn append_all(
        &self,
        batches: BTreeMap<ShardId, Vec<Batch>>,
        state: &ClusterState,
    ) -> Vec<Appends> {
        let revision = state.revision();
        let parts = batches.into_iter();
        join_all(parts.map(|(shard, batches)| self.append(shard, batches, revision))).await
    }

    async fn append(&self, shard: ShardId, batches: Vec<Batch>, revision: u64) -> Appends {
        let bytes = batches.iter().map(|batch| batch.bytes.len()).sum();
        let Some(_waiting) = self.wait_for(shard, bytes) else {
            let reason = "too many bytes wait for it".to_owned();
            return Err(ShardError::Unavailable { shard, reason });
        };
        let mut answers = Vec::with_capacity(batches.len());
        for Batch { bytes, labelled } in batches {
            let answer = self.shards.append(shard, revision, bytes, APPEND_TIME).await?;
            self.learn(shard, &labelled, &answer);
            answers.push(answer);
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
        if *of_shard > 0 && *of_shard + bytes > WAITING_BYTES_PER_SHARD {
            return None;
        }
        *of_shard += bytes;
        Some(Waiting { router: self, shard, bytes })
    }

    /// Adds what shards refused to `refused`, or says which failure the sender must hear of. One
    /// that sending again can mend wins over one that it cannot: the samples of the first are lost
    /// otherwise.
    fn gather(
        &self,
        appends: Vec<Appends>,
        refused: &mut BTreeMap<String, Refusal>,
    ) -> Result<(), WriteError> {
        let mut worst: Option<WriteError> = None;
        for append in appends {
            let answers = match append {
                Ok(answers) => answers,
                Err(error) => {
                    let error = write_error(error);
                    if worst.as_ref().is_none_or(|worst| rank(&error) > rank(worst)) {
                        worst = Some(error);
                    }
                    continue;
                }
            };
            for answer in answers {
                self.metrics.samples("appended", answer.samples);
                for row in answer.refused {
                    self.metrics.samples_refused_by_shard(&row.reason, row.samples);
                    let refusal = refused.entry(row.reason).or_default();
                    refusal.samples += row.samples;
                    if refusal.example.is_empty() {
                        refusal.example = row.example;
                    }
                }
            }
        }
        worst.map_or(Ok(()), Err)
    }

    /// The one place that chooses a status code.
    fn refuse(&self, error: &WriteError) -> Response {
        let (status, outcome) = match error {
            WriteError::Unsupported(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported"),
            WriteError::Body(BodyError::TooLarge { .. })
            | WriteError::Decode(DecodeError::TooLarge { .. }) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too_large")
            }
            WriteError::Body(BodyError::TimedOut) => (StatusCode::REQUEST_TIMEOUT, "body"),
            WriteError::Body(BodyError::BrokeOff) => (StatusCode::BAD_REQUEST, "body"),
            WriteError::Decode(_) => (StatusCode::BAD_REQUEST, "malformed"),
            WriteError::Samples(_) => (StatusCode::BAD_REQUEST, "samples"),
            WriteError::Busy(..) => (StatusCode::TOO_MANY_REQUESTS, "busy"),
            WriteError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            WriteError::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        self.metrics.request_failed(outcome);
        match error {
            WriteError::Internal(_) => warn!(%error, "write request failed"),
            _ => debug!(%error, "write request refused"),
        }
        let mut response = (status, format!("{error}\n")).into_response();
        let retry_after = match error {
            WriteError::Busy(_, after) => Some(*after),
            WriteError::Unavailable(_) => Some(RETRY_AFTER),
            _ => None,
        };
        if let Some(after) = retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, seconds.max(1).into());
        }
        response
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Router")
    }
}

/// What a shard said to each of its batches, or why it did not take them all.
type Appends = Result<Vec<Appended>, ShardError>;

/// The shard, if it must be sent labels.
fn unknown_series(appends: &Appends) -> Option<ShardId> {
    match appends {
        Err(ShardError::UnknownSeries { shard }) => Some(*shard),
        _ => None,
    }
}

/// A request's share of memory.
struct InFlight {
    _permit: OwnedSemaphorePermit,
    gauge: prometheus_client::metrics::gauge::Gauge,
    bytes: i64,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gauge.dec_by(self.bytes);
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

fn check_headers(headers: &HeaderMap) -> Result<(), WriteError> {
    let text =
        |name| headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).to_lowercase());
    let content_type =
        text(header::CONTENT_TYPE).unwrap_or_else(|| "application/x-protobuf".into());
    let mut parts = content_type.split(';').map(str::trim);
    let is_protobuf = parts.next() == Some("application/x-protobuf");
    let is_version_1 = parts
        .filter_map(|part| part.strip_prefix("proto="))
        .all(|message| message.trim_matches('"') == "prometheus.writerequest");
    if !is_protobuf || !is_version_1 {
        return Err(WriteError::Unsupported(format!(
            "content type {content_type:?} is not supported, only application/x-protobuf with \
             remote write 1.0 is"
        )));
    }
    match text(header::CONTENT_ENCODING).as_deref() {
        None | Some("snappy") => Ok(()),
        Some(other) => Err(WriteError::Unsupported(format!(
            "content encoding {other:?} is not supported, only snappy is"
        ))),
    }
}

fn write_error(error: ShardError) -> WriteError {
    let text = error.to_string();
    match error {
        ShardError::Unavailable { .. } => WriteError::Unavailable(text),
        ShardError::Busy { retry_after, .. } => WriteError::Busy(text, retry_after),
        ShardError::Refused { status, .. } => {
            WriteError::Internal(format!("{text}: {}", status.message()))
        }
        // It was sent labels, and still says so.
        ShardError::UnknownSeries { .. } => WriteError::Unavailable(text),
    }
}

/// Which failure is reported where there are several.
fn rank(error: &WriteError) -> u8 {
    match error {
        WriteError::Unavailable(_) => 2,
        WriteError::Busy(..) => 1,
        _ => 0,
    }
}

fn describe(refused: &BTreeMap<String, Refusal>, sent: u64) -> String {
    let all: u64 = refused.values().map(|refusal| refusal.samples).sum();
    let reasons: Vec<_> = refused
        .iter()
        .map(|(reason, refusal)| {
            format!("{} {reason} (for example {})", refusal.samples, refusal.example)
        })
        .collect();
    let kept = if sent > 0 { "the rest is stored" } else { "nothing is stored" };
    format!("{all} samples refused, {kept}: {}", reasons.join(", "))
}

#[cfg(test)]
mod tests;
