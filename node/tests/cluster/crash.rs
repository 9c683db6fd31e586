//! A node's process is killed with SIGKILL while it takes samples, ends chunks, writes checkpoints
//! and purges its log: what it had acknowledged is there again, bit for bit, and nothing else is.
//!
//! The node runs in a child process of its own, which is this program with one test chosen. It
//! says on its standard output what it is about to do, and the parent kills it right then.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use narthex_model::{
    CounterResetHint, Exemplar, Labels, Matcher, NativeHistogram, Sample, Timestamp,
    histogram::{Span, SpannedCounts, SpannedHistogram},
    stale_nan,
};
use narthex_node::node::Node;
use narthex_proto::{
    batch::{BatchWriter, Owner, Point, RichRows},
    client::{ShardError, append_request},
    internal::v1::{LogEnd, SettleRequest, SettleStep},
};
use narthex_tsdb::Columns;
use tokio::time::sleep;

use super::{alone, deadline, until, wall_millis};

const FOLDER: &str = "NARTHEX_CRASH_FOLDER";
const FIRST_TIME: &str = "NARTHEX_CRASH_FIRST_TIME";
const FIRST_NUMBER: &str = "NARTHEX_CRASH_FIRST_NUMBER";
/// Targets: enough for every shard to have some.
const TARGETS: i64 = 9;
/// Requests of one kind before a kill. Chunks have 480 samples.
const REQUESTS: i64 = 25;
/// Samples of a series in one request.
const TOGETHER: i64 = 10;

/// When the node is killed: right after it said this for the so-manieth time.
const KILLS: [(&str, usize); 8] = [
    ("acknowledged", 40),
    ("sealing", 1),
    ("writing", 1),
    ("acknowledged", 200),
    ("writing", 2),
    ("purging", 1),
    ("sealing", 3),
    ("writing", 3),
];

fn labels(kind: &str, target: i64) -> Labels {
    let instance = format!("host-{target}");
    let pairs = [("__name__", kind), ("job", "crash"), ("instance", &*instance)];
    Labels::from_pairs(pairs).expect("valid")
}

fn time(first_time: i64, number: i64) -> Timestamp {
    Timestamp::from_millis(first_time + number)
}

/// Bits of all kinds: quiet and signalling NaNs, staleness markers, infinities, zeros, numbers.
fn value(number: i64, target: i64) -> f64 {
    let mixed = (number * 31 + target) as u64;
    match mixed % 17 {
        0 => f64::from_bits(0x7ff8_0000_0000_0000 | mixed),
        1 => f64::from_bits(0xfff0_0000_0000_0001 | mixed << 8),
        2 => stale_nan(),
        3 => f64::NEG_INFINITY,
        4 => -0.0,
        _ => mixed as f64 * 0.1,
    }
}

fn histogram(number: i64, target: i64) -> NativeHistogram {
    let count = 1 + number + target;
    let sent = SpannedHistogram {
        counter_reset_hint: CounterResetHint::Unknown,
        schema: 3,
        zero_threshold: 0.5,
        sum: count as f64 / 3.0,
        counts: SpannedCounts::Integer {
            count: count as u64 + 2,
            zero_count: 2,
            positive_deltas: &[count - 1, 2 - count],
            negative_deltas: &[],
        },
        positive_spans: &[Span { offset: (number % 7) as i32, length: 2 }],
        negative_spans: &[],
        custom_values: &[],
    };
    NativeHistogram::from_spans(&sent).expect("valid")
}

fn exemplar(first_time: i64, number: i64) -> Exemplar {
    Exemplar {
        labels: Labels::from_pairs([("trace_id", number.to_string())]).expect("valid"),
        value: number as f64,
        timestamp: time(first_time, number),
    }
}

/// One request: the samples `[number, number + TOGETHER)` of a target's series.
fn batch(first_time: i64, number: i64, target: i64) -> bytes::Bytes {
    let numbers = || number..number + TOGETHER;
    let mut batch = BatchWriter::new();
    let sample = |at| Sample { timestamp: time(first_time, at), value: value(at, target) };
    let samples: Vec<_> = numbers().map(sample).collect();
    batch.push(&labels("floats", target), samples.into_iter());
    let point = |at| Point {
        timestamp: time(first_time, at),
        start: time(first_time, -1),
        value: histogram(at, target),
    };
    let histograms: Vec<_> = numbers().map(point).collect();
    let rows = RichRows {
        histograms: &histograms,
        exemplars: &[exemplar(first_time, number)],
        ..RichRows::default()
    };
    batch.push_rich(Owner::Labels(&labels("histograms", target)), rows);
    batch.finish()
}

fn number_in(name: &str) -> i64 {
    std::env::var(name).expect("the parent sets it").parse().expect("a number")
}

/// The child: appends and settles until it is killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a child of the test below"]
async fn node_to_be_killed() {
    let folder = std::env::var_os(FOLDER).expect("the parent sets it");
    let (first_time, first) = (number_in(FIRST_TIME), number_in(FIRST_NUMBER));
    let node = alone(Path::new(&folder), |_| ()).await;
    tokio::join!(append_for_ever(&node, first_time, first), settle_for_ever(&node));
}

/// Tells the parent, on a line of its own. A parent that is gone kills nobody.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "\n{line}");
}

