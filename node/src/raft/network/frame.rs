//! Frames of the stream between two nodes; `docs/formats/raft-log.md` draws them.
//!
//! Written without a description language, since a frame is four numbers around bytes that are
//! hand-written already. Everything here is read from the network: any bytes are decoded or
//! refused, and lengths are checked before they are believed.

use std::io;

use bytes::{Buf, BufMut, BytesMut};
use narthex_proto::internal::v1::{RaftAppend, RaftReply};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{MESSAGE_BYTES_MAX, PeerHello};
use crate::raft::types::{Malformed, NodeId};

const HELLO: u8 = 0;
const WELCOME: u8 = 1;
const APPEND: u8 = 2;
const REPLY: u8 = 3;
const PING: u8 = 4;
const PONG: u8 = 5;

/// Of a hello and its answer, so of everything that follows them.
const VERSION: u8 = 1;

/// Room for what is read at once: some entries, or many replies.
const READ_BYTES: usize = 64 << 10;

/// What one side tells the other.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// The caller's first: who calls, and whom it wants.
    Hello(PeerHello, NodeId),
    /// The answer to it: why the caller is turned away, or nothing.
    Welcome(String),
    /// Entries of one group, or a heartbeat.
    Append(RaftAppend),
    /// The answer to an append, by its id.
    Reply(RaftReply),
    /// Are you there?
    Ping,
    /// Yes.
    Pong,
}

