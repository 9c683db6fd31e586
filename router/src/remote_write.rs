//! Remote write as bytes: snappy's block format around a protobuf message of version 1.0 or 2.0.
//!
//! The decoders borrow text from the body and copy nothing but numbers. They accept what protobuf
//! accepts (fields in any order, repeated scalars, unknown fields) and never panic.
//!
//! Invariants
//! * the declared length is checked before anything is allocated;
//! * values keep their bits, NaN payloads included.

pub mod v1;
pub mod v2;

use narthex_model::{Sample, Timestamp};

pub use crate::wire::Malformed;
use crate::{
    limits::{PARTS_FACTOR, REQUEST_BYTES_KEY},
    wire::{FIXED64, Reader, VARINT},
};

/// Why a whole request is refused. Sending it again is refused again, but for want of memory.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Too large.
    #[error("request of {declared} bytes exceeds the limit of {limit} bytes ({REQUEST_BYTES_KEY})")]
    TooLarge {
        /// What its head says it decompresses to.
        declared: u64,
        /// The most it may be.
        limit: usize,
    },
    /// Too large once it is read.
    #[error(
        "parts of the request exceed {limit} bytes in memory, {PARTS_FACTOR} times \
         {REQUEST_BYTES_KEY}"
    )]
    PartsTooLarge {
        /// The most they may take.
        limit: usize,
    },
    /// Too much is under way: this one can be sent again.
    #[error("{0}")]
    NoMemory(String),
    /// Not in the format that the sender names.
    #[error("malformed {format}: {reason}")]
    Compression {
        /// Such as snappy's block format.
        format: &'static str,
        /// What was found.
        reason: String,
    },
    /// Not the message that the sender names.
    #[error(transparent)]
    Protobuf(#[from] Malformed),
    /// Not Prometheus's text format.
    #[error("malformed text in line {line}: {reason}")]
    Text {
        /// Counted from 1.
        line: usize,
        /// What was found.
        reason: String,
    },
    /// Columns that belong together and differ in length.
    #[error("series {series} has {timestamps} timestamps and {values} values")]
    Columns {
        /// Its place in the batch, counted from 0.
        series: usize,
        /// How many of these.
        timestamps: usize,
        /// How many of those.
        values: usize,
    },
    /// Not the message that it should be.
    #[error("malformed {format}: {reason}")]
    Message {
        /// What the sender writes it in.
        format: &'static str,
        /// What was found.
        reason: String,
    },
}

/// The decompressed body of a request, of at most `limit` bytes.
pub fn decompress(body: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
    let snappy = |error: snap::Error| DecodeError::Compression {
        format: "snappy block",
        reason: error.to_string(),
    };
    let declared = snap::raw::decompress_len(body).map_err(snappy)?;
    if declared > limit {
        return Err(DecodeError::TooLarge { declared: declared as u64, limit });
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(snappy)
}

/// A sample as every sender writes it: value, then time.
#[inline]
fn plain_sample(mut message: Reader<'_>) -> Option<Sample> {
    let (head, _) = message.rest().split_first_chunk::<10>()?;
    if (head[0], head[9]) != (1 << 3 | FIXED64, 2 << 3 | VARINT) {
        return None;
    }
    message.advance(1);
    let value = message.double().ok()?;
    message.advance(1);
    let timestamp = Timestamp::from_millis(message.varint().ok()? as i64);
    message.is_at_end().then_some(Sample { timestamp, value })
}

/// A sample, and when what it counts began, which only 2.0 says. 0 says nothing.
fn read_sample(mut message: Reader<'_>) -> Result<(Sample, Timestamp), Malformed> {
    let (mut sample, mut start) = (Sample::default(), 0);
    while let Some((field, wire)) = message.tag()? {
        match (field, wire) {
            (1, FIXED64) => sample.value = message.double()?,
            (2, VARINT) => sample.timestamp = Timestamp::from_millis(message.varint()? as i64),
            (3, VARINT) => start = message.varint()? as i64,
            _ => message.skip(wire)?,
        }
    }
    Ok((sample, Timestamp::from_millis(start)))
}
