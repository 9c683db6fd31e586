//! Limits of series against a naive model, over random samples, silences, limits, deletes,
//! checkpoints and crashes: which samples are refused and why, and what counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use narthex_model::{Labels, Timestamp};
use narthex_tsdb::{
    CommandOutcome, LogPosition, Refusal, ReplicaNumber, SeriesId, Settings, Shard,
    entry::{EntryWriter, Header, SampleBlock, Source},
    kv::{KeyValue as _, MemoryKv},
};
use proptest::prelude::*;

const SERIES: usize = 24;
const HOUR: i64 = 3_600_000;
const START: i64 = 1_700_000_000_000;

#[derive(Debug, Clone)]
enum Action {
    /// Samples of these series, so much behind the clock.
    Append(Vec<(usize, i64)>),
    /// The clock goes on.
    Wait(i64),
    /// Series of the shard, a target, a job.
    Limit([u32; 3]),
    /// Jobs that are full, and whether a node is.
    Full(BTreeSet<u8>, bool),
    Delete(usize),
    Checkpoint,
    Crash,
}

/// Two jobs of two targets each, a job without instances, and series of no job.
fn labels(series: usize) -> Labels {
    let name = ("__name__", format!("m{series}"));
    let job = ("job", format!("job{}", series % 4));
    let instance = ("instance", format!("i{}", series / 4 % 2));
    let pairs = match series % 4 {
        0 | 1 => vec![name, job, instance],
        2 => vec![name, job],
        _ => vec![name, instance],
    };
    Labels::from_pairs(pairs).expect("valid")
}

struct Known {
    id: SeriesId,
    newest: i64,
    counts: bool,
}

/// The shard, and what should be true of it.
struct Run {
    kv: Arc<MemoryKv>,
    shard: Shard,
    log: Vec<Vec<u8>>,
    now: i64,
    applied_at: i64,
    settings: Settings,
    known: BTreeMap<usize, Known>,
}

fn open(kv: &Arc<MemoryKv>) -> Shard {
    Shard::open(Arc::clone(kv) as _, ReplicaNumber(1)).expect("sound")
}

fn position(index: usize) -> LogPosition {
    LogPosition { term: 1, index: index as u64 + 1 }
}

impl Run {
    fn new() -> Self {
        let kv = Arc::new(MemoryKv::new());
        Self {
            shard: open(&kv),
            kv,
            log: Vec::new(),
            now: START,
            applied_at: i64::MIN,
            settings: Settings::default(),
            known: BTreeMap::new(),
        }
    }

    fn limits(&self) -> bool {
        let Settings { series_max, series_per_target_max, series_per_job_max, .. } = self.settings;
        series_max + series_per_target_max + series_per_job_max > 0
    }

    fn apply(&mut self, write: impl FnOnce(&mut EntryWriter)) -> CommandOutcome {
        let leader_time = Timestamp::from_millis(self.now);
        let mut entry = EntryWriter::new(Header { leader_time, leader_node: 1, tenant: 0 });
        write(&mut entry);
        let entry = entry.finish();
        if self.now.div_euclid(HOUR) != self.applied_at.div_euclid(HOUR) {
            let since = self.now - HOUR;
            self.known.values_mut().for_each(|known| known.counts &= known.newest >= since);
        }
        self.applied_at = self.now;
        let mut outcome = self.shard.apply(position(self.log.len()), &entry).expect("valid");
        self.log.push(entry);
        outcome.commands.remove(0)
    }

    fn counted(&self, like: impl Fn(&Labels) -> bool) -> u32 {
        let counted = self.known.iter().filter(|(_, known)| known.counts);
        counted.filter(|(series, _)| like(&labels(**series))).count() as u32
    }

    fn refusal(&self, series: usize) -> Option<Refusal> {
        let new = labels(series);
        let (job, instance) = (new.value("job"), new.value("instance"));
        let is_full = |limit: u32, count: u32| limit > 0 && count >= limit;
        let has_job = |it: &Labels| it.value("job") == job;
        if self.settings.is_node_full || is_full(self.settings.series_max, self.counted(|_| true)) {
            return Some(Refusal::NodeSeriesLimit);
        }
        if job.is_empty() {
            return None;
        }
        let target = self.counted(|it| has_job(it) && it.value("instance") == instance);
        if !instance.is_empty() && is_full(self.settings.series_per_target_max, target) {
            return Some(Refusal::TargetSeriesLimit);
        }
        let told = self.settings.full_jobs.iter().any(|full| **full == *job);
        let is_job_full = is_full(self.settings.series_per_job_max, self.counted(has_job));
        (told || is_job_full).then_some(Refusal::JobSeriesLimit)
    }

