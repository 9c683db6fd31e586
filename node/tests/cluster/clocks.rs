//! A node whose clock is off leads nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Instant,
};

use narthex_model::Timestamp;
use narthex_node::{
    clock::{Clock, SystemClock},
    node::Node,
};

use super::{append, three, until, up, wall_millis};

const YEAR: i64 = 365 * 86_400_000;

/// The machine's clock, set forward by so many milliseconds.
#[derive(Debug, Default)]
pub struct Skewed(pub AtomicI64);

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        SystemClock.now().saturating_add_millis(self.0.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Instant {
        SystemClock.monotonic()
    }
}

fn leads(node: &Node) -> usize {
    node.replicas().all().iter().filter(|replica| replica.leadership().ready).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_years_ahead_ends_leadership_and_no_day() {
    let folder = tempfile::tempdir().expect("folder");
    let clock = Arc::new(Skewed::default());
    let nodes = three(folder.path(), |at, config| {
        if at == 0 {
            config.clock = clock.clone();
        }
    })
    .await;
    until("every node leads", async || {
        let led: Vec<_> = nodes.iter().map(leads).collect();
        if led.iter().all(|led| *led > 0) { Ok(()) } else { Err(format!("{led:?}")) }
    })
    .await;
    until("the clocks agree", async || {
        let horizons = horizons(&nodes);
        let moved = horizons.iter().all(|horizon| *horizon > Timestamp::MIN);
        if moved { Ok(()) } else { Err(format!("{horizons:?}")) }
    })
    .await;

    clock.0.store(2 * YEAR, Ordering::Relaxed);
    until("the node leads nothing", async || match leads(&nodes[0]) {
        0 => Ok(()),
        led => Err(led.to_string()),
    })
    .await;
    until("others lead all", async || match leads(&nodes[1]) + leads(&nodes[2]) {
        3 => Ok(()),
        led => Err(led.to_string()),
    })
    .await;
    let (labels, sample) = up(1.0, wall_millis());
    append(&nodes[0], &labels, sample).await;
    let today = Timestamp::from_millis(wall_millis());
    assert!(horizons(&nodes).iter().all(|horizon| *horizon < today), "{:?}", horizons(&nodes));
    for node in nodes {
        node.stop().await;
    }
}

/// Of every replica on every node.
fn horizons(nodes: &[Node]) -> Vec<Timestamp> {
    let replicas = nodes.iter().flat_map(|node| node.replicas().all());
    replicas.map(|replica| replica.reader.horizon()).collect()
}
