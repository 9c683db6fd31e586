//! Bits, the highest of each byte first, and the numbers that chunks are made of.

/// Bits of an `int` or `uint`, by the ones in front of it; behind eight ones there are 64.
const WIDTHS: [u32; 8] = [0, 3, 6, 9, 12, 18, 25, 56];
/// Leading zeros of a difference are told in five bits.
const LEADING_MAX: u32 = 31;

/// Bytes under construction.
#[derive(Debug, Default)]
pub struct Bits {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not taken yet.
    free: u32,
}

impl Bits {
    /// The bytes, the last one filled up with zeros.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The low `len` bits of a number, 0 to 64 of them, highest first.
    pub fn put(&mut self, value: u64, len: u32) -> &mut Self {
        let mut left = len;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = self.free.min(left);
            let piece = (value >> (left - taken)) & ((1 << taken) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (piece as u8) << (self.free - taken);
            }
            self.free -= taken;
            left -= taken;
        }
        self
    }

    /// A number in bytes of seven bits, lowest first, each but the last with its highest bit set.
    pub fn uvarint(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.put(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.put(value, 8)
    }

    /// The same of a number with a sign.
    pub fn varint(&mut self, value: i64) -> &mut Self {
        self.uvarint((value << 1 ^ value >> 63) as u64)
    }

    /// A `uint`: as few bits as it needs, behind ones that tell how many.
    pub fn uint(&mut self, value: u64) -> &mut Self {
        self.number(value, |width| value.checked_shr(width) == Some(0))
    }

    /// An `int`, in the same way.
    pub fn int(&mut self, value: i64) -> &mut Self {
        self.number(value as u64, |width| match width {
            0 => value == 0,
            width => is_within(value, width),
        })
    }

    fn number(&mut self, value: u64, fits: impl Fn(u32) -> bool) -> &mut Self {
        for (ones, width) in (0..).zip(WIDTHS) {
            if fits(width) {
                return self.put(!1, ones + 1).put(value, width);
            }
        }
        self.put(0xff, 8).put(value, 64)
    }
}

/// Whether a number is in Go's range of `width` bits, (−2^(w−1), 2^(w−1)].
pub fn is_within(value: i64, width: u32) -> bool {
    value > -(1 << (width - 1)) && value <= 1 << (width - 1)
}

/// A float, which is written as its difference to the one before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Xored {
    bits: u64,
    /// Zeros before and behind the last difference that told them.
    window: Option<(u32, u32)>,
}

impl Xored {
    /// Writes the first value in full.
    pub fn first(value: f64, out: &mut Bits) -> Self {
        out.put(value.to_bits(), 64);
        Self { bits: value.to_bits(), window: None }
    }

    /// Writes the next one.
    pub fn next(&mut self, value: f64, out: &mut Bits) {
        let change = value.to_bits() ^ self.bits;
        self.bits = value.to_bits();
        if change == 0 {
            out.put(0, 1);
            return;
        }
        let leading = change.leading_zeros().min(LEADING_MAX);
        let trailing = change.trailing_zeros();
        if let Some((before, behind)) = self.window
            && leading >= before
            && trailing >= behind
        {
            out.put(0b10, 2).put(change >> behind, 64 - before - behind);
            return;
        }
        self.window = Some((leading, trailing));
        let width = 64 - leading - trailing;
        // A width of 64 does not fit and is told as 0.
        out.put(0b11, 2).put(leading.into(), 5).put(width.into(), 6).put(change >> trailing, width);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_put_highest_first() {
        let mut bits = Bits::default();
        bits.put(0b101, 3).put(0xff, 0).put(0b000_0111, 7).put(0b11_1111, 6);
        assert_eq!(bits.into_bytes(), [0b1010_0001, 0xff]);
        let mut bits = Bits::default();
        bits.put(1, 1).put(u64::MAX, 64);
        let expected = [&[0xff; 8][..], &[0x80]].concat();
        assert_eq!(bits.into_bytes(), expected);
    }

    #[test]
    fn numbers_take_as_few_bits_as_prometheus_gives_them() {
        let int = |value: i64| {
            let mut bits = Bits::default();
            bits.int(value);
            let text: Vec<String> = bits.bytes.iter().map(|it| format!("{it:08b}")).collect();
            let mut text = text.concat();
            text.truncate(text.len() - bits.free as usize);
            text
        };
        assert_eq!(int(0), "0");
        assert_eq!(int(4), "10100");
        assert_eq!(int(-3), "10101");
        assert_eq!(int(-4), "110111100");
        assert_eq!(int(i64::MIN).len(), 72);
        let uint = |value: u64| {
            let mut bits = Bits::default();
            bits.uint(value);
            bits.bytes.len() * 8 - bits.free as usize
        };
        let widths = [0, 7, 8, u64::MAX >> 8, u64::MAX].map(uint);
        assert_eq!(widths, [1, 5, 9, 64, 72]);
    }

    #[test]
    fn varints_lie_among_the_bits() {
        let mut bits = Bits::default();
        bits.varint(1000).uvarint(300).varint(-1);
        assert_eq!(bits.into_bytes(), [0xd0, 0x0f, 0xac, 0x02, 0x01]);
    }
}
