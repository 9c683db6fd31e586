//! Drives a shard and a naive model side by side.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use narthex_model::{Labels, Matcher, Timestamp};
use narthex_tsdb::{
    Columns, Digest, DigestTask, Frozen, LogPosition, OpenError, ReadError, ReplicaNumber,
    RetentionClass, RewriteError, SeriesId, Settings, Shard, TargetId,
    entry::{
        EntryWriter, Header, Horizon, RowOwner, SampleBlock, SampleTimes, ScrapeParts, ScrapeSlot,
        Source, TargetGone,
    },
    kv::{KeyValue, KvError, MemoryKv},
};

mod cell;
mod model;
mod retention;
mod side;

pub use cell::{Cell, RichValue};
use model::{Late, Model};
pub use retention::RULES;

pub const SERIES: usize = 90;
pub const TARGETS: usize = 3;
const REPLICA: ReplicaNumber = ReplicaNumber(1);
const START: i64 = 1_700_000_000_000;
const DAY: i64 = 86_400_000;

/// One step of a run. Times are relative to the newest time so far.
#[derive(Debug, Clone)]
pub enum Action {
    /// Rows of (series, offset to the newest time, bits).
    Append(Vec<(usize, i64, u64)>),
    /// The same, as old as retention allows.
    Backfill(Vec<(usize, i64, u64)>),
    /// Many samples of one series.
    Burst {
        series: usize,
        count: u16,
        step: i64,
        value: u64,
    },
    /// A scrape; `repeat` sends its slot twice.
    Scrape {
        target: usize,
        series: Vec<(usize, u64)>,
        repeat: bool,
    },
    /// Rows of (series, offset to the newest time, value, start timestamp's distance).
    Rich(Vec<(usize, i64, RichValue, Option<i64>)>),
    /// Many histograms of one series.
    RichBurst {
        series: usize,
        count: u16,
        value: RichValue,
    },
    /// Exemplars of (series, offset to the newest time, label).
    Exemplars(Vec<(usize, i64, u8)>),
    /// What a family is, by numbers.
    Family(u8, u8),
    ScrapeFailed(usize),
    TargetGone(usize),
    /// Keeps this many days of one of the classes.
    Horizon(usize, u32),
    /// Other rules of retention, by their number.
    Rules(usize),
    /// The out-of-order window, in half hours.
    Window(u64),
    /// Ends all open chunks.
    Seal,
    /// Deletes `[start, end]`, relative to the newest time, of some series.
    Delete {
        series: BTreeSet<usize>,
        start: i64,
        end: i64,
    },
    Freeze,
    WriteFrozen,
    Flush,
    /// Cleans what was deleted and joins what ended.
    Rewrite,
    /// Selects everything, to be read at the next of these.
    Pin,
    /// Loses all unflushed batches but this many, reopens, and applies the log behind it again.
    Crash(usize),
}

pub struct Driver {
    kv: Arc<MemoryKv>,
    shard: Shard,
    frozen: Option<Frozen>,
    log: Vec<Vec<u8>>,
    model: Model,
    settings: Settings,
    known: BTreeMap<usize, SeriesId>,
    /// A selection that was made, and what it showed then.
    pinned: Option<(DigestTask, Digest, Vec<Horizon>)>,
    /// What the model held once, and the entry that it held it after.
    remembered: Option<(u64, Held)>,
    now: i64,
    slot: u64,
}

type Held = BTreeMap<usize, BTreeMap<i64, Cell>>;

fn labels(series: usize) -> Labels {
    let job = format!("job{}", series % 3);
    Labels::from_pairs([("__name__", format!("m{}", series / 3)), ("job", job)]).expect("valid")
}

fn position(index: usize) -> LogPosition {
    LogPosition { term: 1, index: index as u64 + 1 }
}

fn open(kv: &Arc<MemoryKv>) -> Result<Shard, OpenError> {
    Shard::open(Arc::clone(kv) as Arc<dyn KeyValue>, REPLICA)
}

fn digest(shard: &Shard) -> Digest {
    shard.reader().digest(Timestamp::MIN, Timestamp::MAX).run().expect("readable")
}

