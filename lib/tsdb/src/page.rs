//! A page of sealed chunks: up to 64 neighbouring series, one day, one checksum.
//!
//! ```text
//! page    := version u8, crc32c u32 LE of all that follows, columns, entries, value bytes
//! columns := count varint { column }
//! column  := kind u8, rows varint, first zigzag varint, then by kind
//!            1 REGULAR  step zigzag varint
//!            2 CHANGES  words varint { u64 LE }: time of the run format, per row but the first
//! entries := count varint { entry }
//! entry   := place u8, flags u8, if KIND: sample kind u8, if AT: at varint,
//!            if TIMES: column varint, offset varint, samples varint,
//!            if SKIPS: skips varint { rows taken before it varint }, len varint
//! flags   := LATE 1, AT 2, TIMES 4, SKIPS 8, EXCEPTIONS 16, form − 1 in bits 5 and 6, KIND 128;
//!            without a kind the samples are floats
//! ```
//!
//! What an entry leaves out is as in the one before it: neighbours mostly end together.
//!
//! Series of one target share their times: a chunk names a column, the row where it begins, and
//! the rows in between that it has no sample for. `place` is the series' place in its group,
//! `at` the log index of the entry that ended the chunk.

use std::ops::Range;

use crate::{
    bits::{BitReader, BitString},
    bytes::{Cursor, Malformed, put_signed, put_varint},
    columns::Columns,
    kinds::{self, EncodedSamples},
    xor::{push_step_change, read_step_change},
};

const VERSION: u8 = 1;
const REGULAR: u8 = 1;
const CHANGES: u8 = 2;
/// The samples came late.
const LATE: u8 = 1;
/// The log index follows; else it is that of the entry before.
const AT: u8 = 1 << 1;
/// Where the times are follows; else they are where those of the entry before are.
const TIMES: u8 = 1 << 2;
/// Rows of the column are skipped.
const SKIPS: u8 = 1 << 3;
/// Some values are kept apart.
const EXCEPTIONS: u8 = 1 << 4;
/// Where the form begins.
const FORM_SHIFT: u32 = 5;
const FORM_MASK: u8 = 0b11;
/// The kind of samples follows; else they are floats.
const KIND: u8 = 1 << 7;

/// A page takes no further chunk beyond this.
pub(crate) const PAGE_BYTES_MAX: usize = 32 << 10;
/// More rows skipped than this make a column of its own; of long chunks, one in 60.
const SKIPS_MAX: usize = 8;
/// Rows of a column at most, against damaged pages.
const ROWS_MAX: usize = 1 << 16;

/// A chunk on its way into a page.
#[derive(Debug, Clone)]
pub(crate) struct SealedChunk {
    pub(crate) place: u8,
    pub(crate) late: bool,
    pub(crate) at: u64,
    pub(crate) samples: Columns,
}

/// A page to be written.
#[derive(Debug)]
pub(crate) struct EncodedPage {
    /// The time of its first sample.
    pub(crate) start: i64,
    /// The time of its last sample.
    pub(crate) end: i64,
    pub(crate) bytes: Vec<u8>,
}

/// Packs chunks of one group and day into pages.
#[derive(Debug)]
pub(crate) struct PagesWriter {
    bytes_max: usize,
    full: Vec<EncodedPage>,
    page: PageWriter,
}

impl PagesWriter {
    /// Pages of at most so many bytes, unless one chunk alone is larger.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, full: Vec::new(), page: PageWriter::default() }
    }

    /// Adds a chunk, cut where its samples are of several kinds. One without samples leaves
    /// nothing.
    pub(crate) fn add(&mut self, chunk: &SealedChunk) {
        if chunk.samples.is_empty() {
            return;
        }
        for rows in kinds::cut(&chunk.samples) {
            let samples = kinds::encode(&chunk.samples, rows.clone());
            if !self.page.is_empty() && self.page.len() + samples.bytes.len() > self.bytes_max {
                self.full.push(std::mem::take(&mut self.page).finish());
            }
            self.page.add(chunk, rows, &samples);
        }
    }

    pub(crate) fn finish(mut self) -> Vec<EncodedPage> {
        if !self.page.is_empty() {
            self.full.push(self.page.finish());
        }
        self.full
    }
}

