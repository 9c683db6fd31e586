//! Groups of three.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use narthex_proto::internal::v1::{VoteRequest, raft_client::RaftClient};
use tonic::{Code, Request};

use super::cluster::{Ledger, TestCluster, TestNode, TestPeers, eventually};
use crate::raft::{
    MembershipChange, PeerHello, Peers, ProposeError, RaftTiming, ReadError, Role, metrics::now,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_replaced_and_catches_up_from_its_log() {
    let mut cluster = TestCluster::found(3).await;
    let (first, term) = cluster.leader().await;
    for number in 0..10 {
        cluster.nodes[&first].propose(term, &format!("a{number}")).await;
    }
    assert_eq!(cluster.agreed(10).await.len(), 10);

    cluster.kill(first).await;
    let killed = now();
    let (second, later) = cluster.leader().await;
    assert!(later > term && second != first);
    assert!(killed.elapsed() >= Duration::from_millis(500), "a live leader was voted out");
    for number in 0..10 {
        cluster.nodes[&second].propose(later, &format!("b{number}")).await;
    }

    cluster.start_node(first, Ledger::default()).await;
    let entries = cluster.agreed(20).await;
    assert_eq!((&entries[0][..], &entries[19][..]), (&b"a0"[..], &b"b9"[..]));
    let status = cluster.nodes[&second].group.status();
    assert_eq!((status.voters, status.followers.len()), (vec![1, 2, 3], 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_of_an_older_version_take_appends_by_their_own_way() {
    let cluster = TestCluster::start(3).await;
    cluster.book.is_older.store(true, Ordering::Relaxed);
    cluster.nodes[&1].group.initialize(&(1..=3).collect()).await.unwrap();
    let (leader, term) = cluster.leader().await;
    cluster.nodes[&leader].propose(term, "x").await;
    assert_eq!(cluster.agreed(1).await, ["x"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_point_to_the_leader_and_leaderships_move_on_request() {
    let cluster = TestCluster::found(3).await;
    let (first, term) = cluster.leader().await;
    let follower = *cluster.nodes.keys().find(|node| **node != first).unwrap();
    let node = &cluster.nodes[&follower];
    node.wait_for(|seen| seen.leader == Some(first)).await;
    let refused = node.group.propose(term, Bytes::new()).await.unwrap().await;
    assert_eq!(refused, Err(ProposeError::NotLeader { leader: Some(first) }));
    let refused = node.group.read_linearizable().await;
    assert_eq!(refused, Err(ReadError::NotLeader { leader: Some(first) }));

    cluster.nodes[&first].propose(term, "x").await;
    let asked = now();
    cluster.nodes[&first].group.transfer_leader(follower).await.unwrap();
    let later = node.wait_for(|seen| seen.ready).await;
    assert!(later.term > term);
    assert!(asked.elapsed() < Duration::from_secs(10));
    assert_eq!(node.propose(later.term, "y").await, "applied y");
    assert_eq!(cluster.agreed(2).await, ["x", "y"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_acknowledged_or_read() {
    let mut cluster = TestCluster::found(3).await;
    let (leader, term) = cluster.leader().await;
    cluster.nodes[&leader].propose(term, "x").await;
    cluster.sync.millis.store(20, Ordering::Relaxed);
    let before = now();
    cluster.nodes[&leader].propose(term, "y").await;
    assert!(before.elapsed() >= Duration::from_millis(20));
    cluster.sync.millis.store(0, Ordering::Relaxed);

    let others: Vec<_> = cluster.nodes.keys().copied().filter(|node| *node != leader).collect();
    for other in &others {
        cluster.kill(*other).await;
    }
    let group = cluster.nodes[&leader].group.clone();
    let alone = match group.propose(term, Bytes::from_static(b"z")).await {
        Ok(proposal) => proposal.await.err(),
        Err(refused) => Some(refused),
    };
    assert!(matches!(alone, Some(ProposeError::Lost | ProposeError::Stalled)), "{alone:?}");
    assert_eq!(group.read_linearizable().await, Err(ReadError::Stalled));
    eventually(|| group.status().stalled).await;
    assert!(!group.leadership().borrow().ready, "owns what it can no longer write");

    for other in others {
        cluster.start_node(other, Ledger::default()).await;
    }
    // The old leader resumes once it hears a majority again, or another one follows it.
    let leader = cluster.propose_to_any_leader("w").await;
    // "z" may have been committed after all, but then everywhere.
    let ends_in_w = |node: &TestNode| node.ledger.data().last().is_some_and(|data| data == "w");
    eventually(|| cluster.nodes.values().all(ends_in_w)).await;
    let entries = cluster.agreed(3).await;
    assert_eq!((&entries[0][..], &entries[1][..]), (&b"x"[..], &b"y"[..]));
    eventually(|| !cluster.nodes[&leader].group.status().stalled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_are_purged_only_once_every_member_has_persisted_them() {
    let mut cluster = TestCluster::found(3).await;
    let (leader, term) = cluster.leader().await;
    for number in 0..20 {
        cluster.nodes[&leader].propose(term, &number.to_string()).await;
    }
    cluster.agreed(20).await;
    let last = *cluster.nodes.keys().rfind(|node| **node != leader).unwrap();
    for (node, running) in &cluster.nodes {
        let covered = running.group.applied().await.unwrap();
        if *node != last {
            running.group.persisted(covered);
        }
    }
    // Long enough for the heartbeats to tell, and for the purging to look twice.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let purged = |cluster: &TestCluster| {
        cluster.nodes.values().map(|node| node.group.status().purged).collect::<Vec<_>>()
    };
    assert_eq!(purged(&cluster), [None; 3]);

    let covered = cluster.nodes[&last].group.applied().await.unwrap();
    cluster.nodes[&last].group.persisted(covered.clone());
    eventually(|| purged(&cluster).iter().all(Option::is_some)).await;

    // A member that lost its memory, not its log and checkpoint, goes on above the purge point.
    let ledger = cluster.kill(last).await;
    let (leader, term) = cluster.leader().await;
    cluster.start_node(last, ledger).await;
    cluster.nodes[&leader].propose(term, "later").await;
    assert_eq!(cluster.agreed(21).await.len(), 21);
}

/// A restarted replica may have granted a lease just before, which it does not remember.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_replica_gives_no_votes_during_a_lease() {
    let mut cluster = TestCluster::found(3).await;
    let (leader, term) = cluster.leader().await;
    cluster.nodes[&leader].propose(term, "x").await;
    cluster.agreed(1).await;
    let restarted = *cluster.nodes.keys().find(|node| **node != leader).unwrap();
    cluster.kill(restarted).await;
    let opened = now();
    cluster.start_node(restarted, Ledger::default()).await;
    let core = &cluster.nodes[&restarted].group.core;
    let votes = core.votes.load(Ordering::Relaxed);
    assert!(!votes || opened.elapsed() >= RaftTiming::default().lease(), "it gives votes at once");
    eventually(|| core.votes.load(Ordering::Relaxed)).await;
}

/// A follower that is away for too long does not make the others keep their logs for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_stays_within_its_budget_and_cuts_off_who_lacks_what_is_purged() {
    const BUDGET: u64 = 8 << 20;
    let mut cluster = TestCluster::found_with(3, BUDGET).await;
    let (leader, _) = cluster.leader().await;
    let away = *cluster.nodes.keys().rfind(|node| **node != leader).unwrap();
    let ledger = cluster.kill(away).await;
    let (leader, term) = cluster.leader().await;
    let data = "x".repeat(256 << 10);
    for _ in 0..96 {
        cluster.nodes[&leader].propose(term, &data).await;
    }
    cluster.agreed(96).await;
    let bytes = |cluster: &TestCluster| -> Vec<u64> {
        cluster.nodes.values().map(|node| node.group.status().log_bytes).collect()
    };
    // Nothing is purged that no checkpoint has: writers are told to wait instead.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(bytes(&cluster).iter().all(|bytes| *bytes > 3 * BUDGET - BUDGET / 4));
    for running in cluster.nodes.values() {
        running.group.persisted(running.group.applied().await.unwrap());
    }
    eventually(|| bytes(&cluster).iter().all(|bytes| *bytes <= BUDGET - BUDGET / 4)).await;
    assert!(bytes(&cluster).iter().all(|bytes| *bytes > BUDGET / 2), "the rest is kept");

    // Who comes back in time goes on; this one did not, and is named.
    cluster.start_node(away, ledger).await;
    let cut_off = |cluster: &TestCluster| {
        let leader = cluster.nodes.values().find(|node| node.group.leadership().borrow().ready);
        leader.is_some_and(|node| node.group.status().followers.iter().any(|it| it.is_cut_off))
    };
    eventually(|| cut_off(&cluster)).await;
    let (leader, term) = cluster.leader().await;
    assert_ne!(leader, away);
    assert_eq!(cluster.nodes[&leader].propose(term, "later").await, "applied later");
    assert!(cluster.nodes[&away].ledger.data().len() < 96, "it has a hole and knows it");
    let told = cluster.nodes[&away].group.lacks_entries();
    eventually(|| *told.borrow()).await;

    // Filled from a checkpoint of another node, it goes on from there.
    let filled = cluster.nodes[&leader].ledger.copy();
    cluster.kill(away).await;
    cluster.start_node(away, filled).await;
    eventually(|| !cut_off(&cluster)).await;
    let (leader, term) = cluster.leader().await;
    cluster.nodes[&leader].propose(term, "latest").await;
    assert_eq!(cluster.agreed(98).await.last().unwrap(), "latest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_one_grows_while_it_works() {
    let cluster = TestCluster::start(3).await;
    let group = &cluster.nodes[&1].group;
    group.initialize(&[1].into()).await.unwrap();
    let term = cluster.nodes[&1].wait_for(|seen| seen.ready).await.term;
    cluster.nodes[&1].propose(term, "alone").await;
    for node in [2, 3] {
        group.change_membership(MembershipChange::AddLearner(node)).await.unwrap();
    }
    assert_eq!(cluster.nodes[&3].wait_for(|seen| seen.leader.is_some()).await.role, Role::Learner);
    group.change_membership(MembershipChange::SetVoters([1, 2, 3].into())).await.unwrap();
    cluster.nodes[&1].propose(term, "together").await;
    assert_eq!(cluster.agreed(2).await, ["alone", "together"]);
    assert_eq!(group.status().voters, [1, 2, 3]);
    // Its heartbeats have begun: nobody loses patience with it.
    let (_, patience) = RaftTiming::default().silence();
    let other = cluster.nodes[&2].wait_for(|seen| seen.term > term);
    let elected = tokio::time::timeout(patience + Duration::from_millis(300), other).await;
    assert!(elected.is_err(), "{elected:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_refused() {
    let cluster = TestCluster::start(2).await;
    let peers = |cluster_id: &str| TestPeers {
        book: cluster.book.clone(),
        hello: PeerHello { cluster: cluster_id.to_owned(), node: 2, incarnation: 1 },
    };
    let ask = |hello: Option<PeerHello>, to: u64| {
        let mut client = RaftClient::new(peers("test").channel(1).unwrap());
        let mut request = Request::new(VoteRequest::default());
        if let Some(hello) = hello {
            let metadata = request.metadata_mut();
            metadata.insert("narthex-cluster", hello.cluster.try_into().unwrap());
            metadata.insert("narthex-from", hello.node.into());
            metadata.insert("narthex-incarnation", hello.incarnation.into());
            metadata.insert("narthex-to", to.into());
        }
        async move { client.vote(request).await.unwrap_err() }
    };
    let refusals = [
        (None, 1, "the caller does not say who it is"),
        (
            Some(peers("other").hello()),
            1,
            "the caller belongs to cluster \"other\", this is \"test\"",
        ),
        (Some(peers("test").hello()), 7, "the caller looks for node 7, this is node 1"),
    ];
    for (hello, to, message) in refusals {
        let refusal = ask(hello, to).await;
        assert_eq!((refusal.code(), refusal.message()), (Code::FailedPrecondition, message));
    }
    // Let in, and then refused for what it says.
    let malformed = ask(Some(peers("test").hello()), 1).await;
    assert_eq!(malformed.code(), Code::InvalidArgument);
}
