//! How client verbs reach a cluster.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use narthex_proto::connect::{ConnectError, PeerTls};
use tonic::transport::{Channel, Endpoint};

/// A user who waits for longer has typed the wrong address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a verb has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Correct `--server`.
    #[error("{server:?} is no URL of a web listener")]
    Server {
        server: String,
        #[source]
        source: tonic::transport::Error,
    },
    /// Start the cluster, or name another one with `--server`.
    #[error("nothing answers at {server}")]
    Connect {
        server: String,
        #[source]
        source: tonic::transport::Error,
    },
    /// Correct the address of the node.
    #[error(transparent)]
    Node(#[from] ConnectError),
    /// Make the certificates with `cluster certs`, or correct the folder.
    #[error("read {}", path.display())]
    Certificates {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The message says what to do.
    #[error("{}", .0.message())]
    Refused(#[from] tonic::Status),
    #[error("print the answer")]
    Print(#[from] io::Error),
}

/// A channel to the web listener at this URL.
pub async fn connect(server: &str) -> Result<Channel, ClientError> {
    let endpoint = Endpoint::from_shared(server.to_owned())
        .map_err(|source| ClientError::Server { server: server.to_owned(), source })?;
    let connected = endpoint.connect_timeout(CONNECT_TIMEOUT).connect().await;
    connected.map_err(|source| ClientError::Connect { server: server.to_owned(), source })
}

/// What `cluster certs` put into this folder.
pub fn peer_tls(folder: &Path) -> Result<PeerTls, ClientError> {
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).map_err(|source| ClientError::Certificates { path, source })
    };
    Ok(PeerTls {
        ca_pem: read("ca.pem")?,
        certificate_pem: read("node.pem")?,
        key_pem: read("node-key.pem")?,
    })
}
