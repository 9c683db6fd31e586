//! A sender that was cut off: what it sends late, in order, and what it sends again.

use narthex_model::{
    CounterResetHint, Labels, NativeHistogram, Sample, Timestamp,
    histogram::{Span, SpannedCounts, SpannedHistogram},
    stale_nan,
};
use narthex_node::node::Node;
use narthex_proto::{
    batch::{BatchWriter, Owner, Point, RichRows},
    client::append_request,
    internal::v1::{Appended, SettleRequest, SettleStep},
};

use super::{ShardId, alone, deadline, values, wall_millis};

/// Two hours and a half: five chunks, and well beyond the out-of-order window of half an hour.
const SAMPLES: i64 = 600;
const STEP: i64 = 15_000;
const REQUESTS: usize = 4;

fn labels(name: &str) -> Labels {
    let pairs = [("__name__", name), ("job", "api"), ("instance", "a:1")];
    Labels::from_pairs(pairs).expect("valid")
}

/// NaN payloads and staleness markers among numbers.
fn value(at: i64) -> f64 {
    match at % 50 {
        7 => f64::from_bits(0x7ff4_0000_0000_0000 | at as u64),
        9 => stale_nan(),
        _ => at as f64 / 8.0,
    }
}

fn histogram(count: i64) -> NativeHistogram {
    let sent = SpannedHistogram {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: 2,
        zero_threshold: 0.001,
        sum: count as f64 * 0.7,
        counts: SpannedCounts::Integer {
            count: count as u64,
            zero_count: 0,
            positive_deltas: &[count],
            negative_deltas: &[],
        },
        positive_spans: &[Span { offset: 3, length: 1 }],
        negative_spans: &[],
        custom_values: &[],
    };
    NativeHistogram::from_spans(&sent).expect("valid")
}

/// What the sender kept while it was cut off.
struct Backlog {
    first: i64,
}

impl Backlog {
    fn time(&self, at: i64) -> Timestamp {
        Timestamp::from_millis(self.first + at * STEP)
    }

    /// Sends the samples with these numbers of a series of each kind.
    async fn send(&self, node: &Node, numbers: &[i64], bend: f64) -> (ShardId, Appended) {
        let mut batch = BatchWriter::new();
        // Adding nothing to a signalling NaN makes it another one.
        let bent = |at| if bend == 0.0 { value(at) } else { value(at) + bend };
        let sample = |at: &i64| Sample { timestamp: self.time(*at), value: bent(*at) };
        batch.push(&labels("floats"), numbers.iter().map(sample));
        let point = |at: &i64| Point {
            timestamp: self.time(*at),
            start: self.time(-1),
            value: histogram(10 + *at + bend as i64),
        };
        let histograms: Vec<_> = numbers.iter().map(point).collect();
        let rows = RichRows { histograms: &histograms, ..RichRows::default() };
        batch.push_rich(Owner::Labels(&labels("histograms")), rows);
        let client = node.client();
        let state = client.state();
        let tenant = narthex_cluster::TenantId(0);
        let shard = state.shard_of(tenant, &labels("floats"), self.time(0)).expect("founded");
        let request = append_request(shard, state.revision(), batch.finish());
        (shard, client.append(shard, request, deadline()).await.expect("appended"))
    }
}

async fn expect_all_once(node: &Node, shard: ShardId) {
    let now = wall_millis();
    let count = values(node, shard, "sum(count_over_time(histograms[4h]))", now).await;
    assert_eq!(count[0].1, SAMPLES as f64);
    let stale = (0..SAMPLES).filter(|at| at % 50 == 9).count();
    let count = values(node, shard, "sum(count_over_time(floats[4h]))", now).await;
    assert_eq!(count[0].1, (SAMPLES as usize - stale) as f64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_stored_once_however_often_it_is_sent() {
    let folder = tempfile::tempdir().expect("folder");
    let node = alone(folder.path(), |_| ()).await;
    let backlog = Backlog { first: wall_millis() - SAMPLES * STEP };
    let numbers: Vec<i64> = (0..SAMPLES).collect();
    for part in numbers.chunks(numbers.len() / REQUESTS) {
        let (_, appended) = backlog.send(&node, part, 0.0).await;
        assert_eq!((appended.samples, appended.refused), (2 * part.len() as u64, vec![]));
        // Another shard did not answer: the sender sends it again, and once more.
        for _ in 0..2 {
            let (_, again) = backlog.send(&node, part, 0.0).await;
            assert_eq!((again.samples, again.refused), (2 * part.len() as u64, vec![]));
        }
    }
    for step in [SettleStep::Seal, SettleStep::Write] {
        let request = SettleRequest { step: step.into(), upto: Vec::new() };
        node.service().settle(request).await.expect("in pages");
    }
    // Hours later, one request after the other, in no order.
    let mut shard = ShardId(0);
    for part in numbers.chunks(numbers.len() / REQUESTS).rev() {
        let shuffled: Vec<i64> = part.iter().rev().copied().collect();
        let (of, again) = backlog.send(&node, &shuffled, 0.0).await;
        assert_eq!((again.samples, again.refused), (2 * part.len() as u64, vec![]));
        shard = of;
    }
    expect_all_once(&node, shard).await;

    // What is not stored is still refused by name, each sample of it.
    let (_, other) = backlog.send(&node, &[0, 1, 2], 1.0).await;
    assert_eq!((other.samples, other.refused.len()), (0, 1));
    assert_eq!((other.refused[0].reason.as_str(), other.refused[0].samples), ("too_old", 6));
    let (_, mixed) = backlog.send(&node, &[-1, 0, 1, -2], 0.0).await;
    assert_eq!((mixed.samples, mixed.refused[0].samples), (4, 4), "{:?}", mixed.refused);
    expect_all_once(&node, shard).await;
    node.stop().await;
}

/// Some of a burst comes late within the window: nothing is missing, nothing is twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_out_of_order_within_the_window_is_stored_whole() {
    let folder = tempfile::tempdir().expect("folder");
    let node = alone(folder.path(), |_| ()).await;
    let backlog = Backlog { first: wall_millis() - SAMPLES * STEP };
    let mut shard = ShardId(0);
    // Every request goes back 100 samples, 25 minutes, for every third that was left out.
    let rounds = (0..SAMPLES).step_by(50).map(|first| {
        let later = (first..(first + 50).min(SAMPLES)).filter(|at| at % 3 != 0);
        let earlier = ((first - 50).max(0)..first).filter(|at| at % 3 == 0);
        later.chain(earlier).collect::<Vec<i64>>()
    });
    let last: Vec<i64> = (SAMPLES - 50..SAMPLES).filter(|at| at % 3 == 0).collect();
    for numbers in rounds.chain([last]) {
        for _ in 0..2 {
            let (of, appended) = backlog.send(&node, &numbers, 0.0).await;
            assert_eq!((appended.samples, appended.refused), (2 * numbers.len() as u64, vec![]));
            shard = of;
        }
    }
    expect_all_once(&node, shard).await;
    for step in [SettleStep::Seal, SettleStep::Write] {
        let request = SettleRequest { step: step.into(), upto: Vec::new() };
        node.service().settle(request).await.expect("in pages");
    }
    expect_all_once(&node, shard).await;
    node.stop().await;
}
