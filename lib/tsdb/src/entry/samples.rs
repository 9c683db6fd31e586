//! A block of samples inside an entry, in columns.
//!
//! ```text
//! block := inline_count varint { labels_len varint labels }
//!          known_rows varint  inline_rows varint
//!          series_len varint  series: per row zigzag varint, difference to the row before
//!          times   := 0x00 zigzag varint                       one time for all rows
//!                   | 0x01 len varint { zigzag varint }        per row, difference to the one before
//!                   | 0x02, 0x03 as 0x00, 0x01; `rich` of rich.rs follows the values
//!          lengths: ceil(rows / 2) bytes, low half first       0..=8 value bytes kept
//!          values_len varint  values: leading bytes of the big-endian bits, zeros behind cut off
//! ```
//!
//! Known rows name a series by id. Inline rows come after them and name a label set of this
//! block by position; both differences start from 0, and times from the header's leader time.

use narthex_model::{Exemplar, FamilyMetadata, Labels, Timestamp, histogram::EncodedHistogram};

use super::{
    command::LabelSets,
    rich::{Rich, RichBlock, RowOwner, SampleTimes},
};
use crate::{
    SeriesId,
    bytes::{Cursor, Malformed, put_block, put_signed, put_varint},
};

const TIME_SHARED: u8 = 0;
const TIME_COLUMN: u8 = 1;
const RICH_FOLLOWS: u8 = 2;

/// Where a label set stands among the inline label sets of its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InlineIndex(pub(super) u32);

/// Whose sample a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A series whose id was applied on the leader.
    Known(SeriesId),
    /// The label set at this position of [`Samples::inline`].
    Inline(usize),
}

/// Samples on their way into an entry. Kept and cleared by its owner to reuse the memory.
#[derive(Debug, Default)]
pub struct SampleBlock {
    inline: Vec<u8>,
    inline_count: u32,
    known: Vec<(u32, i64, u64)>,
    fresh: Vec<(u32, i64, u64)>,
    rich: RichBlock,
}

impl SampleBlock {
    /// An empty block.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty block with room for samples of known series.
    pub fn with_capacity(known: usize) -> Self {
        Self { known: Vec::with_capacity(known), ..Self::default() }
    }

    /// Adds a sample of a series whose id was applied here.
    #[inline]
    pub fn push(&mut self, series: SeriesId, timestamp: Timestamp, value: f64) {
        self.known.push((series.0, timestamp.millis(), value.to_bits()));
    }

    /// Adds a label set whose series has no applied id yet.
    pub fn inline(&mut self, labels: &Labels) -> InlineIndex {
        put_block(&mut self.inline, labels.as_bytes());
        self.inline_count += 1;
        InlineIndex(self.inline_count - 1)
    }

    /// Adds a sample of an inline label set of this block.
    pub fn push_inline(&mut self, labels: InlineIndex, timestamp: Timestamp, value: f64) {
        debug_assert!(labels.0 < self.inline_count, "an index of another block");
        self.fresh.push((labels.0, timestamp.millis(), value.to_bits()));
    }

    /// Adds a label set with one sample.
    pub fn push_labels(&mut self, labels: &Labels, timestamp: Timestamp, value: f64) {
        let index = self.inline(labels);
        self.push_inline(index, timestamp, value);
    }

    /// Adds a float with its start timestamp.
    pub fn push_started(&mut self, owner: RowOwner, times: SampleTimes, value: f64) {
        self.rich.push_float(owner, times, value);
    }

    /// Adds a histogram.
    pub fn push_histogram(
        &mut self,
        owner: RowOwner,
        times: SampleTimes,
        histogram: &EncodedHistogram<'_>,
    ) {
        self.rich.push_histogram(owner, times, histogram);
    }

    /// Adds an exemplar.
    pub fn push_exemplar(&mut self, owner: RowOwner, exemplar: Exemplar) {
        self.rich.push_exemplar(owner, exemplar);
    }

    /// Adds what is known of a metric family.
    pub fn push_family(&mut self, metadata: &FamilyMetadata<'_>) {
        self.rich.push_family(metadata);
    }

    /// How many samples there are, of all kinds.
    pub fn len(&self) -> usize {
        self.plain_rows() + self.rich.samples()
    }

    fn plain_rows(&self) -> usize {
        self.known.len() + self.fresh.len()
    }

