//! The samples of an append request: what a router sends to a shard's leader.
//!
//! ```text
//! batch  := version(1) series_count(varint, padded to 5 bytes) { series }
//! series := subject sample_count(varint) { sample }
//! subject := varint of labels_len << 1      labels
//!          | varint of series << 1 | 1      fingerprint: u32, little-endian
//! sample := zigzag varint of (timestamp in ms − that of the sample before in the batch)
//!           value: f64, little-endian                       the first one counts from 0
//! ```
//!
//! Labels are in the encoding of `narthex_model::Labels`; the router has checked them. A series
//! whose number in the shard the router has learnt comes with that number and the fingerprint of
//! its labels. Values keep all their bits.

use bytes::{Buf, Bytes};
use narthex_model::{InvalidLabels, Labels, Sample, Timestamp};

const VERSION: u8 = 1;
/// Version and series count. A writer learns the count last, so it leaves room for a varint of
/// this many bytes; a reader takes any length.
const HEAD_BYTES: usize = 1 + COUNT_BYTES;
const COUNT_BYTES: usize = 5;
/// A sample takes at least this many bytes: bounds what a count may promise.
const SAMPLE_BYTES_MIN: usize = 9;

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
    series: u32,
    samples: usize,
    last_millis: i64,
}

impl Default for BatchWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchWriter {
    /// An empty batch.
    pub fn new() -> Self {
        Self { bytes: vec![0; HEAD_BYTES], series: 0, samples: 0, last_millis: 0 }
    }

    /// Adds the samples of one series; a series may come again.
    pub fn push(&mut self, labels: &Labels, samples: impl ExactSizeIterator<Item = Sample>) {
        put_varint(&mut self.bytes, (labels.as_bytes().len() as u64) << 1);
        self.bytes.extend_from_slice(labels.as_bytes());
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
        let len_of = |text: &str| text.len() + varint_len(text.len() as u64);
        let len: usize = labels.iter().map(|(name, value)| len_of(name) + len_of(value)).sum();
        self.bytes.reserve(len + 10);
        put_varint(&mut self.bytes, (len as u64) << 1);
        let start = self.bytes.len();
        for text in labels.iter().flat_map(|(name, value)| [name, value]) {
            put_varint(&mut self.bytes, text.len() as u64);
            self.bytes.extend_from_slice(text.as_bytes());
        }
        let fingerprint = Labels::fingerprint_of(&self.bytes[start..]);
        self.push_samples(samples);
        fingerprint
    }

    fn push_samples(&mut self, samples: impl ExactSizeIterator<Item = Sample>) {
        self.series += 1;
        put_varint(&mut self.bytes, samples.len() as u64);
        for Sample { timestamp, value } in samples {
            let delta = timestamp.millis().wrapping_sub(self.last_millis);
            self.last_millis = timestamp.millis();
            put_varint(&mut self.bytes, ((delta << 1) ^ (delta >> 63)) as u64);
            self.bytes.extend_from_slice(&value.to_bits().to_le_bytes());
            self.samples += 1;
        }
    }

    /// Samples so far.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no series was added.
    pub fn is_empty(&self) -> bool {
        self.series == 0
    }

    /// The finished batch.
    pub fn finish(mut self) -> Bytes {
        self.bytes[0] = VERSION;
        for (i, byte) in self.bytes[1..HEAD_BYTES].iter_mut().enumerate() {
            let more = if i + 1 < COUNT_BYTES { 0x80 } else { 0 };
            *byte = (self.series >> (7 * i)) as u8 & 0x7f | more;
        }
        self.bytes.into()
    }
}

/// Reads a batch.
#[derive(Debug)]
pub struct BatchReader<'a> {
    rest: &'a [u8],
    series_left: u64,
    last_millis: i64,
}

impl<'a> BatchReader<'a> {
    /// Checks the version.
    pub fn new(mut bytes: &'a [u8]) -> Result<Self, MalformedBatch> {
        if bytes.is_empty() {
            return Err(MalformedBatch::Truncated("its version"));
        }
        match bytes.get_u8() {
            VERSION => {}
            version => return Err(MalformedBatch::Version(version)),
        }
        let series_left = take_varint(&mut bytes, "its series count")?;
        Ok(Self { rest: bytes, series_left, last_millis: 0 })
    }

