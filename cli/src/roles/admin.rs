//! Routes for those who run a cluster: `/-/reload` and `/-/quit`, which the web listener serves
//! only where they were asked for, and `settle`.

use http::StatusCode;
use narthex_cluster::NodeId;
use narthex_proto::{client::ShardClient, internal::v1::SettleRequest};
use narthex_web::{Routes, access};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config_file::Reload;

/// Adds `settle`: every node writes, merges and compacts all it has, so that its folder is as
/// small as it gets. For measuring, and before a backup.
pub fn add_settle(routes: &mut Routes, shards: ShardClient) {
    routes.http(&access::ADMIN_SETTLE, async move || match settle(&shards).await {
        Ok(()) => (StatusCode::NO_CONTENT, String::new()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    });
}

async fn settle(shards: &ShardClient) -> Result<(), tonic::Status> {
    let nodes: Vec<NodeId> = shards.state().members().keys().copied().collect();
    let mut settling = JoinSet::new();
    for node in nodes {
        let node = shards.node(node)?;
        settling.spawn(async move { node.settle(SettleRequest {}).await });
    }
    while let Some(settled) = settling.join_next().await {
        settled.map_err(|error| tonic::Status::internal(error.to_string()))??;
    }
    Ok(())
}

/// Adds reload and quit. Without a configuration file there is nothing to reload, and it says so.
pub fn add_lifecycle(routes: &mut Routes, reload: Option<Reload>, stop: CancellationToken) {
    routes.http(&access::RELOAD, async move || match &reload {
        None => (StatusCode::NOT_FOUND, "there is no --config.file to reload\n".to_owned()),
        Some(reload) => match reload.ask().await {
            Ok(()) => (StatusCode::OK, String::new()),
            Err(error) => {
                let text = format!("failed to reload config: {error}\n");
                (StatusCode::INTERNAL_SERVER_ERROR, text)
            }
        },
    });
    routes.http(&access::QUIT, async move || {
        stop.cancel();
        "Requesting termination... Goodbye!"
    });
}
