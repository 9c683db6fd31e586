//! Names of things inside a shard.

use std::fmt;

use crate::bytes::{Cursor, Malformed};

/// A series of one shard: given by apply in log order, never reused in the shard's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub u32);

impl SeriesId {
    /// Stands where a label set got no series, for a limit.
    pub const NONE: Self = Self(u32::MAX);
}

impl fmt::Display for SeriesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A replica's place in a node's store: the first part of its keys. Never reused on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaNumber(pub u32);

/// A scrape target: a hash of its identity, equal on all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(pub u128);

/// A group of rules: a hash of its identity, equal on all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleGroupId(pub u128);

/// How long samples are kept: the days that they are, or 0, the default class, for as long as the
/// cluster keeps what no rule names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RetentionClass(pub u16);

impl RetentionClass {
    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let number = cursor.varint("retention class")?;
        u16::try_from(number).map(Self).map_err(|_| Malformed("retention class"))
    }
}

/// A place in the shard's raft log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogPosition {
    /// Term of the leader that wrote the entry.
    pub term: u64,
    /// Index of the entry; 0 is before the first.
    pub index: u64,
}

impl fmt::Display for LogPosition {
    /// `index@term`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}
