//! Remote write 1.0: a protobuf `WriteRequest`.
//!
//! Invariant: a series is read whole, or found by the bytes of its labels; never by a part of them.

use narthex_model::{Sample, Timestamp};

use super::{plain_sample, read_sample};
use crate::{
    histogram::HistogramReader,
    series::{Metadata, Series, metric_type},
    wire::{FIXED64, LEN, Malformed, Reader, VARINT},
};

/// Reads the series of a decompressed request one after the other.
#[derive(Debug)]
pub struct WriteRequest<'a> {
    reader: Reader<'a>,
    metadata: Vec<RawMetadata<'a>>,
}

impl<'a> WriteRequest<'a> {
    /// Begins to read.
    pub fn new(decompressed: &'a [u8]) -> Self {
        Self { reader: Reader::new(decompressed), metadata: Vec::new() }
    }

    /// The metadata that was passed on the way so far.
    pub fn metadata(&self) -> &[RawMetadata<'a>] {
        &self.metadata
    }

    /// The next series, unread; `None` at the end of the request.
    #[inline]
    pub fn next_series(&mut self) -> Result<Option<RawSeries<'a>>, Malformed> {
        while let Some((field, wire)) = self.reader.tag()? {
            match (field, wire) {
                (1, LEN) => return Ok(Some(RawSeries { message: self.reader.message()? })),
                (3, LEN) => {
                    let message = self.reader.message()?;
                    if self.metadata.len() == METADATA_MAX {
                        return Err(self.reader.malformed("less metadata expected"));
                    }
                    self.metadata.push(RawMetadata { message });
                }
                _ => self.reader.skip(wire)?,
            }
        }
        Ok(None)
    }
}

/// What is said of a family of metrics, which 1.0 sends apart from the series.
#[derive(Debug, Clone, Copy)]
pub struct RawMetadata<'a> {
    message: Reader<'a>,
}

impl<'a> RawMetadata<'a> {
    /// The family's name and what is said of it.
    pub fn read(self) -> Result<(&'a str, Metadata<'a>), Malformed> {
        let mut message = self.message;
        let (mut family, mut metadata) = ("", Metadata::default());
        while let Some((field, wire)) = message.tag()? {
            match (field, wire) {
                (1, VARINT) => metadata.metric_type = metric_type(message.varint()?),
                (2, LEN) => family = message.text()?,
                (4, LEN) => metadata.help = message.text()?,
                (5, LEN) => metadata.unit = message.text()?,
                _ => message.skip(wire)?,
            }
        }
        Ok((family, metadata))
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
        self.message.rest()
    }

    /// How many bytes the labels are, if they all come first, as every sender writes them.
    pub fn labels_len(&self) -> Option<usize> {
        let mut rest = self.message;
        while rest.rest().first() == Some(&LABEL) {
            rest.advance(1);
            rest.message().ok()?;
        }
        let len = self.message.rest().len() - rest.rest().len();
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
        rest.advance(labels_len);
        while let Some(&field) = rest.rest().first() {
            if field != SAMPLE {
                return false;
            }
            rest.advance(1);
            match rest.message().ok().and_then(plain_sample) {
                Some(sample) => into.push(sample),
                None => return false,
            }
        }
        true
    }

    /// Reads everything, in place of what `into` holds.
    pub fn read(self, into: &mut Series<'a>, scratch: &mut Scratch) -> Result<(), Malformed> {
        let mut message = self.message;
        into.clear();
        let Scratch { spans, histograms } = scratch;
        spans.0.clear();
        while let Some((field, wire)) = message.tag()? {
            match (field, wire) {
                (1, LEN) => {
                    let label = message.message()?;
                    if spans.0.len() == LABELS_MAX {
                        return Err(message.malformed("fewer labels expected"));
                    }
                    let span = match plain_label(&label) {
                        Some(span) => span,
                        None => read_label(label)?,
                    };
                    spans.0.push(span);
                }
                (2, LEN) => {
                    let sample = message.message()?;
                    match plain_sample(sample) {
                        Some(sample) => into.push(sample, Timestamp::default()),
                        None => into.push(read_sample(sample)?.0, Timestamp::default()),
                    }
                }
                (3, LEN) => read_exemplar(message.message()?, into)?,
                (4, LEN) => into.push_histogram(histograms.read(message.message()?)?),
                _ => message.skip(wire)?,
            }
            if into.is_too_large() {
                return Err(message.malformed("a smaller series expected"));
            }
        }
        spans.read_text(message.request(), into);
        Ok(())
    }
}

