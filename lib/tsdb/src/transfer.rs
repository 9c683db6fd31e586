//! A replica's checkpoint on its way to another node.
//!
//! What travels is what the store has under one replica number at one moment, cut into parts of
//! neighbouring keys. Keys travel without their number: the receiver has drawn one of its own.
//!
//! ```text
//! part    := space, start, end, hash, content     keys without the replica number, end exclusive;
//!                                                 no end: to the end of the space
//! content := version u8, crc32c u32 LE of all that follows,
//!            { key block, value block }           in order of the keys
//! block   := len varint, bytes
//! hash    := xxh3-64 of content
//! ```
//!
//! Invariants
//! * all parts are of one moment: one view of the store serves them all;
//! * the parts of a space touch, from its first key to its end; spaces come in their order;
//! * a part that the receiver has from an earlier attempt, and that is still the same, is named and
//!   not sent.

mod import;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    ops::{ControlFlow, Range},
};

pub use import::{Import, ImportError};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    ReplicaNumber,
    bytes::put_block,
    keys,
    kv::{KvError, Space, View},
    page::seal,
};

const VERSION: u8 = 1;
/// Bytes of content after which a part ends: small enough to send again, large enough that naming
/// it costs nothing beside it. One record may be larger.
const PART_BYTES: usize = 1 << 20;

/// Neighbouring keys of one space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartRange {
    /// Of which space.
    pub space: Space,
    /// The first key there may be.
    pub start: Vec<u8>,
    /// The first key that is not in it; `None`: to the end of the space.
    pub end: Option<Vec<u8>>,
}

/// A part that the receiver has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldPart {
    /// Its keys.
    pub range: PartRange,
    /// Of its content.
    pub hash: u64,
}

/// A part to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferPart {
    /// Its keys.
    pub range: PartRange,
    /// Of its content.
    pub hash: u64,
    /// Its records; `None` where the receiver has them.
    pub content: Option<Vec<u8>>,
}

/// What is called for each part; it may end the transfer.
pub type SendPart<'s> = dyn FnMut(TransferPart) -> ControlFlow<()> + 's;

/// Sends everything that a view of the store has of a replica, but for what of `held` is still the
/// same. Blocks on the disk, and on `send`.
pub fn export(
    view: &dyn View,
    replica: ReplicaNumber,
    held: &[HeldPart],
    send: &mut SendPart<'_>,
) -> Result<(), KvError> {
    let range = keys::replica(replica);
    for space in Space::ALL {
        let held = held.iter().filter(|part| part.range.space == space).cloned().collect();
        let mut cutter = Cutter { space, held, open: Vec::new(), compared: None, content: begin() };
        cutter.compare();
        let mut flow = ControlFlow::Continue(());
        view.scan(space, &range.start, &range.end, &mut |key, value| {
            flow = cutter.add(&key[range.start.len()..], value, send);
            flow
        })?;
        if flow.is_break() || cutter.finish(send).is_break() {
            return Ok(());
        }
    }
    Ok(())
}

fn begin() -> Vec<u8> {
    vec![VERSION, 0, 0, 0, 0]
}

/// Cuts the records of one space into parts.
struct Cutter {
    space: Space,
    /// What the receiver has and was not come to yet.
    held: VecDeque<HeldPart>,
    /// Where the part that is being filled begins.
    open: Vec<u8>,
    /// The held part that has its keys.
    compared: Option<HeldPart>,
    content: Vec<u8>,
}

impl Cutter {
    /// Takes the held part that begins where the open one does.
    fn compare(&mut self) {
        let begins_here = self.held.front().is_some_and(|held| held.range.start == self.open);
        self.compared = if begins_here { self.held.pop_front() } else { None };
    }

    /// Where the open part must end at the latest.
    fn limit(&self) -> Option<&[u8]> {
        match &self.compared {
            Some(held) => held.range.end.as_deref(),
            None => self.held.front().map(|next| next.range.start.as_slice()),
        }
    }

    fn add(&mut self, key: &[u8], value: &[u8], send: &mut SendPart<'_>) -> ControlFlow<()> {
        while let Some(limit) = self.limit()
            && key >= limit
        {
            let limit = limit.to_vec();
            self.cut(Some(limit), send)?;
        }
        // A held part may have grown; then it is cut like a new one.
        let has_grown = self.content.len() > 4 * PART_BYTES;
        if has_grown || (self.compared.is_none() && self.content.len() >= PART_BYTES) {
            self.compared = None;
            self.cut(Some(key.to_vec()), send)?;
        }
        put_block(&mut self.content, key);
        put_block(&mut self.content, value);
        ControlFlow::Continue(())
    }

    fn finish(&mut self, send: &mut SendPart<'_>) -> ControlFlow<()> {
        while let Some(limit) = self.limit().map(<[u8]>::to_vec) {
            self.cut(Some(limit), send)?;
        }
        self.cut(None, send)
    }

    fn cut(&mut self, end: Option<Vec<u8>>, send: &mut SendPart<'_>) -> ControlFlow<()> {
        let mut content = std::mem::replace(&mut self.content, begin());
        seal(&mut content);
        let hash = xxh3_64(&content);
        let next = end.clone().unwrap_or_default();
        let start = std::mem::replace(&mut self.open, next);
        let range = PartRange { space: self.space, start, end };
        let is_held = self.compared.take().is_some_and(|it| it.range == range && it.hash == hash);
        let flow = send(TransferPart { range, hash, content: (!is_held).then_some(content) });
        self.compare();
        flow
    }
}

/// Keys of a replica from those of a part.
fn of_replica(replica: ReplicaNumber, range: &PartRange) -> Range<Vec<u8>> {
    let all = keys::replica(replica);
    let key = |rest: &[u8]| [&all.start, rest].concat();
    key(&range.start)..range.end.as_deref().map_or_else(|| all.end.clone(), key)
}
