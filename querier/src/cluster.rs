//! The cluster as a querier sees it.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use narthex_cluster::{ClusterState, NodeId, ShardId};
use narthex_proto::{
    client::{ShardClient, ShardError},
    internal::v1::{
        AlertmanagersRequest, AlertmanagersResponse, CardinalityPart, CardinalityRequest,
        ChangesRequest, ChangesResponse, CleanTombstonesRequest, CleanTombstonesResponse,
        DeleteRequest, Deleted, ExemplarsPart, FragmentPart, FragmentRequest, LabelValuesRequest,
        MetadataPart, MetadataRequest, MovesRequest, MovesResponse, NodeStatusRequest,
        NodeStatusResponse, RuleGroupStatus, RulesRequest, SelectRequest, SeriesPart,
        TargetsRequest, TargetsResponse,
    },
    service::Answers,
    snapshot::{self, NodeFailure},
};
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tonic::Status;

/// An answer under way.
pub type Asked<'a, T, E> = BoxFuture<'a, Result<T, E>>;

/// What a querier asks of shards and nodes. Implemented by the client that finds leaders, and by
/// tests. Shards are named in the requests; every call returns `within` the time at the latest.
pub trait Cluster: Send + Sync + 'static {
    /// Cluster state as this process knows it.
    fn state(&self) -> Arc<ClusterState>;
    /// Starts evaluating a fragment on its shard.
    fn fragment(
        &self,
        request: FragmentRequest,
        within: Duration,
    ) -> Asked<'_, Answers<FragmentPart>, ShardError>;
    /// Label sets of matching series of a shard.
    fn series(
        &self,
        request: SelectRequest,
        within: Duration,
    ) -> Asked<'_, Answers<SeriesPart>, ShardError>;
    /// Label names of matching series of a shard.
    fn label_names(
        &self,
        request: SelectRequest,
        within: Duration,
    ) -> Asked<'_, Vec<String>, ShardError>;
    /// Values of a label on matching series of a shard.
    fn label_values(
        &self,
        request: LabelValuesRequest,
        within: Duration,
    ) -> Asked<'_, Vec<String>, ShardError>;
    /// Exemplars of matching series of a shard.
    fn exemplars(
        &self,
        request: SelectRequest,
        within: Duration,
    ) -> Asked<'_, Answers<ExemplarsPart>, ShardError>;
    /// What a shard knows of metric families.
    fn metadata(
        &self,
        request: MetadataRequest,
        within: Duration,
    ) -> Asked<'_, Answers<MetadataPart>, ShardError>;
    /// Which labels the series of a shard have.
    fn cardinality(
        &self,
        request: CardinalityRequest,
        within: Duration,
    ) -> Asked<'_, Answers<CardinalityPart>, ShardError>;
    /// How far back in time a shard has changed.
    fn changes(
        &self,
        request: ChangesRequest,
        within: Duration,
    ) -> Asked<'_, ChangesResponse, ShardError>;
    /// Deletes what matching series of a shard have in a range.
    fn delete(&self, request: DeleteRequest, within: Duration) -> Asked<'_, Deleted, ShardError>;
    /// Takes what was deleted out of a node's replicas.
    fn clean_tombstones(
        &self,
        node: NodeId,
        within: Duration,
    ) -> Asked<'_, CleanTombstonesResponse, Status>;
    /// Takes a snapshot of all nodes' folders, of one moment.
    fn take_snapshot(&self, name: String) -> Asked<'_, (), NodeFailure>;
    /// What a node hosts.
    fn node_status(&self, node: NodeId, within: Duration) -> Asked<'_, NodeStatusResponse, Status>;
    /// The scrape targets that a node owns.
    fn targets(&self, node: NodeId, within: Duration) -> Asked<'_, TargetsResponse, Status>;
    /// The rule groups that a node evaluates, all of them.
    fn rules(
        &self,
        node: NodeId,
        request: RulesRequest,
        within: Duration,
    ) -> Asked<'_, Vec<RuleGroupStatus>, Status>;
    /// Where a node sends alerts.
    fn alertmanagers(
        &self,
        node: NodeId,
        within: Duration,
    ) -> Asked<'_, AlertmanagersResponse, Status>;
    /// What a node decided about replicas, as far as it leads the control group.
    fn moves(&self, node: NodeId, within: Duration) -> Asked<'_, MovesResponse, Status>;
}

impl Cluster for ShardClient {
    fn state(&self) -> Arc<ClusterState> {
        ShardClient::state(self)
    }

