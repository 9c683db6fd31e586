//! The listener's side of TLS: its configuration, which can be replaced while it listens, and who
//! a certificate names.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use narthex_cluster::NodeId;
use narthex_proto::connect::PeerTls;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier},
};

use super::FRONT_NAME;

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTls {
    /// Give PEM.
    #[error("the {what} is no PEM")]
    Pem {
        /// Which of them.
        what: &'static str,
        /// What is wrong.
        #[source]
        source: pem::Error,
    },
    /// Give the authority that signed the peers' certificates.
    #[error("the authority is unusable")]
    Authority(#[source] VerifierBuilderError),
    /// Give a certificate and its own key.
    #[error("the certificate or its key is unusable")]
    Certificate(#[from] rustls::Error),
    /// Make a certificate with `narthex cluster certs`.
    #[error("the certificate names no node: want a name such as node-1.narthex")]
    NoNode,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Anyone on this machine: the listener is on loopback and has no certificates.
    Loopback,
    /// A node, by its certificate.
    Node(NodeId),
    /// A router or querier, by its certificate.
    Front,
}

impl Peer {
    /// The node its certificate names.
    pub fn node(self) -> Option<NodeId> {
        match self {
            Self::Node(node) => Some(node),
            Self::Loopback | Self::Front => None,
        }
    }

    /// Whom a verified certificate names; `None` for nobody of this cluster, or for two at once.
    pub(super) fn named_by(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
        let mut peers = certificate.valid_dns_names().filter_map(Self::named);
        let peer = peers.next()?;
        peers.all(|other| other == peer).then_some(peer)
    }

    fn named(name: &str) -> Option<Self> {
        if name == FRONT_NAME {
            return Some(Self::Front);
        }
        let id = name.strip_prefix("node-")?.strip_suffix(".narthex")?;
        id.parse().ok().map(Self::Node)
    }
}

/// A listener's certificates. Cloning shares them.
#[derive(Clone)]
pub struct ServerTls(Arc<ArcSwap<ServerConfig>>);

impl ServerTls {
    /// A listener with these.
    pub fn new(tls: &PeerTls) -> Result<Self, InvalidTls> {
        Ok(Self(Arc::new(ArcSwap::new(server_config(tls)?))))
    }

    /// Uses these for connections from now on; if they are invalid, the old ones stay.
    pub fn replace(&self, tls: &PeerTls) -> Result<(), InvalidTls> {
        self.0.store(server_config(tls)?);
        Ok(())
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.0.load_full()
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

fn server_config(tls: &PeerTls) -> Result<Arc<ServerConfig>, InvalidTls> {
    let chain = certificates(&tls.certificate_pem, "certificate")?;
    node_of(&chain)?;
    let key = PrivateKeyDer::from_pem_slice(&tls.key_pem)
        .map_err(|source| InvalidTls::Pem { what: "key", source })?;
    let mut roots = RootCertStore::empty();
    for authority in certificates(&tls.ca_pem, "authority")? {
        roots.add(authority)?;
    }
    let provider = Arc::new(ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(InvalidTls::Authority)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would not be verified again, so that a replaced authority would not hold.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The node that a process's own certificate names.
pub fn own_node(tls: &PeerTls) -> Result<NodeId, InvalidTls> {
    node_of(&certificates(&tls.certificate_pem, "certificate")?)
}

fn node_of(chain: &[CertificateDer<'_>]) -> Result<NodeId, InvalidTls> {
    chain.first().and_then(Peer::named_by).and_then(Peer::node).ok_or(InvalidTls::NoNode)
}

fn certificates(
    pem: &[u8],
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, InvalidTls> {
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(certificates) if certificates.is_empty() => {
            Err(InvalidTls::Pem { what, source: pem::Error::NoItemsFound })
        }
        Ok(certificates) => Ok(certificates),
        Err(source) => Err(InvalidTls::Pem { what, source }),
    }
}
