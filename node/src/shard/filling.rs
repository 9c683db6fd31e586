//! Fills a replica with a checkpoint of another node, before its group is opened.
//!
//! Invariants
//! * what is filled lies under a number of its own; the replica has it only once all of it is on
//!   disk;
//! * the checkpoint covers all that this node ever acknowledged for the shard, so it can vote as
//!   before;
//! * an attempt that fails is begun anew, with what has arrived.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use narthex_cluster::{NodeId, Placement, ShardId};
use narthex_proto::{
    client::ShardClient,
    internal::v1::{self, CheckpointPart, CheckpointRequest},
    service::NodeService as _,
};
use narthex_tsdb::{
    ReplicaNumber, delete_replica,
    kv::{DataDb, KeyValue as _, KvError},
    transfer::{HeldPart, Import, ImportError, TransferPart},
};
use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tonic::Status;
use tracing::info;

use super::exporting::{from_message, to_message};
use crate::{node::Shared, raft::GroupId};

/// Bytes taken a second. A disk that is written with more delays the acknowledgements of others.
const BYTES_PER_SECOND: u64 = 64 << 20;
/// A sender that says nothing for so long has gone. It writes a checkpoint before its first word.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Parts that are told to be here: what fits a message. The others are sent again.
const HELD_PARTS_MAX: usize = 50_000;
/// Content of one part that is taken: one record may have many megabytes of labels.
const PART_BYTES_MAX: usize = 512 << 20;

/// Why a replica was not filled. It is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FillError {
    /// Nobody has what is needed, or it broke off.
    #[error("node {node} does not send the checkpoint")]
    Sender {
        /// Who was asked.
        node: NodeId,
        /// What it said.
        #[source]
        status: Status,
    },
    /// What was sent does not fit.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The disk.
    #[error("write what was received")]
    Store(#[from] KvError),
    /// There is nobody to ask.
    #[error("no other node has a replica")]
    NoSource,
}

/// A replica that is being filled, over as many attempts as it takes.
pub(crate) struct Filling {
    shard: ShardId,
    /// Locked where a part is written, which takes a thread that may wait for the disk.
    import: Arc<Mutex<Import>>,
    attempts: usize,
}

impl Filling {
    /// Draws a number for the replica.
    pub async fn begin(shared: &Arc<Shared>, shard: ShardId) -> Result<Self, FillError> {
        let drawing = shared.clone();
        let drawn = tokio::task::spawn_blocking(move || drawing.numbers.lock().draw()).await;
        let number: ReplicaNumber = drawn.expect("BUG: drawing a number panicked")?;
        let import = Arc::new(Mutex::new(Import::new(number)));
        Ok(Self { shard, import, attempts: 0 })
    }

    /// One attempt, with one of the shard's other nodes: each time the next, from the end of the
    /// order in which they should lead, as whoever leads has enough to do.
    pub async fn attempt(
        &mut self,
        shared: &Arc<Shared>,
        client: &ShardClient,
        placement: &Placement,
    ) -> Result<(), FillError> {
        let others: Vec<NodeId> =
            placement.replicas.iter().copied().filter(|node| *node != shared.node).collect();
        let turn = self.attempts % others.len().max(1);
        let node = *others.iter().rev().nth(turn).ok_or(FillError::NoSource)?;
        self.attempts += 1;
        let started = shared.clock.monotonic();
        let bytes = self.receive(shared, client, node).await?;
        self.finish(shared).await?;
        let took = shared.clock.monotonic().saturating_duration_since(started);
        info!(shard = %self.shard, from = %node, bytes, ?took, "replica filled from a checkpoint");
        Ok(())
    }

    /// Deletes what has arrived.
    pub async fn give_up(self, shared: &Arc<Shared>) -> Result<(), FillError> {
        let data = shared.data.clone();
        let delete = move || delete_replica(data.as_ref(), self.import.lock().replica());
        let deleted = tokio::task::spawn_blocking(delete).await;
        Ok(deleted.expect("BUG: deleting what has arrived panicked")?)
    }