#[derive(Debug, Default)]
struct PageWriter {
    columns: Vec<Vec<i64>>,
    entries: Vec<u8>,
    entry_count: u64,
    values: Vec<u8>,
    /// The times of the first and the last sample.
    range: Option<(i64, i64)>,
    /// Log index, column, offset and samples of the entry that was added last.
    before: Option<(u64, [usize; 3])>,
}

/// Where a chunk's times are.
struct TimesAt {
    column: usize,
    offset: usize,
    /// For each row skipped, the rows taken before it.
    skips: Vec<usize>,
}

impl PageWriter {
    fn is_empty(&self) -> bool {
        self.entry_count == 0
    }

    fn len(&self) -> usize {
        let columns: usize = self.columns.iter().map(|column| column.len() + 16).sum();
        columns + self.entries.len() + self.values.len()
    }

    fn add(&mut self, chunk: &SealedChunk, rows: Range<usize>, samples: &EncodedSamples) {
        let times = &chunk.samples.timestamps[rows];
        let at = self.place_times(times);
        let (first, last) = (times[0], times[times.len() - 1]);
        let range = self.range.get_or_insert((first, last));
        *range = (first.min(range.0), last.max(range.1));
        let lies = [at.column, at.offset, times.len()];
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let flags = flag(chunk.late, LATE)
            | flag(self.before.is_none_or(|before| before.0 != chunk.at), AT)
            | flag(self.before.is_none_or(|before| before.1 != lies), TIMES)
            | flag(!at.skips.is_empty(), SKIPS)
            | flag(samples.has_exceptions, EXCEPTIONS)
            | flag(samples.kind != kinds::FLOATS, KIND)
            | (samples.form - 1) << FORM_SHIFT;
        self.before = Some((chunk.at, lies));
        let out = &mut self.entries;
        out.extend_from_slice(&[chunk.place, flags]);
        if flags & KIND != 0 {
            out.push(samples.kind);
        }
        if flags & AT != 0 {
            put_varint(out, chunk.at);
        }
        if flags & TIMES != 0 {
            lies.iter().for_each(|&number| put_varint(out, number as u64));
        }
        if flags & SKIPS != 0 {
            put_varint(out, at.skips.len() as u64);
            at.skips.iter().for_each(|&taken| put_varint(out, taken as u64));
        }
        put_varint(out, samples.bytes.len() as u64);
        self.values.extend_from_slice(&samples.bytes);
        self.entry_count += 1;
    }

    /// Finds a column that has these times, or adds one.
    fn place_times(&mut self, times: &[i64]) -> TimesAt {
        for (column, rows) in self.columns.iter().enumerate() {
            if let Some((offset, skips)) = find_rows(rows, times) {
                return TimesAt { column, offset, skips };
            }
        }
        self.columns.push(times.to_vec());
        TimesAt { column: self.columns.len() - 1, offset: 0, skips: Vec::new() }
    }

    fn finish(self) -> EncodedPage {
        let mut out = vec![VERSION, 0, 0, 0, 0];
        put_varint(&mut out, self.columns.len() as u64);
        self.columns.iter().for_each(|column| put_column(&mut out, column));
        put_varint(&mut out, self.entry_count);
        out.extend_from_slice(&self.entries);
        out.extend_from_slice(&self.values);
        seal(&mut out);
        let (start, end) = self.range.unwrap_or((0, 0));
        EncodedPage { start, end, bytes: out }
    }
}

/// Writes the checksum behind the version byte, over all that follows it.
pub(crate) fn seal(out: &mut [u8]) {
    let checksum = crc32c::crc32c(&out[5..]);
    out[1..5].copy_from_slice(&checksum.to_le_bytes());
}

