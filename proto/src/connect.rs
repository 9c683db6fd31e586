//! Connections to nodes, one for each purpose, so that a big answer never delays a small one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use narthex_cluster::NodeId;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::service::{NodeService, RemoteNode};

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

/// How to reach peers, and the connections made so far. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Connections {
    tls: Option<PeerTls>,
    open: Arc<Mutex<HashMap<String, Channel>>>,
}

impl Connections {
    /// No connections yet; plain ones where `tls` is absent.
    pub fn new(tls: Option<PeerTls>) -> Self {
        Self { tls, open: Arc::default() }
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
            return Ok(RemoteNode::new(channel.clone()));
        }
        let channel = self.endpoint(node, address)?.connect_lazy();
        open.insert(key, channel.clone());
        Ok(RemoteNode::new(channel))
    }

    /// A connection of its own, for a purpose that nothing else may delay.
    pub fn dedicated(&self, node: NodeId, address: &str) -> Result<Channel, ConnectError> {
        Ok(self.endpoint(Some(node), address)?.connect_lazy())
    }

    fn endpoint(&self, node: Option<NodeId>, address: &str) -> Result<Endpoint, ConnectError> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
            .map_err(|source| ConnectError::Address { address: address.to_owned(), source })?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
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

/// The name that a node's certificate carries: `node-ID.narthex`; any node's also carries
/// `node.narthex`, for a caller that knows only an address.
pub fn server_name(node: Option<NodeId>) -> String {
    match node {
        Some(node) => format!("node-{node}.narthex"),
        None => "node.narthex".to_owned(),
    }
}
