//! What cluster state says of keeping samples reaches every shard by its log.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use narthex_cluster::{Command, Settings};
use narthex_model::Timestamp;
use narthex_node::clock::{Clock, SystemClock};
use narthex_proto::internal::v1::{SettleRequest, SettleStep};

use super::{alone, append, request, try_append, until, up, values};

const DAY: i64 = 86_400_000;

/// The machine's clock, put forward by as many days as the test likes.
#[derive(Debug, Default)]
struct Calendar {
    days: AtomicI64,
}

impl Clock for Calendar {
    fn now(&self) -> Timestamp {
        SystemClock.now().saturating_add_millis(self.days.load(Ordering::Relaxed) * DAY)
    }

    fn monotonic(&self) -> Instant {
        SystemClock.monotonic()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_and_retention_reach_every_shard() {
    let folder = tempfile::tempdir().expect("folder");
    let calendar = Arc::new(Calendar::default());
    let node = alone(folder.path(), |config| config.clock = calendar.clone()).await;
    let settings = Settings { out_of_order_window_millis: 90_000, retention_millis: 2 * DAY };
    request(&node, Command::SetSettings(settings)).await;
    let floor = |now: Timestamp| Timestamp::from_millis((now.utc_day() - 2) * DAY);
    let expect_kept = async |what: &str| {
        until(what, async || {
            let replicas = node.replicas().all();
            let kept: Vec<_> = replicas
                .iter()
                .map(|it| (it.reader.settings().out_of_order_window, it.reader.horizon()))
                .collect();
            let want = (Duration::from_secs(90), floor(calendar.now()));
            let is_kept = kept.len() == 3 && kept.iter().all(|kept| *kept == want);
            if is_kept { Ok(()) } else { Err(format!("{kept:?}")) }
        })
        .await;
    };
    expect_kept("the settings reach all shards").await;

    let (labels, old) = up(1.0, calendar.now().millis());
    let shard = append(&node, &labels, old).await;
    calendar.days.store(2, Ordering::Relaxed);
    expect_kept("the horizon moves").await;
    let at = old.timestamp.millis();
    assert_eq!(values(&node, shard, "up", at).await.len(), 1, "two days old is kept");
    calendar.days.store(3, Ordering::Relaxed);
    expect_kept("the horizon moves by a day").await;
    assert_eq!(values(&node, shard, "up", at).await, []);
    let (_, refused) = try_append(&node, &labels, old).await;
    assert_eq!(refused.refused[0].reason, "behind_horizon");

    let write = SettleRequest { step: SettleStep::Write.into(), upto: Vec::new() };
    node.service().settle(write).await.expect("settled");
    let replica = node.replicas().get(shard).expect("here");
    assert_eq!(replica.reader.series(&[], Timestamp::MIN, Timestamp::MAX), []);
    node.stop().await;
}
