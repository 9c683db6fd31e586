//! The gRPC service `narthex.v1.Append`.
//!
//! The batches of one stream are appended one after the other, so that their samples keep their
//! order; who wants more under way opens more streams.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, future::BoxFuture, stream::BoxStream};
use narthex_cluster::ShardId;
use narthex_proto::v1::{AppendAnswer, AppendFailure, RefusedSamples, ShardResult};
use tonic::{Request, Response, Status, Streaming, server::StreamingService};

use super::{
    Router,
    answer::{Appends, Ingested, WriteError},
    arrival::Arrival,
    grpc::{self, Method, RequestBody},
};
use crate::{
    payload::Payload,
    split::Refusal,
    wire::{Reader, VARINT},
};

/// The service. It takes batches as bytes, so that they are measured before they are decoded.
#[derive(Clone)]
pub struct AppendService {
    /// Where they go.
    pub router: Arc<Router>,
    /// The most that one may have.
    pub message_bytes_max: usize,
}

impl Method for AppendService {
    const SERVICE: &'static str = "narthex.v1.Append";
    const NAME: &'static str = "Append";

    async fn answer<B: RequestBody>(
        self,
        request: http::Request<B>,
    ) -> http::Response<tonic::body::Body> {
        let arrival = Arrival::new(Arc::clone(&self.router));
        let request = request.map(|body| arrival.counted(body));
        let call = AppendCall { router: self.router, arrival };
        grpc::server(self.message_bytes_max).streaming(call, request).await
    }
}

/// One stream of batches.
struct AppendCall {
    router: Arc<Router>,
    arrival: Arrival,
}

impl StreamingService<Bytes> for AppendCall {
    type Response = AppendAnswer;
    type ResponseStream = BoxStream<'static, Result<AppendAnswer, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let (router, arrival) = (Arc::clone(&self.router), self.arrival.clone());
        let answers = request.into_inner().then(move |batch| {
            arrival.is_whole();
            let router = Arc::clone(&router);
            async move { Ok(router.append_batch(batch?).await) }
        });
        Box::pin(std::future::ready(Ok(Response::new(answers.boxed()))))
    }
}

impl Router {
    pub(super) async fn append_batch(&self, batch: Bytes) -> AppendAnswer {
        let id = batch_id(&batch);
        let parts = match self.append_parts(Payload::Batch(batch), self.memory.share()).await {
            Ok(parts) => parts,
            Err(error) => {
                self.metrics.request_failed(error.status().1);
                let failure = Some(failure(&error));
                return AppendAnswer { id, failure, ..AppendAnswer::default() };
            }
        };
        let refused = parts.refused.into_iter();
        AppendAnswer {
            id,
            refused: refused.map(|(reason, it)| row(reason.name().to_owned(), it)).collect(),
            shards: parts
                .shards
                .into_iter()
                .map(|(shard, appends)| self.shard_result(shard, appends))
                .collect(),
            failure: None,
        }
    }

    fn shard_result(&self, shard: ShardId, appends: Appends) -> ShardResult {
        let mut ingested = Ingested::default();
        ingested.add(appends, &self.metrics);
        if let Some(error) = &ingested.failed {
            self.metrics.request_failed(error.status().1);
        }
        ShardResult {
            shard_id: shard.0,
            samples: ingested.written.samples,
            histograms: ingested.written.histograms,
            exemplars: ingested.written.exemplars,
            failure: ingested.failed.as_ref().map(failure),
            refused: ingested.refused.into_iter().map(|(reason, it)| row(reason, it)).collect(),
        }
    }
}

/// What the answer repeats, also of a batch that is malformed further on.
fn batch_id(batch: &[u8]) -> u64 {
    let (mut message, mut id) = (Reader::new(batch), 0);
    while let Ok(Some((field, wire))) = message.tag() {
        let read = match (field, wire) {
            (1, VARINT) => message.varint().map(|found| id = found),
            (_, wire) => message.skip(wire),
        };
        if read.is_err() {
            break;
        }
    }
    id
}

fn row(reason: String, refusal: Refusal) -> RefusedSamples {
    RefusedSamples { reason, samples: refusal.samples, example: refusal.example }
}

fn failure(error: &WriteError) -> AppendFailure {
    let retry_after = error.retry_after_seconds();
    AppendFailure {
        code: error.status().1.to_owned(),
        message: error.to_string(),
        retryable: retry_after.is_some(),
        retry_after_ms: retry_after.unwrap_or(0) * 1000,
    }
}

#[cfg(test)]
mod tests;
