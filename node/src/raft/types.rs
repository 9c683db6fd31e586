//! The names raft uses here, and the one place where openraft's type parameters are chosen.

use std::{fmt, io};

use bytes::Bytes;
use openraft::{
    EmptyNode,
    alias::{CommittedLeaderIdOf, EntryOf, LogIdOf, StoredMembershipOf, VoteOf},
};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::runtime::MeteredRuntime;

/// A node's number in its cluster. Never reused.
pub type NodeId = u64;

/// One raft group: the control group, or one per shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(u32);

impl GroupId {
    /// The group that holds cluster state. Its log entries are written before others'.
    pub const CONTROL: Self = Self(0);

    /// The group of a shard.
    pub const fn shard(shard: u32) -> Self {
        Self(shard + 1)
    }

    /// The number on the wire and on disk.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The group with this number on the wire or on disk.
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// `control`, or `shard-N`.
impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("control"),
            n => write!(f, "shard-{}", n - 1),
        }
    }
}

/// The name of one entry for ever: the term it was proposed in and its place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// Term of the leader that proposed the entry.
    pub term: u64,
    /// Place in the group's log, from 0.
    pub index: u64,
}

/// `TERM.INDEX`, as in logs and errors.
impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.index)
    }
}

/// Bytes that raft carries and never looks into: an entry's payload, or the outcome of applying it.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<u8>", into = "Vec<u8>")]
pub struct Opaque(pub Bytes);

impl From<Vec<u8>> for Opaque {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Bytes::from(bytes))
    }
}

impl From<Opaque> for Vec<u8> {
    fn from(opaque: Opaque) -> Self {
        opaque.0.into()
    }
}

impl fmt::Display for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Debug for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Openraft's parameters. Terms have one leader each (`leader_id_std`), so a term alone fences a
/// leader's proposals. Members are plain node ids: their addresses are looked up when a connection
/// is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeConfig;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = Opaque;
    type R = Opaque;
    type NodeId = NodeId;
    type Node = EmptyNode;
    type Term = u64;
    type LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Opaque, NodeId, EmptyNode>;
    type Entry = openraft::Entry<CommittedLeaderId, Self::Payload>;
    type AsyncRuntime = MeteredRuntime;
    type Responder<T>
        = Answer<T>
    where
        T: Send + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// Hands a result to whoever waits for it; nobody waiting is not an error.
#[derive(Debug)]
pub struct Answer<T>(pub oneshot::Sender<T>);

impl<T: Send + 'static> openraft::raft::responder::Responder<TypeConfig, T> for Answer<T> {
    fn on_complete(self, result: T) {
        self.0.send(result).ok();
    }
}

pub(super) type CommittedLeaderId = CommittedLeaderIdOf<TypeConfig>;
pub(super) type Entry = EntryOf<TypeConfig>;
pub(super) type LogId = LogIdOf<TypeConfig>;
pub(super) type Vote = VoteOf<TypeConfig>;
pub(super) type StoredMembership = StoredMembershipOf<TypeConfig>;
pub(super) type Membership = openraft::Membership<NodeId, EmptyNode>;

impl From<LogPosition> for LogId {
    fn from(position: LogPosition) -> Self {
        Self::new_term_index(position.term, position.index)
    }
}

impl From<LogId> for LogPosition {
    fn from(id: LogId) -> Self {
        Self { term: id.leader_id.term, index: id.index }
    }
}

/// Bytes read from disk or from a peer that are not what this version writes.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}: {problem}")]
pub struct Malformed {
    /// What was being read.
    pub what: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl From<Malformed> for io::Error {
    fn from(malformed: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, malformed)
    }
}
