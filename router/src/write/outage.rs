//! One shard of twelve without a majority for 45 minutes, under senders that behave as
//! Prometheus's do, in simulated time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use futures_util::future::BoxFuture;
use http::{StatusCode, header};
use narthex_cluster::TenantId;
use narthex_model::{Labels, Timestamp};
use narthex_proto::batch::{BatchReader, Item, Subject};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    tests::{founded_with, post, told},
    *,
};
use crate::sender::{Outgoing, compress, encode, read_batch};

const SHARDS: u32 = 12;
const SILENT: ShardId = ShardId(7);
const OUTAGE: Duration = Duration::from_secs(45 * 60);
/// A sender has so many queues, each with a request under way, as Prometheus's have once they are
/// behind.
const QUEUES: usize = 10;
const BACKOFF_MAX: Duration = Duration::from_secs(5);
const HOSTS: usize = 60;

/// Shards that store what they are sent, each sample once, but for one that answers nobody while
/// it is silent: whoever asks waits for as long as he may.
struct Leaders {
    state: Arc<ClusterState>,
    is_silent: AtomicBool,
    stored: Mutex<BTreeMap<(Labels, Timestamp), u64>>,
    numbers: Mutex<Vec<Labels>>,
    numbered: Mutex<BTreeMap<Labels, u32>>,
    /// Requests that the silent shard does not answer.
    waiting: AtomicU64,
}

impl Leaders {
    /// The numbers of the series that a batch brings with labels.
    fn names(&self, batch: &[u8], numbers: &mut Vec<Labels>) -> Vec<u32> {
        let mut reader = BatchReader::new(batch).expect("a batch");
        let (mut names, mut numbered) = (Vec::new(), self.numbered.lock());
        while let Some(item) = reader.next(&mut Vec::new()).expect("a batch") {
            let Item::Floats(Subject::Labels(bytes)) = item else { continue };
            let labels = Labels::from_bytes(bytes).expect("labels");
            names.push(*numbered.entry(labels.clone()).or_insert_with(|| {
                numbers.push(labels);
                numbers.len() as u32 - 1
            }));
        }
        names
    }

    fn store(&self, batch: &[u8]) -> Appended {
        let mut numbers = self.numbers.lock();
        let mut stored = self.stored.lock();
        let rows = read_batch(batch, |known| numbers[known.series as usize].clone());
        let mut answer =
            Appended { series: self.names(batch, &mut numbers), ..Appended::default() };
        for (labels, samples) in rows {
            for sample in samples {
                answer.samples += 1;
                let bits = sample.value.to_bits();
                let found = stored.entry((labels.clone(), sample.timestamp)).or_insert(bits);
                assert_eq!(*found, bits, "a repeat brings what is there");
            }
        }
        answer
    }
}

impl ShardWrites for Leaders {
    fn state(&self) -> Arc<ClusterState> {
        Arc::clone(&self.state)
    }

    fn append(
        &self,
        shard: ShardId,
        _revision: u64,
        batch: Bytes,
        within: Duration,
    ) -> BoxFuture<'_, Result<Appended, ShardError>> {
        Box::pin(async move {
            // A commit.
            sleep(Duration::from_millis(5)).await;
            let deadline = now() + within;
            self.waiting.fetch_add(1, Relaxed);
            while shard == SILENT && self.is_silent.load(Relaxed) && now() < deadline {
                sleep(Duration::from_millis(100)).await;
            }
            self.waiting.fetch_sub(1, Relaxed);
            if shard == SILENT && self.is_silent.load(Relaxed) {
                let reason = "it has no leader".to_owned();
                return Err(ShardError::Unavailable { shard, reason });
            }
            Ok(self.store(&batch))
        })
    }
}

/// Simulated.
#[expect(clippy::disallowed_methods, reason = "the runtime's time is paused")]
fn now() -> Instant {
    Instant::now()
}

/// The series of one host are on one shard; a request has those of all hosts, or of some.
fn request(sender: usize, round: i64, hosts: &[usize]) -> Vec<u8> {
    let series = |host: &usize| Outgoing {
        labels: vec![
            ("__name__".to_owned(), format!("sent_by_{sender}")),
            ("instance".to_owned(), format!("host-{host}")),
            ("job".to_owned(), "a".to_owned()),
        ],
        samples: vec![(round, round as f64 + *host as f64 / 100.0)],
    };
    compress(&encode(&hosts.iter().map(series).collect::<Vec<_>>()))
}

/// What senders were told, and what they learnt on the way.
#[derive(Default)]
struct Told {
    acknowledged: Mutex<BTreeSet<(usize, i64)>>,
    retried: AtomicU64,
    in_flight_max: AtomicU64,
}

