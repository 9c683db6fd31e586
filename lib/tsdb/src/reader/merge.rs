//! Joining a series' samples from the store, finished chunks, open runs and late buffers.
//!
//! Samples that came in order win over late ones, and among late ones the first that came: what
//! apply would have decided with everything in memory.

use super::{ReadError, SeriesHandle, Shelf};
use crate::{
    Columns, columns::Row, days::DAY_MS, histogram_run, page::Page, rich::RichSeries,
    series::GROUP_SERIES, tombstones::hide, xor::RunReader,
};

/// Late samples, each with the log index of the entry that ended its chunk.
pub(crate) type LateSamples = Vec<(u64, Row)>;

/// See [`SeriesHandle::read`].
pub(super) fn read(
    handle: &SeriesHandle,
    start: i64,
    end: i64,
    into: &mut Columns,
) -> Result<(), ReadError> {
    for (start, end) in kept(handle, start, end) {
        read_kept(handle, (start, end), into)?;
    }
    Ok(())
}

/// The parts of `[start, end]` in which the series' samples are kept, in order.
fn kept(handle: &SeriesHandle, start: i64, end: i64) -> Vec<(i64, i64)> {
    let Shelf { horizons, disk, .. } = &*handle.shelf;
    if !horizons.has_classes() {
        let start = start.max(horizons.lowest());
        return if start <= end { vec![(start, end)] } else { Vec::new() };
    }
    let (mut parts, mut is_joined) = (Vec::<(i64, i64)>::new(), false);
    for day in disk.days() {
        let first = day.number.saturating_mul(DAY_MS);
        let last = first.saturating_add(DAY_MS - 1);
        let floor = day.class_of(handle.id).map(|class| horizons.of(class));
        let from = floor.map_or(i64::MAX, |floor| floor.max(start).max(first));
        let to = end.min(last);
        match parts.last_mut() {
            _ if from > to => is_joined = false,
            Some(part) if is_joined && from == first => part.1 = to,
            _ => {
                parts.push((from, to));
                is_joined = true;
            }
        }
    }
    parts
}

fn read_kept(
    handle: &SeriesHandle,
    (start, end): (i64, i64),
    into: &mut Columns,
) -> Result<(), ReadError> {
    let before = into.len();
    let mut late = LateSamples::new();
    if start < handle.disk_end {
        read_disk(handle, (start, end), into, &mut late)?;
    }
    for chunk in &handle.finished {
        if chunk.is_late() {
            let mut samples = Columns::new();
            chunk.read(i64::MIN, &mut samples);
            hide(&handle.hidden, chunk.at, 0, &mut samples);
            late.extend(samples.take_rows(0).map(|row| (chunk.at, row)));
        } else {
            let first = into.len();
            chunk.read(newest(before, into), into);
            hide(&handle.hidden, chunk.at, first, into);
        }
    }
    read_open(handle, (start, end), before, into);
    add_late(handle, &mut late);
    if !late.is_empty() {
        merge_late(before, into, late);
    }
    clip(before, into, start, end);
    Ok(())
}

fn read_open(handle: &SeriesHandle, (start, end): (i64, i64), before: usize, into: &mut Columns) {
    let first = into.len();
    let mut runs = handle.runs.iter().peekable();
    while let Some(run) = runs.next() {
        // A run ends where the next one begins.
        if run.start() <= end && runs.peek().is_none_or(|next| next.start() > start) {
            append_newer(before, into, floats(run.samples()));
        }
    }
    let words = &handle.shelf.words[handle.open.clone()];
    append_newer(before, into, floats(RunReader::new(words, handle.open_count)));
    if let Some(rich) = &handle.rich {
        rich.open.read(newest(before, into), into);
        into.set_starts(first, &rich.starts);
    }
}

