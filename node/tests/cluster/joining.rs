//! Nodes that join a cluster which is there already.

use narthex_cluster::{ClusterState, NodeId};
use narthex_node::{control::joining::JoinError, identity::Folder, node::StartError};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_and_is_given_replicas() {
    let folders = [tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder")];
    let first = alone(folders[0].path(), |_| {}).await;
    let now = wall_millis();
    let (labels, sample) = up(1.0, now);
    let shard = append(&first, &labels, sample).await;
    let seed = first.client().state().member(first.id()).expect("itself").addresses.cluster.clone();

    let listener = listener();
    let founders = Founders::alone("unused", "127.0.0.1:1");
    let config = NodeConfig {
        founders: None,
        join: vec![seed],
        ..config(folders[1].path(), listener, &founders)
    };
    let second = Node::start(config).await.expect("joined");
    assert_eq!(second.id(), NodeId(2));
    let holds = |state: &ClusterState| {
        let placements = state.shards().values();
        placements.filter(|it| it.replicas.contains(&NodeId(2)) && it.moving.is_none()).count()
    };
    until("it holds a replica", async || match holds(&first.client().state()) {
        0 => Err("none".to_owned()),
        _ => Ok(()),
    })
    .await;
    assert_eq!(values(&second, shard, "up", now).await, [(labels.to_string(), 1.0)]);
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_the_log_of_another_node_does_not_join() {
    let folder = tempfile::tempdir().expect("folder");
    drop(Folder::open(folder.path()).expect("made"));
    std::fs::create_dir(folder.path().join("log")).expect("made");
    let founders = Founders::alone("unused", "127.0.0.1:1");
    let config = NodeConfig {
        founders: None,
        join: vec!["127.0.0.1:1".to_owned()],
        ..config(folder.path(), listener(), &founders)
    };
    let refused = Node::start(config).await.err();
    assert!(matches!(refused, Some(StartError::Join(JoinError::Used(_)))), "{refused:?}");
}
