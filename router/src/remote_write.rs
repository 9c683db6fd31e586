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
    spans: Vec<[Span; 2]>,
}

type Span = std::ops::Range<usize>;

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

    /// Puts the next series into `series`; `false` at the end of the request.
    pub fn next_into(&mut self, series: &mut Series<'a>) -> Result<bool, DecodeError> {
        while let Some((field, wire)) = self.reader.tag()? {
            match (field, wire) {
                (1, LEN) => {
                    let message = self.reader.message()?;
                    series.read(message)?;
                    return Ok(true);
                }
                (3, LEN) => {
                    self.metadata += 1;
                    self.reader.message()?;
                }
                _ => self.reader.skip(wire)?,
            }
        }
        Ok(false)
    }
}

impl<'a> Series<'a> {
    fn read(&mut self, mut message: Reader<'a>) -> Result<(), DecodeError> {
        self.labels.clear();
        self.samples.clear();
        self.spans.clear();
        (self.labels_not_utf8, self.histograms, self.exemplars) = (0, 0, 0);
        while let Some((field, wire)) = message.tag()? {
            match (field, wire) {
                (1, LEN) => self.spans.push(read_label(message.message()?)?),
                (2, LEN) => self.samples.push(read_sample(message.message()?)?),
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
        let first = self.spans.iter().flatten().map(|span| span.start).min().unwrap_or(0);
        let last = self.spans.iter().flatten().map(|span| span.end).max().unwrap_or(0);
        let run = bytes.get(first..last).and_then(|run| std::str::from_utf8(run).ok());
        let text = |span: &Span| match run {
            Some(run) => run.get(span.start - first..span.end - first),
            None => std::str::from_utf8(&bytes[span.clone()]).ok(),
        };
        for [name, value] in &self.spans {
            match (text(name), text(value)) {
                (Some(name), Some(value)) => self.labels.push((name, value)),
                _ => self.labels_not_utf8 += 1,
            }
        }
    }
}

fn read_label(mut message: Reader<'_>) -> Result<[Span; 2], DecodeError> {
    // An absent field is an empty text; where it would stand keeps the run of labels together.
    let empty = message.at..message.at;
    let mut label = [empty.clone(), empty];
    while let Some((field, wire)) = message.tag()? {
        match (field, wire) {
            (1, LEN) => label[0] = message.message()?.span(),
            (2, LEN) => label[1] = message.message()?.span(),
            _ => message.skip(wire)?,
        }
    }
    Ok(label)
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
    fn span(&self) -> Span {
        self.at..self.end
    }

    fn malformed(&self, what: &'static str) -> DecodeError {
        DecodeError::Protobuf { offset: self.at, what }
    }

    /// The next field's number and wire type; `None` at the message's end.
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
