//! What a node answers to the other processes of its cluster, whether they are in the same process
//! or behind a connection.
//!
//! [`NodeService`] is that one interface. The node implements it; [`RemoteNode`] asks over a
//! channel; [`serve`] puts an implementation behind gRPC. A process that hosts a node itself hands
//! out the implementation, so that its own router and querier pay for no connection.

mod served;

use std::pin::Pin;

use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Status, service::interceptor::InterceptedService, transport::Channel};

pub use self::served::serve;
use crate::{
    connect::OwnCluster,
    internal::v1::{
        AlertmanagersRequest, AlertmanagersResponse, AppendRequest, AppendResponse,
        CardinalityPart, CardinalityRequest, ChangesRequest, ChangesResponse, CheckpointPart,
        CheckpointRequest, CleanTombstonesRequest, CleanTombstonesResponse, ControlCheckpointPart,
        ControlCheckpointRequest, DeleteRequest, DeleteResponse, DeleteSnapshotResponse,
        DigestRequest, DigestResponse, ExemplarsPart, ForwardRequest, FragmentPart,
        FragmentRequest, HoldLogRequest, HoldLogResponse, InitRequest, InitResponse, JoinRequest,
        JoinResponse, LabelValuesRequest, MetadataPart, MetadataRequest, MovesRequest,
        MovesResponse, NamesPart, NodeStatusRequest, NodeStatusResponse, PrepareSnapshotResponse,
        ProposeRequest, ProposeResponse, RebuildRequest, RebuildResponse, RuleGroupStatus,
        RulesRequest, SelectRequest, SeriesPart, SettleRequest, SettleResponse, SnapshotPart,
        SnapshotRequest, SnapshotResponse, StateRevision, TargetsRequest, TargetsResponse,
        WatchStateRequest, backup_client::BackupClient, control_client::ControlClient,
        membership_client::MembershipClient, shard_read_client::ShardReadClient,
        shard_write_client::ShardWriteClient,
    },
};

/// Bytes of one message, both ways: an entry is at most 4 MiB, columns come in smaller parts.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// Bytes of cluster state, which goes whole: its objects, their history, and all else.
pub const STATE_BYTES_MAX: usize = 96 << 20;

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
    /// Which labels series have.
    async fn cardinality(
        &self,
        request: CardinalityRequest,
    ) -> Result<Answers<CardinalityPart>, Status>;
    /// How far back in time a shard that this node leads has changed.
    async fn changes(&self, request: ChangesRequest) -> Result<ChangesResponse, Status>;
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
    /// Rule groups that this node evaluates.
    async fn rules(&self, request: RulesRequest) -> Result<Answers<RuleGroupStatus>, Status>;
    /// Where this node sends alerts.
    async fn alertmanagers(
        &self,
        request: AlertmanagersRequest,
    ) -> Result<AlertmanagersResponse, Status>;
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
    /// Makes the caller a member of the cluster. Who calls is in the request's extensions.
    async fn join(&self, request: Request<JoinRequest>) -> Result<JoinResponse, Status>;
    /// The control group's checkpoint.
    async fn control_checkpoint(
        &self,
        request: ControlCheckpointRequest,
    ) -> Result<Answers<ControlCheckpointPart>, Status>;
    /// A checkpoint of a shard's replica.
    async fn checkpoint(
        &self,
        request: CheckpointRequest,
    ) -> Result<Answers<CheckpointPart>, Status>;
    /// Has a replica filled from another one.
    async fn rebuild(&self, request: RebuildRequest) -> Result<RebuildResponse, Status>;
    /// What is moved in the cluster and why.
    async fn moves(&self, request: MovesRequest) -> Result<MovesResponse, Status>;
}

/// A node behind a connection.
#[derive(Debug, Clone)]
pub struct RemoteNode {
    write: ShardWriteClient<Asking>,
    read: ShardReadClient<Asking>,
    control: ControlClient<Asking>,
    backup: BackupClient<Asking>,
    membership: MembershipClient<Asking>,
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
            control: ControlClient::new(channel.clone()).max_decoding_message_size(STATE_BYTES_MAX),
            backup: BackupClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            membership: MembershipClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX),
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

    async fn cardinality(
        &self,
        request: CardinalityRequest,
    ) -> Result<Answers<CardinalityPart>, Status> {
        Ok(Box::pin(self.read.clone().cardinality(request).await?.into_inner()))
    }

    async fn changes(&self, request: ChangesRequest) -> Result<ChangesResponse, Status> {
        Ok(self.read.clone().changes(request).await?.into_inner())
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

    async fn rules(&self, request: RulesRequest) -> Result<Answers<RuleGroupStatus>, Status> {
        Ok(Box::pin(self.control.clone().rules(request).await?.into_inner()))
    }

    async fn alertmanagers(
        &self,
        request: AlertmanagersRequest,
    ) -> Result<AlertmanagersResponse, Status> {
        Ok(self.control.clone().alertmanagers(request).await?.into_inner())
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

    async fn join(&self, request: Request<JoinRequest>) -> Result<JoinResponse, Status> {
        Ok(self.membership.clone().join(request).await?.into_inner())
    }

    async fn control_checkpoint(
        &self,
        request: ControlCheckpointRequest,
    ) -> Result<Answers<ControlCheckpointPart>, Status> {
        Ok(Box::pin(self.membership.clone().control_checkpoint(request).await?.into_inner()))
    }

    async fn checkpoint(
        &self,
        request: CheckpointRequest,
    ) -> Result<Answers<CheckpointPart>, Status> {
        Ok(Box::pin(self.membership.clone().checkpoint(request).await?.into_inner()))
    }

    async fn rebuild(&self, request: RebuildRequest) -> Result<RebuildResponse, Status> {
        Ok(self.membership.clone().rebuild(request).await?.into_inner())
    }

    async fn moves(&self, request: MovesRequest) -> Result<MovesResponse, Status> {
        Ok(self.membership.clone().moves(request).await?.into_inner())
    }
}

/// A stream of answers that are already there.
pub fn ready<T: Send + 'static>(parts: Vec<T>) -> Answers<T> {
    Box::pin(tokio_stream::iter(parts).map(Ok))
}
