//! The network of a simulation: pipes in memory that delay, and stall while they are cut.
//!
//! As with TCP, bytes on a cut way are not lost but late; a connection breaks when either end gives
//! it up or its node is gone. Everything above the socket is the product's own.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use hyper_util::rt::TokioIo;
use narthex_proto::connect::RaftStream;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, duplex, split},
    sync::mpsc,
    time::sleep,
};
use tonic::{
    Extensions,
    codegen::{Service, http::Uri},
    transport::{Channel, Endpoint},
};

use crate::raft::{NodeId, PeerHello, PeerRefusal, Peers, runtime::Randomness};

/// Bytes that fit into a pipe, as into a socket's buffers.
const PIPE_BYTES: usize = 256 << 10;

/// How soon bytes go on once a way is whole again.
const CUT_LOOK: Duration = Duration::from_millis(5);

/// A connection as the node that it reaches sees it.
pub enum Dialled {
    Call(DuplexStream),
    Stream(DuplexStream),
}

#[derive(Default)]
struct State {
    listeners: BTreeMap<NodeId, mpsc::UnboundedSender<Dialled>>,
    cut: BTreeSet<(NodeId, NodeId)>,
    delay_max: Duration,
}

/// The ways between all nodes. Clones share them.
#[derive(Clone, Default)]
pub struct Wires {
    state: Arc<Mutex<State>>,
}

impl Wires {
    /// Cuts the way from one node to another; not the way back.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.state.lock().cut.insert((from, to));
    }

    /// Whether two nodes hear each other.
    pub fn is_whole(&self, one: NodeId, other: NodeId) -> bool {
        let state = self.state.lock();
        !state.cut.contains(&(one, other)) && !state.cut.contains(&(other, one))
    }

    pub fn mend(&self) {
        self.state.lock().cut.clear();
    }

    pub fn delay(&self, most: Duration) {
        self.state.lock().delay_max = most;
    }

    /// What others dial at `node` from now on.
    pub fn listen(&self, node: NodeId) -> mpsc::UnboundedReceiver<Dialled> {
        let (listener, dialled) = mpsc::unbounded_channel();
        self.state.lock().listeners.insert(node, listener);
        dialled
    }

    /// Returns when something that leaves now arrives.
    async fn pass(&self, from: NodeId, to: NodeId) {
        let millis = self.state.lock().delay_max.as_millis() as u64;
        sleep(Duration::from_millis(Randomness.draw() % (millis + 1))).await;
        while self.state.lock().cut.contains(&(from, to)) {
            sleep(CUT_LOOK).await;
        }
    }

    async fn dial(
        self,
        (from, to): (NodeId, NodeId),
        dialled: fn(DuplexStream) -> Dialled,
    ) -> io::Result<DuplexStream> {
        self.pass(from, to).await;
        self.pass(to, from).await;
        let (near, near_end) = duplex(PIPE_BYTES);
        let (far_end, far) = duplex(PIPE_BYTES);
        let listener = self.state.lock().listeners.get(&to).cloned();
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        listener.ok_or_else(refused)?.send(dialled(far)).map_err(|_| refused())?;
        let (near_source, near_sink) = split(near_end);
        let (far_source, far_sink) = split(far_end);
        tokio::spawn(self.clone().carry((from, to), near_source, far_sink));
        tokio::spawn(self.carry((to, from), far_source, near_sink));
        Ok(near)
    }

    async fn carry(
        self,
        (from, to): (NodeId, NodeId),
        mut source: ReadHalf<DuplexStream>,
        mut sink: WriteHalf<DuplexStream>,
    ) {
        let mut bytes = vec![0; PIPE_BYTES];
        while let Ok(count @ 1..) = source.read(&mut bytes).await {
            self.pass(from, to).await;
            if sink.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
        sink.shutdown().await.ok();
    }
}

/// What a node knows of the others.
pub struct SimulatedPeers {
    pub wires: Wires,
    pub node: NodeId,
    pub incarnation: u64,
}

impl Peers for SimulatedPeers {
    fn hello(&self) -> PeerHello {
        let (node, incarnation) = (self.node, self.incarnation);
        PeerHello { cluster: "simulated".to_owned(), node, incarnation }
    }

    fn admit(&self, _: &PeerHello, _: &Extensions) -> Result<(), PeerRefusal> {
        Ok(())
    }

    fn channel(&self, peer: NodeId) -> Option<Channel> {
        let connector = Connector { wires: self.wires.clone(), way: (self.node, peer) };
        Some(Endpoint::from_static("http://peer").connect_with_connector_lazy(connector))
    }

    fn stream(&self, peer: NodeId) -> Option<BoxFuture<'static, io::Result<RaftStream>>> {
        let dialling = self.wires.clone().dial((self.node, peer), Dialled::Stream);
        Some(dialling.map(|stream| Ok(Box::new(stream?) as RaftStream)).boxed())
    }

    fn may_be_older(&self) -> bool {
        false
    }
}

struct Connector {
    wires: Wires,
    way: (NodeId, NodeId),
}

impl Service<Uri> for Connector {
    type Response = TokioIo<DuplexStream>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<DuplexStream>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let dialling = self.wires.clone().dial(self.way, Dialled::Call);
        Pin::from(Box::new(dialling.map(|stream| stream.map(TokioIo::new))))
    }
}
