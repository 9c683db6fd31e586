//! Shards that answer as told, and what a router does whichever protocol its senders speak.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use axum::body::Body;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use narthex_cluster::{
    Addresses, Binary, ClusterId, ClusterState, ClusterVersion, Command, Found, Founder, NodeId,
    Request as Change, RequestId,
};
use narthex_model::{Labels, Sample, Timestamp};
use narthex_proto::{
    batch::{BatchReader, Item, Subject},
    internal::v1::{Appended, Refused},
};

use super::*;
use crate::sender::{Outgoing, compress, encode, read_batch};

pub const NOW: Timestamp = Timestamp::from_millis(1_000_000);

pub fn founded() -> ClusterState {
    founded_with(4)
}

pub fn founded_with(shards: u32) -> ClusterState {
    let addresses = Addresses { cluster: "127.0.0.1:1".to_owned(), ..Addresses::default() };
    let binary = Binary { text: "1".to_owned(), level: ClusterVersion(1) };
    let founder =
        Founder { node: NodeId(1), name: "n1".to_owned(), addresses, zone: String::new(), binary };
    let found = Found {
        cluster: ClusterId::from_random_bytes([1; 16]),
        members: vec![founder],
        shards,
        replication_factor: 1,
    };
    let mut state = ClusterState::new();
    state.apply(&Change { id: RequestId(1), at: NOW, command: Command::Found(found) });
    assert_eq!(state.shards().len(), shards as usize);
    state
}

pub type Answer = fn(ShardId) -> Result<Appended, ShardError>;

/// Cluster state that a test may change.
pub type SharedState = Arc<parking_lot::Mutex<Arc<ClusterState>>>;

/// Shards that remember what they were sent and answer as told. They number their series.
pub struct Shards {
    state: SharedState,
    answer: Answer,
    pub stored: parking_lot::Mutex<Vec<(ShardId, Labels, Sample)>>,
    numbers: parking_lot::Mutex<Vec<Labels>>,
    /// Bytes of all batches so far.
    pub received: AtomicUsize,
}

impl ShardWrites for Shards {
    fn state(&self) -> Arc<ClusterState> {
        Arc::clone(&self.state.lock())
    }

    fn append(
        &self,
        shard: ShardId,
        revision: u64,
        batch: Bytes,
        _within: Duration,
    ) -> futures_util::future::BoxFuture<'_, Result<Appended, ShardError>> {
        assert_eq!(revision, self.state.lock().revision());
        self.received.fetch_add(batch.len(), Relaxed);
        let mut numbers = self.numbers.lock();
        let is_unknown = AtomicBool::new(false);
        let rows = read_batch(&batch, |known| {
            let labels = numbers.get(known.series as usize).cloned().unwrap_or_default();
            if Labels::fingerprint_of(labels.as_bytes()) != known.fingerprint {
                is_unknown.store(true, Relaxed);
            }
            labels
        });
        if is_unknown.into_inner() {
            return Box::pin(std::future::ready(Err(ShardError::UnknownSeries { shard })));
        }
        for (labels, samples) in rows {
            let rows = samples.into_iter().map(|sample| (shard, labels.clone(), sample));
            self.stored.lock().extend(rows);
        }
        let mut answer = (self.answer)(shard);
        if let Ok(answer) = &mut answer {
            let mut reader = BatchReader::new(&batch).expect("a batch");
            while let Some(item) = reader.next(&mut Vec::new()).expect("a batch") {
                let subject = match &item {
                    Item::Floats(subject) => Some(subject),
                    Item::Rich(rich) => Some(&rich.subject),
                    Item::Metadata(_) => None,
                };
                if let Some(Subject::Labels(bytes)) = subject {
                    answer.series.push(numbers.len() as u32);
                    numbers.push(Labels::from_bytes(bytes).expect("labels"));
                }
            }
        }
        Box::pin(std::future::ready(answer))
    }
}

pub struct Case {
    pub router: Arc<Router>,
    pub shards: Arc<Shards>,
    registry: Registry,
}

pub fn case(answer: Answer) -> Case {
    case_with(answer, Limits::default())
}

pub fn case_with(answer: Answer, limits: Limits) -> Case {
    let state = Arc::new(parking_lot::Mutex::new(Arc::new(founded())));
    case_of(answer, state, Clock::fixed(NOW), |options| options.limits = limits)
}

/// A router with other options, whose cluster state may change.
pub fn case_of(
    answer: Answer,
    state: SharedState,
    clock: Clock,
    change: impl FnOnce(&mut RouterOptions),
) -> Case {
    let shards = Arc::new(Shards {
        state,
        answer,
        stored: parking_lot::Mutex::default(),
        numbers: parking_lot::Mutex::default(),
        received: AtomicUsize::new(0),
    });
    let mut registry = Registry::default();
    let mut options = RouterOptions {
        series_cached_max: 1000,
        seed: 1,
        limits: Limits::default(),
        accepted_messages: AcceptedMessages::default(),
        pairs: None,
    };
    change(&mut options);
    let router = Router::new(shards.clone(), clock, options, &mut registry);
    Case { router, shards, registry }
}

