//! Shards that come later: from the new epoch on they scrape and hold what hashes to them.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use narthex_cluster::{ChangeRing, Command, Outcome, Request, RequestId, ShardId, TenantId};
use narthex_model::{Labels, Timestamp};
use narthex_node::{
    clock::{Clock, SystemClock},
    node::Node,
};
use narthex_proto::internal::v1::{ProposeRequest, propose_response};

use super::{
    clocks::Skewed,
    parts::{Gateway, scrape_every},
    three, until, values,
};

const HOUR: i64 = 3_600_000;
const TARGETS: usize = 12;

/// A clock after which the next epoch begins at the next full hour, half an hour and a minute from
/// now.
fn before_an_epoch() -> Skewed {
    let past = SystemClock.now().millis().rem_euclid(HOUR);
    Skewed(AtomicI64::new((29 * 60_000 - past).rem_euclid(HOUR)))
}

/// Sets `clock` to so many milliseconds before `time`.
fn approach(clock: &Skewed, time: Timestamp, before: i64) {
    clock.0.fetch_add(time.millis() - before - clock.now().millis(), Ordering::Relaxed);
}

async fn split(node: &Node, at: Timestamp) -> Timestamp {
    let change = Command::ChangeRing(ChangeRing { shards: 6, spread_jobs: None });
    let request = Request { id: RequestId(7), at, command: change };
    let command = request.encode().expect("short").into();
    let response = node.service().propose(ProposeRequest { command }).await.expect("answered");
    let Some(propose_response::Result::Outcome(outcome)) = response.result else {
        panic!("{response:?}")
    };
    match Outcome::decode(&outcome).expect("an outcome") {
        Outcome::EpochAdded { from, .. } => from,
        other => panic!("{other:?}"),
    }
}

fn labels(address: &str) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("instance", address), ("job", "gateway")])
        .expect("valid")
}

/// The value of a query for one target at one time, on one shard.
async fn value(node: &Node, shard: ShardId, query: &str, at: Timestamp) -> Option<f64> {
    values(node, shard, query, at.millis()).await.first().map(|(_, value)| *value)
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_go_on_in_the_shards_of_the_new_epoch() {
    let folder = tempfile::tempdir().expect("folder");
    let clock = Arc::new(before_an_epoch());
    let nodes = three(folder.path(), |_, config| config.clock = clock.clone()).await;
    let node = &nodes[0];
    let gateways: Vec<Gateway> = (0..TARGETS).map(|_| Gateway::start()).collect();
    gateways.iter().for_each(|gateway| gateway.show_page("m 1\n".to_owned()));
    let addresses: Vec<&str> = gateways.iter().map(|gateway| &*gateway.address).collect();
    scrape_every(node, &addresses, "500ms").await;

    let from = split(node, clock.now()).await;
    let is_soon = (30..=32).contains(&(from.millis_since(clock.now()) / 60_000));
    assert!(is_soon && from.millis() % HOUR == 0, "{from:?} after {:?}", clock.now());
    let state = until("the new shards are led", async || {
        let led = |shard: &ShardId| {
            let replicas = nodes.iter().filter_map(|node| node.replicas().get(*shard));
            replicas.into_iter().any(|replica| replica.leadership().ready)
        };
        let state = node.client().state();
        let count = state.shards().keys().filter(|shard| led(shard)).count();
        if count == 6 { Ok(state) } else { Err(format!("{count} of 6")) }
    })
    .await;
    let home =
        |address: &str, at| state.shard_of(TenantId(0), &labels(address), at).expect("founded");
    approach(&clock, from, 4_000);
    let here = |address: &str| format!("m{{instance={address:?}}}");
    for address in &addresses {
        let shard = home(address, clock.now());
        until("every target is scraped before", async || {
            let before = Timestamp::from_millis(from.millis() - 1_000);
            value(node, shard, &here(address), before).await.ok_or(here(address)).map(drop)
        })
        .await;
    }

    let after = Timestamp::from_millis(from.millis() + 3_000);
    until("the epoch has begun", async || {
        let left = after.millis_since(clock.now());
        if left < -500 { Ok(()) } else { Err(format!("{left} ms")) }
    })
    .await;
    let mut moved = BTreeSet::new();
    for address in &addresses {
        let (old, new) = (home(address, Timestamp::MIN), home(address, after));
        let count = format!("count_over_time(m{{instance={address:?}}}[6s])");
        let mut samples = value(node, new, &count, after).await.unwrap_or(0.0);
        if old != new {
            moved.insert(new);
            samples += value(node, old, &count, after).await.unwrap_or(0.0);
            // A stale marker would end the series there, and with it the query's.
            assert_eq!(value(node, old, &here(address), after).await, Some(1.0));
        }
        assert!((9.0..=14.0).contains(&samples), "{address}: {samples} samples of 12");
    }
    assert!(!moved.is_empty() && moved.iter().all(|shard| shard.0 >= 3), "{moved:?}");
    until("the old shards forget what has moved", async || {
        let first = nodes.iter().filter_map(|node| node.replicas().get(ShardId(0)));
        let counts: Vec<usize> = first.map(|it| it.reader.targets().len()).collect();
        let stay = addresses.iter().filter(|address| home(address, after) == ShardId(0)).count();
        if counts.iter().all(|count| *count == stay) { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await;
    for node in nodes {
        node.stop().await;
    }
}