    /// Whether there is nothing, not even a label set.
    pub fn is_empty(&self) -> bool {
        self.plain_rows() == 0 && self.inline_count == 0 && self.rich.is_empty()
    }

    /// Whether there is nothing but label sets, if any.
    pub fn has_only_labels(&self) -> bool {
        self.plain_rows() == 0 && self.rich.is_empty()
    }

    /// Forgets the samples, keeps the memory.
    pub fn clear(&mut self) {
        self.inline.clear();
        self.inline_count = 0;
        self.known.clear();
        self.fresh.clear();
        self.rich.clear();
    }

    /// Bytes the block takes encoded, at most; to keep entries below their limit.
    pub fn encoded_len_max(&self) -> usize {
        self.inline.len() + 24 * self.plain_rows() + 64 + self.rich.encoded_len_max()
    }

    /// Label sets in the form of [`LabelSets`].
    pub(super) fn encode_labels(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.inline_count));
        out.extend_from_slice(&self.inline);
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>, base: Timestamp) {
        self.encode_labels(out);
        put_varint(out, self.known.len() as u64);
        put_varint(out, self.fresh.len() as u64);
        let mut column = Vec::with_capacity(self.plain_rows() * 2);
        for rows in [&self.known, &self.fresh] {
            let mut previous = 0i64;
            for &(series, ..) in rows {
                put_signed(&mut column, i64::from(series) - previous);
                previous = i64::from(series);
            }
        }
        put_block(out, &column);
        self.encode_times(out, base, column);
        self.encode_values(out);
        if !self.rich.is_empty() {
            self.rich.encode(out, base);
        }
    }

    fn rows(&self) -> impl Iterator<Item = &(u32, i64, u64)> {
        self.known.iter().chain(&self.fresh)
    }

    fn encode_times(&self, out: &mut Vec<u8>, base: Timestamp, mut column: Vec<u8>) {
        let first = self.rows().next().map_or(base.millis(), |row| row.1);
        let rich = if self.rich.is_empty() { 0 } else { RICH_FOLLOWS };
        if self.rows().all(|row| row.1 == first) {
            out.push(TIME_SHARED | rich);
            put_signed(out, first.wrapping_sub(base.millis()));
            return;
        }
        out.push(TIME_COLUMN | rich);
        column.clear();
        let mut previous = base.millis();
        for &(_, timestamp, _) in self.rows() {
            put_signed(&mut column, timestamp.wrapping_sub(previous));
            previous = timestamp;
        }
        put_block(out, &column);
    }

    fn encode_values(&self, out: &mut Vec<u8>) {
        let lengths_at = out.len();
        out.resize(lengths_at + self.plain_rows().div_ceil(2), 0);
        let mut values = Vec::with_capacity(self.plain_rows() * 8);
        for (row, &(_, _, bits)) in self.rows().enumerate() {
            let kept = 8 - (bits.trailing_zeros() / 8) as usize;
            out[lengths_at + row / 2] |= (kept as u8) << (4 * (row % 2));
            values.extend_from_slice(&bits.to_be_bytes()[..kept]);
        }
        put_block(out, &values);
    }
}

/// A decoded block: borrowed columns, read row by row.
#[derive(Debug, Clone, Copy)]
pub struct Samples<'a> {
    inline: LabelSets<'a>,
    known_rows: usize,
    rows: usize,
    series: &'a [u8],
    times: Times<'a>,
    lengths: &'a [u8],
    values: &'a [u8],
    rich: Rich<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Times<'a> {
    Shared(i64),
    Column { first: i64, differences: &'a [u8] },
}

impl<'a> Samples<'a> {
    pub(super) fn decode(cursor: &mut Cursor<'a>, base: Timestamp) -> Result<Self, Malformed> {
        let inline = LabelSets::decode(cursor)?;
        let known_rows = cursor.count(1, "known rows")?;
        let inline_rows = cursor.count(1, "inline rows")?;
        let rows = known_rows + inline_rows;
        let series = cursor.block("series column")?;
        if series.len() < rows {
            return Err(Malformed("series column"));
        }
        let mode = cursor.u8("time mode")?;
        let times = match mode & !RICH_FOLLOWS {
            TIME_SHARED => Times::Shared(base.millis().wrapping_add(cursor.signed("shared time")?)),
            TIME_COLUMN => {
                Times::Column { first: base.millis(), differences: cursor.block("time column")? }
            }
            _ => return Err(Malformed("time mode")),
        };
        let lengths = cursor.bytes(rows.div_ceil(2), "value lengths")?;
        let values = cursor.block("values")?;
        let rich = match mode & RICH_FOLLOWS {
            0 => Rich::default(),
            _ => Rich::decode(cursor, base, inline.len())?,
        };
        Ok(Self { inline, known_rows, rows, series, times, lengths, values, rich })
    }

