//! Native histograms of remote write, which are written alike in versions 1.0 and 2.0.

use narthex_model::{
    CounterResetHint, NativeHistogram, Timestamp,
    histogram::{InvalidHistogram, Span, SpannedCounts, SpannedHistogram},
};
use narthex_proto::batch::Point;

use crate::wire::{FIXED64, LEN, Malformed, REPEATED_MAX, Reader, VARINT};

/// A histogram as sent: what is kept of it, or why it is refused every time.
pub type SentHistogram = Point<Result<NativeHistogram, InvalidHistogram>>;

/// Reads `Histogram` messages. Reused from one to the next.
#[derive(Debug, Default)]
pub struct HistogramReader {
    head: Head,
    positive: Buckets,
    negative: Buckets,
    custom_values: Vec<f64>,
}

#[derive(Debug, Default)]
struct Head {
    count: Count,
    zero_count: Count,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    counter_reset_hint: CounterResetHint,
    timestamp: i64,
    start: i64,
}

/// The count that was written last tells the kind of all.
#[derive(Debug, Clone, Copy)]
enum Count {
    Integer(u64),
    Float(f64),
}

impl Default for Count {
    fn default() -> Self {
        Self::Integer(0)
    }
}

#[derive(Debug, Default)]
struct Buckets {
    spans: Vec<Span>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

impl Buckets {
    fn clear(&mut self) {
        self.spans.clear();
        self.deltas.clear();
        self.counts.clear();
    }
}

impl HistogramReader {
    /// Reads one.
    pub(crate) fn read(&mut self, mut message: Reader<'_>) -> Result<SentHistogram, Malformed> {
        self.head = Head::default();
        self.positive.clear();
        self.negative.clear();
        self.custom_values.clear();
        while let Some((field, wire)) = message.tag()? {
            match field {
                1..=7 | 14 | 15 | 17 => self.head.read(field, wire, &mut message)?,
                8..=10 => self.negative.read(field - 8, wire, &mut message)?,
                11..=13 => self.positive.read(field - 11, wire, &mut message)?,
                16 if matches!(wire, LEN | FIXED64) => {
                    message.repeated(wire, &mut self.custom_values, Reader::double)?;
                }
                _ => message.skip(wire)?,
            }
        }
        Ok(Point {
            timestamp: Timestamp::from_millis(self.head.timestamp),
            start: Timestamp::from_millis(self.head.start),
            value: NativeHistogram::from_spans(&self.spanned()),
        })
    }

    fn spanned(&self) -> SpannedHistogram<'_> {
        let Self { head, positive, negative, custom_values } = self;
        let counts = match (head.count, head.zero_count) {
            (Count::Float(count), zero_count) => SpannedCounts::Float {
                count,
                zero_count: if let Count::Float(zeros) = zero_count { zeros } else { 0.0 },
                positive: &positive.counts,
                negative: &negative.counts,
            },
            (Count::Integer(count), zero_count) => SpannedCounts::Integer {
                count,
                zero_count: if let Count::Integer(zeros) = zero_count { zeros } else { 0 },
                positive_deltas: &positive.deltas,
                negative_deltas: &negative.deltas,
            },
        };
        SpannedHistogram {
            counter_reset_hint: head.counter_reset_hint,
            schema: head.schema,
            zero_threshold: head.zero_threshold,
            sum: head.sum,
            counts,
            positive_spans: &positive.spans,
            negative_spans: &negative.spans,
            custom_values,
        }
    }
}

impl Head {
    fn read(&mut self, field: u64, wire: u8, message: &mut Reader<'_>) -> Result<(), Malformed> {
        match (field, wire) {
            (1, VARINT) => self.count = Count::Integer(message.varint()?),
            (2, FIXED64) => self.count = Count::Float(message.double()?),
            (3, FIXED64) => self.sum = message.double()?,
            (4, VARINT) => self.schema = message.zigzag()? as i32,
            (5, FIXED64) => self.zero_threshold = message.double()?,
            (6, VARINT) => self.zero_count = Count::Integer(message.varint()?),
            (7, FIXED64) => self.zero_count = Count::Float(message.double()?),
            (14, VARINT) => self.counter_reset_hint = hint(message.varint()?),
            (15, VARINT) => self.timestamp = message.varint()? as i64,
            (17, VARINT) => self.start = message.varint()? as i64,
            _ => message.skip(wire)?,
        }
        Ok(())
    }
}

impl Buckets {
    /// Spans, deltas and counts are numbered alike for both signs.
    fn read(&mut self, field: u64, wire: u8, message: &mut Reader<'_>) -> Result<(), Malformed> {
        match (field, wire) {
            (0, LEN) if self.spans.len() < REPEATED_MAX => {
                self.spans.push(read_span(message.message()?)?);
            }
            (0, LEN) => return Err(message.malformed("fewer spans expected")),
            (1, LEN | VARINT) => message.repeated(wire, &mut self.deltas, Reader::zigzag)?,
            (2, LEN | FIXED64) => message.repeated(wire, &mut self.counts, Reader::double)?,
            _ => message.skip(wire)?,
        }
        Ok(())
    }
}

fn hint(number: u64) -> CounterResetHint {
    match number {
        1 => CounterResetHint::Reset,
        2 => CounterResetHint::NotReset,
        3 => CounterResetHint::Gauge,
        _ => CounterResetHint::Unknown,
    }
}

fn read_span(mut message: Reader<'_>) -> Result<Span, Malformed> {
    let mut span = Span { offset: 0, length: 0 };
    while let Some((field, wire)) = message.tag()? {
        match (field, wire) {
            (1, VARINT) => span.offset = message.zigzag()? as i32,
            (2, VARINT) => span.length = message.varint32()?,
            _ => message.skip(wire)?,
        }
    }
    Ok(span)
}

#[cfg(test)]
mod tests;