/// Checks version and checksum; what follows them is returned.
pub(crate) fn unseal(bytes: &[u8], version: u8) -> Result<Cursor<'_>, Malformed> {
    let mut cursor = Cursor::new(bytes);
    let found = cursor.u8("version")?;
    if found != version {
        return Err(Malformed("version unknown to this program"));
    }
    let checksum = cursor.u32("checksum")?;
    if crc32c::crc32c(&bytes[5..]) != checksum {
        return Err(Malformed("checksum"));
    }
    Ok(cursor)
}

/// The row of `rows` where `times` begin and the few rows between that they lack.
fn find_rows(rows: &[i64], times: &[i64]) -> Option<(usize, Vec<usize>)> {
    let offset = rows.binary_search(times.first()?).ok()?;
    let mut skips = Vec::new();
    let mut row = offset;
    for (taken, time) in times.iter().enumerate() {
        while rows.get(row)? < time {
            skips.push(taken);
            if skips.len() > SKIPS_MAX.max(times.len() / 60) {
                return None;
            }
            row += 1;
        }
        if rows[row] != *time {
            return None;
        }
        row += 1;
    }
    Some((offset, skips))
}

/// Appends a column of times, of which there is at least one.
pub(crate) fn put_column(out: &mut Vec<u8>, times: &[i64]) {
    let step = times.get(1).map_or(0, |second| second.wrapping_sub(times[0]));
    let is_regular = times.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == step);
    out.push(if is_regular { REGULAR } else { CHANGES });
    put_varint(out, times.len() as u64);
    put_signed(out, times[0]);
    if is_regular {
        put_signed(out, step);
        return;
    }
    let mut changes = BitString::new();
    let mut step = 0i64;
    for pair in times.windows(2) {
        let next = pair[1].wrapping_sub(pair[0]);
        push_step_change(&mut changes, next.wrapping_sub(step));
        step = next;
    }
    put_varint(out, changes.word_count() as u64);
    changes.words().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

fn read_column(cursor: &mut Cursor<'_>) -> Result<Vec<i64>, Malformed> {
    let kind = cursor.u8("column kind")?;
    let rows = cursor.varint("column rows")? as usize;
    let first = cursor.signed("column start")?;
    if rows == 0 || rows > ROWS_MAX {
        return Err(Malformed("column rows"));
    }
    match kind {
        REGULAR => {
            let step = cursor.signed("column step")?;
            Ok((0..rows as i64).map(|row| first.wrapping_add(row.wrapping_mul(step))).collect())
        }
        CHANGES => {
            let words = cursor.count(8, "column words")?;
            let words: Vec<u64> =
                (0..words).map(|_| cursor.u64("column words")).collect::<Result<_, _>>()?;
            let mut changes = BitReader::new(&words);
            let mut times = Vec::with_capacity(rows);
            let (mut time, mut step) = (first, 0i64);
            times.push(time);
            for _ in 1..rows {
                step = step.wrapping_add(read_step_change(&mut changes));
                time = time.wrapping_add(step);
                times.push(time);
            }
            if changes.overran() {
                return Err(Malformed("column"));
            }
            Ok(times)
        }
        _ => Err(Malformed("column kind unknown to this program")),
    }
}

/// A decoded page: its columns and directory, and values still encoded.
#[derive(Debug)]
pub(crate) struct Page {
    bytes: Vec<u8>,
    columns: Vec<Vec<i64>>,
    entries: Vec<PageEntry>,
}

/// One chunk of a page.
#[derive(Debug, Clone)]
pub(crate) struct PageEntry {
    pub(crate) place: u8,
    kind: u8,
    pub(crate) late: bool,
    pub(crate) at: u64,
    column: usize,
    offset: usize,
    count: usize,
    skips: Vec<usize>,
    form: u8,
    has_exceptions: bool,
    values: Range<usize>,
}

impl PageEntry {
    /// How many samples it has.
    pub(crate) fn len(&self) -> usize {
        self.count
    }
}

