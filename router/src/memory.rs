//! Memory of write requests that are under way.
//!
//! A request holds what is received of its body, what that decompresses to, and what its parts
//! take beyond that on their way to shards: a text that stands once in a request can be a label of
//! a million series.
//!
//! Invariants
//! * all requests together never hold more than [`Limits::memory_bytes_max`], and none alone more
//!   than [`Limits::parts_bytes_max`] for its parts;
//! * what a request holds is given back when it has been answered.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{limits::Limits, remote_write::DecodeError};

/// What a request has of its own without asking: most take no more beside their bodies.
const FREE_BYTES: usize = 4 << 10;
/// A request that needs more asks for this much at first, and then for as much as it has.
const STEP_BYTES: usize = 16 << 10;

/// See the module.
#[derive(Debug, Clone)]
pub struct Memory {
    kib: Arc<Semaphore>,
    gauge: Gauge,
    limits: Limits,
}

impl Memory {
    /// Memory as `limits` allow it; `gauge` shows the bytes that are held.
    pub fn new(limits: Limits, gauge: Gauge) -> Self {
        Self { kib: Arc::new(Semaphore::new(limits.memory_kib())), gauge, limits }
    }

    /// The share of a request of which nothing is known yet.
    pub fn share(&self) -> Share {
        Share { memory: self.clone(), held: Mutex::default() }
    }

    /// KiB that nobody holds.
    #[cfg(test)]
    pub fn free_kib(&self) -> usize {
        self.kib.available_permits()
    }
}

/// What one request holds.
#[derive(Debug)]
pub struct Share {
    memory: Memory,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    permit: Option<OwnedSemaphorePermit>,
    bytes: usize,
    parts_bytes: usize,
}

impl Share {
    /// Holds `bytes` more.
    pub fn take(&self, bytes: usize) -> Result<(), DecodeError> {
        self.held.lock().take(bytes, &self.memory)
    }

    /// Holds at least `wanted` more bytes for the request's parts; how many that were.
    pub fn take_for_parts(&self, wanted: usize) -> Result<usize, DecodeError> {
        let mut held = self.held.lock();
        let limit = self.memory.limits.parts_bytes_max();
        if held.parts_bytes + wanted > limit {
            return Err(DecodeError::PartsTooLarge { limit });
        }
        let step = held.parts_bytes.max(STEP_BYTES);
        let bytes = wanted.max(step).min(limit - held.parts_bytes);
        held.take(bytes, &self.memory)?;
        held.parts_bytes += bytes;
        Ok(bytes)
    }
}

impl Held {
    fn take(&mut self, bytes: usize, memory: &Memory) -> Result<(), DecodeError> {
        let wanted = kib(self.bytes + bytes) - kib(self.bytes);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let more = Arc::clone(&memory.kib).try_acquire_many_owned(wanted);
        let more = more.map_err(|_| DecodeError::NoMemory(memory.limits.memory_is_full()))?;
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
        self.bytes += bytes;
        memory.gauge.inc_by(bytes as i64);
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.gauge.dec_by(self.held.get_mut().bytes as i64);
    }
}

fn kib(bytes: usize) -> usize {
    bytes.div_ceil(1024)
}

/// What the parts of a request take while it is read.
#[derive(Debug)]
pub struct Parts<'s> {
    share: &'s Share,
    /// Bytes that are held and not used yet.
    spare: usize,
    /// Bytes of labels that may still be looked at.
    text_left: usize,
    failed: Option<DecodeError>,
}

impl<'s> Parts<'s> {
    /// Of a request for whose `body_bytes`, once decompressed, memory is held already.
    pub fn new(share: &'s Share, body_bytes: usize) -> Self {
        let text_left = share.memory.limits.parts_bytes_max();
        Self { share, spare: body_bytes.max(FREE_BYTES), text_left, failed: None }
    }

    /// Looks at the labels of a series, which take no memory where a cache knows them, but time
    /// each time they are named; `false` if that was enough.
    #[inline]
    pub fn look_at(&mut self, label_bytes: usize) -> bool {
        match self.text_left.checked_sub(label_bytes) {
            Some(left) => {
                self.text_left = left;
                self.failed.is_none()
            }
            None => {
                let limit = self.share.memory.limits.parts_bytes_max();
                self.failed.get_or_insert(DecodeError::PartsTooLarge { limit });
                self.spare = 0;
                false
            }
        }
    }

    /// Uses `bytes`; `false` if they cannot be had. What is left of the request is then read in
    /// vain.
    #[inline]
    pub fn use_bytes(&mut self, bytes: usize) -> bool {
        if bytes <= self.spare {
            self.spare -= bytes;
            return true;
        }
        self.ask(bytes)
    }

    #[cold]
    fn ask(&mut self, bytes: usize) -> bool {
        if self.failed.is_some() {
            return false;
        }
        match self.share.take_for_parts(bytes - self.spare) {
            Ok(more) => {
                self.spare = self.spare + more - bytes;
                true
            }
            Err(error) => {
                (self.failed, self.spare) = (Some(error), 0);
                false
            }
        }
    }

    /// Why memory could not be had, if it could not.
    pub fn finish(self) -> Result<(), DecodeError> {
        self.failed.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(memory_kib: usize) -> Memory {
        let limits = Limits {
            memory_bytes_max: memory_kib << 10,
            request_bytes_max: 200 << 10,
            ..Limits::default()
        };
        Memory::new(limits, Gauge::default())
    }

    #[test]
    fn what_is_taken_is_counted_once_and_given_back() {
        let memory = memory(10);
        let share = memory.share();
        for _ in 0..10 {
            share.take(100).expect("there is memory");
        }
        assert_eq!((memory.free_kib(), memory.gauge.get()), (9, 1000));
        let other = memory.share();
        other.take(9 << 10).expect("there is memory");
        assert!(matches!(share.take(25), Err(DecodeError::NoMemory(_))));
        share.take(24).expect("it fits into what is held");
        drop((share, other));
        assert_eq!((memory.free_kib(), memory.gauge.get()), (10, 0));
    }

    #[test]
    fn parts_ask_for_more_than_the_body_up_to_their_limit() {
        let memory = memory(10_000);
        let share = memory.share();
        let mut parts = Parts::new(&share, 5000);
        assert!(parts.use_bytes(5000));
        assert_eq!(memory.gauge.get(), 0, "the body's memory is held already");
        assert!(parts.use_bytes(1));
        assert_eq!(memory.gauge.get(), STEP_BYTES as i64);
        assert!(parts.use_bytes(STEP_BYTES - 1) && parts.use_bytes(300 << 10));
        assert!(!parts.use_bytes(600 << 10));
        assert!(!parts.use_bytes(1), "a hole in the middle helps nobody");
        let limit = 800 << 10;
        assert_eq!(parts.finish(), Err(DecodeError::PartsTooLarge { limit }));
    }
}
