//! What a block of samples has beside plain floats.
//!
//! ```text
//! rich    := sections varint { tag u8, block }      tags strictly rise; an unknown one is refused
//! 1 rows      := { flags u8, owner zigzag, time zigzag, start?, value }      to the end
//!                flags: 1 histogram, 2 start timestamp, 4 inline
//!    owner     difference to the row before: series id, or position of an inline label set
//!    time      difference to the row before, the first to the base of the block's times
//!    start     zigzag of time − start timestamp
//!    value     varint of the float's bits, reversed | block: histogram as lib/model encodes it
//! 2 exemplars := { flags u8 (4 inline), owner zigzag, time zigzag, value as above, labels block }
//! 3 families  := { type u8, family block, help block, unit block }
//! ```

use narthex_model::{Exemplar, FamilyMetadata, MetricType, Timestamp, histogram::EncodedHistogram};

use super::{InlineIndex, Subject};
use crate::{
    SeriesId,
    bytes::{Cursor, Malformed, put_block, put_signed, put_varint},
};

const ROWS: u8 = 1;
const EXEMPLARS: u8 = 2;
const FAMILIES: u8 = 3;

const HISTOGRAM: u8 = 1;
const START: u8 = 2;
const INLINE: u8 = 4;

/// Whose row is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOwner {
    /// A series whose id was applied here.
    Known(SeriesId),
    /// An inline label set of the same block.
    Inline(InlineIndex),
}

/// When a sample was taken, and when what it counts began; 0 if unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleTimes {
    /// When it was taken.
    pub timestamp: Timestamp,
    /// When what it counts began.
    pub start: Timestamp,
}

/// Rich rows on their way into an entry.
#[derive(Debug, Default)]
pub(super) struct RichBlock {
    rows: Vec<(RowOwner, SampleTimes, WrittenValue)>,
    exemplars: Vec<(RowOwner, Exemplar)>,
    families: Vec<u8>,
    family_count: usize,
    bytes: usize,
}

#[derive(Debug)]
enum WrittenValue {
    Float(u64),
    Histogram(Box<[u8]>),
}

impl RichBlock {
    pub(super) fn push_float(&mut self, owner: RowOwner, times: SampleTimes, value: f64) {
        self.bytes += 32;
        self.rows.push((owner, times, WrittenValue::Float(value.to_bits())));
    }

    pub(super) fn push_histogram(
        &mut self,
        owner: RowOwner,
        times: SampleTimes,
        histogram: &EncodedHistogram<'_>,
    ) {
        let bytes = histogram.as_bytes();
        self.bytes += 32 + bytes.len();
        self.rows.push((owner, times, WrittenValue::Histogram(bytes.into())));
    }

    pub(super) fn push_exemplar(&mut self, owner: RowOwner, exemplar: Exemplar) {
        self.bytes += 48 + exemplar.labels.as_bytes().len();
        self.exemplars.push((owner, exemplar));
    }

    pub(super) fn push_family(&mut self, metadata: &FamilyMetadata<'_>) {
        put_family(&mut self.families, metadata);
        self.family_count += 1;
    }