async fn append_for_ever(node: &Node, first_time: i64, first: i64) {
    for number in (first..).step_by(TOGETHER as usize) {
        say(&format!("trying {number}"));
        for target in 0..TARGETS {
            let client = node.client();
            let state = client.state();
            let tenant = narthex_cluster::TenantId(0);
            let of = labels("floats", target);
            let shard = state.shard_of(tenant, &of, time(first_time, number)).expect("founded");
            let batch = batch(first_time, number, target);
            loop {
                let request = append_request(shard, state.revision(), batch.clone());
                match client.append(shard, request, deadline()).await {
                    Ok(appended) => {
                        assert_eq!(appended.refused, vec![]);
                        break;
                    }
                    Err(ShardError::Busy { retry_after, .. }) => sleep(retry_after).await,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        say(&format!("acknowledged {number}"));
    }
}

async fn settle_for_ever(node: &Node) {
    let mut upto: Vec<LogEnd> = Vec::new();
    loop {
        sleep(Duration::from_millis(30)).await;
        for (what, step) in [
            ("sealing", SettleStep::Seal),
            ("writing", SettleStep::Write),
            ("purging", SettleStep::Purge),
        ] {
            say(&format!("{what} now"));
            let request = SettleRequest { step: step.into(), upto: std::mem::take(&mut upto) };
            upto = node.service().settle(request).await.expect("settled").reached;
        }
    }
}

/// What the child said: requests that it tried and that were acknowledged.
#[derive(Debug, Default)]
struct Said {
    tried: i64,
    acknowledged: i64,
}

/// Runs the child until it has said `what` for the so-manieth time; kills it right then.
fn run(folder: &Path, (first_time, said): (i64, &mut Said), (what, times): (&str, usize)) {
    let mut child = Command::new(std::env::current_exe().expect("a test knows its own path"))
        .args(["--exact", "crash::node_to_be_killed", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(FIRST_TIME, first_time.to_string())
        .env(FIRST_NUMBER, said.acknowledged.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a test starts");
    let output = BufReader::new(child.stdout.take().expect("it is piped"));
    let (mut seen, mut killed) = (0, false);
    for line in output.lines().map_while(Result::ok) {
        let Some((word, number)) = line.split_once(' ') else { continue };
        let number = || -> i64 { number.parse().expect("a number") };
        match word {
            "trying" => said.tried = number() + TOGETHER,
            "acknowledged" => said.acknowledged = number() + TOGETHER,
            _ => {}
        }
        seen += usize::from(word == what);
        if seen == times && !killed {
            // What it says after that is read all the same: it was acknowledged.
            child.kill().expect("it runs");
            killed = true;
        }
    }
    end(child, killed);
}

fn end(mut child: Child, killed: bool) {
    let status = child.wait().expect("a child can be waited for");
    assert!(killed, "it ended by itself: {status}");
}

/// What is stored of a series.
fn stored(node: &Node, labels: &Labels) -> Columns {
    let matchers: Vec<_> = labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
    let mut columns = Columns::new();
    for replica in node.replicas().all() {
        for series in replica.reader.select(&matchers, Timestamp::MIN, Timestamp::MAX) {
            let read = series.samples.read(Timestamp::MIN, Timestamp::MAX, &mut columns);
            read.expect("readable");
        }
    }
    columns
}

fn check(node: &Node, first_time: i64, said: &Said) {
    for target in 0..TARGETS {
        let floats = stored(node, &labels("floats", target));
        let found: Vec<(i64, u64)> = floats
            .timestamps
            .iter()
            .copied()
            .zip(floats.values.iter().map(|it| it.to_bits()))
            .collect();
        let last = found.len() as i64;
        assert!((said.acknowledged..=said.tried).contains(&last), "{last} of {said:?}");
        let row = |number| (first_time + number, value(number, target).to_bits());
        assert_eq!(found, (0..last).map(row).collect::<Vec<_>>());

        let histograms = stored(node, &labels("histograms", target));
        assert_eq!(histograms.timestamps, floats.timestamps);
        assert_eq!(histograms.histograms.len(), histograms.len());
        for (row, found) in &histograms.histograms {
            assert_eq!(**found, histogram(*row as i64, target));
        }
        assert_eq!(histograms.starts.first(), Some(&(0, first_time - 1)));
        assert_eq!(histograms.starts.len(), histograms.len());
    }
    let mut exemplars: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
    for replica in node.replicas().all() {
        exemplars.extend(replica.reader.exemplars(&[vec![]], Timestamp::MIN, Timestamp::MAX));
    }
    let want = (0..said.acknowledged).step_by(TOGETHER as usize);
    let want: Vec<_> = want.map(|number| exemplar(first_time, number)).collect();
    for target in 0..TARGETS {
        let found = &exemplars[&labels("histograms", target)];
        assert_eq!(found[..want.len()], want);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_at_any_moment_keeps_what_it_acknowledged() {
    let folder = tempfile::tempdir().expect("folder");
    let first_time = wall_millis() - 3_600_000;
    let mut said = Said::default();
    for kill in KILLS {
        let path = folder.path().to_owned();
        said = tokio::task::spawn_blocking(move || {
            run(&path, (first_time, &mut said), kill);
            said
        })
        .await
        .expect("it was killed");
    }
    assert!(said.acknowledged >= REQUESTS * TOGETHER, "{said:?}");
    for _ in ["from what the kill left", "from what the stop wrote"] {
        let node = alone(folder.path(), |_| ()).await;
        until("every shard is led, so its log is applied", async || {
            let led = node.replicas().all().iter().filter(|it| it.leadership().ready).count();
            if led == 3 { Ok(()) } else { Err(led.to_string()) }
        })
        .await;
        check(&node, first_time, &said);
        node.stop().await;
    }
}
