//! Samples of a block's XOR chunks.
//!
//! ```text
//! chunk  := samples u16, first time varint, first value 64 bits,
//!           second step uvarint, value, { change of step, value }
//! change := 0 | 10 14 bits | 110 17 bits | 1110 20 bits | 1111 64 bits
//! value  := 0 | 10 bits of the window of before | 11 leading 5, width 6 (0: 64), bits
//! ```
//!
//! Varints lie among the bits, byte by byte.

use super::bytes::{Malformed, unzigzag};

const CUT: Malformed = Malformed("xor chunk");

/// Appends the samples of an XOR chunk: times in milliseconds, bits of values.
pub fn read(chunk: &[u8], samples: &mut Vec<(i64, u64)>) -> Result<(), Malformed> {
    let count = chunk.get(..2).ok_or(CUT)?;
    let count = u16::from_be_bytes([count[0], count[1]]);
    let mut bits = Bits::new(&chunk[2..]);
    let (mut time, mut step) = (0i64, 0i64);
    let mut window = Window::default();
    let mut value = 0u64;
    for number in 0..count {
        match number {
            0 => {
                time = unzigzag(bits.uvarint()?);
                value = bits.take(64)?;
            }
            1 => {
                step = bits.uvarint()? as i64;
                time = time.wrapping_add(step);
                value ^= window.take(&mut bits)?;
            }
            _ => {
                step = step.wrapping_add(change(&mut bits)?);
                time = time.wrapping_add(step);
                value ^= window.take(&mut bits)?;
            }
        }
        samples.push((time, value));
    }
    Ok(())
}

fn change(bits: &mut Bits<'_>) -> Result<i64, Malformed> {
    let mut ones = 0;
    while ones < 4 && bits.take(1)? == 1 {
        ones += 1;
    }
    let width = match ones {
        0 => return Ok(0),
        1 => 14,
        2 => 17,
        3 => 20,
        _ => 64,
    };
    bits.take_signed(width)
}

/// The bits of a value that differ from the value before, and where they are.
#[derive(Clone, Default)]
pub struct Window {
    trailing: u32,
    width: u32,
}

impl Window {
    /// What the next value differs by.
    pub fn take(&mut self, bits: &mut Bits<'_>) -> Result<u64, Malformed> {
        if bits.take(1)? == 0 {
            return Ok(0);
        }
        if bits.take(1)? == 1 {
            let leading = bits.take(5)? as u32;
            let width = bits.take(6)? as u32;
            self.width = if width == 0 { 64 } else { width };
            self.trailing = 64u32.checked_sub(leading + self.width).ok_or(CUT)?;
        }
        if self.width == 0 {
            return Err(CUT);
        }
        Ok(bits.take(self.width)? << self.trailing)
    }
}

/// Bits, the highest of each byte first.
pub struct Bits<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Bits<'b> {
    /// The bits of these bytes.
    pub fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next `len` bits, 1 to 64, as a number in Go's range of (−2^(n−1), 2^(n−1)].
    pub fn take_signed(&mut self, len: u32) -> Result<i64, Malformed> {
        let found = self.take(len)? as i64;
        let is_negative = len < 64 && found > 1 << (len - 1);
        Ok(if is_negative { found - (1 << len) } else { found })
    }

    /// The next `len` bits, 1 to 64, highest first.
    pub fn take(&mut self, len: u32) -> Result<u64, Malformed> {
        let mut value = 0u64;
        let mut left = len;
        while left > 0 {
            let byte = *self.bytes.get(self.at / 8).ok_or(CUT)?;
            let free = 8 - (self.at % 8) as u32;
            let used = free.min(left);
            let piece = u64::from(byte) >> (free - used) & ((1 << used) - 1);
            value = value << used | piece;
            self.at += used as usize;
            left -= used;
        }
        Ok(value)
    }

    fn uvarint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(8)?;
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(CUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_taken_highest_first() {
        let mut bits = Bits { bytes: &[0b1010_0001, 0xff], at: 0 };
        assert_eq!((bits.take(3), bits.take(7)), (Ok(0b101), Ok(0b000_0111)));
        assert_eq!(bits.take(6), Ok(0b0011_1111));
        assert_eq!(bits.take(1), Err(CUT));
    }

    #[test]
    fn a_regular_chunk_reads_back() {
        // Three samples: 1000 → 1.0, 2000 → 1.0, 3000 → 2.0.
        let mut chunk = vec![0, 3, 0xd0, 0x0f];
        chunk.extend_from_slice(&1f64.to_bits().to_be_bytes());
        // Step 1000, same value (0); no change of step (0), window: 1.0 ^ 2.0 = 0x7ff0 << 48.
        chunk.extend_from_slice(&[0xe8, 0x07]);
        // 0 0 11 00001 001011 then eleven ones.
        let bits = "0".to_owned() + "0" + "11" + "00001" + "001011" + "11111111111";
        let mut bytes = vec![0u8; bits.len().div_ceil(8)];
        for (at, bit) in bits.bytes().enumerate() {
            bytes[at / 8] |= (bit - b'0') << (7 - at % 8);
        }
        chunk.extend_from_slice(&bytes);
        let mut samples = Vec::new();
        read(&chunk, &mut samples).expect("valid");
        let bits = |value: f64| value.to_bits();
        assert_eq!(samples, [(1000, bits(1.0)), (2000, bits(1.0)), (3000, bits(2.0))]);
        for len in 0..chunk.len() {
            assert!(read(&chunk[..len], &mut Vec::new()).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn changes_of_step_have_gos_ranges() {
        let change_of = |bits: &str| {
            let mut bytes = vec![0u8; bits.len().div_ceil(8)];
            for (at, bit) in bits.bytes().enumerate() {
                bytes[at / 8] |= (bit - b'0') << (7 - at % 8);
            }
            change(&mut Bits { bytes: &bytes, at: 0 })
        };
        assert_eq!(change_of("0"), Ok(0));
        assert_eq!(change_of(&format!("10{:014b}", 8192)), Ok(8192));
        assert_eq!(change_of(&format!("10{:014b}", 8193)), Ok(-8191));
        assert_eq!(change_of(&format!("110{:017b}", (1 << 17) - 1)), Ok(-1));
        assert_eq!(change_of(&format!("1111{:064b}", u64::MAX)), Ok(-1));
    }
}
