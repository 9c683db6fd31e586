//! Native histograms of a block's chunks, as messages of remote write.
//!
//! ```text
//! chunk  := samples u16, flags u8, layout, samples
//! layout := zero threshold, schema int, spans, spans,
//!           bounds, only of schema −53                   positive spans first
//! spans  := count uint { length uint, offset int }
//! bounds := count uint { uint n > 0: (n − 1) / 1000 | 0, 64 bits }
//! zero threshold := 0 | 1 to 254: 2^(n − 244) | 255, 64 bits
//! sample := time int, count uint, zero count uint, sum, { bucket int }       the first one
//!         | the same as changes of their steps, all int, and sum as in XOR chunks
//!         | time, count, zero count, sum, { bucket }     of float histograms: times as above,
//!                                                        all others as in XOR chunks
//! ```
//!
//! `int` and `uint` have 0, 3, 6, 9, 12, 18, 25, 56 or 64 bits behind as many ones and a zero. A
//! staleness marker has its sum and nothing behind that. Buckets of integer histograms are
//! differences to the bucket before, as in the message.

use std::ops::Range;

use narthex_model::STALE_NAN_BITS;

use super::{
    bytes::Malformed,
    chunk::{Bits, Window},
    push::{put_bytes, put_varint},
};

const CUT: Malformed = Malformed("histogram chunk");
/// The two highest flags tell of resets; both together, that it is a gauge.
const GAUGE: u8 = 0b1100_0000;
const RESET: u8 = 0b1000_0000;
/// Schema of custom bounds.
const CUSTOM_BOUNDS: i64 = -53;
/// Buckets and bounds of one histogram: far above what Prometheus writes, and each takes a bit.
const BUCKETS_MAX: u64 = 1 << 20;
/// Numbers before the buckets: of all observations and of those around zero.
const COUNTS: usize = 2;
/// Bits of an `int` or `uint`, by the ones in front of it.
const WIDTHS: [u32; 8] = [0, 3, 6, 9, 12, 18, 25, 56];

/// Appends the histograms of a chunk: times in milliseconds, and `Histogram` messages of remote
/// write 1.0.
pub fn read(chunk: &[u8], is_float: bool, into: &mut Vec<(i64, Vec<u8>)>) -> Result<(), Malformed> {
    let head = chunk.first_chunk::<3>().ok_or(CUT)?;
    let (count, flags) = (u16::from_be_bytes([head[0], head[1]]), head[2]);
    let mut bits = Bits::new(&chunk[head.len()..]);
    let layout = match count {
        0 => return Ok(()),
        _ => Layout::read(&mut bits)?,
    };
    let mut state = State::new(&layout, is_float);
    for number in 0..count {
        state.next(&mut bits, number == 0)?;
        let hint = match flags & GAUGE {
            GAUGE => Hint::Gauge,
            RESET if number == 0 => Hint::Reset,
            _ => Hint::Unknown,
        };
        into.push((state.time.value, state.message(&layout, hint)));
    }
    Ok(())
}

/// As messages number them.
#[derive(Clone, Copy)]
enum Hint {
    Unknown = 0,
    Reset = 1,
    Gauge = 3,
}

/// What all samples of a chunk share.
struct Layout {
    schema: i64,
    zero_threshold: u64,
    positive: Vec<(u64, i64)>,
    negative: Vec<(u64, i64)>,
    bounds: Vec<u64>,
}

impl Layout {
    fn read(bits: &mut Bits<'_>) -> Result<Self, Malformed> {
        let zero_threshold = match bits.take(8)? {
            0 => 0,
            255 => bits.take(64)?,
            power => 2f64.powi(power as i32 - 244).to_bits(),
        };
        let schema = int(bits)?;
        let (positive, negative) = (spans(bits)?, spans(bits)?);
        let mut bounds = Vec::new();
        if schema == CUSTOM_BOUNDS {
            for _ in 0..bounded(uint(bits)?)? {
                bounds.push(match uint(bits)? {
                    0 => bits.take(64)?,
                    n => ((n - 1) as f64 / 1000.0).to_bits(),
                });
            }
        }
        Ok(Self { schema, zero_threshold, positive, negative, bounds })
    }
}

fn bounded(count: u64) -> Result<u64, Malformed> {
    if count <= BUCKETS_MAX { Ok(count) } else { Err(CUT) }
}

