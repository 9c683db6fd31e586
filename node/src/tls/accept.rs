//! Connections of the cluster listener, as a stream that a tonic server takes.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, Stream, StreamExt as _};
use narthex_proto::connect::{RAFT_GREETING, STREAM_GREETING};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Sleep, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use super::{Peer, ServerTls};

/// A peer that takes longer to prove who it is, is not served.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// More wait in the kernel's queue until one of these is done.
const HANDSHAKES_MAX: usize = 256;
/// How long nothing is accepted after the system refused to, mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who is connected, and from where. In the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress {
    /// Where from.
    pub address: SocketAddr,
    /// Who.
    pub peer: Peer,
}

/// Raft connections that wait to be taken: a few from each peer.
const RAFT_QUEUE_LEN: usize = 64;

/// A raft connection behind its greeting, on no runtime yet.
#[derive(Debug)]
pub struct RaftConnection(std::net::TcpStream);

type Handshake = Pin<Box<dyn Future<Output = Option<PeerStream>> + Send>>;

/// The connections of one listener, each once it is known who connected. Handshakes run beside
/// each other, in the task that polls this; dropping it drops those that are not done.
pub struct Incoming {
    source: Source,
    tls: Option<ServerTls>,
    /// Takes the connections that say they are raft's; without it they are refused.
    raft: Option<RaftQueues>,
    handshakes: FuturesUnordered<Handshake>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    /// Connections of `listener`; plain ones where `tls` is absent, which only a listener on
    /// loopback may have (see [`super::check_listener`]).
    pub fn new(listener: TcpListener, tls: Option<ServerTls>) -> Self {
        Self::of(Source::Listener(listener), tls, None)
    }

    /// As [`Incoming::new`], with raft's connections handed over, its calls and its streams apart.
    /// Those may be polled on another runtime: a connection then lives there.
    pub fn with_raft(listener: TcpListener, tls: Option<ServerTls>) -> (Self, RaftIncoming) {
        let (calls, calling) = mpsc::channel(RAFT_QUEUE_LEN);
        let (streams, streaming) = mpsc::channel(RAFT_QUEUE_LEN);
        let raft = RaftQueues { calls, streams };
        let others = Self::of(Source::Listener(listener), tls.clone(), Some(raft));
        let raft = RaftIncoming {
            calls: Self::of(Source::Raft(calling), tls.clone(), None),
            streams: Self::of(Source::Raft(streaming), tls, None),
        };
        (others, raft)
    }

    fn of(source: Source, tls: Option<ServerTls>, raft: Option<RaftQueues>) -> Self {
        Self { source, tls, raft, handshakes: FuturesUnordered::new(), pause: None }
    }

    /// Accepts what there is, until there is no more or enough handshakes run.
    fn accept(&mut self, cx: &mut Context<'_>) {
        while self.handshakes.len() < HANDSHAKES_MAX {
            if let Some(pause) = &mut self.pause {
                if pause.as_mut().poll(cx).is_pending() {
                    return;
                }
                self.pause = None;
            }
            match self.source.poll_accept(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(Some((stream, address)))) => {
                    let (tls, raft) = (self.tls.clone(), self.raft.clone());
                    let greeted = matches!(self.source, Source::Raft(_));
                    self.handshakes.push(Box::pin(async move {
                        let stream = match greeted {
                            true => stream,
                            false => not_raft(stream, raft).await?,
                        };
                        handshake(stream, address, tls).await
                    }));
                }
                // The other half has ended, and the node with it.
                Poll::Ready(Ok(None)) => return,
                Poll::Ready(Err(error)) => {
                    warn!(%error, "cannot accept a connection; pausing");
                    self.pause = Some(Box::pin(sleep(ACCEPT_PAUSE)));
                }
            }
        }
    }
}

