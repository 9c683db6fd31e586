use narthex_proto::{
    client::ShardError,
    internal::v1::{Appended, Refused},
    v1::{AppendSeries, Label},
};

use super::*;
use crate::write::tests::{case, took_all};

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> AppendSeries {
    let label = |(name, value): &(&str, &str)| Label {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    AppendSeries {
        labels: labels.iter().map(label).collect(),
        timestamps_ms: samples.iter().map(|sample| sample.0).collect(),
        values: samples.iter().map(|sample| sample.1).collect(),
    }
}

fn batch(id: u64) -> AppendBatch {
    let hosts: Vec<_> = (0..50).map(|i| format!("host-{i}")).collect();
    let of = |host: &String| {
        series(&[("instance", host), ("__name__", "up"), ("job", "a")], &[(1, 1.0), (2, 2.0)])
    };
    AppendBatch { id, series: hosts.iter().map(of).collect() }
}

#[tokio::test]
async fn each_shard_answers_for_its_part() {
    let case = case(|shard| match shard.0 {
        2 => Err(ShardError::Unavailable { shard, reason: "no leader".to_owned() }),
        1 => {
            let row = Refused { reason: "too_old".to_owned(), samples: 3, ..Refused::default() };
            Ok(Appended { samples: 7, refused: vec![row], ..Appended::default() })
        }
        _ => took_all(shard),
    });
    let mut batch = batch(9);
    batch.series.push(series(&[("job", "a")], &[(1, 1.0)]));
    let answer = case.router.append_batch(batch).await;
    assert_eq!((answer.id, answer.failure.clone()), (9, None));
    assert_eq!(answer.refused[0].reason, "missing_metric_name");
    assert_eq!(answer.refused[0].samples, 1);
    let of = |shard: u32| answer.shards.iter().find(|it| it.shard_id == shard).expect("a result");
    assert_eq!((of(0).samples, of(0).failure.clone()), (1, None));
    assert_eq!((of(1).samples, of(1).refused[0].samples), (7, 3));
    let failure = of(2).failure.as_ref().expect("a failure");
    assert_eq!((failure.code.as_str(), failure.retryable), ("unavailable", true));
    assert!(failure.message.contains("no leader") && failure.retry_after_ms == 1000);
    assert!(case.metrics().contains(r#"write_requests_failed_total{outcome="unavailable"} 1"#));
}

#[tokio::test]
async fn a_batch_is_stored_again_and_again() {
    let case = case(took_all);
    let sorted = || {
        let mut stored = std::mem::take(&mut *case.shards.stored.lock());
        stored.sort_by_key(|(shard, labels, sample)| (*shard, labels.clone(), sample.timestamp));
        stored
    };
    let first = case.router.append_batch(batch(1)).await;
    assert!(first.refused.is_empty() && first.failure.is_none());
    let stored = sorted();
    assert_eq!(stored.len(), 100);
    for id in 2..4 {
        assert_eq!(case.router.append_batch(batch(id)).await.id, id);
        assert_eq!(sorted(), stored);
    }
}

#[tokio::test]
async fn columns_that_differ_in_length_are_malformed() {
    let case = case(took_all);
    let mut batch = batch(1);
    batch.series[4].values.pop();
    let failure = case.router.append_batch(batch).await.failure.expect("a failure");
    assert_eq!((failure.code.as_str(), failure.retryable), ("malformed", false));
    assert_eq!(failure.message, "series 4 has 2 timestamps and 1 values");
    assert!(case.shards.stored.lock().is_empty());
}