fn spans(bits: &mut Bits<'_>) -> Result<Vec<(u64, i64)>, Malformed> {
    let mut spans = Vec::new();
    for _ in 0..bounded(uint(bits)?)? {
        spans.push((bounded(uint(bits)?)?, int(bits)?));
    }
    bounded(spans.iter().map(|span| span.0).sum())?;
    Ok(spans)
}

/// An integer that is written as the change of its step.
#[derive(Clone, Default)]
struct Stepped {
    value: i64,
    step: i64,
}

impl Stepped {
    fn next(&mut self, bits: &mut Bits<'_>) -> Result<(), Malformed> {
        self.step = self.step.wrapping_add(int(bits)?);
        self.value = self.value.wrapping_add(self.step);
        Ok(())
    }
}

/// The bits of a float that is written as its difference to the one before.
#[derive(Clone, Default)]
struct Xored {
    value: u64,
    window: Window,
}

impl Xored {
    fn next(&mut self, bits: &mut Bits<'_>, is_first: bool) -> Result<(), Malformed> {
        match is_first {
            true => self.value = bits.take(64)?,
            false => self.value ^= self.window.take(bits)?,
        }
        Ok(())
    }
}

/// The numbers of one sample; those of the next are written as differences to them.
struct State {
    time: Stepped,
    sum: Xored,
    numbers: Numbers,
    /// How many of the buckets are positive.
    positive: usize,
}

/// Count and zero count first, then positive and negative buckets.
enum Numbers {
    Integers(Vec<Stepped>),
    Floats(Vec<Xored>),
}

impl State {
    fn new(layout: &Layout, is_float: bool) -> Self {
        let buckets =
            |spans: &[(u64, i64)]| spans.iter().map(|span| span.0 as usize).sum::<usize>();
        let positive = buckets(&layout.positive);
        let len = COUNTS + positive + buckets(&layout.negative);
        Self {
            time: Stepped::default(),
            sum: Xored::default(),
            numbers: match is_float {
                true => Numbers::Floats(vec![Xored::default(); len]),
                false => Numbers::Integers(vec![Stepped::default(); len]),
            },
            positive,
        }
    }

    fn next(&mut self, bits: &mut Bits<'_>, is_first: bool) -> Result<(), Malformed> {
        match is_first {
            // What follows is the first step.
            true => self.time.value = int(bits)?,
            false => self.time.next(bits)?,
        }
        self.numbers.next(bits, is_first, 0..COUNTS)?;
        self.sum.next(bits, is_first)?;
        if self.sum.value == STALE_NAN_BITS {
            return Ok(());
        }
        self.numbers.next(bits, is_first, COUNTS..self.numbers.len())
    }

    fn message(&self, layout: &Layout, hint: Hint) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        put_double(&mut out, 3, self.sum.value);
        if self.sum.value != STALE_NAN_BITS {
            self.numbers.put(&mut out, self.positive);
            put_number(&mut out, 4, zigzag(layout.schema));
            put_double(&mut out, 5, layout.zero_threshold);
            put_spans(&mut out, 8, &layout.negative);
            put_spans(&mut out, 11, &layout.positive);
            put_number(&mut out, 14, hint as u64);
            let bounds: Vec<u8> = layout.bounds.iter().flat_map(|it| it.to_le_bytes()).collect();
            put_packed(&mut out, 16, &bounds);
        }
        put_number(&mut out, 15, self.time.value as u64);
        out
    }
}

impl Numbers {
    fn len(&self) -> usize {
        match self {
            Self::Integers(numbers) => numbers.len(),
            Self::Floats(numbers) => numbers.len(),
        }
    }

    fn next(
        &mut self,
        bits: &mut Bits<'_>,
        is_first: bool,
        range: Range<usize>,
    ) -> Result<(), Malformed> {
        let are_counts = range.start == 0;
        match self {
            Self::Integers(numbers) => {
                numbers[range].iter_mut().try_for_each(|it| match is_first {
                    true if are_counts => uint(bits).map(|value| it.value = value as i64),
                    true => int(bits).map(|value| it.value = value),
                    false => it.next(bits),
                })
            }
            Self::Floats(numbers) => {
                numbers[range].iter_mut().try_for_each(|it| it.next(bits, is_first))
            }
        }
    }

