//! Remote write 1.0 as bytes: snappy's block format around a protobuf `WriteRequest`.
//!
//! The decoder borrows label text from the body and copies nothing but numbers. It accepts what
//! protobuf accepts (fields in any order, repeated scalars, unknown fields) and never panics.
//!
//! Invariants
//! * the declared length is checked before anything is allocated;
//! * every step of the decoder consumes at least one byte, so it ends;
//! * values keep their bits, NaN payloads included.
//!
//! Metadata is skipped; histograms and exemplars are counted, not read.

use narthex_model::{Sample, Timestamp};

/// Largest body once decompressed.
pub const DECODED_BYTES_MAX: usize = 32 << 20;

/// Why a whole request is refused. Sending it again is refused again.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Too large.
    #[error("request of {declared} bytes exceeds the limit of {DECODED_BYTES_MAX} bytes")]
    TooLarge {
        /// What its head says it decompresses to.
        declared: usize,
    },
    /// Not snappy's block format.
    #[error("malformed snappy block: {0}")]
    Snappy(String),
    /// Not a protobuf `WriteRequest`.
    #[error("malformed protobuf at byte {offset}: {what}")]
    Protobuf {
        /// Bytes before the malformed part.
        offset: usize,
        /// What was expected there.
        what: &'static str,
    },
}

/// The decompressed body of a request.
pub fn decompress(body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let snappy = |error: snap::Error| DecodeError::Snappy(error.to_string());
    let declared = snap::raw::decompress_len(body).map_err(snappy)?;
    if declared > DECODED_BYTES_MAX {
        return Err(DecodeError::TooLarge { declared });
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(snappy)
}

/// One series of a request. Reused from series to series.
#[derive(Debug, Default)]
pub struct Series<'a> {
    /// As sent: perhaps unsorted, repeated or empty.
    pub labels: Vec<(&'a str, &'a str)>,
    /// In the order sent.
    pub samples: Vec<Sample>,
    /// Labels whose bytes are not UTF-8. Such a series has no valid label set.
    pub labels_not_utf8: usize,
    /// Native histograms, which are not decoded.
    pub histograms: usize,
    /// Exemplars, which are not decoded.
    pub exemplars: usize,
    spans: Vec<LabelSpan>,
}

/// Where a label's name and value lie. A request has at most 32 MiB.
#[derive(Debug, Clone, Copy)]
struct LabelSpan {
    name: (u32, u32),
    value: (u32, u32),
}

/// Reads the series of a decompressed request one after the other.
#[derive(Debug)]
pub struct WriteRequest<'a> {
    reader: Reader<'a>,
    metadata: usize,
}

impl<'a> WriteRequest<'a> {
    /// Begins to read.
    pub fn new(decompressed: &'a [u8]) -> Self {
        Self { reader: Reader { bytes: decompressed, at: 0, end: decompressed.len() }, metadata: 0 }
    }

    /// How much metadata was skipped so far.
    pub fn metadata(&self) -> usize {
        self.metadata
    }

    /// The next series, unread; `None` at the end of the request.
    #[inline]
    pub fn next_series(&mut self) -> Result<Option<RawSeries<'a>>, DecodeError> {
        while let Some((field, wire)) = self.reader.tag()? {
            match (field, wire) {
                (1, LEN) => return Ok(Some(RawSeries { message: self.reader.message()? })),
                (3, LEN) => {
                    self.metadata += 1;
                    self.reader.message()?;
                }
                _ => self.reader.skip(wire)?,
            }
        }
        Ok(None)
    }
}

/// A series as it lies in the request.
#[derive(Debug, Clone, Copy)]
pub struct RawSeries<'a> {
    message: Reader<'a>,
}

