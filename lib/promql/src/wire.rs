//! Answers of fragments as bytes.
//!
//! ```text
//! answer     := version kind stats notes content          version and kind are bytes
//! stats      := varint(samples read) varint(samples peak) counts
//! counts     := count { varint }                          only where kind has 128 added
//! notes      := count { severity place text | 2 place metric repair }    severity: 0 warning, 1 info
//! place      := varint(start) varint(end)
//! repair     := float×3 varint(histograms) zigzag(first time) zigzag(last time)
//! content    := count { series } | count { group } | count { sampled }      by kind
//! series     := labels flags column                       flags: 1 = the name goes at the end
//! group      := labels flags count { column }
//! sampled    := labels samples
//! column     := varint(steps) { run }                     until all steps are covered
//! run        := varint(steps << 2 | what) { float | histogram }   what: 0 absent, 1 float, 2 histogram
//! samples    := count presence { zigzag(Δt) } { start? } { float | histogram }
//! histogram  := hint zigzag(schema) float×4 buckets buckets bounds
//! buckets    := count { zigzag(Δindex) float }
//! bounds     := count { float }
//! labels, text, metric := varint(len) bytes;  count := varint;  float := 8 bytes, little-endian bits
//! ```
//!
//! Floats travel as their bits. Bytes that are no answer are refused, never trusted: a count is
//! checked against the bytes that are left before anything is allocated for it.

use std::sync::Arc;

use narthex_model::{CounterResetHint, FloatHistogram, InvalidLabels, Labels, histogram::Bucket};

use crate::{
    Annotations, SampleBuffer, Severity,
    annotations::{Annotation, MonotonicRepair, Repaired},
    ast::ByteRange,
    eval::{EvalStats, PartialAggregate},
    plan::{FragmentAnswer, FragmentContent, SampledSeries},
    value::{Column, SampleRef, Series},
};

/// The version of this encoding.
const VERSION: u8 = 1;

const ABSENT: u64 = 0;
const FLOAT: u64 = 1;
const HISTOGRAM: u64 = 2;

/// Added to the kind of an answer with counts of samples, for which a querier has to ask.
const HAS_COUNTS: u8 = 128;
/// The kind of a note that is a repair.
const REPAIR: u8 = 2;

const HAS_HISTOGRAMS: u8 = 1;
const HAS_STARTS: u8 = 2;
/// The most columns that a part of an aggregation has.
const PARTIAL_COLUMNS_MAX: usize = 8;

/// Why bytes are no answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Another version's bytes.
    #[error("answer has version {0}, this is version {VERSION}")]
    Version(u8),
    /// Cut short or wrong.
    #[error("malformed answer, {left} bytes before its end")]
    Malformed {
        /// Bytes behind the first wrong one.
        left: usize,
    },
    /// A label set that is none.
    #[error("malformed labels in answer")]
    Labels(#[from] InvalidLabels),
}

/// Encodes an answer.
pub fn encode(answer: &FragmentAnswer) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(4096));
    out.0.push(VERSION);
    let kind = match &answer.content {
        FragmentContent::Columns(_) => 0,
        FragmentContent::Partial(_) => 1,
        FragmentContent::Samples(_) => 2,
    };
    let queryable = &answer.stats.queryable;
    out.0.push(if queryable.is_empty() { kind } else { kind | HAS_COUNTS });
    out.varint(answer.stats.samples_read);
    out.varint(answer.stats.samples_peak as u64);
    if !queryable.is_empty() {
        out.list(queryable, |out, count| out.varint(*count));
    }
    out.notes(&answer.annotations);
    match &answer.content {
        FragmentContent::Columns(series) => out.list(series, Writer::series),
        FragmentContent::Partial(groups) => out.list(groups, Writer::group),
        FragmentContent::Samples(series) => out.list(series, Writer::sampled),
    }
    out.0
}

