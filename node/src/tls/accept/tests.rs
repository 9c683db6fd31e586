//! Real connections on loopback: who gets in, and who does not.

use std::sync::Arc;

use narthex_cluster::NodeId;
use narthex_proto::connect::{Connections, PeerTls, server_name};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::*;
use crate::tls::{InvalidTls, check_listener};

/// Signs certificates as `narthex cluster certs` does.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn node(&self, id: u64) -> PeerTls {
        self.certify(&[&server_name(Some(NodeId(id))), &server_name(None)])
    }

    fn certify(&self, names: &[&str]) -> PeerTls {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let signed = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        PeerTls {
            ca_pem: self.pem.clone().into_bytes(),
            certificate_pem: signed.pem().into_bytes(),
            key_pem: key.serialize_pem().into_bytes(),
        }
    }

    /// A listener of node 1.
    async fn listen(&self) -> (Incoming, SocketAddr) {
        listen(Some(ServerTls::new(&self.node(1)).unwrap())).await
    }
}

async fn listen(tls: Option<ServerTls>) -> (Incoming, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (Incoming::new(listener, tls), address)
}

/// Trusts `tls.ca_pem`; shows the certificate only if told to.
fn connector(tls: &PeerTls, shows: bool) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&tls.ca_pem).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match shows {
        true => {
            let chain = vec![CertificateDer::from_pem_slice(&tls.certificate_pem).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(&tls.key_pem).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        false => builder.with_no_client_auth(),
    };
    TlsConnector::from(Arc::new(config))
}

/// Calls, and tells whether the other side answered. In TLS 1.3 a client learns only by reading
/// that its certificate was refused.
async fn call(address: SocketAddr, connector: TlsConnector, node: u64) -> io::Result<()> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(server_name(Some(NodeId(node)))).unwrap();
    let mut stream = connector.connect(name, stream).await?;
    let mut answer = [0];
    stream.read_exact(&mut answer).await.map(drop)
}

/// Serves until `calling` is done, answering each peer with a byte; returns who got in.
async fn serve<T>(incoming: &mut Incoming, calling: impl Future<Output = T>) -> (Vec<Peer>, T) {
    let mut peers = Vec::new();
    let mut streams = Vec::new();
    tokio::pin!(calling);
    loop {
        tokio::select! {
            accepted = incoming.next() => {
                let mut stream = accepted.unwrap().unwrap();
                stream.write_all(b"!").await.unwrap();
                stream.flush().await.unwrap();
                peers.push(stream.connect_info().peer);
                streams.push(stream);
            }
            outcome = &mut calling => return (peers, outcome),
        }
    }
}

#[tokio::test]
async fn a_node_is_known_by_its_certificate() {
    let authority = Authority::new();
    let (mut incoming, address) = authority.listen().await;
    let node = connector(&authority.node(2), true);
    let (peers, outcome) = serve(&mut incoming, call(address, node, 1)).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    assert_eq!(peers, [Peer::Node(NodeId(2))]);
    let front = connector(&authority.certify(&["front.narthex"]), true);
    let (peers, _) = serve(&mut incoming, call(address, front, 1)).await;
    assert_eq!(peers, [Peer::Front]);
}

#[tokio::test]
async fn a_peer_without_a_certificate_is_refused() {
    let authority = Authority::new();
    let (mut incoming, address) = authority.listen().await;
    let nobody = connector(&authority.node(2), false);
    let (peers, outcome) = serve(&mut incoming, call(address, nobody, 1)).await;
    assert!(outcome.is_err() && peers.is_empty(), "{peers:?}");
}

#[tokio::test]
async fn a_peer_of_another_authority_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (mut incoming, address) = authority.listen().await;
    let mut stranger = other.node(2);
    stranger.ca_pem = authority.node(2).ca_pem;
    let (peers, outcome) = serve(&mut incoming, call(address, connector(&stranger, true), 1)).await;
    assert!(outcome.is_err() && peers.is_empty(), "{peers:?}");
}

#[tokio::test]
async fn a_caller_refuses_another_node_than_it_means() {
    let authority = Authority::new();
    let (mut incoming, address) = authority.listen().await;
    let node = connector(&authority.node(2), true);
    let (peers, outcome) = serve(&mut incoming, call(address, node, 2)).await;
    assert!(outcome.is_err() && peers.is_empty(), "{peers:?}");
}

#[tokio::test]
async fn replaced_certificates_hold_for_the_next_connection() {
    let (before, after) = (Authority::new(), Authority::new());
    let tls = ServerTls::new(&before.node(1)).unwrap();
    let (mut incoming, address) = listen(Some(tls.clone())).await;
    tls.replace(&after.node(1)).unwrap();
    let old = connector(&before.node(2), true);
    assert!(serve(&mut incoming, call(address, old, 1)).await.1.is_err());
    let new = connector(&after.node(2), true);
    assert!(serve(&mut incoming, call(address, new, 1)).await.1.is_ok());
    let broken = PeerTls { key_pem: Vec::new(), ..after.node(1) };
    assert!(tls.replace(&broken).is_err());
    let new = connector(&after.node(2), true);
    assert!(serve(&mut incoming, call(address, new, 1)).await.1.is_ok(), "the last good ones stay");
}

