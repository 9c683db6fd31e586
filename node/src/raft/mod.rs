//! Replication by raft: the only place that knows openraft.
//!
//! A [`Group`] is a replica of one raft group on this node. The groups of a node share a
//! [`RaftNode`]: one log with one thread that syncs, a runtime of their own, a fixed pool of
//! threads for apply, and one stream per peer.
//!
//! Invariants
//! * nothing is acknowledged before it is synced on a majority;
//! * the log is the node's only write-ahead log; a state machine replays it from its checkpoint;
//! * a follower's replica is never replaced while its group is open.
//!
//! There is no sharding here, no cluster state and no series: entries and outcomes are bytes.

mod adapter;
mod codec;
mod group;
mod heard;
mod jobs;
mod log;
mod machine;
mod metrics;
mod network;
mod runtime;
mod status;
mod supervisor;
mod timing;
mod types;

#[cfg(test)]
mod tests;

pub use self::{
    group::{
        Group, GroupConfig, InitializeError, LOG_BYTES_MAX, Leadership, MembershipChange,
        MembershipError, OpenGroupError, Outcome, Proposal, ProposeError, RaftNode, ReadError,
        Role,
    },
    log::{
        GroupLog, HeldLog, LogConfig, LogDb, LogIdentity, LogMetrics, MissingLog, OpenLogError,
        PlainSync, SyncSeam,
    },
    machine::{
        Applied, ApplyPool, Command, CommittedEntry, MachineError, MachineFailure, StateMachine,
    },
    metrics::Durations,
    network::{Network, PeerHello, PeerRefusal, Peers, RaftService},
    runtime::RaftRuntime,
    status::{FollowerStatus, GroupStatus},
    timing::RaftTiming,
    types::{GroupId, LogPosition, NodeId},
};
