//! The names of things that outlive a process.

use std::{fmt, str::FromStr};

/// Why a text is no id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidId {
    /// Not a UUID in its hyphenated form.
    #[error("{0:?} is no cluster id: want a UUID such as 67e55044-10b1-426f-9247-bb680e5fe0c8")]
    Cluster(String),
    /// Not a whole number, or zero where zero means nobody.
    #[error("{0:?} is no {1} id: want a whole number")]
    Number(String, &'static str),
}

/// A cluster, drawn at random once, when it is founded. In every folder, handshake, snapshot and
/// backup; what carries another one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(uuid::Uuid);

impl ClusterId {
    /// The id with these bytes. The caller draws them; all zeroes means none and is refused.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Uuid::from_bytes(bytes))
    }

    /// An id from 16 random bytes: a UUID of version 4.
    pub const fn from_random_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    /// The sixteen bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Whether this is no cluster at all.
    pub const fn is_nil(&self) -> bool {
        self.0.is_nil()
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl FromStr for ClusterId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match uuid::Uuid::try_parse(text) {
            Ok(id) if text.len() == 36 && !id.is_nil() => Ok(Self(id)),
            _ => Err(InvalidId::Cluster(text.to_owned())),
        }
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $what:literal, $lowest:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                match text.parse::<$inner>() {
                    Ok(number) if ($lowest..).contains(&number) => Ok(Self(number)),
                    _ => Err(InvalidId::Number(text.to_owned(), $what)),
                }
            }
        }
    };
}

number_id! {
    /// A node: one folder and the process that has it open. From 1 up, never given twice; a wiped
    /// disk comes back under a new one.
    NodeId(u64), "node", 1
}
number_id! {
    /// A shard: one raft group and its series. From 0 up, dense, never given twice.
    ShardId(u32), "shard", 0
}
number_id! {
    /// A tenant. 0 is the only one until tenancy is built; part of every routing key.
    TenantId(u32), "tenant", 0
}
number_id! {
    /// How often a node's folder was opened. A peer that shows a lower one than the cluster has
    /// seen runs on an old copy of its folder and is refused.
    Incarnation(u64), "incarnation", 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_what_they_print() {
        let id = ClusterId::from_random_bytes([7; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("12".parse(), Ok(NodeId(12)));
        assert_eq!("0".parse(), Ok(ShardId(0)));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "x", "67e5504410b1426f9247bb680e5fe0c8", &uuid::Uuid::nil().to_string()] {
            assert!(text.parse::<ClusterId>().is_err(), "{text}");
        }
        assert!("0".parse::<NodeId>().is_err() && "-1".parse::<NodeId>().is_err());
    }
}
