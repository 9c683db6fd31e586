//! The bytes of requests, outcomes and states.
//!
//! Written by hand rather than derived through serde: what is stored here is read by other
//! versions for years, so each field's place is to be seen in one line, kinds have numbers of
//! their own, and every length is checked before anything is reserved for it. Types do not
//! contain themselves, so depth is bounded by their nesting.
//!
//! ```text
//! number := LEB128, at most ten bytes, no longer than needed
//! signed := number, zigzag
//! text   := number(bytes) UTF-8                  at most TEXT_BYTES_MAX
//! bytes  := number(bytes) …                      at most CONTENT_BYTES_MAX
//! list   := number(items) items                  at most LIST_ITEMS_MAX
//! option := 0 | 1 item
//! ```
//!
//! Equal values have equal bytes and only those: what is longer than needed, out of order or
//! left over is refused.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use narthex_model::Timestamp;

use crate::{ClusterId, ClusterVersion, Incarnation, NodeId, ShardId};

/// Names, addresses, zones.
pub(crate) const TEXT_BYTES_MAX: usize = 64 << 10;
/// A scrape configuration. Half of what one message between nodes may hold.
pub(crate) const CONTENT_BYTES_MAX: usize = 4 << 20;
/// Members, shards, epochs, spread jobs.
pub(crate) const LIST_ITEMS_MAX: usize = 64 << 10;

/// Why bytes are not what they should be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Cut short, left over, too long, out of order or not UTF-8.
    #[error("malformed {what} at byte {offset}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// Bytes before it.
        offset: usize,
    },
    /// Written by a newer binary. A node that meets one must stop, never skip it.
    #[error("{what} {number} is unknown to this version; a newer one wrote it")]
    Unknown {
        /// What has the number.
        what: &'static str,
        /// The number.
        number: u64,
    },
    /// The bytes changed since they were written.
    #[error("checksum {got:016x} of the cluster state should be {want:016x}")]
    Checksum {
        /// The checksum of the bytes.
        got: u64,
        /// The checksum written behind them.
        want: u64,
    },
}

/// Reads a run of bytes from its start.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    pub(crate) fn malformed(&self, what: &'static str) -> DecodeError {
        DecodeError::Malformed { what, offset: self.offset }
    }

    pub(crate) fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let end = self.offset.checked_add(len).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.malformed(what))?;
        let taken = &self.bytes[self.offset..end];
        self.offset = end;
        Ok(taken)
    }

    pub(crate) fn number(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for (i, &byte) in self.bytes[self.offset..].iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if i == 9 && bits > 1 {
                break;
            }
            value |= bits << (7 * i);
            if byte & 0x80 == 0 {
                if i > 0 && byte == 0 {
                    break;
                }
                self.offset += i + 1;
                return Ok(value);
            }
        }
        Err(self.malformed("number"))
    }

    fn length(&mut self, max: usize, what: &'static str) -> Result<usize, DecodeError> {
        let at = self.malformed(what);
        let length = self.number()?;
        // An item takes one byte at least, so a length beyond the rest is a lie.
        let max = max.min(self.bytes.len() - self.offset);
        usize::try_from(length).ok().filter(|length| *length <= max).ok_or(at)
    }

    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.offset == self.bytes.len() {
            true => Ok(()),
            false => Err(self.malformed("end")),
        }
    }
}

/// Something with an encoding of its own.
pub(crate) trait Wire: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// The fields of a struct, in the order of their bytes.
macro_rules! wire_struct {
    ($name:ty { $($field:ident),* $(,)? }) => {
        impl $crate::codec::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $($crate::codec::Wire::put(&self.$field, out);)*
            }

            fn read(from: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::DecodeError> {
                Ok(Self { $($field: $crate::codec::Wire::read(from)?),* })
            }
        }
    };
}

/// The variants of an enum, each with the number that stands for it for ever.
macro_rules! wire_enum {
    ($name:ty, $what:literal { $($number:literal => $variant:ident $(($inner:ident))? $({ $($field:ident),* })?,)* }) => {
        impl $crate::codec::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant $(($inner))? $({ $($field),* })? => {
                        out.push($number);
                        $($crate::codec::Wire::put($inner, out);)?
                        $($($crate::codec::Wire::put($field, out);)*)?
                    })*
                }
            }

            fn read(from: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::DecodeError> {
                let number = from.take(1, $what)?[0];
                Ok(match number {
                    $($number => Self::$variant
                        $(({ let $inner = $crate::codec::Wire::read(from)?; $inner }))?
                        $({ $($field: $crate::codec::Wire::read(from)?),* })?,)*
                    _ => return Err($crate::DecodeError::Unknown {
                        what: $what,
                        number: number.into(),
                    }),
                })
            }
        }
    };
}

pub(crate) use {wire_enum, wire_struct};

pub(crate) fn put_number(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

macro_rules! wire_unsigned {
    ($($name:ty => $inner:ty),*) => {
        $(impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                put_number(u64::from(self.0), out);
            }

            fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let at = from.malformed(stringify!($name));
                <$inner>::try_from(from.number()?).map(Self).map_err(|_| at)
            }
        })*
    };
}

