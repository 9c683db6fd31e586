//! Pairs of senders that send the same, and which replica of each is heard.
//!
//! Two Prometheus servers that scrape the same targets send each sample twice, seconds apart.
//! Routers take those of one, the *elected* replica, and report that they hear it. When it has
//! been silent for long enough, the next replica that is reported takes its place.
//!
//! Invariants
//! * a pair has one elected replica at a time, and an election needs a commit: two routers never
//!   hear different replicas for longer than it takes them to learn of one;
//! * a replica that is reported every [`REPORT_MILLIS`] keeps its place.

use narthex_model::Timestamp;

use crate::{ClusterState, Refusal, codec::wire_struct};

/// How often routers report a replica that they hear, in milliseconds.
pub const REPORT_MILLIS: i64 = 5_000;
/// How long a replica is silent before another takes its place, in milliseconds: 30 s, Mimir's
/// time, and what may pass between two reports of one that is not silent.
pub const SILENCE_MILLIS: i64 = 30_000 + REPORT_MILLIS;
/// The most pairs that can be known. Beyond it the one that was silent the longest is forgotten.
pub const PAIRS_MAX: usize = 4096;
/// A pair that was heard within a day is not forgotten.
const FORGOTTEN_MILLIS: i64 = 86_400_000;

/// What is known of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The replica whose samples are taken.
    pub replica: String,
    /// Since when.
    pub elected: Timestamp,
    /// The last report of it.
    pub heard: Timestamp,
}

impl Pair {
    /// Whether another replica would take its place at `now`.
    pub fn is_silent(&self, now: Timestamp) -> bool {
        now.millis().saturating_sub(self.heard.millis()) >= SILENCE_MILLIS
    }
}

/// A replica that a router hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeardReplica {
    /// The pair's name.
    pub pair: String,
    /// The replica's.
    pub replica: String,
}

impl ClusterState {
    /// What is known of a pair of senders.
    pub fn pair(&self, pair: &str) -> Option<&Pair> {
        self.pairs.get(pair)
    }

    /// Whether anything changed.
    pub(crate) fn hear_replicas(&mut self, heard: &[HeardReplica]) -> Result<bool, Refusal> {
        let unknown = heard.iter().filter(|it| !self.pairs.contains_key(&it.pair)).count();
        self.forget_pairs(unknown)?;
        let now = self.time;
        let mut has_changed = false;
        for HeardReplica { pair, replica } in heard {
            match self.pairs.get_mut(pair) {
                Some(known) if known.replica == *replica => {
                    has_changed |= known.heard < now;
                    known.heard = now;
                }
                Some(known) if !known.is_silent(now) => {}
                _ => {
                    let elected = Pair { replica: replica.clone(), elected: now, heard: now };
                    self.pairs.insert(pair.clone(), elected);
                    has_changed = true;
                }
            }
        }
        Ok(has_changed)
    }

    /// Makes room for as many pairs.
    fn forget_pairs(&mut self, wanted: usize) -> Result<(), Refusal> {
        while self.pairs.len() + wanted > PAIRS_MAX {
            let silent = self.pairs.iter().min_by_key(|(_, pair)| pair.heard);
            let silent = silent.filter(|(_, pair)| {
                self.time.millis().saturating_sub(pair.heard.millis()) >= FORGOTTEN_MILLIS
            });
            let Some((name, _)) = silent else {
                return Err(Refusal::TooManyPairs { max: PAIRS_MAX as u64 });
            };
            let name = name.clone();
            self.pairs.remove(&name);
        }
        Ok(())
    }
}

wire_struct!(Pair { replica, elected, heard });
wire_struct!(HeardReplica { pair, replica });

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(state: &mut ClusterState, millis: i64, replica: &str) -> Result<bool, Refusal> {
        state.time = Timestamp::from_millis(millis);
        let heard = HeardReplica { pair: "p".to_owned(), replica: replica.to_owned() };
        state.hear_replicas(&[heard])
    }

    #[test]
    fn another_replica_waits_until_the_elected_one_is_silent() {
        let mut state = ClusterState::new();
        assert_eq!(hear(&mut state, 0, "a"), Ok(true));
        assert_eq!(hear(&mut state, 0, "a"), Ok(false), "nothing new");
        assert_eq!(hear(&mut state, 10_000, "b"), Ok(false));
        assert_eq!(hear(&mut state, 20_000, "a"), Ok(true));
        assert_eq!(hear(&mut state, 20_000 + SILENCE_MILLIS - 1, "b"), Ok(false));
        assert_eq!(state.pair("p").map(|pair| pair.replica.as_str()), Some("a"));
        let switched = 20_000 + SILENCE_MILLIS;
        assert_eq!(hear(&mut state, switched, "b"), Ok(true));
        let at = Timestamp::from_millis(switched);
        let want = Pair { replica: "b".to_owned(), elected: at, heard: at };
        assert_eq!(state.pair("p"), Some(&want));
        assert_eq!(hear(&mut state, switched + 1, "a"), Ok(false), "it comes back too late");
    }

    #[test]
    fn pairs_are_bounded_and_the_silent_go_first() {
        let mut state = ClusterState::new();
        let heard = |from: usize, count: usize| -> Vec<HeardReplica> {
            let of = |i| HeardReplica { pair: format!("p{i}"), replica: "a".to_owned() };
            (from..from + count).map(of).collect()
        };
        assert_eq!(state.hear_replicas(&heard(0, PAIRS_MAX)), Ok(true));
        let refused = Err(Refusal::TooManyPairs { max: PAIRS_MAX as u64 });
        assert_eq!(state.hear_replicas(&heard(PAIRS_MAX, 1)), refused);
        state.time = Timestamp::from_millis(FORGOTTEN_MILLIS);
        assert_eq!(state.hear_replicas(&heard(1, PAIRS_MAX)), Ok(true));
        assert_eq!((state.pairs.len(), state.pair("p0")), (PAIRS_MAX, None));
    }
}
