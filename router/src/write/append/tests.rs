use narthex_proto::{
    client::ShardError,
    internal::v1::{Appended, Refused},
    v1::{
        AppendBatch, AppendExemplar, AppendHistogram, AppendMetadata, AppendMetricType,
        AppendSeries, BucketSpan, IntegerCounts, Label, ResetHint, append_histogram::Counts,
    },
};
use prost::Message as _;

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
        ..AppendSeries::default()
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
    let answer = case.router.append_batch(batch.encode_to_vec().into()).await;
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
    let first = case.router.append_batch(batch(1).encode_to_vec().into()).await;
    assert!(first.refused.is_empty() && first.failure.is_none());
    let stored = sorted();
    assert_eq!(stored.len(), 100);
    for id in 2..4 {
        assert_eq!(case.router.append_batch(batch(id).encode_to_vec().into()).await.id, id);
        assert_eq!(sorted(), stored);
    }
}

#[tokio::test]
async fn columns_that_differ_in_length_are_malformed() {
    let case = case(took_all);
    let mut batch = batch(1);
    batch.series[4].values.pop();
    let answer = case.router.append_batch(batch.encode_to_vec().into()).await;
    let failure = answer.failure.expect("a failure");
    assert_eq!((failure.code.as_str(), failure.retryable), ("malformed", false));
    assert_eq!(failure.message, "series 4 has 2 timestamps and 1 values");
    assert!(case.shards.stored.lock().is_empty());
}

/// A native histogram, its exemplar and its metadata go where the series' floats go.
#[tokio::test]
async fn what_is_more_than_floats_arrives() {
    let case =
        case(|_| Ok(Appended { samples: 3, histograms: 1, exemplars: 1, ..Appended::default() }));
    let mut one = series(&[("__name__", "rpc"), ("job", "a")], &[(10, 1.0), (20, 2.0)]);
    one.start_timestamps_ms = vec![5, 5];
    let histogram = |count| AppendHistogram {
        timestamp_ms: 30,
        start_timestamp_ms: 5,
        sum: 2.5,
        counts: Some(Counts::Integers(IntegerCounts {
            count,
            zero_count: 1,
            positive_deltas: vec![1, 0],
            ..IntegerCounts::default()
        })),
        positive_spans: vec![BucketSpan { offset: 2, length: 2 }],
        reset_hint: ResetHint::NotReset.into(),
        ..AppendHistogram::default()
    };
    one.histograms = vec![histogram(3), histogram(9)];
    let labels = vec![Label { name: "trace_id".to_owned(), value: "x".to_owned() }];
    one.exemplars = vec![AppendExemplar { labels, value: 1.5, timestamp_ms: 25 }];
    one.metadata = Some(AppendMetadata {
        r#type: AppendMetricType::Histogram.into(),
        help: "How long.".to_owned(),
        unit: "seconds".to_owned(),
    });
    let batch = AppendBatch { id: 1, series: vec![one.clone()] };
    let answer = case.router.append_batch(batch.encode_to_vec().into()).await;
    assert_eq!((answer.failure, answer.refused.len()), (None, 1));
    let refused = &answer.refused[0];
    assert_eq!((refused.reason.as_str(), refused.samples), ("invalid_histogram", 1));
    let result = answer.shards.iter().find(|it| it.histograms > 0).expect("the series' shard");
    assert_eq!((result.samples, result.histograms, result.exemplars), (2, 1, 1));
    assert!(case.metrics().contains("narthex_router_metadata_sent_total 1\n"));

    one.start_timestamps_ms.pop();
    let batch = AppendBatch { id: 2, series: vec![one] };
    let answer = case.router.append_batch(batch.encode_to_vec().into()).await;
    assert_eq!(answer.failure.expect("malformed").code, "malformed");
}
