//! Rewriting pages: deleted samples go, short chunks become long ones, late samples find their
//! places.
//!
//! A rewrite is a batch of its own that leaves what is seen as it is, so a replica does it when it
//! likes (C1). It reads all pages of one group and day and writes them anew.
//!
//! Invariants
//! * only pages are touched that a confirmed checkpoint wrote, and that are no newer than the
//!   oldest selection there is: whoever reads finds each chunk once, before and after;
//! * a joined chunk ended where the last of its parts did, so a tombstone that is not yet due
//!   still hides what it hid;
//! * late samples join a chunk only where later chunks cannot begin before them.
//!
//! The caller keeps checkpoints away meanwhile.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc};

use narthex_model::Timestamp;

use crate::{
    Columns, RetentionClass, SeriesId,
    bytes::Malformed,
    checkpoint::{decode_day, encode_day, encode_tombstones},
    days::{DAY_MS, Day, day_end},
    keys::{self, DayOfGroup},
    kv::{Batch, KvError, Space},
    page::{Page, PageEntry, PagesWriter, SealedChunk},
    reader::{LateSamples, merge_late},
    series::GROUP_SERIES,
    shard::Core,
    tombstones::{Tombstone, Tombstones, hide},
};

/// Samples of a joined chunk at most: a day at one every 15 seconds. Longer ones gain little, and
/// whoever reads a minute decodes a whole chunk.
const SAMPLES_MAX: usize = 5760;
/// The same where there are histograms, which take more.
const HISTOGRAMS_MAX: usize = 480;
/// Bytes of a page of joined chunks, which share a column of times: about a group's day.
const PAGE_BYTES_MAX: usize = 256 << 10;

/// Why pages were not rewritten. What was there is there still.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The store failed.
    #[error("rewrite chunks")]
    Store(#[from] KvError),
    /// A page or record is damaged: the replica must be rebuilt.
    #[error("decode chunks of day {day}, series {first_series} and on")]
    Damaged {
        /// Days since the epoch.
        day: i64,
        /// The first series of the group.
        first_series: u32,
        /// What is wrong.
        #[source]
        source: Malformed,
    },
}

/// A group's pages of one day and class: what is rewritten at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    pub(crate) day: i64,
    pub(crate) class: RetentionClass,
    pub(crate) group: u32,
}

/// What a rewrite changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// Bytes of the pages before.
    pub bytes_before: u64,
    /// Bytes of the pages since.
    pub bytes_after: u64,
}

impl std::ops::Add for Rewritten {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            bytes_before: self.bytes_before + other.bytes_before,
            bytes_after: self.bytes_after + other.bytes_after,
        }
    }
}

/// Rewrites pages up to one log index. Made for a moment: what it may touch is fixed.
#[derive(Debug)]
pub struct Rewriter {
    core: Arc<Core>,
    /// Log index of the last checkpoint.
    confirmed: u64,
    upto: u64,
}

/// A page that is rewritten.
struct Old {
    key: Vec<u8>,
    page: Page,
}

impl Rewriter {
    pub(crate) fn new(core: &Arc<Core>, confirmed: u64) -> Self {
        let upto = core.pins.lowest().map_or(confirmed, |lowest| lowest.min(confirmed));
        Self { core: Arc::clone(core), confirmed, upto }
    }

    /// The groups in which something was deleted and may be on disk still. None while somebody reads
    /// as of before the last checkpoint: a page of it may have chunks from both sides of what is
    /// read, and is left alone with what is hidden in it.
    pub fn groups_to_clean(&self) -> Vec<u32> {
        if self.upto < self.confirmed {
            return Vec::new();
        }
        self.core.head.read().tombstones.groups(self.upto)
    }

    /// The parts in which a group's tombstones may hide something.
    pub fn parts_to_clean(&self, group: u32) -> Vec<Part> {
        let head = self.core.head.read();
        let due: Vec<Tombstone> = self.due(&head.tombstones, group).map(|(_, due)| due).collect();
        let hides = |day: i64| {
            let first = day.saturating_mul(DAY_MS);
            due.iter().any(|hides| hides.start < day_end(first) && hides.end >= first)
        };
        let days = head.days.iter().map(|(day, _)| day).filter(|day| hides(*day));
        // Of any class: a series that was deleted and came back may be of another one since.
        let parts = |day| head.horizons.classes().map(move |class| Part { day, class, group });
        days.flat_map(parts).collect()
    }

    fn due(
        &self,
        tombstones: &Tombstones,
        group: u32,
    ) -> impl Iterator<Item = (SeriesId, Tombstone)> {
        let all = tombstones.of_group(group);
        let all = all.flat_map(|(series, all)| all.iter().map(move |&it| (series, it)));
        all.filter(|(_, tombstone)| tombstone.at <= self.upto)
    }

    /// How far the log index goes: never less than that of a rewriter made before.
    pub fn upto(&self) -> u64 {
        self.upto
    }

