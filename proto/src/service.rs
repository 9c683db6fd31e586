//! What a node answers to the other processes of its cluster, whether they are in the same process
//! or behind a connection.
//!
//! [`NodeService`] is that one interface. The node implements it; [`RemoteNode`] asks over a
//! channel; [`serve`] puts an implementation behind gRPC. A process that hosts a node itself hands
//! out the implementation, so that its own router and querier pay for no connection.

use std::{pin::Pin, sync::Arc};

use tokio_stream::{Stream, StreamExt as _};
use tonic::{
    Request, Response, Status,
    service::{Routes, interceptor::InterceptedService},
    transport::Channel,
};

use crate::{
    connect::OwnCluster,
    internal::v1::{
        AppendRequest, AppendResponse, CleanTombstonesRequest, CleanTombstonesResponse,
        DeleteRequest, DeleteResponse, DeleteSnapshotResponse, DigestRequest, DigestResponse,
        ExemplarsPart, ForwardRequest, FragmentPart, FragmentRequest, HoldLogRequest,
        HoldLogResponse, InitRequest, InitResponse, LabelValuesRequest, MetadataPart,
        MetadataRequest, NamesPart, NodeStatusRequest, NodeStatusResponse, PrepareSnapshotResponse,
        ProposeRequest, ProposeResponse, SelectRequest, SeriesPart, SettleRequest, SettleResponse,
        SnapshotPart, SnapshotRequest, SnapshotResponse, StateRevision, TargetsRequest,
        TargetsResponse, WatchStateRequest,
        backup_client::BackupClient,
        backup_server::{Backup, BackupServer},
        control_client::ControlClient,
        control_server::{Control, ControlServer},
        shard_read_client::ShardReadClient,
        shard_read_server::{ShardRead, ShardReadServer},
        shard_write_client::ShardWriteClient,
        shard_write_server::{ShardWrite, ShardWriteServer},
    },
};

/// Bytes of one message, both ways: an entry is at most 4 MiB, columns come in smaller parts.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// A stream of answers.
pub type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Everything a node answers to its peers, routers and queriers. Each call is as its gRPC
/// counterpart in `narthex/internal/v1` says.
#[tonic::async_trait]
pub trait NodeService: Send + Sync + 'static {
    /// Appends a batch to a shard that this node leads.
    async fn append(&self, request: AppendRequest) -> Result<AppendResponse, Status>;
    /// Appends a part of a scrape from another shard to a shard that this node leads.
    async fn forward(&self, request: ForwardRequest) -> Result<AppendResponse, Status>;
    /// Deletes what matching series of a shard that this node leads have in a range.
    async fn delete(&self, request: DeleteRequest) -> Result<DeleteResponse, Status>;
    /// Evaluates a fragment of PromQL on one shard.
    async fn fragment(&self, request: FragmentRequest) -> Result<Answers<FragmentPart>, Status>;
    /// Label sets of matching series.
    async fn series(&self, request: SelectRequest) -> Result<Answers<SeriesPart>, Status>;
    /// Label names of matching series.
    async fn label_names(&self, request: SelectRequest) -> Result<Answers<NamesPart>, Status>;
    /// Values of one label on matching series.
    async fn label_values(&self, request: LabelValuesRequest)
    -> Result<Answers<NamesPart>, Status>;
    /// Exemplars of matching series.
    async fn exemplars(&self, request: SelectRequest) -> Result<Answers<ExemplarsPart>, Status>;
    /// What is known of metric families.
    async fn metadata(&self, request: MetadataRequest) -> Result<Answers<MetadataPart>, Status>;
    /// A hash of what a replica holds.
    async fn digest(&self, request: DigestRequest) -> Result<DigestResponse, Status>;
    /// Proposes a command to the control group.
    async fn propose(&self, request: ProposeRequest) -> Result<ProposeResponse, Status>;
    /// Cluster state now and after every change.
    async fn watch(&self, request: WatchStateRequest) -> Result<Answers<StateRevision>, Status>;
    /// Founds a cluster on a node that waits for it.
    async fn init(&self, request: InitRequest) -> Result<InitResponse, Status>;
    /// What this node hosts.
    async fn node_status(&self, request: NodeStatusRequest) -> Result<NodeStatusResponse, Status>;
    /// One step of writing everything to disk in its final form.
    async fn settle(&self, request: SettleRequest) -> Result<SettleResponse, Status>;
    /// Takes what was deleted out of this node's replicas.
    async fn clean_tombstones(
        &self,
        request: CleanTombstonesRequest,
    ) -> Result<CleanTombstonesResponse, Status>;
    /// Scrape targets that this node owns.
    async fn targets(&self, request: TargetsRequest) -> Result<TargetsResponse, Status>;
    /// Begins a snapshot of the node's folder with its checkpoints.
    async fn prepare_snapshot(
        &self,
        request: SnapshotRequest,
    ) -> Result<PrepareSnapshotResponse, Status>;
    /// Keeps the node's raft log as it is for the snapshot.
    async fn hold_log(&self, request: HoldLogRequest) -> Result<HoldLogResponse, Status>;
    /// Adds the held log to the snapshot.
    async fn complete_snapshot(&self, request: SnapshotRequest)
    -> Result<SnapshotResponse, Status>;
    /// The files of a snapshot.
    async fn read_snapshot(
        &self,
        request: SnapshotRequest,
    ) -> Result<Answers<SnapshotPart>, Status>;
    /// Deletes a snapshot.
    async fn delete_snapshot(
        &self,
        request: SnapshotRequest,
    ) -> Result<DeleteSnapshotResponse, Status>;
}

