//! Finds out that a node that does not answer leads no more.
//!
//! A host that vanishes without a word is noticed by the connection to it after seconds; the others
//! have elected another leader before that. So whoever waits for an answer asks them.

use std::time::Duration;

use narthex_cluster::{NodeId, ShardId};
use tokio::time::{sleep, timeout};

use crate::{
    client::ShardClient,
    internal::v1::{NodeStatusRequest, NodeStatusResponse},
};

/// How long an answer is waited for before anybody else is asked: shorter than an election takes,
/// longer than nearly all appends.
const SUSPICION: Duration = Duration::from_millis(800);

/// Between two rounds of questions: at first, while an election may be under way, and later, when
/// it is more likely that the answer takes long.
const ROUND_PAUSE: Duration = Duration::from_millis(200);
const LATER_PAUSE: Duration = Duration::from_secs(2);
const QUICK_ROUNDS: u32 = 15;

/// Until a node that is asked counts as unreachable.
const QUESTION_DEADLINE: Duration = Duration::from_millis(500);

impl ShardClient {
    /// Returns once another node than `suspect` says that it leads the shard and is ready to; never
    /// before a while has passed.
    pub(crate) async fn another_leader(&self, shard: ShardId, suspect: NodeId) -> NodeId {
        sleep(SUSPICION).await;
        let mut round = 0_u32;
        loop {
            let others: Vec<NodeId> = {
                let state = self.state();
                let nodes = state.placement(shard).map(|placement| placement.nodes().collect());
                let nodes: Vec<NodeId> = nodes.unwrap_or_default();
                nodes.into_iter().filter(|node| *node != suspect).collect()
            };
            for other in others {
                let Ok(node) = self.node(other) else { continue };
                let status = timeout(QUESTION_DEADLINE, node.node_status(NodeStatusRequest {}));
                if let Ok(Ok(status)) = status.await
                    && leads(&status, shard)
                {
                    tracing::debug!(%shard, %suspect, %other, "another node leads by now");
                    return other;
                }
            }
            sleep(if round < QUICK_ROUNDS { ROUND_PAUSE } else { LATER_PAUSE }).await;
            round = round.saturating_add(1);
        }
    }
}

/// Whether a node says that it leads.
fn leads(status: &NodeStatusResponse, shard: ShardId) -> bool {
    let group = shard.0.checked_add(1);
    let mut replicas = status.replicas.iter();
    replicas.any(|replica| Some(replica.group_id) == group && replica.is_leader_ready)
}
