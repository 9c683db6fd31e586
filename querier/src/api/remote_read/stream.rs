//! Answers to remote reads in chunks, which are sent while they are read.
//!
//! ```text
//! answer := { frame }
//! frame  := uvarint(bytes of the message) crc32c(message) message     the sum big-endian
//! ```
//!
//! A message is a `ChunkedReadResponse` of one series, as clients look at the first one only.

use std::{io, sync::Arc};

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::stream;
use http::header;
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};

use super::{
    ExternalLabels, labelled,
    message::{Chunk, ChunkedReadResponse, ChunkedSeries, Query, pairs},
};
use crate::{
    Querier,
    chunk::chunks,
    error::{ApiError, ErrorType},
    raw::RawSelector,
    sorted::SortedSeries,
    turn::Turn,
};

const CONTENT_TYPE: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
/// A message is ended before a chunk would make it larger, as far as Prometheus's default goes; a
/// chunk of histograms may be larger alone.
const MESSAGE_BYTES: usize = 1 << 20;
/// The most that a key and a length take in a message.
const LENGTH_BYTES: usize = 6;
/// Frames that wait for a slow client: enough to keep the reader busy, and no more.
const FRAMES_WAITING: usize = 4;

/// What was asked and how it is answered.
pub struct Streamed {
    pub queries: Vec<Query>,
    /// As many as queries.
    pub selectors: Vec<RawSelector>,
    pub external: ExternalLabels,
    pub turn: Turn,
}

/// Answers once the first frame is there, so that a refusal still has its status. Reading ends
/// when the client goes away or the time is up: the body breaks off then.
pub async fn answer(api: &Arc<Querier>, asked: Streamed) -> Result<Response, ApiError> {
    let (frames, mut queue) = mpsc::channel(FRAMES_WAITING);
    let (ended, end) = oneshot::channel();
    let (api, runtime) = (Arc::clone(api), tokio::runtime::Handle::current());
    // Encoding takes a thread for longer than others should wait for it.
    tokio::task::spawn_blocking(move || {
        let told = runtime.block_on(read(&api, &asked, frames));
        if let Err(error) = &told {
            tracing::debug!(%error, "a streamed remote read ended early");
        }
        // Nobody may be left to be told.
        let _ = ended.send(told);
    });
    let body = match queue.recv().await {
        Some(first) => {
            let rest = Rest { first: Some(first), queue, end: Some(end) };
            Body::from_stream(stream::unfold(rest, Rest::next))
        }
        None => outcome(end).await.map(|()| Body::empty())?,
    };
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response())
}

type End = oneshot::Receiver<Result<(), ApiError>>;

/// A body under way.
struct Rest {
    first: Option<Bytes>,
    queue: mpsc::Receiver<Bytes>,
    end: Option<End>,
}

impl Rest {
    async fn next(mut self) -> Option<(Result<Bytes, io::Error>, Self)> {
        let frame = match self.first.take() {
            None => self.queue.recv().await,
            first => first,
        };
        match frame {
            Some(frame) => Some((Ok(frame), self)),
            None => {
                let error = outcome(self.end.take()?).await.err()?;
                Some((Err(io::Error::other(error)), self))
            }
        }
    }
}

async fn outcome(end: End) -> Result<(), ApiError> {
    let failed = |_| ApiError::new(ErrorType::Internal, "reading ended without an outcome");
    end.await.map_err(failed)?
}

/// Reads and sends all, as long as somebody listens.
async fn read(
    api: &Querier,
    asked: &Streamed,
    frames: mpsc::Sender<Bytes>,
) -> Result<(), ApiError> {
    let work = async {
        for (index, (query, selector)) in asked.queries.iter().zip(&asked.selectors).enumerate() {
            let mut found = api.sorted_series(selector, query.range(), &asked.turn.bytes).await?;
            for warning in &found.warnings {
                tracing::warn!(warning, "an answer to a remote read is not complete");
            }
            send(&mut found, index, &asked.external, &frames).await?;
        }
        Ok(())
    };
    let gone = async {
        frames.closed().await;
        Err(gone())
    };
    let work = async {
        tokio::select! {
            done = work => done,
            gone = gone => gone,
        }
    };
    asked.turn.work(api.options.timeout, "reading samples", work).await
}

fn gone() -> ApiError {
    ApiError::new(ErrorType::Canceled, "the client went away")
}

async fn send(
    found: &mut SortedSeries<'_>,
    query_index: usize,
    external: &ExternalLabels,
    frames: &mpsc::Sender<Bytes>,
) -> Result<(), ApiError> {
    while let Some((labels, samples)) = found.next().await? {
        let labels = pairs(&labelled(&labels, external));
        let series = ChunkedSeries { labels, chunks: Vec::new() };
        let mut message =
            ChunkedReadResponse { chunked_series: vec![series], query_index: query_index as i64 };
        // The length of the series grows with it.
        let bytes_bare = message.encoded_len() + LENGTH_BYTES;
        let mut bytes = bytes_bare;
        for chunk in chunks(&samples) {
            let chunk = Chunk::from(chunk);
            let more = chunk.encoded_len() + LENGTH_BYTES;
            let waiting = &mut message.chunked_series[0].chunks;
            if bytes + more > MESSAGE_BYTES && !waiting.is_empty() {
                let full = frame(&message);
                message.chunked_series[0].chunks = vec![chunk];
                bytes = bytes_bare + more;
                frames.send(full).await.map_err(|_| gone())?;
            } else {
                waiting.push(chunk);
                bytes += more;
            }
        }
        if !message.chunked_series[0].chunks.is_empty() {
            frames.send(frame(&message)).await.map_err(|_| gone())?;
        }
    }
    Ok(())
}

fn frame(message: &ChunkedReadResponse) -> Bytes {
    let message = message.encode_to_vec();
    let mut frame = BytesMut::with_capacity(message.len() + 16);
    prost::encode_length_delimiter(message.len(), &mut frame)
        .expect("a growing buffer takes any length");
    frame.put_u32(crc32c::crc32c(&message));
    frame.extend_from_slice(&message);
    frame.freeze()
}
