//! Since when a leader is known to lead: when what was sent that a majority has answered.
//!
//! Openraft counts that, too, but takes one answer for the answer to every append under way that
//! ends at the same entry, those sent after it as well (`InflightAppendQueue::drain_acked`): late
//! answers renew the lease of a leader that nobody hears any more, and it reads old state. Here
//! each answer counts for what it answers.
//!
//! Invariants
//! * a time is that of an append of this leader's term which the peer has got and not refused.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::types::NodeId;

/// Of each peer the newest append that it has answered: its term, and when it was sent.
#[derive(Debug, Default)]
pub struct Heard {
    peers: Mutex<BTreeMap<NodeId, (u64, Instant)>>,
    news: Notify,
}

/// The present.
#[expect(clippy::disallowed_methods, reason = "compared with timers of the runtime, as leases are")]
pub fn now() -> Instant {
    Instant::now()
}

impl Heard {
    /// `peer` has answered an append of `term` that left at `sent`.
    pub fn note(&self, peer: NodeId, term: u64, sent: Instant) {
        let mut peers = self.peers.lock();
        let newest = peers.entry(peer).or_insert((term, sent));
        *newest = (term, sent).max(*newest);
        drop(peers);
        self.news.notify_waiters();
    }

    /// The time at which `me` is known to have led in `term`: a majority of each of `configs` has
    /// answered what was sent then, or later. Of a group of one that is now.
    pub fn led_at(&self, me: NodeId, term: u64, configs: &[BTreeSet<NodeId>]) -> Option<Instant> {
        let (now, peers) = (now(), self.peers.lock());
        let answered = |voter: &NodeId| match peers.get(voter) {
            _ if *voter == me => Some(now),
            Some((its, sent)) if *its == term => Some(*sent),
            _ => None,
        };
        let of_config = |voters: &BTreeSet<NodeId>| {
            let mut times: Vec<_> = voters.iter().map(answered).collect();
            times.sort_unstable();
            // Who has not answered stands in front.
            times.get(times.len().checked_sub(times.len() / 2 + 1)?).copied().flatten()
        };
        configs.iter().map(of_config).min().flatten()
    }

    /// Returns once `led_at` gives a time from `since` on.
    pub async fn led_since(&self, since: Instant, led_at: impl Fn() -> Option<Instant>) {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if led_at().is_some_and(|at| at >= since) {
                return;
            }
            news.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_majority_of_each_configuration_counts() {
        let heard = Heard::default();
        let voters = |nodes: &[NodeId]| nodes.iter().copied().collect::<BTreeSet<_>>();
        let (three, other) = (voters(&[1, 2, 3]), voters(&[2, 3, 4]));
        let led = |term, configs: &[BTreeSet<NodeId>]| heard.led_at(1, term, configs);
        let step = || tokio::time::advance(Duration::from_millis(10));
        let first = now();
        assert_eq!(led(1, &[voters(&[1])]), Some(first), "a group of one");
        assert_eq!(led(1, std::slice::from_ref(&three)), None);
        step().await;
        heard.note(2, 1, first);
        assert_eq!(led(1, std::slice::from_ref(&three)), Some(first));
        assert_eq!(led(2, std::slice::from_ref(&three)), None, "an older term's");
        assert_eq!(led(1, &[three.clone(), other.clone()]), None);
        let second = now();
        heard.note(3, 1, second);
        assert_eq!(led(1, std::slice::from_ref(&three)), Some(second));
        assert_eq!(led(1, &[three.clone(), other.clone()]), Some(first));
        step().await;
        heard.note(3, 1, first);
        assert_eq!(led(1, std::slice::from_ref(&three)), Some(second), "an answer out of order");
        heard.note(2, 2, now());
        assert_eq!(led(2, &[three, other]), None, "only one of them has answered in this term");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_told() {
        let heard = Heard::default();
        let voters = [BTreeSet::from([1, 2, 3])];
        let since = now();
        let waiting = heard.led_since(since, || heard.led_at(1, 1, &voters));
        let answer = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            heard.note(2, 1, since - Duration::from_millis(1));
            tokio::time::sleep(Duration::from_millis(5)).await;
            heard.note(3, 1, since);
        };
        tokio::join!(waiting, answer);
        assert_eq!(now() - since, Duration::from_millis(10));
    }
}
