//! Raft's messages as bytes inside the protobuf messages; `docs/formats/raft-log.md` draws them.
//!
//! Hand-written so that entries travel as they were proposed. Everything here is read from the
//! network: any bytes are decoded or refused, and lengths are checked before they are believed.

use bytes::{Buf, BufMut, Bytes};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};

use crate::raft::{
    codec,
    types::{Entry, LogId, Malformed, TypeConfig},
};

const VERSION: u8 = 1;

/// Bytes of an entry on the wire besides its payload.
const ENTRY_HEADER_LEN: usize = 8 + 8 + 1 + 4;

const SUCCESS: u8 = 0;
const PARTIAL: u8 = 1;
const CONFLICT: u8 = 2;
const HIGHER_VOTE: u8 = 3;

fn refuse(problem: &'static str) -> Malformed {
    Malformed { what: "raft message", problem }
}

fn take_version(from: &mut Bytes) -> Result<(), Malformed> {
    if !from.has_remaining() {
        return Err(refuse("empty"));
    }
    if from.get_u8() == VERSION { Ok(()) } else { Err(refuse("unknown version")) }
}

fn take_end<T>(from: &Bytes, value: T) -> Result<T, Malformed> {
    if from.is_empty() { Ok(value) } else { Err(refuse("bytes after the end")) }
}

pub fn encode_append(request: &AppendEntriesRequest<TypeConfig>) -> Bytes {
    let payloads: Vec<_> = request.entries.iter().map(codec::encode_payload).collect();
    let length: usize = payloads.iter().map(|(_, bytes)| bytes.len() + ENTRY_HEADER_LEN).sum();
    let mut bytes = Vec::with_capacity(64 + length);
    bytes.put_u8(VERSION);
    codec::put_vote(&mut bytes, &request.vote);
    codec::put_log_id_option(&mut bytes, request.prev_log_id.as_ref());
    codec::put_log_id_option(&mut bytes, request.leader_commit.as_ref());
    bytes.put_u32_le(payloads.len() as u32);
    for (entry, (kind, payload)) in request.entries.iter().zip(payloads) {
        codec::put_log_id(&mut bytes, &entry.log_id);
        bytes.put_u8(kind);
        bytes.put_u32_le(payload.len() as u32);
        bytes.extend_from_slice(&payload);
    }
    bytes.into()
}