impl Driver {
    pub fn new() -> Self {
        let kv = Arc::new(MemoryKv::new());
        Self {
            shard: open(&kv).expect("empty"),
            kv,
            frozen: None,
            log: Vec::new(),
            model: Model::new(),
            settings: Settings::default(),
            known: BTreeMap::new(),
            pinned: None,
            remembered: None,
            now: START,
            slot: 0,
        }
    }

    pub fn kv(&self) -> &MemoryKv {
        &self.kv
    }

    pub fn act(&mut self, action: &Action) {
        self.try_act(action).expect("the store works");
    }

    pub fn try_act(&mut self, action: &Action) -> Result<(), KvError> {
        match action {
            Action::Append(rows) => self.append(rows, Late::InWindow),
            Action::Backfill(rows) => self.append(rows, Late::Always),
            Action::Burst { series, count, step, value } => {
                self.burst(*series, *count, *step, *value);
            }
            Action::Scrape { target, series, repeat } => {
                self.slot += 1;
                self.now += 15_000;
                for _ in 0..=usize::from(*repeat) {
                    self.scrape(*target, series);
                }
            }
            Action::Rich(rows) => self.rich(rows),
            Action::RichBurst { series, count, value } => {
                for round in 1..=u64::from(*count) {
                    let value = value.later(round);
                    self.rich(&[(*series, 15_000, value, Some(15_000 * round as i64))]);
                }
            }
            Action::Exemplars(rows) => self.exemplars(rows),
            Action::Family(name, help) => self.family(*name, *help),
            Action::ScrapeFailed(target) => self.scrape_failed(*target),
            Action::TargetGone(target) => self.target_gone(*target),
            Action::Horizon(class, days) => self.horizon(*class, *days),
            Action::Rules(rules) => self.rules(*rules),
            Action::Window(half_hours) => self.window(*half_hours),
            Action::Seal => {
                let mut entry = self.writer();
                entry.seal();
                self.propose(entry, &[]);
            }
            Action::Delete { series, start, end } => self.delete(series, *start, *end),
            Action::Freeze => {
                let extra = self.log.len().to_le_bytes();
                self.frozen = Some(self.shard.freeze(&extra).expect("sound"));
            }
            Action::WriteFrozen => {
                if let Some(frozen) = self.frozen.take() {
                    let position = frozen.write()?;
                    self.shard.checkpointed(position);
                }
            }
            Action::Flush => self.kv.flush()?,
            // A checkpoint that was frozen keeps rewriting away.
            Action::Rewrite if self.frozen.is_some() => {}
            Action::Rewrite => match self.rewrite() {
                Err(RewriteError::Store(error)) => return Err(error),
                result => result.expect("pages are sound"),
            },
            Action::Pin => self.pin(),
            Action::Crash(kept) => self.crash(*kept),
        }
        Ok(())
    }

    fn writer(&self) -> EntryWriter {
        let leader_time = Timestamp::from_millis(self.now);
        EntryWriter::new(Header { leader_time, leader_node: 1, tenant: 0 })
    }

    /// Applies an entry and learns the ids it gave to `fresh`, in order.
    fn propose(&mut self, entry: EntryWriter, fresh: &[usize]) {
        let entry = entry.finish();
        let outcome = self.shard.apply(position(self.log.len()), &entry).expect("valid");
        self.log.push(entry);
        let resolved: Vec<_> = outcome.commands.iter().flat_map(|c| &c.resolved).copied().collect();
        assert_eq!(
            resolved.len(),
            if outcome.commands[0].fenced.is_some() { 0 } else { fresh.len() }
        );
        self.known.extend(fresh.iter().copied().zip(resolved));
    }

    /// Adds a row by id if the series has one, else by labels.
    fn push(&self, block: &mut SampleBlock, fresh: &mut Vec<usize>, row: (usize, i64, u64)) {
        let (series, time, bits) = row;
        let (time, value) = (Timestamp::from_millis(time), f64::from_bits(bits));
        match self.known.get(&series) {
            Some(&id) => block.push(id, time, value),
            None => {
                block.push_labels(&labels(series), time, value);
                fresh.push(series);
            }
        }
    }

