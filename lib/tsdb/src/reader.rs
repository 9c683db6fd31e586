//! Reading a shard while it is written.
//!
//! A selection is made under the shard's lock, held for as long as it takes to copy pointers and
//! the bits of open runs; everything is decoded outside. What it shows is the state at one log
//! position, whole entries only, however long it is kept: finished chunks are pinned, and pages
//! that were written from later entries are passed over.

mod cardinality;
mod disk;
mod merge;
mod select;

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use narthex_model::{Exemplar, FamilyMetadata, Labels, Matcher, Timestamp};
use parking_lot::RwLockReadGuard;

use crate::{
    Columns, DigestTask, LogPosition, RetentionClass, RuleGroupId, SeriesId, Settings, TargetId,
    bytes::Malformed,
    days::{DAY_MS, day_of},
    entry::{self, Horizon},
    exemplars::StoredExemplar,
    head::Head,
    keys,
    kv::{KvError, Space},
    pins::Pin,
    retention::Horizons,
    rich::RichSeries,
    rule_groups::RuleGroup,
    runs::Runs,
    series::FinishedChunk,
    shard::Core,
    tombstones::Tombstone,
};
pub use cardinality::{Cardinality, LabelCount};
use disk::DiskPages;
pub(crate) use merge::{LateSamples, merge_late};

/// Why samples could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store failed.
    #[error("read chunks")]
    Store(#[from] KvError),
    /// A page is damaged: the replica must be rebuilt.
    #[error("decode chunks of series {series}")]
    Damaged {
        /// The series that was read.
        series: SeriesId,
        /// What is wrong with the page.
        #[source]
        source: Malformed,
    },
    /// Retention dropped samples that were to be digested: ask for a new digest.
    #[error("retention dropped samples while they were digested")]
    Dropped,
}

/// Queries one shard. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ShardReader {
    core: Arc<Core>,
}

/// A series that matched.
#[derive(Debug, Clone)]
pub struct SelectedSeries {
    /// Its labels.
    pub labels: Labels,
    /// Its samples.
    pub samples: SeriesHandle,
}

/// Which series there are; see [`ShardReader::look_up`].
#[derive(Debug)]
pub struct SeriesLookup<'a> {
    head: RwLockReadGuard<'a, Head>,
}

impl SeriesLookup<'_> {
    /// The id of the series with exactly these labels.
    pub fn find(&self, labels: &Labels) -> Option<SeriesId> {
        self.head.index.find(labels.as_bytes())
    }

    /// Whether the series exists and its labels have this fingerprint.
    #[inline]
    pub fn has(&self, id: SeriesId, fingerprint: u32) -> bool {
        self.head.index.fingerprint(id) == Some(fingerprint)
    }

    /// Whether the shard was told the same of a metric family on the same day: it need not be
    /// told again.
    pub fn knows(&self, metadata: &FamilyMetadata<'_>) -> bool {
        self.head.families.knows(metadata, day_of(self.head.leader_time))
    }
}

/// The samples of a series as they were when it was selected.
#[derive(Debug, Clone)]
pub struct SeriesHandle {
    shelf: Arc<Shelf>,
    id: SeriesId,
    /// Words of the open run on the shelf.
    open: Range<usize>,
    open_count: u16,
    runs: Runs,
    finished: Vec<Arc<FinishedChunk>>,
    late: Vec<(i64, u64)>,
    /// Histograms and start timestamps that are still in memory, if any.
    rich: Option<Box<RichSeries>>,
    /// What of the series was deleted.
    hidden: Box<[Tombstone]>,
    /// Memory has all chunks that begin here or later and came in order.
    memory_start: i64,
    /// The store has nothing for the series from here on: open chunk and finished chunks begin
    /// here, and no late chunk was written behind it.
    disk_end: i64,
}

/// What the series of one selection have in common.
#[derive(Debug)]
struct Shelf {
    /// Keeps pages apart that a reader of this log index must tell apart.
    _pin: Pin,
    applied: u64,
    horizons: Horizons,
    /// Copied words of open runs.
    words: Vec<u64>,
    disk: DiskPages,
}

