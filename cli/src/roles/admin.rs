//! Routes for those who run a cluster: `/-/reload` and `/-/quit`, which the web listener serves
//! only where they were asked for, `settle` and `digests`.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use http::{StatusCode, header};
use narthex_cluster::{NodeId, ShardId};
use narthex_proto::{
    client::ShardClient,
    internal::v1::{DigestRequest, LogEnd, SettleRequest, SettleStep},
};
use narthex_web::{Routes, access};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config_file::Reload;

/// How long a shard's replicas may take to hash what they hold.
const DIGEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Adds `settle`: every node writes, merges and compacts all it has, so that its folder is as
/// small as it gets. For measuring, and before a backup.
pub fn add_settle(routes: &mut Routes, shards: ShardClient) {
    routes.http(&access::ADMIN_SETTLE, async move || match settle(&shards).await {
        Ok(()) => (StatusCode::NO_CONTENT, String::new()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    });
}

async fn settle(shards: &ShardClient) -> Result<(), tonic::Status> {
    let sealed = settle_step(shards, SettleStep::Seal, Vec::new()).await?;
    let written = settle_step(shards, SettleStep::Write, sealed).await?;
    // A log shrinks below what all its replicas have.
    let mut ends = BTreeMap::<u32, u64>::new();
    for LogEnd { group_id, end } in written {
        ends.entry(group_id).and_modify(|lowest| *lowest = end.min(*lowest)).or_insert(end);
    }
    let upto = ends.into_iter().map(|(group_id, end)| LogEnd { group_id, end }).collect();
    settle_step(shards, SettleStep::Purge, upto).await.map(drop)
}

async fn settle_step(
    shards: &ShardClient,
    step: SettleStep,
    upto: Vec<LogEnd>,
) -> Result<Vec<LogEnd>, tonic::Status> {
    let nodes: Vec<NodeId> = shards.state().members().keys().copied().collect();
    let mut settling = JoinSet::new();
    for node in nodes {
        let node = shards.node(node)?;
        let request = SettleRequest { step: step.into(), upto: upto.clone() };
        settling.spawn(async move { node.settle(request).await });
    }
    let mut reached = Vec::new();
    while let Some(settled) = settling.join_next().await {
        let settled = settled.map_err(|error| tonic::Status::internal(error.to_string()))??;
        reached.extend(settled.reached);
    }
    Ok(reached)
}

/// Adds `digests`: every replica hashes all it holds at one log index, and those of a shard are
/// compared. A replica without a digest counts as different.
pub fn add_digests(routes: &mut Routes, shards: ShardClient) {
    routes.http(&access::ADMIN_DIGESTS, async move || {
        let state = shards.state();
        let compared = state
            .shards()
            .iter()
            .map(|(&shard, placement)| compare(&shards, shard, placement.nodes().collect()));
        let rows = join_all(compared).await;
        let equal = !rows.is_empty() && rows.iter().all(|row| row["equal"] == true);
        let answer = json!({ "status": "success", "data": { "equal": equal, "shards": rows } });
        ([(header::CONTENT_TYPE, "application/json")], answer.to_string())
    });
}

async fn compare(shards: &ShardClient, shard: ShardId, replicas: Vec<NodeId>) -> Value {
    #[expect(clippy::disallowed_methods, reason = "deadlines of network calls are in tokio's time")]
    let deadline = tokio::time::Instant::now() + DIGEST_TIMEOUT;
    let led = match shards.digest(shard, deadline).await {
        Ok(digest) => digest,
        Err(error) => {
            return json!({ "shard": shard.0, "equal": false, "error": error.to_string() });
        }
    };
    let asked = replicas.into_iter().map(|node| async move {
        let request = DigestRequest { shard_id: shard.0, index: led.index };
        let answer = async { shards.node(node)?.digest(request).await };
        match timeout_at(deadline, answer).await {
            Ok(Ok(digest)) => Ok((node, digest)),
            Ok(Err(status)) => Err((node, status.message().to_owned())),
            Err(_) => Err((node, "no answer in time".to_owned())),
        }
    });
    let digests = join_all(asked).await;
    let equal = digests.iter().all(|it| it.as_ref().is_ok_and(|(_, digest)| *digest == led));
    let rows = digests.iter().map(|it| match it {
        Ok((node, digest)) => json!({
            "node": node.0,
            "content": hex(&digest.content),
            "samples": digest.samples,
            "outcomes": format!("{:016x}", digest.outcomes),
        }),
        Err((node, error)) => json!({ "node": node.0, "error": error }),
    });
    let rows: Vec<Value> = rows.collect();
    json!({ "shard": shard.0, "index": led.index, "equal": equal, "replicas": rows })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
