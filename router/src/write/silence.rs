//! Shards that have not answered for longer than an election takes.
//!
//! A request waits for a shard whose leader has just died, since the next one is there in a second
//! or two. For a shard without a majority it would wait in vain, and with it the request's memory,
//! its sender, and what the sender has for other shards. So while a shard is silent one request at
//! a time waits for it, to hear the moment it is back; all others are answered at once.

use std::{collections::HashMap, time::Duration};

use narthex_cluster::ShardId;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;

/// An election and the retries around it, and some.
pub const SILENT_AFTER: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug, Default)]
pub struct Silences {
    /// Whether a request waits for it.
    silent: Mutex<HashMap<ShardId, bool>>,
    gauge: Gauge,
}

/// A request that may wait for a shard. Dropped without an answer, it leaves things as they are.
#[derive(Debug)]
pub struct Attempt<'s> {
    silences: &'s Silences,
    shard: ShardId,
    is_probe: bool,
}

impl Silences {
    /// `gauge` shows how many shards are silent.
    pub fn new(gauge: Gauge) -> Self {
        Self { silent: Mutex::default(), gauge }
    }

    /// `None` where the shard is silent and another request waits for it.
    pub fn attempt(&self, shard: ShardId) -> Option<Attempt<'_>> {
        let is_probe = match self.silent.lock().get_mut(&shard) {
            None => false,
            Some(true) => return None,
            Some(is_probed) => {
                *is_probed = true;
                true
            }
        };
        Some(Attempt { silences: self, shard, is_probe })
    }
}

impl Attempt<'_> {
    /// The shard said something.
    pub fn answered(&self) {
        let mut silent = self.silences.silent.lock();
        if silent.remove(&self.shard).is_some() {
            self.silences.gauge.set(silent.len() as i64);
        }
    }

    /// The shard had no leader for as long as the request waited.
    pub fn unanswered(&self, waited: Duration) {
        if waited >= SILENT_AFTER {
            let mut silent = self.silences.silent.lock();
            silent.entry(self.shard).or_insert(false);
            self.silences.gauge.set(silent.len() as i64);
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.is_probe
            && let Some(is_probed) = self.silences.silent.lock().get_mut(&self.shard)
        {
            *is_probed = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_at_a_time_waits_for_a_silent_shard() {
        let (silences, shard) = (Silences::default(), ShardId(3));
        let attempt = || silences.attempt(shard);
        let (first, second) = (attempt().expect("heard"), attempt().expect("heard"));
        first.unanswered(SILENT_AFTER - Duration::from_millis(1));
        assert!(attempt().is_some(), "an election may take that long");
        first.unanswered(SILENT_AFTER);
        second.unanswered(SILENT_AFTER);
        drop((first, second));
        assert_eq!(silences.gauge.get(), 1);
        let probe = attempt().expect("the first one waits");
        assert!(attempt().is_none());
        assert!(silences.attempt(ShardId(4)).is_some());
        drop(probe);
        let probe = attempt().expect("its sender went away: the next one waits");
        probe.answered();
        assert!(attempt().is_some_and(|attempt| !attempt.is_probe));
        assert_eq!(silences.gauge.get(), 0);
    }
}