/// Decodes an answer.
pub fn decode(bytes: &[u8]) -> Result<FragmentAnswer, WireError> {
    let mut input = Reader(bytes);
    let version = input.byte()?;
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    let kind = input.byte()?;
    let (samples_read, samples_peak) = (input.varint()?, input.varint()? as usize);
    let queryable = match kind & HAS_COUNTS {
        0 => Vec::new(),
        _ => input.list(1, Reader::varint)?,
    };
    let stats = EvalStats { samples_read, samples_peak, queryable };
    let annotations = input.notes()?;
    let content = match kind & !HAS_COUNTS {
        0 => FragmentContent::Columns(input.list(3, Reader::series)?),
        1 => FragmentContent::Partial(input.list(3, Reader::group)?),
        2 => FragmentContent::Samples(input.list(3, Reader::sampled)?),
        _ => return Err(input.malformed()),
    };
    if !input.0.is_empty() {
        return Err(input.malformed());
    }
    Ok(FragmentAnswer { content, annotations, stats })
}

struct Writer(Vec<u8>);

impl Writer {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn zigzag(&mut self, value: i64) {
        self.varint((value << 1 ^ value >> 63) as u64);
    }

    fn float(&mut self, value: f64) {
        self.0.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn list<T>(&mut self, items: &[T], write: impl Fn(&mut Self, &T)) {
        self.varint(items.len() as u64);
        for item in items {
            write(self, item);
        }
    }

    fn notes(&mut self, annotations: &Annotations) {
        let (plain, repairs) = (annotations.plain(), annotations.repairs());
        self.varint((plain.len() + repairs.len()) as u64);
        for note in plain {
            self.0.push(u8::from(note.severity == Severity::Info));
            self.place(note.range);
            self.bytes(note.message.as_bytes());
        }
        for Repaired { metric, range, repair } in repairs {
            self.0.push(REPAIR);
            self.place(*range);
            self.bytes(metric.as_bytes());
            for value in [repair.bucket_min, repair.bucket_max, repair.difference_max] {
                self.float(value);
            }
            self.varint(repair.count);
            self.zigzag(repair.time_min);
            self.zigzag(repair.time_max);
        }
    }

    fn place(&mut self, range: ByteRange) {
        self.varint(u64::from(range.start));
        self.varint(u64::from(range.end));
    }

    fn series(&mut self, series: &Series) {
        self.bytes(series.labels.as_bytes());
        self.0.push(u8::from(series.drop_name));
        self.column(&series.column);
    }

    fn group(&mut self, group: &PartialAggregate) {
        self.bytes(group.labels.as_bytes());
        self.0.push(u8::from(group.drop_name));
        self.list(&group.columns, Self::column);
    }

    fn sampled(&mut self, series: &SampledSeries) {
        self.bytes(series.labels.as_bytes());
        self.samples(&series.samples);
    }

    fn column(&mut self, column: &Column) {
        self.varint(column.len() as u64);
        let mut from = 0;
        while from < column.len() {
            let what = kind_of(column, from);
            let more = (from + 1..column.len()).take_while(|step| kind_of(column, *step) == what);
            let len = 1 + more.count();
            self.varint((len as u64) << 2 | what);
            for step in from..from + len {
                match column.get(step) {
                    Some(SampleRef::Float(value)) => self.float(value),
                    Some(SampleRef::Histogram(histogram)) => self.histogram(histogram),
                    None => {}
                }
            }
            from += len;
        }
    }

    fn samples(&mut self, samples: &SampleBuffer) {
        self.varint(samples.len() as u64);
        let has_histograms = u8::from(samples.has_histograms()) * HAS_HISTOGRAMS;
        let has_starts = u8::from(!samples.start_timestamps().is_empty()) * HAS_STARTS;
        self.0.push(has_histograms | has_starts);
        let mut before = 0i64;
        for at in 0..samples.len() {
            let timestamp = samples.timestamps()[at];
            self.zigzag(timestamp.wrapping_sub(before));
            before = timestamp;
            if has_starts != 0 {
                self.zigzag(samples.start_timestamp(at));
            }
            match samples.histogram(at) {
                Some(histogram) => {
                    self.0.push(1);
                    self.histogram(histogram);
                }
                None => {
                    if has_histograms != 0 {
                        self.0.push(0);
                    }
                    self.float(samples.values()[at]);
                }
            }
        }
    }

    fn histogram(&mut self, histogram: &FloatHistogram) {
        self.0.push(match histogram.counter_reset_hint {
            CounterResetHint::Unknown => 0,
            CounterResetHint::Reset => 1,
            CounterResetHint::NotReset => 2,
            CounterResetHint::Gauge => 3,
        });
        self.zigzag(i64::from(histogram.schema));
        self.float(histogram.zero_threshold);
        self.float(histogram.zero_count);
        self.float(histogram.count);
        self.float(histogram.sum);
        self.buckets(&histogram.positive);
        self.buckets(&histogram.negative);
        self.list(&histogram.custom_values, |out, bound| out.float(*bound));
    }

    fn buckets(&mut self, buckets: &[Bucket]) {
        self.varint(buckets.len() as u64);
        let mut before = 0;
        for bucket in buckets {
            self.zigzag(i64::from(bucket.index) - before);
            before = i64::from(bucket.index);
            self.float(bucket.count);
        }
    }
}

/// What a column has at a step.
fn kind_of(column: &Column, step: usize) -> u64 {
    match column.get(step) {
        Some(SampleRef::Float(_)) => FLOAT,
        Some(SampleRef::Histogram(_)) => HISTOGRAM,
        None => ABSENT,
    }
}

struct Reader<'a>(&'a [u8]);

