//! Replicas filled from a checkpoint while their group works: what openraft's own installation of
//! snapshots does not survive (openraft #2116).

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::cluster::{TestCluster, eventually};
use crate::raft::{Group, NodeId};

const ROUNDS: usize = 12;
/// Entries that a replica lacks when it is filled.
const ENTRIES_A_ROUND: usize = 40;
/// Proposals in flight.
const WRITERS: usize = 8;

type Groups = Arc<Mutex<BTreeMap<NodeId, Group>>>;

/// Proposes to whoever leads, until told to stop; counts what was committed.
async fn write(groups: Groups, committed: Arc<AtomicUsize>, stop: Arc<AtomicBool>) {
    let entry = Bytes::from(vec![7; 16 << 10]);
    while !stop.load(Ordering::Relaxed) {
        let leading = {
            let groups = groups.lock();
            groups.values().find(|group| group.leadership().borrow().ready).cloned()
        };
        let outcome = match leading {
            Some(group) => {
                let term = group.leadership().borrow().term;
                match group.propose(term, entry.clone()).await {
                    Ok(proposal) => proposal.await.is_ok(),
                    Err(_) => false,
                }
            }
            None => false,
        };
        match outcome {
            true => drop(committed.fetch_add(1, Ordering::Relaxed)),
            false => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_are_filled_again_and_again_under_load() {
    let mut cluster = TestCluster::found(3).await;
    cluster.leader().await;
    let open = |cluster: &TestCluster| -> BTreeMap<NodeId, Group> {
        cluster.nodes.iter().map(|(node, it)| (*node, it.group.clone())).collect()
    };
    let groups: Groups = Arc::new(Mutex::new(open(&cluster)));
    let (committed, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        writers.spawn(write(groups.clone(), committed.clone(), stop.clone()));
    }
    for _ in 0..ROUNDS {
        let (leader, _) = cluster.leader().await;
        let filled = *cluster.nodes.keys().find(|node| **node != leader).unwrap();
        groups.lock().remove(&filled);
        cluster.kill(filled).await;
        let before = committed.load(Ordering::Relaxed);
        eventually(|| committed.load(Ordering::Relaxed) >= before + ENTRIES_A_ROUND).await;
        let checkpoint = cluster.nodes[&leader].ledger.copy();
        cluster.start_node(filled, checkpoint).await;
        groups.lock().insert(filled, cluster.nodes[&filled].group.clone());
        let reached = cluster.nodes[&leader].ledger.data().len();
        cluster.nodes[&filled].wait_until_applied(reached).await;
    }
    stop.store(true, Ordering::Relaxed);
    writers.join_all().await;
    let entries = cluster.agreed(committed.load(Ordering::Relaxed)).await.len();
    assert!(entries >= ROUNDS * ENTRIES_A_ROUND, "{entries}");
    for node in cluster.nodes.values() {
        assert_eq!(node.group.status().reopenings, 0, "a core ended");
    }
}
