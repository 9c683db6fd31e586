//! Connections to nodes, one for each purpose, so that a big answer never delays a small one.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use narthex_cluster::{ClusterId, NodeId};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tonic::{
    Request, Status,
    metadata::{AsciiMetadataValue, MetadataMap},
    service::Interceptor,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Uri},
};
use tracing::warn;

use crate::{
    names::Names,
    service::{NodeService, RemoteNode},
};

/// A peer that does not accept a connection for so long counts as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A silent connection is probed after this long, so that a peer that vanished without a word is
/// noticed within twice the time.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Windows large enough that one stream of columns fills a loopback or rack link.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// The material for mutual TLS between the processes of a cluster, as PEM.
#[derive(Clone)]
pub struct PeerTls {
    /// The cluster's certificate authority.
    pub ca_pem: Vec<u8>,
    /// This process's certificate.
    pub certificate_pem: Vec<u8>,
    /// The certificate's private key.
    pub key_pem: Vec<u8>,
}

impl std::fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PeerTls(<secret>)")
    }
}

/// Why no connection can be made, whatever the peer does.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not `HOST:PORT`.
    #[error("{address:?} is no address: want HOST:PORT")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        #[source]
        source: tonic::transport::Error,
    },
    /// The certificates cannot be used.
    #[error("set up TLS to {address}")]
    Tls {
        /// The peer's address.
        address: String,
        /// What is wrong.
        #[source]
        source: tonic::transport::Error,
    },
}

/// Metadata of every request between processes of a cluster, once the caller knows its own.
const CLUSTER_HEADER: &str = "narthex-cluster";

/// The cluster that this process belongs to. Learnt once, never changed. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct OwnCluster(Arc<OnceLock<(ClusterId, AsciiMetadataValue)>>);

impl OwnCluster {
    /// Says which one it is; the first word counts.
    pub fn learn(&self, cluster: ClusterId) {
        if let Ok(value) = cluster.to_string().parse() {
            let _ = self.0.set((cluster, value));
        }
    }

    /// Refuses a caller that says it belongs to another cluster. One that says nothing is a
    /// process that has yet to learn where it belongs.
    pub(crate) fn check(&self, metadata: &MetadataMap) -> Result<(), Status> {
        let theirs = metadata.get(CLUSTER_HEADER);
        match (self.0.get(), theirs) {
            (Some((ours, value)), Some(theirs)) if theirs != value => {
                warn!(?theirs, %ours, "refused a caller of another cluster");
                Err(Status::failed_precondition(format!(
                    "the caller belongs to cluster {theirs:?}, this is {ours}"
                )))
            }
            _ => Ok(()),
        }
    }
}

impl Interceptor for OwnCluster {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some((_, value)) = self.0.get() {
            request.metadata_mut().insert(CLUSTER_HEADER, value.clone());
        }
        Ok(request)
    }
}

/// How to reach peers, and the connections made so far. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Connections {
    tls: Option<PeerTls>,
    cluster: OwnCluster,
    names: Names,
    open: Arc<Mutex<HashMap<String, Channel>>>,
}

impl Connections {
    /// No connections yet; plain ones where `tls` is absent.
    pub fn new(tls: Option<PeerTls>) -> Self {
        let (cluster, names) = (OwnCluster::default(), Names::default());
        Self { tls, cluster, names, open: Arc::default() }
    }

    /// The cluster that requests name, once it is known.
    pub fn cluster(&self) -> &OwnCluster {
        &self.cluster
    }

    /// The node at `address`, whose certificate must name `node` where TLS is on. Connects when
    /// first used and again after every loss.
    pub fn node(
        &self,
        node: Option<NodeId>,
        address: &str,
    ) -> Result<impl NodeService, ConnectError> {
        let key = format!("{}@{address}", node.map_or(0, |node| node.0));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = open.get(&key) {
            return Ok(RemoteNode::new(channel.clone(), self.cluster.clone()));
        }
        let channel = self.channel(node, address, &[])?;
        open.insert(key, channel.clone());
        Ok(RemoteNode::new(channel, self.cluster.clone()))
    }