/// Adds the samples that wait in the late buffers.
fn add_late(handle: &SeriesHandle, late: &mut LateSamples) {
    let start_of = |rich: &RichSeries, time: i64| {
        let found = rich.late_starts.binary_search_by_key(&time, |late| late.0);
        found.map_or(0, |at| rich.late_starts[at].1)
    };
    let rich = handle.rich.as_deref();
    let mut samples = Columns::new();
    samples.extend(handle.late.iter().copied());
    let floats = samples.take_rows(0);
    for (time, bytes) in rich.map_or(&[][..], |rich| &rich.late) {
        samples.push_histogram(*time, histogram_run::decode(bytes));
    }
    for mut row in floats.chain(samples.take_rows(0)) {
        row.start = rich.map_or(0, |rich| start_of(rich, row.time));
        late.push((u64::MAX, row));
    }
}

fn floats(samples: impl Iterator<Item = (i64, u64)>) -> impl Iterator<Item = (i64, f64)> {
    samples.map(|(time, bits)| (time, f64::from_bits(bits)))
}

/// Appends samples newer than the newest: a chunk may be found in the store and in memory.
fn append_newer(before: usize, into: &mut Columns, samples: impl Iterator<Item = (i64, f64)>) {
    let mut newest = newest(before, into);
    for (time, value) in samples {
        if time > newest {
            into.push(time, value);
            newest = time;
        }
    }
}

fn newest(before: usize, into: &Columns) -> i64 {
    into.timestamps[before..].last().copied().unwrap_or(i64::MIN)
}

fn read_disk(
    handle: &SeriesHandle,
    (start, end): (i64, i64),
    into: &mut Columns,
    late: &mut LateSamples,
) -> Result<(), ReadError> {
    let place = (handle.id.0 as usize % GROUP_SERIES) as u8;
    let days = handle.shelf.disk.pages(handle.id, start, end)?;
    let mut chunks: Vec<(&Page, usize)> = Vec::new();
    for page in days.iter().flat_map(|pages| pages.iter()) {
        let entries = page.entries().iter().enumerate();
        let wanted = entries.filter(|(_, entry)| {
            let range = page.range(entry);
            entry.place == place
                && entry.at <= handle.shelf.applied
                && range.0 <= end
                && range.1 >= start
        });
        chunks.extend(wanted.map(|(at, _)| (page, at)));
    }
    chunks.sort_by_key(|&(page, at)| page.range(&page.entries()[at]).0);
    let mut samples = Columns::new();
    let mut ended = i64::MIN;
    for (page, at) in chunks {
        let entry = &page.entries()[at];
        let damaged = |source| ReadError::Damaged { series: handle.id, source };
        if entry.late {
            samples.clear();
            page.read(entry, &mut samples).map_err(damaged)?;
            hide(&handle.hidden, entry.at, 0, &mut samples);
            late.extend(samples.take_rows(0).map(|row| (entry.at, row)));
            continue;
        }
        let (first, last) = page.range(entry);
        if first > ended && first < handle.memory_start {
            let before = into.len();
            page.read(entry, into).map_err(damaged)?;
            hide(&handle.hidden, entry.at, before, into);
            ended = last;
        }
    }
    Ok(())
}

/// Puts late samples where no other is; of several at one time the first that came.
pub(crate) fn merge_late(before: usize, into: &mut Columns, mut late: LateSamples) {
    late.sort_by_key(|(at, row)| (row.time, *at));
    late.dedup_by_key(|(_, row)| row.time);
    let mut late = late.into_iter().map(|(_, row)| row).peekable();
    for row in into.take_rows(before) {
        while let Some(earlier) = late.next_if(|late| late.time < row.time) {
            into.push_row(earlier);
        }
        late.next_if(|late| late.time == row.time);
        into.push_row(row);
    }
    late.for_each(|row| into.push_row(row));
}

fn clip(before: usize, into: &mut Columns, start: i64, end: i64) {
    let added = &into.timestamps[before..];
    let from = before + added.partition_point(|&time| time < start);
    let to = before + added.partition_point(|&time| time <= end);
    into.keep(before, from, to);
}
