//! What should change next in where replicas are and in which order they lead.
//!
//! [`decide`] looks at the cluster's state and at what was seen of its nodes and shards, and names
//! one command, or says why there is none now. Whoever asks performs it and asks again, until all
//! is [`Decided::Settled`].
//!
//! Invariants
//! * one replica at a time: while one moves, nothing else begins anywhere in the cluster;
//! * what is decided is accepted by [`ClusterState::apply`], whose own check it has passed;
//! * repair comes first, replicas on lost nodes before all; what only evens out waits for quiet;
//! * a replica or a leadership moves for evenness only where the gap it closes is larger than
//!   itself by a margin ([`burden`]): each such move lowers the sum of squares over the nodes, so
//!   they end;
//! * shards whose weights stay within a fifth of their mean are moved by their numbers alone, and
//!   none of them to and fro;
//! * equal input, equal decision.
//!
//! There is no memory between two calls, and no clock: who counts as silent or lost, and how fast
//! decisions are carried out, is known to whoever asks.

mod burden;
mod leaders;
mod repair;
mod spread;
mod under_way;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use crate::{ClusterState, Command, NodeId, ShardId};
use view::View;

/// What whoever decides has seen of the cluster.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Nodes not heard of for so long that what they held is rebuilt elsewhere.
    pub lost: BTreeSet<NodeId>,
    /// Nodes not heard of just now, but not for so long (disjoint from `lost`).
    pub silent: BTreeSet<NodeId>,
    /// Shards without a leader that hears a majority.
    pub stalled: BTreeSet<ShardId>,
    /// What each shard weighs; a missing one counts as the mean.
    pub shards: BTreeMap<ShardId, ShardLoad>,
}

/// What a shard weighs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardLoad {
    /// Series of one replica.
    pub series: u64,
    /// Bytes of one replica on disk.
    pub bytes: u64,
    /// Samples and queries per second: what its leader does and the others don't.
    pub work: u64,
}

/// See [`decide`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// All is as it should be.
    Settled,
    /// Something should be done, and is not done now: says why, for people.
    Waiting(String),
    /// Propose this.
    Step {
        /// A move that begins or is given up, or another order of leading.
        command: Command,
        /// A sentence for people.
        why: String,
    },
}

/// The next thing to do, the most urgent first: replicas on lost nodes, missing replicas, replicas
/// on draining nodes, replicas too many, shared zones, uneven nodes, and at last who should lead.
pub fn decide(state: &ClusterState, seen: &Observed) -> Decided {
    if let Some(decided) = under_way::decide(state, seen) {
        return decided;
    }
    let view = View::new(state, seen);
    let repair = repair::lost(&view)
        .or_else(|| repair::missing(&view))
        .or_else(|| repair::draining(&view))
        .or_else(|| leaders::unfit(&view));
    let quiet = match view.trouble() {
        Some(why) => repair.or_else(|| Decided::Waiting(why)),
        None => repair.or_else(|| spread::superfluous(&view)),
    };
    match quiet {
        Decided::Settled => spread::zones(&view)
            .or_else(|| spread::uneven(&view))
            .or_else(|| leaders::uneven(&view))
            .or_else(|| leaders::successors(&view)),
        before => before,
    }
}

impl Decided {
    /// What is less urgent: in its turn where there is nothing to do, and where what is more
    /// urgent has to wait if it need not.
    fn or_else(self, next: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Settled => next(),
            Self::Waiting(why) => match next() {
                step @ Self::Step { .. } => step,
                _ => Self::Waiting(why),
            },
            step @ Self::Step { .. } => step,
        }
    }

    /// The first step of many decisions, or the first reason why there is none.
    fn first(decisions: impl IntoIterator<Item = Self>) -> Self {
        let mut first = Self::Settled;
        for decided in decisions {
            first = first.or_else(|| decided);
            if matches!(first, Self::Step { .. }) {
                break;
            }
        }
        first
    }
}

#[cfg(test)]
mod tests;
