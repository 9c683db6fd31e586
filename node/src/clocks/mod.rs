//! How far the clocks of the cluster's nodes lie apart, and what follows from it.
//!
//! A leader's clock dates scrapes and ends what retention keeps. So a node whose clock is off the
//! cluster's median gives up its leaderships and campaigns for none until it is right again, and
//! no horizon moves before a majority is known to agree with the clock that moves it.
//!
//! `core.rs` judges, `task.rs` asks and acts.

mod core;
mod task;

use std::{collections::BTreeSet, time::Instant};

use narthex_cluster::NodeId;
use narthex_model::Timestamp;
use parking_lot::RwLock;

pub(crate) use task::run;

/// What a node knows of the cluster's clocks, as of one look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clocks {
    /// How far this node's clock is ahead of the median; negative behind it.
    pub ahead_millis: i64,
    /// A majority of the members, this node among them, agree on the time.
    pub agreed: bool,
    /// Nodes that have been off the median for a while.
    pub off: BTreeSet<NodeId>,
}

/// The last look.
#[derive(Debug, Default)]
pub struct ClocksSeen(RwLock<Look>);

#[derive(Debug, Default)]
struct Look {
    clocks: Clocks,
    /// What this node's clock showed, and when.
    at: Option<(Timestamp, Instant)>,
}

impl ClocksSeen {
    /// As of the last look.
    pub fn last(&self) -> Clocks {
        self.0.read().clocks.clone()
    }

    /// Whether `node` is no good as a leader.
    pub fn is_off(&self, node: NodeId) -> bool {
        self.0.read().clocks.off.contains(&node)
    }

    /// The time that a majority agreed on, at `monotonic`. A clock that was set since then does not
    /// matter. Nothing where there was no agreement.
    pub fn agreed_time(&self, monotonic: Instant) -> Option<Timestamp> {
        let look = self.0.read();
        let (shown, at) = look.at.filter(|_| look.clocks.agreed)?;
        let since = monotonic.saturating_duration_since(at).as_millis();
        Some(shown.saturating_add_millis(i64::try_from(since).unwrap_or(i64::MAX)))
    }

    fn put(&self, clocks: Clocks, at: (Timestamp, Instant)) {
        *self.0.write() = Look { clocks, at: Some(at) };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_agreed_time_runs_by_the_monotonic_clock() {
        #[expect(clippy::disallowed_methods, reason = "any origin will do")]
        let origin = Instant::now();
        let seen = ClocksSeen::default();
        assert_eq!(seen.agreed_time(origin), None);
        let shown = Timestamp::from_millis(1_000);
        seen.put(Clocks { agreed: true, ..Clocks::default() }, (shown, origin));
        let later = origin + Duration::from_millis(250);
        assert_eq!(seen.agreed_time(later), Some(Timestamp::from_millis(1_250)));
        seen.put(Clocks::default(), (shown, origin));
        assert_eq!(seen.agreed_time(later), None);
    }
}