/// Sends one request after the other, each until it is taken, with a backoff that doubles.
async fn queue(router: &Router, told_all: &Told, sender: usize, rounds: Vec<i64>, hosts: &[usize]) {
    for round in rounds {
        let body = request(sender, round, hosts);
        let mut backoff = Duration::from_millis(30);
        loop {
            let (status, headers, text) =
                told(router.remote_write(post(&[], body.clone())).await).await;
            let held = router.metrics.in_flight_bytes.get();
            told_all.in_flight_max.fetch_max(held as u64, Relaxed);
            if status.is_success() {
                told_all.acknowledged.lock().insert((sender, round));
                break;
            }
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
            assert!(text.contains("shard 7"), "{text}");
            let after: u64 =
                headers[header::RETRY_AFTER].to_str().expect("text").parse().expect("s");
            told_all.retried.fetch_add(1, Relaxed);
            sleep(backoff.max(Duration::from_secs(after))).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_shard_without_a_majority_holds_up_what_belongs_to_it_and_no_more() {
    let leaders = Arc::new(Leaders {
        state: Arc::new(founded_with(SHARDS)),
        is_silent: AtomicBool::new(true),
        stored: Mutex::default(),
        numbers: Mutex::default(),
        numbered: Mutex::default(),
        waiting: AtomicU64::new(0),
    });
    let started = now();
    let clock =
        Clock::from_sources(|| Timestamp::from_millis(1_000_000), move || started.elapsed());
    let options = RouterOptions {
        series_cached_max: 10_000,
        seed: 1,
        limits: Limits::default(),
        accepted_messages: AcceptedMessages::default(),
        pairs: None,
    };
    let router = Router::new(leaders.clone(), clock, options, &mut Registry::default());
    let everywhere: Vec<usize> = (0..HOSTS).collect();
    let is_elsewhere = |host: &usize| {
        let instance = format!("host-{host}");
        let pairs = [("__name__", "sent_by_2"), ("instance", &*instance), ("job", "a")];
        let labels = Labels::from_pairs(pairs).expect("valid");
        leaders.state.shard_of(TenantId(0), &labels, Timestamp::from_millis(1)) != Some(SILENT)
    };
    let elsewhere: Vec<usize> = everywhere.iter().copied().filter(is_elsewhere).collect();
    assert!(elsewhere.len() > HOSTS / 2 && elsewhere.len() < HOSTS);

    let told_all = Told::default();
    let spanning = (0..2 * QUEUES).map(|at| {
        let (sender, first) = (at / QUEUES, (at % QUEUES) as i64 * 100);
        queue(&router, &told_all, sender, (first..first + 20).collect(), &everywhere)
    });
    // A third sender has nothing for the silent shard: it never hears of it.
    let undisturbed = async {
        for round in 0..270 {
            sleep_until(started + Duration::from_secs(10) * round).await;
            let body = request(2, i64::from(round), &elsewhere);
            let asked = now();
            let (status, ..) = told(router.remote_write(post(&[], body)).await).await;
            assert_eq!(status, StatusCode::NO_CONTENT);
            assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        }
    };
    let healing = async {
        sleep(OUTAGE).await;
        assert_eq!(router.metrics.silent_shards.get(), 1);
        // Nothing queues: of twenty requests one waits.
        assert!(leaders.waiting.load(Relaxed) <= 1);
        assert!(told_all.acknowledged.lock().is_empty());
        leaders.is_silent.store(false, Relaxed);
    };
    let all = tokio::join!(join_all(spanning), undisturbed, healing);
    drop(all);
    let took = started.elapsed();
    assert!(took < OUTAGE + Duration::from_secs(60), "all caught up: {took:?}");

    // Every queue kept its request and tried it again and again: about every five seconds.
    let retried = told_all.retried.load(Relaxed);
    let tries = 2 * QUEUES as u64 * OUTAGE.as_secs() / 6;
    assert!((tries / 2..tries * 2).contains(&retried), "{retried} retries");
    assert_eq!(told_all.acknowledged.lock().len(), 2 * QUEUES * 20);
    // Each sample of a request that was acknowledged is there, once, on every shard.
    let stored = leaders.stored.lock();
    assert_eq!(stored.len(), 2 * QUEUES * 20 * HOSTS + 270 * elsewhere.len());
    assert_eq!(router.metrics.silent_shards.get(), 0);
    assert_eq!(router.metrics.in_flight_bytes.get(), 0);
    let held = told_all.in_flight_max.load(Relaxed);
    assert!(held < 4 << 20, "{held} bytes were held");
    assert!(router.waiting.lock().is_empty());
}
