//! The samples of an append request: what a router sends to a shard's leader.
//!
//! ```text
//! batch  := version(1), 128 more if any_age   item_count(varint, padded to 5 bytes) { item }
//! item   := series | 0 kind(u8) by kind      a series of floats never begins with 0
//!           kind 0: samples                  of the empty label set
//!           kind 1: subject rich             a series with more than floats
//!           kind 2: metadata                 of a metric family
//! series := subject samples
//! subject := varint of labels_len << 1      labels
//!          | varint of series << 1 | 1      fingerprint: u32, little-endian
//! samples := sample_count(varint) { sample }
//! sample := time value: f64, little-endian
//! time   := zigzag varint of (timestamp in ms − that of the sample before in the batch)
//!                                                           the first one counts from 0
//! rich   := floats varint { sample start } histograms varint { time start histogram block }
//!           exemplars varint { time value labels block }
//! start  := zigzag varint of (timestamp − start timestamp, 0 if unknown)
//! metadata := type u8, family block, help block, unit block
//! block  := length varint, bytes
//! ```
//!
//! Labels are in the encoding of `narthex_model::Labels`; the router has checked them. A series
//! whose number in the shard the router has learnt comes with that number and the fingerprint of
//! its labels. Values keep all their bits; histograms are in the encoding of `narthex_model`.
//! What is rich is rare: floats without start timestamps pay nothing for it.

mod halve;
mod rich;
#[cfg(test)]
mod tests;

use bytes::{Buf, Bytes};
use narthex_model::{
    FamilyMetadata, InvalidLabels, Labels, Sample, Timestamp, histogram::MalformedHistogram,
};

pub use halve::halve;
pub use rich::{EncodedExemplar, Owner, Point, Rich, RichRows};

const VERSION: u8 = 1;
/// Beside the version: samples may be older than the out-of-order window allows.
const ANY_AGE: u8 = 0x80;
/// Version and series count. A writer learns the count last, so it leaves room for a varint of
/// this many bytes; a reader takes any length.
const HEAD_BYTES: usize = 1 + COUNT_BYTES;
const COUNT_BYTES: usize = 5;
/// A sample takes at least this many bytes: bounds what a count may promise.
const SAMPLE_BYTES_MIN: usize = 9;
/// What an item begins with that is no series of floats.
const NOT_PLAIN: u8 = 0;

