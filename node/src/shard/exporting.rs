//! A replica's checkpoint for a node that lacks it: the sending side of what `filling.rs` does.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use narthex_cluster::ShardId;
use narthex_proto::{
    internal::v1::{self, CheckpointPart, CheckpointRequest},
    service::Answers,
};
use narthex_tsdb::{
    kv::Space,
    transfer::{HeldPart, PartRange, TransferPart},
};
use tokio::{runtime::Handle, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::{error, info};

use super::{Replica, Replicas};

/// Bytes of content in one message.
const MESSAGE_BYTES: usize = 1 << 20;
/// Messages read ahead of the network.
const MESSAGES_WAITING: usize = 4;

/// A receiver that takes nothing for so long has gone, or hangs: nothing is kept for it.
const STALLED_MAX: Duration = Duration::from_secs(60);

/// The way to the receiver, from a thread that may wait.
struct Messages {
    queue: mpsc::Sender<Result<CheckpointPart, Status>>,
    runtime: Handle,
}

impl Messages {
    /// Whether there is still a receiver.
    fn send(&self, message: Result<CheckpointPart, Status>) -> bool {
        let sent = self.runtime.block_on(timeout(STALLED_MAX, self.queue.send(message)));
        matches!(sent, Ok(Ok(())))
    }
}

/// Streams a checkpoint of a replica to a member of its group.
pub(crate) async fn checkpoint(
    replicas: &Replicas,
    request: CheckpointRequest,
) -> Result<Answers<CheckpointPart>, Status> {
    let (shard, caller) = (ShardId(request.shard_id), request.node_id);
    let replica = replicas.get(shard);
    let replica = replica.ok_or_else(|| Status::not_found(format!("no replica of {shard}")))?;
    if *replica.group.lacks_entries().borrow() {
        return Err(Status::unavailable("this replica is to be filled itself"));
    }
    let members = replica.group.applied_members().await;
    let (voters, learners) = members.map_err(|failure| Status::unavailable(failure.to_string()))?;
    if !voters.contains(&caller) && !learners.contains(&caller) {
        return Err(Status::failed_precondition(format!(
            "node {caller} is no member of shard {shard} yet, as far as this replica knows"
        )));
    }
    let held: Result<Vec<HeldPart>, Status> = request.held.into_iter().map(held_part).collect();
    let (held, index) = (held?, request.index);
    let (queue, answers) = mpsc::channel(MESSAGES_WAITING);
    let messages = Messages { queue, runtime: Handle::current() };
    tokio::task::spawn_blocking(move || send_all(&replica, caller, (&held, index), &messages));
    Ok(Box::pin(ReceiverStream::new(answers)))
}

fn send_all(
    replica: &Arc<Replica>,
    caller: u64,
    (held, index): (&[HeldPart], u64),
    messages: &Messages,
) {
    let shard = replica.shard;
    let is_enough = |applied: &crate::raft::Applied| {
        let is_enough = applied.position.is_some_and(|at| at.index >= index);
        if !is_enough {
            let problem = format!("the replica of shard {shard} has not come to index {index} yet");
            messages.send(Err(Status::failed_precondition(problem)));
        }
        is_enough
    };
    let (mut parts, mut bytes) = (0u64, 0u64);
    let sent = replica.state.export(held, is_enough, &mut |part| {
        parts += 1;
        bytes += part.content.as_ref().map_or(0, |content| content.len() as u64);
        match send(part, messages) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    });
    match sent {
        Ok(applied) => {
            let position = applied.position;
            info!(%shard, to = caller, ?position, parts, bytes, "checkpoint sent");
        }
        Err(problem) => {
            error!(%shard, error = &problem as &dyn std::error::Error, "checkpoint was not sent");
            messages.send(Err(Status::unavailable(problem.to_string())));
        }
    }
}

/// Whether it still has a receiver.
fn send(part: TransferPart, messages: &Messages) -> bool {
    let TransferPart { range, hash, content } = part;
    let is_held = content.is_none();
    let head = CheckpointPart {
        range: Some(to_message(range)),
        hash,
        is_held,
        is_last: is_held,
        ..CheckpointPart::default()
    };
    if !messages.send(Ok(head)) {
        return false;
    }
    let Some(content) = content.map(bytes::Bytes::from) else {
        return true;
    };
    let pieces = content.len().div_ceil(MESSAGE_BYTES).max(1);
    (0..pieces).all(|piece| {
        let start = piece * MESSAGE_BYTES;
        let end = content.len().min(start + MESSAGE_BYTES);
        let is_last = piece + 1 == pieces;
        let message =
            CheckpointPart { content: content.slice(start..end), is_last, ..Default::default() };
        messages.send(Ok(message))
    })
}

/// A range as it travels.
pub(super) fn to_message(range: PartRange) -> v1::PartRange {
    let place = Space::ALL.iter().position(|space| *space == range.space);
    let space = u32::try_from(place.unwrap_or(usize::MAX)).unwrap_or(u32::MAX);
    v1::PartRange { space, start: range.start.into(), end: range.end.map(Into::into) }
}

/// A range that has travelled.
pub(super) fn from_message(range: v1::PartRange) -> Result<PartRange, Status> {
    let space = usize::try_from(range.space).ok().and_then(|place| Space::ALL.get(place));
    let space = *space.ok_or_else(|| Status::invalid_argument("unknown space"))?;
    let end = range.end.map(|end| end.to_vec());
    Ok(PartRange { space, start: range.start.to_vec(), end })
}

fn held_part(held: v1::HeldPart) -> Result<HeldPart, Status> {
    let range = held.range.ok_or_else(|| Status::invalid_argument("a held part has a range"))?;
    Ok(HeldPart { range: from_message(range)?, hash: held.hash })
}
