//! Bytes of raft's own values, the same on disk and on the wire.
//!
//! Hand-written because an entry's payload must be carried without a copy, and because these bytes
//! outlive openraft's alphas. Integers are little-endian. Whoever stores or sends a value puts the
//! format version in front; `docs/formats/raft-log.md` draws every layout.

use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes};
use openraft::{EmptyNode, EntryPayload};

use super::types::{Entry, LogId, Malformed, Membership, Opaque, StoredMembership, Vote};

const KIND_BLANK: u8 = 0;
const KIND_DATA: u8 = 1;
const KIND_MEMBERSHIP: u8 = 2;

/// Most members a membership may name, far above any sane group: bounds what a peer's bytes allocate.
const MEMBERS_MAX: usize = 1024;

fn need(bytes: &impl Buf, wanted: usize, what: &'static str) -> Result<(), Malformed> {
    if bytes.remaining() < wanted { Err(Malformed { what, problem: "cut short" }) } else { Ok(()) }
}

/// The kind of an entry's payload and its bytes; data is shared, not copied.
pub fn encode_payload(entry: &Entry) -> (u8, Bytes) {
    match &entry.payload {
        EntryPayload::Blank => (KIND_BLANK, Bytes::new()),
        EntryPayload::Normal(data) => (KIND_DATA, data.0.clone()),
        EntryPayload::Membership(membership) => {
            let mut bytes = Vec::new();
            put_membership(&mut bytes, membership);
            (KIND_MEMBERSHIP, bytes.into())
        }
    }
}

/// The entry whose payload [`encode_payload`] gave.
pub fn decode_entry(id: LogId, kind: u8, payload: Bytes) -> Result<Entry, Malformed> {
    let what = "entry";
    let payload = match kind {
        KIND_BLANK if payload.is_empty() => EntryPayload::Blank,
        KIND_BLANK => return Err(Malformed { what, problem: "payload in a blank entry" }),
        KIND_DATA => EntryPayload::Normal(Opaque(payload)),
        KIND_MEMBERSHIP => {
            let mut rest = payload;
            let membership = take_membership(&mut rest)?;
            if rest.has_remaining() {
                return Err(Malformed { what, problem: "bytes after the membership" });
            }
            EntryPayload::Membership(membership)
        }
        _ => return Err(Malformed { what, problem: "unknown kind of payload" }),
    };
    Ok(Entry { log_id: id, payload })
}

/// How many bytes an entry keeps in memory, with a share for what holds it.
pub fn entry_bytes(entry: &Entry) -> usize {
    const OVERHEAD: usize = 64;
    match &entry.payload {
        EntryPayload::Normal(data) => data.0.len() + OVERHEAD,
        EntryPayload::Blank | EntryPayload::Membership(_) => OVERHEAD,
    }
}

pub fn put_log_id(into: &mut impl BufMut, id: &LogId) {
    into.put_u64_le(id.leader_id.term);
    into.put_u64_le(id.index);
}

pub fn take_log_id(from: &mut impl Buf) -> Result<LogId, Malformed> {
    need(from, 16, "log id")?;
    let term = from.get_u64_le();
    Ok(LogId::new_term_index(term, from.get_u64_le()))
}

pub fn put_log_id_option(into: &mut impl BufMut, id: Option<&LogId>) {
    into.put_u8(id.is_some().into());
    if let Some(id) = id {
        put_log_id(into, id);
    }
}

pub fn take_log_id_option(from: &mut impl Buf) -> Result<Option<LogId>, Malformed> {
    match take_flag(from, "log id")? {
        true => Ok(Some(take_log_id(from)?)),
        false => Ok(None),
    }
}

pub fn put_vote(into: &mut impl BufMut, vote: &Vote) {
    into.put_u64_le(vote.leader_id.term);
    into.put_u64_le(vote.leader_id.voted_for);
    into.put_u8(vote.committed.into());
}

pub fn take_vote(from: &mut impl Buf) -> Result<Vote, Malformed> {
    need(from, 17, "vote")?;
    let (term, node) = (from.get_u64_le(), from.get_u64_le());
    match take_flag(from, "vote")? {
        true => Ok(Vote::new_committed(term, node)),
        false => Ok(Vote::new(term, node)),
    }
}

pub fn take_flag(from: &mut impl Buf, what: &'static str) -> Result<bool, Malformed> {
    need(from, 1, what)?;
    match from.get_u8() {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed { what, problem: "flag is neither 0 nor 1" }),
    }
}