    pub(super) fn samples(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.exemplars.is_empty() && self.family_count == 0
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn encoded_len_max(&self) -> usize {
        self.bytes + self.families.len() + 32
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>, base: Timestamp) {
        let sections = [
            (ROWS, self.encode_rows(base)),
            (EXEMPLARS, self.encode_exemplars(base)),
            (FAMILIES, self.families.clone()),
        ];
        let sections = sections.iter().filter(|section| !section.1.is_empty());
        put_varint(out, sections.clone().count() as u64);
        for (tag, section) in sections {
            out.push(*tag);
            put_block(out, section);
        }
    }

    fn encode_rows(&self, base: Timestamp) -> Vec<u8> {
        let mut out = Vec::new();
        let mut before = Before::new(base);
        for (owner, times, value) in &self.rows {
            let start = if times.start.millis() == 0 { 0 } else { START };
            let kind = match value {
                WrittenValue::Float(_) => 0,
                WrittenValue::Histogram(_) => HISTOGRAM,
            };
            before.put(&mut out, start | kind, *owner, times.timestamp);
            if start != 0 {
                put_signed(&mut out, times.timestamp.millis().wrapping_sub(times.start.millis()));
            }
            match value {
                WrittenValue::Float(bits) => put_varint(&mut out, bits.reverse_bits()),
                WrittenValue::Histogram(bytes) => put_block(&mut out, bytes),
            }
        }
        out
    }

    fn encode_exemplars(&self, base: Timestamp) -> Vec<u8> {
        let mut out = Vec::new();
        let mut before = Before::new(base);
        for (owner, exemplar) in &self.exemplars {
            before.put(&mut out, 0, *owner, exemplar.timestamp);
            put_varint(&mut out, exemplar.value.to_bits().reverse_bits());
            put_block(&mut out, exemplar.labels.as_bytes());
        }
        out
    }
}

/// Appends what is known of a family.
pub(crate) fn put_family(out: &mut Vec<u8>, metadata: &FamilyMetadata<'_>) {
    out.push(metadata.metric_type as u8);
    for text in [metadata.family, metadata.help, metadata.unit] {
        put_block(out, text.as_bytes());
    }
}

/// The inverse of [`put_family`].
pub(crate) fn take_family<'a>(cursor: &mut Cursor<'a>) -> Result<FamilyMetadata<'a>, Malformed> {
    let metric_type = MetricType::from_number(cursor.u8("metric type")?);
    let metric_type = metric_type.ok_or(Malformed("metric type unknown to this program"))?;
    let mut text = |what| {
        std::str::from_utf8(cursor.block(what)?).map_err(|_| Malformed("text of a metric family"))
    };
    Ok(FamilyMetadata {
        metric_type,
        family: text("family")?,
        help: text("help")?,
        unit: text("unit")?,
    })
}

/// What rows are written as differences to.
#[derive(Debug, Clone, Copy)]
struct Before {
    owner: i64,
    time: i64,
}

impl Before {
    fn new(base: Timestamp) -> Self {
        Self { owner: 0, time: base.millis() }
    }

    fn put(&mut self, out: &mut Vec<u8>, flags: u8, owner: RowOwner, time: Timestamp) {
        let (inline, owner) = match owner {
            RowOwner::Known(series) => (0, i64::from(series.0)),
            RowOwner::Inline(index) => (INLINE, i64::from(index.0)),
        };
        out.push(flags | inline);
        put_signed(out, owner - self.owner);
        put_signed(out, time.millis().wrapping_sub(self.time));
        *self = Self { owner, time: time.millis() };
    }

    /// Flags, owner and time of the next row. `inline` label sets can be named.
    fn take(&mut self, cursor: &mut Cursor<'_>, inline: usize) -> Result<(u8, Subject), Malformed> {
        let flags = cursor.u8("row flags")?;
        if flags & !(HISTOGRAM | START | INLINE) != 0 {
            return Err(Malformed("row flags unknown to this program"));
        }
        self.owner = self.owner.wrapping_add(cursor.signed("row owner")?);
        self.time = self.time.wrapping_add(cursor.signed("row time")?);
        let number = u32::try_from(self.owner).map_err(|_| Malformed("row owner"))?;
        match flags & INLINE {
            0 => Ok((flags, Subject::Known(SeriesId(number)))),
            _ if (number as usize) < inline => Ok((flags, Subject::Inline(number as usize))),
            _ => Err(Malformed("inline position")),
        }
    }
}

/// The rich part of a decoded block: borrowed, read row by row.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rich<'a> {
    base: Timestamp,
    inline: usize,
    rows: &'a [u8],
    exemplars: &'a [u8],
    families: &'a [u8],
}

