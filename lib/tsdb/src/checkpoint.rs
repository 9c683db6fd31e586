//! Checkpoints: a shard's state on disk at one log position.
//!
//! A checkpoint is taken in two steps. Freezing copies, under the shard's lock, what changed
//! since the last one: open chunks and labels as bytes, finished chunks as pointers. Writing
//! encodes the finished chunks and hands everything to the store in one batch, on a thread that
//! may wait for the disk, while apply goes on.
//!
//! Invariants
//! * C1: what is on disk for a shard is exactly its state at one log position;
//! * what a batch does not hold is on disk already, by a checkpoint that was confirmed.

mod record;
mod restore;

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    LogPosition, RetentionClass, RuleGroupId, SeriesId, TargetId,
    columns::Columns,
    days::day_of,
    head::Head,
    keys::{self, DayOfGroup},
    kv::{Batch, KvError, Space},
    open_page,
    page::{PAGE_BYTES_MAX, PagesWriter, SealedChunk},
    series::{FinishedChunk, GROUP_SERIES},
    shard::Core,
};

pub(crate) use record::{HeadRecord, decode_day, encode_day, encode_tombstones};
pub use restore::OpenError;
pub(crate) use restore::{Tier, damaged, read_head, restore};

/// A shard's changes since its last confirmed checkpoint, as they were at one log position.
#[derive(Debug)]
pub struct Frozen {
    core: Arc<Core>,
    position: LogPosition,
    batch: Batch,
    /// Each with the class that its series is of on its day.
    finished: Vec<(RetentionClass, Arc<FinishedChunk>)>,
}

impl Frozen {
    /// The log position the checkpoint covers.
    pub fn position(&self) -> LogPosition {
        self.position
    }

    /// Encodes what is left to encode and writes the checkpoint as one batch. It is visible then,
    /// and durable after the store's next flush. Blocks on the disk.
    pub fn write(mut self) -> Result<LogPosition, KvError> {
        let lies = |(class, chunk): &(RetentionClass, Arc<FinishedChunk>)| DayOfGroup {
            replica: self.core.replica,
            class: *class,
            day: day_of(chunk.start()),
            tenant: 0,
            first_series: chunk.series.0 / GROUP_SERIES as u32 * GROUP_SERIES as u32,
        };
        self.finished.sort_by_cached_key(|it| {
            let lies = lies(it);
            ((lies.class, lies.day, lies.first_series), it.1.series, it.1.at)
        });
        // One group's samples are decoded at a time: all at once take ten times their memory.
        for chunks in self.finished.chunk_by(|a, b| lies(a) == lies(b)) {
            let mut pages = PagesWriter::new(PAGE_BYTES_MAX);
            chunks.iter().for_each(|(_, chunk)| pages.add(&sealed(chunk)));
            for (number, page) in pages.finish().into_iter().enumerate() {
                let sequence = keys::sequence(self.position.index, number);
                self.batch.put(
                    Space::Chunks,
                    lies(&chunks[0]).page(page.start, sequence),
                    page.bytes,
                );
            }
        }
        self.core.kv.write(self.batch)?;
        Ok(self.position)
    }
}

fn sealed(chunk: &FinishedChunk) -> SealedChunk {
    let mut samples = Columns::new();
    chunk.read(i64::MIN, &mut samples);
    let place = (chunk.series.0 % GROUP_SERIES as u32) as u8;
    SealedChunk { place, late: chunk.is_late(), at: chunk.at, samples }
}

/// What a freeze must know beside the head.
#[derive(Debug)]
pub(crate) struct FreezePlan<'a> {
    /// Log index of the last confirmed checkpoint.
    pub(crate) confirmed: u64,
    /// Days up to which deletes were written, by class.
    pub(crate) collected: &'a BTreeMap<RetentionClass, i64>,
    /// The caller's own state.
    pub(crate) extra: &'a [u8],
}

/// Copies what changed since the confirmed checkpoint.
pub(crate) fn freeze(core: &Arc<Core>, head: &mut Head, plan: &FreezePlan<'_>) -> Frozen {
    let mut frozen = Frozen {
        core: Arc::clone(core),
        position: head.applied,
        batch: Batch::default(),
        finished: Vec::new(),
    };
    frozen.delete_dead(head, plan);
    frozen.put_groups(head, plan.confirmed);
    frozen.put_finished(head);
    frozen.put_days(head, plan.confirmed);
    frozen.put_targets(head, plan.confirmed);
    frozen.put_rule_groups(head, plan.confirmed);
    frozen.put_exemplars(head, plan.confirmed);
    frozen.put_families(head, plan.confirmed);
    frozen.put_tombstones(head, plan.confirmed);
    let record = HeadRecord::of(head, plan.extra);
    frozen.batch.put(Space::State, keys::head(core.replica), record.encode());
    frozen
}

