//! The canary passes where all replicas work, and says so where one does not.

use std::collections::BTreeMap;

use prometheus_client::{encoding::text, registry::Registry};

use super::*;

/// What the nodes' metrics whose names begin like this say, summed.
fn metrics(nodes: &[Node], beginning: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for node in nodes {
        let mut registry = Registry::default();
        node.register(&mut registry);
        let mut page = String::new();
        text::encode(&mut page, &registry).expect("encodes");
        for line in page.lines().filter(|line| line.starts_with(beginning)) {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            *sums.entry(name.to_owned()).or_default() += value.parse::<f64>().expect("a number");
        }
    }
    sums
}

fn failures(nodes: &[Node], reason: &str) -> f64 {
    let all = metrics(nodes, "narthex_node_canary_failures_total");
    let of_reason = all.iter().filter(|(name, _)| name.contains(reason));
    of_reason.map(|(_, count)| count).sum()
}

async fn singing(folder: &Path) -> Vec<Node> {
    let nodes = three(folder, |_, config| {
        config.repair.canary_interval = Duration::from_millis(300);
    })
    .await;
    until("every shard's canary passes", async || {
        let passed = metrics(&nodes, "narthex_node_canary_duration_seconds");
        if passed.len() == 3 { Ok(()) } else { Err(format!("{passed:?}")) }
    })
    .await;
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn each_shard_has_one_series_where_it_belongs() {
    let folder = tempfile::tempdir().expect("folder");
    let nodes = singing(folder.path()).await;
    let state = nodes[0].client().state();
    for shard in (0..3).map(ShardId) {
        let found = values(&nodes[0], shard, "narthex_canary", wall_millis()).await;
        let [(series, written)] = &found[..] else { panic!("{found:?}") };
        assert!((wall_millis() as f64 / 1000.0 - written).abs() < 60.0, "{written}");
        let instance = series.split("instance=\"").nth(1).and_then(|it| it.split('"').next());
        let instance = instance.expect("an instance");
        let pairs =
            [("__name__", "narthex_canary"), ("job", "narthex-canary"), ("instance", instance)];
        let labels = Labels::from_pairs(pairs).expect("valid");
        assert_eq!(labels.to_string(), *series, "no other labels");
        let (tenant, now) = (narthex_cluster::TenantId(0), Timestamp::from_millis(wall_millis()));
        assert_eq!(state.shard_of(tenant, &labels, now), Some(shard));
    }
    assert_eq!(metrics(&nodes, "narthex_node_canary_last_success_timestamp_seconds").len(), 3);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_applies_nothing_is_told_by_the_metric() {
    let folder = tempfile::tempdir().expect("folder");
    let nodes = singing(folder.path()).await;
    let mut followers = nodes.iter().filter_map(|node| node.replicas().get(ShardId(0)));
    let follower = followers.find(|it| !it.leadership().ready).expect("two follow");
    let before = metrics(&nodes, "narthex_node_canary_failures_total");
    follower.group.close().await;
    until("it is missed", async || match failures(&nodes, "missing") {
        0.0 => Err(format!("{:?}", metrics(&nodes, "narthex_node_canary"))),
        _ => Ok(()),
    })
    .await;
    let after = metrics(&nodes, "narthex_node_canary_failures_total");
    let others = after.iter().filter(|(name, _)| !name.contains("shard=\"0\""));
    for (name, count) in others {
        assert_eq!(before.get(name), Some(count), "{name}: the other shards are well");
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_gone_is_told_by_the_metric() {
    let folder = tempfile::tempdir().expect("folder");
    let mut nodes = singing(folder.path()).await;
    nodes.pop().expect("the third").stop().await;
    until("it gives no answer", async || match failures(&nodes, "no_answer") {
        0.0 => Err(format!("{:?}", metrics(&nodes, "narthex_node_canary"))),
        _ => Ok(()),
    })
    .await;
    for node in nodes {
        node.stop().await;
    }
}