/// A membership with the position it was committed at: what a checkpoint carries for raft.
pub fn encode_stored_membership(stored: &StoredMembership) -> Bytes {
    let mut bytes = vec![STORED_MEMBERSHIP_VERSION];
    put_log_id_option(&mut bytes, stored.log_id().as_ref());
    put_membership(&mut bytes, stored.membership());
    bytes.into()
}

const STORED_MEMBERSHIP_VERSION: u8 = 1;

/// What [`encode_stored_membership`] gave; nothing at all is the membership before the first one.
pub fn decode_stored_membership(mut bytes: &[u8]) -> Result<StoredMembership, Malformed> {
    if bytes.is_empty() {
        return Ok(StoredMembership::default());
    }
    if bytes.get_u8() != STORED_MEMBERSHIP_VERSION {
        return Err(Malformed { what: "membership", problem: "unknown version" });
    }
    let position = take_log_id_option(&mut bytes)?;
    let membership = take_membership(&mut bytes)?;
    Ok(StoredMembership::new(position, membership))
}

fn put_membership(into: &mut impl BufMut, membership: &Membership) {
    let configs = membership.get_joint_config();
    into.put_u16_le(configs.len() as u16);
    for config in configs {
        put_ids(into, config.iter().copied());
    }
    put_ids(into, membership.nodes().map(|(id, _)| *id));
}

fn put_ids(into: &mut impl BufMut, ids: impl Iterator<Item = u64>) {
    let ids: Vec<u64> = ids.collect();
    into.put_u16_le(ids.len() as u16);
    for id in ids {
        into.put_u64_le(id);
    }
}

fn take_membership(from: &mut impl Buf) -> Result<Membership, Malformed> {
    let what = "membership";
    need(from, 2, what)?;
    let configs = usize::from(from.get_u16_le());
    if configs > 2 {
        return Err(Malformed { what, problem: "more than two joint configurations" });
    }
    let configs = (0..configs).map(|_| take_ids(from)).collect::<Result<Vec<_>, _>>()?;
    let nodes: std::collections::BTreeMap<u64, EmptyNode> =
        take_ids(from)?.into_iter().map(|id| (id, EmptyNode::new())).collect();
    if configs.iter().flatten().any(|id| !nodes.contains_key(id)) {
        return Err(Malformed { what, problem: "a voter is not among the members" });
    }
    // An empty set of configurations is what a group has before its first membership.
    Ok(Membership::new_with_defaults(configs, nodes.into_keys()))
}

fn take_ids(from: &mut impl Buf) -> Result<BTreeSet<u64>, Malformed> {
    let what = "membership";
    need(from, 2, what)?;
    let count = usize::from(from.get_u16_le());
    if count > MEMBERS_MAX {
        return Err(Malformed { what, problem: "too many members" });
    }
    need(from, count * 8, what)?;
    Ok((0..count).map(|_| from.get_u64_le()).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(payload: EntryPayload<Opaque, u64, EmptyNode>) -> Entry {
        Entry { log_id: LogId::new_term_index(7, 9), payload }
    }

    fn back(entry: &Entry) -> Entry {
        let (kind, bytes) = encode_payload(entry);
        decode_entry(entry.log_id, kind, bytes).unwrap()
    }

    #[test]
    fn entries_come_back() {
        let joint = Membership::new_with_defaults(
            vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3, 4])],
            [9],
        );
        for payload in [
            EntryPayload::Blank,
            EntryPayload::Normal(Opaque(Bytes::from_static(b"samples"))),
            EntryPayload::Membership(joint),
        ] {
            let entry = entry(payload);
            assert_eq!(back(&entry), entry);
        }
    }

    #[test]
    fn a_stored_membership_comes_back() {
        let membership = Membership::new_with_defaults(vec![BTreeSet::from([1, 2, 3])], [4]);
        let stored = StoredMembership::new(Some(LogId::new_term_index(3, 4)), membership);
        assert_eq!(decode_stored_membership(&encode_stored_membership(&stored)).unwrap(), stored);
        assert_eq!(decode_stored_membership(b"").unwrap(), StoredMembership::default());
        assert_eq!(
            decode_stored_membership(&encode_stored_membership(&StoredMembership::default()))
                .unwrap(),
            StoredMembership::default()
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(kind in 0u8..4, bytes: Vec<u8>) {
            let _ = decode_entry(LogId::new_term_index(1, 1), kind, bytes.clone().into());
            let _ = decode_stored_membership(&bytes);
            let _ = take_vote(&mut bytes.as_slice());
        }
    }
}
