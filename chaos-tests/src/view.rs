//! What a cluster says of itself: nodes, groups, and digests of replicas.

use std::time::Duration;

use serde_json::Value;

use crate::api::Api;

/// Hashing all that the nodes hold.
const DIGEST_DEADLINE: Duration = Duration::from_secs(60);

/// How large a cluster is meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Nodes that are to answer.
    pub nodes: usize,
    /// Shards that are to be led.
    pub shards: usize,
    /// Replicas of each.
    pub replicas: usize,
}

/// One answer of `/api/v1/status/cluster`.
#[derive(Debug, Clone)]
pub struct View(Value);

/// One raft group, as its leader tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Its shard; `None` for the control group.
    pub shard: Option<u64>,
    /// The node that leads it; 0 if none does.
    pub leader: u64,
    /// The leader's term.
    pub term: u64,
    /// What is committed.
    pub commit_index: u64,
    /// Series with a sample of late.
    pub series: u64,
}

impl View {
    /// Asks whoever serves `api`.
    pub fn ask(api: &Api) -> Result<Self, String> {
        api.data("/api/v1/status/cluster").map(Self)
    }

    /// What `narthex cluster status -o json` has printed.
    pub fn of(status: Value) -> Self {
        Self(status)
    }

    /// The revision of the cluster's state.
    pub fn revision(&self) -> u64 {
        self.0["revision"].as_u64().unwrap_or(0)
    }

    fn list(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.0[name].as_array().into_iter().flatten()
    }

    /// The shards, and the control group behind them.
    pub fn groups(&self) -> Vec<Group> {
        let number = |row: &Value, name: &str| row[name].as_u64().unwrap_or(0);
        let group = |row: &Value, shard| Group {
            shard,
            leader: number(row, "leader"),
            term: number(row, "term"),
            commit_index: number(row, "commitIndex"),
            series: number(row, "activeSeries"),
        };
        let shards = self.list("shards").map(|row| group(row, Some(number(row, "id"))));
        shards.chain([group(&self.0["control"], None)]).collect()
    }

    /// The address of a node.
    pub fn address(&self, node: u64) -> Option<&str> {
        self.list("nodes").find(|row| row["id"] == node)?["address"].as_str()
    }

    /// What is wrong with the disk of the node at this address; empty if nothing is.
    pub fn disk_problem(&self, address: &str) -> &str {
        let node = self.list("nodes").find(|row| row["address"] == address);
        node.and_then(|node| node["diskProblem"].as_str()).unwrap_or_default()
    }

    /// The name of the node that leads this shard.
    pub fn leader(&self, shard: u64) -> Result<String, String> {
        let row = self.list("shards").find(|row| row["id"] == shard).ok_or("no such shard")?;
        let node = self.list("nodes").find(|node| node["id"] == row["leader"]);
        let name = node.and_then(|node| node["name"].as_str().map(str::to_owned));
        name.ok_or_else(|| format!("no leader: {}", self.0))
    }

    /// Whether all nodes answer and every shard is led.
    pub fn is_whole(&self, size: Size) -> Result<(), String> {
        let reachable = self.list("nodes").filter(|node| node["reachable"] == true).count();
        let led = self.list("shards").filter(|shard| shard["leader"] != 0).count();
        let shards = self.list("shards").count();
        match reachable >= size.nodes && shards == size.shards && led == shards {
            true => Ok(()),
            false => Err(self.0.to_string()),
        }
    }
}

/// Whether the replicas of every shard hold the same at the same log index; how many samples that
/// are in all. A replica that does not answer makes it an error.
pub fn digests_equal(api: &Api, size: Size) -> Result<u64, String> {
    let api = Api::new(api.url(), DIGEST_DEADLINE);
    let (_, body) = api.post("/api/v1/admin/tsdb/digests")?;
    let answer: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
    let shards = answer["data"]["shards"].as_array().cloned().unwrap_or_default();
    let is_full =
        |shard: &Value| shard["replicas"].as_array().is_some_and(|it| it.len() == size.replicas);
    let equal = answer["data"]["equal"] == true;
    let samples: u64 = shards.iter().filter_map(|it| it["replicas"][0]["samples"].as_u64()).sum();
    match equal && shards.len() == size.shards && shards.iter().all(is_full) && samples > 0 {
        true => Ok(samples),
        false => Err(body),
    }
}
