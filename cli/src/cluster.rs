//! `narthex cluster init` and `narthex cluster status`.

use std::io;

use narthex_proto::{
    connect::Connections,
    internal::v1::InitRequest,
    service::NodeService as _,
    v1::cluster_client::ClusterClient,
    v1::{
        ConfigRequest, ConfigResponse, MembersRequest, MembersResponse, Shard, ShardsRequest,
        ShardsResponse,
    },
};
use serde_json::json;

use crate::{
    client::{self, ClientError},
    flags::{ClientFlags, InitArguments, Output},
    output::answer,
};

/// Founds a cluster on a node that waits for it, and prints the cluster's id.
pub async fn init(arguments: &InitArguments) -> Result<(), ClientError> {
    let tls = arguments.certs.as_deref().map(client::peer_tls).transpose()?;
    let node = Connections::new(tls).node(None, &arguments.node)?;
    let request =
        InitRequest { shards: arguments.shards, replication_factor: arguments.replication_factor };
    answer(&node.init(request).await?.cluster_id)?;
    Ok(())
}

/// Prints nodes and shards.
pub async fn status(flags: &ClientFlags) -> Result<(), ClientError> {
    let mut client = ClusterClient::new(client::connect(&flags.server).await?);
    let members = client.members(MembersRequest {}).await?.into_inner();
    let shards = client.shards(ShardsRequest {}).await?.into_inner();
    let config = client.config(ConfigRequest {}).await?.into_inner();
    match flags.output {
        Output::Table => {
            print_tables(&members, &shards)?;
            print_disk_problems(&members)?;
            print_config(&config)?;
        }
        Output::Json => {
            let mut status = to_json(&members, &shards);
            status["config"] = json!({
                "inactiveSections": config.inactive_sections,
                "problem": config.problem,
                "loadedMs": config.loaded_ms,
            });
            answer(&status.to_string())?;
        }
    }
    Ok(())
}

fn print_disk_problems(members: &MembersResponse) -> io::Result<()> {
    for member in members.members.iter().filter(|member| !member.disk_problem.is_empty()) {
        answer(&format!("\nWARNING: node {}: {}", member.name, member.disk_problem))?;
    }
    Ok(())
}

/// What a user should know of the configuration; nothing where all of it is in force.
fn print_config(config: &ConfigResponse) -> io::Result<()> {
    if !config.problem.is_empty() || !config.inactive_sections.is_empty() {
        answer("")?;
    }
    if !config.problem.is_empty() {
        answer(&format!("WARNING: the last good configuration is in force: {}", config.problem))?;
    }
    for section in &config.inactive_sections {
        answer(&format!("WARNING: {section} in the configuration has no effect yet"))?;
    }
    Ok(())
}

fn print_tables(members: &MembersResponse, shards: &ShardsResponse) -> io::Result<()> {
    answer(&format!(
        "cluster {}, {} nodes, {} shards, replication factor {}\n",
        members.cluster_id,
        members.members.len(),
        shards.shards.len(),
        shards.replication_factor
    ))?;
    let mut nodes =
        vec![["NODE", "ID", "ADDRESS", "ZONE", "VERSION", "STATE", "REACHABLE"].map(str::to_owned)];
    for member in &members.members {
        nodes.push([
            member.name.clone(),
            member.node_id.to_string(),
            member.address.clone(),
            member.zone.clone(),
            member.version.clone(),
            member.state.clone(),
            if member.reachable { "yes" } else { "no" }.to_owned(),
        ]);
    }
    print_table(&nodes)?;
    answer("")?;
    let mut rows =
        vec![["SHARD", "LEADER", "TERM", "COMMITTED", "SERIES", "LAG"].map(str::to_owned)];
    for shard in &shards.shards {
        rows.push([
            shard.shard_id.to_string(),
            name_of(members, shard.leader_node_id),
            shard.term.to_string(),
            shard.commit_index.to_string(),
            shard.active_series.to_string(),
            lag(members, shard),
        ]);
    }
    print_table(&rows)
}

/// Each replica that is not the leader, with the entries it lacks.
fn lag(members: &MembersResponse, shard: &Shard) -> String {
    let followers = shard.replicas.iter().filter(|replica| replica.node_id != shard.leader_node_id);
    let lags: Vec<_> = followers
        .map(|replica| format!("{}:{}", name_of(members, replica.node_id), replica.lag_entries))
        .collect();
    if lags.is_empty() { "-".to_owned() } else { lags.join(" ") }
}

fn name_of(members: &MembersResponse, node_id: u64) -> String {
    let member = members.members.iter().find(|member| member.node_id == node_id);
    match (node_id, member) {
        (0, _) => "none".to_owned(),
        (_, Some(member)) => member.name.clone(),
        (id, None) => id.to_string(),
    }
}

fn print_table<const N: usize>(rows: &[[String; N]]) -> io::Result<()> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    for row in rows {
        let cells: Vec<_> = row
            .iter()
            .enumerate()
            .map(|(column, cell)| format!("{cell:<width$}", width = width(column).unwrap_or(0)))
            .collect();
        answer(cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn to_json(members: &MembersResponse, shards: &ShardsResponse) -> serde_json::Value {
    let nodes = members.members.iter().map(|member| {
        json!({
            "id": member.node_id,
            "name": member.name,
            "address": member.address,
            "webAddress": member.web_address,
            "zone": member.zone,
            "version": member.version,
            "state": member.state,
            "reachable": member.reachable,
            "diskProblem": member.disk_problem,
        })
    });
    let shard = |shard: &Shard| {
        let replicas = shard.replicas.iter().map(|replica| {
            json!({
                "node": replica.node_id,
                "matchIndex": replica.match_index,
                "lagEntries": replica.lag_entries,
            })
        });
        json!({
            "id": shard.shard_id,
            "leader": shard.leader_node_id,
            "term": shard.term,
            "commitIndex": shard.commit_index,
            "activeSeries": shard.active_series,
            "replicas": replicas.collect::<Vec<_>>(),
        })
    };
    json!({
        "cluster": members.cluster_id,
        "replicationFactor": shards.replication_factor,
        "nodes": nodes.collect::<Vec<_>>(),
        "shards": shards.shards.iter().map(shard).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use narthex_proto::v1::{Member, Replica};

    use super::*;

    #[test]
    fn lag_names_followers_only() {
        let member =
            |node_id, name: &str| Member { node_id, name: name.into(), ..Member::default() };
        let members = MembersResponse {
            members: vec![member(1, "n1"), member(2, "n2")],
            ..Default::default()
        };
        let replica = |node_id, lag_entries| Replica { node_id, lag_entries, ..Default::default() };
        let mut shard = Shard { leader_node_id: 1, ..Shard::default() };
        assert_eq!(lag(&members, &shard), "-");
        shard.replicas = vec![replica(1, 0), replica(2, 7), replica(3, 0)];
        assert_eq!(lag(&members, &shard), "n2:7 3:0");
        assert_eq!(name_of(&members, 0), "none");
    }
}
