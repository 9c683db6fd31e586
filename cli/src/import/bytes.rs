//! The pieces of Prometheus's block files: big-endian numbers, Go's varints, checked sections.

/// Bytes that break their format, and which part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub struct Malformed(pub &'static str);

/// Reads from the front of a slice.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'b>(pub &'b [u8]);

impl<'b> Reader<'b> {
    pub fn bytes(&mut self, len: usize, what: &'static str) -> Result<&'b [u8], Malformed> {
        let (front, rest) = self.0.split_at_checked(len).ok_or(Malformed(what))?;
        self.0 = rest;
        Ok(front)
    }

    pub fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        Ok(self.bytes(1, what)?[0])
    }

    pub fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        let bytes = self.bytes(4, what)?.try_into().map_err(|_| Malformed(what))?;
        Ok(u32::from_be_bytes(bytes))
    }

    pub fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let bytes = self.bytes(8, what)?.try_into().map_err(|_| Malformed(what))?;
        Ok(u64::from_be_bytes(bytes))
    }

    pub fn uvarint(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed(what))
    }

    pub fn varint(&mut self, what: &'static str) -> Result<i64, Malformed> {
        Ok(unzigzag(self.uvarint(what)?))
    }

    /// A length that cannot be more than what is left.
    pub fn len(&mut self, what: &'static str) -> Result<usize, Malformed> {
        let len = usize::try_from(self.uvarint(what)?).map_err(|_| Malformed(what))?;
        if len <= self.0.len() { Ok(len) } else { Err(Malformed(what)) }
    }

    /// A length of four bytes, as much content, and its CRC-32C.
    pub fn section(&mut self, what: &'static str) -> Result<Reader<'b>, Malformed> {
        let len = self.u32(what)? as usize;
        let content = self.bytes(len, what)?;
        self.checksum(content, what)?;
        Ok(Reader(content))
    }

    /// The CRC-32C of what was read before.
    pub fn checksum(&mut self, of: &[u8], what: &'static str) -> Result<(), Malformed> {
        if self.u32(what)? == crc32c::crc32c(of) { Ok(()) } else { Err(Malformed(what)) }
    }
}

pub const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