/// Fifty series of different targets, so that every shard has some.
pub fn request() -> Vec<Outgoing> {
    let series = |i: usize| {
        let labels = [("__name__", "up"), ("job", "a")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        let instance = ("instance".to_owned(), format!("host-{i}"));
        let labels = labels.into_iter().chain([instance]).collect();
        Outgoing { labels, samples: vec![(i as i64, i as f64)] }
    };
    (0..50).map(series).collect()
}

/// What a sender is told.
pub type Told = (StatusCode, HeaderMap, String);

/// The parts of an answer.
pub async fn told(response: Response) -> Told {
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("body").to_bytes();
    (head.status, head.headers, String::from_utf8_lossy(&body).into_owned())
}

/// A POST.
pub fn post(headers: &[(&str, &str)], body: impl Into<Body>) -> Request {
    let mut builder = Request::builder().method("POST").uri("/");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(body.into()).expect("request")
}

impl Case {
    /// Sends remote write.
    pub async fn send(&self, headers: &[(&str, &str)], body: Vec<u8>) -> Told {
        told(self.router.remote_write(post(headers, body)).await).await
    }

    /// Sends remote write 1.0.
    pub async fn write(&self, series: &[Outgoing]) -> Told {
        self.send(&[("Content-Encoding", "snappy")], compress(&encode(series))).await
    }

    pub fn metrics(&self) -> String {
        narthex_web::metrics::encode(&self.registry).expect("text")
    }
}

pub fn took_all(_: ShardId) -> Result<Appended, ShardError> {
    Ok(Appended { samples: 1, ..Appended::default() })
}

#[tokio::test]
async fn a_request_is_acknowledged_when_every_shard_has_its_part() {
    let case = case(took_all);
    assert_eq!(case.write(&request()).await.0, StatusCode::NO_CONTENT);
    let stored = case.shards.stored.lock();
    assert_eq!(stored.len(), 50);
    for (shard, labels, sample) in stored.iter() {
        let expected =
            case.shards.state().shard_of(narthex_cluster::TenantId(0), labels, sample.timestamp);
        assert_eq!(Some(*shard), expected);
    }
    drop(stored);
    assert!(case.metrics().contains(r#"narthex_router_append_samples_total{outcome="appended"}"#));
    assert!(case.router.waiting.lock().is_empty());
    assert_eq!(case.router.memory.free_kib(), Limits::default().memory_kib());
}

#[tokio::test]
async fn one_silent_shard_fails_the_request_and_names_itself() {
    let case = case(|shard| match shard {
        ShardId(2) => Err(ShardError::Unavailable { shard, reason: "no leader".to_owned() }),
        ShardId(1) => Err(ShardError::Busy {
            shard,
            retry_after: Duration::from_secs(9),
            reason: "queue".to_owned(),
        }),
        _ => took_all(shard),
    });
    let (status, headers, text) = case.write(&request()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(headers[header::RETRY_AFTER], "1");
    assert!(text.contains("shard 2"), "{text}");
}

#[tokio::test]
async fn a_busy_shard_says_how_long_to_wait() {
    let case = case(|shard| {
        let retry_after = Duration::from_millis(1500);
        Err(ShardError::Busy { shard, retry_after, reason: "queue".to_owned() })
    });
    let (status, headers, _) = case.write(&request()).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(headers[header::RETRY_AFTER], "2");
}

#[tokio::test]
async fn refused_samples_are_counted_by_reason() {
    let case = case(|_| {
        let reason = "out_of_order".to_owned();
        let row = Refused { reason, samples: 2, example: "up{}".to_owned() };
        Ok(Appended { samples: 5, refused: vec![row], ..Appended::default() })
    });
    let mut request = request();
    request[0].labels.remove(0);
    let (status, _, text) = case.write(&request).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        text.contains("9 samples refused, the rest is stored: 1 missing_metric_name"),
        "{text}"
    );
    assert!(text.contains("8 out_of_order (for example up{})"), "{text}");
    let metrics = case.metrics();
    assert!(metrics.contains(r#"append_samples_total{outcome="out_of_order"} 8"#), "{metrics}");
}

#[tokio::test]
async fn a_burst_beyond_memory_is_told_to_wait() {
    let case = case(took_all);
    let all = case.router.memory.share();
    all.take(Limits::default().memory_bytes_max).expect("nobody else has any");
    let (status, headers, text) = case.write(&request()).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(headers[header::RETRY_AFTER], "1");
    assert!(text.contains("268435456 bytes (--ingest.max-memory-bytes)"), "{text}");
    drop(all);
    assert_eq!(case.write(&request()).await.0, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn labels_are_sent_once_and_again_when_a_shard_has_forgotten_them() {
    let case = case(took_all);
    let all = |case: &Case| {
        let mut stored = case.shards.stored.lock();
        stored.sort_by_key(|row| row.2.timestamp);
        std::mem::take(&mut *stored)
    };
    assert_eq!(case.write(&request()).await.0, StatusCode::NO_CONTENT);
    let (first, labelled_bytes) = (all(&case), case.shards.received.swap(0, Relaxed));
    assert_eq!(case.write(&request()).await.0, StatusCode::NO_CONTENT);
    assert_eq!(all(&case), first, "the same series on the same shards");
    let known_bytes = case.shards.received.swap(0, Relaxed);
    assert!(known_bytes * 2 < labelled_bytes, "{known_bytes} of {labelled_bytes}");

    case.shards.numbers.lock().rotate_left(1);
    assert_eq!(case.write(&request()).await.0, StatusCode::NO_CONTENT);
    assert_eq!(all(&case), first, "sent with labels");
    assert!(case.metrics().contains("narthex_router_relabelled_requests_total 1"));
    case.shards.received.store(0, Relaxed);
    assert_eq!(case.write(&request()).await.0, StatusCode::NO_CONTENT);
    assert_eq!(all(&case), first);
    let bytes = case.shards.received.load(Relaxed);
    assert!(bytes * 2 < labelled_bytes, "the new numbers are learnt: {bytes}");
}
