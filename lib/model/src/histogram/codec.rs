//! Kept histograms as bytes: on the way to a shard, in its log and in its head.
//!
//! ```text
//! histogram := head u8                     1 << 4 (the version), hint << 2, stale << 1, float
//!              nothing more                if it is a staleness marker
//!            | shape sum counts
//! shape     := schema i8, threshold        exponential
//!            | schema i8, bounds varint { f64 LE }               custom
//! threshold := 0                           0
//!            | 1 to 254                    2^(n − 244)
//!            | 255 f64 LE
//! sum       := f64 LE
//! counts    := all number, zero number, positive buckets, negative buckets      exponential
//!            | all number, buckets                                              custom
//! buckets   := runs varint { gap varint, length − 1 varint, { count } }
//! number    := varint of the integer | varint of the float's bits, reversed
//! count     := zigzag varint, difference to the bucket before | number of the float
//! ```
//!
//! A run is of adjacent buckets. Its gap is the first bucket's index as zigzag in the first run,
//! else the buckets left out since the run before, less one. No count is zero, so equal
//! histograms have equal bytes. All bits of the sum and of float counts are kept.

use std::sync::Arc;

use super::{
    BUCKETS_MAX, Bucket, CUSTOM_BUCKETS_SCHEMA, CounterResetHint, EXPONENTIAL_SCHEMA_MAX,
    EXPONENTIAL_SCHEMA_MIN, Histogram, NativeHistogram,
};

const VERSION: u8 = 1;
const FLOAT: u8 = 1;
const STALE: u8 = 2;
const HINT_SHIFT: u8 = 2;
const VERSION_SHIFT: u8 = 4;
const THRESHOLD_FOLLOWS: u8 = 255;
/// What a threshold's byte is above the exponent of two.
const THRESHOLD_BIAS: i32 = 244;

/// Bytes that are no histogram: damaged, or written by a newer program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0} of a histogram")]
pub struct MalformedHistogram(pub &'static str);

/// A histogram in its encoding, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodedHistogram<'a> {
    bytes: &'a [u8],
    /// Where the sum begins; 0 in a marker.
    sum_at: usize,
}

impl<'a> EncodedHistogram<'a> {
    /// Checks that `bytes` are a histogram and no more.
    pub fn new(bytes: &'a [u8]) -> Result<Self, MalformedHistogram> {
        let mut reader = Reader { rest: bytes };
        let head = reader.head()?;
        let mut sum_at = 0;
        if !head.is_stale {
            let is_custom = reader.shape(|_| ())?.0 == CUSTOM_BUCKETS_SCHEMA;
            sum_at = bytes.len() - reader.rest.len();
            reader.float("sum")?;
            match head.is_float {
                true => reader.skip_counts::<f64>(is_custom)?,
                false => reader.skip_counts::<u64>(is_custom)?,
            }
        }
        reader.end()?;
        Ok(Self { bytes, sum_at })
    }

    /// The staleness marker of a series of histograms.
    pub const fn stale_marker(is_float: bool) -> EncodedHistogram<'static> {
        const INTEGER: &[u8] = &[VERSION << VERSION_SHIFT | STALE];
        const OF_FLOATS: &[u8] = &[VERSION << VERSION_SHIFT | STALE | FLOAT];
        EncodedHistogram { bytes: if is_float { OF_FLOATS } else { INTEGER }, sum_at: 0 }
    }

    /// The encoding.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether counts are floats.
    pub fn is_float(&self) -> bool {
        self.bytes[0] & FLOAT != 0
    }

    /// Whether this is the staleness marker.
    pub fn is_stale(&self) -> bool {
        self.bytes[0] & STALE != 0
    }

    /// The sum of all observations.
    pub fn sum(&self) -> f64 {
        match self.bytes[self.sum_at..].first_chunk::<8>() {
            Some(sum) if self.sum_at > 0 => f64::from_le_bytes(*sum),
            _ => crate::stale_nan(),
        }
    }

    /// Whether both have counts of one kind in the same schema with the same zero bucket and
    /// custom bounds. Never true of a staleness marker.
    pub fn has_shape_of(&self, other: &EncodedHistogram<'_>) -> bool {
        let are_marked = self.sum_at == 0 || other.sum_at == 0;
        !are_marked
            && self.is_float() == other.is_float()
            && self.bytes[1..self.sum_at] == other.bytes[1..other.sum_at]
    }

    /// The histogram.
    pub fn decode(&self) -> NativeHistogram {
        NativeHistogram::decode(self.bytes).expect("bytes were checked when they came")
    }
}

impl NativeHistogram {
    /// Appends the encoding to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Integer(histogram) => put(out, histogram, 0),
            Self::Float(histogram) => put(out, histogram, FLOAT),
        }
    }

    /// The histogram that `bytes` are.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedHistogram> {
        let mut reader = Reader { rest: bytes };
        let head = reader.head()?;
        if head.is_stale {
            reader.end()?;
            return Ok(Self::stale_marker(head.is_float));
        }
        let histogram = match head.is_float {
            true => Self::Float(reader.histogram(head)?),
            false => Self::Integer(reader.histogram(head)?),
        };
        reader.end()?;
        Ok(histogram)
    }
}