    async fn receive(
        &mut self,
        shared: &Arc<Shared>,
        client: &ShardClient,
        node: NodeId,
    ) -> Result<u64, FillError> {
        let failed = |status| FillError::Sender { node, status };
        let acknowledged = shared.raft.log.group(GroupId::shard(self.shard.0)).last();
        let request = CheckpointRequest {
            shard_id: self.shard.0,
            node_id: shared.node.0,
            held: {
                let held = self.import.lock().begin().into_iter();
                held.take(HELD_PARTS_MAX).map(held_message).collect()
            },
            index: acknowledged.map_or(0, |last| last.index),
        };
        let sender = client.bulk(node).map_err(failed)?;
        let mut messages = sender.checkpoint(request).await.map_err(failed)?;
        let mut pace = Pace { started: shared.clock.monotonic(), bytes: 0 };
        let mut open: Option<TransferPart> = None;
        loop {
            let silent = |_| failed(Status::deadline_exceeded("the sender has fallen silent"));
            let Some(message) = timeout(SILENCE_MAX, messages.next()).await.map_err(silent)? else {
                self.import.lock().check_complete()?;
                return Ok(pace.bytes);
            };
            let message = message.map_err(failed)?;
            pace.bytes += message.content.len() as u64;
            let Some(part) = join(&mut open, message).map_err(failed)? else { continue };
            take(&shared.data, &self.import, part).await?;
            pace.keep(shared).await;
        }
    }

    /// Makes what was received the replica.
    async fn finish(&self, shared: &Arc<Shared>) -> Result<(), FillError> {
        let (assigning, shard) = (shared.clone(), self.shard);
        let number = self.import.lock().replica();
        let assigned = tokio::task::spawn_blocking(move || {
            assigning.data.flush()?;
            assigning.numbers.lock().assign(shard.0, Some(number))
        });
        Ok(assigned.await.expect("BUG: assigning a number panicked")?)
    }
}

/// Keeps to [`BYTES_PER_SECOND`].
struct Pace {
    started: Instant,
    bytes: u64,
}

impl Pace {
    async fn keep(&self, shared: &Shared) {
        let due = Duration::from_millis(self.bytes * 1000 / BYTES_PER_SECOND);
        let elapsed = shared.clock.monotonic().saturating_duration_since(self.started);
        if let Some(early) = due.checked_sub(elapsed) {
            tokio::time::sleep(early).await;
        }
    }
}

/// Writes a part, where waiting for the disk holds up nobody.
async fn take(
    data: &Arc<DataDb>,
    import: &Arc<Mutex<Import>>,
    part: TransferPart,
) -> Result<(), FillError> {
    let (data, import) = (data.clone(), import.clone());
    let taken = tokio::task::spawn_blocking(move || import.lock().take(data.as_ref(), part)).await;
    Ok(taken.expect("BUG: writing a part panicked")?)
}

/// Puts the messages of a part together; gives it once it is whole.
fn join(
    open: &mut Option<TransferPart>,
    message: CheckpointPart,
) -> Result<Option<TransferPart>, Status> {
    let is_last = message.is_last;
    match (open.as_mut(), message.range) {
        (None, Some(range)) => {
            let content = (!message.is_held).then(Vec::new);
            *open = Some(TransferPart { range: from_message(range)?, hash: message.hash, content });
        }
        (Some(TransferPart { content: Some(content), .. }), None) => {
            if content.len() + message.content.len() > PART_BYTES_MAX {
                return Err(Status::resource_exhausted(format!(
                    "a part of the checkpoint has more than {PART_BYTES_MAX} bytes"
                )));
            }
            content.extend_from_slice(&message.content);
        }
        _ => return Err(Status::invalid_argument("messages of the checkpoint are out of order")),
    }
    Ok(if is_last { open.take() } else { None })
}

fn held_message(held: HeldPart) -> v1::HeldPart {
    v1::HeldPart { range: Some(to_message(held.range)), hash: held.hash }
}
