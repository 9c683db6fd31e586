//! What cluster state says of keeping samples reaches every shard by its log.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use narthex_cluster::{Command, RetentionRule, RuleMatcher, Settings, TenantId};
use narthex_model::{Labels, MatchOp, Sample, Timestamp};
use narthex_node::{
    clock::{Clock, SystemClock},
    node::Node,
};
use narthex_proto::{
    batch::BatchWriter,
    client::append_request,
    internal::v1::{NodeStatusRequest, SettleRequest, SettleStep, append_response},
};

use super::{alone, append, request, restarted, try_append, until, up, values, wall_millis};

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
    let settings = Settings {
        out_of_order_window_millis: 90_000,
        retention_millis: 2 * DAY,
        ..Settings::default()
    };
    request(&node, Command::ChangeSettings(settings.into())).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_days_go_where_the_folder_is_too_large() {
    let folder = tempfile::tempdir().expect("folder");
    let calendar = Arc::new(Calendar::default());
    let node = alone(folder.path(), |config| config.clock = calendar.clone()).await;
    let (labels, old) = up(1.0, calendar.now().millis());
    let shard = append(&node, &labels, old).await;
    calendar.days.store(1, Ordering::Relaxed);
    let (_, new) = up(2.0, calendar.now().millis());
    append(&node, &labels, new).await;
    let write = || SettleRequest { step: SettleStep::Write.into(), upto: Vec::new() };
    let seal = SettleRequest { step: SettleStep::Seal.into(), upto: Vec::new() };
    node.service().settle(seal).await.expect("sealed");
    node.service().settle(write()).await.expect("settled");
    let replica = node.replicas().get(shard).expect("here");
    assert_eq!(replica.reader.day_bytes().expect("readable").len(), 2);

    let settings = Settings { retention_bytes: 1, ..Settings::default() };
    request(&node, Command::ChangeSettings(settings.into())).await;
    let today = Timestamp::from_millis(calendar.now().utc_day() * DAY);
    until("the horizon moves to today", async || match replica.reader.horizon() {
        horizon if horizon == today => Ok(()),
        horizon => Err(horizon.to_string()),
    })
    .await;
    assert_eq!(values(&node, shard, "up", old.timestamp.millis()).await, []);
    assert_eq!(values(&node, shard, "up", new.timestamp.millis()).await.len(), 1);
    let status = node.service().node_status(NodeStatusRequest {}).await.expect("answered");
    assert_eq!(status.first_day_kept, Some(calendar.now().utc_day()));
    node.stop().await;
}

fn named(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("job", "api"), ("instance", "a:1")]).expect("valid")
}

async fn settle(node: &Node) {
    for step in [SettleStep::Seal, SettleStep::Write] {
        let request = SettleRequest { step: step.into(), upto: Vec::new() };
        node.service().settle(request).await.expect("settled");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_holds_at_once_for_new_series_and_from_the_next_day_for_others() {
    let folder = tempfile::tempdir().expect("folder");
    let calendar = Arc::new(Calendar::default());
    let node = alone(folder.path(), |config| config.clock = calendar.clone()).await;
    let sample = |calendar: &Calendar| Sample { timestamp: calendar.now(), value: 1.0 };
    let first = sample(&calendar);
    let shard = append(&node, &named("old"), first).await;
    let op = MatchOp::Equal;
    let matchers = vec![RuleMatcher { op, name: "job".into(), value: "api".into() }];
    let rule = RetentionRule { matchers, keep_days: 1 };
    request(&node, Command::SetRetention(vec![rule])).await;
    until("the rule reaches the shard", async || {
        let replica = node.replicas().get(shard).expect("here");
        let (rules, horizons) = (replica.reader.settings().retention, replica.reader.horizons());
        if rules.len() == 1 && horizons.len() == 2 { Ok(()) } else { Err(format!("{horizons:?}")) }
    })
    .await;
    append(&node, &named("new"), first).await;
    settle(&node).await;

    calendar.days.store(2, Ordering::Relaxed);
    let second = sample(&calendar);
    append(&node, &named("old"), second).await;
    let moved = async |node: &Node, days: i64| {
        let replica = node.replicas().get(shard).expect("here");
        let today = calendar.now().utc_day() - days;
        until("the horizon moves", async || match replica.reader.horizons()[1].time {
            time if time.millis() == today * DAY => Ok(()),
            time => Err(time.to_string()),
        })
        .await;
    };
    moved(&node, 1).await;
    let shown = async |node: &Node, name: &str, at: Sample| {
        values(node, shard, name, at.timestamp.millis()).await.len()
    };
    assert_eq!(shown(&node, "new", first).await, 0, "it was of the rule from its first day on");
    assert_eq!(shown(&node, "old", first).await, 1, "that day was kept for 15 days already");
    assert_eq!(shown(&node, "old", second).await, 1);
    let (_, refused) = try_append(&node, &named("new"), first).await;
    assert_eq!(refused.refused[0].reason, "behind_horizon");

    settle(&node).await;
    calendar.days.store(4, Ordering::Relaxed);
    moved(&node, 1).await;
    assert_eq!(shown(&node, "old", second).await, 0, "this one is of the rule");
    assert_eq!(shown(&node, "old", first).await, 1);
    settle(&node).await;
    let replica = node.replicas().get(shard).expect("here");
    let days = replica.reader.day_bytes().expect("readable");
    assert_eq!(days.iter().map(|(day, _)| *day).collect::<Vec<_>>(), [first.timestamp.utc_day()]);
    drop(replica);
    let node = restarted(node, folder.path(), |config| config.clock = calendar.clone()).await;
    until("it reads again", async || match shown(&node, "old", first).await {
        1 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    assert_eq!(shown(&node, "old", second).await, 0);
    assert_eq!(shown(&node, "new", first).await, 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_over_its_budget_makes_writers_wait_for_a_checkpoint() {
    let folder = tempfile::tempdir().expect("folder");
    let node = alone(folder.path(), |config| config.log_bytes_max = 2000).await;
    let client = node.client();
    let mut refused = 0;
    for number in 0..200 {
        let (labels, sample) = up(f64::from(number), wall_millis() + i64::from(number));
        let shard = client.state().shard_of(TenantId(0), &labels, sample.timestamp);
        let shard = shard.expect("founded");
        let service = node.service();
        until("the sample is taken", async || {
            let mut batch = BatchWriter::new();
            batch.push(&labels, std::iter::once(sample));
            let request = append_request(shard, client.state().revision(), batch.finish());
            match service.append(request).await.expect("answered").result {
                Some(append_response::Result::Appended(_)) => Ok(()),
                Some(append_response::Result::Busy(busy)) => {
                    assert!(busy.reason.contains("--storage.raft-log.max-bytes"), "{busy:?}");
                    refused += 1;
                    Err(busy.reason)
                }
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        if refused > 2 {
            break;
        }
    }
    assert!(refused > 2, "and checkpoints made room in between");
    node.stop().await;
}
