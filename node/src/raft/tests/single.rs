//! A group of one.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use openraft::alias::EntryOf;

use super::cluster::{Ledger, PATIENCE, TestCluster, eventually};
use crate::raft::{
    InitializeError, ProposeError, RaftTiming, Role,
    metrics::now,
    types::{LogId, Membership, TypeConfig, Vote},
};

#[tokio::test]
async fn outcomes_come_in_order_and_the_log_is_replayed_after_a_restart() {
    let mut cluster = TestCluster::found(1).await;
    let (_, term) = cluster.leader().await;
    let node = &cluster.nodes[&1];
    let mut proposals = Vec::new();
    for number in 0..50 {
        let entry = Bytes::from(format!("entry {number}"));
        proposals.push(node.group.propose(term, entry).await.unwrap());
    }
    let outcomes = futures_util::future::join_all(proposals).await;
    let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    assert!(outcomes.is_sorted_by_key(|outcome| outcome.position));
    assert_eq!(outcomes[7].data, "applied entry 7");
    let read = node.group.read_linearizable().await.unwrap();
    assert!(read >= outcomes[49].position);
    assert!(matches!(node.group.initialize(&[1].into()).await, Err(InitializeError::Founded)));
    assert_eq!(node.group.commit_durations().count(), 50);

    let before = cluster.kill(1).await.data();
    cluster.start_node(1, Ledger::default()).await;
    let (_, later) = cluster.leader().await;
    assert!(later > term);
    assert_eq!(cluster.agreed(50).await, before);
}

#[tokio::test]
async fn a_proposal_for_another_term_is_not_appended() {
    let cluster = TestCluster::found(1).await;
    let (_, term) = cluster.leader().await;
    let group = &cluster.nodes[&1].group;
    for stale in [term - 1, term + 1] {
        let refused = group.propose(stale, Bytes::from_static(b"x")).await.unwrap().await;
        assert_eq!(refused, Err(ProposeError::NotLeader { leader: Some(1) }));
    }
    assert_eq!(cluster.nodes[&1].propose(term, "y").await, "applied y");
    assert_eq!(cluster.agreed(1).await, ["y"]);
}

#[tokio::test]
async fn a_core_that_ended_is_reopened_on_the_same_state() {
    let cluster = TestCluster::found(1).await;
    let (_, term) = cluster.leader().await;
    let node = &cluster.nodes[&1];
    node.propose(term, "before").await;
    node.group.core.raft().unwrap().shutdown().await.unwrap();
    let again = node.wait_for(|seen| seen.ready && seen.term > term).await;
    assert_eq!(node.propose(again.term, "after").await, "applied after");
    assert_eq!(cluster.agreed(2).await, ["before", "after"]);
    assert_eq!(node.group.status().reopenings, 1);
}

#[tokio::test]
async fn a_state_machine_that_fails_stops_its_replica_for_good() {
    let cluster = TestCluster::found(1).await;
    let (_, term) = cluster.leader().await;
    let node = &cluster.nodes[&1];
    node.ledger.state.lock().poison = Some(Bytes::from_static(b"bad"));
    let proposal = node.group.propose(term, Bytes::from_static(b"bad")).await.unwrap();
    assert_eq!(proposal.await, Err(ProposeError::Lost));
    eventually(|| node.group.status().stalled).await;
    assert_eq!(node.group.status().failure.as_deref(), Some("poisoned"));
    let refused = node.group.propose(term, Bytes::new()).await;
    assert_eq!(refused.err(), Some(ProposeError::Stalled));
    assert_eq!(node.wait_for(|seen| seen.role != Role::Leader).await.leader, None);
}

#[tokio::test]
async fn persisted_entries_are_purged() {
    let cluster = TestCluster::found(1).await;
    let (_, term) = cluster.leader().await;
    let node = &cluster.nodes[&1];
    for number in 0..20 {
        node.propose(term, &number.to_string()).await;
    }
    let covered = node.group.checkpoint().await.unwrap();
    assert_eq!(node.group.status().purged, None, "nothing is known to be on disk");
    node.group.persisted(covered.clone());
    eventually(|| node.group.status().purged == covered.position).await;
    assert_eq!(node.propose(term, "later").await, "applied later");
}

#[tokio::test]
async fn no_outcome_comes_before_the_sync() {
    let cluster = TestCluster::found(1).await;
    let (_, term) = cluster.leader().await;
    cluster.sync.millis.store(20, Ordering::Relaxed);
    for _ in 0..5 {
        let before = now();
        cluster.nodes[&1].propose(term, "x").await;
        assert!(before.elapsed() >= Duration::from_millis(20));
    }
}

/// The formula behind [`RaftTiming::silence`], which is openraft's and may change with it.
#[tokio::test]
async fn a_follower_waits_out_the_lease_and_then_a_random_timeout() {
    let cluster = TestCluster::start(1).await;
    let node = &cluster.nodes[&1];
    let members = Membership::new_with_defaults(vec![[1, 2, 3].into()], []);
    let entry = EntryOf::<TypeConfig> {
        log_id: LogId::new_term_index(5, 0),
        payload: openraft::EntryPayload::Membership(members),
    };
    let append = openraft::raft::AppendEntriesRequest {
        vote: Vote::new_committed(5, 2),
        prev_log_id: None,
        entries: vec![entry],
        leader_commit: None,
    };
    let raft = node.group.core.raft().unwrap();
    assert!(raft.append_entries(append).await.unwrap().is_success());
    let heard = now();
    assert_eq!(node.wait_for(|seen| seen.leader.is_some()).await.leader, Some(2));
    eventually(|| cluster.book.dialled.lock().contains_key(&3)).await;
    let silence = cluster.book.dialled.lock()[&3].duration_since(heard);
    let (shortest, longest) = RaftTiming::default().silence();
    // Its last update may be a little older than our look at the clock.
    assert!(silence >= shortest - Duration::from_millis(100), "campaigned after {silence:?}");
    // A tick late at most, and however long a busy machine takes.
    assert!(silence < longest + Duration::from_secs(2), "campaigned after {silence:?}");
    assert!(silence < PATIENCE);
}
