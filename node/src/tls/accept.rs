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
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
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

type Handshake = Pin<Box<dyn Future<Output = Option<PeerStream>> + Send>>;

/// The connections of one listener, each once it is known who connected. Handshakes run beside
/// each other, in the task that polls this; dropping it drops those that are not done.
pub struct Incoming {
    listener: TcpListener,
    tls: Option<ServerTls>,
    handshakes: FuturesUnordered<Handshake>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    /// Connections of `listener`; plain ones where `tls` is absent, which only a listener on
    /// loopback may have (see [`super::check_listener`]).
    pub fn new(listener: TcpListener, tls: Option<ServerTls>) -> Self {
        Self { listener, tls, handshakes: FuturesUnordered::new(), pause: None }
    }

    /// Accepts what the kernel has, until it has no more or enough handshakes run.
    fn accept(&mut self, cx: &mut Context<'_>) {
        while self.handshakes.len() < HANDSHAKES_MAX {
            if let Some(pause) = &mut self.pause {
                if pause.as_mut().poll(cx).is_pending() {
                    return;
                }
                self.pause = None;
            }
            match self.listener.poll_accept(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok((stream, address))) => {
                    let tls = self.tls.clone();
                    self.handshakes.push(Box::pin(handshake(stream, address, tls)));
                }
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
