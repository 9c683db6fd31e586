use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::StatusCode;
use narthex_cluster::{ClusterState, REPORT_MILLIS, Request, RequestId, SILENCE_MILLIS};
use narthex_model::Timestamp;
use narthex_web::Clock;
use parking_lot::Mutex;

use super::*;
use crate::{
    sender::{Outgoing, compress, encode, encode_v2},
    write::tests::{Case, NOW, SharedState, Told, case_of, founded, took_all},
};

/// A control group of one, whose state the shards of the case see.
struct Control {
    state: SharedState,
    /// Its clock, which is the router's too.
    millis: Arc<AtomicU64>,
    proposals: AtomicU64,
    answers: bool,
}

impl Elections for Control {
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Outcome, String>> {
        let number = self.proposals.fetch_add(1, Relaxed);
        if !self.answers {
            return Box::pin(std::future::ready(Err("no majority".to_owned())));
        }
        let mut state = ClusterState::clone(&self.state.lock());
        let at = Timestamp::from_millis(self.millis.load(Relaxed) as i64);
        let id = RequestId(u128::from(number) + 100);
        let outcome = state.apply(&Request { id, at, command });
        *self.state.lock() = Arc::new(state);
        Box::pin(std::future::ready(Ok(outcome)))
    }
}

struct HaCase {
    case: Case,
    control: Arc<Control>,
}

fn ha(answers: bool) -> HaCase {
    let state = Arc::new(Mutex::new(Arc::new(founded())));
    let millis = Arc::new(AtomicU64::new(NOW.millis() as u64));
    let clock = Arc::clone(&millis);
    let clock = Clock::from_sources(
        move || Timestamp::from_millis(clock.load(Relaxed) as i64),
        || Duration::ZERO,
    );
    let proposals = AtomicU64::new(0);
    let control = Control { state: Arc::clone(&state), millis, proposals, answers };
    let control = Arc::new(control);
    let labels =
        PairLabels { pair: vec!["cluster".to_owned()], replica: vec!["__replica__".to_owned()] };
    let elections: Arc<dyn Elections> = control.clone();
    let pairs = Some(Pairs { labels, elections });
    let case = case_of(took_all, state, clock, |options| options.pairs = pairs);
    HaCase { case, control }
}

impl HaCase {
    async fn send(&self, replica: &str, version_2: bool) -> Told {
        let labels = [
            ("__name__", "up"),
            ("__replica__", replica),
            ("cluster", "c"),
            ("instance", "i"),
            ("job", "j"),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let series = [Outgoing { labels, samples: vec![(1, 1.0), (2, 2.0)] }];
        if !version_2 {
            return self.case.send(&[], compress(&encode(&series))).await;
        }
        let media = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
        self.case.send(&[("Content-Type", media)], compress(&encode_v2(&series))).await
    }

    fn stored(&self) -> Vec<String> {
        let stored = std::mem::take(&mut *self.case.shards.stored.lock());
        stored.iter().map(|(_, labels, _)| labels.to_string()).collect()
    }

    fn later(&self, millis: i64) {
        self.control.millis.fetch_add(millis as u64, Relaxed);
    }
}

const STORED: &str = r#"{__name__="up", cluster="c", instance="i", job="j"}"#;

#[tokio::test]
async fn one_replica_is_stored_without_its_name_and_the_other_accepted() {
    let ha = ha(true);
    for version_2 in [false, true, false, true] {
        let (status, _, text) = ha.send("a", version_2).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{text}");
        assert_eq!(ha.stored(), [STORED, STORED]);
        let (status, headers, text) = ha.send("b", version_2).await;
        assert_eq!(status, StatusCode::ACCEPTED);
        assert!(text.contains(r#""a" is elected"#), "{text}");
        assert!(ha.stored().is_empty());
        let written = headers.get("x-prometheus-remote-write-samples-written");
        assert_eq!(written.map(|it| it.as_bytes()), version_2.then_some(&b"2"[..]));
    }
    let metrics = ha.case.metrics();
    assert!(metrics.contains(r#"append_samples_total{outcome="deduplicated"} 8"#), "{metrics}");
}

#[tokio::test]
async fn the_other_replica_takes_over_after_silence_and_keeps_its_place() {
    let ha = ha(true);
    assert_eq!(ha.send("a", false).await.0, StatusCode::NO_CONTENT);
    ha.later(SILENCE_MILLIS - 1);
    assert_eq!(ha.send("b", false).await.0, StatusCode::ACCEPTED);
    ha.later(1);
    assert_eq!(ha.send("b", false).await.0, StatusCode::NO_CONTENT);
    assert_eq!(ha.send("a", false).await.0, StatusCode::ACCEPTED, "it comes back too late");
}

#[tokio::test]
async fn a_replica_that_is_heard_is_reported_and_stays() {
    let ha = ha(true);
    for _ in 0..20 {
        assert_eq!(ha.send("a", false).await.0, StatusCode::NO_CONTENT);
        assert_eq!(ha.send("b", false).await.0, StatusCode::ACCEPTED);
        ha.later(REPORT_MILLIS);
    }
    let proposals = ha.control.proposals.load(Relaxed);
    assert!((20..=21).contains(&proposals), "{proposals}");
}

#[tokio::test]
async fn without_an_election_the_sender_keeps_its_samples() {
    let ha = ha(false);
    let (status, headers, text) = ha.send("a", false).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(headers.contains_key("retry-after") && text.contains("no majority"), "{text}");
    assert!(ha.stored().is_empty());
}
