//! How a cluster comes into being, and how a node says that it has started.
//!
//! All founders open the control group with the same voters; whoever leads it first proposes the
//! request that draws the cluster's id. From then on every start of a node is announced by a
//! request, so that its addresses are known and an old copy of its folder is refused.

use std::time::Duration;

use narthex_cluster::{
    Addresses, Binary, ClusterId, ClusterVersion, Command, Found, Founder, Incarnation, NodeId,
    Outcome, Refusal, RequestId, StartMember,
};
use narthex_proto::{
    client::ShardClient,
    internal::v1::{ProposeRequest, propose_response},
};
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;
use tracing::{debug, info};

use super::{Control, REQUEST_TIMEOUT, RequestError};
use crate::founding::Founders;

/// Pause before a request without a leader is made again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// How long another node may take to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);

/// Founders take turns in starting the first election, so that it is not a tie; each waits this
/// much longer than the one before.
const INITIALIZE_PAUSE: Duration = Duration::from_millis(500);

/// Why a node does not become part of its cluster. A human must act.
#[derive(Debug, thiserror::Error)]
pub enum FoundingError {
    /// The cluster refuses the node.
    #[error("the cluster refuses this node")]
    Refused(#[source] Refusal),
    /// No leader answered in time.
    #[error("the control group gave no answer within {}s", REQUEST_TIMEOUT.as_secs())]
    NoAnswer,
    /// The request is malformed.
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// What a node says of itself.
#[derive(Debug, Clone)]
pub struct ThisNode {
    /// Its id.
    pub node: NodeId,
    /// How often its folder was opened.
    pub incarnation: Incarnation,
    /// Where it listens.
    pub addresses: Addresses,
    /// Its zone.
    pub zone: String,
}

/// What the founders agree on beside who they are.
#[derive(Debug, Clone, Copy)]
pub struct FoundingPlan {
    /// Shards of the first epoch.
    pub shards: u32,
    /// Replicas of each shard.
    pub replication_factor: u8,
}

/// This program, as members know it.
pub fn binary() -> Binary {
    Binary { level: ClusterVersion::CURRENT, text: env!("CARGO_PKG_VERSION").to_owned() }
}

/// Takes part in founding until the cluster has an id. Every founder runs this; it ends at once
/// where the cluster is founded already.
pub async fn found(control: &Control, founders: &Founders, plan: FoundingPlan) -> ClusterId {
    let voters = founders.iter().map(|founder| founder.node.0).collect();
    let turn = founders.iter().position(|founder| founder.node == control.node()).unwrap_or(0);
    let patience = INITIALIZE_PAUSE * u32::try_from(turn).unwrap_or(u32::MAX);
    let initialize_at = now() + patience;
    let mut state = control.state();
    let mut leadership = control.group().leadership();
    let mut is_initialized = false;
    loop {
        if let Some(cluster) = state.borrow_and_update().cluster() {
            return cluster;
        }
        if !is_initialized && now() >= initialize_at {
            if let Err(problem) = control.group().initialize(&voters).await {
                debug!(%problem, "control group is not initialized by this node");
            }
            is_initialized = true;
        }
        if leadership.borrow_and_update().ready {
            propose_founding(control, founders, plan).await;
        }
        tokio::select! {
            _ = state.changed() => {}
            _ = leadership.changed() => {}
            () = sleep(INITIALIZE_PAUSE) => {}
        }
    }
}

async fn propose_founding(control: &Control, founders: &Founders, plan: FoundingPlan) {
    let members = founders.iter().map(|founder| Founder {
        node: founder.node,
        name: founder.name.clone(),
        addresses: Addresses { cluster: founder.address.clone(), ..Addresses::default() },
        zone: String::new(),
        binary: binary(),
    });
    let cluster = ClusterId::from_random_bytes(*uuid::Uuid::new_v4().as_bytes());
    let found = Found {
        cluster,
        members: members.collect(),
        shards: plan.shards,
        replication_factor: plan.replication_factor,
    };
    match control.request(new_request_id(), Command::Found(found)).await {
        Ok(Outcome::Refused(refusal)) => info!(%refusal, "cluster is not founded by this request"),
        Ok(_) => info!(%cluster, shards = plan.shards, "cluster founded"),
        Err(problem) => debug!(%problem, "founding request has no outcome; asking again"),
    }
}

/// Announces that this node has started, with where it listens now.
pub async fn announce(
    control: &Control,
    client: &ShardClient,
    node: &ThisNode,
) -> Result<(), FoundingError> {
    let start = StartMember {
        node: node.node,
        incarnation: node.incarnation,
        addresses: node.addresses.clone(),
        zone: node.zone.clone(),
        binary: binary(),
    };
    let outcome = request(control, client, Command::StartMember(start)).await?;
    outcome.accepted().map(drop).map_err(FoundingError::Refused)
}

/// Makes a request to whoever leads the control group, until it has an outcome.
pub async fn request(
    control: &Control,
    client: &ShardClient,
    command: Command,
) -> Result<Outcome, FoundingError> {
    request_as(control, client, (new_request_id(), command)).await
}

/// The same, as a request that may have been made before.
pub async fn request_as(
    control: &Control,
    client: &ShardClient,
    (id, command): (RequestId, Command),
) -> Result<Outcome, FoundingError> {
    let deadline = now() + REQUEST_TIMEOUT;
    let mut others = members_but(control.node(), client).into_iter().cycle();
    loop {
        match control.request(id, command.clone()).await {
            Ok(outcome) => return Ok(outcome),
            Err(RequestError::NotLeader { leader: Some(leader) }) => {
                if let Some(outcome) = ask(client, leader, id, &command).await? {
                    return Ok(outcome);
                }
            }
            // Others may know the leader; a node that is no member any more never will.
            Err(RequestError::NotLeader { leader: None } | RequestError::Unknown) => {
                if let Some(other) = others.next()
                    && let Some(outcome) = ask(client, other, id, &command).await?
                {
                    return Ok(outcome);
                }
            }
            Err(invalid @ RequestError::Invalid(_)) => return Err(invalid.into()),
        }
        if now() >= deadline {
            return Err(FoundingError::NoAnswer);
        }
        sleep(RETRY_PAUSE).await;
    }
}

/// The other members, as this node's state has them now.
fn members_but(node: NodeId, client: &ShardClient) -> Vec<NodeId> {
    let state = client.state();
    state.members().keys().copied().filter(|member| *member != node).collect()
}

/// Asks another node to propose; `None` where it has no outcome.
async fn ask(
    client: &ShardClient,
    leader: NodeId,
    id: RequestId,
    command: &Command,
) -> Result<Option<Outcome>, FoundingError> {
    let request = narthex_cluster::Request {
        id,
        at: narthex_model::Timestamp::default(),
        command: command.clone(),
    };
    let command = request.encode().map_err(RequestError::from)?.into();
    let Ok(node) = client.node(leader) else {
        return Ok(None);
    };
    let asked = timeout(ASK_TIMEOUT, node.propose(ProposeRequest { command })).await;
    let response = match asked.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer"))) {
        Ok(response) => response,
        Err(status) => {
            debug!(%leader, error = %status, "control leader did not answer");
            return Ok(None);
        }
    };
    match response.result {
        Some(propose_response::Result::Outcome(bytes)) => {
            Ok(Some(Outcome::decode(&bytes).map_err(RequestError::from)?))
        }
        Some(propose_response::Result::Unavailable(_)) | None => Ok(None),
    }
}

fn new_request_id() -> RequestId {
    RequestId(uuid::Uuid::new_v4().as_u128())
}

#[expect(clippy::disallowed_methods, reason = "deadlines of network calls are in tokio's time")]
fn now() -> Instant {
    Instant::now()
}