/// A node behind a connection.
#[derive(Debug, Clone)]
pub struct RemoteNode {
    write: ShardWriteClient<Asking>,
    read: ShardReadClient<Asking>,
    control: ControlClient<Asking>,
    backup: BackupClient<Asking>,
}

/// A channel whose requests name the caller's cluster.
type Asking = InterceptedService<Channel, OwnCluster>;

impl RemoteNode {
    /// A node that `channel` leads to; it refuses a caller of another cluster than its own.
    pub fn new(channel: Channel, cluster: OwnCluster) -> Self {
        let channel = InterceptedService::new(channel, cluster);
        Self {
            write: ShardWriteClient::new(channel.clone())
                .max_encoding_message_size(MESSAGE_BYTES_MAX)
                .max_decoding_message_size(MESSAGE_BYTES_MAX),
            read: ShardReadClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX),
            control: ControlClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX),
            backup: BackupClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX),
        }
    }
}

#[tonic::async_trait]
impl NodeService for RemoteNode {
    async fn append(&self, request: AppendRequest) -> Result<AppendResponse, Status> {
        Ok(self.write.clone().append(request).await?.into_inner())
    }

    async fn forward(&self, request: ForwardRequest) -> Result<AppendResponse, Status> {
        Ok(self.write.clone().forward(request).await?.into_inner())
    }

    async fn delete(&self, request: DeleteRequest) -> Result<DeleteResponse, Status> {
        Ok(self.write.clone().delete(request).await?.into_inner())
    }

    async fn fragment(&self, request: FragmentRequest) -> Result<Answers<FragmentPart>, Status> {
        Ok(Box::pin(self.read.clone().fragment(request).await?.into_inner()))
    }

    async fn series(&self, request: SelectRequest) -> Result<Answers<SeriesPart>, Status> {
        Ok(Box::pin(self.read.clone().series(request).await?.into_inner()))
    }

    async fn label_names(&self, request: SelectRequest) -> Result<Answers<NamesPart>, Status> {
        Ok(Box::pin(self.read.clone().label_names(request).await?.into_inner()))
    }

    async fn label_values(
        &self,
        request: LabelValuesRequest,
    ) -> Result<Answers<NamesPart>, Status> {
        Ok(Box::pin(self.read.clone().label_values(request).await?.into_inner()))
    }

    async fn exemplars(&self, request: SelectRequest) -> Result<Answers<ExemplarsPart>, Status> {
        Ok(Box::pin(self.read.clone().exemplars(request).await?.into_inner()))
    }

    async fn metadata(&self, request: MetadataRequest) -> Result<Answers<MetadataPart>, Status> {
        Ok(Box::pin(self.read.clone().metadata(request).await?.into_inner()))
    }

    async fn digest(&self, request: DigestRequest) -> Result<DigestResponse, Status> {
        Ok(self.read.clone().digest(request).await?.into_inner())
    }

    async fn propose(&self, request: ProposeRequest) -> Result<ProposeResponse, Status> {
        Ok(self.control.clone().propose(request).await?.into_inner())
    }

