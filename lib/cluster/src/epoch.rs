//! Ring epochs: which ring covers which sample timestamps.
//!
//! Epoch e covers [from(e), from(e+1)). It begins at a full hour so far ahead of its commit that
//! no sample with such a timestamp can have been stored under the epoch before.

use std::{collections::BTreeSet, sync::Arc};

use narthex_model::{Labels, Timestamp};

use crate::{Ring, ShardId, TenantId, routing};

/// How far ahead of its commit an epoch begins at the least, in milliseconds, even where the
/// out-of-order window is shorter. Every process learns of the epoch within this time, and a
/// sample may lie this far in the future, but no further.
pub const EPOCH_LEAD_MILLIS_MIN: i64 = 10 * 60 * 1000;

const HOUR_MILLIS: i64 = 60 * 60 * 1000;

/// A ring and the sample timestamps it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// Counts up from 0.
    pub number: u64,
    /// The first timestamp covered. The first epoch begins at [`Timestamp::MIN`].
    pub from: Timestamp,
    /// Which shard a key belongs to. Epochs with equal shards share it.
    pub ring: Arc<Ring>,
    /// Jobs whose series are spread over all shards instead of kept together by target.
    pub spread_jobs: BTreeSet<String>,
}

impl Epoch {
    /// The routing key of a series in this epoch.
    pub fn routing_key(&self, tenant: TenantId, labels: &Labels) -> u64 {
        routing::routing_key(tenant, labels.iter(), &self.spread_jobs)
    }

    /// The shard of a series in this epoch.
    pub fn shard_of(&self, tenant: TenantId, labels: &Labels) -> ShardId {
        self.ring.shard_of_key(self.routing_key(tenant, labels))
    }

    /// Whether the series of this target share a shard.
    pub fn is_keyed(&self, job: &str, instance: &str) -> bool {
        routing::is_keyed(job, instance, &self.spread_jobs)
    }

    /// The shard whose leader scrapes a target: that of its keyed series, also for a job whose
    /// series are spread.
    pub fn shard_of_target(&self, tenant: TenantId, job: &str, instance: &str) -> ShardId {
        self.ring.shard_of_key(routing::keyed(tenant, job, instance))
    }

    /// The shard whose leader owns a thing with a name, such as a discovery config.
    pub fn shard_of_name(&self, tenant: TenantId, kind: &str, name: &str) -> ShardId {
        self.ring.shard_of_key(routing::named(tenant, kind, name))
    }
}

/// When an epoch begins that is committed at `committed`, after one that begins at `last`: the
/// next full hour at least `lead_millis` ahead.
pub(crate) fn start_after(committed: Timestamp, lead_millis: i64, last: Timestamp) -> Timestamp {
    let earliest = committed.saturating_add_millis(lead_millis.max(EPOCH_LEAD_MILLIS_MIN)).millis();
    let hour = earliest.div_euclid(HOUR_MILLIS) + i64::from(earliest.rem_euclid(HOUR_MILLIS) > 0);
    let start = Timestamp::from_millis(hour.saturating_mul(HOUR_MILLIS));
    start.max(last.saturating_add_millis(HOUR_MILLIS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(committed: i64, lead: i64, last: i64) -> i64 {
        let millis = Timestamp::from_millis;
        start_after(millis(committed), lead, millis(last)).millis()
    }

    #[test]
    fn begins_at_a_full_hour_one_window_ahead() {
        assert_eq!(start(0, HOUR_MILLIS, i64::MIN), HOUR_MILLIS);
        assert_eq!(start(1, HOUR_MILLIS, i64::MIN), 2 * HOUR_MILLIS);
        assert_eq!(start(HOUR_MILLIS - 1, 0, i64::MIN), 2 * HOUR_MILLIS, "the least lead");
        assert_eq!(start(-1, HOUR_MILLIS, i64::MIN), HOUR_MILLIS);
    }

    #[test]
    fn begins_after_an_epoch_that_is_still_to_come() {
        assert_eq!(start(0, 0, 5 * HOUR_MILLIS), 6 * HOUR_MILLIS);
    }
}
