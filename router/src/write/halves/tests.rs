use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::StatusCode;
use narthex_cluster::ClusterState;
use narthex_proto::v1::{AppendBatch, AppendSeries, Label};
use narthex_web::{Clock, metrics::encode as metrics};
use prometheus_client::registry::Registry;
use prost::Message as _;

use super::*;
use crate::{
    limits::Limits,
    sender::{compress, encode, encode_v2, read_batch},
    shards::ShardWrites,
    write::{
        AcceptedMessages, RouterOptions,
        tests::{NOW, Told, founded, post, request, told},
    },
};

/// What no entry takes.
const CULPRIT: &str = "host-13";

/// Shards that refuse a batch in which a series is that none of them takes.
struct Picky {
    state: Arc<ClusterState>,
    takes: fn(&Labels) -> bool,
    taken: parking_lot::Mutex<Vec<Labels>>,
    asked: AtomicUsize,
}

impl ShardWrites for Picky {
    fn state(&self) -> Arc<ClusterState> {
        Arc::clone(&self.state)
    }

    fn append(
        &self,
        shard: ShardId,
        _: u64,
        batch: Bytes,
        _: Duration,
    ) -> BoxFuture<'_, Result<Appended, ShardError>> {
        self.asked.fetch_add(1, Relaxed);
        let series = read_batch(&batch, |known| panic!("{known:?} has no number"));
        let answer = match series.iter().all(|(labels, _)| (self.takes)(labels)) {
            true => {
                let samples = series.iter().map(|(_, samples)| samples.len() as u64).sum();
                self.taken.lock().extend(series.into_iter().map(|(labels, _)| labels));
                Ok(Appended { samples, ..Appended::default() })
            }
            false => {
                let status = Box::new(Status::invalid_argument("it does not fit one entry"));
                Err(ShardError::Refused { shard, status })
            }
        };
        Box::pin(std::future::ready(answer))
    }
}

struct Case {
    router: Arc<Router>,
    shards: Arc<Picky>,
    registry: Registry,
}

fn case(takes: fn(&Labels) -> bool) -> Case {
    let shards = Arc::new(Picky {
        state: Arc::new(founded()),
        takes,
        taken: parking_lot::Mutex::default(),
        asked: AtomicUsize::new(0),
    });
    let options = RouterOptions {
        series_cached_max: 1000,
        seed: 1,
        limits: Limits::default(),
        accepted_messages: AcceptedMessages::default(),
        pairs: None,
    };
    let mut registry = Registry::default();
    let router = Router::new(shards.clone(), Clock::fixed(NOW), options, &mut registry);
    Case { router, shards, registry }
}

fn is_no_culprit(labels: &Labels) -> bool {
    labels.value("instance") != CULPRIT
}

impl Case {
    /// Of fifty series one is refused, alone and with a reason.
    fn check(&self, text: &str) {
        assert!(
            text.contains("1 samples refused, the rest is stored: 1 refused_by_shard"),
            "{text}"
        );
        assert!(text.contains(CULPRIT) && text.contains("it does not fit one entry"), "{text}");
        self.check_taken();
    }

    fn check_taken(&self) {
        let taken = self.shards.taken.lock();
        let mut instances: Vec<_> = taken.iter().map(|it| it.value("instance")).collect();
        instances.sort_unstable();
        instances.dedup();
        assert_eq!((taken.len(), instances.len()), (49, 49));
        let page = metrics(&self.registry).expect("text");
        let refused = r#"append_samples_total{outcome="refused_by_shard"} 1"#;
        assert!(page.contains(refused), "{page}");
        let stored = r#"append_samples_total{outcome="appended"} 49"#;
        assert!(page.contains(stored), "{page}");
    }
}

#[tokio::test]
async fn remote_write_1_stores_the_neighbours_of_a_series_that_no_shard_takes() {
    let case = case(is_no_culprit);
    let body = compress(&encode(&request()));
    let (status, _, text): Told = told(case.router.remote_write(post(&[], body)).await).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
    case.check(&text);
    // Four shards, and about twice the logarithm of its part for the culprit.
    assert!(case.shards.asked.load(Relaxed) < 20, "{}", case.shards.asked.load(Relaxed));
}

