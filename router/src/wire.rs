//! Protobuf's wire format, read without copying.
//!
//! Invariants
//! * every step consumes at least one byte, so every reader ends;
//! * any bytes give fields or an error with its offset; nothing panics;
//! * a length is compared with the bytes that are left before anything is read or reserved;
//! * a repeated scalar, one byte each on the wire, never becomes more than [`REPEATED_MAX`] values.
//!
//! There are no messages here, and no groups, which protobuf gave up: they are malformed.

/// What is wrong with a message, and where.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
#[error("malformed protobuf at byte {offset}: {what}")]
pub struct Malformed {
    /// Bytes before the malformed part.
    pub offset: usize,
    /// What was expected there.
    pub what: &'static str,
}

pub(crate) const VARINT: u8 = 0;
pub(crate) const FIXED64: u8 = 1;
pub(crate) const LEN: u8 = 2;
pub(crate) const FIXED32: u8 = 5;

/// Values of one repeated scalar: twice the buckets of the largest histogram, and references to
/// more labels than any series has.
pub(crate) const REPEATED_MAX: usize = 1 << 17;

/// A protobuf message: `bytes[at..end]` of the whole request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    /// The whole of `bytes`.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, end: bytes.len() }
    }

    /// What is not read yet.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..self.end]
    }

    /// The request that the message is a part of.
    #[inline]
    pub fn request(&self) -> &'a [u8] {
        self.bytes
    }

    /// Where in the request the rest lies. A request has at most 4 GiB.
    #[inline]
    pub fn span(&self) -> (u32, u32) {
        (self.at as u32, self.end as u32)
    }

    #[inline]
    pub fn is_at_end(&self) -> bool {
        self.at == self.end
    }

    /// Passes over as many bytes, at most the rest.
    #[inline]
    pub fn advance(&mut self, bytes: usize) {
        self.at = self.end.min(self.at + bytes);
    }

    pub fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { offset: self.at, what }
    }

    /// The next field's number and wire type; `None` at the message's end.
    #[inline]
    pub fn tag(&mut self) -> Result<Option<(u64, u8)>, Malformed> {
        if self.at == self.end {
            return Ok(None);
        }
        let tag = self.varint()?;
        if tag >> 3 == 0 {
            return Err(self.malformed("field number 0"));
        }
        Ok(Some((tag >> 3, (tag & 7) as u8)))
    }

    #[inline]
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        match self.rest().first() {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    #[cold]
    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for (i, &byte) in self.rest().iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                // The tenth byte has room for one bit.
                if i == 9 && byte > 1 {
                    break;
                }
                self.at += i + 1;
                return Ok(value);
            }
        }
        Err(self.malformed("varint expected"))
    }

    /// A signed number in zigzag form.
    pub fn zigzag(&mut self) -> Result<i64, Malformed> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A number that protobuf cuts to 32 bits.
    #[inline]
    pub fn varint32(&mut self) -> Result<u32, Malformed> {
        self.varint().map(|value| value as u32)
    }

    #[inline]
    pub fn fixed64(&mut self) -> Result<u64, Malformed> {
        let bytes = self.rest().first_chunk::<8>();
        let bytes = *bytes.ok_or_else(|| self.malformed("eight bytes expected"))?;
        self.at += 8;
        Ok(u64::from_le_bytes(bytes))
    }

    #[inline]
    pub fn double(&mut self) -> Result<f64, Malformed> {
        self.fixed64().map(f64::from_bits)
    }

    /// A length-delimited field, as a message of its own.
    #[inline]
    pub fn message(&mut self) -> Result<Self, Malformed> {
        let len = self.varint()?;
        let end = usize::try_from(len).ok().and_then(|len| self.at.checked_add(len));
        let Some(end) = end.filter(|&end| end <= self.end) else {
            return Err(self.malformed("length beyond the message"));
        };
        let message = Self { bytes: self.bytes, at: self.at, end };
        self.at = end;
        Ok(message)
    }

    /// A length-delimited field that must be text.
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        let message = self.message()?;
        std::str::from_utf8(message.rest()).map_err(|_| message.malformed("UTF-8 expected"))
    }

    pub fn skip(&mut self, wire: u8) -> Result<(), Malformed> {
        match wire {
            VARINT => self.varint().map(drop),
            FIXED64 => self.fixed64().map(drop),
            LEN => self.message().map(drop),
            FIXED32 if self.end - self.at >= 4 => {
                self.at += 4;
                Ok(())
            }
            _ => Err(self.malformed("unknown wire type")),
        }
    }

    /// Reads a repeated scalar, which may come packed or alone: `each` reads one.
    pub fn repeated<T>(
        &mut self,
        wire: u8,
        into: &mut Vec<T>,
        mut each: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<(), Malformed> {
        if wire != LEN {
            into.push(each(self)?);
        } else {
            let mut packed = self.message()?;
            while !packed.is_at_end() && into.len() <= REPEATED_MAX {
                into.push(each(&mut packed)?);
            }
        }
        if into.len() > REPEATED_MAX {
            return Err(self.malformed("fewer repeated values expected"));
        }
        Ok(())
    }
}
