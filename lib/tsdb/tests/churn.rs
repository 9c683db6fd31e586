//! A day of churn: every hour a fifth of all pods gives way to new ones.

use std::sync::Arc;

use narthex_model::{Labels, MatchOp, Matcher, Timestamp};
use narthex_tsdb::{
    Columns, LogPosition, ReplicaNumber, SeriesId, Shard,
    entry::{EntryWriter, Header, SampleBlock, Source},
    kv::MemoryKv,
};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const STEP: i64 = 30_000;
const PODS: usize = 100;
const SERIES_OF_POD: usize = 20;
const ACTIVE: usize = PODS * SERIES_OF_POD;
/// Pods that give way each hour: a fifth.
const REPLACED: usize = PODS / 5;
/// A node writes one at least every five minutes.
const STEPS_PER_CHECKPOINT: i64 = 10;

struct Pod {
    name: String,
    series: Vec<Option<SeriesId>>,
}

struct Churn {
    kv: Arc<MemoryKv>,
    shard: Shard,
    index: u64,
    now: i64,
    pods: Vec<Pod>,
    pods_ever: usize,
}

fn labels(pod: &str, series: usize) -> Labels {
    let name = format!("metric_{series}");
    let pairs =
        [("__name__", &*name), ("instance", "10.0.0.1:9100"), ("job", "pods"), ("pod", pod)];
    Labels::from_pairs(pairs).expect("valid")
}

fn matcher(op: MatchOp, name: &str, value: &str) -> Matcher {
    Matcher::new(op, name, value).expect("valid")
}

impl Churn {
    fn new() -> Self {
        let kv = Arc::new(MemoryKv::new());
        let shard = Shard::open(kv.clone(), ReplicaNumber(1)).expect("empty");
        let mut churn = Self {
            kv,
            shard,
            index: 0,
            now: 20_000 * DAY - STEP / 2,
            pods: Vec::new(),
            pods_ever: 0,
        };
        (0..PODS).for_each(|_| churn.start_pod());
        churn
    }

    fn start_pod(&mut self) {
        let name = format!("web-{:06}", self.pods_ever);
        self.pods_ever += 1;
        self.pods.push(Pod { name, series: vec![None; SERIES_OF_POD] });
    }

    /// One scrape of every pod, as one entry.
    fn scrape(&mut self) {
        self.now += STEP;
        let (mut block, mut fresh) = (SampleBlock::new(), Vec::new());
        let time = Timestamp::from_millis(self.now);
        for (pod, Pod { name, series }) in self.pods.iter().enumerate() {
            for (at, id) in series.iter().enumerate() {
                let value = (self.now / STEP % 97) as f64 + at as f64 * 0.1;
                match id {
                    Some(id) => block.push(*id, time, value),
                    None => {
                        block.push_labels(&labels(name, at), time, value);
                        fresh.push((pod, at));
                    }
                }
            }
        }
        let header = Header { leader_time: time, leader_node: 1, tenant: 0 };
        let mut entry = EntryWriter::new(header);
        entry.append(Source::Client, &block);
        self.index += 1;
        let at = LogPosition { term: 1, index: self.index };
        let outcome = self.shard.apply(at, &entry.finish()).expect("valid");
        assert_eq!(outcome.appended(), ACTIVE as u64);
        for ((pod, at), id) in fresh.into_iter().zip(&outcome.commands[0].resolved) {
            self.pods[pod].series[at] = Some(*id);
        }
    }

    fn checkpoint(&mut self) {
        let position = self.shard.freeze(b"").expect("sound").write().expect("written");
        self.shard.checkpointed(position);
    }

    fn hour(&mut self) {
        for step in 1..=HOUR / STEP {
            self.scrape();
            if step % STEPS_PER_CHECKPOINT == 0 {
                self.checkpoint();
            }
        }
    }

    /// The oldest fifth of all pods ends, and as many begin.
    fn replace(&mut self) {
        self.pods.drain(..REPLACED);
        (0..REPLACED).for_each(|_| self.start_pod());
    }

    fn memory(&self) -> u64 {
        self.shard.reader().stats().memory_bytes
    }

    /// Series and samples that a query of the last `span` meets.
    fn met(&self, matchers: &[Matcher], span: i64) -> (usize, usize) {
        let (start, end) =
            (Timestamp::from_millis(self.now - span), Timestamp::from_millis(self.now));
        let selected = self.shard.reader().select(matchers, start, end);
        let mut columns = Columns::new();
        let mut samples = 0;
        for series in &selected {
            columns.clear();
            series.samples.read(start, end, &mut columns).expect("readable");
            samples += columns.len();
        }
        (selected.len(), samples)
    }

    /// The samples of each pod that ever was, of one of its series.
    fn samples_of_pods(&self, shard: &Shard) -> Vec<usize> {
        (0..self.pods_ever)
            .map(|pod| {
                let name = format!("web-{pod:06}");
                let matchers =
                    [Matcher::equal("__name__", "metric_3"), Matcher::equal("pod", name)];
                let found = shard.reader().select(&matchers, Timestamp::MIN, Timestamp::MAX);
                let mut columns = Columns::new();
                for series in &found {
                    let read = series.samples.read(Timestamp::MIN, Timestamp::MAX, &mut columns);
                    read.expect("readable");
                }
                columns.len()
            })
            .collect()
    }
}

