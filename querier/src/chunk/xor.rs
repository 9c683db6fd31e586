//! Chunks of floats.

use super::bits::{Bits, Xored, is_within};

/// How many bits a change of the step takes: the ones that tell it, how many, and the width.
const CHANGES: [(u64, u32, u32); 3] = [(0b10, 2, 14), (0b110, 3, 17), (0b1110, 4, 20)];

/// Encodes samples, at least one and at most `u16::MAX`; times and values are as many.
pub fn encode(times: &[i64], values: &[f64]) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(times.len() as u64, 16);
    bits.varint(times[0]);
    let mut value = Xored::first(values[0], &mut bits);
    let (mut time, mut step) = (times[0], 0i64);
    for (at, next) in times.iter().enumerate().skip(1) {
        let next_step = next.wrapping_sub(time);
        match at {
            1 => _ = bits.uvarint(next_step as u64),
            _ => put_change(next_step.wrapping_sub(step), &mut bits),
        }
        (time, step) = (*next, next_step);
        value.next(values[at], &mut bits);
    }
    bits.into_bytes()
}

fn put_change(change: i64, out: &mut Bits) {
    if change == 0 {
        out.put(0, 1);
        return;
    }
    match CHANGES.into_iter().find(|&(_, _, width)| is_within(change, width)) {
        Some((ones, len, width)) => out.put(ones, len).put(change as u64, width),
        None => out.put(0b1111, 4).put(change as u64, 64),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_chunk_is_prometheus_s() {
        // The importer's test reads the same bytes.
        let mut expected = vec![0, 3, 0xd0, 0x0f];
        expected.extend_from_slice(&1f64.to_bits().to_be_bytes());
        expected.extend_from_slice(&[0xe8, 0x07]);
        // Same value, same step, then leading 1, width 11, eleven ones.
        expected.extend_from_slice(&[0b0011_0000, 0b1001_0111, 0b1111_1111, 0b1100_0000]);
        assert_eq!(encode(&[1000, 2000, 3000], &[1.0, 1.0, 2.0]), expected);
    }
}