#[tokio::test]
async fn remote_write_2_does_so_too() {
    let case = case(is_no_culprit);
    let proto = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    let body = compress(&encode_v2(&request()));
    let request = post(&[("Content-Type", proto)], body);
    let (status, headers, text): Told = told(case.router.remote_write(request).await).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
    assert_eq!(headers["X-Prometheus-Remote-Write-Samples-Written"], "49");
    case.check(&text);
}

#[tokio::test]
async fn a_text_import_does_so_too() {
    let case = case(is_no_culprit);
    let line = |i| format!("up{{job=\"a\",instance=\"host-{i}\"}} {i} {i}\n");
    let page: String = (0..50).map(line).collect();
    let (status, _, text): Told = told(case.router.import(post(&[], page)).await).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
    case.check(&text);
}

#[tokio::test]
async fn otlp_says_so_in_its_partial_success() {
    let case = case(is_no_culprit);
    let gauge = |i: usize| {
        format!(
            r#"{{"resource":{{"attributes":[{{"key":"service.instance.id","value":{{"stringValue":"host-{i}"}}}}]}},
            "scopeMetrics":[{{"metrics":[{{"name":"g","gauge":{{"dataPoints":[{{"asDouble":1,"timeUnixNano":"1000000"}}]}}}}]}}]}}"#
        )
    };
    let resources: Vec<_> = (0..50).map(gauge).collect();
    let body = format!(r#"{{"resourceMetrics":[{}]}}"#, resources.join(","));
    let request = post(&[("Content-Type", "application/json")], body);
    let (status, _, text): Told = told(case.router.otlp(request).await).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert!(text.contains("partialSuccess") && text.contains("1 refused_by_shard"), "{text}");
    case.check_taken();
}

#[tokio::test]
async fn the_append_stream_says_so_by_shard() {
    let case = case(is_no_culprit);
    let label = |name: &str, value: String| Label { name: name.to_owned(), value };
    let series = |i: i64| AppendSeries {
        labels: vec![
            label("__name__", "up".to_owned()),
            label("instance", format!("host-{i}")),
            label("job", "a".to_owned()),
        ],
        timestamps_ms: vec![i],
        values: vec![1.0],
        ..AppendSeries::default()
    };
    let batch = AppendBatch { id: 1, series: (0..50).map(series).collect() };
    let answer = case.router.append_batch(batch.encode_to_vec().into()).await;
    assert_eq!(answer.failure, None);
    let refused: Vec<_> = answer.shards.iter().flat_map(|shard| &shard.refused).collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!((refused[0].reason.as_str(), refused[0].samples), ("refused_by_shard", 1));
    assert!(answer.shards.iter().all(|shard| shard.failure.is_none()));
    case.check_taken();
}

#[tokio::test]
async fn shards_that_refuse_everything_are_not_asked_for_ever() {
    let case = case(|_| false);
    let many = (0..20).flat_map(|turn| {
        request().into_iter().map(move |mut series| {
            series.labels.push(("turn".to_owned(), turn.to_string()));
            series
        })
    });
    let body = compress(&encode(&many.collect::<Vec<_>>()));
    let (status, _, text): Told = told(case.router.remote_write(post(&[], body)).await).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "nothing says that this is the batch");
    assert!(text.contains("it does not fit one entry"), "{text}");
    assert!(case.shards.asked.load(Relaxed) <= 4 * (ATTEMPTS_MAX + 1));
}

/// A sender is shown a part of labels that are long.
#[test]
fn long_labels_are_shown_in_part() {
    let labels = Labels::from_pairs([("a", "ä".repeat(1 << 20))]).expect("valid");
    let text = shown(Subject::Labels(labels.as_bytes()));
    assert_eq!((text.chars().count(), text.starts_with("{a=\"ää")), (SHOWN_CHARS + 1, true));
}