    /// The next series, while `samples` is filled with what it brings. `None` behind the last.
    pub fn next(
        &mut self,
        samples: &mut Vec<Sample>,
    ) -> Result<Option<Subject<'a>>, MalformedBatch> {
        samples.clear();
        if self.series_left == 0 {
            return Ok(None);
        }
        self.series_left -= 1;
        let subject = self.subject()?;
        let count = take_varint(&mut self.rest, "a sample count")?;
        if count > (self.rest.len() / SAMPLE_BYTES_MIN) as u64 {
            return Err(MalformedBatch::Truncated("samples"));
        }
        for _ in 0..count {
            let zigzag = take_varint(&mut self.rest, "a timestamp")?;
            let delta = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
            self.last_millis = self.last_millis.wrapping_add(delta);
            if self.rest.len() < 8 {
                return Err(MalformedBatch::Truncated("a value"));
            }
            let value = self.rest.get_f64_le();
            samples.push(Sample { timestamp: Timestamp::from_millis(self.last_millis), value });
        }
        Ok(Some(subject))
    }

    fn subject(&mut self) -> Result<Subject<'a>, MalformedBatch> {
        let head = take_varint(&mut self.rest, "labels")?;
        if head & 1 == 0 {
            let len = usize::try_from(head >> 1).unwrap_or(usize::MAX);
            let (labels, rest) =
                self.rest.split_at_checked(len).ok_or(MalformedBatch::Truncated("labels"))?;
            self.rest = rest;
            return Ok(Subject::Labels(labels));
        }
        let series = u32::try_from(head >> 1).map_err(|_| MalformedBatch::Series(head >> 1))?;
        if self.rest.len() < 4 {
            return Err(MalformedBatch::Truncated("a fingerprint"));
        }
        let fingerprint = self.rest.get_u32_le();
        Ok(Subject::Known(KnownSeries { series, fingerprint }))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    enum Who {
        Labels(Labels),
        Known(KnownSeries),
    }

    fn read(bytes: &[u8]) -> Result<Vec<(Who, Vec<Sample>)>, MalformedBatch> {
        let mut reader = BatchReader::new(bytes)?;
        let (mut found, mut samples) = (Vec::new(), Vec::new());
        while let Some(subject) = reader.next(&mut samples)? {
            let who = match subject {
                Subject::Labels(labels) => Who::Labels(Labels::from_bytes(labels)?),
                Subject::Known(known) => Who::Known(known),
            };
            found.push((who, samples.clone()));
        }
        Ok(found)
    }

    fn who() -> impl Strategy<Value = Who> {
        let labels = "[a-z]{1,9}"
            .prop_map(|name| Who::Labels(Labels::from_pairs([("__name__", name)]).unwrap()));
        let known = any::<(u32, u32)>()
            .prop_map(|(series, fingerprint)| Who::Known(KnownSeries { series, fingerprint }));
        prop_oneof![labels, known]
    }

    proptest! {
        #[test]
        fn a_batch_reads_back_bit_by_bit(
            series in proptest::collection::vec(
                (who(), proptest::collection::vec((any::<i64>(), any::<u64>()), 0..5)), 0..5),
        ) {
            let mut writer = BatchWriter::new();
            let mut want = Vec::new();
            for (who, samples) in series {
                let samples: Vec<Sample> = samples.into_iter().map(|(millis, bits)| Sample {
                    timestamp: Timestamp::from_millis(millis),
                    value: f64::from_bits(bits),
                }).collect();
                match &who {
                    Who::Labels(labels) => writer.push(labels, samples.iter().copied()),
                    Who::Known(known) => writer.push_known(*known, samples.iter().copied()),
                }
                want.push((who, samples));
            }
            prop_assert_eq!(read(&writer.finish()).unwrap(), want);
        }

        #[test]
        fn pairs_are_written_as_labels_are(
            pairs in proptest::collection::btree_map("[a-z]{1,3}", "[a-z]{1,200}", 0..5),
        ) {
            let labels = Labels::from_pairs(&pairs).unwrap();
            let (mut one, mut other) = (BatchWriter::new(), BatchWriter::new());
            one.push(&labels, std::iter::once(Sample::default()));
            let pairs: Vec<_> = labels.iter().collect();
            let fingerprint = other.push_pairs(&pairs, std::iter::once(Sample::default()));
            prop_assert_eq!(fingerprint, Labels::fingerprint_of(labels.as_bytes()));
            prop_assert_eq!(one.finish(), other.finish());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
