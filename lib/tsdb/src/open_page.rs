//! A page of open chunks: everything of 64 neighbouring series that still changes.
//!
//! ```text
//! page   := version u8, crc32c u32 LE of all that follows,
//!           newest time of late chunks i64 LE, counted places u64 LE, places varint, { place }
//! place  := state u8                        0 no series, 1 no sample yet, 2 samples, 3 rich,
//!                                           4 ended
//!           day end zigzag                  not for state 0; as the next, the difference to the
//!                                           place before
//!           last time zigzag, length u8, last bits without zero bytes behind   only for state 4
//!           open                            only for states 2 and 3
//!           rich                            only for state 3
//! open   := run left u8, runs varint { form u8, run }, last run,
//!           late varint { time i64 LE, bits u64 LE }
//! run    := samples varint, words varint, words u64 LE
//! rich   := run left u8, histograms varint { time i64 LE, block }, newest histogram block,
//!           late histograms varint { time i64 LE, block }, start i64 LE,
//!           steps varint { from i64 LE, start i64 LE }, late starts varint { time, start i64 LE }
//! last   := run, last time i64 LE, last bits u64 LE, step i64 LE, free u8, leading u8, width u8
//! ```
//!
//! Runs are written as they lie in memory, so that writing a page is copying: form 0 as the XOR
//! codec left them, form 1 packed (packed.rs).

use std::sync::Arc;

use narthex_model::histogram::EncodedHistogram;

use crate::{
    bytes::{Cursor, Malformed, put_block, put_signed, put_varint},
    histogram_run::HistogramRun,
    page::{seal, unseal},
    rich::RichSeries,
    runs::{Run, RunForm, Runs},
    series::{CHUNK_RUNS, GROUP_SERIES, Group, Hot, LATE_SAMPLES, RUN_SAMPLES},
    xor::{OpenRun, Resume},
};

const VERSION: u8 = 1;
const NO_SERIES: u8 = 0;
const NO_SAMPLE: u8 = 1;
const SAMPLES: u8 = 2;
const RICH: u8 = 3;
const ENDED: u8 = 4;

/// The page of a group.
pub(crate) fn encode(group: &Group) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + group.memory_bytes());
    out.extend_from_slice(&[VERSION, 0, 0, 0, 0]);
    out.extend_from_slice(&group.late_end.to_le_bytes());
    out.extend_from_slice(&group.counted.to_le_bytes());
    put_varint(&mut out, group.hot.len() as u64);
    let mut before = Before::default();
    for place in 0..group.hot.len() {
        put_place(&mut out, group, place, &mut before);
    }
    seal(&mut out);
    out
}

/// What a place is written as the difference to.
#[derive(Debug, Default)]
struct Before {
    day_end: i64,
    last_time: i64,
}

impl Before {
    fn put_day_end(&mut self, out: &mut Vec<u8>, day_end: i64) {
        put_signed(out, day_end.wrapping_sub(self.day_end));
        self.day_end = day_end;
    }

    fn read_day_end(&mut self, cursor: &mut Cursor<'_>) -> Result<i64, Malformed> {
        self.day_end = self.day_end.wrapping_add(cursor.signed("day end")?);
        Ok(self.day_end)
    }
}

fn put_place(out: &mut Vec<u8>, group: &Group, place: usize, before: &mut Before) {
    let (hot, runs, late) = (&group.hot[place], &group.runs[place], group.late(place));
    if !hot.alive {
        out.push(NO_SERIES);
        return;
    }
    let is_empty = hot.run.count() == 0 && runs.is_empty() && late.is_empty();
    let state = match group.rich(place) {
        _ if !hot.started => NO_SAMPLE,
        Some(_) => RICH,
        None if is_empty && hot.run_left == 0 => ENDED,
        None => SAMPLES,
    };
    out.push(state);
    before.put_day_end(out, hot.day_end);
    match state {
        ENDED => put_ended(out, hot, before),
        SAMPLES | RICH => {
            put_open(out, hot, runs);
            put_late(out, late);
        }
        _ => {}
    }
    if let (RICH, Some(rich)) = (state, group.rich(place)) {
        put_rich(out, rich);
    }
}

/// All that is known of a series without an open chunk.
fn put_ended(out: &mut Vec<u8>, hot: &Hot, before: &mut Before) {
    let last_time = hot.run.last_time();
    put_signed(out, last_time.wrapping_sub(before.last_time));
    before.last_time = last_time;
    let bits = hot.run.last_value();
    let kept = 8 - bits.trailing_zeros() as usize / 8;
    out.push(kept as u8);
    out.extend_from_slice(&bits.to_be_bytes()[..kept]);
}