/// Figures of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardStats {
    /// The last applied entry.
    pub applied: LogPosition,
    /// Series in memory.
    pub series: u64,
    /// Ids given over the shard's life.
    pub series_created: u64,
    /// Samples stored over the shard's life.
    pub samples: u64,
    /// Open chunks.
    pub open_chunks: u64,
    /// Finished chunks that no confirmed checkpoint holds.
    pub finished_chunks: u64,
    /// Deletes of a series and range whose pages were not rewritten yet.
    pub tombstones: u64,
    /// Memory of series, index and finished chunks, near enough.
    pub memory_bytes: u64,
    /// The start of the first day that has samples, or the horizon if that is later.
    pub time_min: Option<Timestamp>,
    /// The newest sample's time.
    pub time_max: Option<Timestamp>,
}

/// What a shard remembers of a rule group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleGroupState {
    /// The group.
    pub id: RuleGroupId,
    /// How far it came.
    pub position: u64,
    /// What its rules remember, as it was given.
    pub state: Arc<[u8]>,
}

/// What a shard remembers of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetState {
    /// The target.
    pub id: TargetId,
    /// The slot of its last scrape.
    pub last_slot: u64,
    /// When that was.
    pub last_time: Timestamp,
    /// Whether it was good.
    pub healthy: bool,
    /// Series of its last good scrape.
    pub series: usize,
    /// The shard that it belongs to, where only parts of its scrapes are here.
    pub owner: Option<u32>,
    /// The other shards that hold parts of its last good scrape.
    pub elsewhere: Vec<u32>,
}

impl ShardReader {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// The series that satisfy all matchers and are present on a day that `[start, end]` touches,
    /// in order of their ids. Presence is by days: a series may have no sample in the range.
    pub fn select(
        &self,
        matchers: &[Matcher],
        start: Timestamp,
        end: Timestamp,
    ) -> Vec<SelectedSeries> {
        select::select(&self.core, matchers, start.millis(), end.millis())
    }

    /// The label sets that [`ShardReader::select`] would select.
    pub fn series(&self, matchers: &[Matcher], start: Timestamp, end: Timestamp) -> Vec<Labels> {
        let head = self.core.head.read();
        let ids = select::matching(&head, matchers, start.millis(), end.millis());
        ids.iter().filter_map(|id| head.index.labels(SeriesId(id))).collect()
    }

    /// The ids of the series that [`ShardReader::select`] would select, in order.
    pub fn matching(
        &self,
        matchers: &[Matcher],
        start: Timestamp,
        end: Timestamp,
    ) -> Vec<SeriesId> {
        let head = self.core.head.read();
        let ids = select::matching(&head, matchers, start.millis(), end.millis());
        ids.iter().map(SeriesId).collect()
    }

    /// Names of the labels of matching series, in order.
    pub fn label_names(
        &self,
        matchers: &[Matcher],
        start: Timestamp,
        end: Timestamp,
    ) -> Vec<String> {
        let head = self.core.head.read();
        let ids = select::matching(&head, matchers, start.millis(), end.millis());
        head.index.label_names(&ids)
    }