/// A kind of counts, as written.
trait Count: Copy + Default + PartialEq {
    fn put_number(self, out: &mut Vec<u8>);
    fn take_number(reader: &mut Reader<'_>) -> Result<Self, MalformedHistogram>;
    fn put_after(self, before: Self, out: &mut Vec<u8>);
    fn take_after(before: Self, reader: &mut Reader<'_>) -> Result<Self, MalformedHistogram>;
    fn is_zero(self) -> bool;
}

impl Count for u64 {
    fn put_number(self, out: &mut Vec<u8>) {
        put_varint(out, self);
    }

    fn take_number(reader: &mut Reader<'_>) -> Result<Self, MalformedHistogram> {
        reader.varint("count")
    }

    fn put_after(self, before: Self, out: &mut Vec<u8>) {
        put_varint(out, zigzag(self.wrapping_sub(before) as i64));
    }

    fn take_after(before: Self, reader: &mut Reader<'_>) -> Result<Self, MalformedHistogram> {
        Ok(before.wrapping_add(unzigzag(reader.varint("count")?) as u64))
    }

    fn is_zero(self) -> bool {
        self == 0
    }
}

impl Count for f64 {
    /// The low bits of most floats are zero: reversed they cost nothing.
    fn put_number(self, out: &mut Vec<u8>) {
        put_varint(out, self.to_bits().reverse_bits());
    }

    fn take_number(reader: &mut Reader<'_>) -> Result<Self, MalformedHistogram> {
        Ok(Self::from_bits(reader.varint("count")?.reverse_bits()))
    }

    fn put_after(self, _before: Self, out: &mut Vec<u8>) {
        self.put_number(out);
    }

    fn take_after(_before: Self, reader: &mut Reader<'_>) -> Result<Self, MalformedHistogram> {
        Self::take_number(reader)
    }

    fn is_zero(self) -> bool {
        self == 0.0
    }
}

fn put<C: Count>(out: &mut Vec<u8>, histogram: &Histogram<C>, float: u8) {
    let hint = match histogram.counter_reset_hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::Reset => 1,
        CounterResetHint::NotReset => 2,
        CounterResetHint::Gauge => 3,
    };
    if histogram.is_stale() {
        out.push(VERSION << VERSION_SHIFT | STALE | float);
        return;
    }
    out.push(VERSION << VERSION_SHIFT | hint << HINT_SHIFT | float);
    out.push(histogram.schema as i8 as u8);
    let is_custom = histogram.uses_custom_buckets();
    if is_custom {
        put_varint(out, histogram.custom_values.len() as u64);
        histogram.custom_values.iter().for_each(|bound| out.extend(bound.to_le_bytes()));
    } else {
        put_threshold(out, histogram.zero_threshold);
    }
    out.extend_from_slice(&histogram.sum.to_le_bytes());
    histogram.count.put_number(out);
    if is_custom {
        put_buckets(out, &histogram.positive);
        return;
    }
    histogram.zero_count.put_number(out);
    put_buckets(out, &histogram.positive);
    put_buckets(out, &histogram.negative);
}

fn put_threshold(out: &mut Vec<u8>, threshold: f64) {
    let exponent = (threshold.to_bits() >> 52) as i32 - 1023 + THRESHOLD_BIAS;
    match exponent {
        _ if threshold.to_bits() == 0 => out.push(0),
        1..=254 if threshold == power_of_two(exponent as u8) => out.push(exponent as u8),
        _ => {
            out.push(THRESHOLD_FOLLOWS);
            out.extend_from_slice(&threshold.to_le_bytes());
        }
    }
}

fn power_of_two(byte: u8) -> f64 {
    f64::from_bits(((i32::from(byte) - THRESHOLD_BIAS + 1023) as u64) << 52)
}

fn put_buckets<C: Count>(out: &mut Vec<u8>, buckets: &[Bucket<C>]) {
    let runs = || {
        let populated = |bucket: &Bucket<C>| !bucket.count.is_zero();
        debug_assert!(buckets.iter().all(populated), "a bucket of count zero is kept");
        buckets.chunk_by(|a, b| a.index + 1 == b.index)
    };
    put_varint(out, runs().count() as u64);
    let (mut end, mut before) = (None, C::default());
    for run in runs() {
        let first = i64::from(run[0].index);
        match end {
            None => put_varint(out, zigzag(first)),
            Some(end) => put_varint(out, (first - end - 1) as u64),
        }
        put_varint(out, run.len() as u64 - 1);
        for bucket in run {
            bucket.count.put_after(before, out);
            before = bucket.count;
        }
        end = Some(first + run.len() as i64);
    }
}

/// What the first byte says.
#[derive(Clone, Copy)]
struct Head {
    is_float: bool,
    is_stale: bool,
    hint: CounterResetHint,
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn head(&mut self) -> Result<Head, MalformedHistogram> {
        let head = self.byte("version")?;
        if head >> VERSION_SHIFT != VERSION {
            return Err(MalformedHistogram("version, unknown to this program,"));
        }
        let is_stale = head & STALE != 0;
        let hint = match head >> HINT_SHIFT & 3 {
            0 => CounterResetHint::Unknown,
            _ if is_stale => return Err(MalformedHistogram("hint")),
            1 => CounterResetHint::Reset,
            2 => CounterResetHint::NotReset,
            _ => CounterResetHint::Gauge,
        };
        Ok(Head { is_float: head & FLOAT != 0, is_stale, hint })
    }