    fn fragment(
        &self,
        request: FragmentRequest,
        within: Duration,
    ) -> Asked<'_, Answers<FragmentPart>, ShardError> {
        let shard = ShardId(request.shard_id);
        Box::pin(ShardClient::fragment(self, shard, request, deadline(within)))
    }

    fn series(
        &self,
        request: SelectRequest,
        within: Duration,
    ) -> Asked<'_, Answers<SeriesPart>, ShardError> {
        let shard = ShardId(request.shard_id);
        Box::pin(ShardClient::series(self, shard, request, deadline(within)))
    }

    fn label_names(
        &self,
        request: SelectRequest,
        within: Duration,
    ) -> Asked<'_, Vec<String>, ShardError> {
        let shard = ShardId(request.shard_id);
        Box::pin(ShardClient::label_names(self, shard, request, deadline(within)))
    }

    fn label_values(
        &self,
        request: LabelValuesRequest,
        within: Duration,
    ) -> Asked<'_, Vec<String>, ShardError> {
        let shard = ShardId(request.select.as_ref().map_or(0, |select| select.shard_id));
        Box::pin(ShardClient::label_values(self, shard, request, deadline(within)))
    }

    fn exemplars(
        &self,
        request: SelectRequest,
        within: Duration,
    ) -> Asked<'_, Answers<ExemplarsPart>, ShardError> {
        let shard = ShardId(request.shard_id);
        Box::pin(ShardClient::exemplars(self, shard, request, deadline(within)))
    }

    fn metadata(
        &self,
        request: MetadataRequest,
        within: Duration,
    ) -> Asked<'_, Answers<MetadataPart>, ShardError> {
        let shard = ShardId(request.shard_id);
        Box::pin(ShardClient::metadata(self, shard, request, deadline(within)))
    }

    fn cardinality(
        &self,
        request: CardinalityRequest,
        within: Duration,
    ) -> Asked<'_, Answers<CardinalityPart>, ShardError> {
        let shard = ShardId(request.shard_id);
        Box::pin(ShardClient::cardinality(self, shard, request, deadline(within)))
    }

    fn changes(
        &self,
        request: ChangesRequest,
        within: Duration,
    ) -> Asked<'_, ChangesResponse, ShardError> {
        let shard = ShardId(request.shard_id);
        Box::pin(ShardClient::changes(self, shard, request, deadline(within)))
    }

    fn delete(&self, request: DeleteRequest, within: Duration) -> Asked<'_, Deleted, ShardError> {
        let shard = ShardId(request.shard_id);
        Box::pin(ShardClient::delete(self, shard, request, deadline(within)))
    }

    fn clean_tombstones(
        &self,
        node: NodeId,
        within: Duration,
    ) -> Asked<'_, CleanTombstonesResponse, Status> {
        Box::pin(async move {
            let node = self.node(node)?;
            in_time(within, node.clean_tombstones(CleanTombstonesRequest {})).await
        })
    }

    fn take_snapshot(&self, name: String) -> Asked<'_, (), NodeFailure> {
        Box::pin(async move {
            let state = ShardClient::state(self);
            let connected = state.members().keys().map(|&id| match self.node(id) {
                Ok(node) => Ok((id, node)),
                Err(status) => Err((id, status)),
            });
            let nodes = connected.collect::<Result<Vec<_>, _>>()?;
            snapshot::take(&nodes, &name).await.map(drop)
        })
    }

    fn node_status(&self, node: NodeId, within: Duration) -> Asked<'_, NodeStatusResponse, Status> {
        Box::pin(async move {
            let node = self.node(node)?;
            in_time(within, node.node_status(NodeStatusRequest {})).await
        })
    }

    fn targets(&self, node: NodeId, within: Duration) -> Asked<'_, TargetsResponse, Status> {
        Box::pin(async move {
            let node = self.node(node)?;
            in_time(within, node.targets(TargetsRequest {})).await
        })
    }

    fn rules(
        &self,
        node: NodeId,
        request: RulesRequest,
        within: Duration,
    ) -> Asked<'_, Vec<RuleGroupStatus>, Status> {
        Box::pin(async move {
            let node = self.node(node)?;
            let all = async {
                let groups = node.rules(request).await?;
                groups.collect::<Result<Vec<_>, _>>().await
            };
            in_time(within, all).await
        })
    }

    fn alertmanagers(
        &self,
        node: NodeId,
        within: Duration,
    ) -> Asked<'_, AlertmanagersResponse, Status> {
        Box::pin(async move {
            let node = self.node(node)?;
            in_time(within, node.alertmanagers(AlertmanagersRequest {})).await
        })
    }

    fn moves(&self, node: NodeId, within: Duration) -> Asked<'_, MovesResponse, Status> {
        Box::pin(async move {
            let node = self.node(node)?;
            in_time(within, node.moves(MovesRequest {})).await
        })
    }
}

async fn in_time<T>(
    within: Duration,
    asked: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let late = |_| Err(Status::deadline_exceeded("no answer in time"));
    tokio::time::timeout(within, asked).await.unwrap_or_else(late)
}

#[expect(clippy::disallowed_methods, reason = "deadlines of network calls are in tokio's time")]
fn deadline(within: Duration) -> Instant {
    Instant::now() + within
}