wire_unsigned!(NodeId => u64, ShardId => u32, Incarnation => u64, ClusterVersion => u32);

impl Wire for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(*self, out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        from.number()
    }
}

impl Wire for u32 {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(u64::from(*self), out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = from.malformed("number");
        Self::try_from(from.number()?).map_err(|_| at)
    }
}

impl Wire for u8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(from.take(1, "byte")?[0])
    }
}

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = from.malformed("flag");
        match from.take(1, "flag")?[0] {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(at),
        }
    }
}

impl Wire for i64 {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(((self << 1) ^ (self >> 63)) as u64, out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let zigzag = from.number()?;
        Ok((zigzag >> 1) as Self ^ -((zigzag & 1) as Self))
    }
}

impl Wire for Timestamp {
    fn put(&self, out: &mut Vec<u8>) {
        self.millis().put(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self::from_millis(i64::read(from)?))
    }
}

impl Wire for u128 {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes = from.take(16, "id")?;
        Ok(Self::from_be_bytes(bytes.try_into().expect("sixteen were taken")))
    }
}

impl Wire for ClusterId {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes = from.take(16, "cluster id")?;
        Ok(Self::from_bytes(bytes.try_into().expect("sixteen were taken")))
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(self.len() as u64, out);
        out.extend_from_slice(self.as_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = from.malformed("text");
        let len = from.length(TEXT_BYTES_MAX, "text")?;
        let text = std::str::from_utf8(from.take(len, "text")?).map_err(|_| at)?;
        Ok(text.to_owned())
    }
}

impl Wire for Arc<[u8]> {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(self.len() as u64, out);
        out.extend_from_slice(self);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let len = from.length(CONTENT_BYTES_MAX, "content")?;
        Ok(from.take(len, "content")?.into())
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(item) = self {
            item.put(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        bool::read(from)?.then(|| T::read(from)).transpose()
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(self.len() as u64, out);
        self.iter().for_each(|item| item.put(out));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = from.length(LIST_ITEMS_MAX, "list")?;
        (0..count).map(|_| T::read(from)).collect()
    }
}

impl<T: Wire> Wire for VecDeque<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(self.len() as u64, out);
        self.iter().for_each(|item| item.put(out));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Vec::read(from).map(Self::from)
    }
}

impl<T: Wire + Ord> Wire for BTreeSet<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(self.len() as u64, out);
        self.iter().for_each(|item| item.put(out));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = from.malformed("set");
        let items = Vec::<T>::read(from)?;
        let sorted = items.is_sorted_by(|a, b| a < b);
        sorted.then(|| items.into_iter().collect()).ok_or(at)
    }
}

impl<K: Wire + Ord, V: Wire> Wire for BTreeMap<K, V> {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(self.len() as u64, out);
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = from.length(LIST_ITEMS_MAX, "map")?;
        let mut map = Self::new();
        for _ in 0..count {
            let at = from.malformed("map");
            let key = K::read(from)?;
            if map.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(at);
            }
            map.insert(key, V::read(from)?);
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use proptest::prelude::*;

    use super::*;

    fn assert_reads_back<T: Wire + PartialEq + fmt::Debug>(value: &T) {
        let mut bytes = Vec::new();
        value.put(&mut bytes);
        let mut reader = Reader::new(&bytes);
        assert_eq!(T::read(&mut reader).as_ref(), Ok(value));
        assert_eq!(reader.finish(), Ok(()));
    }

    fn number(bytes: &[u8]) -> Result<u64, DecodeError> {
        Reader::new(bytes).number()
    }

    #[test]
    fn numbers_have_one_encoding() {
        assert_eq!(number(&[0x80, 0x01]), Ok(128));
        for wrong in [&[0x80, 0x00][..], &[0x80], &[], &[0xff; 10], &[0xff; 11]] {
            assert_eq!(number(wrong), Err(DecodeError::Malformed { what: "number", offset: 0 }));
        }
    }

    #[test]
    fn a_length_beyond_the_bytes_is_refused_before_anything_is_reserved() {
        let mut bytes = Vec::new();
        put_number(60_000, &mut bytes);
        assert!(Vec::<u64>::read(&mut Reader::new(&bytes)).is_err());
        assert!(String::read(&mut Reader::new(&bytes)).is_err());
    }

    #[test]
    fn sets_and_maps_must_be_sorted() {
        assert!(BTreeSet::<u64>::read(&mut Reader::new(&[2, 1, 1])).is_err());
        assert!(BTreeMap::<u64, u64>::read(&mut Reader::new(&[2, 5, 0, 4, 0])).is_err());
    }

    proptest! {
        #[test]
        fn values_read_back(a: u64, b: i64, c: u128, d: bool, e in ".{0,40}", f in proptest::collection::btree_map(any::<u32>(), any::<Option<u8>>(), 0..9)) {
            assert_reads_back(&a);
            assert_reads_back(&b);
            assert_reads_back(&c);
            assert_reads_back(&d);
            assert_reads_back(&e);
            assert_reads_back(&f);
        }
    }
}