/// Labels of one series or exemplar, more than any has.
const LABELS_MAX: usize = 1 << 16;
/// Families that a request describes, more than any server has.
const METADATA_MAX: usize = 1 << 20;
const LABEL: u8 = 1 << 3 | LEN;
const SAMPLE: u8 = 2 << 3 | LEN;

/// What reading a series needs. Reused from series to series.
#[derive(Debug, Default)]
pub struct Scratch {
    spans: LabelSpans,
    histograms: HistogramReader,
}

/// Where the labels of a series lie.
#[derive(Debug, Default)]
struct LabelSpans(Vec<LabelSpan>);

/// Where a label's name and value lie.
#[derive(Debug, Clone, Copy)]
struct LabelSpan {
    name: (u32, u32),
    value: (u32, u32),
}

impl LabelSpans {
    /// Checks the text of all labels. They mostly lie side by side and are ASCII with lengths
    /// between them, so one check of the whole run answers for every part of it.
    fn read_text<'a>(&self, bytes: &'a [u8], into: &mut Series<'a>) {
        let (Some(first), Some(last)) = (self.0.first(), self.0.last()) else {
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
        for span in &self.0 {
            match (text(span.name), text(span.value)) {
                (Some(name), Some(value)) => into.labels.push((name, value)),
                _ => into.labels_not_utf8 += 1,
            }
        }
    }
}

/// A label as every sender writes it: name, then value, both shorter than 128 bytes.
#[inline]
fn plain_label(message: &Reader<'_>) -> Option<LabelSpan> {
    let [NAME, name_len @ 0..0x80, rest @ ..] = message.rest() else { return None };
    let [VALUE, value_len @ 0..0x80, value @ ..] = rest.get(usize::from(*name_len)..)? else {
        return None;
    };
    if value.len() != usize::from(*value_len) {
        return None;
    }
    let (at, end) = message.span();
    let name = (at + 2, at + 2 + u32::from(*name_len));
    Some(LabelSpan { name, value: (end - u32::from(*value_len), end) })
}

const NAME: u8 = 1 << 3 | LEN;
const VALUE: u8 = 2 << 3 | LEN;

fn read_label(mut message: Reader<'_>) -> Result<LabelSpan, Malformed> {
    // An absent field is an empty text; where it would stand keeps the run of labels together.
    let (at, _) = message.span();
    let mut label = LabelSpan { name: (at, at), value: (at, at) };
    while let Some((field, wire)) = message.tag()? {
        match (field, wire) {
            (1, LEN) => label.name = message.message()?.span(),
            (2, LEN) => label.value = message.message()?.span(),
            _ => message.skip(wire)?,
        }
    }
    Ok(label)
}

fn read_exemplar(mut message: Reader<'_>, into: &mut Series<'_>) -> Result<(), Malformed> {
    let (mut labels, mut sample) = (Vec::new(), Sample::default());
    while let Some((field, wire)) = message.tag()? {
        match (field, wire) {
            (1, LEN) if labels.len() < LABELS_MAX => {
                labels.push(read_exemplar_label(message.message()?)?);
            }
            (1, LEN) => return Err(message.malformed("fewer labels expected")),
            (2, FIXED64) => sample.value = message.double()?,
            (3, VARINT) => sample.timestamp = Timestamp::from_millis(message.varint()? as i64),
            _ => message.skip(wire)?,
        }
    }
    into.push_exemplar(&labels, sample);
    Ok(())
}

fn read_exemplar_label<'a>(mut message: Reader<'a>) -> Result<(&'a str, &'a str), Malformed> {
    let mut label = ("", "");
    while let Some((field, wire)) = message.tag()? {
        match (field, wire) {
            (1, LEN) => label.0 = message.text()?,
            (2, LEN) => label.1 = message.text()?,
            _ => message.skip(wire)?,
        }
    }
    Ok(label)
}

#[cfg(test)]
mod tests;
