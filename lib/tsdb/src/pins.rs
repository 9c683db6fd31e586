//! The log positions that readers hold on to.
//!
//! A selection shows the shard at one log position for as long as it is kept, and reads pages when
//! it is asked to. Rewriting joins chunks that ended at different positions, so it leaves alone
//! what ended behind the oldest selection there is.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;

use crate::shard::Core;

/// Log indices with how many selections show each.
#[derive(Debug, Default)]
pub(crate) struct Pins(Mutex<BTreeMap<u64, usize>>);

impl Pins {
    /// The log index of the oldest selection.
    pub(crate) fn lowest(&self) -> Option<u64> {
        self.0.lock().keys().next().copied()
    }
}

/// Holds on to a log index until it is dropped.
#[derive(Debug)]
pub(crate) struct Pin {
    core: Weak<Core>,
    at: u64,
}

impl Pin {
    /// To be made while the lock is held under which `at` was the last applied entry: what is
    /// confirmed behind it has then been applied with the pin in place.
    pub(crate) fn new(core: &Arc<Core>, at: u64) -> Self {
        *core.pins.0.lock().entry(at).or_default() += 1;
        Self { core: Arc::downgrade(core), at }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let Some(core) = self.core.upgrade() else { return };
        let mut pins = core.pins.0.lock();
        if let Some(count) = pins.get_mut(&self.at) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.at);
            }
        }
    }
}