impl Page {
    /// Checks and reads a page's columns and directory.
    pub(crate) fn decode(bytes: Vec<u8>) -> Result<Self, Malformed> {
        let mut cursor = unseal(&bytes, VERSION)?;
        let columns = cursor.count(4, "column count")?;
        let columns =
            (0..columns).map(|_| read_column(&mut cursor)).collect::<Result<Vec<_>, _>>()?;
        let count = cursor.count(3, "entry count")?;
        let mut entries: Vec<PageEntry> = Vec::with_capacity(count);
        for _ in 0..count {
            let entry = read_entry(&mut cursor, &columns, entries.last())?;
            entries.push(entry);
        }
        let base = bytes.len() - cursor.remaining();
        if entries.last().map_or(0, |entry| entry.values.end) != cursor.remaining() {
            return Err(Malformed("values"));
        }
        for entry in &mut entries {
            entry.values = entry.values.start + base..entry.values.end + base;
        }
        Ok(Self { bytes, columns, entries })
    }

    /// The chunks, in the order they were added.
    pub(crate) fn entries(&self) -> &[PageEntry] {
        &self.entries
    }

    /// The times of the first and the last sample of a chunk.
    pub(crate) fn range(&self, entry: &PageEntry) -> (i64, i64) {
        let rows = &self.columns[entry.column];
        (rows[entry.offset], rows[entry.offset + entry.count + entry.skips.len() - 1])
    }

    /// Bytes of memory, near enough.
    pub(crate) fn encoded_len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a chunk's samples.
    pub(crate) fn read(&self, entry: &PageEntry, into: &mut Columns) -> Result<(), Malformed> {
        let rows = &self.columns[entry.column][entry.offset..];
        if entry.skips.is_empty() {
            into.timestamps.extend_from_slice(&rows[..entry.count]);
        } else {
            let mut skips = entry.skips.iter().copied().peekable();
            let mut row = 0;
            for taken in 0..entry.count {
                while skips.next_if_eq(&taken).is_some() {
                    row += 1;
                }
                into.timestamps.push(rows[row]);
                row += 1;
            }
        }
        let bytes = &self.bytes[entry.values.clone()];
        let encoded = kinds::Encoded {
            kind: entry.kind,
            form: entry.form,
            has_exceptions: entry.has_exceptions,
            bytes,
        };
        kinds::decode(encoded, entry.count, into)
    }
}

