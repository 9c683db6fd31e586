//! What a disk has changed behind a node's back is found, and mended from the other replicas.

use std::{net::SocketAddr, ops::ControlFlow};

use narthex_node::node::NodeConfig;
use narthex_proto::internal::v1::DigestRequest;
use narthex_tsdb::{
    ReplicaNumbers,
    kv::{Batch, DataDb, DataDbConfig, KeyValue as _, Space},
};
use tempfile::TempDir;

use super::*;

/// Three nodes that can be stopped and started again.
struct Trio {
    folder: TempDir,
    addresses: Vec<SocketAddr>,
    founders: Founders,
}

impl Trio {
    fn new() -> Self {
        log();
        let listeners: Vec<TcpListener> = (0..3).map(|_| listener()).collect();
        let addresses: Vec<SocketAddr> =
            listeners.iter().map(|it| it.local_addr().expect("bound")).collect();
        let list: Vec<String> =
            (0..3).zip(&addresses).map(|(at, address)| format!("n{at}={address}")).collect();
        let founders = list.join(",").parse().expect("founders");
        Self { folder: tempfile::tempdir().expect("folder"), addresses, founders }
    }

    fn path(&self, at: usize) -> std::path::PathBuf {
        self.folder.path().join(format!("n{at}"))
    }

    async fn start(&self, change: impl Fn(&mut NodeConfig)) -> Vec<Node> {
        let mut starting = tokio::task::JoinSet::new();
        for (at, address) in self.addresses.iter().enumerate() {
            let listener = TcpListener::bind(address).expect("the port is free");
            let mut config = config(&self.path(at), listener, &self.founders);
            change(&mut config);
            starting.spawn(Node::start(config));
        }
        let mut nodes: Vec<Node> =
            starting.join_all().await.into_iter().map(|it| it.expect("started")).collect();
        nodes.sort_by_key(Node::id);
        nodes
    }

    /// Changes the first record of a shard's replica on a stopped node.
    fn tamper(&self, at: usize, (shard, space): (ShardId, Space), change: Tamper) {
        let db = DataDb::open(&self.path(at).join("data"), DataDbConfig::default()).expect("opens");
        let db = Arc::new(db);
        let numbers = ReplicaNumbers::open(db.clone()).expect("readable");
        let number = numbers.of(shard.0).expect("a replica");
        let (start, end) = (number.0.to_be_bytes(), (number.0 + 1).to_be_bytes());
        let mut first = None;
        db.scan(space, &start, &end, &mut |key, value| {
            first = Some((key.to_vec(), value.to_vec()));
            ControlFlow::Break(())
        })
        .expect("readable");
        let (key, mut value) = first.expect("there is a record");
        let mut batch = Batch::default();
        match change {
            Tamper::Lose => batch.delete(space, key),
            Tamper::Flip => {
                *value.last_mut().expect("not empty") ^= 1;
                batch.put(space, key, value);
            }
        }
        db.write(batch).expect("written");
        db.flush().expect("flushed");
    }
}

enum Tamper {
    Lose,
    Flip,
}

async fn stop(nodes: Vec<Node>) {
    for node in nodes {
        node.stop().await;
    }
}

/// Whether all replicas give the same digest.
async fn compare(nodes: &[Node], shard: ShardId) -> Result<bool, String> {
    let led = nodes[0].client().digest(shard, deadline()).await.map_err(|it| it.to_string())?;
    let mut equal = true;
    for node in nodes {
        let request = DigestRequest { shard_id: shard.0, index: led.index };
        let digest = node.service().digest(request).await.map_err(|status| status.to_string())?;
        equal &= digest.not_leader.is_none() && digest.content == led.content;
    }
    Ok(equal)
}

/// Writes more than a chunk holds to one series.
async fn write_a_sealed_chunk(node: &Node) -> ShardId {
    let now = wall_millis();
    let mut shard = ShardId(0);
    for number in 0..600 {
        let (labels, sample) = up(f64::from(number), now - 1000 * (600 - i64::from(number)));
        shard = append(node, &labels, sample).await;
    }
    shard
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_differs_is_found_and_rebuilt() {
    let trio = Trio::new();
    let nodes = trio.start(|_| {}).await;
    let shard = write_a_sealed_chunk(&nodes[0]).await;
    assert_eq!(compare(&nodes, shard).await, Ok(true));
    stop(nodes).await;
    trio.tamper(1, (shard, Space::Chunks), Tamper::Lose);

    let nodes = trio.start(|_| {}).await;
    let equal = until("digests", async || compare(&nodes, shard).await).await;
    assert!(!equal, "nothing was lost");
    stop(nodes).await;

    let nodes = trio.start(|config| config.repair.digest_interval = Duration::from_secs(1)).await;
    until("all replicas are equal again", async || match compare(&nodes, shard).await? {
        true => Ok(()),
        false => Err("they differ".to_owned()),
    })
    .await;
    let (labels, sample) = up(9.0, wall_millis());
    append(&nodes[1], &labels, sample).await;
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_cannot_be_read_is_found_and_mended() {
    let trio = Trio::new();
    let nodes = trio.start(|_| {}).await;
    let shard = write_a_sealed_chunk(&nodes[0]).await;
    stop(nodes).await;
    trio.tamper(0, (shard, Space::Chunks), Tamper::Flip);

    let nodes = trio.start(|config| config.repair.digest_interval = Duration::from_secs(1)).await;
    until("all replicas can be read and are equal", async || {
        match compare(&nodes, shard).await? {
            true => Ok(()),
            false => Err("they differ".to_owned()),
        }
    })
    .await;
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_checkpoint_is_damaged_is_filled() {
    let trio = Trio::new();
    let nodes = trio.start(|_| {}).await;
    let shard = write_a_sealed_chunk(&nodes[0]).await;
    stop(nodes).await;
    trio.tamper(2, (shard, Space::Index), Tamper::Flip);

    let nodes = trio.start(|_| {}).await;
    until("all replicas are equal", async || match compare(&nodes, shard).await? {
        true => Ok(()),
        false => Err("they differ".to_owned()),
    })
    .await;
    stop(nodes).await;
}