    /// Forgets a group's tombstones once all its parts were rewritten, by rewriters of `upto` at
    /// least. Blocks on the disk.
    pub fn cleaned(&self, group: u32, upto: u64) -> Result<(), RewriteError> {
        // The record is as of the last checkpoint: newer tombstones are the next one's to write.
        let is_left = |it: &Tombstone| it.at > upto && it.at <= self.confirmed;
        let left: Vec<(SeriesId, Vec<Tombstone>)> = {
            let head = self.core.head.read();
            let all = head.tombstones.of_group(group);
            let left = all.map(|(id, all)| (id, all.iter().copied().filter(is_left).collect()));
            left.filter(|(_, left): &(_, Vec<Tombstone>)| !left.is_empty()).collect()
        };
        let key = keys::tombstones(self.core.replica, group * GROUP_SERIES as u32);
        let mut batch = Batch::default();
        if left.is_empty() {
            batch.delete(Space::State, key);
        } else {
            let left = left.iter().map(|(series, left)| (*series, left.as_slice()));
            batch.put(Space::State, key, encode_tombstones(left));
        }
        self.core.kv.write(batch)?;
        self.core.head.write().tombstones.forget(group, upto);
        Ok(())
    }

    /// The parts of the first day that ended before `now` by an hour and has pages that were not
    /// joined; of any day if `now` is `None`.
    pub fn parts_to_join(&self, now: Option<Timestamp>) -> Option<(i64, Vec<Part>)> {
        let head = self.core.head.read();
        let is_over = |day: i64| {
            now.is_none_or(|now| {
                let end = day_end(day.saturating_mul(DAY_MS)).saturating_add(SETTLING_MILLIS);
                end <= now.millis()
            })
        };
        let due = |day: &Day| day.pages_at.min(self.upto) > day.joined_at;
        let (number, day) = head.days.iter().find(|(number, day)| is_over(*number) && due(day))?;
        let mut parts = Vec::new();
        for (class, series) in day.by_class() {
            let groups = series.iter().map(|series| series / GROUP_SERIES as u32);
            parts.extend(groups.map(|group| Part { day: number, class, group }));
        }
        parts.dedup();
        Some((number, parts))
    }

    /// Notes that all parts of a day were joined, by rewriters of `upto` at least. Blocks on the
    /// disk.
    pub fn joined(&self, day: i64, upto: u64) -> Result<(), RewriteError> {
        let mut batch = Batch::default();
        let part = Part { day, class: RetentionClass::default(), group: 0 };
        if self.put_day(part, &mut batch, |stored| stored.joined_at = upto)? {
            self.core.kv.write(batch)?;
        }
        self.core.head.write().days.joined(day, upto);
        Ok(())
    }

    /// Rewrites a part if that gains anything. Blocks on the disk.
    pub fn rewrite(&self, part: Part) -> Result<Option<Rewritten>, RewriteError> {
        let hidden: Vec<(SeriesId, Tombstone)> =
            self.due(&self.core.head.read().tombstones, part.group).collect();
        let old = self.read(part)?;
        if !is_worth_it(&old, &hidden) {
            return Ok(None);
        }
        let mut pages = PagesWriter::new(PAGE_BYTES_MAX);
        for place in 0..GROUP_SERIES as u8 {
            let id = SeriesId(part.group * GROUP_SERIES as u32 + u32::from(place));
            let of_series = hidden.iter().filter(|(series, _)| *series == id);
            let hidden: Vec<Tombstone> = of_series.map(|(_, tombstone)| *tombstone).collect();
            let chunks = join(&old, place, &hidden).map_err(|source| damaged(part, source))?;
            chunks.iter().for_each(|chunk| pages.add(chunk));
        }
        let mut rewritten = Rewritten::default();
        let mut batch = Batch::default();
        for page in &old {
            rewritten.bytes_before += page.page.encoded_len() as u64;
            batch.delete(Space::Chunks, page.key.clone());
        }
        let lies = self.lies(part);
        let mut span = 0;
        for (number, page) in pages.finish().into_iter().enumerate() {
            rewritten.bytes_after += page.bytes.len() as u64;
            span = page.end.saturating_sub(page.start).max(span);
            let key = lies.page(page.start, keys::sequence(self.upto, number));
            batch.put(Space::Chunks, key, page.bytes);
        }
        if !self.put_day(part, &mut batch, |day| day.page_span = span.max(day.page_span))? {
            return Ok(None);
        }
        // Readers look how long pages are after they have read them: never too early.
        self.core.head.write().days.widen(part.day, span);
        self.core.kv.write(batch)?;
        Ok(Some(rewritten))
    }

    fn lies(&self, part: Part) -> DayOfGroup {
        DayOfGroup {
            replica: self.core.replica,
            class: part.class,
            day: part.day,
            tenant: 0,
            first_series: part.group * GROUP_SERIES as u32,
        }
    }