impl<'a> RawSeries<'a> {
    /// Labels and samples.
    pub fn bytes(&self) -> &'a [u8] {
        &self.message.bytes[self.message.at..self.message.end]
    }

    /// How many bytes the labels are, if they all come first, as every sender writes them.
    pub fn labels_len(&self) -> Option<usize> {
        let mut rest = self.message;
        while rest.bytes[rest.at..rest.end].first() == Some(&LABEL) {
            rest.at += 1;
            rest.message().ok()?;
        }
        let len = rest.at - self.message.at;
        while let Some((field, wire)) = rest.tag().ok()? {
            if field == 1 {
                return None;
            }
            rest.skip(wire).ok()?;
        }
        Some(len)
    }

    /// Reads the samples behind the first `labels_len` bytes; `false` if there is anything but
    /// samples as every sender writes them.
    #[inline]
    pub fn samples_behind(&self, labels_len: usize, into: &mut Vec<Sample>) -> bool {
        into.clear();
        let mut rest = self.message;
        rest.at += labels_len;
        while let Some(&field) = rest.bytes[rest.at..rest.end].first() {
            if field != SAMPLE {
                return false;
            }
            rest.at += 1;
            match rest.message().ok().and_then(plain_sample) {
                Some(sample) => into.push(sample),
                None => return false,
            }
        }
        true
    }
}

const LABEL: u8 = 1 << 3 | LEN;
const SAMPLE: u8 = 2 << 3 | LEN;

impl<'a> Series<'a> {
    /// Reads a series in place of the one before.
    pub fn read(&mut self, series: RawSeries<'a>) -> Result<(), DecodeError> {
        let mut message = series.message;
        self.labels.clear();
        self.samples.clear();
        self.spans.clear();
        (self.labels_not_utf8, self.histograms, self.exemplars) = (0, 0, 0);
        while let Some((field, wire)) = message.tag()? {
            match (field, wire) {
                (1, LEN) => {
                    let label = message.message()?;
                    let span = match plain_label(&label) {
                        Some(span) => span,
                        None => read_label(label)?,
                    };
                    self.spans.push(span);
                }
                (2, LEN) => {
                    let sample = message.message()?;
                    let sample = match plain_sample(sample) {
                        Some(sample) => sample,
                        None => read_sample(sample)?,
                    };
                    self.samples.push(sample);
                }
                (3, LEN) => {
                    self.exemplars += 1;
                    message.message()?;
                }
                (4, LEN) => {
                    self.histograms += 1;
                    message.message()?;
                }
                _ => message.skip(wire)?,
            }
        }
        self.read_label_text(message.bytes);
        Ok(())
    }

    /// Checks the text of all labels. They mostly lie side by side and are ASCII with lengths
    /// between them, so one check of the whole run answers for every part of it.
    fn read_label_text(&mut self, bytes: &'a [u8]) {
        let (Some(first), Some(last)) = (self.spans.first(), self.spans.last()) else {
            return;
        };
        let (start, end) = (first.name.0, last.value.1.max(last.name.1));
        let run = bytes.get(start as usize..end as usize);
        let run = run.and_then(|run| std::str::from_utf8(run).ok());
        let text = |(from, to): (u32, u32)| {
            // Fields in another order than usual may lie outside the run.
            let inside = run.filter(|_| from >= start && to <= end);
            match inside {
                Some(run) => run.get((from - start) as usize..(to - start) as usize),
                None => std::str::from_utf8(&bytes[from as usize..to as usize]).ok(),
            }
        };
        for span in &self.spans {
            match (text(span.name), text(span.value)) {
                (Some(name), Some(value)) => self.labels.push((name, value)),
                _ => self.labels_not_utf8 += 1,
            }
        }
    }
}

/// A label as every sender writes it: name, then value, both shorter than 128 bytes.
#[inline]
fn plain_label(message: &Reader<'_>) -> Option<LabelSpan> {
    let bytes = &message.bytes[message.at..message.end];
    let [NAME, name_len @ 0..0x80, rest @ ..] = bytes else { return None };
    let [VALUE, value_len @ 0..0x80, value @ ..] = rest.get(usize::from(*name_len)..)? else {
        return None;
    };
    if value.len() != usize::from(*value_len) {
        return None;
    }
    let end = message.end as u32;
    let name = message.at as u32 + 2;
    let name = (name, name + u32::from(*name_len));
    Some(LabelSpan { name, value: (end - u32::from(*value_len), end) })
}

const NAME: u8 = 1 << 3 | LEN;
const VALUE: u8 = 2 << 3 | LEN;