    fn append(&mut self, rows: &[(usize, i64, u64)], late: Late) {
        let (mut block, mut fresh) = (SampleBlock::new(), Vec::new());
        let now = self.now;
        // Known rows are applied before inline ones.
        let (known, inline): (Vec<_>, Vec<_>) =
            rows.iter().partition(|row| self.known.contains_key(&row.0));
        for (series, offset, bits) in known.into_iter().chain(inline) {
            let time = now + offset;
            self.push(&mut block, &mut fresh, (series, time, bits));
            self.model.append(series, time, Cell::float(bits), late);
            self.now = self.now.max(time);
        }
        let mut entry = self.writer();
        match late {
            Late::Always => entry.backfill(&block),
            _ => entry.append(Source::Client, &block),
        }
        self.propose(entry, &fresh);
    }

    /// The owner of a row: by id if the series has one, else by labels.
    fn owner(&self, block: &mut SampleBlock, fresh: &mut Vec<usize>, series: usize) -> RowOwner {
        match self.known.get(&series) {
            Some(&id) => RowOwner::Known(id),
            None => {
                fresh.push(series);
                RowOwner::Inline(block.inline(&labels(series)))
            }
        }
    }

    fn rich(&mut self, rows: &[(usize, i64, RichValue, Option<i64>)]) {
        let (mut block, mut fresh) = (SampleBlock::new(), Vec::new());
        let now = self.now;
        for (series, offset, value, start) in rows {
            let time = now + offset;
            let start = start.map_or(0, |before| time - before);
            let owner = self.owner(&mut block, &mut fresh, *series);
            let times = SampleTimes {
                timestamp: Timestamp::from_millis(time),
                start: Timestamp::from_millis(start),
            };
            value.push(&mut block, owner, times);
            self.model.append(*series, time, Cell { value: value.cell(), start }, Late::InWindow);
            self.now = self.now.max(time);
        }
        let mut entry = self.writer();
        entry.append(Source::Client, &block);
        self.propose(entry, &fresh);
    }

    fn exemplars(&mut self, rows: &[(usize, i64, u8)]) {
        let (mut block, mut fresh, mut kept) = (SampleBlock::new(), Vec::new(), Vec::new());
        for &(series, offset, label) in rows {
            let exemplar = side::exemplar(self.now + offset, label);
            let owner = self.owner(&mut block, &mut fresh, series);
            block.push_exemplar(owner, exemplar.clone());
            if self.model.keeps(series, self.now + offset) {
                kept.push((series, exemplar));
            }
        }
        let mut entry = self.writer();
        entry.append(Source::Client, &block);
        self.propose(entry, &fresh);
        for (series, exemplar) in kept {
            self.model.side.add(self.known[&series], exemplar);
        }
    }

    fn family(&mut self, name: u8, help: u8) {
        let mut block = SampleBlock::new();
        let (name, help) = (format!("m{name}"), format!("help {help}"));
        block.push_family(&side::metadata(&name, &help));
        self.model.side.tell(name, help, self.now.div_euclid(DAY));
        let mut entry = self.writer();
        entry.append(Source::Client, &block);
        self.propose(entry, &[]);
    }

    fn burst(&mut self, series: usize, count: u16, step: i64, value: u64) {
        let rows: Vec<_> =
            (1..=i64::from(count)).map(|i| (series, i * step, value + i as u64 % 5)).collect();
        self.append(&rows[..1], Late::InWindow);
        let shifted: Vec<_> =
            rows[1..].iter().map(|&(series, offset, bits)| (series, offset - step, bits)).collect();
        self.append(&shifted, Late::InWindow);
    }

    fn scrape(&mut self, target: usize, rows: &[(usize, u64)]) {
        let (mut block, mut fresh) = (SampleBlock::new(), Vec::new());
        let (known, inline): (Vec<_>, Vec<_>) =
            rows.iter().partition(|row| self.known.contains_key(&row.0));
        let rows: Vec<(usize, u64)> = known.into_iter().chain(inline).collect();
        for &(series, bits) in &rows {
            self.push(&mut block, &mut fresh, (series, self.now, bits));
        }
        let mut entry = self.writer();
        let empty = SampleBlock::new();
        let parts = ScrapeParts {
            samples: &block,
            stamped: &empty,
            track_stamped: false,
            report: &empty,
            elsewhere: &[],
        };
        entry.scrape(self.slot_of(target), parts);
        self.propose(entry, &fresh);
        self.model.scrape(target, self.slot, self.now, &rows);
    }

    fn slot_of(&self, target: usize) -> ScrapeSlot {
        ScrapeSlot {
            target: TargetId(target as u128),
            slot: self.slot,
            time: Timestamp::from_millis(self.now),
            source: Source::Client,
        }
    }