fn read_ended(cursor: &mut Cursor<'_>, before: &mut Before) -> Result<OpenRun, Malformed> {
    before.last_time = before.last_time.wrapping_add(cursor.signed("last time")?);
    let kept = usize::from(cursor.u8("last bits")?);
    let mut bits = [0; 8];
    let place = bits.get_mut(..kept).ok_or(Malformed("last bits"))?;
    place.copy_from_slice(cursor.bytes(kept, "last bits")?);
    Ok(OpenRun::taken(before.last_time, u64::from_be_bytes(bits)))
}

fn put_open(out: &mut Vec<u8>, hot: &Hot, runs: &Runs) {
    out.push(hot.run_left);
    put_varint(out, runs.len() as u64);
    for run in runs.iter() {
        out.push(run.form as u8);
        put_run_head(out, run.count, run.words.len());
        put_words(out, run.words.iter().copied());
    }
    put_run_head(out, hot.run.count(), hot.run.word_count());
    put_words(out, hot.run.words());
    let resume = hot.run.cursor();
    out.extend_from_slice(&resume.last_time.to_le_bytes());
    out.extend_from_slice(&resume.last_value.to_le_bytes());
    out.extend_from_slice(&resume.step.to_le_bytes());
    out.extend_from_slice(&[resume.free, resume.leading, resume.width]);
}

fn put_late(out: &mut Vec<u8>, late: &[(i64, u64)]) {
    put_varint(out, late.len() as u64);
    for (time, bits) in late {
        out.extend_from_slice(&time.to_le_bytes());
        out.extend_from_slice(&bits.to_le_bytes());
    }
}

fn put_rich(out: &mut Vec<u8>, rich: &RichSeries) {
    out.push(rich.run_left);
    put_varint(out, rich.open.len() as u64);
    for (time, bytes) in rich.open.iter() {
        out.extend_from_slice(&time.to_le_bytes());
        put_block(out, bytes);
    }
    put_block(out, &rich.last);
    put_varint(out, rich.late.len() as u64);
    for (time, bytes) in &rich.late {
        out.extend_from_slice(&time.to_le_bytes());
        put_block(out, bytes);
    }
    out.extend_from_slice(&rich.start.to_le_bytes());
    for steps in [&rich.starts, &rich.late_starts] {
        put_varint(out, steps.len() as u64);
        for (time, start) in steps {
            out.extend_from_slice(&time.to_le_bytes());
            out.extend_from_slice(&start.to_le_bytes());
        }
    }
}

fn put_run_head(out: &mut Vec<u8>, count: u16, words: usize) {
    put_varint(out, u64::from(count));
    put_varint(out, words as u64);
}

fn put_words(out: &mut Vec<u8>, words: impl Iterator<Item = u64>) {
    words.for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

/// The group of a page.
pub(crate) fn decode(bytes: &[u8]) -> Result<Group, Malformed> {
    let mut cursor = unseal(bytes, VERSION)?;
    let late_end = cursor.i64("late end")?;
    let counted = cursor.u64("counted places")?;
    let places = cursor.count(1, "places")?;
    if places > GROUP_SERIES {
        return Err(Malformed("places"));
    }
    let mut group = Group { late_end, counted, ..Group::default() };
    let mut before = Before::default();
    for place in 0..places {
        let state = read_place(&mut cursor, &mut before, &mut group)?;
        if state == RICH {
            let rich = read_rich(&mut cursor)?;
            group.hot[place].plain = rich.is_plain();
            group.rich.get_or_insert_default().insert(place, rich);
        }
    }
    cursor.end("page end")?;
    Ok(group)
}

/// Adds a place to the group, all but what is rich of it. Returns its state.
fn read_place(
    cursor: &mut Cursor<'_>,
    before: &mut Before,
    group: &mut Group,
) -> Result<u8, Malformed> {
    let state = cursor.u8("state")?;
    group.push(Hot::removed());
    let place = group.hot.len() - 1;
    match state {
        NO_SERIES => return Ok(state),
        NO_SAMPLE | SAMPLES | RICH | ENDED => {}
        _ => return Err(Malformed("state unknown to this program")),
    }
    let hot = &mut group.hot[place];
    *hot = Hot { day_end: before.read_day_end(cursor)?, ..Hot::created(0) };
    hot.started = state != NO_SAMPLE;
    match state {
        ENDED => hot.run = read_ended(cursor, before)?,
        SAMPLES | RICH => {
            read_open(cursor, hot, &mut group.runs[place])?;
            let late = read_late(cursor)?;
            if !late.is_empty() {
                group.late.insert(place as u8, late);
            }
        }
        _ => {}
    }
    Ok(state)
}

fn read_open(cursor: &mut Cursor<'_>, hot: &mut Hot, runs: &mut Runs) -> Result<(), Malformed> {
    hot.run_left = cursor.u8("run left")?;
    let count = cursor.count(2, "runs")?;
    if hot.run_left > RUN_SAMPLES || count >= CHUNK_RUNS {
        return Err(Malformed("place"));
    }
    for _ in 0..count {
        let form = RunForm::of(cursor.u8("run form")?)?;
        let (count, words) = read_run(cursor)?;
        runs.push(Run { form, count, words: &words });
    }
    hot.run = read_last_run(cursor)?;
    Ok(())
}

fn read_late(cursor: &mut Cursor<'_>) -> Result<Vec<(i64, u64)>, Malformed> {
    let count = cursor.count(16, "late samples")?;
    if count >= LATE_SAMPLES {
        return Err(Malformed("late samples"));
    }
    (0..count).map(|_| Ok((cursor.i64("late time")?, cursor.u64("late bits")?))).collect()
}

fn read_rich(cursor: &mut Cursor<'_>) -> Result<RichSeries, Malformed> {
    let mut rich = RichSeries { run_left: cursor.u8("run left")?, ..RichSeries::default() };
    let mut open = HistogramRun::default();
    for _ in 0..cursor.count(9, "histograms")? {
        let time = cursor.i64("histogram time")?;
        let histogram = encoded(cursor.block("histogram")?)?;
        if !open.suits(&histogram) || open.end().is_some_and(|end| end >= time) {
            return Err(Malformed("histogram run"));
        }
        open.push(time, &histogram);
    }
    rich.open = Arc::new(open);
    rich.last = cursor.block("newest histogram")?.to_vec();
    if !rich.last.is_empty() {
        encoded(&rich.last)?;
    }
    for _ in 0..cursor.count(9, "late histograms")? {
        let time = cursor.i64("late time")?;
        rich.late.push((time, encoded(cursor.block("late histogram")?)?.as_bytes().into()));
    }
    rich.start = cursor.i64("start timestamp")?;
    for steps in [&mut rich.starts, &mut rich.late_starts] {
        for _ in 0..cursor.count(16, "start timestamps")? {
            steps.push((cursor.i64("start time")?, cursor.i64("start timestamp")?));
        }
    }
    Ok(rich)
}

fn encoded(bytes: &[u8]) -> Result<EncodedHistogram<'_>, Malformed> {
    EncodedHistogram::new(bytes).map_err(|_| Malformed("histogram"))
}