    /// Values of a label of matching series, in order.
    pub fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        start: Timestamp,
        end: Timestamp,
    ) -> Vec<String> {
        let head = self.core.head.read();
        let ids = select::matching(&head, matchers, start.millis(), end.millis());
        head.index.label_values(name, &ids)
    }

    /// Counts the labels of the series that [`ShardReader::select`] would select without matchers.
    pub fn cardinality(&self, start: Timestamp, end: Timestamp) -> Cardinality {
        Cardinality::new(self, start, end)
    }

    /// The id of the series with exactly these labels.
    pub fn find(&self, labels: &Labels) -> Option<SeriesId> {
        self.look_up().find(labels)
    }

    /// Looks up many series under one lock, which holds up apply.
    pub fn look_up(&self) -> SeriesLookup<'_> {
        SeriesLookup { head: self.core.head.read() }
    }

    /// The labels of a series.
    pub fn labels(&self, id: SeriesId) -> Option<Labels> {
        self.core.head.read().index.labels(id)
    }

    /// The last applied entry.
    pub fn applied(&self) -> LogPosition {
        self.core.head.read().applied
    }

    /// The last applied entry, and the earliest time at which what is read may differ from what was
    /// read right after entry `index` was applied: the end of time if nothing changed, the beginning
    /// if that is not known.
    pub fn changes_since(&self, index: u64) -> (LogPosition, Timestamp) {
        let head = self.core.head.read();
        // What was never applied is of another past.
        let earliest = match index <= head.applied.index {
            true => head.changes.since(index),
            false => i64::MIN,
        };
        (head.applied, Timestamp::from_millis(earliest))
    }

    /// How many series count against limits: 0 where there are none.
    pub fn counted_series(&self) -> u64 {
        self.core.head.read().counts.all()
    }

    /// Whether anything limits how many series there may be.
    pub fn limits_series(&self) -> bool {
        self.core.head.read().settings.limits_series()
    }

    /// The jobs with at least so many series that count, where series are limited.
    pub fn jobs_of(&self, series_min: u64) -> Vec<(String, u64)> {
        let head = self.core.head.read();
        let jobs = head.counts.jobs().filter(|&(_, series)| series >= series_min);
        jobs.map(|(job, series)| (head.index.value_of(job).to_owned(), series)).collect()
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        self.core.head.read().settings.clone()
    }

    /// Where what is kept of the default class begins; [`Timestamp::MIN`] before its first
    /// `Horizon` entry.
    pub fn horizon(&self) -> Timestamp {
        let class = RetentionClass::default();
        Timestamp::from_millis(self.core.head.read().horizons.of(class))
    }

    /// The same of every class that samples were ever of, the default class first.
    pub fn horizons(&self) -> Vec<Horizon> {
        let head = self.core.head.read();
        let time = |class| Timestamp::from_millis(head.horizons.of(class));
        head.horizons.classes().map(|class| Horizon { class, time: time(class) }).collect()
    }

    /// The days that are kept, in days since the epoch, with what the files of each hold, near
    /// enough. Blocks on the disk.
    pub fn day_bytes(&self) -> Result<Vec<(i64, u64)>, KvError> {
        let days: Vec<(i64, Vec<RetentionClass>)> = {
            let head = self.core.head.read();
            let horizons = &head.horizons;
            let of = |day: i64| {
                horizons.classes().filter(move |&class| day >= day_of(horizons.of(class)))
            };
            let days = head.days.iter().map(|(day, _)| (day, of(day).collect()));
            days.filter(|(_, classes): &(_, Vec<_>)| !classes.is_empty()).collect()
        };
        let bytes_of = |day, class| {
            let range = keys::chunks_of_day(self.core.replica, class, day);
            self.core.kv.file_bytes(Space::Chunks, &range.start, &range.end)
        };
        let bytes = |(day, classes): (i64, Vec<RetentionClass>)| {
            let all = classes.into_iter().map(|class| bytes_of(day, class));
            Ok((day, all.sum::<Result<u64, KvError>>()?))
        };
        days.into_iter().map(bytes).collect()
    }

    /// The leader's clock as of the last applied entry.
    pub fn leader_time(&self) -> Timestamp {
        Timestamp::from_millis(self.core.head.read().leader_time)
    }

    /// A digest of the samples of `[start, end]` as of the last applied entry. To be taken by
    /// the thread that applies, or an entry may come in between.
    pub fn digest(&self, start: Timestamp, end: Timestamp) -> DigestTask {
        DigestTask::new(self, entry::Digest { start, end })
    }

    pub(crate) fn position_and_outcomes(&self) -> (LogPosition, u64) {
        let head = self.core.head.read();
        (head.applied, head.outcomes)
    }

    /// The exemplars of `[start, end]` by series, of those series that satisfy all matchers of one
    /// of the sets. Series are in order of their ids, exemplars in order of time.
    pub fn exemplars(
        &self,
        sets: &[Vec<Matcher>],
        start: Timestamp,
        end: Timestamp,
    ) -> Vec<(Labels, Vec<Exemplar>)> {
        let head = self.core.head.read();
        let range = start.millis()..=end.millis();
        let mut found: BTreeMap<SeriesId, Vec<Exemplar>> = BTreeMap::new();
        let matches = |id| sets.iter().any(|matchers| head.index.matches(id, matchers));
        let mut is_wanted: BTreeMap<SeriesId, bool> = BTreeMap::new();
        for exemplar in head.exemplars.iter().filter(|exemplar| range.contains(&exemplar.time)) {
            let is_kept = || exemplar.time >= head.floor_at(exemplar.series, exemplar.time);
            let is_wanted =
                is_wanted.entry(exemplar.series).or_insert_with(|| matches(exemplar.series));
            if *is_wanted && is_kept() {
                found.entry(exemplar.series).or_default().push(exemplar.to_model());
            }
        }
        let labelled = |(id, exemplars)| Some((head.index.labels(id)?, exemplars));
        found.into_iter().filter_map(labelled).collect()
    }

    /// Shows what is known of each metric family, in order of their names. Apply waits meanwhile.
    pub fn visit_families(&self, mut visit: impl FnMut(FamilyMetadata<'_>)) {
        let head = self.core.head.read();
        head.families.iter().for_each(|(name, family)| visit(family.metadata(name)));
    }

    /// A hash of the exemplars of a range, of all metadata, and of what rule groups remember.
    pub(crate) fn side_content(&self, range: &entry::Digest) -> u128 {
        let head = self.core.head.read();
        let range = range.start.millis()..=range.end.millis();
        let exemplars = head.exemplars.iter().filter(|exemplar| range.contains(&exemplar.time));
        let exemplars = exemplars.map(StoredExemplar::hash);
        exemplars
            .chain(head.families.iter().map(|(name, family)| family.hash(name)))
            .chain(std::iter::once(head.rule_groups.content()))
            .fold(0, u128::wrapping_add)
    }

    /// Every target that is being scraped.
    pub fn targets(&self) -> Vec<TargetState> {
        self.core.head.read().targets.iter().map(|(id, target)| target.state(id)).collect()
    }

    /// One target.
    pub fn target(&self, id: TargetId) -> Option<TargetState> {
        self.core.head.read().targets.find(id).map(|target| target.state(id))
    }

    /// Every rule group that has state here.
    pub fn rule_groups(&self) -> Vec<RuleGroupState> {
        let head = self.core.head.read();
        let state = |(id, group): (RuleGroupId, &RuleGroup)| RuleGroupState {
            id,
            position: group.position,
            state: Arc::clone(&group.state),
        };
        head.rule_groups.iter().map(state).collect()
    }

    /// One rule group.
    pub fn rule_group(&self, id: RuleGroupId) -> Option<RuleGroupState> {
        let head = self.core.head.read();
        let RuleGroup { position, state, .. } = head.rule_groups.find(id)?.clone();
        Some(RuleGroupState { id, position, state })
    }

    /// Figures for metrics and status. Walks all series.
    pub fn stats(&self) -> ShardStats {
        let head = self.core.head.read();
        let groups = || head.groups.iter().flatten();
        let newest = groups().flat_map(|group| &group.hot).filter(|hot| hot.started && hot.alive);
        let finished = || head.finished.values().flatten();
        let first_day = head.days.iter().find(|(_, day)| !day.present.is_empty());
        let floor = head.horizons.lowest();
        ShardStats {
            applied: head.applied,
            series: head.index.series_count() as u64,
            series_created: u64::from(head.next_series),
            samples: head.samples_total,
            open_chunks: groups().map(|group| group.open_chunks()).sum::<usize>() as u64,
            finished_chunks: finished().count() as u64,
            tombstones: head.tombstones.count() as u64,
            memory_bytes: (groups().map(|group| group.memory_bytes()).sum::<usize>()
                + head.index.memory_bytes()
                + finished().map(|chunk| chunk.memory_bytes()).sum::<usize>())
                as u64,
            time_min: first_day
                .map(|(day, _)| Timestamp::from_millis(day.saturating_mul(DAY_MS).max(floor))),
            time_max: newest.map(|hot| Timestamp::from_millis(hot.run.last_time())).max(),
        }
    }
}

impl SeriesHandle {
    /// The series' id.
    pub fn id(&self) -> SeriesId {
        self.id
    }

    /// Appends the samples of `[start, end]` to `into`, in time order. Reads the disk where
    /// memory does not reach back far enough.
    pub fn read(
        &self,
        start: Timestamp,
        end: Timestamp,
        into: &mut Columns,
    ) -> Result<(), ReadError> {
        merge::read(self, start.millis(), end.millis(), into)
    }
}