    async fn watch(&self, request: WatchStateRequest) -> Result<Answers<StateRevision>, Status> {
        Ok(Box::pin(self.control.clone().watch(request).await?.into_inner()))
    }

    async fn init(&self, request: InitRequest) -> Result<InitResponse, Status> {
        Ok(self.control.clone().init(request).await?.into_inner())
    }

    async fn node_status(&self, request: NodeStatusRequest) -> Result<NodeStatusResponse, Status> {
        Ok(self.control.clone().node_status(request).await?.into_inner())
    }

    async fn settle(&self, request: SettleRequest) -> Result<SettleResponse, Status> {
        Ok(self.control.clone().settle(request).await?.into_inner())
    }

    async fn clean_tombstones(
        &self,
        request: CleanTombstonesRequest,
    ) -> Result<CleanTombstonesResponse, Status> {
        Ok(self.control.clone().clean_tombstones(request).await?.into_inner())
    }

    async fn targets(&self, request: TargetsRequest) -> Result<TargetsResponse, Status> {
        Ok(self.control.clone().targets(request).await?.into_inner())
    }

    async fn prepare_snapshot(
        &self,
        request: SnapshotRequest,
    ) -> Result<PrepareSnapshotResponse, Status> {
        Ok(self.backup.clone().prepare(request).await?.into_inner())
    }

    async fn hold_log(&self, request: HoldLogRequest) -> Result<HoldLogResponse, Status> {
        Ok(self.backup.clone().hold(request).await?.into_inner())
    }

    async fn complete_snapshot(
        &self,
        request: SnapshotRequest,
    ) -> Result<SnapshotResponse, Status> {
        Ok(self.backup.clone().complete(request).await?.into_inner())
    }

    async fn read_snapshot(
        &self,
        request: SnapshotRequest,
    ) -> Result<Answers<SnapshotPart>, Status> {
        Ok(Box::pin(self.backup.clone().read(request).await?.into_inner()))
    }

    async fn delete_snapshot(
        &self,
        request: SnapshotRequest,
    ) -> Result<DeleteSnapshotResponse, Status> {
        Ok(self.backup.clone().delete(request).await?.into_inner())
    }
}

/// The gRPC services of `node`, a node of `cluster`, for its cluster listener.
pub fn serve(node: Arc<dyn NodeService>, cluster: &OwnCluster) -> Routes {
    let served = Served(node);
    let write = ShardWriteServer::new(served.clone())
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let read = ShardReadServer::new(served.clone()).max_encoding_message_size(MESSAGE_BYTES_MAX);
    let control = ControlServer::new(served.clone()).max_encoding_message_size(MESSAGE_BYTES_MAX);
    let backup = BackupServer::new(served).max_encoding_message_size(MESSAGE_BYTES_MAX);
    let check = || {
        let cluster = cluster.clone();
        move |request: Request<()>| cluster.check(request.metadata()).map(|()| request)
    };
    Routes::new(InterceptedService::new(write, check()))
        .add_service(InterceptedService::new(read, check()))
        .add_service(InterceptedService::new(control, check()))
        .add_service(InterceptedService::new(backup, check()))
}

#[derive(Clone)]
struct Served(Arc<dyn NodeService>);

#[tonic::async_trait]
impl ShardWrite for Served {
    async fn append(
        &self,
        request: Request<AppendRequest>,
    ) -> Result<Response<AppendResponse>, Status> {
        self.0.append(request.into_inner()).await.map(Response::new)
    }

    async fn forward(
        &self,
        request: Request<ForwardRequest>,
    ) -> Result<Response<AppendResponse>, Status> {
        self.0.forward(request.into_inner()).await.map(Response::new)
    }

    async fn delete(
        &self,
        request: Request<DeleteRequest>,
    ) -> Result<Response<DeleteResponse>, Status> {
        self.0.delete(request.into_inner()).await.map(Response::new)
    }
}

#[tonic::async_trait]
impl ShardRead for Served {
    type FragmentStream = Answers<FragmentPart>;
    type SeriesStream = Answers<SeriesPart>;
    type ExemplarsStream = Answers<ExemplarsPart>;
    type MetadataStream = Answers<MetadataPart>;
    type LabelNamesStream = Answers<NamesPart>;
    type LabelValuesStream = Answers<NamesPart>;

