//! The cluster version: what every member's binary is known to understand.

use std::fmt;

/// A level of entry kinds and rules. The cluster runs at the lowest level of its members and is
/// raised by a request of its own, so that until then a binary can be rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ClusterVersion(pub u32);

impl ClusterVersion {
    /// The level of this binary.
    pub const CURRENT: Self = Self(3);
}

impl fmt::Display for ClusterVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A feature that must not be used before every member understands it: an entry kind behind a
/// gate is proposed only once the gate is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    /// Everything of the first version.
    Base,
    /// Members that come and go, replicas that move: a node may hold a replica under another number
    /// than the first version gives it.
    Moves,
    /// Raft's appends between nodes go without gRPC: every node takes them.
    Streams,
    /// Shards that come later: every node scrapes and asks by the epoch of the time.
    Splits,
    /// Fragments of queries about a part of a shard's series: every node knows them.
    Scopes,
    /// Rules: a shard remembers what its rule groups remember.
    Rules,
    /// Config objects: every member reads a state that holds them.
    Objects,
}

impl Gate {
    /// All gates, for status pages.
    pub const ALL: [Self; 7] = [
        Self::Base,
        Self::Moves,
        Self::Streams,
        Self::Splits,
        Self::Scopes,
        Self::Rules,
        Self::Objects,
    ];

    /// The cluster version that opens the gate.
    pub const fn opens_at(self) -> ClusterVersion {
        match self {
            Self::Base => ClusterVersion(1),
            Self::Moves | Self::Streams | Self::Splits => ClusterVersion(2),
            Self::Scopes | Self::Rules | Self::Objects => ClusterVersion(3),
        }
    }

    /// The name in status pages and refusals.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Moves => "moves",
            Self::Streams => "streams",
            Self::Splits => "splits",
            Self::Scopes => "scopes",
            Self::Rules => "rules",
            Self::Objects => "objects",
        }
    }
}
