//! Settling: everything in its final form on disk, and nothing in the log that is not needed. For
//! measuring, and before a backup.
//!
//! Three steps, each on all nodes before the next, since a log shrinks only below what every
//! replica has persisted: see `SettleStep` in `narthex/internal/v1/control.proto`.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use narthex_proto::internal::v1::{LogEnd, SettleRequest, SettleResponse, SettleStep};
use tokio::time::{sleep, timeout};
use tonic::Status;
use tracing::error;

use super::{
    Replica, Replicas, checkpointer,
    core::Urgency,
    rewriting,
    task::{Write, WriteError},
};
use crate::{
    node::Shared,
    raft::{Group, GroupId, GroupStatus, LogPosition},
};

/// How long a group may take to get where a step needs it. A purge takes three turns of a second.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks at a group.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// The size of the entry that seals.
const ENTRY_BYTES: usize = 16;

/// Performs one step on this node.
pub(crate) async fn step(
    shared: &Arc<Shared>,
    replicas: &Replicas,
    request: SettleRequest,
) -> Result<SettleResponse, Status> {
    let upto = &request.upto;
    let reached = match SettleStep::try_from(request.step) {
        Ok(SettleStep::Seal) => seal(replicas).await?,
        Ok(SettleStep::Write) => {
            wait_until(shared, replicas, upto, |status| end(status.applied)).await?;
            checkpointer::write_all(shared, replicas).await;
            rewriting::settle_all(replicas).await.map_err(|problem| {
                error!(error = &problem as &dyn std::error::Error, "pages were not rewritten");
                Status::unavailable(problem.to_string())
            })?;
            checkpointer::compact_all(shared, replicas).await;
            checkpoint_control(shared).await?;
            let ends = groups(shared, replicas).into_iter().map(|group| LogEnd {
                group_id: group.id().number(),
                end: end(group.status().persisted),
            });
            ends.collect()
        }
        Ok(SettleStep::Purge) => {
            wait_until(shared, replicas, upto, |status| end(status.purged)).await?;
            shrink_log(shared).await?;
            Vec::new()
        }
        Ok(SettleStep::Unspecified) | Err(_) => {
            return Err(Status::invalid_argument("no such step of settling"));
        }
    };
    Ok(SettleResponse { reached })
}

fn groups(shared: &Shared, replicas: &Replicas) -> Vec<Group> {
    let shards = replicas.all().into_iter().map(|replica| replica.group.clone());
    std::iter::once(shared.control.group().clone()).chain(shards).collect()
}

fn end(position: Option<LogPosition>) -> u64 {
    position.map_or(0, |position| position.index + 1)
}

/// Ends the open chunks of what this node leads.
async fn seal(replicas: &Replicas) -> Result<Vec<LogEnd>, Status> {
    let led = replicas.all().into_iter().filter(|replica| replica.leadership().ready);
    let sealed = led.map(|replica| async move {
        match seal_one(&replica).await {
            Ok(()) => Ok(LogEnd {
                group_id: replica.group.id().number(),
                end: end(replica.group.status().applied),
            }),
            Err(problem) => Err(Status::unavailable(format!("shard {}: {problem}", replica.shard))),
        }
    });
    join_all(sealed).await.into_iter().collect()
}

async fn seal_one(replica: &Replica) -> Result<(), WriteError> {
    let write = Write {
        encode: Box::new(|entry, _| {
            entry.seal();
            Ok(())
        }),
        bytes: ENTRY_BYTES,
        urgency: Urgency::AtOnce,
    };
    replica.writer.write(write).await.map(drop)
}

/// Waits until the groups named have got as far as they should.
async fn wait_until(
    shared: &Shared,
    replicas: &Replicas,
    upto: &[LogEnd],
    reached: impl Fn(&GroupStatus) -> u64,
) -> Result<(), Status> {
    let groups = groups(shared, replicas);
    let waits = upto.iter().filter_map(|wanted| {
        let group = groups.iter().find(|it| it.id() == GroupId::from_number(wanted.group_id))?;
        Some((group, wanted.end))
    });
    let arrive = async {
        for (group, end) in waits {
            while reached(&group.status()) < end {
                sleep(LOOK_PAUSE).await;
            }
        }
    };
    timeout(STEP_TIMEOUT, arrive).await.map_err(|_| {
        Status::unavailable(format!(
            "node {}: not all groups got ready within {}s",
            shared.node,
            STEP_TIMEOUT.as_secs()
        ))
    })
}

async fn checkpoint_control(shared: &Shared) -> Result<(), Status> {
    let group = shared.control.group();
    let written = group.checkpoint().await;
    let applied = written.map_err(|problem| Status::unavailable(problem.to_string()))?;
    if let Some(_purging) = shared.snapshots.allow_purge() {
        group.persisted(applied);
    }
    Ok(())
}

async fn shrink_log(shared: &Arc<Shared>) -> Result<(), Status> {
    let settling = shared.clone();
    let settled = tokio::task::spawn_blocking(move || settling.raft.log.settle()).await;
    settled
        .unwrap_or_else(|panic| Err(std::io::Error::other(panic)))
        .inspect_err(|problem| error!(%problem, "raft log was not shrunk"))
        .map_err(|problem| Status::unavailable(format!("shrink the raft log: {problem}")))
}
