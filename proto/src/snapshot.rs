//! One snapshot of all nodes, of one moment.
//!
//! Invariant: there is a moment at which every node's raft log is as the snapshot has it. So an
//! entry that one node has applied is in the logs of a majority, as after a crash of all nodes at
//! that moment: snapshots taken one after the other could lack that, and a restored cluster would
//! commit something else in its place.

use std::{future::Future, sync::Arc, time::Duration};

use futures_util::future::join_all;
use narthex_cluster::NodeId;
use tonic::Status;

use crate::{
    internal::v1::{HoldLogRequest, SnapshotRequest, SnapshotResponse},
    service::NodeService,
};

/// How the names of snapshots begin that live only as long as a backup is fetched: a node that
/// starts deletes them.
pub const BACKUP_PREFIX: &str = "backup-";
/// How long a node may take to write checkpoints and link their files.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the logs stand still at most. Linking one takes some tens of milliseconds.
pub const HOLD_MAX: Duration = Duration::from_secs(2);
/// How long a node may take to let a snapshot go that is not wanted.
const DELETE_TIMEOUT: Duration = Duration::from_secs(10);

/// A node and the way to it.
pub type Node = (NodeId, Arc<dyn NodeService>);
/// Which node has failed, and how.
pub type NodeFailure = (NodeId, Status);

/// Takes a snapshot called `name` on all `nodes`, or on none. The files come in the nodes' order.
pub async fn take(nodes: &[Node], name: &str) -> Result<Vec<SnapshotResponse>, NodeFailure> {
    let taken = take_on_all(nodes, name).await;
    if taken.is_err() {
        delete(nodes, name).await;
    }
    taken
}

/// Deletes a snapshot wherever it is. A node that does not answer keeps it.
pub async fn delete(nodes: &[Node], name: &str) {
    let request = || SnapshotRequest { name: name.to_owned() };
    let deleted = ask(nodes, DELETE_TIMEOUT, |node| node.delete_snapshot(request()));
    // Where there is none it was not taken, and the caller knows why.
    let _ = deleted.await;
}

async fn take_on_all(nodes: &[Node], name: &str) -> Result<Vec<SnapshotResponse>, NodeFailure> {
    let request = || SnapshotRequest { name: name.to_owned() };
    ask(nodes, PREPARE_TIMEOUT, |node| node.prepare_snapshot(request())).await?;
    let hold_ms = HOLD_MAX.as_millis() as u32;
    let hold = || HoldLogRequest { name: name.to_owned(), hold_ms };
    ask(nodes, HOLD_MAX, |node| node.hold_log(hold())).await?;
    ask(nodes, PREPARE_TIMEOUT, |node| node.complete_snapshot(request())).await
}

/// Asks all nodes at once and waits for every answer, so that none is still at work on a request
/// when the next comes.
async fn ask<'n, T, F>(
    nodes: &'n [Node],
    within: Duration,
    request: impl Fn(&'n dyn NodeService) -> F,
) -> Result<Vec<T>, NodeFailure>
where
    F: Future<Output = Result<T, Status>>,
{
    let asked = nodes.iter().map(|(id, node)| {
        let answer = tokio::time::timeout(within, request(node.as_ref()));
        async move {
            let late = || Status::deadline_exceeded(format!("no answer within {within:?}"));
            answer.await.unwrap_or_else(|_| Err(late())).map_err(|status| (*id, status))
        }
    });
    join_all(asked).await.into_iter().collect()
}
