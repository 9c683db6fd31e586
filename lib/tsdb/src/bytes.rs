//! Reading and writing the pieces all formats are made of: varints, zigzag, fixed integers.
//!
//! Varints are LEB128 of at most ten bytes. A reader never looks beyond the bytes it was given
//! and reports what was cut short or out of range by name.

/// Bytes that break their format, and which part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub struct Malformed(pub &'static str);

/// Appends `value` as a varint.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends `value` as a zigzag varint.
#[inline]
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, zigzag(value));
}

/// Appends a length and then the bytes.
pub(crate) fn put_block(out: &mut Vec<u8>, block: &[u8]) {
    put_varint(out, block.len() as u64);
    out.extend_from_slice(block);
}

/// What follows `block` if `bytes` begin with it as [`put_block`] writes it.
pub(crate) fn strip_block<'a>(bytes: &'a [u8], block: &[u8]) -> Option<&'a [u8]> {
    let (mut len, mut rest) = (block.len() as u64, bytes);
    while len >= 0x80 {
        rest = rest.strip_prefix(&[len as u8 | 0x80])?;
        len >>= 7;
    }
    rest.strip_prefix(&[len as u8])?.strip_prefix(block)
}

/// Small numbers of either sign as small unsigned ones.
#[inline]
pub(crate) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
#[inline]
pub(crate) const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Reads from the front of a slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `len` bytes.
    #[inline]
    pub(crate) fn bytes(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let (front, rest) = self.rest.split_at_checked(len).ok_or(Malformed(what))?;
        self.rest = rest;
        Ok(front)
    }

    /// Everything that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        Ok(self.bytes(1, what)?[0])
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        let bytes = self.bytes(4, what)?;
        Ok(u32::from_le_bytes(bytes.try_into().map_err(|_| Malformed(what))?))
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let bytes = self.bytes(8, what)?;
        Ok(u64::from_le_bytes(bytes.try_into().map_err(|_| Malformed(what))?))
    }

    pub(crate) fn i64(&mut self, what: &'static str) -> Result<i64, Malformed> {
        Ok(self.u64(what)? as i64)
    }

    pub(crate) fn u128(&mut self, what: &'static str) -> Result<u128, Malformed> {
        let bytes = self.bytes(16, what)?;
        Ok(u128::from_le_bytes(bytes.try_into().map_err(|_| Malformed(what))?))
    }

    #[inline]
    pub(crate) fn varint(&mut self, what: &'static str) -> Result<u64, Malformed> {
        if let Some((&first, rest)) = self.rest.split_first()
            && first < 0x80
        {
            self.rest = rest;
            return Ok(u64::from(first));
        }
        self.long_varint(what)
    }

    fn long_varint(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for (i, &byte) in self.rest.iter().take(10).enumerate() {
            if i == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(Malformed(what))
    }

    #[inline]
    pub(crate) fn signed(&mut self, what: &'static str) -> Result<i64, Malformed> {
        Ok(unzigzag(self.varint(what)?))
    }

    pub(crate) fn varint_u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        u32::try_from(self.varint(what)?).map_err(|_| Malformed(what))
    }

    /// A count of things that take at least `bytes_each` bytes of what is left, so that memory
    /// reserved for them is bounded by the input.
    pub(crate) fn count(
        &mut self,
        bytes_each: usize,
        what: &'static str,
    ) -> Result<usize, Malformed> {
        let count = usize::try_from(self.varint(what)?).map_err(|_| Malformed(what))?;
        match count.checked_mul(bytes_each) {
            Some(needed) if needed <= self.rest.len() => Ok(count),
            _ => Err(Malformed(what)),
        }
    }

    /// Bytes behind their length.
    pub(crate) fn block(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        let len = self.count(1, what)?;
        self.bytes(len, what)
    }

    /// Nothing may be left.
    pub(crate) fn end(&self, what: &'static str) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed(what)) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_read_back(value: u64, signed: i64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            put_signed(&mut out, signed);
            let mut cursor = Cursor::new(&out);
            prop_assert_eq!(cursor.varint("v"), Ok(value));
            prop_assert_eq!(cursor.signed("s"), Ok(signed));
            prop_assert_eq!(cursor.end("end"), Ok(()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let mut cursor = Cursor::new(&bytes);
            while cursor.varint("v").is_ok() {}
            let _ = cursor.block("b");
        }
    }

    #[test]
    fn a_count_is_bounded_by_the_input() {
        assert!(Cursor::new(&[5, 0, 0]).count(1, "n").is_err());
        assert_eq!(Cursor::new(&[2, 0, 0]).count(1, "n"), Ok(2));
    }
}