    async fn fragment(
        &self,
        request: Request<FragmentRequest>,
    ) -> Result<Response<Self::FragmentStream>, Status> {
        self.0.fragment(request.into_inner()).await.map(Response::new)
    }

    async fn digest(
        &self,
        request: Request<DigestRequest>,
    ) -> Result<Response<DigestResponse>, Status> {
        self.0.digest(request.into_inner()).await.map(Response::new)
    }

    async fn series(
        &self,
        request: Request<SelectRequest>,
    ) -> Result<Response<Self::SeriesStream>, Status> {
        self.0.series(request.into_inner()).await.map(Response::new)
    }

    async fn exemplars(
        &self,
        request: Request<SelectRequest>,
    ) -> Result<Response<Self::ExemplarsStream>, Status> {
        self.0.exemplars(request.into_inner()).await.map(Response::new)
    }

    async fn metadata(
        &self,
        request: Request<MetadataRequest>,
    ) -> Result<Response<Self::MetadataStream>, Status> {
        self.0.metadata(request.into_inner()).await.map(Response::new)
    }

    async fn label_names(
        &self,
        request: Request<SelectRequest>,
    ) -> Result<Response<Self::LabelNamesStream>, Status> {
        self.0.label_names(request.into_inner()).await.map(Response::new)
    }

    async fn label_values(
        &self,
        request: Request<LabelValuesRequest>,
    ) -> Result<Response<Self::LabelValuesStream>, Status> {
        self.0.label_values(request.into_inner()).await.map(Response::new)
    }
}

#[tonic::async_trait]
impl Control for Served {
    type WatchStream = Answers<StateRevision>;

    async fn propose(
        &self,
        request: Request<ProposeRequest>,
    ) -> Result<Response<ProposeResponse>, Status> {
        self.0.propose(request.into_inner()).await.map(Response::new)
    }

    async fn watch(
        &self,
        request: Request<WatchStateRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.0.watch(request.into_inner()).await.map(Response::new)
    }

    async fn init(&self, request: Request<InitRequest>) -> Result<Response<InitResponse>, Status> {
        self.0.init(request.into_inner()).await.map(Response::new)
    }

    async fn node_status(
        &self,
        request: Request<NodeStatusRequest>,
    ) -> Result<Response<NodeStatusResponse>, Status> {
        self.0.node_status(request.into_inner()).await.map(Response::new)
    }

    async fn settle(
        &self,
        request: Request<SettleRequest>,
    ) -> Result<Response<SettleResponse>, Status> {
        self.0.settle(request.into_inner()).await.map(Response::new)
    }

    async fn clean_tombstones(
        &self,
        request: Request<CleanTombstonesRequest>,
    ) -> Result<Response<CleanTombstonesResponse>, Status> {
        self.0.clean_tombstones(request.into_inner()).await.map(Response::new)
    }

    async fn targets(
        &self,
        request: Request<TargetsRequest>,
    ) -> Result<Response<TargetsResponse>, Status> {
        self.0.targets(request.into_inner()).await.map(Response::new)
    }
}

#[tonic::async_trait]
impl Backup for Served {
    type ReadStream = Answers<SnapshotPart>;

    async fn prepare(
        &self,
        request: Request<SnapshotRequest>,
    ) -> Result<Response<PrepareSnapshotResponse>, Status> {
        self.0.prepare_snapshot(request.into_inner()).await.map(Response::new)
    }

    async fn hold(
        &self,
        request: Request<HoldLogRequest>,
    ) -> Result<Response<HoldLogResponse>, Status> {
        self.0.hold_log(request.into_inner()).await.map(Response::new)
    }

    async fn complete(
        &self,
        request: Request<SnapshotRequest>,
    ) -> Result<Response<SnapshotResponse>, Status> {
        self.0.complete_snapshot(request.into_inner()).await.map(Response::new)
    }

    async fn read(
        &self,
        request: Request<SnapshotRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        self.0.read_snapshot(request.into_inner()).await.map(Response::new)
    }

    async fn delete(
        &self,
        request: Request<SnapshotRequest>,
    ) -> Result<Response<DeleteSnapshotResponse>, Status> {
        self.0.delete_snapshot(request.into_inner()).await.map(Response::new)
    }
}

/// A stream of answers that are already there.
pub fn ready<T: Send + 'static>(parts: Vec<T>) -> Answers<T> {
    Box::pin(tokio_stream::iter(parts).map(Ok))
}
