//! The Rice code: small numbers in few bits, large ones in more.
//!
//! What is above the lowest `k` bits as so many ones closed by a zero, then those `k` bits; 32 ones
//! without a zero stand before 64 plain bits.

use crate::bits::{BitReader, BitString};

/// The parameter `k` is at most this.
pub(crate) const RICE_MAX: u32 = 40;
/// Ones that announce 64 plain bits.
const ESCAPE: u32 = 32;

/// Bits that a number takes.
#[inline]
pub(crate) fn rice_bits(number: u64, k: u32) -> u64 {
    match number >> k {
        ones if ones < u64::from(ESCAPE) => ones + 1 + u64::from(k),
        _ => u64::from(ESCAPE) + 64,
    }
}

/// The parameter that makes numbers smallest.
pub(crate) fn best_parameter(numbers: impl Iterator<Item = u64> + Clone) -> u32 {
    best_of(0..=RICE_MAX, numbers).0
}

/// One that is close to it, told from the numbers' mean length, and the bits they then take.
pub(crate) fn near_parameter(numbers: impl Iterator<Item = u64> + Clone) -> (u32, u64) {
    let (count, bits) = numbers.clone().fold((0, 0), |(count, bits), number| {
        (count + 1, bits + u64::from(64 - number.leading_zeros()))
    });
    let mean = u32::try_from(bits / u64::max(count, 1)).map_or(RICE_MAX, |bits| bits.min(RICE_MAX));
    best_of(mean.saturating_sub(1)..=(mean + 1).min(RICE_MAX), numbers)
}

fn best_of(
    parameters: std::ops::RangeInclusive<u32>,
    numbers: impl Iterator<Item = u64> + Clone,
) -> (u32, u64) {
    let bits = |k| numbers.clone().map(|number| rice_bits(number, k)).sum::<u64>();
    parameters.map(|k| (k, bits(k))).min_by_key(|(_, bits)| *bits).unwrap_or((0, 0))
}

/// Appends a number.
#[inline]
pub(crate) fn push_rice(bits: &mut BitString, number: u64, k: u32) {
    let ones = number >> k;
    if ones >= u64::from(ESCAPE) {
        bits.push(u64::from(u32::MAX), ESCAPE);
        bits.push(number, 64);
        return;
    }
    bits.push(((1 << ones) - 1) << 1, ones as u32 + 1);
    if k > 0 {
        bits.push(number & ((1 << k) - 1), k);
    }
}

/// Reads what [`push_rice`] appended. `k` is below 64.
#[inline]
pub(crate) fn read_rice(bits: &mut BitReader<'_>, k: u32) -> u64 {
    let ones = (!bits.peek(ESCAPE) << (64 - ESCAPE)).leading_zeros().min(ESCAPE);
    if ones == ESCAPE {
        bits.skip(ESCAPE);
        return bits.read(64);
    }
    bits.skip(ones + 1);
    let low = if k > 0 { bits.read(k) } else { 0 };
    u64::from(ones) << k | low
}