fn read_run(cursor: &mut Cursor<'_>) -> Result<(u16, Vec<u64>), Malformed> {
    let count = u16::try_from(cursor.varint("run samples")?).map_err(|_| Malformed("run"))?;
    let words = cursor.count(8, "run words")?;
    let words = (0..words).map(|_| cursor.u64("run words")).collect::<Result<_, _>>()?;
    if count <= u16::from(RUN_SAMPLES) { Ok((count, words)) } else { Err(Malformed("run")) }
}

fn read_last_run(cursor: &mut Cursor<'_>) -> Result<OpenRun, Malformed> {
    let (count, words) = read_run(cursor)?;
    let resume = Resume {
        last_time: cursor.i64("last time")?,
        last_value: cursor.u64("last bits")?,
        step: cursor.i64("step")?,
        count,
        free: cursor.u8("free")?,
        leading: cursor.u8("leading")?,
        width: cursor.u8("width")?,
    };
    OpenRun::resume(words, resume).ok_or(Malformed("last run"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::SeriesId;

    fn group(samples: &[(u8, i64, u64)]) -> Group {
        let mut group = Group::default();
        for place in 0..6 {
            group.push(if place == 2 { Hot::removed() } else { Hot::created(5) });
        }
        for &(place, step, value) in samples {
            let place = if place == 2 { 3 } else { place };
            let hot = &mut group.hot[usize::from(place)];
            let time = hot.run.last_time() + step;
            if !hot.takes(time) {
                group.roll(SeriesId(u32::from(place)), time);
            }
            group.hot[usize::from(place)].append(time, value);
            if step % 5 == 0 {
                group.seal(usize::from(place));
            }
            if step % 7 == 0 {
                group.late.insert(place, vec![(time - 3, 9)]);
            }
        }
        group
    }

    proptest! {
        #[test]
        fn a_group_reads_back(samples in proptest::collection::vec((0u8..5, 1i64..100_000, 0u64..9), 0..2000)) {
            let mut group = group(&samples);
            group.counted = 0b1010;
            let read = decode(&encode(&group)).expect("valid");
            prop_assert_eq!(read.counted, group.counted);
            prop_assert_eq!(read.hot, group.hot);
            prop_assert_eq!(read.runs, group.runs);
            prop_assert_eq!(read.late, group.late);
        }

        #[test]
        fn arbitrary_bytes_never_panic(body: Vec<u8>) {
            let mut bytes = vec![VERSION, 0, 0, 0, 0];
            bytes.extend_from_slice(&body);
            seal(&mut bytes);
            let _ = decode(&bytes);
        }
    }
}
