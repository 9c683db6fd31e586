//! `narthex.v1.Cluster`.

use std::{pin::Pin, sync::Arc, time::Duration};

use narthex_proto::v1::{
    ConfigRequest, ConfigResponse, Member, MembersRequest, MembersResponse, Replica, Shard,
    ShardsRequest, ShardsResponse, WatchRequest, WatchResponse, cluster_server::Cluster,
};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use crate::{Querier, status::ClusterStatus};

/// Pause between two looks of a watch.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// See the `.proto` file.
pub(super) struct ClusterService(pub(super) Arc<Querier>);

#[tonic::async_trait]
impl Cluster for ClusterService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn members(
        &self,
        _: Request<MembersRequest>,
    ) -> Result<Response<MembersResponse>, Status> {
        Ok(Response::new(members(&*self.status().await?)))
    }

    async fn shards(&self, _: Request<ShardsRequest>) -> Result<Response<ShardsResponse>, Status> {
        Ok(Response::new(shards(&*self.status().await?)))
    }

    async fn config(&self, _: Request<ConfigRequest>) -> Result<Response<ConfigResponse>, Status> {
        let config = self.0.options.config.borrow().clone();
        Ok(Response::new(ConfigResponse {
            inactive_sections: config.inactive,
            problem: config.problem,
            loaded_ms: config.loaded.millis(),
        }))
    }

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.status().await?;
        let querier = Arc::clone(&self.0);
        let changes = futures_util::stream::unfold(None, move |last| {
            let querier = Arc::clone(&querier);
            async move {
                let message = next_change(&querier, last).await;
                Some((Ok(message.clone()), Some(message)))
            }
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

impl ClusterService {
    async fn status(&self) -> Result<Arc<ClusterStatus>, Status> {
        let status = self.0.board.status().await;
        if status.cluster_id.is_empty() {
            return Err(Status::unavailable("cluster state is not known yet"));
        }
        Ok(status)
    }
}

/// Looks until something differs from `last`.
async fn next_change(querier: &Querier, last: Option<WatchResponse>) -> WatchResponse {
    loop {
        if last.is_some() {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        let status = querier.board.status().await;
        let message = WatchResponse {
            revision: status.revision,
            members: Some(members(&status)),
            shards: Some(shards(&status)),
        };
        if last.as_ref() != Some(&message) {
            return message;
        }
    }
}

fn members(status: &ClusterStatus) -> MembersResponse {
    let member = |node: &crate::NodeRow| Member {
        node_id: node.id,
        name: node.name.clone(),
        address: node.address.clone(),
        zone: node.zone.clone(),
        version: node.version.clone(),
        reachable: node.error.is_none(),
        web_address: node.web_address.clone(),
        disk_problem: node.disk_problem.clone(),
        state: node.state.to_owned(),
    };
    MembersResponse {
        cluster_id: status.cluster_id.clone(),
        members: status.nodes.iter().map(member).collect(),
    }
}

fn shards(status: &ClusterStatus) -> ShardsResponse {
    let replica = |row: &crate::ReplicaRow| Replica {
        node_id: row.node,
        match_index: row.match_index,
        lag_entries: row.lag_entries.unwrap_or(0),
    };
    let shard = |row: &crate::GroupRow| Shard {
        shard_id: row.id,
        leader_node_id: row.leader.unwrap_or(0),
        term: row.term,
        commit_index: row.commit_index,
        replicas: row.replicas.iter().map(replica).collect(),
        active_series: row.active_series,
    };
    ShardsResponse {
        shards: status.shards.iter().map(shard).collect(),
        replication_factor: u32::from(status.replication_factor),
    }
}