pub fn decode_append(mut from: Bytes) -> Result<AppendEntriesRequest<TypeConfig>, Malformed> {
    take_version(&mut from)?;
    let vote = codec::take_vote(&mut from)?;
    let prev_log_id = codec::take_log_id_option(&mut from)?;
    let leader_commit = codec::take_log_id_option(&mut from)?;
    let count = from.try_get_u32_le().map_err(|_| refuse("cut short"))? as usize;
    if count > from.len() / ENTRY_HEADER_LEN {
        return Err(refuse("cut short"));
    }
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    let mut next = prev_log_id.map_or(0, |prev: LogId| prev.index.saturating_add(1));
    for _ in 0..count {
        let id = codec::take_log_id(&mut from)?;
        if id.index != next {
            return Err(refuse("entries are not consecutive"));
        }
        next = next.saturating_add(1);
        let kind = from.try_get_u8().map_err(|_| refuse("cut short"))?;
        let length = from.try_get_u32_le().map_err(|_| refuse("cut short"))? as usize;
        if length > from.len() {
            return Err(refuse("cut short"));
        }
        entries.push(codec::decode_entry(id, kind, from.split_to(length))?);
    }
    take_end(&from, AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
}

pub fn encode_append_reply(reply: &AppendEntriesResponse<TypeConfig>) -> Bytes {
    let mut bytes = vec![VERSION];
    match reply {
        AppendEntriesResponse::Success => bytes.put_u8(SUCCESS),
        AppendEntriesResponse::PartialSuccess(upto) => {
            bytes.put_u8(PARTIAL);
            codec::put_log_id_option(&mut bytes, upto.as_ref());
        }
        AppendEntriesResponse::Conflict => bytes.put_u8(CONFLICT),
        AppendEntriesResponse::HigherVote(vote) => {
            bytes.put_u8(HIGHER_VOTE);
            codec::put_vote(&mut bytes, vote);
        }
    }
    bytes.into()
}

pub fn decode_append_reply(
    mut from: Bytes,
) -> Result<AppendEntriesResponse<TypeConfig>, Malformed> {
    take_version(&mut from)?;
    let reply = match from.try_get_u8().map_err(|_| refuse("cut short"))? {
        SUCCESS => AppendEntriesResponse::Success,
        PARTIAL => AppendEntriesResponse::PartialSuccess(codec::take_log_id_option(&mut from)?),
        CONFLICT => AppendEntriesResponse::Conflict,
        HIGHER_VOTE => AppendEntriesResponse::HigherVote(codec::take_vote(&mut from)?),
        _ => return Err(refuse("unknown answer")),
    };
    take_end(&from, reply)
}

pub fn encode_vote(request: &VoteRequest<TypeConfig>) -> Bytes {
    let mut bytes = vec![VERSION];
    codec::put_vote(&mut bytes, &request.vote);
    codec::put_log_id_option(&mut bytes, request.last_log_id.as_ref());
    bytes.put_u8(request.leadership_transfer.into());
    bytes.into()
}

pub fn decode_vote(mut from: Bytes) -> Result<VoteRequest<TypeConfig>, Malformed> {
    take_version(&mut from)?;
    let mut request =
        VoteRequest::new(codec::take_vote(&mut from)?, codec::take_log_id_option(&mut from)?);
    request.leadership_transfer = codec::take_flag(&mut from, "raft message")?;
    take_end(&from, request)
}

pub fn encode_vote_reply(reply: &VoteResponse<TypeConfig>) -> Bytes {
    let mut bytes = vec![VERSION];
    codec::put_vote(&mut bytes, &reply.vote);
    bytes.put_u8(reply.vote_granted.into());
    codec::put_log_id_option(&mut bytes, reply.last_log_id.as_ref());
    bytes.into()
}

pub fn decode_vote_reply(mut from: Bytes) -> Result<VoteResponse<TypeConfig>, Malformed> {
    take_version(&mut from)?;
    let vote = codec::take_vote(&mut from)?;
    let vote_granted = codec::take_flag(&mut from, "raft message")?;
    let last_log_id = codec::take_log_id_option(&mut from)?;
    take_end(&from, VoteResponse { vote, vote_granted, last_log_id })
}

pub fn encode_transfer(request: &TransferLeaderRequest<TypeConfig>) -> Bytes {
    let mut bytes = vec![VERSION];
    codec::put_vote(&mut bytes, request.from_leader());
    bytes.put_u64_le(*request.to_node_id());
    codec::put_log_id_option(&mut bytes, request.last_log_id());
    bytes.into()
}

pub fn decode_transfer(mut from: Bytes) -> Result<TransferLeaderRequest<TypeConfig>, Malformed> {
    take_version(&mut from)?;
    let vote = codec::take_vote(&mut from)?;
    let to = from.try_get_u64_le().map_err(|_| refuse("cut short"))?;
    let last = codec::take_log_id_option(&mut from)?;
    take_end(&from, TransferLeaderRequest::new(vote, to, last))
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;
    use proptest::prelude::*;

    use super::*;
    use crate::raft::types::{Opaque, Vote};

    fn append(entries: Vec<Entry>) -> AppendEntriesRequest<TypeConfig> {
        AppendEntriesRequest {
            vote: Vote::new_committed(4, 2),
            prev_log_id: Some(LogId::new_term_index(3, 10)),
            entries,
            leader_commit: None,
        }
    }

    fn entry(index: u64, payload: EntryPayload<Opaque, u64, openraft::EmptyNode>) -> Entry {
        Entry { log_id: LogId::new_term_index(4, index), payload }
    }

    #[test]
    fn messages_come_back() {
        let request = append(vec![
            entry(11, EntryPayload::Blank),
            entry(12, EntryPayload::Normal(Opaque(Bytes::from_static(b"abc")))),
        ]);
        let bytes = encode_append(&request);
        assert_eq!(format!("{request:?}"), format!("{:?}", decode_append(bytes.clone()).unwrap()));
        for length in 0..bytes.len() {
            assert!(decode_append(bytes.slice(..length)).is_err());
        }

        for reply in [
            AppendEntriesResponse::Success,
            AppendEntriesResponse::PartialSuccess(Some(LogId::new_term_index(1, 2))),
            AppendEntriesResponse::Conflict,
            AppendEntriesResponse::HigherVote(Vote::new(9, 1)),
        ] {
            assert_eq!(decode_append_reply(encode_append_reply(&reply)).unwrap(), reply);
        }
        let mut vote = VoteRequest::new(Vote::new(5, 1), None);
        vote.leadership_transfer = true;
        assert_eq!(decode_vote(encode_vote(&vote)).unwrap(), vote);
        let reply = VoteResponse::new(Vote::new(5, 1), Some(LogId::new_term_index(1, 2)), true);
        assert_eq!(decode_vote_reply(encode_vote_reply(&reply)).unwrap(), reply);
        let transfer = TransferLeaderRequest::new(Vote::new_committed(5, 1), 3, None);
        assert_eq!(decode_transfer(encode_transfer(&transfer)).unwrap(), transfer);
    }

    #[test]
    fn entries_with_a_hole_are_refused() {
        let request = append(vec![entry(12, EntryPayload::Blank)]);
        assert!(decode_append(encode_append(&request)).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(mut bytes: Vec<u8>) {
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            let bytes = Bytes::from(bytes);
            let _ = decode_append(bytes.clone());
            let _ = decode_append_reply(bytes.clone());
            let _ = decode_vote(bytes.clone());
            let _ = decode_vote_reply(bytes.clone());
            let _ = decode_transfer(bytes);
        }
    }
}
