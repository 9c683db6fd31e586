//! Keys and values of the log database; `docs/formats/raft-log.md` draws them.

use bytes::{Buf, BufMut, Bytes};

use crate::raft::{
    codec,
    types::{Entry, GroupId, LogId, Malformed, Vote},
};

/// Version of the key space and of every value.
pub const FORMAT_VERSION: u8 = 1;
/// The key whose value is the format version alone.
pub const FORMAT_KEY: &[u8] = &[0];

const ENTRY: u8 = 0x10;
const ENTRY_KEY_LEN: usize = 13;

/// What a group keeps besides its entries: one key each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mark {
    Vote = 1,
    Committed = 2,
    Purged = 3,
}

impl Mark {
    pub const ALL: [Self; 3] = [Self::Vote, Self::Committed, Self::Purged];

    pub fn key(self, group: GroupId) -> [u8; 5] {
        let mut key = [self as u8; 5];
        key[1..].copy_from_slice(&group.number().to_be_bytes());
        key
    }

    /// All of this mark's keys lie in `[first, end)`.
    pub fn key_range(self) -> ([u8; 1], [u8; 1]) {
        ([self as u8], [self as u8 + 1])
    }
}

pub fn mark_group(key: &[u8]) -> Result<GroupId, Malformed> {
    let number = key.get(1..5).and_then(|bytes| bytes.try_into().ok());
    let number = number.ok_or(Malformed { what: "log key", problem: "wrong length" })?;
    Ok(GroupId::from_number(u32::from_be_bytes(number)))
}

pub fn entry_key(group: GroupId, index: u64) -> [u8; ENTRY_KEY_LEN] {
    let mut key = [ENTRY; ENTRY_KEY_LEN];
    key[1..5].copy_from_slice(&group.number().to_be_bytes());
    key[5..].copy_from_slice(&index.to_be_bytes());
    key
}

/// The group and index of an entry's key; `None` for a key behind all entries.
pub fn parse_entry_key(key: &[u8]) -> Result<Option<(GroupId, u64)>, Malformed> {
    if key.first() != Some(&ENTRY) {
        return Ok(None);
    }
    let mut rest = &key[1..];
    if rest.len() != ENTRY_KEY_LEN - 1 {
        return Err(Malformed { what: "log key", problem: "wrong length" });
    }
    let group = GroupId::from_number(rest.get_u32());
    Ok(Some((group, rest.get_u64())))
}

/// Puts `version, checksum of key and body, body` into `scratch`.
fn seal(scratch: &mut Vec<u8>, key: &[u8], body: impl FnOnce(&mut Vec<u8>)) {
    scratch.clear();
    scratch.put_u8(FORMAT_VERSION);
    scratch.put_u32_le(0);
    body(scratch);
    let checksum = crc32c::crc32c_append(crc32c::crc32c(key), &scratch[5..]);
    scratch[1..5].copy_from_slice(&checksum.to_le_bytes());
}

/// The body of a value, if it is the one that was written under this key.
fn unseal(key: &[u8], value: &[u8]) -> Result<usize, Malformed> {
    const HEADER: usize = 5;
    let what = "log record";
    if value.len() < HEADER {
        return Err(Malformed { what, problem: "cut short" });
    }
    if value[0] != FORMAT_VERSION {
        return Err(Malformed { what, problem: "unknown version" });
    }
    let wanted = u32::from_le_bytes([value[1], value[2], value[3], value[4]]);
    if crc32c::crc32c_append(crc32c::crc32c(key), &value[HEADER..]) != wanted {
        return Err(Malformed { what, problem: "checksum differs" });
    }
    Ok(HEADER)
}

pub fn seal_entry(scratch: &mut Vec<u8>, key: &[u8], entry: &Entry) {
    let (kind, payload) = codec::encode_payload(entry);
    seal(scratch, key, |body| {
        body.put_u64_le(entry.log_id.leader_id.term);
        body.put_u8(kind);
        body.extend_from_slice(&payload);
    });
}

pub fn unseal_entry(key: &[u8], value: &[u8]) -> Result<Entry, Malformed> {
    let what = "log record";
    let (_, index) =
        parse_entry_key(key)?.ok_or(Malformed { what, problem: "not an entry's key" })?;
    let mut body = &value[unseal(key, value)?..];
    if body.len() < 9 {
        return Err(Malformed { what, problem: "cut short" });
    }
    let (term, kind) = (body.get_u64_le(), body.get_u8());
    codec::decode_entry(LogId::new_term_index(term, index), kind, Bytes::copy_from_slice(body))
}

pub fn seal_vote(scratch: &mut Vec<u8>, key: &[u8], vote: &Vote) {
    seal(scratch, key, |body| codec::put_vote(body, vote));
}

pub fn unseal_vote(key: &[u8], value: &[u8]) -> Result<Vote, Malformed> {
    codec::take_vote(&mut &value[unseal(key, value)?..])
}

pub fn seal_log_id(scratch: &mut Vec<u8>, key: &[u8], id: &LogId) {
    seal(scratch, key, |body| codec::put_log_id(body, id));
}

pub fn unseal_log_id(key: &[u8], value: &[u8]) -> Result<LogId, Malformed> {
    codec::take_log_id(&mut &value[unseal(key, value)?..])
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;

    use super::*;
    use crate::raft::types::Opaque;

    #[test]
    fn a_record_is_refused_under_another_key_or_with_another_bit() {
        let entry = Entry {
            log_id: LogId::new_term_index(3, 5),
            payload: EntryPayload::Normal(Opaque(Bytes::from_static(b"abc"))),
        };
        let key = entry_key(GroupId::shard(1), 5);
        let mut record = Vec::new();
        seal_entry(&mut record, &key, &entry);
        assert_eq!(unseal_entry(&key, &record).unwrap(), entry);

        assert!(unseal_entry(&entry_key(GroupId::shard(1), 6), &record).is_err());
        assert!(unseal_entry(&entry_key(GroupId::shard(2), 5), &record).is_err());
        for at in 0..record.len() {
            let mut flipped = record.clone();
            flipped[at] ^= 1;
            assert!(unseal_entry(&key, &flipped).is_err(), "bit in byte {at}");
        }
        assert!(unseal_entry(&key, &record[..4]).is_err());
    }

    #[test]
    fn keys_sort_by_group_then_index() {
        let keys = [
            entry_key(GroupId::CONTROL, 256),
            entry_key(GroupId::shard(0), 2),
            entry_key(GroupId::shard(0), 300),
            entry_key(GroupId::shard(1), 0),
        ];
        assert!(keys.is_sorted());
        assert_eq!(parse_entry_key(&keys[2]).unwrap(), Some((GroupId::shard(0), 300)));
        assert_eq!(parse_entry_key(&Mark::Vote.key(GroupId::CONTROL)).unwrap(), None);
    }
}
