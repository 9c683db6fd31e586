//! A replica of a simulated node: the product's state machine, and what it was given to apply.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use narthex_cluster::{ClusterState, NodeId as MemberId, ShardId};
use narthex_tsdb::{ReplicaNumber, ShardReader, kv::MemoryKv};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::clock::SimulatedClock;
use crate::{
    control::{Control, machine::ControlMachine},
    raft::{Applied, CommittedEntry, Group, GroupId, MachineError, NodeId, StateMachine},
    shard::{
        core::Limits,
        machine::ReplicaState,
        task::{WriteTask, Writer},
    },
};

/// What was applied and what came of it, in order.
pub type Record = Arc<Mutex<Vec<(CommittedEntry, Bytes)>>>;

/// Keeps what it hands on.
pub struct Recorded {
    machine: Box<dyn StateMachine>,
    record: Record,
}

impl StateMachine for Recorded {
    fn applied(&self) -> Applied {
        self.machine.applied()
    }

    fn apply(&mut self, entries: Vec<CommittedEntry>) -> Result<Vec<Bytes>, MachineError> {
        let outcomes = self.machine.apply(entries.clone())?;
        self.record.lock().extend(entries.into_iter().zip(outcomes.iter().cloned()));
        Ok(outcomes)
    }

    fn checkpoint(&mut self) -> Result<(), MachineError> {
        self.machine.checkpoint()
    }
}

/// A group on a node.
pub struct Replica {
    pub record: Record,
    /// Entries of the record that were checked.
    pub checked: usize,
    /// `None` until the group is open.
    pub open: Arc<Mutex<Option<Open>>>,
    pub hosts: Hosts,
}

/// What a replica is of.
#[derive(Clone)]
pub enum Hosts {
    Control(watch::Receiver<Arc<ClusterState>>),
    Shard(ShardReader),
}

/// What is there once a group is open.
#[derive(Clone)]
pub struct Open {
    pub group: Group,
    /// Of a shard.
    pub writer: Option<Writer>,
    /// Of the control group.
    pub control: Option<Control>,
}

impl Replica {
    /// The control group's replica, and its state machine.
    pub fn control() -> (Self, Box<dyn StateMachine>) {
        let (published, state) = watch::channel(Arc::default());
        let machine = ControlMachine::open(PathBuf::from("/absent/control"), published);
        Self::new(Hosts::Control(state), Box::new(machine.expect("there is no checkpoint")))
    }

    /// A shard's replica, and its state machine.
    pub fn shard(node: NodeId) -> (Self, Box<dyn StateMachine>) {
        let number = ReplicaNumber(u32::try_from(node).expect("few nodes"));
        let state = ReplicaState::open(Arc::new(MemoryKv::new()), number);
        let state = state.expect("there is no checkpoint");
        Self::new(Hosts::Shard(state.reader()), Box::new(state))
    }

    fn new(hosts: Hosts, machine: Box<dyn StateMachine>) -> (Self, Box<dyn StateMachine>) {
        let record = Record::default();
        let open = Arc::default();
        let recorded = Recorded { machine, record: record.clone() };
        (Self { record, checked: 0, open, hosts }, Box::new(recorded))
    }

    pub fn group(&self) -> Option<Group> {
        self.open.lock().as_ref().map(|open| open.group.clone())
    }

    pub fn writer(&self) -> Option<Writer> {
        self.open.lock().as_ref()?.writer.clone()
    }

    pub fn reader(&self) -> Option<&ShardReader> {
        match &self.hosts {
            Hosts::Shard(reader) => Some(reader),
            Hosts::Control(_) => None,
        }
    }
}

impl Hosts {
    /// Gives an open group what writes to it.
    pub fn open(self, group: Group, node: NodeId, clock: Arc<SimulatedClock>) -> Open {
        let (writer, control) = match self {
            Self::Control(state) => {
                (None, Some(Control::new(MemberId(node), group.clone(), state, clock)))
            }
            Self::Shard(reader) => {
                let task = WriteTask {
                    shard: shard_of(group.id()),
                    node: MemberId(node),
                    group: group.clone(),
                    reader,
                    clock,
                    limits: Limits::default(),
                };
                (Some(task.spawn(&TaskTracker::new(), CancellationToken::new())), None)
            }
        };
        Open { group, writer, control }
    }
}

/// The shard of a group that is not the control group.
pub fn shard_of(group: GroupId) -> ShardId {
    let shards = super::SHARDS.map(ShardId);
    let found = shards.into_iter().find(|shard| GroupId::shard(shard.0) == group);
    found.expect("not the control group")
}