    fn append(&mut self, rows: &[(usize, i64)]) {
        let rows: BTreeMap<usize, i64> = rows.iter().copied().collect();
        let (known, new): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|(series, _)| self.known.contains_key(series));
        for (series, behind) in known {
            self.append_known(series, self.now - behind);
        }
        if new.is_empty() {
            return;
        }
        let (now, mut block) = (self.now, SampleBlock::new());
        for (series, behind) in &new {
            block.push_labels(&labels(*series), Timestamp::from_millis(now - behind), 1.0);
        }
        let outcome = self.apply(|entry| entry.append(Source::Client, &block));
        let limits = self.limits();
        let mut refused = BTreeMap::<Refusal, u64>::new();
        for ((series, behind), id) in new.into_iter().zip(&outcome.resolved) {
            match self.refusal(series) {
                Some(reason) => {
                    assert_eq!(*id, SeriesId::NONE, "{reason}");
                    *refused.entry(reason).or_default() += 1;
                }
                None => {
                    let newest = now - behind;
                    self.known.insert(series, Known { id: *id, newest, counts: limits });
                }
            }
        }
        for reason in
            [Refusal::NodeSeriesLimit, Refusal::TargetSeriesLimit, Refusal::JobSeriesLimit]
        {
            assert_eq!(outcome.refused(reason), refused.get(&reason).copied().unwrap_or(0));
        }
    }

    fn append_known(&mut self, series: usize, time: i64) {
        let mut block = SampleBlock::new();
        block.push(self.known[&series].id, Timestamp::from_millis(time), 1.0);
        let outcome = self.apply(|entry| entry.append(Source::Client, &block));
        let limits = self.limits();
        let known = self.known.get_mut(&series).expect("it is known");
        assert!(outcome.appended == 1 || time <= known.newest, "it goes on");
        known.counts |= limits && outcome.appended == 1;
        known.newest = known.newest.max(time);
    }

    fn set(&mut self, settings: Settings) {
        let counted = self.limits();
        self.apply(|entry| entry.settings(&settings));
        self.settings = settings;
        if self.limits() != counted {
            let (limits, since) = (self.limits(), self.now - HOUR);
            self.known.values_mut().for_each(|it| it.counts = limits && it.newest >= since);
        }
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Append(rows) => self.append(rows),
            Action::Wait(millis) => self.now += millis,
            Action::Limit([all, target, job]) => self.set(Settings {
                series_max: *all,
                series_per_target_max: *target,
                series_per_job_max: *job,
                ..self.settings.clone()
            }),
            Action::Full(jobs, is_node_full) => self.set(Settings {
                full_jobs: jobs.iter().map(|job| format!("job{job}").into()).collect(),
                is_node_full: *is_node_full,
                ..self.settings.clone()
            }),
            Action::Delete(series) => {
                if let Some(known) = self.known.remove(series) {
                    let (start, end) = (Timestamp::MIN, Timestamp::MAX);
                    self.apply(|entry| entry.delete(start, end, &[known.id]));
                }
            }
            Action::Checkpoint => {
                let frozen = self.shard.freeze(&[]).expect("sound");
                let position = frozen.write().expect("the store works");
                self.shard.checkpointed(position);
                self.kv.flush().expect("the store works");
            }
            Action::Crash => {
                self.kv.crash(0);
                self.shard = open(&self.kv);
                let applied = self.shard.applied().index as usize;
                for (index, entry) in self.log.iter().enumerate().skip(applied) {
                    self.shard.apply(position(index), entry).expect("it was applied before");
                }
            }
        }
    }

    fn check(&self) {
        let reader = self.shard.reader();
        assert_eq!(reader.counted_series(), u64::from(self.counted(|_| true)));
        let jobs: BTreeMap<String, u64> = reader.jobs_of(1).into_iter().collect();
        for job in ["job0", "job1", "job2"] {
            let counted = self.counted(|it| it.value("job") == job);
            assert_eq!(jobs.get(job).copied().unwrap_or(0), u64::from(counted), "{job}");
        }
    }
}

fn action() -> impl Strategy<Value = Action> {
    let behind = prop_oneof![4 => 0i64..60_000, 1 => 0..3 * HOUR];
    let rows = proptest::collection::vec((0..SERIES, behind), 1..10);
    let limit = || prop_oneof![Just(0u32), 1u32..9];
    let full = proptest::collection::btree_set(0u8..3, 0..2);
    prop_oneof![
        8 => rows.prop_map(Action::Append),
        4 => prop_oneof![60_000i64..120_000, 0..3 * HOUR].prop_map(Action::Wait),
        2 => [limit(), limit(), limit()].prop_map(Action::Limit),
        1 => (full, proptest::bool::weighted(0.2)).prop_map(|(jobs, node)| Action::Full(jobs, node)),
        1 => (0..SERIES).prop_map(Action::Delete),
        2 => Just(Action::Checkpoint),
        2 => Just(Action::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn only_series_beyond_a_limit_are_refused(
        actions in proptest::collection::vec(action(), 1..50),
    ) {
        let mut run = Run::new();
        for action in &actions {
            run.act(action);
            run.check();
        }
        run.act(&Action::Crash);
        run.check();
        let mut replayed = open(&Arc::new(MemoryKv::new()));
        for (index, entry) in run.log.iter().enumerate() {
            replayed.apply(position(index), entry).expect("valid");
        }
        let digest = |shard: &Shard| {
            shard.reader().digest(Timestamp::MIN, Timestamp::MAX).run().expect("readable")
        };
        prop_assert_eq!(digest(&run.shard), digest(&replayed));
    }
}

#[test]
fn at_a_limit_what_exists_goes_on() {
    let mut run = Run::new();
    run.act(&Action::Limit([0, 2, 0]));
    run.act(&Action::Append(vec![(0, 0), (8, 0)]));
    run.act(&Action::Wait(15_000));
    run.act(&Action::Append(vec![(0, 0), (8, 0), (16, 0), (4, 0)]));
    assert!(run.known.contains_key(&4), "another target has room");
    assert!(!run.known.contains_key(&16));
    assert_eq!(run.shard.reader().stats().samples, 5);
    // The silent series makes room with the second hour that begins.
    for _ in 0..9 {
        run.act(&Action::Wait(HOUR / 4));
        run.act(&Action::Append(vec![(0, 0)]));
    }
    run.act(&Action::Append(vec![(16, 0)]));
    assert!(run.known.contains_key(&16));
    // Who comes back goes on, beyond the limit.
    run.act(&Action::Append(vec![(8, 0)]));
    assert_eq!(run.shard.reader().counted_series(), 3);
}
