//! Pages with more labels than one message of raft takes.

use narthex_cluster::ShardId;
use narthex_node::node::Node;

use super::{alone, parts, three, until, values, wall_millis};

/// Half of them the target's own, half of other shards.
const SERIES: usize = 50_000;

/// About 20 MB of labels.
fn large_page() -> String {
    let pad = "x".repeat(350);
    let line = |at: usize| match at % 2 {
        0 => format!("large{{n=\"{at}\",pad=\"{pad}\"}} 1\n"),
        _ => {
            format!("large{{job=\"batch\",instance=\"b{}\",n=\"{at}\",pad=\"{pad}\"}} 1\n", at % 97)
        }
    };
    (0..SERIES).map(line).collect()
}

/// The sum of what an aggregation gives on each shard.
async fn sum(node: &Node, query: &str) -> f64 {
    let mut sum = 0.0;
    for shard in (0..3).map(ShardId) {
        let found = values(node, shard, query, wall_millis()).await;
        sum += found.iter().map(|(_, value)| value).sum::<f64>();
    }
    sum
}

async fn expect(node: &Node, query: &str, expected: f64) {
    until(&format!("{query} is {expected}"), async || {
        let found = sum(node, query).await;
        if found == expected { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_many_new_series_is_stored_whole_and_replicated() {
    let folder = tempfile::tempdir().expect("folder");
    let nodes = three(folder.path(), |_, _| {}).await;
    let gateway = parts::Gateway::start();
    gateway.show_page(large_page());
    parts::scrape_every(&nodes[0], &[&gateway.address], "5s").await;
    expect(&nodes[0], "count(large)", SERIES as f64).await;
    expect(&nodes[0], "up", 1.0).await;
    expect(&nodes[0], "scrape_samples_scraped", SERIES as f64).await;
    until("followers have it, too", async || {
        let series = |node: &Node| -> Vec<u64> {
            let replicas = node.replicas().all();
            replicas.iter().map(|replica| replica.reader.stats().samples).collect()
        };
        let counts: Vec<_> = nodes.iter().map(series).collect();
        let all: u64 = counts[0].iter().sum();
        let equal = counts.iter().all(|count| *count == counts[0]);
        if equal && all > SERIES as u64 { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_no_entry_takes_fails_with_a_reason() {
    let folder = tempfile::tempdir().expect("folder");
    let node = alone(folder.path(), |_| {}).await;
    let gateway = parts::Gateway::start();
    gateway.show_page(format!("huge{{x=\"{}\"}} 1\n", "y".repeat(5 << 20)));
    parts::scrape_every(&node, &[&gateway.address], "1s").await;
    until("the target is down", async || {
        let mut up = Vec::new();
        for shard in (0..3).map(ShardId) {
            up.extend(values(&node, shard, "up", wall_millis()).await);
        }
        match up.as_slice() {
            [(_, value)] if *value == 0.0 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let targets = node.service().targets(Default::default()).await.expect("answered");
    let error = &targets.active[0].last_error;
    assert!(error.contains("sample limit exceeded: labels of"), "{error}");
    node.stop().await;
}