/// A sample with all that may come with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RichRow<'a> {
    /// Whose it is.
    pub subject: Subject,
    /// When it was taken, and when what it counts began.
    pub times: SampleTimes,
    /// What was measured.
    pub value: RichValue<'a>,
}

/// What a [`RichRow`] measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RichValue<'a> {
    /// A float's bits.
    Float(u64),
    /// A histogram.
    Histogram(EncodedHistogram<'a>),
}

/// An exemplar of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExemplarRow<'a> {
    /// The series it is of.
    pub subject: Subject,
    /// When it was observed, in milliseconds.
    pub timestamp: i64,
    /// The value's bits.
    pub bits: u64,
    /// Its labels, not yet checked.
    pub labels: &'a [u8],
}

impl<'a> Rich<'a> {
    pub(super) fn decode(
        cursor: &mut Cursor<'a>,
        base: Timestamp,
        inline: usize,
    ) -> Result<Self, Malformed> {
        let mut rich = Self { base, inline, ..Self::default() };
        let mut before = 0;
        for _ in 0..cursor.count(2, "sections")? {
            let tag = cursor.u8("section")?;
            if tag <= before {
                return Err(Malformed("section"));
            }
            before = tag;
            let section = match tag {
                ROWS => &mut rich.rows,
                EXEMPLARS => &mut rich.exemplars,
                FAMILIES => &mut rich.families,
                _ => return Err(Malformed("section unknown to this program")),
            };
            *section = cursor.block("section")?;
        }
        Ok(rich)
    }

    /// The rows in order.
    pub fn rows(&self) -> impl Iterator<Item = Result<RichRow<'a>, Malformed>> + use<'a> {
        let mut before = Before::new(self.base);
        let inline = self.inline;
        items(self.rows, move |cursor| {
            let (flags, subject) = before.take(cursor, inline)?;
            let mut start = 0;
            if flags & START != 0 {
                start = before.time.wrapping_sub(cursor.signed("start timestamp")?);
            }
            let value = match flags & HISTOGRAM {
                0 => RichValue::Float(cursor.varint("value")?.reverse_bits()),
                _ => {
                    let encoded = EncodedHistogram::new(cursor.block("histogram")?);
                    RichValue::Histogram(encoded.map_err(|_| Malformed("histogram"))?)
                }
            };
            let (timestamp, start) =
                (Timestamp::from_millis(before.time), Timestamp::from_millis(start));
            Ok(RichRow { subject, times: SampleTimes { timestamp, start }, value })
        })
    }

    /// The exemplars in order.
    pub fn exemplars(&self) -> impl Iterator<Item = Result<ExemplarRow<'a>, Malformed>> + use<'a> {
        let mut before = Before::new(self.base);
        let inline = self.inline;
        items(self.exemplars, move |cursor| {
            let (flags, subject) = before.take(cursor, inline)?;
            if flags & !INLINE != 0 {
                return Err(Malformed("row flags unknown to this program"));
            }
            Ok(ExemplarRow {
                subject,
                timestamp: before.time,
                bits: cursor.varint("value")?.reverse_bits(),
                labels: cursor.block("labels")?,
            })
        })
    }

    /// What is said of metric families, in order.
    pub fn families(
        &self,
    ) -> impl Iterator<Item = Result<FamilyMetadata<'a>, Malformed>> + use<'a> {
        items(self.families, take_family)
    }
}

/// Reads items to the end of a section. Stops for good at the first malformed one.
fn items<'a, T>(
    section: &'a [u8],
    mut read: impl FnMut(&mut Cursor<'a>) -> Result<T, Malformed>,
) -> impl Iterator<Item = Result<T, Malformed>> {
    let mut cursor = Cursor::new(section);
    std::iter::from_fn(move || {
        if cursor.is_empty() {
            return None;
        }
        let item = read(&mut cursor);
        if item.is_err() {
            cursor.rest();
        }
        Some(item)
    })
}
