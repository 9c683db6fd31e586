//! A delete reaches every replica's log, and cleaning leaves nothing of it on disk.

use narthex_model::Timestamp;
use narthex_node::clock::{Clock as _, SystemClock};
use narthex_proto::{
    client::ShardError,
    internal::v1::{CleanTombstonesRequest, DeleteRequest, SettleRequest, SettleStep},
};

use super::{alone, append, deadline, up, values};

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_series_is_gone_at_once_and_from_disk_after_cleaning() {
    let folder = tempfile::tempdir().expect("folder");
    let node = alone(folder.path(), |_| ()).await;
    let now = SystemClock.now().millis();
    let (labels, sample) = up(1.0, now);
    let shard = append(&node, &labels, sample).await;
    for step in [SettleStep::Seal, SettleStep::Write] {
        let request = SettleRequest { step: step.into(), upto: Vec::new() };
        node.service().settle(request).await.expect("in a page");
    }
    let delete = async |selector: &str| {
        let request = DeleteRequest {
            tenant: 0,
            shard_id: shard.0,
            selectors: vec![selector.to_owned()],
            start_ms: 0,
            end_ms: i64::MAX,
        };
        node.client().delete(shard, request, deadline()).await
    };
    assert_eq!(delete("down").await.expect("deleted").series, 0);
    assert_eq!(values(&node, shard, "up", now).await.len(), 1);
    assert_eq!(delete("up").await.expect("deleted").series, 1);
    assert_eq!(values(&node, shard, "up", now).await, []);
    let replica = node.replicas().get(shard).expect("here");
    assert_eq!(replica.reader.series(&[], Timestamp::MIN, Timestamp::MAX), []);
    assert_eq!(replica.reader.stats().tombstones, 1);
    let cleaned = node.service().clean_tombstones(CleanTombstonesRequest {}).await;
    assert!(cleaned.expect("cleaned").bytes_before > 0);
    assert_eq!(replica.reader.stats().tombstones, 0);
    assert!(matches!(delete("up{").await, Err(ShardError::Refused { .. })));
    append(&node, &labels, up(2.0, now + 1).1).await;
    assert_eq!(values(&node, shard, "up", now + 1).await.len(), 1);
    node.stop().await;
}
