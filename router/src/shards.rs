//! Where batches go.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use narthex_cluster::{ClusterState, ShardId};
use narthex_proto::{
    client::{ShardClient, ShardError, append_request},
    internal::v1::Appended,
};
use tokio::time::Instant;

/// The cluster as a router sees it. Implemented by the client that finds leaders, and by tests.
pub trait ShardWrites: Send + Sync + 'static {
    /// Cluster state as this process knows it.
    fn state(&self) -> Arc<ClusterState>;

    /// Appends a batch, routed by `revision` of cluster state. Finds the leader, and the next one
    /// after a failure; returns `within` the time at the latest.
    fn append(
        &self,
        shard: ShardId,
        revision: u64,
        batch: Bytes,
        within: Duration,
    ) -> BoxFuture<'_, Result<Appended, ShardError>>;
}

impl ShardWrites for ShardClient {
    fn state(&self) -> Arc<ClusterState> {
        ShardClient::state(self)
    }

    fn append(
        &self,
        shard: ShardId,
        revision: u64,
        batch: Bytes,
        within: Duration,
    ) -> BoxFuture<'_, Result<Appended, ShardError>> {
        let deadline = deadline(within);
        let request = append_request(shard, revision, batch);
        Box::pin(ShardClient::append(self, shard, request, deadline))
    }
}

#[expect(clippy::disallowed_methods, reason = "deadlines of network calls are in tokio's time")]
fn deadline(within: Duration) -> Instant {
    Instant::now() + within
}