    fn put(&self, out: &mut Vec<u8>, positive: usize) {
        match self {
            Self::Integers(numbers) => {
                put_number(out, 1, numbers[0].value as u64);
                put_number(out, 6, numbers[1].value as u64);
                let (positive, negative) = numbers[COUNTS..].split_at(positive);
                for (field, buckets) in [(9, negative), (12, positive)] {
                    let mut packed = Vec::with_capacity(buckets.len() * 2);
                    buckets.iter().for_each(|it| put_varint(&mut packed, zigzag(it.value)));
                    put_packed(out, field, &packed);
                }
            }
            Self::Floats(numbers) => {
                put_double(out, 2, numbers[0].value);
                put_double(out, 7, numbers[1].value);
                let (positive, negative) = numbers[COUNTS..].split_at(positive);
                for (field, buckets) in [(10, negative), (13, positive)] {
                    let packed: Vec<u8> =
                        buckets.iter().flat_map(|it| it.value.to_le_bytes()).collect();
                    put_packed(out, field, &packed);
                }
            }
        }
    }
}

/// The width that the ones in front of a number tell.
fn width(bits: &mut Bits<'_>) -> Result<u32, Malformed> {
    let mut ones = 0;
    while ones < WIDTHS.len() && bits.take(1)? == 1 {
        ones += 1;
    }
    Ok(WIDTHS.get(ones).copied().unwrap_or(64))
}

fn uint(bits: &mut Bits<'_>) -> Result<u64, Malformed> {
    match width(bits)? {
        0 => Ok(0),
        width => bits.take(width),
    }
}

