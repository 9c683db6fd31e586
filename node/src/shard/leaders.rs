//! Where leaders should be: each shard has a preferred order of successors, and its leader hands
//! over to the first of them once that one has been up to date for a while.
//!
//! Pure: the caller brings what it sees and performs the transfer.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use narthex_cluster::{NodeId, ShardId};

/// A follower with fewer entries to go counts as up to date: it catches up within a heartbeat.
const LAG_ENTRIES_MAX: u64 = 32;
/// How long a follower must have been up to date. Longer than an election, so that a node that
/// restarts again and again is not given what it cannot keep.
const STEADY: Duration = Duration::from_secs(10);

/// A shard that this node leads.
#[derive(Debug, Clone)]
pub struct Led {
    /// Which.
    pub shard: ShardId,
    /// Who should lead it.
    pub preferred: Option<NodeId>,
    /// Entries that each follower lacks.
    pub followers: Vec<(NodeId, u64)>,
}

/// Remembers since when preferred leaders have been up to date.
#[derive(Debug, Default)]
pub struct LeaderBalance {
    steady_since: BTreeMap<ShardId, (NodeId, Instant)>,
}

impl LeaderBalance {
    /// The one transfer to make now, if any: one at a time, so that no moment costs more than one
    /// shard's pause.
    pub fn decide(&mut self, node: NodeId, led: &[Led], now: Instant) -> Option<(ShardId, NodeId)> {
        self.steady_since.retain(|shard, _| led.iter().any(|it| it.shard == *shard));
        let mut transfer = None;
        for shard in led {
            let Some(preferred) = shard.preferred.filter(|preferred| *preferred != node) else {
                self.steady_since.remove(&shard.shard);
                continue;
            };
            let is_up_to_date = shard
                .followers
                .iter()
                .any(|(follower, lag)| *follower == preferred && *lag <= LAG_ENTRIES_MAX);
            if !is_up_to_date {
                self.steady_since.remove(&shard.shard);
                continue;
            }
            let since = self.steady_since.entry(shard.shard).or_insert((preferred, now));
            if since.0 != preferred {
                *since = (preferred, now);
            }
            if transfer.is_none() && now.saturating_duration_since(since.1) >= STEADY {
                transfer = Some((shard.shard, preferred));
            }
        }
        if let Some((shard, _)) = transfer {
            self.steady_since.remove(&shard);
        }
        transfer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led(lag: u64) -> Led {
        Led { shard: ShardId(1), preferred: Some(NodeId(2)), followers: vec![(NodeId(2), lag)] }
    }

    #[test]
    fn a_preferred_follower_leads_once_it_was_up_to_date_for_a_while() {
        #[expect(clippy::disallowed_methods, reason = "any origin will do")]
        let start = Instant::now();
        let mut balance = LeaderBalance::default();
        let later = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(balance.decide(NodeId(1), &[led(0)], start), None);
        assert_eq!(balance.decide(NodeId(1), &[led(99)], later(5)), None);
        assert_eq!(balance.decide(NodeId(1), &[led(0)], later(6)), None);
        assert_eq!(balance.decide(NodeId(1), &[led(0)], later(15)), None);
        let transfer = Some((ShardId(1), NodeId(2)));
        assert_eq!(balance.decide(NodeId(1), &[led(0)], later(16)), transfer);
        assert_eq!(balance.decide(NodeId(1), &[led(0)], later(17)), None);
    }

    #[test]
    fn a_preferred_leader_keeps_its_shard() {
        #[expect(clippy::disallowed_methods, reason = "any origin will do")]
        let start = Instant::now();
        let mut balance = LeaderBalance::default();
        for seconds in 0..60 {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(balance.decide(NodeId(2), &[led(0)], now), None);
        }
    }
}
