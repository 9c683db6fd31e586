//! The packed form of a full run: samples that no longer change, but are not yet in a chunk.
//!
//! ```text
//! run     := first time 64 bits, decimals 2, k of times 6, k of values 6,
//!            first value, base, first step (each sized), { sample }      of all but the first
//! sized   := bits − 1 in 6 bits, zigzag in so many bits
//! sample  := change of step, zigzag in the Rice code         absent where k of times is 63
//!            difference to the value before, less `base`, zigzag in the Rice code
//!                                                            absent where k of values is 63
//! ```
//!
//! Values are integers once they are multiplied by a power of ten, as what programs count and
//! measure mostly is; then their differences are small numbers, which the XOR of floats is not. A
//! run with any other value stays as the XOR codec left it. All bits are kept: a value is only
//! taken if dividing its integer gives the same bits.

use crate::{
    bits::{BitReader, BitString},
    bytes::{unzigzag, zigzag},
    rice::{RICE_MAX, near_parameter, push_rice, read_rice},
    xor::RunReader,
};

/// The powers of ten that values may be multiplied by.
const POWERS: [f64; 4] = [1.0, 10.0, 100.0, 1000.0];
/// Stands for numbers that are all zero, and left out.
const ALL_ZERO: u32 = 63;
const PARAMETER_BITS: u32 = 6;
const DECIMALS_BITS: u32 = 2;
const SIZE_BITS: u32 = 6;

/// Packs a run that the XOR codec made, where that makes it smaller.
pub(crate) fn pack(words: &[u64], count: u16) -> Option<Vec<u64>> {
    let samples: Vec<(i64, u64)> = RunReader::new(words, count).collect();
    let (&(first_time, _), &(second_time, _)) = (samples.first()?, samples.get(1)?);
    let (decimals, values) = integers(&samples)?;
    let first_step = second_time.wrapping_sub(first_time);
    let changes = step_changes(&samples, first_step);
    let (base, differences) = differences(&values);
    let (time_k, time_bits) = parameter(&changes);
    let (value_k, value_bits) = parameter(&differences);
    // Both sides of what is sized are mostly small; a word is far more than they vary by.
    if (time_bits + value_bits) / 64 + 4 >= words.len() as u64 {
        return None;
    }
    let mut bits = BitString::with_capacity(words.len());
    bits.push(first_time as u64, 64);
    bits.push(decimals as u64, DECIMALS_BITS);
    bits.push(u64::from(time_k), PARAMETER_BITS);
    bits.push(u64::from(value_k), PARAMETER_BITS);
    [values[0], base, first_step].into_iter().for_each(|number| push_sized(&mut bits, number));
    for (&change, &difference) in changes.iter().zip(&differences) {
        if time_k != ALL_ZERO {
            push_rice(&mut bits, change, time_k);
        }
        if value_k != ALL_ZERO {
            push_rice(&mut bits, difference, value_k);
        }
    }
    (bits.word_count() < words.len()).then(|| bits.words().collect())
}

/// The values times the lowest power of ten that makes all of them integers.
fn integers(samples: &[(i64, u64)]) -> Option<(usize, Vec<i64>)> {
    let mut decimals = 0;
    for &(_, bits) in samples {
        while integer(bits, decimals).is_none() {
            decimals += 1;
            if decimals == POWERS.len() {
                return None;
            }
        }
    }
    let values = samples.iter().map(|&(_, bits)| integer(bits, decimals));
    Some((decimals, values.collect::<Option<_>>()?))
}

#[inline]
fn integer(bits: u64, decimals: usize) -> Option<i64> {
    let integer = (f64::from_bits(bits) * POWERS[decimals]).round_ties_even() as i64;
    (float(integer, decimals) == bits).then_some(integer)
}

#[inline]
fn float(integer: i64, decimals: usize) -> u64 {
    let float = integer as f64;
    if decimals == 0 { float.to_bits() } else { (float / POWERS[decimals]).to_bits() }
}

fn step_changes(samples: &[(i64, u64)], first_step: i64) -> Vec<u64> {
    let mut step = first_step;
    let change = |pair: &[(i64, u64)]| {
        let before = std::mem::replace(&mut step, pair[1].0.wrapping_sub(pair[0].0));
        zigzag(step.wrapping_sub(before))
    };
    samples.windows(2).map(change).collect()
}

/// What values grow by, less what they grow by on average where that makes the numbers smaller.
fn differences(values: &[i64]) -> (i64, Vec<u64>) {
    let less = |base: i64| {
        let step = move |pair: &[i64]| pair[1].wrapping_sub(pair[0]).wrapping_sub(base);
        values.windows(2).map(move |pair| zigzag(step(pair)))
    };
    let length = |base| less(base).map(|number| u64::from(64 - number.leading_zeros())).sum();
    let grown = values[values.len() - 1].wrapping_sub(values[0]);
    let mean = grown.div_euclid(values.len() as i64 - 1);
    let lengths: [u64; 2] = [length(0), length(mean)];
    let base = if lengths[1] < lengths[0] { mean } else { 0 };
    (base, less(base).collect())
}

/// The parameter that numbers are written with, and the bits they then take.
fn parameter(numbers: &[u64]) -> (u32, u64) {
    match numbers.iter().all(|&number| number == 0) {
        true => (ALL_ZERO, 0),
        false => near_parameter(numbers.iter().copied()),
    }
}

fn push_sized(bits: &mut BitString, number: i64) {
    let number = zigzag(number);
    let size = (64 - number.leading_zeros()).max(1);
    bits.push(u64::from(size - 1), SIZE_BITS);
    bits.push(number, size);
}

