//! Remote write 2.0: a protobuf `io.prometheus.write.v2.Request`, whose texts are in one table.
//!
//! Invariants
//! * a reference is compared with the table before it is used; one beyond it makes the whole
//!   request malformed;
//! * the texts of a series are looked at only if nobody knows the series by its references.

use narthex_model::{Sample, Timestamp};

use super::{plain_sample, read_sample};
use crate::{
    histogram::HistogramReader,
    series::{Metadata, Series, metric_type},
    wire::{FIXED64, LEN, Malformed, REPEATED_MAX, Reader, VARINT},
};

/// Reads the series of a decompressed request one after the other.
#[derive(Debug)]
pub struct Request<'a> {
    symbols: Symbols<'a>,
    series: SeriesReader<'a>,
}

/// Reads series without their texts.
#[derive(Debug)]
pub struct SeriesReader<'a> {
    reader: Reader<'a>,
}

impl<'a> Request<'a> {
    /// Reads the table of symbols. Every sender writes it first, but it may stand anywhere.
    pub fn new(decompressed: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(decompressed);
        let mut symbols = Vec::new();
        while let Some((field, wire)) = reader.tag()? {
            match (field, wire) {
                (4, LEN) if symbols.len() < SYMBOLS_MAX => symbols.push(reader.message()?.rest()),
                (4, LEN) => return Err(reader.malformed("fewer symbols expected")),
                _ => reader.skip(wire)?,
            }
        }
        let series = SeriesReader { reader: Reader::new(decompressed) };
        Ok(Self { symbols: Symbols(symbols), series })
    }

    /// The table.
    pub fn symbols(&self) -> &Symbols<'a> {
        &self.symbols
    }

    /// The table, and the series that refer to it.
    pub fn into_parts(self) -> (Symbols<'a>, SeriesReader<'a>) {
        (self.symbols, self.series)
    }

    /// The next series, unread; `None` at the end of the request.
    pub fn next_series(&mut self) -> Result<Option<RawSeries<'a>>, Malformed> {
        self.series.next_series()
    }
}

impl<'a> SeriesReader<'a> {
    /// The next series, unread; `None` at the end of the request.
    #[inline]
    pub fn next_series(&mut self) -> Result<Option<RawSeries<'a>>, Malformed> {
        while let Some((field, wire)) = self.reader.tag()? {
            match (field, wire) {
                (5, LEN) => return Ok(Some(RawSeries { message: self.reader.message()? })),
                _ => self.reader.skip(wire)?,
            }
        }
        Ok(None)
    }
}

/// The texts of a request, which may not be UTF-8.
#[derive(Debug)]
pub struct Symbols<'a>(Vec<&'a [u8]>);

impl<'a> Symbols<'a> {
    /// All of them, by their references.
    pub fn all(&self) -> &[&'a [u8]] {
        &self.0
    }

    /// The text of a reference; `None` within `Ok` if it is not UTF-8.
    fn text(&self, reference: u32, of: &Reader<'_>) -> Result<Option<&'a str>, Malformed> {
        let bytes = self.0.get(reference as usize);
        let bytes = bytes.ok_or_else(|| of.malformed(BEYOND_THE_TABLE))?;
        Ok(std::str::from_utf8(bytes).ok())
    }

    fn valid_text(&self, reference: u32, of: &Reader<'_>) -> Result<&'a str, Malformed> {
        self.text(reference, of)?.ok_or_else(|| of.malformed("UTF-8 expected"))
    }

    fn pairs(
        &self,
        refs: &[u32],
        of: &Reader<'_>,
        mut pair: impl FnMut(Option<(&'a str, &'a str)>),
    ) -> Result<(), Malformed> {
        let (pairs, left) = refs.as_chunks::<2>();
        if !left.is_empty() {
            return Err(of.malformed("a label's name without its value"));
        }
        for &[name, value] in pairs {
            pair(self.text(name, of)?.zip(self.text(value, of)?));
        }
        Ok(())
    }
}

/// Texts of a request, far more than any has: each is remembered in several places.
const SYMBOLS_MAX: usize = 1 << 21;
const BEYOND_THE_TABLE: &str = "reference beyond the table of symbols";

/// A series as it lies in the request.
#[derive(Debug, Clone, Copy)]
pub struct RawSeries<'a> {
    message: Reader<'a>,
}

/// What a series of a known label set brings where nothing but floats comes with it.
#[derive(Debug, Default)]
pub struct PlainRest<'a> {
    /// In the order sent.
    pub samples: Vec<Sample>,
    /// Of the series' metric.
    pub metadata: Option<RawMetadata<'a>>,
}

/// What is said of a series' metric, not read yet.
#[derive(Debug, Clone, Copy)]
pub struct RawMetadata<'a> {
    message: Reader<'a>,
}

impl<'a> RawMetadata<'a> {
    /// Its bytes: equal ones in one request say the same.
    pub fn bytes(&self) -> &'a [u8] {
        self.message.rest()
    }

    /// Reads it.
    pub fn read(self, symbols: &Symbols<'a>) -> Result<Metadata<'a>, Malformed> {
        read_metadata(self.message, symbols)
    }
}