    fn scrape_failed(&mut self, target: usize) {
        self.slot += 1;
        self.now += 15_000;
        let mut entry = self.writer();
        entry.scrape_failed(self.slot_of(target), &SampleBlock::new());
        self.propose(entry, &[]);
        self.model.scrape(target, self.slot, self.now, &[]);
    }

    fn target_gone(&mut self, target: usize) {
        self.now += 1000;
        let mut entry = self.writer();
        let time = Timestamp::from_millis(self.now);
        let source = Source::Client;
        entry.target_gone(TargetGone { target: TargetId(target as u128), time, source });
        self.propose(entry, &[]);
        self.model.gone(target, self.now);
    }

    fn horizon(&mut self, class: usize, days: u32) {
        let time = self.now - i64::from(days) * DAY;
        let mut entry = self.writer();
        let class = RetentionClass(retention::CLASSES[class % retention::CLASSES.len()]);
        entry.horizon(&[Horizon { class, time: Timestamp::from_millis(time) }]);
        self.propose(entry, &[]);
        self.model.horizon(class.0, time);
        self.forget_removed();
        self.check_presence();
    }

    fn rules(&mut self, rules: usize) {
        let retention = retention::rules(rules);
        self.set(Settings { retention, ..self.settings.clone() });
        self.model.rules = rules;
    }

    fn set(&mut self, settings: Settings) {
        let mut entry = self.writer();
        entry.settings(&settings);
        self.propose(entry, &[]);
        self.settings = settings;
    }

    /// Removed series are unknown: who sends must send labels again.
    fn forget_removed(&mut self) {
        let reader = self.shard.reader();
        self.known.retain(|_, id| reader.labels(*id).is_some());
    }

    fn delete(&mut self, series: &BTreeSet<usize>, start: i64, end: i64) {
        let (start, end) = (self.now.saturating_add(start), self.now.saturating_add(end));
        let mut ids: Vec<_> = series.iter().filter_map(|it| self.known.get(it).copied()).collect();
        ids.sort();
        let mut entry = self.writer();
        entry.delete(Timestamp::from_millis(start), Timestamp::from_millis(end), &ids);
        self.propose(entry, &[]);
        for series in series {
            self.model.delete(*series, start, end);
        }
        self.forget_removed();
        self.check_presence();
    }

    /// What has a sample is selected; what is selected is present on some day.
    fn check_presence(&self) {
        let series = self.shard.reader().series(&[], Timestamp::MIN, Timestamp::MAX);
        let shown: BTreeSet<Labels> = series.into_iter().collect();
        let present = self.model.present.iter().filter(|(_, days)| !days.is_empty());
        let expected: BTreeSet<Labels> = present.map(|(&series, _)| labels(series)).collect();
        assert_eq!(shown, expected);
    }

    fn window(&mut self, half_hours: u64) {
        let out_of_order_window = Duration::from_secs(half_hours * 1800);
        let exemplars_max = side::EXEMPLARS_MAX as u32 - half_hours as u32;
        self.set(Settings { out_of_order_window, exemplars_max, ..self.settings.clone() });
        self.model.side.shrink(exemplars_max as usize);
        self.model.window = out_of_order_window.as_millis() as i64;
    }

    fn rewrite(&self) -> Result<(), RewriteError> {
        let rewriter = self.shard.rewriter();
        for group in rewriter.groups_to_clean() {
            for part in rewriter.parts_to_clean(group) {
                rewriter.rewrite(part)?;
            }
            rewriter.cleaned(group, rewriter.upto())?;
        }
        while let Some((day, parts)) = rewriter.parts_to_join(None) {
            for part in parts {
                rewriter.rewrite(part)?;
            }
            rewriter.joined(day, rewriter.upto())?;
        }
        Ok(())
    }

    fn pin(&mut self) {
        if let Some((task, shown, horizons)) = self.pinned.take() {
            match task.run() {
                Err(ReadError::Dropped) => assert_ne!(self.shard.reader().horizons(), horizons),
                digest => assert_eq!(digest.expect("readable"), shown),
            }
        }
        let task = || self.shard.reader().digest(Timestamp::MIN, Timestamp::MAX);
        let horizons = self.shard.reader().horizons();
        self.pinned = Some((task(), task().run().expect("readable"), horizons));
        self.check_remembered();
        self.remembered = Some((self.shard.applied().index, self.model.samples.clone()));
    }

