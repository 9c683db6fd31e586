//! A node starts from a snapshot of its folder with all it had acknowledged by then.

use std::{net::TcpListener, path::Path};

use narthex_cluster::NodeId;
use narthex_node::{founding::Founders, node::Node};
use narthex_proto::{
    internal::v1::{DigestRequest, HoldLogRequest, SnapshotRequest},
    snapshot,
};
use tokio_stream::StreamExt as _;

use super::{append, config, listener, log, up, values, wall_millis};

async fn start(folder: &Path, listener: TcpListener) -> Node {
    let address = listener.local_addr().expect("bound").to_string();
    let founders = Founders::alone("n1", &address);
    Node::start(config(folder, listener, &founders)).await.expect("started")
}

/// The content of a shard and how many samples that is.
async fn digest(node: &Node, shard: u32) -> (Vec<u8>, u64) {
    let request = DigestRequest { shard_id: shard, index: 0 };
    let digest = node.service().digest(request).await.expect("digested");
    (digest.content.to_vec(), digest.samples)
}

/// Reads a snapshot as `cluster backup` does.
async fn fetch(node: &Node, name: &str, into: &Path) -> usize {
    let request = SnapshotRequest { name: name.to_owned() };
    let mut parts = node.service().read_snapshot(request).await.expect("there");
    let mut files = 0;
    while let Some(part) = parts.next().await {
        let part = part.expect("read");
        let path = into.join(&part.path);
        std::fs::create_dir_all(path.parent().expect("below")).expect("made");
        assert!(part.is_last && part.offset == 0, "a small node has small files");
        std::fs::write(path, &part.content).expect("written");
        files += 1;
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_starts_with_what_was_acknowledged_before_it() {
    log();
    let folder = tempfile::tempdir().expect("folder");
    let listener = listener();
    let address = listener.local_addr().expect("bound");
    let node = start(&folder.path().join("n1"), listener).await;
    let now = wall_millis();
    let (labels, sample) = up(1.0, now);
    let shard = append(&node, &labels, sample).await;
    let before = digest(&node, shard.0).await;
    let nodes: [snapshot::Node; 1] = [(NodeId(1), node.service())];
    let taken = snapshot::take(&nodes, "first").await.expect("taken").remove(0);
    assert!(taken.files.iter().any(|file| file.path == "META"));
    let (_, again) = snapshot::take(&nodes, "../first").await.expect_err("a path is no name");
    assert_eq!(again.code(), tonic::Code::InvalidArgument);
    append(&node, &labels, up(2.0, now + 1_000).1).await;

    let name = SnapshotRequest { name: "first".to_owned() };
    let restored = folder.path().join("restored");
    assert_eq!(fetch(&node, "first", &restored).await, taken.files.len());
    node.service().delete_snapshot(name.clone()).await.expect("deleted");
    assert!(node.service().read_snapshot(name).await.is_err());
    node.stop().await;

    let listener = TcpListener::bind(address).expect("the port is free again");
    let node = start(&restored, listener).await;
    assert_eq!(values(&node, shard, "up", now + 1_000).await, [(labels.to_string(), 1.0)]);
    assert_eq!(digest(&node, shard.0).await, before);
    append(&node, &labels, up(3.0, now + 2_000).1).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_left_half_way_holds_up_nothing() {
    log();
    let folder = tempfile::tempdir().expect("folder");
    let node = start(&folder.path().join("n1"), listener()).await;
    let service = node.service();
    let name = |name: &str| SnapshotRequest { name: name.to_owned() };
    let hold = |name: &str| HoldLogRequest { name: name.to_owned(), hold_ms: 50 };
    let unknown = service.hold_log(hold("left")).await.expect_err("prepare it first");
    assert_eq!(unknown.code(), tonic::Code::NotFound);
    service.prepare_snapshot(name("left")).await.expect("prepared");
    let busy = service.prepare_snapshot(name("other")).await.expect_err("one at a time");
    assert_eq!(busy.code(), tonic::Code::FailedPrecondition);
    let early = service.complete_snapshot(name("left")).await.expect_err("the log is not held");
    assert_eq!(early.code(), tonic::Code::FailedPrecondition);

    service.prepare_snapshot(name("held")).await.expect("the one that failed is gone");
    service.hold_log(hold("held")).await.expect("held");
    let (labels, sample) = up(1.0, wall_millis());
    append(&node, &labels, sample).await;
    let late = service.complete_snapshot(name("held")).await.expect_err("the log went on");
    assert_eq!(late.code(), tonic::Code::FailedPrecondition);
    let left = std::fs::read_dir(folder.path().join("n1/snapshots")).map(Iterator::count);
    assert_eq!(left.unwrap_or(0), 0, "nothing of it is left");
    node.stop().await;
}