    /// The pages of a part that may be touched.
    fn read(&self, part: Part) -> Result<Vec<Old>, RewriteError> {
        let lies = self.lies(part);
        let (start, end) = (lies.page(i64::MIN, 0), lies.page(i64::MAX, u64::MAX));
        let (mut old, mut failed) = (Vec::new(), None);
        self.core.kv.scan(Space::Chunks, &start, &end, &mut |key, value| {
            match Page::decode(value.to_vec()) {
                Ok(page) if page.entries().iter().all(|entry| entry.at <= self.upto) => {
                    old.push(Old { key: key.to_vec(), page });
                }
                Ok(_) => {}
                Err(source) => {
                    failed = Some(damaged(part, source));
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        failed.map_or(Ok(old), Err)
    }

    /// Changes a day's record as the last checkpoint wrote it. Tells whether there is one.
    fn put_day(
        &self,
        part: Part,
        batch: &mut Batch,
        change: impl FnOnce(&mut Day),
    ) -> Result<bool, RewriteError> {
        let key = keys::presence(self.core.replica, part.day);
        let Some(record) = self.core.kv.read(Space::Index, &key)? else {
            return Ok(false);
        };
        let mut day = decode_day(&record).map_err(|source| damaged(part, source))?;
        change(&mut day);
        batch.put(Space::Index, key, encode_day(&day));
        Ok(true)
    }

    /// Gives the space of what was rewritten back to the disk. Slow; blocks on it.
    pub fn compact(&self) -> Result<(), RewriteError> {
        let all = keys::replica(self.core.replica);
        Ok(self.core.kv.compact(Space::Chunks, &all.start, &all.end)?)
    }
}

/// How long after midnight a day counts as over: late samples come, and clocks differ.
const SETTLING_MILLIS: i64 = 3_600_000;

fn damaged(part: Part, source: Malformed) -> RewriteError {
    let first_series = part.group * GROUP_SERIES as u32;
    RewriteError::Damaged { day: part.day, first_series, source }
}

/// Whether something is hidden, or fewer chunks would do.
fn is_worth_it(old: &[Old], hidden: &[(SeriesId, Tombstone)]) -> bool {
    let mut chunks = [0usize; GROUP_SERIES];
    let mut samples = [0usize; GROUP_SERIES];
    for Old { page, .. } in old {
        for entry in page.entries() {
            let place = usize::from(entry.place) % GROUP_SERIES;
            chunks[place] += 1;
            samples[place] += entry.len();
            let (first, last) = page.range(entry);
            let hides = |(series, it): &(SeriesId, Tombstone)| {
                series.0 as usize % GROUP_SERIES == place
                    && entry.at <= it.at
                    && it.start <= last
                    && it.end >= first
            };
            if hidden.iter().any(hides) {
                return true;
            }
        }
    }
    let needed = samples.iter().map(|samples| samples.div_ceil(SAMPLES_MAX));
    chunks.iter().sum::<usize>() > needed.sum()
}

/// The chunks of one series, joined and without what is hidden.
fn join(old: &[Old], place: u8, hidden: &[Tombstone]) -> Result<Vec<SealedChunk>, Malformed> {
    let of_page = |old: &'_ Old| -> Vec<PageEntry> {
        old.page.entries().iter().filter(|entry| entry.place == place).cloned().collect()
    };
    let mut found: Vec<(&Page, PageEntry)> = Vec::new();
    for page in old {
        found.extend(of_page(page).into_iter().map(|entry| (&page.page, entry)));
    }
    found.sort_by_key(|(page, entry)| page.range(entry).0);
    let (mut joined, mut late) = (Columns::new(), LateSamples::new());
    let (mut at, mut ended) = (0, i64::MIN);
    for (page, entry) in &found {
        at = entry.at.max(at);
        if entry.late {
            let mut samples = Columns::new();
            page.read(entry, &mut samples)?;
            hide(hidden, entry.at, 0, &mut samples);
            late.extend(samples.take_rows(0).map(|row| (entry.at, row)));
        } else {
            let before = joined.len();
            page.read(entry, &mut joined)?;
            hide(hidden, entry.at, before, &mut joined);
            ended = page.range(entry).1.max(ended);
        }
    }
    let (inside, left): (LateSamples, LateSamples) =
        late.into_iter().partition(|(_, row)| row.time <= ended);
    if !inside.is_empty() {
        merge_late(0, &mut joined, inside);
    }
    let mut chunks = left_late(place, left);
    let samples_max = if joined.histograms.is_empty() { SAMPLES_MAX } else { HISTOGRAMS_MAX };
    let pieces = joined.len().div_ceil(samples_max);
    let rows = joined.len().div_ceil(pieces.max(1));
    let mut left = joined.take_rows(0).peekable();
    while left.peek().is_some() {
        let mut samples = Columns::new();
        left.by_ref().take(rows).for_each(|row| samples.push_row(row));
        chunks.push(SealedChunk { place, late: false, at, samples });
    }
    Ok(chunks)
}

/// Late samples that stay so, in a chunk for each that they came in.
fn left_late(place: u8, left: LateSamples) -> Vec<SealedChunk> {
    let mut chunks: BTreeMap<u64, Columns> = BTreeMap::new();
    for (at, row) in left {
        chunks.entry(at).or_default().push_row(row);
    }
    let chunk = |(at, samples)| SealedChunk { place, late: true, at, samples };
    chunks.into_iter().map(chunk).collect()
}
