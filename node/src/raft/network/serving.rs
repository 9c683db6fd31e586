//! The stream of appends of one peer, as the node that it reaches serves it.
//!
//! One task reads, hands appends to their groups and writes the answers: groups wait for nothing
//! but each other's turn. Appends of a group are handed over in the order they came, since whatever
//! is polled first is appended first.

use std::{io, time::Duration};

use bytes::BytesMut;
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use narthex_proto::{
    connect::RaftStream,
    internal::v1::{RaftAppend, RaftReply},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, split},
    time::timeout,
};
use tonic::Extensions;

use super::{
    Network,
    frame::{Frame, Frames},
    server::append,
    stream::{encoded, write},
};
use crate::raft::{runtime::interval_on_grid, types::NodeId};

/// Until a caller has said who it is.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);

/// A caller that says nothing for so long, or twice, is gone: it pings twice a second.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Bytes of appends under way beyond which no more are read: several times what the caller's own
/// pipelines hold, if the groups are healthy.
const APPENDING_BYTES_MAX: usize = 64 << 20;

/// Serves a stream until it ends.
pub async fn serve(network: &Network, stream: RaftStream, extensions: &Extensions) {
    let (source, mut sink) = split(stream);
    let mut frames = Frames::new(source);
    let hello = timeout(HELLO_DEADLINE, frames.next()).await;
    let Ok(Ok(Frame::Hello(hello, wanted))) = hello else {
        tracing::debug!("a raft stream did not begin with a hello");
        return;
    };
    let admitted = network.admit(&hello, wanted, extensions);
    let refusal = admitted.err().map(|refusal| refusal.to_string()).unwrap_or_default();
    let is_refused = !refusal.is_empty();
    let welcomed = write(&mut sink, &mut encoded(&Frame::Welcome(refusal))).await;
    if is_refused || welcomed.is_err() {
        return;
    }
    frames.admit();
    let served = carry(network, hello.node, frames, &mut sink).await;
    tracing::debug!(caller = hello.node, reason = ?served.err(), "raft stream from peer ended");
}

/// Answers to appends, in whatever order they come.
async fn answered(network: &Network, request: RaftAppend) -> (usize, RaftReply) {
    let length = request.entries.len();
    (length, append(network, request).await)
}

async fn carry(
    network: &Network,
    caller: NodeId,
    mut frames: Frames<impl AsyncRead + Unpin>,
    sink: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut appending = FuturesUnordered::new();
    let (mut appending_bytes, mut outgoing) = (0, BytesMut::new());
    let (mut heard, mut silence) = (true, interval_on_grid(SILENCE_MAX));
    loop {
        let may_read = appending_bytes < APPENDING_BYTES_MAX;
        tokio::select! {
            biased;
            Some((length, reply)) = appending.next() => {
                let mut answer = Some((length, reply));
                while let Some((length, reply)) = answer {
                    appending_bytes -= length;
                    Frame::Reply(reply).put(&mut outgoing);
                    answer = appending.next().now_or_never().flatten();
                }
            }
            frame = frames.next(), if may_read => {
                heard = true;
                let mut frame = Some(frame?);
                while let Some(received) = frame {
                    match received {
                        Frame::Append(request) => {
                            appending_bytes += request.entries.len();
                            appending.push(answered(network, request));
                        }
                        Frame::Ping => Frame::Pong.put(&mut outgoing),
                        other => return Err(unexpected(caller, &other)),
                    }
                    frame = frames.received()?;
                }
            }
            // Where nothing more is read, it is we who are silent.
            _ = silence.tick() => if !std::mem::take(&mut heard) && may_read {
                return Err(io::ErrorKind::TimedOut.into());
            },
        }
        if !outgoing.is_empty() {
            write(sink, &mut outgoing).await?;
        }
    }
}

fn unexpected(caller: NodeId, frame: &Frame) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("node {caller} sent {frame:?}"))
}
