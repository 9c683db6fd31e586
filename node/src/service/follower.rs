//! Fragments that a replica answers which does not lead: of an old state whose age it tells, or of all
//! that the leader has.

use std::time::Duration;

use narthex_cluster::ShardId;
use narthex_proto::{
    internal::v1::{ChangesRequest, FragmentPart, FragmentRequest},
    service::Answers,
};
use tonic::Status;

use super::{LocalNode, refuse_other_tenants};
use crate::shard::fragment;

/// How long a follower may take to apply what the leader has, before it says that it cannot.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(1);

impl LocalNode {
    /// Evaluates on what this node's replica has, whether or not it has all that was acknowledged.
    /// It is no older than the newest entry that it has applied.
    pub(super) fn fragment_of_old(
        &self,
        request: FragmentRequest,
    ) -> Result<Answers<FragmentPart>, Status> {
        refuse_other_tenants(request.tenant)?;
        let shard = ShardId(request.shard_id);
        let replica = self.replicas.get(shard);
        let replica = replica.filter(|it| !*it.group.lacks_entries().borrow());
        let replica =
            replica.ok_or_else(|| Status::unavailable(format!("no replica of {shard}")))?;
        let newest = replica.reader.leader_time();
        let age = self.shared.clock.now().millis_since(newest).max(1);
        let age = Duration::from_millis(u64::try_from(age).unwrap_or(u64::MAX));
        let pool = self.shared.query_pool.clone();
        Ok(fragment::evaluate(replica.reader.clone(), request, (age, pool)))
    }

    /// Evaluates on this node's replica once that has applied what the leader had when it was asked:
    /// a read index, as the leader's own reads take it.
    pub(super) async fn fragment_of_follower(
        &self,
        request: FragmentRequest,
    ) -> Result<Answers<FragmentPart>, Status> {
        refuse_other_tenants(request.tenant)?;
        let shard = ShardId(request.shard_id);
        let replica = self.replicas.get(shard);
        let replica = replica.filter(|it| !*it.group.lacks_entries().borrow());
        let (Some(replica), Some(others)) = (replica, self.others.get()) else {
            return Err(Status::unavailable(format!("no replica of {shard}")));
        };
        #[expect(clippy::disallowed_methods, reason = "a call's deadline is in tokio's time")]
        let deadline = tokio::time::Instant::now() + CATCH_UP_TIMEOUT;
        let (tenant, shard_id, since_index) = (request.tenant, shard.0, u64::MAX);
        let asked = ChangesRequest { tenant, shard_id, since_index };
        let led = others.changes(shard, asked, deadline).await;
        let led = led.map_err(|error| Status::unavailable(error.to_string()))?;
        // Raft counts from 0.
        let applied = replica.group.wait_until_applied(led.applied_index.saturating_sub(1));
        match tokio::time::timeout_at(deadline, applied).await {
            Ok(Ok(())) => {
                let how = (Duration::ZERO, self.shared.query_pool.clone());
                Ok(fragment::evaluate(replica.reader.clone(), request, how))
            }
            _ => Err(Status::unavailable(format!("this replica of {shard} lags behind"))),
        }
    }
}
