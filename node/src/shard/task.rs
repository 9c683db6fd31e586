//! Performs what `core.rs` decides: encodes requests into entries, proposes them, and hands each
//! request its outcome.
//!
//! The task belongs to one replica and ends when its token fires; requests that it has accepted
//! are answered first. Requests to a replica that does not lead are answered at once.

use std::{collections::HashMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use narthex_cluster::{NodeId, ShardId};
use narthex_tsdb::{
    CommandOutcome, Outcome as EntryOutcome, ShardReader,
    entry::{EntryWriter, Header},
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::core::{Limits, Next, Now, QueueFull, RequestId, Urgency, WriteQueue};
use crate::{
    clock::Clock,
    planted::{Planted, is_planted},
    raft::{Group, Leadership, Outcome, ProposeError},
};

/// Requests that may wait for the task itself. Beyond the bound on bytes, which answers "busy",
/// this only has to cover a burst between two turns of the task.
const REQUEST_QUEUE_LEN: usize = 1024;
/// Bytes of an entry. Raft's messages take one of this size with room to spare; a larger one would
/// reach no follower, ever.
pub const ENTRY_BYTES_MAX: usize = 4 << 20;
/// What a sender is told to wait when the queue is full: a few commits.
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// The same when the log is full: until a checkpoint was written and flushed.
const LOG_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a write has no outcome. Each variant is one thing the writer does next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Send it to `leader`, or wait for an election when it is `None`.
    #[error("the shard is led by {leader:?}")]
    NotLeader {
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// Send it again after a pause.
    #[error("{reason}")]
    Busy {
        /// How long to wait.
        retry_after: Duration,
        /// What is full.
        reason: String,
    },
    /// Whether it happened is not known: send it again, which is harmless.
    #[error("leadership was lost before the outcome was known")]
    Unknown,
    /// Send labels: a series has another number here than the writer thinks.
    #[error("a series is not known by its number")]
    UnknownSeries,
    /// Split it: no entry takes it whole.
    #[error("{bytes} bytes do not fit one entry of {ENTRY_BYTES_MAX}")]
    TooLarge {
        /// What it takes in an entry.
        bytes: usize,
    },
    /// Drop it: it will be refused every time.
    #[error("{0}")]
    Invalid(String),
}

/// Adds exactly one command to an entry, or says why it cannot.
pub type Encode = Box<dyn FnOnce(&mut EntryWriter, &ShardReader) -> Result<(), WriteError> + Send>;

/// A write on its way into the log.
pub struct Write {
    /// Makes the command once it is known which series have ids.
    pub encode: Encode,
    /// About how large the command will be.
    pub bytes: usize,
    /// Whether somebody waits.
    pub urgency: Urgency,
}

struct Request {
    write: Write,
    answer: oneshot::Sender<Result<CommandOutcome, WriteError>>,
}

/// The door to a shard's write side. Cloning shares it.
#[derive(Clone)]
pub struct Writer {
    requests: mpsc::Sender<Request>,
}

impl Writer {
    /// Writes and waits for the outcome.
    pub async fn write(&self, write: Write) -> Result<CommandOutcome, WriteError> {
        let (answer, outcome) = oneshot::channel();
        let closed = WriteError::NotLeader { leader: None };
        if self.requests.send(Request { write, answer }).await.is_err() {
            return Err(closed);
        }
        outcome.await.unwrap_or(Err(closed))
    }
}

/// What the task of one replica needs.
pub struct WriteTask {
    /// Which shard.
    pub shard: ShardId,
    /// This node.
    pub node: NodeId,
    /// The shard's raft group.
    pub group: Group,
    /// The replica's series.
    pub reader: ShardReader,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Bounds.
    pub limits: Limits,
}

impl WriteTask {
    /// Starts the task; it ends when `stop` fires.
    pub fn spawn(self, tasks: &TaskTracker, stop: CancellationToken) -> Writer {
        let (requests, inbox) = mpsc::channel(REQUEST_QUEUE_LEN);
        tasks.spawn(Running::new(self).run(inbox, stop));
        Writer { requests }
    }
}

/// Requests joined into one entry.
struct Joined {
    entry: EntryWriter,
    requests: Vec<Request>,
    /// What the queue counts them as, those too that were answered already.
    bytes: usize,
}

impl Joined {
    fn new(entry: EntryWriter) -> Self {
        Self { entry, requests: Vec::new(), bytes: 0 }
    }

    /// Encodes a request, or answers it. Where it does not fit beside the others, it begins an
    /// entry of its own, and the one before is given back, full.
    fn add(&mut self, mut request: Request, reader: &ShardReader) -> Option<Self> {
        let (mark, bytes) = (self.entry.mark(), request.write.bytes);
        let encode = std::mem::replace(&mut request.write.encode, Box::new(|_, _| Ok(())));
        let mut full = None;
        let encoded = encode(&mut self.entry, reader).and_then(|()| {
            if self.entry.len() <= ENTRY_BYTES_MAX {
                return Ok(());
            }
            let own = self.entry.split_off(mark);
            if own.len() > ENTRY_BYTES_MAX {
                return Err(WriteError::TooLarge { bytes: own.len() });
            }
            full = Some(std::mem::replace(self, Self::new(own)));
            Ok(())
        });
        self.bytes += bytes;
        match encoded {
            Ok(()) => self.requests.push(request),
            Err(problem) => drop(request.answer.send(Err(problem))),
        }
        full
    }
}

/// An entry under way: the requests in it, what they were counted as, and what came of it.
struct Committed {
    requests: Vec<Request>,
    bytes: usize,
    outcome: Result<Outcome, ProposeError>,
}

type Pending = Pin<Box<dyn Future<Output = Committed> + Send>>;

struct Running {
    task: WriteTask,
    leadership: watch::Receiver<Leadership>,
    /// The term this replica leads and is ready in.
    leads: Option<u64>,
    queue: WriteQueue,
    waiting: HashMap<RequestId, Request>,
    next_id: u64,
    pending: FuturesUnordered<Pending>,
}

impl Running {
    fn new(task: WriteTask) -> Self {
        let leadership = task.group.leadership();
        let queue = WriteQueue::new(task.limits);
        Self {
            task,
            leadership,
            leads: None,
            queue,
            waiting: HashMap::new(),
            next_id: 0,
            pending: FuturesUnordered::new(),
        }
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<Request>, stop: CancellationToken) {
        self.follow_leadership();
        loop {
            let wake = self.propose_what_is_due().await;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                changed = self.leadership.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    self.follow_leadership();
                }
                Some(committed) = self.pending.next() => self.finish(committed),
                request = inbox.recv() => match request {
                    Some(request) => self.accept(request),
                    None => break,
                },
                () = until(wake) => {}
            }
        }
        self.refuse_waiting(None);
        while let Some(committed) = self.pending.next().await {
            self.finish(committed);
        }
    }

    fn follow_leadership(&mut self) {
        let now = *self.leadership.borrow_and_update();
        let leads = now.ready.then_some(now.term);
        if leads != self.leads {
            self.leads = leads;
            self.refuse_waiting(self.other_leader(now));
        }
    }

    fn other_leader(&self, leadership: Leadership) -> Option<NodeId> {
        leadership.leader.map(NodeId).filter(|leader| *leader != self.task.node)
    }

    fn accept(&mut self, request: Request) {
        if self.leads.is_none() {
            let leader = self.other_leader(*self.leadership.borrow());
            request.answer.send(Err(WriteError::NotLeader { leader })).ok();
            return;
        }
        let (log_bytes, log_bytes_max) = self.task.group.log_bytes();
        if log_bytes > log_bytes_max + log_bytes_max / 4 {
            let reason = format!(
                "the shard's raft log has {log_bytes} bytes, more than {log_bytes_max} \
                 (--storage.raft-log.max-bytes): its checkpoints do not reach the disk"
            );
            let busy = WriteError::Busy { retry_after: LOG_RETRY_AFTER, reason };
            request.answer.send(Err(busy)).ok();
            return;
        }
        let id = RequestId(self.next_id);
        self.next_id += 1;
        let clock = &self.task.clock;
        let now = Now { monotonic: clock.monotonic(), wall: clock.now() };
        match self.queue.offer(now, id, request.write.bytes, request.write.urgency) {
            Ok(()) => {
                self.waiting.insert(id, request);
            }
            Err(full @ QueueFull { .. }) => {
                let busy = WriteError::Busy { retry_after: RETRY_AFTER, reason: full.to_string() };
                request.answer.send(Err(busy)).ok();
            }
        }
    }

    /// Proposes entries as long as the queue wants to; returns when to ask it again.
    async fn propose_what_is_due(&mut self) -> Option<std::time::Instant> {
        loop {
            match self.queue.next(self.task.clock.monotonic()) {
                Next::Propose(ids) => self.propose(ids).await,
                Next::WaitUntil(due) => return Some(due),
                Next::Idle => return None,
            }
        }
    }

    async fn propose(&mut self, ids: Vec<RequestId>) {
        let Some(term) = self.leads else {
            return;
        };
        let header =
            Header { leader_time: self.task.clock.now(), leader_node: self.task.node.0, tenant: 0 };
        let mut joined = Joined::new(EntryWriter::new(header));
        for id in ids {
            let request = self.waiting.remove(&id).expect("BUG: queued without its request");
            if let Some(full) = joined.add(request, &self.task.reader) {
                self.queue.divided();
                self.send(term, full).await;
            }
        }
        match joined.requests.is_empty() {
            true => self.queue.done(joined.bytes),
            false => self.send(term, joined).await,
        }
    }

    async fn send(&mut self, term: u64, joined: Joined) {
        let Joined { entry, requests, bytes } = joined;
        let proposed = self.task.group.propose(term, Bytes::from(entry.finish())).await;
        self.pending.push(Box::pin(async move {
            let outcome = match proposed {
                Ok(proposal) => proposal.await,
                Err(error) => Err(error),
            };
            Committed { requests, bytes, outcome }
        }));
    }

    fn finish(&mut self, committed: Committed) {
        self.queue.done(committed.bytes);
        let outcomes = match committed.outcome {
            Ok(outcome) => EntryOutcome::decode(&outcome.data).map_err(|error| {
                WriteError::Invalid(format!("outcome of an entry cannot be read: {error}"))
            }),
            Err(ProposeError::NotLeader { leader }) => {
                Err(WriteError::NotLeader { leader: leader.map(NodeId) })
            }
            Err(ProposeError::Stalled) => Err(WriteError::NotLeader { leader: None }),
            Err(ProposeError::Lost) if is_planted(Planted::LostIsAcknowledged) => {
                Ok(EntryOutcome {
                    commands: vec![CommandOutcome::default(); committed.requests.len()],
                })
            }
            Err(ProposeError::Lost) => Err(WriteError::Unknown),
        };
        let mut outcomes = outcomes.map(|outcome| outcome.commands.into_iter());
        for request in committed.requests {
            let result = match &mut outcomes {
                Ok(outcomes) => outcomes.next().ok_or(WriteError::Unknown),
                Err(error) => Err(error.clone()),
            };
            request.answer.send(result).ok();
        }
    }

    fn refuse_waiting(&mut self, leader: Option<NodeId>) {
        for id in self.queue.clear() {
            if let Some(request) = self.waiting.remove(&id) {
                request.answer.send(Err(WriteError::NotLeader { leader })).ok();
            }
        }
    }
}

async fn until(wake: Option<std::time::Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}
