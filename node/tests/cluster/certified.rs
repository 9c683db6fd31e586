//! Nodes that join over TLS are who their certificates say.

use narthex_cluster::NodeId;
use narthex_node::control::joining::JoinError;
use narthex_node::node::StartError;
use narthex_proto::{
    connect::{Connections, PeerTls, server_name},
    internal::v1::JoinRequest,
    service::NodeService as _,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tonic::{Code, Status};

use super::*;

/// Signs certificates as `narthex cluster certs` does.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("signed").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn node(&self, id: u64) -> PeerTls {
        self.certify(vec![server_name(Some(NodeId(id))), server_name(None)])
    }

    fn certify(&self, names: Vec<String>) -> PeerTls {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(names).expect("names");
        PeerTls {
            ca_pem: self.pem.clone().into_bytes(),
            certificate_pem: params.signed_by(&key, &self.issuer).expect("signed").pem().into(),
            key_pem: key.serialize_pem().into_bytes(),
        }
    }
}

async fn ask(seed: &str, tls: PeerTls, node_id: u64) -> Result<u64, Status> {
    let connections = Connections::new(Some(tls));
    let request = JoinRequest {
        folder: node_id + 1,
        node_id,
        name: format!("asks-for-{node_id}"),
        address: "127.0.0.1:1".to_owned(),
        level: narthex_cluster::ClusterVersion::CURRENT.0,
        ..JoinRequest::default()
    };
    let node = connections.node(None, seed).expect("an address");
    Ok(node.join(tonic::Request::new(request)).await?.node_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_as_the_one_that_its_certificate_names_and_no_other() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("folder");
    let first = alone(folder.path(), |config| config.tls = Some(authority.node(1))).await;
    let seed = first.client().state().member(first.id()).expect("itself").addresses.cluster.clone();
    let front = || authority.certify(vec!["front.narthex".to_owned()]);
    for (tls, asked, why) in [
        (authority.node(7), 9, "node 9 is refused: its certificate names node 7"),
        (authority.node(7), 0, "node 0 is refused: its certificate names node 7"),
        (authority.node(7), 1, "node 1 is refused: its certificate names node 7"),
        (front(), 9, "node 9 is refused: its certificate names no node"),
    ] {
        let refused = ask(&seed, tls, asked).await.expect_err("it is refused");
        assert_eq!((refused.code(), refused.message()), (Code::FailedPrecondition, why));
    }
    assert_eq!(first.client().state().members().len(), 1, "nobody became a member");
    assert_eq!(ask(&seed, authority.node(7), 7).await.expect("admitted"), 7);
    first.stop().await;
}

/// The whole way: the id of a member that is there already is given to nobody else, and the node
/// says why it does not start.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_the_certificate_of_a_member_does_not_join() {
    let authority = Authority::new();
    let folders = [tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder")];
    let first = alone(folders[0].path(), |config| config.tls = Some(authority.node(1))).await;
    let seed = first.client().state().member(first.id()).expect("itself").addresses.cluster.clone();
    let founders = Founders::alone("unused", "127.0.0.1:1");
    let config = NodeConfig {
        founders: None,
        join: vec![seed],
        tls: Some(authority.node(1)),
        ..config(folders[1].path(), listener(), &founders)
    };
    match Node::start(config).await {
        Err(StartError::Join(JoinError::Refused(status))) => {
            assert_eq!(status.message(), "node id 1 is or was given to another node");
        }
        other => panic!("{:?}", other.err()),
    }
    first.stop().await;
}