#[test]
fn a_day_of_churn_costs_labels_and_no_more() {
    let mut churn = Churn::new();
    churn.hour();
    let (before, series_before) = (churn.memory(), churn.shard.reader().stats().series);
    assert_eq!(series_before, ACTIVE as u64);
    for _ in 1..24 {
        churn.replace();
        churn.hour();
    }
    let stats = churn.shard.reader().stats();
    let gone = stats.series - ACTIVE as u64;
    let per_active = before / ACTIVE as u64;
    let per_gone = churn.memory().saturating_sub(before) / gone;
    eprintln!("{} series, {per_active} bytes each active, {per_gone} each gone", stats.series);
    assert_eq!(gone, (23 * REPLACED * SERIES_OF_POD) as u64);
    // Those of this hour and the last are still open.
    let open = stats.open_chunks - ACTIVE as u64;
    assert!(
        open <= (2 * REPLACED * SERIES_OF_POD) as u64,
        "{open} open chunks of pods that are gone"
    );
    assert!(per_gone * 10 < per_active * 6, "{per_gone} bytes for a series that is gone");

    // What a query of now and of the last hour meets is what there is.
    let all = [Matcher::equal("job", "pods")];
    let some = [
        Matcher::equal("__name__", "metric_3"),
        matcher(MatchOp::Regex, "pod", "web-.*[02468]"),
        matcher(MatchOp::NotRegex, "pod", "db-.+"),
    ];
    let lookback = 5 * 60_000;
    assert_eq!(churn.met(&all, lookback), (ACTIVE, ACTIVE * (lookback / STEP + 1) as usize));
    assert_eq!(churn.met(&some, lookback).0, PODS / 2);
    let (series, samples) = churn.met(&all, HOUR - STEP);
    assert_eq!((series, samples), (ACTIVE, ACTIVE * (HOUR / STEP) as usize));

    // Nothing of the day is missing, on disk and in memory, now and after a restart.
    let hours = |pod: usize| match pod {
        _ if pod < PODS => 1 + pod / REPLACED,
        _ => 5.min(24 - (pod - PODS) / REPLACED - 1),
    };
    let want: Vec<usize> =
        (0..churn.pods_ever).map(|pod| hours(pod).min(24) * (HOUR / STEP) as usize).collect();
    assert_eq!(churn.samples_of_pods(&churn.shard), want);
    churn.checkpoint();
    let digest = |shard: &Shard| {
        shard.reader().digest(Timestamp::MIN, Timestamp::MAX).run().expect("readable")
    };
    let reopened = Shard::open(churn.kv.clone(), ReplicaNumber(1)).expect("sound");
    assert_eq!(digest(&reopened), digest(&churn.shard));
    assert_eq!(churn.samples_of_pods(&reopened), want);
}

#[test]
fn yesterdays_pods_cost_today_nothing_and_go_with_their_day() {
    let mut churn = Churn::new();
    for _ in 0..24 {
        churn.hour();
        churn.replace();
    }
    churn.hour();
    churn.hour();
    let all = [Matcher::equal("job", "pods")];
    assert_eq!(churn.met(&all, HOUR).0, ACTIVE);
    let reader = churn.shard.reader();
    let end = Timestamp::from_millis(churn.now);
    let today = Timestamp::from_millis(end.utc_day() * DAY);
    assert_eq!(reader.series(&all, today, end).len(), ACTIVE);
    assert_eq!(reader.label_values("pod", &all, today, end).len(), PODS);
    assert!(reader.label_values("pod", &[], Timestamp::MIN, end).len() > 5 * PODS);

    let header = Header { leader_time: end, leader_node: 1, tenant: 0 };
    let mut entry = EntryWriter::new(header);
    let class = narthex_tsdb::RetentionClass::default();
    entry.horizon(&[narthex_tsdb::entry::Horizon { class, time: today }]);
    churn.index += 1;
    let at = LogPosition { term: 1, index: churn.index };
    churn.shard.apply(at, &entry.finish()).expect("valid");
    churn.checkpoint();
    assert_eq!(churn.shard.reader().stats().series, ACTIVE as u64);
}

#[test]
fn a_series_that_comes_back_goes_on_where_it_was() {
    let mut churn = Churn::new();
    churn.hour();
    let away: Vec<Pod> = churn.pods.drain(..REPLACED).collect();
    (0..REPLACED).for_each(|_| churn.start_pod());
    for _ in 0..3 {
        churn.hour();
    }
    let open = churn.shard.reader().stats().open_chunks;
    assert_eq!(open, ACTIVE as u64, "what was away has ended");
    churn.pods.drain(PODS - REPLACED..);
    churn.pods.extend(away);
    churn.hour();
    let counts = churn.samples_of_pods(&churn.shard);
    assert_eq!(counts[..REPLACED], vec![2 * (HOUR / STEP) as usize; REPLACED]);
    assert_eq!(churn.met(&[Matcher::equal("job", "pods")], 0).0, ACTIVE);
}
