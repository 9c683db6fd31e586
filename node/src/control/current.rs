//! Whether this node's cluster state is current: what was committed before the question is in it.

use std::time::Duration;

use narthex_cluster::NodeId;
use narthex_proto::{client::ShardClient, internal::v1::NodeStatusRequest};
use tokio::time::timeout;

use super::Control;
use crate::raft::GroupId;

/// How long the leader may take to answer, and this node to catch up.
const PATIENCE: Duration = Duration::from_secs(2);

/// Waits until this node's cluster state has what its leader had committed at the call. `false` if
/// the leader is not known, does not answer, or leads no more.
pub async fn catch_up(control: &Control, client: &ShardClient) -> bool {
    let leadership = *control.group().leadership().borrow();
    if leadership.ready {
        return control.group().read_linearizable().await.is_ok();
    }
    let Some(leader) = leadership.leader.map(NodeId) else { return false };
    timeout(PATIENCE, follow(control, client, leader)).await.unwrap_or(false)
}

async fn follow(control: &Control, client: &ShardClient, leader: NodeId) -> bool {
    let Ok(node) = client.node(leader) else { return false };
    let Ok(status) = node.node_status(NodeStatusRequest {}).await else { return false };
    let group = GroupId::CONTROL.number();
    let Some(theirs) = status.replicas.iter().find(|it| it.group_id == group) else {
        return false;
    };
    theirs.leader_node_id == leader.0
        && theirs.is_leader_ready
        && control.group().wait_until_applied(theirs.commit_index).await.is_ok()
}
