//! Samples and the staleness marker.

use crate::Timestamp;

/// The bits of the NaN that Prometheus writes where a series ends. Every other NaN is a value.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// One float sample. Values are compared by their bits wherever samples are stored or moved.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// When the sample was taken.
    pub timestamp: Timestamp,
    /// What was measured.
    pub value: f64,
}

/// The staleness marker.
pub const fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Whether `value` is the staleness marker.
pub const fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

impl PartialEq for Sample {
    /// Bit equality of the value, so that NaN payloads count and `0 != -0`.
    fn eq(&self, other: &Self) -> bool {
        self.timestamp == other.timestamp && self.value.to_bits() == other.value.to_bits()
    }
}

impl Eq for Sample {}