fn read_label(mut message: Reader<'_>) -> Result<LabelSpan, DecodeError> {
    // An absent field is an empty text; where it would stand keeps the run of labels together.
    let empty = (message.at as u32, message.at as u32);
    let mut label = LabelSpan { name: empty, value: empty };
    while let Some((field, wire)) = message.tag()? {
        match (field, wire) {
            (1, LEN) => label.name = message.message()?.span(),
            (2, LEN) => label.value = message.message()?.span(),
            _ => message.skip(wire)?,
        }
    }
    Ok(label)
}

/// A sample as every sender writes it: value, then time.
#[inline]
fn plain_sample(mut message: Reader<'_>) -> Option<Sample> {
    let bytes = &message.bytes[message.at..message.end];
    let (head, _) = bytes.split_first_chunk::<10>()?;
    if (head[0], head[9]) != (1 << 3 | FIXED64, 2 << 3 | VARINT) {
        return None;
    }
    message.at += 1;
    let value = f64::from_bits(message.fixed64().ok()?);
    message.at += 1;
    let timestamp = Timestamp::from_millis(message.varint().ok()? as i64);
    (message.at == message.end).then_some(Sample { timestamp, value })
}

fn read_sample(mut message: Reader<'_>) -> Result<Sample, DecodeError> {
    let mut sample = Sample::default();
    while let Some((field, wire)) = message.tag()? {
        match (field, wire) {
            (1, FIXED64) => sample.value = f64::from_bits(message.fixed64()?),
            (2, VARINT) => sample.timestamp = Timestamp::from_millis(message.varint()? as i64),
            _ => message.skip(wire)?,
        }
    }
    Ok(sample)
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LEN: u8 = 2;
const FIXED32: u8 = 5;

/// A protobuf message: `bytes[at..end]` of the whole request.
#[derive(Debug, Clone, Copy)]
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    fn span(&self) -> (u32, u32) {
        (self.at as u32, self.end as u32)
    }

    fn malformed(&self, what: &'static str) -> DecodeError {
        DecodeError::Protobuf { offset: self.at, what }
    }

    /// The next field's number and wire type; `None` at the message's end.
    #[inline]
    fn tag(&mut self) -> Result<Option<(u64, u8)>, DecodeError> {
        if self.at == self.end {
            return Ok(None);
        }
        let tag = self.varint()?;
        if tag >> 3 == 0 {
            return Err(self.malformed("field number 0"));
        }
        Ok(Some((tag >> 3, (tag & 7) as u8)))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, DecodeError> {
        match self.bytes[self.at..self.end].first() {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    #[cold]
    fn long_varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for (i, &byte) in self.bytes[self.at..self.end].iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                // The tenth byte has room for one bit.
                if i == 9 && byte > 1 {
                    break;
                }
                self.at += i + 1;
                return Ok(value);
            }
        }
        Err(self.malformed("varint expected"))
    }

    fn fixed64(&mut self) -> Result<u64, DecodeError> {
        let bytes = self.bytes[self.at..self.end].first_chunk::<8>();
        let bytes = *bytes.ok_or_else(|| self.malformed("eight bytes expected"))?;
        self.at += 8;
        Ok(u64::from_le_bytes(bytes))
    }

    /// A length-delimited field, as a message of its own.
    #[inline]
    fn message(&mut self) -> Result<Self, DecodeError> {
        let len = self.varint()?;
        let end = usize::try_from(len).ok().and_then(|len| self.at.checked_add(len));
        let Some(end) = end.filter(|&end| end <= self.end) else {
            return Err(self.malformed("length beyond the message"));
        };
        let message = Self { bytes: self.bytes, at: self.at, end };
        self.at = end;
        Ok(message)
    }

    fn skip(&mut self, wire: u8) -> Result<(), DecodeError> {
        match wire {
            VARINT => self.varint().map(drop),
            FIXED64 => self.fixed64().map(drop),
            LEN => self.message().map(drop),
            FIXED32 if self.end - self.at >= 4 => {
                self.at += 4;
                Ok(())
            }
            _ => Err(self.malformed("unknown wire type")),
        }
    }
}

#[cfg(test)]
mod tests;