impl Frame {
    /// Appends the frame to what is to be sent.
    pub fn put(&self, to: &mut BytesMut) {
        let start = to.len();
        to.put_u32_le(0);
        match self {
            Self::Hello(hello, wanted) => {
                to.put_slice(&[HELLO, VERSION]);
                to.put_u64_le(hello.node);
                to.put_u64_le(hello.incarnation);
                to.put_u64_le(*wanted);
                to.put_slice(hello.cluster.as_bytes());
            }
            Self::Welcome(refusal) => {
                to.put_slice(&[WELCOME, VERSION]);
                to.put_slice(refusal.as_bytes());
            }
            Self::Append(append) => {
                to.put_u8(APPEND);
                to.put_u64_le(append.id);
                to.put_u32_le(append.group);
                to.put_u64_le(append.purge_end);
                to.put_slice(&append.entries);
            }
            Self::Reply(reply) => {
                to.put_u8(REPLY);
                to.put_u64_le(reply.id);
                to.put_u32_le(reply.group);
                to.put_u64_le(reply.persisted_end);
                to.put_slice(&reply.result);
            }
            Self::Ping => to.put_u8(PING),
            Self::Pong => to.put_u8(PONG),
        }
        let length = (to.len() - start - 4) as u32;
        to[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// The first frame of what was received, if it is there whole.
    fn take(from: &mut BytesMut, bytes_max: usize) -> Result<Option<Self>, Malformed> {
        let Some(length) = waiting_len(from, bytes_max)? else { return Ok(None) };
        if from.len() < 4 + length {
            return Ok(None);
        }
        from.advance(4);
        decode(from.split_to(length)).map(Some)
    }
}

fn refuse(problem: &'static str) -> Malformed {
    Malformed { what: "raft frame", problem }
}

/// The length of the frame that `from` begins with, once that is known.
fn waiting_len(from: &BytesMut, bytes_max: usize) -> Result<Option<usize>, Malformed> {
    let Some(length) = from.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length > bytes_max {
        return Err(refuse("longer than any may be"));
    }
    Ok(Some(length))
}

fn decode(mut from: BytesMut) -> Result<Frame, Malformed> {
    let cut = |_| refuse("cut short");
    let frame = match from.try_get_u8().map_err(cut)? {
        HELLO => {
            take_version(&mut from)?;
            let node = from.try_get_u64_le().map_err(cut)?;
            let incarnation = from.try_get_u64_le().map_err(cut)?;
            let wanted = from.try_get_u64_le().map_err(cut)?;
            Frame::Hello(PeerHello { cluster: take_text(&mut from)?, node, incarnation }, wanted)
        }
        WELCOME => {
            take_version(&mut from)?;
            Frame::Welcome(take_text(&mut from)?)
        }
        APPEND => Frame::Append(RaftAppend {
            id: from.try_get_u64_le().map_err(cut)?,
            group: from.try_get_u32_le().map_err(cut)?,
            purge_end: from.try_get_u64_le().map_err(cut)?,
            entries: from.split().freeze(),
        }),
        REPLY => Frame::Reply(RaftReply {
            id: from.try_get_u64_le().map_err(cut)?,
            group: from.try_get_u32_le().map_err(cut)?,
            persisted_end: from.try_get_u64_le().map_err(cut)?,
            result: from.split().freeze(),
        }),
        PING => Frame::Ping,
        PONG => Frame::Pong,
        _ => return Err(refuse("unknown kind")),
    };
    if from.is_empty() { Ok(frame) } else { Err(refuse("bytes after the end")) }
}

fn take_version(from: &mut BytesMut) -> Result<(), Malformed> {
    match from.try_get_u8() {
        Ok(VERSION) => Ok(()),
        _ => Err(refuse("unknown version")),
    }
}

fn take_text(from: &mut BytesMut) -> Result<String, Malformed> {
    String::from_utf8(from.split().into()).map_err(|_| refuse("no text"))
}

/// The longest frame of somebody who has not been admitted: a hello with a cluster's id.
const STRANGERS_BYTES_MAX: usize = 1 << 10;

/// Reads frames one after the other.
pub struct Frames<R> {
    source: R,
    buffer: BytesMut,
    bytes_max: usize,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// Those that come from `source`.
    pub fn new(source: R) -> Self {
        Self { source, buffer: BytesMut::new(), bytes_max: STRANGERS_BYTES_MAX }
    }

    /// Takes larger ones from now on: it is known who sends them.
    pub fn admit(&mut self) {
        self.bytes_max = MESSAGE_BYTES_MAX;
    }

    /// A frame that has been received already.
    pub fn received(&mut self) -> io::Result<Option<Frame>> {
        Ok(Frame::take(&mut self.buffer, self.bytes_max)?)
    }

    /// The next frame; an error where the stream ends. Nothing is lost if this is dropped.
    pub async fn next(&mut self) -> io::Result<Frame> {
        loop {
            if let Some(frame) = self.received()? {
                return Ok(frame);
            }
            let missing = waiting_len(&self.buffer, self.bytes_max)?.map_or(0, |length| 4 + length);
            self.buffer.reserve(missing.saturating_sub(self.buffer.len()).max(READ_BYTES));
            if self.source.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    fn each() -> Vec<Frame> {
        let hello = PeerHello { cluster: "c".to_owned(), node: 3, incarnation: 9 };
        let entries = Bytes::from_static(b"entries");
        let result = Bytes::from_static(b"result");
        vec![
            Frame::Hello(hello, 2),
            Frame::Welcome(String::new()),
            Frame::Welcome("no".to_owned()),
            Frame::Append(RaftAppend { id: 1, group: 2, entries, purge_end: 3 }),
            Frame::Reply(RaftReply { id: 1, group: 2, result, persisted_end: 3 }),
            Frame::Ping,
            Frame::Pong,
        ]
    }

    #[tokio::test]
    async fn frames_come_back_however_they_arrive() {
        let mut bytes = BytesMut::new();
        each().iter().for_each(|frame| frame.put(&mut bytes));
        for pieces in [1, 7, bytes.len()] {
            let (mut sink, source) = tokio::io::duplex(pieces);
            let write = async {
                sink.write_all(&bytes).await.unwrap();
                drop(sink);
            };
            let read = async {
                let mut frames = Frames::new(source);
                for frame in each() {
                    assert_eq!(frames.next().await.unwrap(), frame);
                }
                let end = frames.next().await.unwrap_err();
                assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
            };
            tokio::join!(write, read);
        }
    }

    #[test]
    fn a_frame_of_any_other_length_is_refused() {
        for frame in each() {
            let mut bytes = BytesMut::new();
            frame.put(&mut bytes);
            bytes.put_u8(0);
            let length = (bytes.len() - 4) as u32;
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            let longer = Frame::take(&mut bytes, MESSAGE_BYTES_MAX);
            assert_ne!(longer.ok(), Some(Some(frame)));
        }
        let mut huge = BytesMut::from(&(MESSAGE_BYTES_MAX as u32 + 1).to_le_bytes()[..]);
        assert!(
            Frame::take(&mut huge, MESSAGE_BYTES_MAX).is_err(),
            "before anything of it is waited for"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(kind in 0_u8..7, body: Vec<u8>) {
            let mut bytes = BytesMut::new();
            bytes.put_u32_le(body.len() as u32 + 1);
            bytes.put_u8(kind);
            bytes.put_slice(&body);
            if let Ok(Some(frame)) = Frame::take(&mut bytes.clone(), MESSAGE_BYTES_MAX) {
                let mut again = BytesMut::new();
                frame.put(&mut again);
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