#[tokio::test]
async fn a_silent_peer_holds_nobody_up() {
    let authority = Authority::new();
    let (mut incoming, address) = authority.listen().await;
    let silent = TcpStream::connect(address).await.unwrap();
    let node = connector(&authority.node(2), true);
    assert!(serve(&mut incoming, call(address, node, 1)).await.1.is_ok());
    drop(silent);
}

#[tokio::test]
async fn a_loopback_listener_without_certificates_is_plain() {
    let (mut incoming, address) = listen(None).await;
    let (peers, outcome) = serve(&mut incoming, say(address, b"PRI * HTTP/2.0")).await;
    assert!(outcome.is_ok());
    assert_eq!(peers, [Peer::Loopback]);
}

/// Connects, says something, and waits for an answer.
async fn say(address: SocketAddr, words: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(words).await?;
    stream.read_exact(&mut [0]).await.map(drop)
}

#[tokio::test]
async fn raft_has_connections_of_its_own() {
    let authority = Authority::new();
    for tls in [None, Some(ServerTls::new(&authority.node(1)).unwrap())] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let peer = if tls.is_some() { Peer::Node(NodeId(2)) } else { Peer::Loopback };
        let caller = tls.is_some().then(|| connector(&authority.node(2), true));
        let (mut others, mut raft) = Incoming::with_raft(listener, tls);
        let greeting = async {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(&RAFT_GREETING).await?;
            let Some(caller) = caller else { return stream.read_exact(&mut [0]).await.map(drop) };
            let name = ServerName::try_from(server_name(Some(NodeId(1)))).unwrap();
            caller.connect(name, stream).await?.read_exact(&mut [0]).await.map(drop)
        };
        let both = serve(&mut raft.calls, greeting);
        tokio::select! {
            (peers, outcome) = both => {
                outcome.unwrap();
                assert_eq!(peers, [peer]);
            }
            other = others.next() => panic!("{other:?} is no connection for the others"),
        }
    }
}

#[tokio::test]
async fn streams_of_appends_come_apart() {
    let authority = Authority::new();
    for secured in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = secured.then(|| ServerTls::new(&authority.node(1)).unwrap());
        let peer = if secured { Peer::Node(NodeId(2)) } else { Peer::Loopback };
        let (mut others, mut raft) = Incoming::with_raft(listener, server);
        let call = async |wanted| {
            let connections = Connections::new(secured.then(|| authority.node(2)));
            let mut stream = connections.raft_stream(NodeId(wanted), &address).await?;
            stream.read_exact(&mut [0]).await.map(drop)
        };
        tokio::select! {
            (peers, outcome) = serve(&mut raft.streams, call(1)) => {
                outcome.unwrap();
                assert_eq!(peers, [peer]);
            }
            other = others.next() => panic!("{other:?} is no connection for the others"),
        }
        if secured {
            tokio::select! {
                (_, outcome) = serve(&mut raft.streams, call(3)) => {
                    assert!(outcome.is_err(), "the certificate names another node");
                }
                other = others.next() => panic!("{other:?} is no connection for the others"),
            }
        }
    }
}

#[tokio::test]
async fn an_unknown_greeting_and_a_raft_peer_where_raft_is_not_served_are_closed() {
    let (mut incoming, address) = listen(None).await;
    for greeting in [&RAFT_GREETING, &STREAM_GREETING, b"NXRAFT9\n"] {
        let (peers, outcome) = serve(&mut incoming, say(address, greeting)).await;
        assert!(outcome.is_err() && peers.is_empty(), "{peers:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_names_nobody_or_two_is_refused() {
    let authority = Authority::new();
    let (mut incoming, address) = authority.listen().await;
    for names in [&["node.narthex"][..], &["node-x.narthex"], &["node-1.narthex", "node-2.narthex"]]
    {
        let stranger = connector(&authority.certify(names), true);
        let (peers, outcome) = serve(&mut incoming, call(address, stranger, 1)).await;
        assert!(outcome.is_err() && peers.is_empty(), "{names:?}: {peers:?}");
    }
}

#[test]
fn a_listener_needs_the_certificate_of_a_node() {
    let front = Authority::new().certify(&["front.narthex"]);
    assert!(matches!(ServerTls::new(&front), Err(InvalidTls::NoNode)));
}

#[test]
fn beyond_loopback_certificates_are_needed_and_the_error_names_the_flags() {
    let public: SocketAddr = "0.0.0.0:9095".parse().unwrap();
    let error = check_listener(public, None).unwrap_err().to_string();
    assert!(error.contains("--cluster.certs") && error.contains("--cluster.listen-address"));
    let tls = ServerTls::new(&Authority::new().node(1)).unwrap();
    assert_eq!(check_listener(public, Some(&tls)), Ok(()));
    for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        assert_eq!(check_listener(address.parse().unwrap(), None), Ok(()), "{address}");
    }
}