impl Frozen {
    /// Deletes the days behind horizons that moved. In the batch that also moves the horizon:
    /// a crash cannot leave a state that misses samples it still shows.
    fn delete_dead(&mut self, head: &Head, plan: &FreezePlan<'_>) {
        let replica = self.core.replica;
        for (&class, &time) in head.horizons.0.iter().filter(|(_, time)| **time > i64::MIN) {
            let day = day_of(time);
            if plan.collected.get(&class).is_some_and(|&collected| collected >= day) {
                continue;
            }
            let dead = keys::chunks_before(replica, class, day);
            self.batch.delete_range(Space::Chunks, dead.start, dead.end);
        }
    }

    fn put_groups(&mut self, head: &Head, confirmed: u64) {
        let replica = self.core.replica;
        for &(group, _) in &head.emptied {
            let first = group * GROUP_SERIES as u32;
            self.batch.delete(Space::Open, keys::open_page(replica, first));
            self.batch.delete(Space::Index, keys::series(replica, first));
        }
        let groups = head.groups.iter().enumerate();
        for (number, group) in groups.filter_map(|(n, group)| Some((n, group.as_deref()?))) {
            let first = (number * GROUP_SERIES) as u32;
            if group.touched.max(group.series_touched) > confirmed {
                let page = open_page::encode(group);
                self.batch.put(Space::Open, keys::open_page(replica, first), page);
            }
            if group.series_touched > confirmed {
                let places = 0..group.hot.len() as u32;
                let labels =
                    places.filter_map(|p| Some((p as u8, head.index.labels(SeriesId(first + p))?)));
                let record = record::encode_series(labels);
                self.batch.put(Space::Index, keys::series(replica, first), record);
            }
        }
    }

    fn put_finished(&mut self, head: &mut Head) {
        // Of a series that is absent on the chunk's day all of it was deleted.
        let class = |chunk: &FinishedChunk| head.days.class_on(day_of(chunk.start()), chunk.series);
        let finished = head.finished.values().flatten();
        self.finished = finished.filter_map(|it| Some((class(it)?, Arc::clone(it)))).collect();
        self.finished.sort_by_key(|(_, chunk)| (chunk.series, chunk.at));
        let mut pages: BTreeMap<(i64, u32), (i64, i64)> = BTreeMap::new();
        for (_, chunk) in &self.finished {
            let (start, end) = (chunk.start(), chunk.end());
            let page = (day_of(start), chunk.series.0 / GROUP_SERIES as u32);
            let span = pages.entry(page).or_insert((start, end));
            *span = (span.0.min(start), span.1.max(end));
        }
        for (start, end) in pages.into_values() {
            head.days.note_page(start, end, self.position.index);
        }
    }

    fn put_days(&mut self, head: &Head, confirmed: u64) {
        for number in head.days.gone() {
            self.batch.delete(Space::Index, keys::presence(self.core.replica, number));
        }
        for (number, day) in head.days.iter().filter(|(_, day)| day.touched > confirmed) {
            let key = keys::presence(self.core.replica, number);
            self.batch.put(Space::Index, key, record::encode_day(day));
        }
    }

    fn put_tombstones(&mut self, head: &Head, confirmed: u64) {
        for group in head.tombstones.changed(confirmed) {
            let key = keys::tombstones(self.core.replica, group * GROUP_SERIES as u32);
            let record = record::encode_tombstones(head.tombstones.of_group(group));
            self.batch.put(Space::State, key, record);
        }
    }

    fn put_targets(&mut self, head: &Head, confirmed: u64) {
        let key = |id: TargetId| keys::target(self.core.replica, id);
        for id in head.targets.gone() {
            self.batch.delete(Space::State, key(id));
        }
        for (id, target) in head.targets.iter().filter(|(_, target)| target.touched > confirmed) {
            self.batch.put(Space::State, key(id), record::encode_target(target));
        }
    }

    fn put_rule_groups(&mut self, head: &Head, confirmed: u64) {
        let key = |id: RuleGroupId| keys::rule_group(self.core.replica, id);
        for id in head.rule_groups.gone() {
            self.batch.delete(Space::State, key(id));
        }
        let changed = head.rule_groups.iter().filter(|(_, group)| group.touched > confirmed);
        for (id, group) in changed {
            self.batch.put(Space::State, key(id), record::encode_rule_group(group));
        }
    }

    fn put_exemplars(&mut self, head: &Head, confirmed: u64) {
        let key = |page| keys::exemplars(self.core.replica, page);
        for page in head.exemplars.left() {
            self.batch.delete(Space::State, key(page));
        }
        for (page, body) in head.exemplars.changed(confirmed) {
            self.batch.put(Space::State, key(page), record::encode_body(&body));
        }
    }

    fn put_families(&mut self, head: &Head, confirmed: u64) {
        let key = |name: &str| keys::family(self.core.replica, name);
        for name in head.families.gone() {
            self.batch.delete(Space::State, key(name));
        }
        for (name, family) in head.families.changed(confirmed) {
            let mut body = Vec::new();
            family.encode(name, &mut body);
            self.batch.put(Space::State, key(name), record::encode_body(&body));
        }
    }
}
