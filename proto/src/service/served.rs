//! A node's answers behind gRPC.

use std::sync::Arc;

use tonic::{
    Request, Response, Status,
    service::{Routes, interceptor::InterceptedService},
};

use super::{Answers, MESSAGE_BYTES_MAX, NodeService, STATE_BYTES_MAX};
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
        WatchStateRequest,
        backup_server::{Backup, BackupServer},
        control_server::{Control, ControlServer},
        membership_server::{Membership, MembershipServer},
        shard_read_server::{ShardRead, ShardReadServer},
        shard_write_server::{ShardWrite, ShardWriteServer},
    },
};

/// The gRPC services of `node`, a node of `cluster`, for its cluster listener.
pub fn serve(node: Arc<dyn NodeService>, cluster: &OwnCluster) -> Routes {
    let served = Served(node);
    let write = ShardWriteServer::new(served.clone())
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let read = ShardReadServer::new(served.clone()).max_encoding_message_size(MESSAGE_BYTES_MAX);
    let control = ControlServer::new(served.clone()).max_encoding_message_size(STATE_BYTES_MAX);
    let backup = BackupServer::new(served.clone()).max_encoding_message_size(MESSAGE_BYTES_MAX);
    let membership = MembershipServer::new(served).max_encoding_message_size(MESSAGE_BYTES_MAX);
    let check = || {
        let cluster = cluster.clone();
        move |request: Request<()>| cluster.check(request.metadata()).map(|()| request)
    };
    Routes::new(InterceptedService::new(write, check()))
        .add_service(InterceptedService::new(read, check()))
        .add_service(InterceptedService::new(control, check()))
        .add_service(InterceptedService::new(backup, check()))
        .add_service(InterceptedService::new(membership, check()))
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
    type CardinalityStream = Answers<CardinalityPart>;
    type LabelNamesStream = Answers<NamesPart>;
    type LabelValuesStream = Answers<NamesPart>;

    async fn fragment(
        &self,
        request: Request<FragmentRequest>,
    ) -> Result<Response<Self::FragmentStream>, Status> {
        self.0.fragment(request.into_inner()).await.map(Response::new)
    }

    async fn changes(
        &self,
        request: Request<ChangesRequest>,
    ) -> Result<Response<ChangesResponse>, Status> {
        self.0.changes(request.into_inner()).await.map(Response::new)
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

    async fn cardinality(
        &self,
        request: Request<CardinalityRequest>,
    ) -> Result<Response<Self::CardinalityStream>, Status> {
        self.0.cardinality(request.into_inner()).await.map(Response::new)
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
    type RulesStream = Answers<RuleGroupStatus>;

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

    async fn rules(
        &self,
        request: Request<RulesRequest>,
    ) -> Result<Response<Self::RulesStream>, Status> {
        self.0.rules(request.into_inner()).await.map(Response::new)
    }

    async fn alertmanagers(
        &self,
        request: Request<AlertmanagersRequest>,
    ) -> Result<Response<AlertmanagersResponse>, Status> {
        self.0.alertmanagers(request.into_inner()).await.map(Response::new)
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

#[tonic::async_trait]
impl Membership for Served {
    type ControlCheckpointStream = Answers<ControlCheckpointPart>;
    type CheckpointStream = Answers<CheckpointPart>;

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        self.0.join(request).await.map(Response::new)
    }

    async fn control_checkpoint(
        &self,
        request: Request<ControlCheckpointRequest>,
    ) -> Result<Response<Self::ControlCheckpointStream>, Status> {
        self.0.control_checkpoint(request.into_inner()).await.map(Response::new)
    }

    async fn checkpoint(
        &self,
        request: Request<CheckpointRequest>,
    ) -> Result<Response<Self::CheckpointStream>, Status> {
        self.0.checkpoint(request.into_inner()).await.map(Response::new)
    }

    async fn rebuild(
        &self,
        request: Request<RebuildRequest>,
    ) -> Result<Response<RebuildResponse>, Status> {
        self.0.rebuild(request.into_inner()).await.map(Response::new)
    }

    async fn moves(
        &self,
        request: Request<MovesRequest>,
    ) -> Result<Response<MovesResponse>, Status> {
        self.0.moves(request.into_inner()).await.map(Response::new)
    }
}