/// What reading a series needs. Reused from series to series.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Of the labels of the series that was read last.
    pub refs: Vec<u32>,
    histograms: HistogramReader,
}

const LABEL_REFS: u8 = 1 << 3 | LEN;
const SAMPLE: u8 = 2 << 3 | LEN;
const METADATA: u8 = 5 << 3 | LEN;

impl<'a> RawSeries<'a> {
    /// The error of a series whose references lie beyond the table.
    pub fn beyond_the_table(&self) -> Malformed {
        self.message.malformed(BEYOND_THE_TABLE)
    }

    /// Reads the label references if they come first and packed, as every sender writes them.
    /// Returns how many bytes they take.
    #[inline]
    pub fn leading_refs(&self, into: &mut Vec<u32>) -> Option<usize> {
        into.clear();
        let mut rest = self.message;
        if rest.rest().first() != Some(&LABEL_REFS) {
            return None;
        }
        rest.advance(1);
        let mut packed = rest.message().ok()?;
        while !packed.is_at_end() {
            if into.len() == REPEATED_MAX {
                return None;
            }
            into.push(packed.varint32().ok()?);
        }
        Some(self.message.rest().len() - rest.rest().len())
    }

    /// Reads what lies behind the first `refs_len` bytes; `false` if there is anything but
    /// samples without a start, and metadata.
    #[inline]
    pub fn plain_rest(&self, refs_len: usize, into: &mut PlainRest<'a>) -> bool {
        into.samples.clear();
        into.metadata = None;
        let mut rest = self.message;
        rest.advance(refs_len);
        while let Some(&field) = rest.rest().first() {
            rest.advance(1);
            let Ok(message) = rest.message() else { return false };
            match field {
                SAMPLE => match plain_sample(message) {
                    Some(sample) => into.samples.push(sample),
                    None => return false,
                },
                METADATA => into.metadata = Some(RawMetadata { message }),
                _ => return false,
            }
        }
        true
    }

    /// Reads everything, in place of what `into` and `refs` hold.
    pub fn read(
        self,
        symbols: &Symbols<'a>,
        into: &mut Series<'a>,
        scratch: &mut Scratch,
    ) -> Result<(), Malformed> {
        let mut message = self.message;
        into.clear();
        let Scratch { refs, histograms } = scratch;
        refs.clear();
        while let Some((field, wire)) = message.tag()? {
            match (field, wire) {
                (1, LEN | VARINT) => message.repeated(wire, refs, Reader::varint32)?,
                (2, LEN) => {
                    let (sample, start) = read_sample(message.message()?)?;
                    into.push(sample, start);
                }
                (3, LEN) => into.push_histogram(histograms.read(message.message()?)?),
                (4, LEN) => read_exemplar(message.message()?, symbols, into)?,
                (5, LEN) => into.metadata = Some(read_metadata(message.message()?, symbols)?),
                _ => message.skip(wire)?,
            }
            if into.is_too_large() {
                return Err(message.malformed("a smaller series expected"));
            }
        }
        let (labels, not_utf8) = (&mut into.labels, &mut into.labels_not_utf8);
        symbols.pairs(refs, &self.message, |pair| match pair {
            Some(pair) => labels.push(pair),
            None => *not_utf8 += 1,
        })
    }
}

fn read_exemplar<'a>(
    mut message: Reader<'_>,
    symbols: &Symbols<'a>,
    into: &mut Series<'a>,
) -> Result<(), Malformed> {
    let whole = message;
    let (mut sample, mut refs) = (Sample::default(), Vec::new());
    while let Some((field, wire)) = message.tag()? {
        match (field, wire) {
            (1, LEN | VARINT) => message.repeated(wire, &mut refs, Reader::varint32)?,
            (2, FIXED64) => sample.value = message.double()?,
            (3, VARINT) => sample.timestamp = Timestamp::from_millis(message.varint()? as i64),
            _ => message.skip(wire)?,
        }
    }
    let (mut labels, mut is_text) = (Vec::new(), true);
    symbols.pairs(&refs, &whole, |pair| match pair {
        Some(pair) => labels.push(pair),
        None => is_text = false,
    })?;
    match is_text {
        true => into.push_exemplar(&labels, sample),
        false => into.exemplars_refused += 1,
    }
    Ok(())
}

fn read_metadata<'a>(
    mut message: Reader<'_>,
    symbols: &Symbols<'a>,
) -> Result<Metadata<'a>, Malformed> {
    let whole = message;
    let (mut metadata, mut help, mut unit) = (Metadata::default(), 0, 0);
    while let Some((field, wire)) = message.tag()? {
        match (field, wire) {
            (1, VARINT) => metadata.metric_type = metric_type(message.varint()?),
            (3, VARINT) => help = message.varint32()?,
            (4, VARINT) => unit = message.varint32()?,
            _ => message.skip(wire)?,
        }
    }
    // Reference 0 is the empty text, also where it is only not written.
    if help != 0 {
        metadata.help = symbols.valid_text(help, &whole)?;
    }
    if unit != 0 {
        metadata.unit = symbols.valid_text(unit, &whole)?;
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests;
