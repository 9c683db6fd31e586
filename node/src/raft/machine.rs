//! A group's state machine, and the fixed pool of threads that apply runs on.
//!
//! Openraft hands committed entries over and goes on: nothing that it does next depends on what
//! apply says, and waking it for each entry would cost as much as applying one. Whoever needs to
//! know how far the state is, asks here.
//!
//! Invariants
//! * a state machine is only ever touched on its group's thread;
//! * entries are applied once each and in order, also across a reopening of the group: what an
//!   earlier core still sends is refused;
//! * a state machine that failed or panicked is never touched again.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
    thread::JoinHandle,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    jobs::{Closed, Jobs, Urgency},
    types::{GroupId, LogPosition},
};

/// Where a state machine stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// The last entry it contains; `None` before the first.
    pub position: Option<LogPosition>,
    /// The last [`Command::Members`] up to there, as it came; empty before the first. A checkpoint
    /// stores it beside the position.
    pub members: Bytes,
}

/// A committed entry, to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedEntry {
    /// Its name.
    pub position: LogPosition,
    /// What it says.
    pub command: Command,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Nothing: a new leader's first entry.
    Nothing,
    /// The bytes that were proposed.
    Data(Bytes),
    /// The group has these members from here on. The bytes are raft's own; keep the newest.
    Members(Bytes),
}

/// Why a state machine cannot go on. The replica stops.
pub type MachineError = Box<dyn std::error::Error + Send + Sync>;

/// What a raft group agrees on. Called on the group's own thread, never on the raft runtime.
pub trait StateMachine: Send + 'static {
    /// Where the state stands. Asked when the group is opened.
    fn applied(&self) -> Applied;

    /// Applies committed entries in order, and gives one outcome for each. A refusal is an outcome;
    /// an error stops the replica.
    fn apply(&mut self, entries: Vec<CommittedEntry>) -> Result<Vec<Bytes>, MachineError>;

    /// Writes everything that changed as one checkpoint. The owner says by
    /// [`Group::persisted`](super::Group::persisted) when it has reached the disk.
    fn checkpoint(&mut self) -> Result<(), MachineError>;
}

/// Entries that a group may have handed over and not applied yet, in KiB (4 MiB): some thousand
/// requests, as many as come during a slow checkpoint.
const ROOM_KIB: usize = 4 << 10;

/// The threads that state machines run on. Dropping it waits for the jobs already accepted.
#[derive(Debug)]
pub struct ApplyPool {
    queues: Vec<Arc<Jobs>>,
    threads: Vec<JoinHandle<()>>,
}

