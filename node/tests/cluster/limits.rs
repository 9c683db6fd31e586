//! Limits of series, as scrapes meet them.

use narthex_cluster::{Command, Settings, ShardId};
use narthex_node::node::Node;

use super::{alone, parts, request, until, values, wall_millis};

/// What a scrape tells of itself: `up` and four more.
const REPORT: u32 = 5;

fn page(series: std::ops::Range<u32>) -> String {
    series.map(|n| format!("m{{n=\"{n}\"}} {n}\n")).collect()
}

/// The values that a query gives on all shards.
async fn found(node: &Node, query: &str) -> Vec<f64> {
    let mut found = Vec::new();
    for shard in (0..3).map(ShardId) {
        let of_shard = values(node, shard, query, wall_millis()).await;
        found.extend(of_shard.into_iter().map(|(_, value)| value));
    }
    found
}

async fn expect(node: &Node, query: &str, expected: &[f64]) {
    until(&format!("{query} is {expected:?}"), async || {
        let found = found(node, query).await;
        if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_explodes_keeps_the_series_it_has() {
    let folder = tempfile::tempdir().expect("folder");
    let node = alone(folder.path(), |_| {}).await;
    let series_per_target_max = 10 + REPORT;
    let settings = Settings { series_per_target_max, ..Settings::default() };
    request(&node, Command::ChangeSettings(settings.into())).await;
    until("the limit reaches all shards", async || {
        let replicas = node.replicas().all();
        let limits: Vec<u32> =
            replicas.iter().map(|it| it.reader.settings().series_per_target_max).collect();
        if limits == [series_per_target_max; 3] { Ok(()) } else { Err(format!("{limits:?}")) }
    })
    .await;

    let exploding = parts::Gateway::start();
    exploding.show_page(page(0..10));
    parts::scrape_every(&node, &[&exploding.address], "1s").await;
    expect(&node, "count(m)", &[10.0]).await;
    exploding.show_page(page(5..1000));
    expect(&node, "scrape_samples_scraped", &[995.0]).await;
    // What is gone from the page still counts, and what is on it goes on.
    expect(&node, "count(m)", &[5.0]).await;
    expect(&node, "min(m)", &[5.0]).await;
    expect(&node, "up", &[1.0]).await;
    let targets = node.service().targets(Default::default()).await.expect("answered");
    assert_eq!(targets.active[0].last_error, "");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_too_large_from_the_beginning_is_up() {
    let folder = tempfile::tempdir().expect("folder");
    let node = alone(folder.path(), |_| {}).await;
    let settings = Settings { series_per_target_max: 7, ..Settings::default() };
    request(&node, Command::ChangeSettings(settings.into())).await;
    until("the limit reaches all shards", async || {
        let replicas = node.replicas().all();
        let is_there = |it: &u32| *it == 7;
        let limits: Vec<u32> =
            replicas.iter().map(|it| it.reader.settings().series_per_target_max).collect();
        // The three replicas are opened one after the other.
        let are_all = limits.len() == 3 && limits.iter().all(is_there);
        if are_all { Ok(()) } else { Err(format!("{limits:?}")) }
    })
    .await;
    let large = parts::Gateway::start();
    large.show_page(page(0..1000));
    parts::scrape_every(&node, &[&large.address], "1s").await;
    expect(&node, "count(m)", &[7.0]).await;
    expect(&node, "up", &[1.0]).await;
    expect(&node, "scrape_samples_scraped", &[1000.0]).await;
    node.stop().await;
}
