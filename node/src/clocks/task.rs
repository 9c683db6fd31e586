//! Asks the other nodes for their time, and acts on the verdict about this one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use narthex_cluster::NodeId;
use narthex_model::Timestamp;
use narthex_proto::{client::ShardClient, internal::v1::NodeStatusRequest};
use tokio::time::timeout;
use tracing::{error, info};

use super::{
    Clocks,
    core::{Bounds, Judge},
};
use crate::{node::Shared, shard::Replicas};

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// A later answer tells too little of the other clock.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Looks at all clocks every other second until the node stops.
pub(crate) async fn run(shared: Arc<Shared>, replicas: Arc<Replicas>, client: ShardClient) {
    let mut judge = Judge::default();
    loop {
        let members: Vec<NodeId> = client.state().members().keys().copied().collect();
        let at = (shared.clock.now(), shared.clock.monotonic());
        let others = ask(&shared, &client, &members).await;
        let was_off = shared.clocks.is_off(shared.node);
        let clocks = judge.look(shared.node, members.len(), &others);
        shared.clocks.put(clocks, at);
        act(&shared, &replicas, was_off).await;
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
    }
}

async fn ask(
    shared: &Shared,
    client: &ShardClient,
    members: &[NodeId],
) -> BTreeMap<NodeId, Bounds> {
    let others = members.iter().copied().filter(|member| *member != shared.node);
    let asked = others.map(|member| async move {
        let node = client.node(member).ok()?;
        let asked = shared.clock.now();
        let answer = timeout(ANSWER_TIMEOUT, node.node_status(NodeStatusRequest {})).await;
        let theirs = Timestamp::from_millis(answer.ok()?.ok()?.time_ms);
        Some((member, Bounds::new(asked, theirs, shared.clock.now())?))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

async fn act(shared: &Shared, replicas: &Replicas, was_off: bool) {
    let Clocks { ahead_millis, off, .. } = shared.clocks.last();
    let is_off = off.contains(&shared.node);
    if is_off != was_off {
        match is_off {
            true => error!(ahead_millis, "the clock of this node is off: it leads nothing"),
            false => info!(ahead_millis, "the clock of this node is right again"),
        }
    }
    let control = shared.control.group();
    control.may_lead(!is_off);
    for replica in replicas.all() {
        replica.group.may_lead(!is_off);
    }
    if is_off {
        replicas.hand_over().await;
    }
}