    /// The label sets that rows name by position.
    pub fn inline(&self) -> LabelSets<'a> {
        self.inline
    }

    /// What there is beside plain floats.
    pub fn rich(&self) -> &Rich<'a> {
        &self.rich
    }

    /// How many plain floats there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no plain float.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The time all plain floats share, if they do.
    pub fn shared_time(&self) -> Option<Timestamp> {
        match self.times {
            Times::Shared(time) => Some(Timestamp::from_millis(time)),
            Times::Column { .. } => None,
        }
    }

    /// The plain floats in order: known series first.
    pub fn rows(&self) -> Rows<'a> {
        let (time, differences) = match self.times {
            Times::Shared(time) => (time, None),
            Times::Column { first, differences } => (first, Some(Cursor::new(differences))),
        };
        Rows {
            known_left: self.known_rows,
            left: self.rows,
            row: 0,
            inline_count: self.inline.len() as i64,
            series: Cursor::new(self.series),
            previous_series: 0,
            time,
            differences,
            lengths: self.lengths,
            values: self.values,
        }
    }
}

/// One sample of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Whose it is.
    pub subject: Subject,
    /// When it was taken, in milliseconds.
    pub timestamp: i64,
    /// The value's bits.
    pub bits: u64,
}

/// Walks the rows of a block. Stops for good at the first malformed one.
#[derive(Debug, Clone)]
pub struct Rows<'a> {
    known_left: usize,
    left: usize,
    row: usize,
    inline_count: i64,
    series: Cursor<'a>,
    previous_series: i64,
    time: i64,
    differences: Option<Cursor<'a>>,
    lengths: &'a [u8],
    values: &'a [u8],
}

impl Rows<'_> {
    #[inline]
    fn read(&mut self) -> Result<Row, Malformed> {
        let subject = self.subject()?;
        if let Some(differences) = &mut self.differences {
            self.time = self.time.wrapping_add(differences.signed("time column")?);
        }
        let bits = self.bits()?;
        self.row += 1;
        self.left -= 1;
        if self.left == 0 {
            self.end()?;
        }
        Ok(Row { subject, timestamp: self.time, bits })
    }

    #[inline]
    fn subject(&mut self) -> Result<Subject, Malformed> {
        if self.known_left > 0 {
            self.known_left -= 1;
            let id = self.previous_series.wrapping_add(self.series.signed("series column")?);
            self.previous_series = if self.known_left == 0 { 0 } else { id };
            let id = u32::try_from(id).map_err(|_| Malformed("series id"))?;
            return Ok(Subject::Known(SeriesId(id)));
        }
        let index = self.previous_series.wrapping_add(self.series.signed("series column")?);
        self.previous_series = index;
        if !(0..self.inline_count).contains(&index) {
            return Err(Malformed("inline position"));
        }
        Ok(Subject::Inline(index as usize))
    }

    #[inline]
    fn bits(&mut self) -> Result<u64, Malformed> {
        let kept = usize::from(self.lengths[self.row / 2] >> (4 * (self.row % 2)) & 0x0f);
        if kept > 8 || kept > self.values.len() {
            return Err(Malformed("value length"));
        }
        let bits = match self.values.first_chunk::<8>() {
            // The shift in two steps: `kept` of 0 would shift by 64.
            Some(word) => {
                let mask = !(u64::MAX >> (4 * kept) >> (4 * kept));
                u64::from_be_bytes(*word) & mask
            }
            None => {
                let mut word = [0; 8];
                word[..kept].copy_from_slice(&self.values[..kept]);
                u64::from_be_bytes(word)
            }
        };
        self.values = &self.values[kept..];
        Ok(bits)
    }

    fn end(&self) -> Result<(), Malformed> {
        self.series.end("series column")?;
        if let Some(differences) = &self.differences {
            differences.end("time column")?;
        }
        if self.values.is_empty() { Ok(()) } else { Err(Malformed("values")) }
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Row, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let row = self.read();
        if row.is_err() {
            self.left = 0;
        }
        Some(row)
    }
}
