//! Joining a series' samples from the store, finished chunks, open runs and late buffers.
//!
//! Samples that came in order win over late ones, and among late ones the first that came: what
//! apply would have decided with everything in memory.

use super::{ReadError, SeriesHandle};
use crate::{Columns, page::Page, series::GROUP_SERIES, xor::RunReader};

/// Late samples, each with the log index of the entry that ended its chunk.
type LateSamples = Vec<(i64, u64, f64)>;

/// See [`SeriesHandle::read`].
pub(super) fn read(
    handle: &SeriesHandle,
    start: i64,
    end: i64,
    into: &mut Columns,
) -> Result<(), ReadError> {
    let start = start.max(handle.shelf.floor);
    if start > end {
        return Ok(());
    }
    let before = into.len();
    let mut late = LateSamples::new();
    if start < handle.disk_end {
        read_disk(handle, (start, end), into, &mut late)?;
    }
    for chunk in &handle.finished {
        let mut samples = Columns::new();
        chunk.read(&mut samples);
        if chunk.is_late() {
            late.extend(rows(&samples).map(|(time, value)| (time, chunk.at, value)));
        } else {
            append_newer(before, into, rows(&samples));
        }
    }
    for run in &handle.runs {
        append_newer(before, into, floats(run.samples()));
    }
    let words = &handle.shelf.words[handle.open.clone()];
    append_newer(before, into, floats(RunReader::new(words, handle.open_count)));
    late.extend(handle.late.iter().map(|&(time, bits)| (time, u64::MAX, f64::from_bits(bits))));
    if !late.is_empty() {
        merge_late(before, into, late);
    }
    clip(before, into, start, end);
    Ok(())
}

fn rows(columns: &Columns) -> impl Iterator<Item = (i64, f64)> {
    columns.timestamps.iter().copied().zip(columns.values.iter().copied())
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
    let before = into.len();
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
    for (page, at) in chunks {
        let entry = &page.entries()[at];
        let damaged = |source| ReadError::Damaged { series: handle.id, source };
        if entry.late {
            samples.clear();
            page.read(entry, &mut samples).map_err(damaged)?;
            late.extend(rows(&samples).map(|(time, value)| (time, entry.at, value)));
        } else if page.range(entry).0 > newest(before, into) {
            page.read(entry, into).map_err(damaged)?;
        }
    }
    Ok(())
}

/// Puts late samples where no other is; of several at one time the first that came.
fn merge_late(before: usize, into: &mut Columns, mut late: LateSamples) {
    late.sort_by_key(|&(time, at, _)| (time, at));
    late.dedup_by_key(|&mut (time, ..)| time);
    let in_order = Columns {
        timestamps: into.timestamps.split_off(before),
        values: into.values.split_off(before),
    };
    let mut late = late.into_iter().peekable();
    for (time, value) in rows(&in_order) {
        while let Some((time, _, value)) = late.next_if(|late| late.0 < time) {
            into.push(time, value);
        }
        late.next_if(|late| late.0 == time);
        into.push(time, value);
    }
    for (time, _, value) in late {
        into.push(time, value);
    }
}

fn clip(before: usize, into: &mut Columns, start: i64, end: i64) {
    let added = &into.timestamps[before..];
    let from = before + added.partition_point(|&time| time < start);
    let to = before + added.partition_point(|&time| time <= end);
    into.keep(before, from, to);
}
