//! `narthex cluster drain`, `remove`, `replace`, `split` and `moves`.

use std::{io, time::Duration};

use narthex_proto::v1::{
    DrainRequest, MovesRequest, MovesResponse, RemoveRequest, SplitRequest,
    membership_client::MembershipClient,
};
use serde_json::json;
use tonic::Code;

use crate::{
    client::{self, ClientError},
    flags::{ClientFlags, DrainArguments, Output, RemoveArguments, SplitArguments},
    output::answer,
};

/// Pause between looks at whether a drained node is empty.
const PAUSE: Duration = Duration::from_secs(1);

/// Moves everything off a node, or lets it take replicas again.
pub async fn drain(arguments: &DrainArguments) -> Result<(), ClientError> {
    let mut client = MembershipClient::new(client::connect(&arguments.client.server).await?);
    let request = DrainRequest { node: arguments.node.clone(), undo: arguments.undo };
    let replicas = client.drain(request).await?.into_inner().replicas;
    let node = &arguments.node;
    match arguments.undo {
        true => answer(&format!("node {node} takes replicas again"))?,
        false => answer(&format!(
            "node {node} takes no more replicas; {replicas} are to be moved off it \
             (narthex cluster moves)"
        ))?,
    }
    Ok(())
}

/// Takes an empty node out of the cluster.
pub async fn remove(arguments: &RemoveArguments) -> Result<(), ClientError> {
    let mut client = MembershipClient::new(client::connect(&arguments.client.server).await?);
    client.remove(RemoveRequest { node: arguments.node.clone() }).await?;
    answer(&format!("node {} is no member any more", arguments.node))?;
    Ok(())
}

/// Drains a node and removes it once it is empty. What takes its place joins by itself.
pub async fn replace(arguments: &RemoveArguments) -> Result<(), ClientError> {
    let mut client = MembershipClient::new(client::connect(&arguments.client.server).await?);
    let node = arguments.node.clone();
    let mut told = u64::MAX;
    loop {
        let request = DrainRequest { node: node.clone(), undo: false };
        let replicas = client.drain(request).await?.into_inner().replicas;
        if replicas == 0 {
            match client.remove(RemoveRequest { node: node.clone() }).await {
                Ok(_) => break,
                // A replica was just placed on it.
                Err(status) if status.code() == Code::FailedPrecondition => {}
                Err(status) => return Err(status.into()),
            }
        }
        if replicas < told {
            told = replicas;
            let state = client.moves(MovesRequest {}).await?.into_inner().state;
            let why = if state.is_empty() { String::new() } else { format!(": {state}") };
            answer(&format!("{replicas} replicas are still to be moved off node {node}{why}"))?;
        }
        tokio::time::sleep(PAUSE).await;
    }
    answer(&format!("node {node} is no member any more"))?;
    Ok(())
}

/// Spreads series over more shards from a full hour on.
pub async fn split(arguments: &SplitArguments) -> Result<(), ClientError> {
    let mut client = MembershipClient::new(client::connect(&arguments.client.server).await?);
    let request = SplitRequest { shards: arguments.shards.unwrap_or(0) };
    let split = client.split(request).await?.into_inner();
    let (shards, begins) = (split.shards, time(split.begins_ms));
    answer(&format!("samples from {begins} on go to {shards} shards; what is older stays"))?;
    Ok(())
}

/// Prints what is moved and why.
pub async fn moves(flags: &ClientFlags) -> Result<(), ClientError> {
    let mut client = MembershipClient::new(client::connect(&flags.server).await?);
    let moves = client.moves(MovesRequest {}).await?.into_inner();
    match flags.output {
        Output::Table => print(&moves)?,
        Output::Json => answer(&to_json(&moves).to_string())?,
    }
    Ok(())
}

fn print(moves: &MovesResponse) -> io::Result<()> {
    for it in &moves.under_way {
        let change = match (it.add_node_id, it.remove_node_id) {
            (add, 0) => format!("gets a replica on node {add}"),
            (0, remove) => format!("loses its replica on node {remove}"),
            (add, remove) => format!("moves a replica from node {remove} to node {add}"),
        };
        answer(&format!("under way: shard {} {change}", it.shard_id))?;
    }
    if !moves.state.is_empty() {
        answer(&format!("now: {}", moves.state))?;
    }
    for decided in &moves.decided {
        answer(&format!("{}  {} ({})", time(decided.time_ms), decided.what, decided.why))?;
    }
    Ok(())
}

/// As in the logs.
fn time(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis)
        .map_or_else(|_| millis.to_string(), |it| it.to_string())
}

fn to_json(moves: &MovesResponse) -> serde_json::Value {
    let node = |id: u64| (id != 0).then_some(id);
    let under_way = moves.under_way.iter().map(|it| {
        json!({
            "shard": it.shard_id,
            "add": node(it.add_node_id),
            "remove": node(it.remove_node_id),
        })
    });
    let decided = moves
        .decided
        .iter()
        .map(|it| json!({ "timeMs": it.time_ms, "what": it.what, "why": it.why }));
    json!({
        "state": moves.state,
        "underWay": under_way.collect::<Vec<_>>(),
        "decided": decided.collect::<Vec<_>>(),
    })
}
