//! Follows cluster state from outside: any one live address is enough to start.

use std::{sync::Arc, time::Duration};

use narthex_cluster::ClusterState;
use tokio::sync::watch;
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{debug, warn};

use crate::{connect::Connections, internal::v1::WatchStateRequest, service::NodeService as _};

/// Pause after a lost or refused watch before the next address is tried.
const PAUSE: Duration = Duration::from_millis(250);
/// A node whose state is current sends at least an empty revision every 2 s; in this silence it is
/// gone, or cut off from whoever could tell it of changes.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Follows the cluster that `seeds` (addresses of cluster listeners) belong to, until `stop`
/// fires. Members learnt later are tried as well, so that a seed may go away.
pub async fn follow(
    seeds: Vec<String>,
    connections: Connections,
    state: watch::Sender<Arc<ClusterState>>,
    stop: CancellationToken,
) {
    for turn in 0.. {
        let addresses = addresses(&seeds, &state);
        let address = &addresses[turn % addresses.len()];
        let lost = tokio::select! {
            lost = watch_one(address, &connections, &state) => lost,
            () = stop.cancelled() => return,
        };
        if let Err(status) = lost {
            debug!(%address, error = %status, "cluster state watch ended; trying the next address");
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// The seeds and every member's address, each once.
fn addresses(seeds: &[String], state: &watch::Sender<Arc<ClusterState>>) -> Vec<String> {
    let mut addresses = seeds.to_vec();
    for member in state.borrow().members().values() {
        if !member.addresses.cluster.is_empty() && !addresses.contains(&member.addresses.cluster) {
            addresses.push(member.addresses.cluster.clone());
        }
    }
    addresses
}

async fn watch_one(
    address: &str,
    connections: &Connections,
    state: &watch::Sender<Arc<ClusterState>>,
) -> Result<(), Status> {
    let node = connections
        .node(None, address)
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    let revision = state.borrow().revision();
    let mut revisions = node.watch(WatchStateRequest { revision }).await?;
    loop {
        let next = tokio::time::timeout(SILENCE_MAX, revisions.next()).await;
        let Ok(Some(revision)) = next else {
            return Ok(());
        };
        let revision = revision?;
        if revision.state.is_empty() {
            continue;
        }
        match ClusterState::decode(&revision.state) {
            Ok(newer) => {
                if let Some(cluster) = newer.cluster() {
                    connections.cluster().learn(cluster);
                }
                state.send_if_modified(|current| {
                    let is_newer = newer.revision() > current.revision();
                    if is_newer {
                        *current = Arc::new(newer);
                    }
                    is_newer
                });
            }
            Err(error) => {
                warn!(%address, %error, "cluster state cannot be read; trying another node");
                return Err(Status::data_loss(error.to_string()));
            }
        }
    }
}
