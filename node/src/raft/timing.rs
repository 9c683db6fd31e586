//! When leaders speak and when followers lose patience.

use std::time::Duration;

use openraft::{Config, SnapshotPolicy};

/// Timing of every raft group of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RaftTiming {
    /// Pause between a leader's heartbeats. Default 150 ms.
    pub heartbeat_interval: Duration,
    /// Least random part of the silence after which a follower campaigns. Default 400 ms.
    pub election_timeout_min: Duration,
    /// Most of it, and the length of a leader's lease, which a follower waits out before the random
    /// part begins. Default 700 ms: a follower campaigns after 1.1–1.4 s of silence, 20 times the
    /// slowest sync seen.
    pub election_timeout_max: Duration,
}

impl Default for RaftTiming {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_millis(150),
            election_timeout_min: Duration::from_millis(400),
            election_timeout_max: Duration::from_millis(700),
        }
    }
}

impl RaftTiming {
    /// How long a leader may rely on the last time a majority heard it.
    pub fn lease(&self) -> Duration {
        self.election_timeout_max
    }

    /// The silence after which a follower campaigns, shortest and longest.
    pub fn silence(&self) -> (Duration, Duration) {
        (self.lease() + self.election_timeout_min, self.lease() + self.election_timeout_max)
    }

    pub(super) fn config(&self) -> Config {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Config {
            cluster_name: "narthex".to_owned(),
            heartbeat_interval: millis(self.heartbeat_interval),
            election_timeout_min: millis(self.election_timeout_min),
            election_timeout_max: millis(self.election_timeout_max),
            // An answered append says all that a heartbeat would: a busy group needs none.
            heartbeat_min_interval: Some(millis(self.heartbeat_interval * 4 / 5)),
            // Purging is ours alone: openraft never builds or sends a snapshot by itself.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            replication_lag_threshold: u64::MAX,
            // One append must not become larger than the log thread's batch.
            max_append_entries: Some(1024),
            enable_pre_vote: Some(true),
            // A restarted leader's state may be older than what it has answered reads from.
            enable_leader_restore: Some(false),
            ..Config::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_what_openraft_accepts() {
        let timing = RaftTiming::default();
        assert!(timing.config().validate().is_ok());
        assert_eq!(timing.silence(), (Duration::from_millis(1100), Duration::from_millis(1400)));
    }
}