fn int(bits: &mut Bits<'_>) -> Result<i64, Malformed> {
    match width(bits)? {
        0 => Ok(0),
        width => bits.take_signed(width),
    }
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

fn put_number(out: &mut Vec<u8>, field: u64, value: u64) {
    put_varint(out, field << 3);
    put_varint(out, value);
}

fn put_double(out: &mut Vec<u8>, field: u64, bits: u64) {
    put_varint(out, field << 3 | 1);
    out.extend_from_slice(&bits.to_le_bytes());
}

fn put_packed(out: &mut Vec<u8>, field: u64, packed: &[u8]) {
    if !packed.is_empty() {
        put_bytes(out, field, packed);
    }
}

fn put_spans(out: &mut Vec<u8>, field: u64, spans: &[(u64, i64)]) {
    for &(length, offset) in spans {
        let mut span = Vec::with_capacity(8);
        put_number(&mut span, 1, zigzag(offset));
        put_number(&mut span, 2, length);
        put_bytes(out, field, &span);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes bits as the chunk has them, highest first.
    #[derive(Default)]
    struct Chunk {
        bits: Vec<bool>,
    }

    impl Chunk {
        fn put(&mut self, value: u64, width: u32) -> &mut Self {
            self.bits.extend((0..width).rev().map(|at| value >> at & 1 == 1));
            self
        }

        fn number(&mut self, value: u64, fits: impl Fn(u32) -> bool) -> &mut Self {
            for (ones, &width) in WIDTHS.iter().enumerate() {
                if fits(width) {
                    return self.put(!0 << 1, ones as u32 + 1).put(value, width);
                }
            }
            self.put(0xff, 8).put(value, 64)
        }

        fn uint(&mut self, value: u64) -> &mut Self {
            self.number(value, |width| value.checked_shr(width).unwrap_or(0) == 0)
        }

        fn int(&mut self, value: i64) -> &mut Self {
            self.number(value as u64, |width| match width {
                0 => value == 0,
                width => value > -(1 << (width - 1)) && value <= 1 << (width - 1),
            })
        }

        fn bytes(&self, samples: u16, flags: u8) -> Vec<u8> {
            let mut out = samples.to_be_bytes().to_vec();
            out.push(flags);
            for byte in self.bits.chunks(8) {
                let bit = |(at, bit): (usize, &bool)| u8::from(*bit) << (7 - at);
                out.push(byte.iter().enumerate().map(bit).sum());
            }
            out
        }
    }

    fn message(fields: &[&[u8]]) -> Vec<u8> {
        fields.concat()
    }

    /// Schema 3, threshold 2^-128, a positive span of two buckets, a negative one of one; counts
    /// that grow, then a marker.
    fn integers() -> Vec<u8> {
        let mut chunk = Chunk::default();
        chunk.put(116, 8).int(3).uint(1).uint(2).int(-1).uint(1).uint(1).int(4);
        chunk.int(1_700_000_000_000).uint(7).uint(1).put(2.5f64.to_bits(), 64);
        chunk.int(4).int(-2).int(1);
        // 15 s later: counts 9 and 1, the sum as it was, buckets 5, -2, 2.
        chunk.int(15_000).int(2).int(0).put(0, 1).int(1).int(0).int(1);
        // Again 15 s: a marker, of which only time, counts and sum are there.
        let change = 2.5f64.to_bits() ^ STALE_NAN_BITS;
        chunk.int(0).int(0).int(0).put(0b11, 2).put(0, 5).put(0, 6).put(change, 64);
        chunk.bytes(3, 0)
    }

    #[test]
    fn integer_histograms_are_read() {
        let mut found = Vec::new();
        read(&integers(), false, &mut found).expect("sound");
        let times: Vec<i64> = found.iter().map(|it| it.0).collect();
        assert_eq!(times, [1_700_000_000_000, 1_700_000_015_000, 1_700_000_030_000]);
        let time = |millis: i64| {
            let mut out = Vec::new();
            put_number(&mut out, 15, millis as u64);
            out
        };
        let sum = |sum: f64| [&[0x19][..], &sum.to_bits().to_le_bytes()].concat();
        let threshold = [&[0x29][..], &2f64.powi(-128).to_le_bytes()].concat();
        let spans: &[u8] = &[0x42, 4, 8, 8, 16, 1, 0x5a, 4, 8, 1, 16, 2];
        let first = message(&[
            &sum(2.5),
            &[8, 7, 48, 1, 0x4a, 1, 2, 0x62, 2, 8, 3, 32, 6],
            &threshold,
            spans,
            &[112, 0],
            &time(times[0]),
        ]);
        let second = message(&[
            &sum(2.5),
            &[8, 9, 48, 1, 0x4a, 1, 4, 0x62, 2, 10, 3, 32, 6],
            &threshold,
            spans,
            &[112, 0],
            &time(times[1]),
        ]);
        let stale = message(&[&sum(f64::from_bits(STALE_NAN_BITS)), &time(times[2])]);
        let messages: Vec<Vec<u8>> = found.into_iter().map(|it| it.1).collect();
        assert_eq!(messages, [first, second, stale]);
    }

    #[test]
    fn float_gauges_with_custom_bounds_are_read() {
        let mut chunk = Chunk::default();
        // No threshold; one span of two buckets; bounds 0.5 (as thousandths) and 1e9 (in full).
        chunk.put(0, 8).int(-53).uint(1).uint(2).int(0).uint(0);
        chunk.uint(2).uint(501).uint(0).put(1e9f64.to_bits(), 64);
        let bits = |value: f64| value.to_bits();
        chunk.int(-5).put(bits(3.0), 64).put(0, 64).put(bits(1.5), 64);
        chunk.put(bits(1.0), 64).put(bits(2.0), 64);
        let mut found = Vec::new();
        read(&chunk.bytes(1, GAUGE), true, &mut found).expect("sound");
        let double = |field: u8, value: f64| [&[field << 3 | 1][..], &value.to_le_bytes()].concat();
        let doubles = |key: &[u8], values: [f64; 2]| {
            [key, &[16], &values[0].to_le_bytes(), &values[1].to_le_bytes()].concat()
        };
        let mut time = Vec::new();
        put_number(&mut time, 15, -5i64 as u64);
        let expected = message(&[
            &double(3, 1.5),
            &double(2, 3.0),
            &double(7, 0.0),
            &doubles(&[0x6a], [1.0, 2.0]),
            &[32, 105],
            &double(5, 0.0),
            &[0x5a, 4, 8, 0, 16, 2],
            &[112, 3],
            &doubles(&[0x82, 1], [0.5, 1e9]),
            &time,
        ]);
        assert_eq!(found, [(-5, expected)]);
    }

    #[test]
    fn damaged_chunks_are_refused() {
        let sound = integers();
        for len in 0..sound.len() {
            let mut found = Vec::new();
            assert!(read(&sound[..len], false, &mut found).is_err(), "cut at {len}");
        }
        // Whatever bits say, reading ends.
        for at in 3..sound.len() {
            for bit in 0..8 {
                let mut damaged = sound.clone();
                damaged[at] ^= 1 << bit;
                let _ = read(&damaged, false, &mut Vec::new());
                let _ = read(&damaged, true, &mut Vec::new());
            }
        }
    }
}