type Read<T> = Result<T, WireError>;

impl<'a> Reader<'a> {
    fn malformed(&self) -> WireError {
        WireError::Malformed { left: self.0.len() }
    }

    fn take(&mut self, len: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(|| self.malformed())?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Read<u8> {
        Ok(self.take(1)?[0])
    }

    fn varint(&mut self) -> Read<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed())
    }

    fn zigzag(&mut self) -> Read<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn float(&mut self) -> Read<f64> {
        let bytes = self.take(8)?.try_into().expect("eight bytes were taken");
        Ok(f64::from_bits(u64::from_le_bytes(bytes)))
    }

    /// A count of items that take at least `bytes_min` each, so that it cannot ask for more
    /// memory than a small multiple of what arrived.
    fn count(&mut self, bytes_min: usize) -> Read<usize> {
        let count = self.varint()?;
        if count > (self.0.len() / bytes_min) as u64 {
            return Err(self.malformed());
        }
        Ok(count as usize)
    }

    fn bytes(&mut self) -> Read<&'a [u8]> {
        let len = self.count(1)?;
        self.take(len)
    }

    fn list<T>(&mut self, bytes_min: usize, read: impl Fn(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let count = self.count(bytes_min)?;
        (0..count).map(|_| read(self)).collect()
    }

    fn notes(&mut self) -> Read<Annotations> {
        let mut annotations = Annotations::default();
        for _ in 0..self.count(4)? {
            let kind = self.byte()?;
            let (start, end) = (self.varint()?, self.varint()?);
            let range = ByteRange::new(start as u32, end as u32);
            let text = std::str::from_utf8(self.bytes()?).map_err(|_| self.malformed())?;
            let severity = match kind {
                0 => Severity::Warning,
                1 => Severity::Info,
                REPAIR => {
                    annotations.repaired(text, range, self.repair()?);
                    continue;
                }
                _ => return Err(self.malformed()),
            };
            annotations.add(Annotation { severity, message: text.to_owned(), range });
        }
        Ok(annotations)
    }

    fn repair(&mut self) -> Read<MonotonicRepair> {
        Ok(MonotonicRepair {
            bucket_min: self.float()?,
            bucket_max: self.float()?,
            difference_max: self.float()?,
            count: self.varint()?,
            time_min: self.zigzag()?,
            time_max: self.zigzag()?,
        })
    }

    fn labels(&mut self) -> Read<(Labels, bool)> {
        let labels = Labels::from_bytes(self.bytes()?)?;
        Ok((labels, self.byte()? != 0))
    }

    fn series(&mut self) -> Read<Series> {
        let (labels, drop_name) = self.labels()?;
        Ok(Series { labels, drop_name, column: self.column()? })
    }

    fn group(&mut self) -> Read<PartialAggregate> {
        let (labels, drop_name) = self.labels()?;
        let columns = self.list(1, Self::column)?;
        if columns.len() > PARTIAL_COLUMNS_MAX {
            return Err(self.malformed());
        }
        Ok(PartialAggregate { labels, drop_name, columns })
    }

    fn sampled(&mut self) -> Read<SampledSeries> {
        let labels = Labels::from_bytes(self.bytes()?)?;
        Ok(SampledSeries { labels, samples: Arc::new(self.samples()?) })
    }

    fn column(&mut self) -> Read<Column> {
        let len = self.varint()?;
        // An absent run takes a byte however long it is: bound what it may ask for.
        if len > STEPS_MAX {
            return Err(self.malformed());
        }
        let len = len as usize;
        let mut column = Column::absent(len);
        let mut from = 0;
        while from < len {
            let run = self.varint()?;
            let (run_len, what) = (run >> 2, run & 3);
            if run_len == 0 || run_len > (len - from) as u64 {
                return Err(self.malformed());
            }
            for step in from..from + run_len as usize {
                match what {
                    ABSENT => {}
                    FLOAT => column.set_float(step, self.float()?),
                    HISTOGRAM => column.set_histogram(step, Arc::new(self.histogram()?)),
                    _ => return Err(self.malformed()),
                }
            }
            from += run_len as usize;
        }
        Ok(column)
    }

    fn samples(&mut self) -> Read<SampleBuffer> {
        let count = self.varint()?;
        let flags = self.byte()?;
        if count > (self.0.len() / 9) as u64 {
            return Err(self.malformed());
        }
        let mut samples = SampleBuffer::new();
        let mut timestamp = 0i64;
        for at in 0..count {
            let delta = self.zigzag()?;
            if at > 0 && delta <= 0 {
                return Err(self.malformed());
            }
            timestamp = timestamp.wrapping_add(delta);
            let start = if flags & HAS_STARTS != 0 { self.zigzag()? } else { 0 };
            let is_histogram = flags & HAS_HISTOGRAMS != 0 && self.byte()? != 0;
            if is_histogram {
                samples.push_histogram(timestamp, Arc::new(self.histogram()?));
            } else {
                samples.push_float(timestamp, self.float()?);
            }
            samples.set_last_start(start);
        }
        Ok(samples)
    }

    fn histogram(&mut self) -> Read<FloatHistogram> {
        let counter_reset_hint = match self.byte()? {
            0 => CounterResetHint::Unknown,
            1 => CounterResetHint::Reset,
            2 => CounterResetHint::NotReset,
            3 => CounterResetHint::Gauge,
            _ => return Err(self.malformed()),
        };
        let schema = i32::try_from(self.zigzag()?).map_err(|_| self.malformed())?;
        Ok(FloatHistogram {
            counter_reset_hint,
            schema,
            zero_threshold: self.float()?,
            zero_count: self.float()?,
            count: self.float()?,
            sum: self.float()?,
            positive: self.buckets()?,
            negative: self.buckets()?,
            custom_values: self.list(8, Self::float)?.into(),
        })
    }

    fn buckets(&mut self) -> Read<Vec<Bucket>> {
        let count = self.count(9)?;
        let mut buckets = Vec::with_capacity(count);
        let mut before = 0i64;
        for at in 0..count {
            let delta = self.zigzag()?;
            let index =
                i32::try_from(before.saturating_add(delta)).map_err(|_| self.malformed())?;
            if at > 0 && delta <= 0 {
                return Err(self.malformed());
            }
            before = i64::from(index);
            buckets.push(Bucket { index, count: self.float()? });
        }
        Ok(buckets)
    }
}