    /// The node at `address`, by a connection that is used for nothing else and ends with what this
    /// gives.
    pub fn bulk(&self, node: NodeId, address: &str) -> Result<RemoteNode, ConnectError> {
        let channel = self.channel(Some(node), address, &[])?;
        Ok(RemoteNode::new(channel, self.cluster.clone()))
    }

    /// A connection of its own for raft, which nothing else may delay. It says so before anything
    /// else, with [`RAFT_GREETING`]. It lives on the runtime of the caller.
    pub fn raft(&self, node: NodeId, address: &str) -> Result<Channel, ConnectError> {
        self.channel(Some(node), address, &RAFT_GREETING)
    }

    /// A connection that carries raft's appends without HTTP, behind [`STREAM_GREETING`]. It lives on
    /// the runtime of the caller. A node of a version that does not know it closes it at once.
    pub async fn raft_stream(&self, node: NodeId, address: &str) -> io::Result<RaftStream> {
        let stream = dial(self.names.clone(), address.into(), &STREAM_GREETING).await?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(server_name(Some(node))).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::new(client_config(tls)?));
        let secured = timeout(CONNECT_TIMEOUT, connector.connect(name, stream)).await??;
        Ok(Box::new(secured))
    }

    /// An attempt to connect ends in time, with the look-up of the name and TLS, which tonic's own
    /// connector does not count.
    fn channel(
        &self,
        node: Option<NodeId>,
        address: &str,
        greeting: &'static [u8],
    ) -> Result<Channel, ConnectError> {
        let endpoint = self.endpoint(node, address)?;
        let (names, address): (_, Arc<str>) = (self.names.clone(), address.into());
        let connector = tower::service_fn(move |_: Uri| {
            let dialled = dial(names.clone(), address.clone(), greeting);
            async move { dialled.await.map(TokioIo::new) }
        });
        Ok(endpoint.connect_with_connector_lazy(connector))
    }

    fn endpoint(&self, node: Option<NodeId>, address: &str) -> Result<Endpoint, ConnectError> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
            .map_err(|source| ConnectError::Address { address: address.to_owned(), source })?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let Some(tls) = &self.tls else {
            return Ok(endpoint);
        };
        let config = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&tls.ca_pem))
            .identity(Identity::from_pem(&tls.certificate_pem, &tls.key_pem))
            .domain_name(server_name(node));
        endpoint
            .tls_config(config)
            .map_err(|source| ConnectError::Tls { address: address.to_owned(), source })
    }
}

/// What a raft connection begins with, in front of TLS: the listener hands it to the threads that
/// serve raft alone. Anything else begins with a TLS record or with HTTP/2's preface.
pub const RAFT_GREETING: [u8; 8] = *b"NXRAFT1\n";

/// What a connection begins with that carries raft's appends, and them alone, without HTTP.
pub const STREAM_GREETING: [u8; 8] = *b"NXRAFT2\n";

/// The bytes of a connection, whatever is below.
pub trait Bytestream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytestream for T {}

/// A connection of [`Connections::raft_stream`], behind its greeting and TLS.
pub type RaftStream = Box<dyn Bytestream>;

/// As tonic makes it for the other connections: the cluster's authority, our certificate.
fn client_config(tls: &PeerTls) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(&tls.ca_pem) {
        roots.add(authority.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&tls.certificate_pem).collect();
    let key = PrivateKeyDer::from_pem_slice(&tls.key_pem).map_err(io::Error::other)?;
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain.map_err(io::Error::other)?, key)
        .map_err(io::Error::other)
}

async fn dial(names: Names, address: Arc<str>, greeting: &'static [u8]) -> io::Result<TcpStream> {
    let connecting = async {
        let addresses = names.look_up(&address).await?;
        let mut stream = TcpStream::connect(&*addresses).await?;
        stream.set_nodelay(true)?;
        stream.write_all(greeting).await?;
        Ok(stream)
    };
    timeout(CONNECT_TIMEOUT, connecting).await?
}

/// The name that a node's certificate carries: `node-ID.narthex`; any node's also carries
/// `node.narthex`, for a caller that knows only an address.
pub fn server_name(node: Option<NodeId>) -> String {
    match node {
        Some(node) => format!("node-{node}.narthex"),
        None => "node.narthex".to_owned(),
    }
}