impl ApplyPool {
    /// Starts `threads` threads, at least one.
    pub fn start(threads: usize) -> io::Result<Self> {
        let mut pool = Self { queues: Vec::new(), threads: Vec::new() };
        for number in 0..threads.max(1) {
            let queue = Arc::new(Jobs::default());
            let jobs = queue.clone();
            let thread = std::thread::Builder::new()
                .name(format!("apply-{number}"))
                .spawn(move || jobs.run())?;
            pool.queues.push(queue);
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Gives a group's state machine to its thread.
    pub(super) fn host(&self, group: GroupId, machine: Box<dyn StateMachine>) -> Machine {
        let at = group.number() as usize % self.queues.len();
        Machine::new(self.queues[at].clone(), group, machine)
    }
}

impl Drop for ApplyPool {
    fn drop(&mut self) {
        self.queues.iter().for_each(|queue| queue.close());
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

struct Slot {
    group: GroupId,
    machine: Box<dyn StateMachine>,
    applied: Applied,
    /// Number of the openraft core that may apply; a later one takes over.
    core: u64,
    progress: Arc<Progress>,
}

/// What others see of a state machine without waiting for its thread, or for a job to end.
struct Progress {
    applied: watch::Sender<Option<LogPosition>>,
    /// Why the state machine is lost, once it is: told before `failed`.
    failure: OnceLock<Arc<str>>,
    failed: CancellationToken,
    room: Arc<Semaphore>,
}

/// Why a state machine did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MachineFailure {
    /// It failed, now or before: its replica is lost until the node restarts.
    #[error("state machine failed: {0}")]
    Failed(Arc<str>),
    /// A later core of the group has taken over, or the node ends.
    #[error("state machine has another owner")]
    Superseded,
}

impl From<MachineFailure> for io::Error {
    fn from(failure: MachineFailure) -> Self {
        Self::other(failure)
    }
}

/// A state machine on its thread. Clones share it.
#[derive(Clone)]
pub(super) struct Machine {
    slot: Arc<Mutex<Slot>>,
    queue: Arc<Jobs>,
    progress: Arc<Progress>,
}

impl Machine {
    /// Gives a state machine to the thread that does the jobs of `queue`.
    pub fn new(queue: Arc<Jobs>, group: GroupId, machine: Box<dyn StateMachine>) -> Self {
        let applied = machine.applied();
        let progress = Arc::new(Progress {
            applied: watch::Sender::new(applied.position),
            failure: OnceLock::new(),
            failed: CancellationToken::new(),
            room: Arc::new(Semaphore::new(ROOM_KIB)),
        });
        let slot = Slot { group, machine, applied, core: 0, progress: progress.clone() };
        Self { slot: Arc::new(Mutex::new(slot)), queue, progress }
    }

    /// Makes the caller the one core that may apply; gives its number and where the state stands.
    pub async fn take_over(&self) -> Result<(u64, Applied), MachineFailure> {
        self.run(|slot| {
            slot.core += 1;
            Ok((slot.core, slot.applied.clone()))
        })
        .await
    }

    /// Hands entries of `bytes` over on behalf of a core. Returns once they are queued; `answer`
    /// gets their outcomes on the machine's thread, or is dropped if there are none.
    pub async fn hand_over(
        &self,
        core: u64,
        (entries, bytes, urgency): (Vec<CommittedEntry>, usize, Urgency),
        answer: impl FnOnce(Vec<Bytes>) + Send + 'static,
    ) -> Result<(), MachineFailure> {
        let kib = u32::try_from((bytes / 1024 + 1).min(ROOM_KIB)).unwrap_or(u32::MAX);
        let room = self.progress.room.clone().acquire_many_owned(kib);
        let room = room.await.map_err(|_| MachineFailure::Superseded)?;
        if self.progress.failed.is_cancelled() {
            return Err(MachineFailure::Failed(self.failure().unwrap_or_default()));
        }
        let slot = self.slot.clone();
        let job = Box::new(move || {
            // The lock is free again when the proposers look at what they wrote.
            let outcomes = guarded(&mut slot.lock(), |slot| slot.apply(core, entries));
            if let Ok(outcomes) = outcomes {
                answer(outcomes);
            }
            drop(room);
        });
        self.queue.push(job, urgency).map_err(|Closed| MachineFailure::Superseded)
    }

    /// Returns once the entry at `index` is applied.
    pub async fn wait_until_applied(&self, index: u64) -> Result<(), MachineFailure> {
        let mut applied = self.progress.applied.subscribe();
        let reached = |position: &Option<LogPosition>| position.is_some_and(|it| it.index >= index);
        tokio::select! {
            biased;
            reached = applied.wait_for(reached) => reached.is_ok(),
            () = self.progress.failed.cancelled() => false,
        }
        .then_some(())
        .ok_or_else(|| MachineFailure::Failed(self.failure().unwrap_or_default()))
    }

    /// The newest entry applied, now and from now on.
    pub fn progress(&self) -> watch::Receiver<Option<LogPosition>> {
        self.progress.applied.subscribe()
    }

    /// Returns when the state machine is lost.
    pub async fn failed(&self) {
        self.progress.failed.cancelled().await;
    }

    /// Where the state stands.
    pub async fn applied(&self) -> Result<Applied, MachineFailure> {
        self.run(|slot| Ok(slot.applied.clone())).await
    }

    /// Has the state machine write a checkpoint; gives what it covers.
    pub async fn checkpoint(&self) -> Result<Applied, MachineFailure> {
        self.run(|slot| {
            let written = slot.machine.checkpoint();
            written.map_err(|error| slot.fail(error.as_ref()))?;
            Ok(slot.applied.clone())
        })
        .await
    }

    /// Why the state machine is lost, if it is.
    pub fn failure(&self) -> Option<Arc<str>> {
        self.progress.failure.get().cloned()
    }

    async fn run<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Slot) -> Result<R, MachineFailure> + Send + 'static,
    ) -> Result<R, MachineFailure> {
        let (answer, result) = oneshot::channel();
        let slot = self.slot.clone();
        let job = Box::new(move || {
            answer.send(guarded(&mut slot.lock(), job)).ok();
        });
        self.queue.push(job, Urgency::Now).map_err(|Closed| MachineFailure::Superseded)?;
        result.await.map_err(|_| MachineFailure::Superseded)?
    }
}

/// Runs a job unless the state machine is lost; a panic loses it.
fn guarded<R>(
    slot: &mut Slot,
    job: impl FnOnce(&mut Slot) -> Result<R, MachineFailure>,
) -> Result<R, MachineFailure> {
    if let Some(failure) = slot.progress.failure.get() {
        return Err(MachineFailure::Failed(failure.clone()));
    }
    match catch_unwind(AssertUnwindSafe(|| job(slot))) {
        Ok(result) => result,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(slot.fail_with(format!("panicked: {}", text.unwrap_or("no message"))))
        }
    }
}