impl Stream for Incoming {
    type Item = io::Result<PeerStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            self.accept(cx);
            match ready!(self.handshakes.poll_next_unpin(cx)) {
                Some(Some(stream)) => return Poll::Ready(Some(Ok(stream))),
                Some(None) => {}
                None => return Poll::Pending,
            }
        }
    }
}

/// The raft connections of a listener.
pub struct RaftIncoming {
    /// Those that speak gRPC.
    pub calls: Incoming,
    /// Those that carry appends alone.
    pub streams: Incoming,
}

/// Where raft's connections are handed over.
#[derive(Clone)]
struct RaftQueues {
    calls: mpsc::Sender<RaftConnection>,
    streams: mpsc::Sender<RaftConnection>,
}

impl RaftQueues {
    fn of(&self, greeting: [u8; RAFT_GREETING.len()]) -> Option<&mpsc::Sender<RaftConnection>> {
        match greeting {
            RAFT_GREETING => Some(&self.calls),
            STREAM_GREETING => Some(&self.streams),
            _ => None,
        }
    }
}

/// Where connections come from.
enum Source {
    Listener(TcpListener),
    Raft(mpsc::Receiver<RaftConnection>),
}

impl Source {
    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<(TcpStream, SocketAddr)>>> {
        match self {
            Self::Listener(listener) => listener.poll_accept(cx).map_ok(Some),
            Self::Raft(connections) => {
                let Some(RaftConnection(stream)) = ready!(connections.poll_recv(cx)) else {
                    return Poll::Ready(Ok(None));
                };
                let address = stream.peer_addr()?;
                Poll::Ready(Ok(Some((TcpStream::from_std(stream)?, address))))
            }
        }
    }
}

/// Hands a raft connection over; gives any other back untouched.
async fn not_raft(mut stream: TcpStream, raft: Option<RaftQueues>) -> Option<TcpStream> {
    let mut first = [0];
    let mut greeting = [0; RAFT_GREETING.len()];
    let greeted = async {
        stream.peek(&mut first).await?;
        if first[0] == RAFT_GREETING[0] {
            stream.read_exact(&mut greeting).await?;
        }
        io::Result::Ok(())
    };
    timeout(HANDSHAKE_TIMEOUT, greeted).await.ok()?.ok()?;
    if first[0] != RAFT_GREETING[0] {
        return Some(stream);
    }
    match raft.as_ref().and_then(|raft| raft.of(greeting)) {
        // What is not taken is closed, and the peer dials again.
        Some(queue) => drop(queue.try_send(RaftConnection(stream.into_std().ok()?))),
        None => debug!("a connection began with an unknown greeting, or raft is not served yet"),
    }
    None
}

/// Finds out who connected; `None` if that is nobody who may.
async fn handshake(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<ServerTls>,
) -> Option<PeerStream> {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%address, %error, "connection lost before it began");
        return None;
    }
    let Some(tls) = tls else {
        let peer = PeerAddress { address, peer: Peer::Loopback };
        return Some(PeerStream { io: Io::Plain(stream), peer });
    };
    let accepting = TlsAcceptor::from(tls.config()).accept(stream);
    let stream = match timeout(HANDSHAKE_TIMEOUT, accepting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            warn!(%address, %error, "refused a peer's certificate");
            return None;
        }
        Err(_) => {
            debug!(%address, "a peer did not finish its handshake");
            return None;
        }
    };
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let Some(peer) = shown.and_then(Peer::named_by) else {
        warn!(%address, "refused a certificate that names no node and no front");
        return None;
    };
    Some(PeerStream { io: Io::Tls(Box::new(stream)), peer: PeerAddress { address, peer } })
}

/// A connection and who is at its other end.
#[derive(Debug)]
pub struct PeerStream {
    io: Io,
    peer: PeerAddress,
}

#[derive(Debug)]
enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connected for PeerStream {
    type ConnectInfo = PeerAddress;

    fn connect_info(&self) -> PeerAddress {
        self.peer
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Io::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests;
