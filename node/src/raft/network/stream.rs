//! The stream of appends to one peer, as its caller holds it.
//!
//! Bare frames, not gRPC: what a request costs between nodes is wake-ups and copies more than
//! work, and HTTP/2 has a task and flow control of its own on either side
//! (`docs/decisions/raft-cost.md`).

use std::{collections::HashMap, io, time::Duration};

use bytes::BytesMut;
use narthex_proto::{
    connect::RaftStream,
    internal::v1::{RaftAppend, RaftReply},
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf, split},
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    FRAME_BYTES_MAX, PeerHello,
    frame::{Frame, Frames},
    link::{CALL_QUEUE_LEN, Call},
};
use crate::raft::{runtime::interval_on_grid, types::NodeId};

/// How often an idle stream is used, so that both sides know of each other.
const PING_INTERVAL: Duration = Duration::from_millis(500);

/// A peer that is silent over so many pings, some 2 s, is cut off: it answers one at once, whatever
/// its disk and its groups do. Shorter than the pauses of TCP, which double while a network is down.
const SILENT_PINGS_MAX: u32 = 4;

/// Until a peer has said whether it takes the stream.
const WELCOME_DEADLINE: Duration = Duration::from_secs(2);

/// A stream that the peer has welcomed.
pub struct OpenStream {
    frames: Frames<ReadHalf<RaftStream>>,
    sink: WriteHalf<RaftStream>,
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Closed without a word: the peer may know no streams.
    #[error("closed before it was welcomed")]
    Closed,
    /// Try again later.
    #[error("open a stream")]
    Io(#[source] io::Error),
    /// The peer has spoken.
    #[error("{0}")]
    Refused(String),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        match error.kind() {
            BrokenPipe | ConnectionReset | UnexpectedEof => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

/// Says hello on a new connection.
pub async fn open(
    stream: RaftStream,
    hello: PeerHello,
    peer: NodeId,
) -> Result<OpenStream, OpenError> {
    let (source, mut sink) = split(stream);
    let mut frames = Frames::new(source);
    let welcome = async {
        write(&mut sink, &mut encoded(&Frame::Hello(hello, peer))).await?;
        frames.next().await
    };
    let welcome = timeout(WELCOME_DEADLINE, welcome).await;
    match welcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(Frame::Welcome(refusal)) if refusal.is_empty() => {
            frames.admit();
            Ok(OpenStream { frames, sink })
        }
        Ok(Frame::Welcome(refusal)) => Err(OpenError::Refused(refusal)),
        Ok(_) => Err(OpenError::Refused("an answer that is no welcome".to_owned())),
        Err(error) => Err(error.into()),
    }
}

/// One frame's bytes.
pub fn encoded(frame: &Frame) -> BytesMut {
    let mut bytes = BytesMut::new();
    frame.put(&mut bytes);
    bytes
}

/// Writes all of `bytes`, and leaves them empty.
pub async fn write(sink: &mut (impl AsyncWrite + Unpin), bytes: &mut BytesMut) -> io::Result<()> {
    sink.write_all(bytes).await?;
    bytes.clear();
    sink.flush().await
}

/// Appends that have no answer yet.
#[derive(Default)]
struct Waiting {
    next_id: u64,
    replies: HashMap<u64, oneshot::Sender<RaftReply>>,
}

impl Waiting {
    fn add(&mut self, reply: oneshot::Sender<RaftReply>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.replies.insert(id, reply);
        id
    }

    fn answer(&mut self, reply: RaftReply) {
        if let Some(waiting) = self.replies.remove(&reply.id) {
            waiting.send(reply).ok();
        }
    }
}

/// Carries calls until the stream or the link ends; says why.
pub async fn carry(calls: &mut mpsc::Receiver<Call>, first: Call, stream: OpenStream) -> io::Error {
    let OpenStream { mut frames, mut sink } = stream;
    let waiting = Mutex::new(Waiting::default());
    let send = async {
        let (mut gathered, mut bytes) = (vec![first], BytesMut::new());
        let mut pings = interval_on_grid(PING_INTERVAL);
        loop {
            for call in gathered.drain(..) {
                put(call, &waiting, &mut bytes);
                if bytes.len() >= FRAME_BYTES_MAX {
                    write(&mut sink, &mut bytes).await?;
                }
            }
            if !bytes.is_empty() {
                write(&mut sink, &mut bytes).await?;
            }
            tokio::select! {
                biased;
                count = calls.recv_many(&mut gathered, CALL_QUEUE_LEN) => if count == 0 {
                    return Err(io::Error::other("the network ends"));
                },
                _ = pings.tick() => Frame::Ping.put(&mut bytes),
            }
        }
    };
    let receive = async {
        let mut silence = interval_on_grid(PING_INTERVAL);
        let mut silent = 0;
        loop {
            tokio::select! {
                biased;
                frame = frames.next() => {
                    silent = 0;
                    let mut frame = Some(frame?);
                    while let Some(received) = frame {
                        if let Frame::Reply(reply) = received {
                            waiting.lock().answer(reply);
                        }
                        frame = frames.received()?;
                    }
                }
                _ = silence.tick() => {
                    silent += 1;
                    if silent > SILENT_PINGS_MAX {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
            }
        }
    };
    let ended: io::Result<()> = tokio::select! {
        biased;
        ended = receive => ended,
        ended = send => ended,
    };
    ended.err().unwrap_or_else(|| io::Error::other("ended"))
}

fn put(call: Call, waiting: &Mutex<Waiting>, bytes: &mut BytesMut) {
    match call {
        Call::Connect { opened } => drop(opened.send(())),
        Call::Append { request, reply } => {
            let id = waiting.lock().add(reply);
            Frame::Append(RaftAppend { id, ..request }).put(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    async fn welcomed() -> (OpenStream, Frames<ReadHalf<RaftStream>>, WriteHalf<RaftStream>) {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (source, mut sink) = split(Box::new(theirs) as RaftStream);
        let mut frames = Frames::new(source);
        let hello = PeerHello { cluster: "c".to_owned(), node: 1, incarnation: 1 };
        let answer = async {
            assert_eq!(frames.next().await.unwrap(), Frame::Hello(hello.clone(), 2));
            write(&mut sink, &mut encoded(&Frame::Welcome(String::new()))).await.unwrap();
        };
        let (opened, ()) = tokio::join!(open(Box::new(ours), hello.clone(), 2), answer);
        (opened.unwrap(), frames, sink)
    }

    fn append() -> (Call, oneshot::Receiver<RaftReply>) {
        let (reply, answer) = oneshot::channel();
        let entries = Bytes::from_static(b"entries");
        (Call::Append { request: RaftAppend { entries, ..RaftAppend::default() }, reply }, answer)
    }

    #[tokio::test]
    async fn a_peer_that_falls_silent_is_given_up_and_its_appends_with_it() {
        let (stream, mut frames, _sink) = welcomed().await;
        let (_calls, mut queue) = mpsc::channel(1);
        let (call, answer) = append();
        let ended = carry(&mut queue, call, stream).await;
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        assert!(answer.await.is_err());
        assert!(matches!(frames.next().await, Ok(Frame::Append(_))));
        assert_eq!(frames.next().await.unwrap(), Frame::Ping);
    }

    #[tokio::test]
    async fn answers_find_their_way_in_any_order() {
        let (stream, mut frames, mut sink) = welcomed().await;
        let (calls, mut queue) = mpsc::channel(8);
        let ((first, first_answer), (second, second_answer)) = (append(), append());
        calls.try_send(second).unwrap_or_else(|_| unreachable!());
        let peer = async {
            let mut ids = Vec::new();
            while ids.len() < 2 {
                if let Frame::Append(append) = frames.next().await.unwrap() {
                    ids.push(append.id);
                }
            }
            for id in ids.into_iter().rev() {
                let reply = RaftReply { id, persisted_end: id, ..RaftReply::default() };
                write(&mut sink, &mut encoded(&Frame::Reply(reply))).await.unwrap();
            }
            let persisted = |reply: Result<RaftReply, _>| reply.map(|it| it.persisted_end).ok();
            assert_eq!(persisted(second_answer.await), Some(1));
            assert_eq!(persisted(first_answer.await), Some(0));
            drop(calls);
        };
        let (_, ()) = tokio::join!(carry(&mut queue, first, stream), peer);
    }

    #[tokio::test]
    async fn a_caller_that_is_turned_away_is_told_why() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (_source, mut sink) = split(theirs);
        let refusal = Frame::Welcome("no member".to_owned());
        write(&mut sink, &mut encoded(&refusal)).await.unwrap();
        let hello = PeerHello { cluster: "c".to_owned(), node: 1, incarnation: 1 };
        let opened = open(Box::new(ours), hello.clone(), 2).await;
        assert!(matches!(opened, Err(OpenError::Refused(why)) if why == "no member"));
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        drop(theirs);
        let closed = open(Box::new(ours), hello, 2).await;
        assert!(matches!(closed, Err(OpenError::Closed)));
    }
}
