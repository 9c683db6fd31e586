//! `narthex.v1.Objects`, and the same over HTTP: config objects are checked here, by the process
//! that is asked, and changed by the control group.

mod http;
mod plan;
mod show;
mod watch;

use std::{pin::Pin, sync::Arc, time::Duration};

use narthex_cluster::{ClusterState, Command, Gate, ObjectChange, ObjectOutcome, Outcome};
use narthex_proto::v1::{
    ApplyObjectsRequest, DeleteObjectsRequest, ListObjectsRequest, ObjectEvent, ObjectHistory,
    ObjectHistoryRequest, ObjectList, ObjectResults, RollbackObjectRequest,
    objects_server::{Objects, ObjectsServer},
};
use narthex_web::{Routes, sender};
use tokio::{sync::watch as state_watch, time::timeout};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use self::plan::{Author, Plan};
use crate::proposer::Proposer;

/// How long this process may take to hear of what it has changed.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(2);
/// Changes and bytes of one entry of the control group. An object may be larger than the latter.
const CHANGES_AT_ONCE: usize = 64;
const BYTES_AT_ONCE: usize = 1 << 20;

/// Adds the service and its HTTP form.
pub fn add(
    routes: &mut Routes,
    proposer: Proposer,
    state: state_watch::Receiver<Arc<ClusterState>>,
) {
    let service = ObjectService { proposer, state };
    http::add(routes, &service);
    routes.grpc(ObjectsServer::new(service));
}

/// See the module.
#[derive(Clone)]
struct ObjectService {
    proposer: Proposer,
    state: state_watch::Receiver<Arc<ClusterState>>,
}

impl ObjectService {
    /// Cluster state, if objects can be kept in it.
    fn state(&self) -> Result<Arc<ClusterState>, Status> {
        let state = self.state.borrow().clone();
        if state.shards().is_empty() {
            return Err(Status::unavailable("no node has said what the cluster's objects are"));
        }
        if !state.is_open(Gate::Objects) {
            return Err(Status::failed_precondition(
                "some node's version does not know objects, or the cluster has not been raised to \
                 the version of its nodes yet",
            ));
        }
        Ok(state)
    }

    async fn apply_documents(
        &self,
        request: ApplyObjectsRequest,
        who: &str,
    ) -> Result<ObjectResults, Status> {
        let state = self.state()?;
        let plan = plan::apply(&state, &request)?;
        let author = Author { who, note: &request.note };
        self.carry_out(plan, &state, &author, request.dry_run).await
    }

    async fn delete_named(
        &self,
        request: DeleteObjectsRequest,
        who: &str,
    ) -> Result<ObjectResults, Status> {
        let state = self.state()?;
        let plan = plan::delete(&state, &request)?;
        let author = Author { who, note: &request.note };
        self.carry_out(plan, &state, &author, request.dry_run).await
    }

    /// Asks the control group for what is planned, in as few requests as fit.
    async fn carry_out(
        &self,
        mut plan: Plan,
        state: &ClusterState,
        author: &Author<'_>,
        dry_run: bool,
    ) -> Result<ObjectResults, Status> {
        if dry_run {
            plan.try_out(state, author);
            return Ok(plan.finish());
        }
        let mut last = 0;
        for changes in chunks(plan.changes()) {
            let request = author.request(changes);
            let proposed = self.proposer.propose(Command::ChangeObjects(request)).await;
            match proposed.map_err(|error| Status::invalid_argument(error.to_string()))? {
                Outcome::Objects { revision, outcomes } => {
                    last = last.max(revision);
                    plan.note_outcomes(revision, outcomes);
                }
                other => return Err(Status::internal(format!("BUG: objects ended as {other:?}"))),
            }
        }
        // Whoever asks here next is shown what was changed.
        let mut state = self.state.clone();
        let followed = state.wait_for(|state| state.revision() >= last);
        drop(timeout(FOLLOW_TIMEOUT, followed).await);
        Ok(plan.finish())
    }
}

/// Parts that fit into an entry each, in order.
fn chunks(changes: Vec<ObjectChange>) -> Vec<Vec<ObjectChange>> {
    let mut chunks: Vec<Vec<ObjectChange>> = Vec::new();
    let mut bytes = 0;
    for change in changes {
        let more = match &change {
            ObjectChange::Put(put) => put.body.len(),
            ObjectChange::Delete(_) => 0,
        };
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < CHANGES_AT_ONCE && bytes + more <= BYTES_AT_ONCE => {
                bytes += more;
                chunk.push(change);
            }
            _ => {
                bytes = more;
                chunks.push(vec![change]);
            }
        }
    }
    chunks
}

/// What became of a change, in kubectl's word.
fn word(outcome: &ObjectOutcome) -> &'static str {
    match outcome {
        ObjectOutcome::Created => "created",
        ObjectOutcome::Updated => "configured",
        ObjectOutcome::Unchanged => "unchanged",
        ObjectOutcome::Deleted => "deleted",
        ObjectOutcome::Refused(_) => "refused",
    }
}

#[tonic::async_trait]
impl Objects for ObjectService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<ObjectEvent, Status>> + Send>>;

    async fn apply(
        &self,
        request: Request<ApplyObjectsRequest>,
    ) -> Result<Response<ObjectResults>, Status> {
        let who = sender(request.extensions());
        Ok(Response::new(self.apply_documents(request.into_inner(), &who).await?))
    }

    async fn delete(
        &self,
        request: Request<DeleteObjectsRequest>,
    ) -> Result<Response<ObjectResults>, Status> {
        let who = sender(request.extensions());
        Ok(Response::new(self.delete_named(request.into_inner(), &who).await?))
    }

    async fn list(
        &self,
        request: Request<ListObjectsRequest>,
    ) -> Result<Response<ObjectList>, Status> {
        Ok(Response::new(show::list(&*self.state()?, request.get_ref(), false)?))
    }

    async fn reveal(
        &self,
        request: Request<ListObjectsRequest>,
    ) -> Result<Response<ObjectList>, Status> {
        Ok(Response::new(show::list(&*self.state()?, request.get_ref(), true)?))
    }

    async fn watch(
        &self,
        request: Request<ListObjectsRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.state()?;
        let wanted = show::Wanted::read(request.get_ref())?;
        Ok(Response::new(Box::pin(watch::events(self.state.clone(), wanted))))
    }

    async fn history(
        &self,
        request: Request<ObjectHistoryRequest>,
    ) -> Result<Response<ObjectHistory>, Status> {
        Ok(Response::new(show::history(&*self.state()?, request.get_ref())?))
    }

    async fn rollback(
        &self,
        request: Request<RollbackObjectRequest>,
    ) -> Result<Response<ObjectResults>, Status> {
        let who = sender(request.extensions());
        let request = request.into_inner();
        let state = self.state()?;
        let plan = plan::rollback(&state, &request)?;
        let note = format!("rollback to revision {}", request.revision);
        let author = Author { who: &who, note: &note };
        let results = self.carry_out(plan, &state, &author, request.dry_run).await?;
        Ok(Response::new(results))
    }
}
