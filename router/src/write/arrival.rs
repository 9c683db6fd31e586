//! Bodies of gRPC calls, counted as they come.
//!
//! tonic keeps what has arrived of a message until it is whole, and hands it on only then. Calls
//! are as many as connections have streams, so what arrives is counted here, as that of an HTTP
//! request is.
//!
//! Invariants
//! * what has arrived of a message is held against the memory of all requests until it is whole;
//!   from then on whoever decodes it holds memory for it;
//! * a message that has begun is whole within [`BODY_TIME`].

use std::{sync::Arc, time::Duration};

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tonic::Status;

use super::{BODY_TIME, Router, answer::WriteError, grpc::RequestBody, otlp::rpc_status};
use crate::memory::Share;

/// What has arrived of a call's next message.
#[derive(Clone)]
pub struct Arrival {
    router: Arc<Router>,
    begun: Arc<parking_lot::Mutex<Option<Begun>>>,
}

struct Begun {
    share: Share,
    /// When, on the monotonic clock.
    at: Duration,
}

impl Arrival {
    /// Of a call of which nothing has arrived.
    pub fn new(router: Arc<Router>) -> Self {
        Self { router, begun: Arc::default() }
    }

    /// The same body; it ends with an error where there is no memory for it.
    pub fn counted(&self, body: impl RequestBody) -> Body {
        let chunks = Body::new(body).into_data_stream();
        let counted = stream::unfold((self.clone(), chunks), async |(arrival, mut chunks)| {
            let chunk = arrival.next(&mut chunks).await?;
            Some((chunk, (arrival, chunks)))
        });
        Body::from_stream(counted.fuse())
    }

    /// Says that the message is whole: it is counted where it is decoded.
    pub fn is_whole(&self) {
        self.begun.lock().take();
    }

    async fn next(&self, chunks: &mut BodyDataStream) -> Option<Result<Bytes, Status>> {
        let chunk = match self.time_left() {
            None => chunks.next().await,
            Some(left) => match tokio::time::timeout(left, chunks.next()).await {
                Ok(chunk) => chunk,
                Err(_) => return Some(Err(self.refused(&WriteError::BodyTimedOut))),
            },
        };
        Some(match chunk? {
            Ok(chunk) => match self.take(chunk.len()) {
                Ok(()) => Ok(chunk),
                Err(error) => Err(self.refused(&error)),
            },
            Err(_) => Err(self.refused(&WriteError::BodyBrokeOff)),
        })
    }

    fn take(&self, bytes: usize) -> Result<(), WriteError> {
        let mut begun = self.begun.lock();
        let router = &self.router;
        let at = || Begun { share: router.memory.share(), at: router.clock.monotonic() };
        Ok(begun.get_or_insert_with(at).share.take(bytes)?)
    }

    /// Until the message that has begun must be whole.
    fn time_left(&self) -> Option<Duration> {
        let begun = self.begun.lock();
        let since = self.router.clock.monotonic().saturating_sub(begun.as_ref()?.at);
        Some(BODY_TIME.saturating_sub(since))
    }

    fn refused(&self, error: &WriteError) -> Status {
        self.is_whole();
        drop(self.router.refuse(error));
        rpc_status(error)
    }
}

#[cfg(test)]
mod tests;
