use axum::body::Body;
use http_body_util::BodyExt as _;
use narthex_cluster::{
    Addresses, Binary, ClusterId, ClusterState, ClusterVersion, Command, Found, Founder, NodeId,
    Request as Change, RequestId,
};
use narthex_model::{Labels, Sample, Timestamp};
use narthex_proto::internal::v1::{Appended, Refused};

use super::*;
use crate::sender::{Outgoing, compress, encode, read_batch};

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

fn founded() -> ClusterState {
    let addresses = Addresses { cluster: "127.0.0.1:1".to_owned(), web: "127.0.0.1:2".to_owned() };
    let binary = Binary { text: "1".to_owned(), level: ClusterVersion(1) };
    let founder =
        Founder { node: NodeId(1), name: "n1".to_owned(), addresses, zone: String::new(), binary };
    let found = Found {
        cluster: ClusterId::from_random_bytes([1; 16]),
        members: vec![founder],
        shards: 4,
        replication_factor: 1,
    };
    let mut state = ClusterState::new();
    state.apply(&Change { id: RequestId(1), at: NOW, command: Command::Found(found) });
    assert_eq!(state.shards().len(), 4);
    state
}

type Answer = fn(ShardId) -> Result<Appended, ShardError>;

/// Shards that remember what they were sent and answer as told.
struct Shards {
    state: Arc<ClusterState>,
    answer: Answer,
    stored: parking_lot::Mutex<Vec<(ShardId, Labels, Sample)>>,
}

impl ShardWrites for Shards {
    fn state(&self) -> Arc<ClusterState> {
        Arc::clone(&self.state)
    }

    fn append(
        &self,
        shard: ShardId,
        revision: u64,
        batch: Bytes,
        _within: Duration,
    ) -> futures_util::future::BoxFuture<'_, Result<Appended, ShardError>> {
        assert_eq!(revision, self.state.revision());
        for (labels, samples) in read_batch(&batch) {
            let rows = samples.into_iter().map(|sample| (shard, labels.clone(), sample));
            self.stored.lock().extend(rows);
        }
        Box::pin(std::future::ready((self.answer)(shard)))
    }
}

struct Case {
    router: Arc<Router>,
    shards: Arc<Shards>,
    registry: Registry,
}

fn case(answer: Answer) -> Case {
    let stored = parking_lot::Mutex::default();
    let shards = Arc::new(Shards { state: Arc::new(founded()), answer, stored });
    let mut registry = Registry::default();
    let router = Router::new(shards.clone(), Clock::fixed(NOW), &mut registry);
    Case { router, shards, registry }
}

/// Fifty series of different targets, so that every shard has some.
fn request() -> Vec<Outgoing> {
    let series = |i: usize| {
        let labels = [("__name__", "up"), ("job", "a")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        let instance = ("instance".to_owned(), format!("host-{i}"));
        let labels = labels.into_iter().chain([instance]).collect();
        Outgoing { labels, samples: vec![(i as i64, i as f64)] }
    };
    (0..50).map(series).collect()
}

impl Case {
    async fn send(
        &self,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> (StatusCode, HeaderMap, String) {
        let mut builder = Request::builder().method("POST").uri("/api/v1/write");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let request = builder.body(Body::from(body)).expect("request");
        let response = match self.router.write(request).await {
            Ok(()) => StatusCode::NO_CONTENT.into_response(),
            Err(error) => self.router.refuse(&error),
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("body").to_bytes();
        (head.status, head.headers, String::from_utf8_lossy(&body).into_owned())
    }

    async fn write(&self, series: &[Outgoing]) -> (StatusCode, HeaderMap, String) {
        self.send(&[("Content-Encoding", "snappy")], compress(&encode(series))).await
    }

    fn metrics(&self) -> String {
        narthex_web::metrics::encode(&self.registry).expect("text")
    }
}

fn took_all(_: ShardId) -> Result<Appended, ShardError> {
    Ok(Appended { samples: 1, refused: vec![] })
}

#[tokio::test]
async fn a_request_is_acknowledged_when_every_shard_has_its_part() {
    let case = case(took_all);
    assert_eq!(case.write(&request()).await.0, StatusCode::NO_CONTENT);
    let stored = case.shards.stored.lock();
    assert_eq!(stored.len(), 50);
    for (shard, labels, sample) in stored.iter() {
        let expected =
            case.shards.state.shard_of(narthex_cluster::TenantId(0), labels, sample.timestamp);
        assert_eq!(Some(*shard), expected);
    }
    drop(stored);
    assert!(case.metrics().contains(r#"narthex_router_append_samples_total{outcome="appended"}"#));
    assert!(case.router.waiting.lock().is_empty());
    assert_eq!(case.router.in_flight.available_permits(), IN_FLIGHT_KIB as usize);
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
        Ok(Appended { samples: 5, refused: vec![row] })
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

const V2: &[(&str, &str)] =
    &[("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")];

#[tokio::test]
async fn what_is_not_remote_write_1_is_refused() {
    let case = case(took_all);
    let body = compress(&encode(&request()));
    type Headers = &'static [(&'static str, &'static str)];
    let cases: [(Headers, Vec<u8>, u16); 5] = [
        (V2, body.clone(), 415),
        (&[("Content-Type", "application/json")], body.clone(), 415),
        (&[("Content-Encoding", "gzip")], body.clone(), 415),
        (&[], b"no snappy".to_vec(), 400),
        (&[], vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0], 413),
    ];
    for (headers, body, status) in cases {
        let got = case.send(headers, body).await;
        assert_eq!(got.0.as_u16(), status, "{headers:?}: {}", got.2);
    }
    let v1 = [("Content-Type", "application/x-protobuf;proto=prometheus.WriteRequest")];
    assert_eq!(case.send(&v1, body).await.0, StatusCode::NO_CONTENT);
    assert_eq!(case.send(&[], compress(&[])).await.0, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_burst_beyond_memory_is_told_to_wait() {
    let case = case(took_all);
    let all = Arc::clone(&case.router.in_flight).acquire_many_owned(IN_FLIGHT_KIB).await;
    assert_eq!(case.write(&request()).await.0, StatusCode::TOO_MANY_REQUESTS);
    drop(all);
    assert_eq!(case.write(&request()).await.0, StatusCode::NO_CONTENT);
}