    /// Schema and zero threshold; custom bounds are handed out one by one.
    fn shape(&mut self, mut bound: impl FnMut(f64)) -> Result<(i32, f64), MalformedHistogram> {
        let schema = i32::from(self.byte("schema")? as i8);
        match schema {
            EXPONENTIAL_SCHEMA_MIN..=EXPONENTIAL_SCHEMA_MAX => Ok((schema, self.threshold()?)),
            CUSTOM_BUCKETS_SCHEMA => {
                let bounds = self.varint("bounds")?;
                if bounds > BUCKETS_MAX as u64 {
                    return Err(MalformedHistogram("bounds"));
                }
                for _ in 0..bounds {
                    bound(self.float("bounds")?);
                }
                Ok((schema, 0.0))
            }
            _ => Err(MalformedHistogram("schema")),
        }
    }

    fn threshold(&mut self) -> Result<f64, MalformedHistogram> {
        match self.byte("zero threshold")? {
            0 => Ok(0.0),
            THRESHOLD_FOLLOWS => self.float("zero threshold"),
            byte => Ok(power_of_two(byte)),
        }
    }

    fn histogram<C: Count>(&mut self, head: Head) -> Result<Histogram<C>, MalformedHistogram> {
        let mut bounds = Vec::new();
        let (schema, zero_threshold) = self.shape(|bound| bounds.push(bound))?;
        let mut histogram = Histogram {
            counter_reset_hint: head.hint,
            schema,
            zero_threshold,
            sum: self.float("sum")?,
            count: C::take_number(self)?,
            ..Histogram::default()
        };
        if !bounds.is_empty() {
            histogram.custom_values = Arc::from(bounds);
        }
        let is_custom = histogram.uses_custom_buckets();
        if !is_custom {
            histogram.zero_count = C::take_number(self)?;
        }
        self.buckets(|index, count| histogram.positive.push(Bucket { index, count }))?;
        if !is_custom {
            self.buckets(|index, count| histogram.negative.push(Bucket { index, count }))?;
        }
        Ok(histogram)
    }

    fn skip_counts<C: Count>(&mut self, is_custom: bool) -> Result<(), MalformedHistogram> {
        C::take_number(self)?;
        if is_custom {
            return self.buckets(|_, _: C| ());
        }
        C::take_number(self)?;
        self.buckets(|_, _: C| ())?;
        self.buckets(|_, _: C| ())
    }

    fn buckets<C: Count>(
        &mut self,
        mut bucket: impl FnMut(i32, C),
    ) -> Result<(), MalformedHistogram> {
        let runs = self.varint("runs")?;
        let (mut next, mut before, mut left) = (0i64, C::default(), BUCKETS_MAX as u64);
        for run in 0..runs {
            let gap = self.varint("gap")?;
            next = match run {
                0 => unzigzag(gap),
                _ => next.saturating_add_unsigned(gap).saturating_add(1),
            };
            let length = self.varint("run")?.saturating_add(1);
            left = left.checked_sub(length).ok_or(MalformedHistogram("run"))?;
            for _ in 0..length {
                let index = i32::try_from(next).map_err(|_| MalformedHistogram("bucket index"))?;
                before = C::take_after(before, self)?;
                if before.is_zero() {
                    return Err(MalformedHistogram("bucket"));
                }
                bucket(index, before);
                next += 1;
            }
        }
        Ok(())
    }

    fn byte(&mut self, what: &'static str) -> Result<u8, MalformedHistogram> {
        let (&byte, rest) = self.rest.split_first().ok_or(MalformedHistogram(what))?;
        self.rest = rest;
        Ok(byte)
    }

    fn float(&mut self, what: &'static str) -> Result<f64, MalformedHistogram> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(MalformedHistogram(what))?;
        self.rest = rest;
        Ok(f64::from_le_bytes(*bytes))
    }

    fn varint(&mut self, what: &'static str) -> Result<u64, MalformedHistogram> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let is_shortest = shift == 0 || byte != 0;
                let fits = shift < 63 || byte < 2;
                return if is_shortest && fits { Ok(value) } else { Err(MalformedHistogram(what)) };
            }
        }
        Err(MalformedHistogram(what))
    }

    fn end(&self) -> Result<(), MalformedHistogram> {
        if self.rest.is_empty() { Ok(()) } else { Err(MalformedHistogram("end")) }
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests;
