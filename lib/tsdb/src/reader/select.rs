//! Selecting series: matching, and copying pointers under the lock.

use std::sync::Arc;

use narthex_model::Matcher;
use roaring::RoaringBitmap;

use super::{SelectedSeries, SeriesHandle, Shelf, disk::DiskPages};
use crate::{
    SeriesId,
    head::Head,
    pins::Pin,
    rich::RichSeries,
    runs::Runs,
    series::{FinishedChunk, Group},
    shard::Core,
    tombstones::Tombstone,
};

/// Label sets built per turn of the lock, so that apply never waits long for them.
const LABELS_PER_TURN: usize = 1024;

/// The matching series present on a day that `[start, end]` touches.
pub(super) fn matching(head: &Head, matchers: &[Matcher], start: i64, end: i64) -> RoaringBitmap {
    let start = start.max(head.horizons.lowest());
    head.index.select(matchers, &head.days.present(start, end))
}

/// See [`super::ShardReader::select`].
pub(super) fn select(
    core: &Arc<Core>,
    matchers: &[Matcher],
    start: i64,
    end: i64,
) -> Vec<SelectedSeries> {
    // Matching can take long, so the lock is given back in between; series that became present
    // meanwhile are matched one by one below, for the same entry may have touched others.
    let (present, mut ids) = {
        let head = core.head.read();
        let floored = start.max(head.horizons.lowest());
        let present = head.days.present(floored, end);
        let ids = head.index.select(matchers, &present);
        (present, ids)
    };
    let mut handles = Handles::default();
    let mut disk = Vec::new();
    let (pin, applied, horizons) = {
        let head = core.head.read();
        let start = start.max(head.horizons.lowest());
        let appeared = head.days.present(start, end) - present;
        ids.extend(appeared.iter().filter(|&id| head.index.matches(SeriesId(id), matchers)));
        handles.rows.reserve(ids.len() as usize);
        for id in &ids {
            handles.add(&head, SeriesId(id), start, end);
        }
        disk.extend(head.days.between(start, end));
        let applied = head.applied.index;
        (Pin::new(core, applied), applied, head.horizons.clone())
    };
    let Handles { words, rows } = handles;
    let disk = DiskPages::new(core, disk);
    let shelf = Arc::new(Shelf { _pin: pin, applied, horizons, words, disk });
    label(core, &shelf, rows)
}

/// Adds labels, outside the lock but for short turns: a series' labels never change.
fn label(core: &Core, shelf: &Arc<Shelf>, rows: Vec<Row>) -> Vec<SelectedSeries> {
    let mut selected = Vec::with_capacity(rows.len());
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let head = core.head.read();
        for row in rows.by_ref().take(LABELS_PER_TURN) {
            // A series that a horizon removed meanwhile has no samples left to show.
            if let Some(labels) = head.index.labels(row.id) {
                let samples = row.handle(Arc::clone(shelf));
                selected.push(SelectedSeries { labels, samples });
            }
        }
    }
    selected
}

/// Handles under construction, and the words they have in common.
#[derive(Debug, Default)]
struct Handles {
    words: Vec<u64>,
    rows: Vec<Row>,
}

/// A handle that does not know its shelf yet.
#[derive(Debug)]
struct Row {
    id: SeriesId,
    open: std::ops::Range<usize>,
    open_count: u16,
    runs: Runs,
    finished: Vec<Arc<FinishedChunk>>,
    late: Vec<(i64, u64)>,
    rich: Option<Box<RichSeries>>,
    hidden: Box<[Tombstone]>,
    memory_start: i64,
    disk_end: i64,
}

impl Row {
    fn handle(self, shelf: Arc<Shelf>) -> SeriesHandle {
        let Self {
            id,
            open,
            open_count,
            runs,
            finished,
            late,
            rich,
            hidden,
            memory_start,
            disk_end,
        } = self;
        SeriesHandle {
            shelf,
            id,
            open,
            open_count,
            runs,
            finished,
            late,
            rich,
            hidden,
            memory_start,
            disk_end,
        }
    }
}

impl Handles {
    fn add(&mut self, head: &Head, id: SeriesId, start: i64, end: i64) {
        let Some((group, place)) = head.group(id) else { return };
        let finished = head.finished.get(&id.0).map_or(&[][..], Vec::as_slice);
        let hot = &group.hot[place];
        // Present today, and over by then: a pod of this morning costs this evening nothing more.
        if hot.started && hot.run.last_time() < start {
            return;
        }
        let mut row = Row {
            id,
            open: 0..0,
            open_count: 0,
            runs: Runs::default(),
            finished: Vec::new(),
            late: Vec::new(),
            rich: group.rich(place).cloned().map(Box::new),
            hidden: head.tombstones.of(id).into(),
            memory_start: memory_start(group, place, finished),
            disk_end: 0,
        };
        row.disk_end = row.memory_start.max(group.late_end.saturating_add(1));
        if hot.run.first_time().is_some_and(|first| first <= end) && hot.run.last_time() >= start {
            let from = self.words.len();
            self.words.extend(hot.run.words());
            row.open = from..self.words.len();
            row.open_count = hot.run.count();
        }
        // The last run ends where the open one begins.
        let runs = &group.runs[place];
        let runs_end = hot.run.first_time().unwrap_or(i64::MAX);
        if runs_end > start && runs.start().is_some_and(|first| first <= end) {
            row.runs = runs.clone();
        }
        row.finished.extend(finished.iter().filter(|chunk| chunk.start() <= end).cloned());
        let late = group.late(place);
        let from = late.partition_point(|late| late.0 < start);
        let to = late.partition_point(|late| late.0 <= end);
        row.late.extend_from_slice(late.get(from..to).unwrap_or(&[]));
        self.rows.push(row);
    }
}

/// From where on memory has all chunks of a series that came in order.
fn memory_start(group: &Group, place: usize, finished: &[Arc<FinishedChunk>]) -> i64 {
    let in_order = finished.iter().find(|chunk| !chunk.is_late()).map(|chunk| chunk.start());
    let histograms = group.rich(place).and_then(|rich| rich.open.start());
    let floats = group.runs[place].start().or(group.hot[place].run.first_time());
    in_order.or(floats).or(histograms).unwrap_or(i64::MAX)
}
