//! The gRPC service `narthex.v1.Append`.
//!
//! The batches of one stream are appended one after the other, so that their samples keep their
//! order; who wants more under way opens more streams.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt as _};
use narthex_cluster::ShardId;
use narthex_proto::v1::{
    AppendAnswer, AppendBatch, AppendFailure, RefusedSamples, ShardResult, append_server::Append,
};
use prost::Message as _;
use tonic::{Request, Response, Status, Streaming};

use super::{
    Router,
    answer::{Appends, Ingested, WriteError},
};
use crate::{payload::Payload, split::Refusal};

/// The service.
pub struct AppendService(pub Arc<Router>);

#[tonic::async_trait]
impl Append for AppendService {
    type AppendStream = Pin<Box<dyn Stream<Item = Result<AppendAnswer, Status>> + Send>>;

    async fn append(
        &self,
        request: Request<Streaming<AppendBatch>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let router = Arc::clone(&self.0);
        let answers = request.into_inner().then(move |batch| {
            let router = Arc::clone(&router);
            async move { Ok(router.append_batch(batch?).await) }
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

impl Router {
    pub(super) async fn append_batch(&self, batch: AppendBatch) -> AppendAnswer {
        let (id, bytes) = (batch.id, batch.encoded_len());
        let parts = match self.append_parts(Payload::Batch(Arc::new(batch), bytes)).await {
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
            failure: ingested.failed.as_ref().map(failure),
            refused: ingested.refused.into_iter().map(|(reason, it)| row(reason, it)).collect(),
        }
    }
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