impl Slot {
    fn apply(
        &mut self,
        core: u64,
        entries: Vec<CommittedEntry>,
    ) -> Result<Vec<Bytes>, MachineFailure> {
        if core != self.core {
            return Err(MachineFailure::Superseded);
        }
        let next = self.applied.position.map_or(0, |position| position.index + 1);
        let count = entries.len();
        let Some((first, last)) = entries.first().zip(entries.last()) else {
            return Ok(Vec::new());
        };
        if first.position.index != next {
            let problem = format!("entry {} is not the next one, {next} is", first.position);
            return Err(self.fail_with(problem));
        }
        let mut applied = Applied { position: Some(last.position), ..self.applied.clone() };
        for entry in &entries {
            if let Command::Members(members) = &entry.command {
                applied.members = members.clone();
            }
        }
        let outcomes = self.machine.apply(entries).map_err(|error| self.fail(error.as_ref()))?;
        if outcomes.len() != count {
            return Err(self.fail_with(format!("{} outcomes for {count} entries", outcomes.len())));
        }
        self.progress.applied.send_replace(applied.position);
        self.applied = applied;
        Ok(outcomes)
    }

    fn fail(&mut self, error: &(dyn std::error::Error + Send + Sync)) -> MachineFailure {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        self.fail_with(text)
    }

    fn fail_with(&mut self, text: String) -> MachineFailure {
        tracing::error!(group = %self.group, error = text, "state machine failed; replica stops");
        let failure = self.progress.failure.get_or_init(|| text.into()).clone();
        self.progress.failed.cancel();
        MachineFailure::Failed(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::tests::cluster::Ledger;

    /// Whoever hears of a failure asks why at once, when the job that failed may not have let go
    /// of the state machine.
    #[tokio::test]
    async fn a_failure_is_known_before_its_job_has_ended() {
        let pool = ApplyPool::start(1).unwrap();
        let machine = pool.host(GroupId::shard(0), Box::new(Ledger::default()));
        assert_eq!(machine.failure(), None);
        let seen = machine.clone();
        let known = machine.run(move |slot| {
            slot.fail_with("bad".to_owned());
            Ok(seen.failure())
        });
        assert_eq!(known.await.unwrap().as_deref(), Some("bad"));
        let again = machine.applied().await;
        assert!(matches!(again, Err(MachineFailure::Failed(text)) if &*text == "bad"));
    }
}