fn read_entry(
    cursor: &mut Cursor<'_>,
    columns: &[Vec<i64>],
    before: Option<&PageEntry>,
) -> Result<PageEntry, Malformed> {
    let (place, flags) = (cursor.u8("place")?, cursor.u8("entry flags")?);
    let kind = if flags & KIND != 0 { cursor.u8("sample kind")? } else { kinds::FLOATS };
    if !kinds::is_known(kind) {
        return Err(Malformed("sample kind unknown to this program"));
    }
    let as_before = || before.ok_or(Malformed("first entry"));
    let at = if flags & AT != 0 { cursor.varint("log index")? } else { as_before()?.at };
    let [column, offset, count] = if flags & TIMES != 0 {
        let mut number = |what| cursor.varint(what).map(|number| number as usize);
        [number("column")?, number("offset")?, number("samples")?]
    } else {
        let before = as_before()?;
        [before.column, before.offset, before.count]
    };
    let rows = columns.get(column).ok_or(Malformed("column"))?.len();
    let skipped = if flags & SKIPS != 0 { cursor.count(1, "skips")? } else { 0 };
    let fits = offset.checked_add(count).and_then(|end| end.checked_add(skipped));
    if count == 0 || fits.is_none_or(|end| end > rows) {
        return Err(Malformed("samples"));
    }
    let mut skips = Vec::with_capacity(skipped);
    for _ in 0..skipped {
        let taken = cursor.varint("skip")? as usize;
        if taken >= count || skips.last().is_some_and(|&before| before > taken) {
            return Err(Malformed("skip"));
        }
        skips.push(taken);
    }
    let len = cursor.varint("values")? as usize;
    let start = before.map_or(0, |before| before.values.end);
    let values = start..start.checked_add(len).ok_or(Malformed("values"))?;
    Ok(PageEntry {
        place,
        kind,
        late: flags & LATE != 0,
        at,
        column,
        offset,
        count,
        skips,
        form: (flags >> FORM_SHIFT & FORM_MASK) + 1,
        has_exceptions: flags & EXCEPTIONS != 0,
        values,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk(place: u8, times: &[i64], value: f64) -> SealedChunk {
        let values = (0..times.len()).map(|i| value + i as f64).collect();
        let samples = Columns { timestamps: times.to_vec(), values, ..Columns::new() };
        SealedChunk { place, late: place % 2 == 1, at: 9, samples }
    }

    fn encode_pages(chunks: &[SealedChunk]) -> Vec<EncodedPage> {
        let mut pages = PagesWriter::new(PAGE_BYTES_MAX);
        chunks.iter().for_each(|chunk| pages.add(chunk));
        pages.finish()
    }

    fn read_all(pages: Vec<EncodedPage>) -> Vec<(u8, bool, Vec<i64>, Vec<f64>)> {
        let mut found = Vec::new();
        for EncodedPage { start, end, bytes } in pages {
            let page = Page::decode(bytes).expect("valid");
            for entry in page.entries() {
                let mut columns = Columns::new();
                page.read(entry, &mut columns).expect("valid");
                let ends = (columns.timestamps[0], *columns.timestamps.last().expect("not empty"));
                assert_eq!(page.range(entry), ends);
                assert!(start <= ends.0 && end >= ends.1);
                found.push((entry.place, entry.late, columns.timestamps, columns.values));
            }
        }
        found
    }

    #[test]
    fn series_of_a_target_share_their_times() {
        let times: Vec<i64> = (0..480).map(|i| i * 15_000 + i * i % 7).collect();
        let chunks: Vec<_> = (0..64).map(|place| chunk(place, &times, 5.0)).collect();
        let pages = encode_pages(&chunks);
        assert_eq!(pages.len(), 1);
        assert_eq!(Page::decode(pages[0].bytes.clone()).expect("valid").columns.len(), 1);
        let lacking: Vec<i64> = times.iter().copied().filter(|time| time % 11 != 3).collect();
        assert_eq!(find_rows(&times, &times[5..9]), Some((5, vec![])));
        assert_eq!(find_rows(&times, &[times[5], times[7], times[9]]), Some((5, vec![1, 2])));
        assert_eq!(find_rows(&times, &lacking), None);
    }

    #[test]
    fn a_damaged_page_is_refused() {
        let bytes = encode_pages(&[chunk(3, &[1, 2, 5], 1.0)]).remove(0).bytes;
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Page::decode(damaged).is_err(), "byte {at}");
        }
        let mut newer = bytes;
        newer[0] = 2;
        let error = Page::decode(newer).expect_err("newer");
        assert_eq!(error, Malformed("version unknown to this program"));
    }

    proptest! {
        #[test]
        fn chunks_read_back(
            series in proptest::collection::vec((0u8..64, proptest::collection::btree_set(0i64..600, 1..500), any::<f64>()), 1..20),
        ) {
            let chunks: Vec<_> = series
                .iter()
                .map(|(place, times, value)| {
                    let times: Vec<i64> = times.iter().map(|time| time * 1000).collect();
                    chunk(*place, &times, *value)
                })
                .collect();
            let found = read_all(encode_pages(&chunks));
            prop_assert_eq!(found.len(), chunks.len());
            for (found, chunk) in found.iter().zip(&chunks) {
                prop_assert_eq!((found.0, found.1), (chunk.place, chunk.late));
                prop_assert_eq!(&found.2, &chunk.samples.timestamps);
                let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                prop_assert_eq!(bits(&found.3), bits(&chunk.samples.values));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(body: Vec<u8>) {
            let mut bytes = vec![VERSION, 0, 0, 0, 0];
            bytes.extend_from_slice(&body);
            seal(&mut bytes);
            if let Ok(page) = Page::decode(bytes) {
                for entry in page.entries() {
                    let _ = page.read(entry, &mut Columns::new());
                }
            }
        }
    }
}