/// The most steps that a column may have: more than any query's, and 128 MiB of floats.
const STEPS_MAX: u64 = 1 << 24;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn histogram(seed: u8) -> FloatHistogram {
        FloatHistogram {
            counter_reset_hint: CounterResetHint::Gauge,
            schema: -4 + i32::from(seed % 12),
            zero_threshold: 1e-128,
            zero_count: f64::from(seed),
            count: 3.5,
            sum: -1.0,
            positive: vec![Bucket { index: -7, count: 1.0 }, Bucket { index: 9, count: 2.5 }],
            negative: vec![Bucket { index: i32::MAX, count: 1.0 }],
            custom_values: vec![0.1, f64::from(seed)].into(),
        }
    }

    fn column(cells: &[(u8, u64)]) -> Column {
        let mut column = Column::absent(cells.len());
        for (step, (what, bits)) in cells.iter().enumerate() {
            match what % 3 {
                0 => {}
                1 => column.set_float(step, f64::from_bits(*bits)),
                _ => column.set_histogram(step, Arc::new(histogram(*what))),
            }
        }
        column
    }

    fn labels(text: &str) -> Labels {
        Labels::from_pairs([("__name__", "up"), ("job", text)]).expect("valid")
    }

    fn answer(content: FragmentContent) -> FragmentAnswer {
        let mut annotations = Annotations::default();
        annotations.warn("odd", ByteRange::new(3, 9));
        annotations.inform("fine", ByteRange::new(0, 2));
        let repair = MonotonicRepair {
            bucket_min: 0.5,
            bucket_max: f64::INFINITY,
            difference_max: 2.0,
            count: 3,
            time_min: -60_000,
            time_max: 60_000,
        };
        annotations.repaired("up", ByteRange::new(2, 4), repair);
        let stats = EvalStats { samples_read: 7, samples_peak: 300, queryable: vec![1, 0, 300] };
        FragmentAnswer { content, annotations, stats }
    }

    proptest! {
        #[test]
        fn answers_read_back(
            cells in proptest::collection::vec(any::<(u8, u64)>(), 0..40),
            job in "[a-z]{0,9}",
            drop_name: bool,
        ) {
            let series = Series { labels: labels(&job), drop_name, column: column(&cells) };
            let columns = vec![series.column.clone(), Column::absent(cells.len())];
            let group = PartialAggregate { labels: labels(&job), drop_name, columns };
            let mut samples = SampleBuffer::new();
            for (at, (what, bits)) in cells.iter().enumerate() {
                let timestamp = at as i64 * 1000 - 5000;
                match what % 3 {
                    2 => samples.push_histogram(timestamp, Arc::new(histogram(*what))),
                    _ => samples.push_float(timestamp, f64::from_bits(*bits)),
                }
                samples.set_last_start(i64::from(what % 2) * 77);
            }
            let sampled = SampledSeries { labels: labels(&job), samples: Arc::new(samples) };
            let contents = [
                FragmentContent::Columns(vec![series]),
                FragmentContent::Partial(vec![group]),
                FragmentContent::Samples(vec![sampled]),
            ];
            for content in contents {
                let bytes = encode(&answer(content));
                let read = decode(&bytes).expect("what was encoded");
                prop_assert_eq!(encode(&read), bytes);
                prop_assert_eq!(read.annotations.iter().count(), 3);
            }
        }

        #[test]
        fn damaged_answers_are_refused_or_read(
            cells in proptest::collection::vec(any::<(u8, u64)>(), 0..9),
            cut in 0usize..400,
            (at, byte) in any::<(usize, u8)>(),
        ) {
            let series = Series::new(labels("a"), column(&cells));
            let mut bytes = encode(&answer(FragmentContent::Columns(vec![series])));
            prop_assert!(decode(&bytes[..cut.min(bytes.len() - 1)]).is_err());
            let at = at % bytes.len();
            bytes[at] ^= byte;
            let _ = decode(&bytes);
        }
    }
}
