//! `narthex.v1.Membership`: which nodes belong to the cluster, and what is moved between them.

use std::sync::Arc;

use narthex_cluster::{ChangeRing, ClusterState, Command, Drain, Member, MemberState, Outcome};
use narthex_proto::{
    internal::v1::{MovesRequest as AskMoves, MovesResponse as Asked},
    v1::{
        DecidedMove, DrainRequest, DrainResponse, MoveUnderWay, MovesRequest, MovesResponse,
        RemoveRequest, RemoveResponse, SplitRequest, SplitResponse,
        membership_server::{Membership, MembershipServer},
    },
};
use narthex_web::Routes;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::proposer::Proposer;

/// Adds the service.
pub fn add(routes: &mut Routes, proposer: Proposer, state: watch::Receiver<Arc<ClusterState>>) {
    routes.grpc(MembershipServer::new(MembershipService { proposer, state }));
}

struct MembershipService {
    proposer: Proposer,
    state: watch::Receiver<Arc<ClusterState>>,
}

impl MembershipService {
    /// The member of this name or id.
    fn member(&self, node: &str) -> Result<Member, Status> {
        let state = self.state.borrow().clone();
        let mut members = state.members().values();
        let found = members.find(|it| it.name == node || it.id.to_string() == node);
        found.cloned().ok_or_else(|| {
            let names: Vec<&str> = state.members().values().map(|it| it.name.as_str()).collect();
            Status::not_found(format!("there is no node {node:?}, only {}", names.join(", ")))
        })
    }

    async fn propose(&self, command: Command) -> Result<Outcome, Status> {
        let proposed = self.proposer.propose(command).await;
        proposed.map_err(|error| Status::failed_precondition(error.to_string()))
    }
}

#[tonic::async_trait]
impl Membership for MembershipService {
    async fn drain(
        &self,
        request: Request<DrainRequest>,
    ) -> Result<Response<DrainResponse>, Status> {
        let DrainRequest { node, undo } = request.into_inner();
        let member = self.member(&node)?;
        let (node, is_draining) = (member.id, member.state == MemberState::Draining);
        // Asked again and again by who waits for the node to be empty.
        if is_draining == undo {
            self.propose(Command::Drain(Drain { node, draining: !undo })).await?;
        }
        let state = self.state.borrow().clone();
        let holds = state.shards().values().filter(|it| it.nodes().any(|holder| holder == node));
        Ok(Response::new(DrainResponse { replicas: holds.count() as u64 }))
    }

    async fn remove(
        &self,
        request: Request<RemoveRequest>,
    ) -> Result<Response<RemoveResponse>, Status> {
        let node = self.member(&request.into_inner().node)?.id;
        self.propose(Command::RemoveMember(node)).await?;
        Ok(Response::new(RemoveResponse {}))
    }

    /// The number of shards in all, not of those to add, so that asking twice splits once.
    async fn split(
        &self,
        request: Request<SplitRequest>,
    ) -> Result<Response<SplitResponse>, Status> {
        let state = self.state.borrow().clone();
        let present = u32::try_from(state.shards().len()).unwrap_or(u32::MAX);
        let shards = match request.into_inner().shards {
            0 => present.saturating_mul(2),
            shards => shards,
        };
        let change = Command::ChangeRing(ChangeRing { shards, spread_jobs: None });
        if !state.is_open(change.gate()) {
            return Err(Status::failed_precondition(
                "some node's version does not know splits, or the cluster has not been raised to \
                 the version of its nodes yet",
            ));
        }
        match self.propose(change).await? {
            Outcome::EpochAdded { from, .. } => {
                Ok(Response::new(SplitResponse { shards, begins_ms: from.millis() }))
            }
            Outcome::Unchanged => {
                Err(Status::failed_precondition(format!("there are {shards} shards already")))
            }
            other => Err(Status::internal(format!("BUG: a split ended as {other:?}"))),
        }
    }

    async fn moves(&self, _: Request<MovesRequest>) -> Result<Response<MovesResponse>, Status> {
        let asked = ask_leader(&self.proposer).await?;
        let state = self.state.borrow().clone();
        let under_way = state.shards().iter().filter_map(|(shard, placement)| {
            let moving = placement.moving?;
            Some(MoveUnderWay {
                shard_id: shard.0,
                add_node_id: moving.add.map_or(0, |node| node.0),
                remove_node_id: moving.remove.map_or(0, |node| node.0),
            })
        });
        let decided = asked.moves.into_iter().map(|it| DecidedMove {
            time_ms: it.time_ms,
            what: it.what,
            why: it.why,
        });
        Ok(Response::new(MovesResponse {
            state: asked.state,
            under_way: under_way.collect(),
            decided: decided.collect(),
        }))
    }
}

/// What the leader of the control group says; only it knows.
async fn ask_leader(proposer: &Proposer) -> Result<Asked, Status> {
    for node in proposer.nodes() {
        if let Ok(asked) = node.moves(AskMoves {}).await
            && asked.leader_node_id.is_none()
        {
            return Ok(asked);
        }
    }
    Err(Status::unavailable("no node that was asked leads the control group"))
}