    /// What is said to be unchanged is.
    fn check_remembered(&self) {
        let Some((index, samples)) = &self.remembered else { return };
        let (applied, earliest) = self.shard.reader().changes_since(*index);
        assert_eq!(applied, self.shard.applied());
        let unchanged = |held: &Held| -> Held {
            let of = |samples: &BTreeMap<i64, Cell>| -> BTreeMap<i64, Cell> {
                samples.range(..earliest.millis()).map(|(&at, cell)| (at, cell.clone())).collect()
            };
            let held = held.iter().map(|(&series, samples)| (series, of(samples)));
            held.filter(|(_, samples)| !samples.is_empty()).collect()
        };
        assert_eq!(unchanged(samples), unchanged(&self.model.samples));
    }

    fn crash(&mut self, kept: usize) {
        self.frozen = None;
        self.pinned = None;
        self.kv.crash(kept);
        self.shard = open(&self.kv).expect("a checkpoint is sound");
        let applied = self.shard.applied().index as usize;
        let persisted = self.shard.persisted().expect("readable");
        assert_eq!(persisted.map_or(0, |(position, _)| position.index as usize), applied);
        if applied > 0 {
            assert_eq!(self.shard.restored_extra(), applied.to_le_bytes());
        }
        for (index, entry) in self.log.iter().enumerate().skip(applied) {
            self.shard.apply(position(index), entry).expect("it was applied before");
        }
    }

    /// The shard shows what the model holds.
    pub fn check(&self) {
        self.check_remembered();
        let reader = self.shard.reader();
        let series_of: BTreeMap<_, _> =
            (0..SERIES).map(|series| (labels(series), series)).collect();
        self.model.side.check(&reader, |labels, time| self.model.keeps(series_of[labels], time));
        let found = reader.select(&[], Timestamp::MIN, Timestamp::MAX);
        let mut shown: BTreeMap<Labels, Vec<(i64, Cell)>> = BTreeMap::new();
        let mut columns = Columns::new();
        for series in &found {
            columns.clear();
            series.samples.read(Timestamp::MIN, Timestamp::MAX, &mut columns).expect("readable");
            let rows = cell::rows(&columns);
            assert!(rows.is_sorted_by(|a, b| a.0 < b.0), "{}", series.labels);
            if !rows.is_empty() {
                assert!(shown.insert(series.labels.clone(), rows).is_none());
            }
        }
        let expected: BTreeMap<Labels, Vec<(i64, Cell)>> = self
            .model
            .samples
            .iter()
            .filter(|(_, samples)| !samples.is_empty())
            .map(|(&series, samples)| {
                (labels(series), samples.iter().map(|(&t, b)| (t, b.clone())).collect())
            })
            .collect();
        assert_eq!(shown.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (labels, rows) in &expected {
            assert_eq!(&shown[labels], rows, "{labels}");
            self.check_range(labels, rows);
        }
    }

    /// A part of a series is the same part of the model's.
    fn check_range(&self, labels: &Labels, rows: &[(i64, Cell)]) {
        let (start, end) = (rows[rows.len() / 3].0, rows[rows.len() * 2 / 3].0);
        let matchers: Vec<_> = labels.iter().map(|(n, v)| Matcher::equal(n, v)).collect();
        let (from, to) = (Timestamp::from_millis(start), Timestamp::from_millis(end));
        let found = self.shard.reader().select(&matchers, from, to);
        assert_eq!(found.len(), 1, "{labels}");
        let mut columns = Columns::new();
        found[0].samples.read(from, to, &mut columns).expect("readable");
        let inside = rows.iter().filter(|row| (start..=end).contains(&row.0));
        assert_eq!(cell::rows(&columns), inside.cloned().collect::<Vec<_>>(), "{labels}");
    }

    /// A replica that applies the same log from empty has the same content and outcomes.
    pub fn check_against_replay(&self) {
        let mut replayed = open(&Arc::new(MemoryKv::new())).expect("empty");
        for (index, entry) in self.log.iter().enumerate() {
            replayed.apply(position(index), entry).expect("valid");
        }
        assert_eq!(digest(&self.shard), digest(&replayed));
    }
}
