//! Mutual TLS between the processes of a cluster: the listener's side.
//!
//! Every process shows a certificate of the cluster's authority, made by `narthex cluster certs`.
//! A node's carries the names `node-ID.narthex` and `node.narthex`, that of a router or querier
//! `front.narthex`. Callers check the name of the node they mean (see
//! [`narthex_proto::connect`]); the listener tells who calls by it.
//!
//! Invariants
//! * a connection from [`Incoming`] over TLS has shown a certificate that the authority signed
//!   and that names a node or a front, or there is no connection;
//! * certificates that are replaced hold for every connection made since: sessions are never
//!   resumed.
//!
//! There is no cluster id and no incarnation here: callers tell them afterwards, see
//! [`crate::raft::Peers`]. Files are read by whoever starts the process.

use std::net::SocketAddr;

mod accept;
mod server;

pub use accept::{Incoming, PeerAddress, PeerStream, RaftIncoming};
pub use server::{InvalidTls, Peer, ServerTls, own_node};

/// The name in the certificate of a router or querier.
const FRONT_NAME: &str = "front.narthex";

/// Make certificates, or stay on loopback.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} can be reached from other machines, where nodes talk only with certificates: name their \
     folder with --cluster.certs (`narthex cluster certs` makes it), or keep \
     --cluster.listen-address on loopback"
)]
pub struct UnprotectedListener(pub SocketAddr);

/// Whether the cluster listener may be opened on `address`. To be asked before it is.
pub fn check_listener(
    address: SocketAddr,
    tls: Option<&ServerTls>,
) -> Result<(), UnprotectedListener> {
    match address.ip().to_canonical().is_loopback() || tls.is_some() {
        true => Ok(()),
        false => Err(UnprotectedListener(address)),
    }
}
