//! A node that belongs to no cluster and was told of none: it waits for one `cluster init`.
//!
//! Until then its cluster listener answers nothing else. The first request founds a cluster of
//! this node alone and is answered once that has an id; a second one is refused. Others join
//! later.

use std::{net::TcpListener, pin::Pin};

use narthex_cluster::ClusterId;
use narthex_proto::internal::v1::{
    AlertmanagersRequest, AlertmanagersResponse, CleanTombstonesRequest, CleanTombstonesResponse,
    InitRequest, InitResponse, NodeStatusRequest, NodeStatusResponse, ProposeRequest,
    ProposeResponse, RuleGroupStatus, RulesRequest, SettleRequest, SettleResponse, StateRevision,
    TargetsRequest, TargetsResponse, WatchStateRequest,
    control_server::{Control, ControlServer},
};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_stream::Stream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status};
use tracing::{error, info};

use crate::{
    control::founding::FoundingPlan,
    founding::Founders,
    host,
    tls::{Incoming, ServerTls},
};

/// What `cluster init` asked for. The caller is answered when this is told the cluster's id.
pub(crate) struct Asked {
    pub founders: Founders,
    pub plan: FoundingPlan,
    pub answer: oneshot::Sender<ClusterId>,
}

/// Returns at the first request to found a cluster. `listener` is a second handle on the cluster
/// listener: nobody is accepted through it once this has returned.
pub(crate) async fn wait(
    listener: TcpListener,
    tls: Option<ServerTls>,
    advertise: &str,
    tasks: &TaskTracker,
) -> std::io::Result<Asked> {
    listener.set_nonblocking(true)?;
    let incoming = Incoming::new(tokio::net::TcpListener::from_std(listener)?, tls);
    let (sender, mut requests) = mpsc::channel(1);
    let service = ControlServer::new(Waiting { requests: Mutex::new(Some(sender)) });
    let accepted = CancellationToken::new();
    // However the wait ends, nobody else is accepted; who asked is still answered.
    let guard = accepted.clone().drop_guard();
    tasks.spawn(async move {
        let served = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, accepted.cancelled_owned());
        if let Err(problem) = served.await {
            error!(error = %problem, "cluster listener ended while waiting for cluster init");
        }
    });
    info!(node = advertise, "this node belongs to no cluster; waiting for `narthex cluster init`");
    let asked = requests.recv().await;
    drop(guard);
    let (request, answer) = asked.ok_or(std::io::ErrorKind::BrokenPipe)?;
    let plan = FoundingPlan { shards: request.shards, replication_factor: 1 };
    Ok(Asked { founders: Founders::alone(&host::host_name(), advertise), plan, answer })
}

type FirstRequest = (InitRequest, oneshot::Sender<ClusterId>);

struct Waiting {
    /// Taken by the first request.
    requests: Mutex<Option<mpsc::Sender<FirstRequest>>>,
}

fn waits<T>() -> Result<Response<T>, Status> {
    Err(Status::unavailable("the node belongs to no cluster; it waits for `narthex cluster init`"))
}

#[tonic::async_trait]
impl Control for Waiting {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<StateRevision, Status>> + Send>>;
    type RulesStream = Pin<Box<dyn Stream<Item = Result<RuleGroupStatus, Status>> + Send>>;

    async fn init(&self, request: Request<InitRequest>) -> Result<Response<InitResponse>, Status> {
        let request = request.into_inner();
        if request.replication_factor > 1 {
            return Err(Status::invalid_argument(format!(
                "a replication factor of {} needs as many nodes; init founds a cluster of one, \
                 --cluster.initial-nodes one of more",
                request.replication_factor
            )));
        }
        if !(1..=narthex_cluster::SHARDS_MAX).contains(&u64::from(request.shards)) {
            let max = narthex_cluster::SHARDS_MAX;
            return Err(Status::invalid_argument(format!("shards must be 1 to {max}")));
        }
        let first = self.requests.lock().await.take();
        let first = first.ok_or_else(|| Status::already_exists("the cluster is being founded"))?;
        let (answer, founded) = oneshot::channel();
        let stopping = || Status::unavailable("the node is stopping");
        first.send((request, answer)).await.map_err(|_| stopping())?;
        let cluster = founded.await.map_err(|_| stopping())?;
        Ok(Response::new(InitResponse { cluster_id: cluster.to_string() }))
    }

    async fn propose(
        &self,
        _: Request<ProposeRequest>,
    ) -> Result<Response<ProposeResponse>, Status> {
        waits()
    }

    async fn watch(
        &self,
        _: Request<WatchStateRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        waits()
    }

    async fn node_status(
        &self,
        _: Request<NodeStatusRequest>,
    ) -> Result<Response<NodeStatusResponse>, Status> {
        waits()
    }

    async fn settle(&self, _: Request<SettleRequest>) -> Result<Response<SettleResponse>, Status> {
        waits()
    }

    async fn clean_tombstones(
        &self,
        _: Request<CleanTombstonesRequest>,
    ) -> Result<Response<CleanTombstonesResponse>, Status> {
        waits()
    }

    async fn targets(
        &self,
        _: Request<TargetsRequest>,
    ) -> Result<Response<TargetsResponse>, Status> {
        waits()
    }

    async fn rules(&self, _: Request<RulesRequest>) -> Result<Response<Self::RulesStream>, Status> {
        waits()
    }

    async fn alertmanagers(
        &self,
        _: Request<AlertmanagersRequest>,
    ) -> Result<Response<AlertmanagersResponse>, Status> {
        waits()
    }
}