/// Why bytes are no batch. The sender will send the same again: refuse it for good.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MalformedBatch {
    /// Written by a newer version.
    #[error("batch version {0} is not known, want {VERSION}")]
    Version(u8),
    /// Cut short, or a count that cannot be true.
    #[error("batch ends within {0}")]
    Truncated(&'static str),
    /// A number that no series can have.
    #[error("series number {0} in a batch")]
    Series(u64),
    /// Labels that are not in their encoding.
    #[error("labels in a batch")]
    Labels(#[from] InvalidLabels),
    /// Written by a newer version.
    #[error("item kind {0} in a batch is not known")]
    Kind(u8),
    /// Damaged, or written by a newer version.
    #[error("histogram in a batch")]
    Histogram(#[from] MalformedHistogram),
    /// Metadata that is not text, or of an unknown type.
    #[error("metadata in a batch")]
    Metadata,
}

/// What a batch brings next.
#[derive(Debug)]
pub enum Item<'a> {
    /// A series whose floats are in the buffer that the caller gave.
    Floats(Subject<'a>),
    /// A series with more than floats.
    Rich(Rich<'a>),
    /// What is known of a metric family.
    Metadata(FamilyMetadata<'a>),
}

/// Whose samples a batch brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// The series with these labels, not yet checked.
    Labels(&'a [u8]),
    /// A series by what its shard calls it.
    Known(KnownSeries),
}

/// What a router remembers of a series in a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownSeries {
    /// Its number in the shard.
    pub series: u32,
    /// See [`Labels::fingerprint_of`].
    pub fingerprint: u32,
}

/// Writes a batch.
#[derive(Debug)]
pub struct BatchWriter {
    bytes: Vec<u8>,
    items: u32,
    samples: usize,
    last_millis: i64,
    any_age: bool,
}

impl Default for BatchWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchWriter {
    /// An empty batch.
    pub fn new() -> Self {
        Self { bytes: vec![0; HEAD_BYTES], items: 0, samples: 0, last_millis: 0, any_age: false }
    }

    /// An empty batch of samples that may be older than the out-of-order window allows.
    pub fn backfill() -> Self {
        Self { any_age: true, ..Self::new() }
    }

    /// Takes what was added; an empty batch of the same kind stays.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let empty = Self { any_age: self.any_age, ..Self::new() };
        std::mem::replace(self, empty)
    }

    /// Adds the samples of one series; a series may come again.
    pub fn push(&mut self, labels: &Labels, samples: impl ExactSizeIterator<Item = Sample>) {
        self.push_encoded(labels.as_bytes(), samples);
    }

    fn push_encoded(&mut self, labels: &[u8], samples: impl ExactSizeIterator<Item = Sample>) {
        put_varint(&mut self.bytes, (labels.len() as u64) << 1);
        self.bytes.extend_from_slice(labels);
        if labels.is_empty() {
            self.bytes.push(rich::kind::NO_LABELS);
        }
        self.push_samples(samples);
    }

    /// Adds the samples of a series that the shard has numbered.
    #[inline]
    pub fn push_known(
        &mut self,
        known: KnownSeries,
        samples: impl ExactSizeIterator<Item = Sample>,
    ) {
        put_varint(&mut self.bytes, u64::from(known.series) << 1 | 1);
        self.bytes.extend_from_slice(&known.fingerprint.to_le_bytes());
        self.push_samples(samples);
    }

    /// As [`BatchWriter::push`], for labels that still lie where they were received. They must be
    /// sorted by name, each name once, names and values not empty. Returns their fingerprint.
    pub fn push_pairs(
        &mut self,
        labels: &[(&str, &str)],
        samples: impl ExactSizeIterator<Item = Sample>,
    ) -> u32 {
        let fingerprint = self.put_pairs(labels);
        if labels.is_empty() {
            self.bytes.push(rich::kind::NO_LABELS);
        }
        self.push_samples(samples);
        fingerprint
    }

    fn put_pairs(&mut self, labels: &[(&str, &str)]) -> u32 {
        let len_of = |text: &str| text.len() + varint_len(text.len() as u64);
        let len: usize = labels.iter().map(|(name, value)| len_of(name) + len_of(value)).sum();
        self.bytes.reserve(len + 10);
        put_varint(&mut self.bytes, (len as u64) << 1);
        let start = self.bytes.len();
        for text in labels.iter().flat_map(|(name, value)| [name, value]) {
            put_varint(&mut self.bytes, text.len() as u64);
            self.bytes.extend_from_slice(text.as_bytes());
        }
        Labels::fingerprint_of(&self.bytes[start..])
    }

    fn push_samples(&mut self, samples: impl ExactSizeIterator<Item = Sample>) {
        self.items += 1;
        put_varint(&mut self.bytes, samples.len() as u64);
        for Sample { timestamp, value } in samples {
            self.put_time(timestamp);
            self.bytes.extend_from_slice(&value.to_bits().to_le_bytes());
            self.samples += 1;
        }
    }

    #[inline]
    fn put_time(&mut self, timestamp: Timestamp) {
        let delta = timestamp.millis().wrapping_sub(self.last_millis);
        self.last_millis = timestamp.millis();
        put_signed(&mut self.bytes, delta);
    }

    /// Samples so far, floats and histograms.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// The finished batch.
    pub fn finish(mut self) -> Bytes {
        self.bytes[0] = if self.any_age { VERSION | ANY_AGE } else { VERSION };
        for (i, byte) in self.bytes[1..HEAD_BYTES].iter_mut().enumerate() {
            let more = if i + 1 < COUNT_BYTES { 0x80 } else { 0 };
            *byte = (self.items >> (7 * i)) as u8 & 0x7f | more;
        }
        self.bytes.into()
    }
}

/// Reads a batch.
#[derive(Debug)]
pub struct BatchReader<'a> {
    rest: &'a [u8],
    items_left: u64,
    last_millis: i64,
    any_age: bool,
}

impl<'a> BatchReader<'a> {
    /// Checks the version.
    pub fn new(mut bytes: &'a [u8]) -> Result<Self, MalformedBatch> {
        if bytes.is_empty() {
            return Err(MalformedBatch::Truncated("its version"));
        }
        let head = bytes.get_u8();
        match head & !ANY_AGE {
            VERSION => {}
            version => return Err(MalformedBatch::Version(version)),
        }
        let items_left = take_varint(&mut bytes, "its item count")?;
        Ok(Self { rest: bytes, items_left, last_millis: 0, any_age: head & ANY_AGE != 0 })
    }

    /// Whether its samples may be older than the out-of-order window allows.
    pub fn is_backfill(&self) -> bool {
        self.any_age
    }

    /// What comes next, while `samples` is filled with the floats of a plain series. `None`
    /// behind the last.
    pub fn next(&mut self, samples: &mut Vec<Sample>) -> Result<Option<Item<'a>>, MalformedBatch> {
        samples.clear();
        if self.items_left == 0 {
            return Ok(None);
        }
        self.items_left -= 1;
        if self.rest.first() == Some(&NOT_PLAIN) {
            return self.not_plain(samples).map(Some);
        }
        let subject = self.subject()?;
        self.samples(samples)?;
        Ok(Some(Item::Floats(subject)))
    }

    fn samples(&mut self, samples: &mut Vec<Sample>) -> Result<(), MalformedBatch> {
        let count = self.count(SAMPLE_BYTES_MIN, "samples")?;
        for _ in 0..count {
            let timestamp = self.time()?;
            samples.push(Sample { timestamp, value: self.value()? });
        }
        Ok(())
    }

    #[inline]
    fn time(&mut self) -> Result<Timestamp, MalformedBatch> {
        let delta = unzigzag(take_varint(&mut self.rest, "a timestamp")?);
        self.last_millis = self.last_millis.wrapping_add(delta);
        Ok(Timestamp::from_millis(self.last_millis))
    }

    #[inline]
    fn value(&mut self) -> Result<f64, MalformedBatch> {
        if self.rest.len() < 8 {
            return Err(MalformedBatch::Truncated("a value"));
        }
        Ok(self.rest.get_f64_le())
    }

    /// A count of things that take at least `bytes_each` of what is left.
    fn count(&mut self, bytes_each: usize, what: &'static str) -> Result<u64, MalformedBatch> {
        let count = take_varint(&mut self.rest, what)?;
        if count > (self.rest.len() / bytes_each) as u64 {
            return Err(MalformedBatch::Truncated(what));
        }
        Ok(count)
    }

    fn subject(&mut self) -> Result<Subject<'a>, MalformedBatch> {
        let head = take_varint(&mut self.rest, "labels")?;
        if head & 1 == 0 {
            return Ok(Subject::Labels(self.bytes(head >> 1, "labels")?));
        }
        let series = u32::try_from(head >> 1).map_err(|_| MalformedBatch::Series(head >> 1))?;
        if self.rest.len() < 4 {
            return Err(MalformedBatch::Truncated("a fingerprint"));
        }
        let fingerprint = self.rest.get_u32_le();
        Ok(Subject::Known(KnownSeries { series, fingerprint }))
    }

    fn bytes(&mut self, len: u64, what: &'static str) -> Result<&'a [u8], MalformedBatch> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let (bytes, rest) =
            self.rest.split_at_checked(len).ok_or(MalformedBatch::Truncated(what))?;
        self.rest = rest;
        Ok(bytes)
    }
}

#[inline]
fn put_varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

#[inline]
fn put_signed(into: &mut Vec<u8>, value: i64) {
    put_varint(into, ((value << 1) ^ (value >> 63)) as u64);
}

#[inline]
const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[inline]
fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn take_varint(from: &mut &[u8], what: &'static str) -> Result<u64, MalformedBatch> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        if from.is_empty() {
            break;
        }
        let byte = from.get_u8();
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(MalformedBatch::Truncated(what))
}
