//! How a node joins a cluster that is there: it asks any member to be made one itself, and fetches
//! the control group's checkpoint once the group counts it in.
//!
//! Asking twice is asking once: the request's id is that of the folder, so a node that ended between
//! being made a member and taking note of it is told the same again.

use std::{fs, io, path::Path, time::Duration};

use narthex_cluster::{
    AddMember, Addresses, Binary, ClusterId, ClusterVersion, Command, Gate, NodeId, Outcome,
    Refusal, RequestId,
};
use narthex_proto::{
    client::ShardClient,
    connect::Connections,
    internal::v1::{ControlCheckpointPart, ControlCheckpointRequest, JoinRequest, JoinResponse},
    service::{Answers, NodeService, ready},
};
use tokio_stream::StreamExt as _;
use tonic::{Code, Request, Status};
use tracing::{debug, info, warn};

use super::{Control, founding, machine};
use crate::{identity::NodeIdentity, peers};

/// Pause before the next node is asked.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Bytes of a checkpoint in one message.
const MESSAGE_BYTES: usize = 1 << 20;
/// Bytes of a checkpoint that is taken: more is no cluster state.
const CHECKPOINT_BYTES_MAX: usize = 256 << 20;

/// Why a node does not join. A human must act.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// What the cluster said.
    #[error("the cluster refuses this node: {}", .0.message())]
    Refused(Status),
    /// Give the node an empty folder.
    #[error(
        "{} has the raft log of a node that never became a member of a cluster: a node joins with \
         an empty folder", .0.display()
    )]
    Used(std::path::PathBuf),
    /// An address is none.
    #[error(transparent)]
    Address(#[from] narthex_proto::connect::ConnectError),
    /// The answer is none.
    #[error("{0:?} is no cluster id")]
    Answer(String),
    /// The disk.
    #[error("write the cluster state to {}", .path.display())]
    Write {
        /// Where.
        path: std::path::PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What a node says of itself when it joins.
#[derive(Debug, Clone)]
pub struct Joiner {
    /// Of its folder.
    pub folder: u64,
    /// The id that its certificate names.
    pub node: Option<NodeId>,
    /// Unique in the cluster.
    pub name: String,
    /// Where it listens.
    pub addresses: Addresses,
    /// Its zone.
    pub zone: String,
}

/// Asks the nodes at `seeds` in turn, until one has made this node a member or refuses it for good.
pub async fn join(
    connections: &Connections,
    seeds: &[String],
    joiner: &Joiner,
) -> Result<NodeIdentity, JoinError> {
    let binary = founding::binary();
    let request = JoinRequest {
        folder: joiner.folder,
        node_id: joiner.node.map_or(0, |node| node.0),
        name: joiner.name.clone(),
        address: joiner.addresses.cluster.clone(),
        web_address: joiner.addresses.web.clone(),
        host: joiner.addresses.host.clone(),
        zone: joiner.zone.clone(),
        level: binary.level.0,
        version: binary.text,
    };
    let mut told = String::new();
    for seed in seeds.iter().cycle() {
        match connections.node(None, seed)?.join(Request::new(request.clone())).await {
            Ok(JoinResponse { cluster_id, node_id }) => {
                let cluster = cluster_id.parse().map_err(|_| JoinError::Answer(cluster_id))?;
                info!(%cluster, node = node_id, "the cluster has made this node a member");
                return Ok(NodeIdentity { cluster, node: NodeId(node_id) });
            }
            Err(status) if is_final(&status) => return Err(JoinError::Refused(status)),
            Err(status) if status.code() == Code::Unavailable && !status.message().is_empty() => {
                if told != status.message() {
                    status.message().clone_into(&mut told);
                    info!(seed, why = told, "this node is no member yet");
                }
            }
            Err(status) => debug!(seed, %status, "this node is no member yet"),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    Err(JoinError::Refused(Status::invalid_argument("--cluster.join names no node")))
}

fn is_final(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::FailedPrecondition | Code::AlreadyExists)
}

/// Fetches the control group's checkpoint from the nodes at `seeds`, in turn, into the file `path`.
pub async fn fetch_state(
    connections: &Connections,
    seeds: &[String],
    (node, path): (NodeId, &Path),
) -> Result<(), JoinError> {
    for seed in seeds.iter().cycle() {
        match read_state(&connections.node(None, seed)?, node).await {
            Ok(content) => {
                let (to, replacing) = (path.to_owned(), path.to_owned());
                let written =
                    tokio::task::spawn_blocking(move || machine::replace(&replacing, &content));
                let written = written.await.expect("BUG: writing the state panicked");
                return written.map_err(|source| JoinError::Write { path: to, source });
            }
            Err(status) if status.code() == Code::InvalidArgument => {
                return Err(JoinError::Refused(status));
            }
            Err(status) => debug!(seed, %status, "no cluster state from this node yet"),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    Err(JoinError::Refused(Status::invalid_argument("--cluster.join names no node")))
}

async fn read_state(from: &impl NodeService, node: NodeId) -> Result<Vec<u8>, Status> {
    let request = ControlCheckpointRequest { node_id: node.0 };
    let mut parts = from.control_checkpoint(request).await?;
    let mut content = Vec::new();
    while let Some(part) = parts.next().await {
        content.extend_from_slice(&part?.content);
        if content.len() > CHECKPOINT_BYTES_MAX {
            let problem = format!("the cluster's state has more than {CHECKPOINT_BYTES_MAX} bytes");
            return Err(Status::resource_exhausted(problem));
        }
    }
    Ok(content)
}

/// Makes whoever asks a member, for the node that is asked. Over TLS it gets the id that its
/// certificate names, or none: under another one nobody would speak with it.
pub(crate) async fn admit(
    control: &Control,
    client: &ShardClient,
    request: Request<JoinRequest>,
) -> Result<JoinResponse, Status> {
    let asked_for = request.get_ref().node_id;
    peers::check_certificate(asked_for, request.extensions()).inspect_err(|refusal| {
        let name = &request.get_ref().name;
        warn!(name, %refusal, "a node that would join was refused");
    })?;
    let request = request.into_inner();
    let Some(cluster) = control.state().borrow().cluster() else {
        return Err(Status::unavailable("this node belongs to no cluster yet"));
    };
    if !control.state().borrow().is_open(Gate::Moves) {
        return Err(Status::unavailable(
            "the cluster takes no members before all it has run this version for ten minutes",
        ));
    }
    let id = RequestId(u128::from(request.folder) << 64 | u128::from(u64::MAX));
    let name = match namesake(control, &request) {
        Namesake::None => request.name,
        Namesake::Same(node) => return Ok(admitted(cluster, node)),
        Namesake::Lost => format!("{}-{:04x}", request.name, request.folder as u16),
    };
    let add = AddMember {
        node: (request.node_id != 0).then_some(NodeId(request.node_id)),
        name,
        addresses: Addresses {
            cluster: request.address,
            web: request.web_address,
            host: request.host,
        },
        zone: request.zone,
        binary: Binary { level: ClusterVersion(request.level), text: request.version },
    };
    let asked = founding::request_as(control, client, (id, Command::AddMember(add))).await;
    let outcome = asked.map_err(|problem| Status::unavailable(problem.to_string()))?;
    match outcome.accepted() {
        Ok(Outcome::MemberAdded { node, .. }) => Ok(admitted(cluster, node)),
        Ok(other) => Err(Status::internal(format!("BUG: joining ended in {other:?}"))),
        Err(refusal @ (Refusal::NameTaken { .. } | Refusal::NodeIdUsed { .. })) => {
            Err(Status::already_exists(refusal.to_string()))
        }
        Err(refusal) => Err(Status::failed_precondition(refusal.to_string())),
    }
}

/// The member that has the name of who asks, at the same address.
enum Namesake {
    None,
    /// It was made a member and has never started: it asks again.
    Same(NodeId),
    /// It was there before and has lost its folder: it is another node from now on.
    Lost,
}

fn namesake(control: &Control, request: &JoinRequest) -> Namesake {
    let state = control.state().borrow().clone();
    let mut members = state.members().values();
    let found =
        members.find(|it| it.name == request.name && it.addresses.cluster == request.address);
    match found {
        None => Namesake::None,
        Some(member) if member.incarnation.0 == 0 => Namesake::Same(member.id),
        Some(_) => Namesake::Lost,
    }
}

fn admitted(cluster: ClusterId, node: NodeId) -> JoinResponse {
    JoinResponse { cluster_id: cluster.to_string(), node_id: node.0 }
}

/// The control group's checkpoint of this node, whose file is `path`, for a member of the group.
pub(crate) async fn state_for(
    control: &Control,
    path: &Path,
    node: u64,
) -> Result<Answers<ControlCheckpointPart>, Status> {
    let unavailable = |problem: String| Status::unavailable(problem);
    let members = control.group().applied_members().await;
    let (voters, learners) = members.map_err(|failure| unavailable(failure.to_string()))?;
    if !voters.contains(&node) && !learners.contains(&node) {
        return Err(unavailable(format!("node {node} is no member of the control group yet")));
    }
    let written = control.group().checkpoint().await;
    written.map_err(|failure| unavailable(failure.to_string()))?;
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || fs::read(path)).await;
    let content = read.expect("BUG: reading the state panicked");
    let content = content.map_err(|problem| unavailable(format!("read the state: {problem}")))?;
    let content = bytes::Bytes::from(content);
    let pieces = (0..content.len()).step_by(MESSAGE_BYTES).map(|start| {
        let end = content.len().min(start + MESSAGE_BYTES);
        ControlCheckpointPart { content: content.slice(start..end) }
    });
    Ok(ready(pieces.collect()))
}