fn read_sized(bits: &mut BitReader<'_>) -> i64 {
    let size = bits.read(SIZE_BITS) as u32 + 1;
    unzigzag(bits.read(size))
}

/// Reads the samples of a packed run.
#[derive(Debug, Clone)]
pub(crate) struct PackedReader<'a> {
    bits: BitReader<'a>,
    left: u16,
    started: bool,
    decimals: usize,
    time_k: u32,
    value_k: u32,
    time: i64,
    step: i64,
    value: i64,
    base: i64,
}

impl<'a> PackedReader<'a> {
    /// Reads `count` samples from `words`.
    pub(crate) fn new(words: &'a [u64], count: u16) -> Self {
        let mut bits = BitReader::new(words);
        let time = bits.read(64) as i64;
        let decimals = bits.read(DECIMALS_BITS) as usize;
        // Damaged words can name parameters there are none of.
        let parameter = |bits: &mut BitReader<'_>| match bits.read(PARAMETER_BITS) as u32 {
            ALL_ZERO => ALL_ZERO,
            k => k.min(RICE_MAX),
        };
        let (time_k, value_k) = (parameter(&mut bits), parameter(&mut bits));
        let (value, base) = (read_sized(&mut bits), read_sized(&mut bits));
        let step = read_sized(&mut bits);
        let (left, started) = (count, false);
        Self { bits, left, started, decimals, time_k, value_k, time, step, value, base }
    }

    fn advance(&mut self) {
        if self.time_k != ALL_ZERO {
            let change = unzigzag(read_rice(&mut self.bits, self.time_k));
            self.step = self.step.wrapping_add(change);
        }
        self.time = self.time.wrapping_add(self.step);
        let mut difference = self.base;
        if self.value_k != ALL_ZERO {
            let beyond = unzigzag(read_rice(&mut self.bits, self.value_k));
            difference = difference.wrapping_add(beyond);
        }
        self.value = self.value.wrapping_add(difference);
    }
}

impl Iterator for PackedReader<'_> {
    type Item = (i64, u64);

    #[inline]
    fn next(&mut self) -> Option<(i64, u64)> {
        if self.left == 0 || self.bits.overran() {
            return None;
        }
        self.left -= 1;
        if self.started {
            self.advance();
        }
        self.started = true;
        Some((self.time, float(self.value, self.decimals)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(usize::from(self.left)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::xor::OpenRun;

    fn run(samples: &[(i64, u64)]) -> Vec<u64> {
        let mut run = OpenRun::default();
        samples.iter().for_each(|&(time, value)| run.append(time, value));
        run.words().collect()
    }

    /// Samples whose values grow by these steps, over a power of ten.
    fn decimal() -> impl Strategy<Value = Vec<(i64, u64)>> {
        let step = prop_oneof![0i64..50, -9..9i64, -1_000_000..1_000_000i64, any::<i64>()];
        let pause = prop_oneof![Just(15_000i64), 14_990..15_010i64, any::<i64>()];
        let steps = proptest::collection::vec((pause, step), 0..150);
        (any::<i64>(), 0..POWERS.len(), any::<bool>(), steps).prop_map(
            |(first, decimals, is_small, steps)| {
                let shift = if is_small { 40 } else { 0 };
                let (mut time, mut value) = (1_700_000_000_000i64, first >> shift);
                let sample = |(pause, step): (i64, i64)| {
                    time = time.wrapping_add(pause);
                    value = value.wrapping_add(step);
                    (time, float(value, decimals))
                };
                steps.into_iter().map(sample).collect()
            },
        )
    }

    fn any_value() -> impl Strategy<Value = Vec<(i64, u64)>> {
        let special = [0.0, -0.0, 0.1, f64::NAN, f64::INFINITY, f64::MAX, 5e-324];
        let value = prop_oneof![
            any::<u64>(),
            proptest::sample::select(special.to_vec()).prop_map(f64::to_bits)
        ];
        proptest::collection::vec((0i64..40_000, value), 0..150)
    }

    proptest! {
        #[test]
        fn what_is_packed_reads_back_bit_by_bit(samples in prop_oneof![decimal(), any_value()]) {
            let words = run(&samples);
            if let Some(packed) = pack(&words, samples.len() as u16) {
                prop_assert!(packed.len() < words.len());
                let read: Vec<_> = PackedReader::new(&packed, samples.len() as u16).collect();
                prop_assert_eq!(read, samples);
            }
        }

        #[test]
        fn arbitrary_words_never_panic(words: Vec<u64>, count: u16) {
            PackedReader::new(&words, count).for_each(drop);
        }
    }

    #[test]
    fn counters_and_decimals_become_smaller() {
        let grown = |decimals: usize, step: fn(i64) -> i64| {
            let (mut time, mut value) = (0, 12_345_678);
            let samples: Vec<_> = (0..120)
                .map(|i| {
                    time += 15_000 + i % 3;
                    value += step(i);
                    (time, float(value, decimals))
                })
                .collect();
            let words = run(&samples);
            let packed = pack(&words, 120).expect("it is smaller");
            (words.len(), packed.len())
        };
        let (xor, packed) = grown(0, |i| i * i % 97);
        assert!(packed * 3 < xor * 2, "{packed} of {xor} words");
        let (xor, packed) = grown(2, |i| i * i % 97);
        assert!(packed * 4 < xor, "{packed} of {xor} words");
        let constant: Vec<_> = (0..120).map(|i| (i * 15_000, 7f64.to_bits())).collect();
        assert_eq!(pack(&run(&constant), 120).expect("it is smaller").len(), 2);
        let noise: Vec<_> = (0..120).map(|i| (i * 15_000, (i as f64).sqrt().to_bits())).collect();
        assert_eq!(pack(&run(&noise), 120), None);
    }
}
