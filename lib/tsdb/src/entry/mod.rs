//! A raft entry of a shard: a header and the commands that apply executes in order.
//!
//! The leader encodes an entry once ([`EntryWriter`]); every replica applies those bytes
//! ([`Entry`]), which the decoder borrows from. `docs/formats/entry.md` draws them.
//!
//! Invariants
//! * arbitrary bytes are refused, never a panic, and memory reserved is bounded by the input;
//! * an entry of a version, or a command of a kind, that this program does not know is an error
//!   that stops the replica: nothing is skipped.
//!
//! There is no checksum here: the log that stores entries has its own.

mod command;
mod decode;
mod encode;
mod rich;
mod samples;
#[cfg(test)]
mod tests;

use narthex_model::Timestamp;

pub use command::{
    Append, Command, Delete, Digest, Foreign, Horizon, LabelSets, RuleGroup, Scrape, ScrapeFailed,
    Shards, Source, TargetGone,
};
pub use decode::{Commands, Entry, EntryError};
pub use encode::{EntryWriter, Mark, ScrapeParts, ScrapeSlot};
pub use rich::{ExemplarRow, Rich, RichRow, RichValue, RowOwner, SampleTimes};
pub(crate) use rich::{put_family, take_family};
pub use samples::{InlineIndex, Row, Rows, SampleBlock, Samples, Subject};

/// The version this program writes and the newest it reads.
pub const ENTRY_VERSION: u8 = 1;

/// What every entry begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The leader's clock when it encoded the entry. Apply never lets it run backwards.
    pub leader_time: Timestamp,
    /// The node that led the shard then.
    pub leader_node: u64,
    /// Whose samples these are; 0 until tenancy is built.
    pub tenant: u32,
}

/// Bits of a scrape's flags, as written.
mod flag {
    pub(super) const TRACK_STAMPED: u8 = 1;
    pub(super) const ELSEWHERE: u8 = 2;
}

/// Kinds of commands, as written. A number is never given a second meaning.
mod kind {
    pub(super) const APPEND: u8 = 1;
    pub(super) const REGISTER: u8 = 2;
    pub(super) const SCRAPE: u8 = 3;
    pub(super) const SCRAPE_FAILED: u8 = 4;
    pub(super) const TARGET_GONE: u8 = 5;
    pub(super) const SETTINGS: u8 = 6;
    pub(super) const HORIZON: u8 = 7;
    pub(super) const DIGEST: u8 = 8;
    pub(super) const SEAL: u8 = 9;
    pub(super) const BACKFILL: u8 = 10;
    pub(super) const DELETE: u8 = 16;
    pub(super) const RULE_GROUP: u8 = 17;
}
