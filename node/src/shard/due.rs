//! Which shards are due for a checkpoint. Decided by what a restart would have to replay, not by
//! the clock.
//!
//! Pure: `checkpointer.rs` performs it.

use std::time::Duration;

use narthex_cluster::ShardId;

/// What a shard's log holds beyond its last checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Which shard.
    pub shard: ShardId,
    /// Samples applied since the last checkpoint.
    pub samples: u64,
    /// Bytes of entries applied since the last checkpoint.
    pub bytes: u64,
    /// Since when there has been anything to write; zero where there is nothing.
    pub age: Duration,
    /// Whether the shard's log is over its budget, and waits for a checkpoint to be purged.
    pub is_log_over: bool,
}

/// Bounds on what a node has to replay when it starts.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Samples behind checkpoints, all shards of the node together. Default 6 million: about half
    /// a second of replay.
    pub samples_max: u64,
    /// The same in bytes of log. Default 128 MiB.
    pub bytes_max: u64,
    /// Any single shard, so that an idle one releases its log. Default 5 min.
    pub age_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { samples_max: 6_000_000, bytes_max: 128 << 20, age_max: Duration::from_secs(300) }
    }
}

/// The shards to write now: those that are too old, and the largest ones until what is left is
/// within half of the bounds, so that checkpoints come one by one and not all at once.
pub fn due(backlogs: &[Backlog], limits: &Limits) -> Vec<ShardId> {
    let mut left: Vec<&Backlog> = backlogs.iter().filter(|it| it.bytes > 0).collect();
    left.sort_by_key(|it| (it.samples, it.bytes, it.shard));
    let mut samples: u64 = left.iter().map(|it| it.samples).sum();
    let mut bytes: u64 = left.iter().map(|it| it.bytes).sum();
    let is_over = samples > limits.samples_max || bytes > limits.bytes_max;
    let mut chosen = Vec::new();
    while let Some(largest) = left.pop() {
        let is_heavy =
            is_over && (samples > limits.samples_max / 2 || bytes > limits.bytes_max / 2);
        if is_heavy || largest.is_log_over || largest.age >= limits.age_max {
            samples -= largest.samples;
            bytes -= largest.bytes;
            chosen.push(largest.shard);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { samples_max: 100, bytes_max: 1_000, age_max: Duration::from_secs(300) };

    fn backlog(shard: u32, samples: u64, age_s: u64) -> Backlog {
        let age = Duration::from_secs(age_s);
        let (shard, bytes) = (ShardId(shard), samples * 5);
        Backlog { shard, samples, bytes, age, is_log_over: false }
    }

    #[test]
    fn nothing_is_due_below_the_bounds() {
        assert_eq!(due(&[backlog(0, 50, 10), backlog(1, 50, 10)], &LIMITS), []);
    }

    #[test]
    fn the_largest_are_written_until_half_is_left() {
        let backlogs = [backlog(0, 20, 1), backlog(1, 60, 1), backlog(2, 30, 1)];
        assert_eq!(due(&backlogs, &LIMITS), [ShardId(1)]);
    }

    #[test]
    fn one_whose_log_is_over_its_budget_is_due() {
        let over = Backlog { is_log_over: true, ..backlog(1, 1, 1) };
        assert_eq!(due(&[backlog(0, 9, 1), over], &LIMITS), [ShardId(1)]);
    }

    #[test]
    fn an_old_one_is_due_however_small() {
        let backlogs = [backlog(0, 1, 300), backlog(1, 2, 299)];
        assert_eq!(due(&backlogs, &LIMITS), [ShardId(0)]);
        assert_eq!(due(&[Backlog { bytes: 0, ..backlog(0, 0, 900) }], &LIMITS), []);
    }
}
