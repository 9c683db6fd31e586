//! The stream of appends to a peer of an older version: over gRPC, as all were before the cluster's
//! version 2.

use std::{collections::HashMap, io};

use narthex_proto::internal::v1::{RaftFrame, RaftReply, RaftReplyFrame, raft_client::RaftClient};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming, transport::Channel};

use super::{
    FRAME_BYTES_MAX,
    link::{CALL_QUEUE_LEN, Call},
};

/// Frames between the task and the socket. Few, so that what waits is gathered into larger frames.
const FRAME_QUEUE_LEN: usize = 4;

/// A stream that the peer has taken.
pub struct OlderStream {
    frames: mpsc::Sender<RaftFrame>,
    replies: Streaming<RaftReplyFrame>,
}

/// Opens the stream; `request` says who calls.
pub async fn open(
    mut client: RaftClient<Channel>,
    request: impl FnOnce(ReceiverStream<RaftFrame>) -> Request<ReceiverStream<RaftFrame>>,
) -> Result<OlderStream, Status> {
    let (frames, outgoing) = mpsc::channel(FRAME_QUEUE_LEN);
    let replies = client.append(request(ReceiverStream::new(outgoing))).await?.into_inner();
    Ok(OlderStream { frames, replies })
}

/// Carries calls until the stream or the link ends; says why.
pub async fn carry(
    calls: &mut mpsc::Receiver<Call>,
    first: Call,
    stream: OlderStream,
) -> io::Error {
    let OlderStream { frames, mut replies } = stream;
    let waiting = Mutex::new(HashMap::new());
    let send = async {
        let (mut gathered, mut next_id) = (vec![first], 0);
        loop {
            for frame in frames_of(gathered.drain(..), &waiting, &mut next_id) {
                if frames.send(frame).await.is_err() {
                    // The other half learns why.
                    return std::future::pending().await;
                }
            }
            if calls.recv_many(&mut gathered, CALL_QUEUE_LEN).await == 0 {
                return Status::cancelled("the network ends");
            }
        }
    };
    let receive = async {
        loop {
            match replies.message().await {
                Ok(Some(frame)) => {
                    for reply in frame.replies {
                        let waiting: Option<oneshot::Sender<_>> = waiting.lock().remove(&reply.id);
                        if let Some(waiting) = waiting {
                            waiting.send(reply).ok();
                        }
                    }
                }
                Ok(None) => return Status::unavailable("closed by the peer"),
                Err(status) => return status,
            }
        }
    };
    let status = tokio::select! {
        biased;
        status = receive => status,
        status = send => status,
    };
    io::Error::other(status)
}

type Waiting = Mutex<HashMap<u64, oneshot::Sender<RaftReply>>>;

fn frames_of(
    calls: impl Iterator<Item = Call>,
    waiting: &Waiting,
    next_id: &mut u64,
) -> Vec<RaftFrame> {
    let mut frames: Vec<RaftFrame> = Vec::new();
    let mut bytes = FRAME_BYTES_MAX;
    for call in calls {
        match call {
            Call::Connect { opened } => {
                opened.send(()).ok();
            }
            Call::Append { mut request, reply } => {
                request.id = *next_id;
                *next_id += 1;
                waiting.lock().insert(request.id, reply);
                if bytes + request.entries.len() > FRAME_BYTES_MAX {
                    frames.push(RaftFrame::default());
                    bytes = 0;
                }
                bytes += request.entries.len();
                if let Some(frame) = frames.last_mut() {
                    frame.requests.push(request);
                }
            }
        }
    }
    frames
}
