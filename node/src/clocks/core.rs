//! Judges clocks by what was heard of them.
//!
//! A clock that was read somewhere else lies between two bounds: the answer was given after the
//! question and before it arrived. Only what the bounds leave no doubt about counts, so that slow
//! networks and busy machines convict nobody.
//!
//! Pure: no clock is read here.

use std::collections::{BTreeMap, BTreeSet};

use narthex_cluster::NodeId;
use narthex_model::Timestamp;

use super::Clocks;

/// A clock further from the median than this is off.
const OFF_MILLIS: i64 = 500;
/// Looks in a row that must find a clock off: one alone may have met the moment at which a clock
/// was set.
const LOOKS_UNTIL_OFF: u32 = 3;

/// How far another node's clock is ahead of ours, at least and at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// At least.
    pub least_millis: i64,
    /// At most.
    pub most_millis: i64,
}

impl Bounds {
    const OURS: Self = Self { least_millis: 0, most_millis: 0 };

    /// From a question asked at `asked`, answered with the other clock's time, heard at `heard`.
    /// Nothing where our own clock was set back in between.
    pub fn new(asked: Timestamp, theirs: Timestamp, heard: Timestamp) -> Option<Self> {
        let (least_millis, most_millis) = (theirs.millis_since(heard), theirs.millis_since(asked));
        (least_millis <= most_millis).then_some(Self { least_millis, most_millis })
    }

    /// Whether the two clocks are certainly further apart than is allowed.
    fn is_apart(self, other: Self) -> bool {
        self.least_millis.saturating_sub(other.most_millis) > OFF_MILLIS
            || other.least_millis.saturating_sub(self.most_millis) > OFF_MILLIS
    }
}

/// Remembers how often in a row each clock was found off.
#[derive(Debug, Default)]
pub struct Judge {
    looks_off: BTreeMap<NodeId, u32>,
}

impl Judge {
    /// What one look at the others tells `own`, in a cluster of `members` nodes.
    pub fn look(
        &mut self,
        own: NodeId,
        members: usize,
        others: &BTreeMap<NodeId, Bounds>,
    ) -> Clocks {
        let median = median(others);
        let clocks =
            || others.iter().map(|(&node, &clock)| (node, clock)).chain([(own, Bounds::OURS)]);
        let off = clocks().filter(|(_, clock)| median.is_some_and(|median| clock.is_apart(median)));
        let off: BTreeSet<NodeId> = off.map(|(node, _)| node).collect();
        self.looks_off.retain(|node, _| off.contains(node));
        off.iter().for_each(|node| *self.looks_off.entry(*node).or_default() += 1);
        let with_us = clocks().filter(|(_, clock)| !clock.is_apart(Bounds::OURS)).count();
        let middle = median.unwrap_or(Bounds::OURS);
        Clocks {
            ahead_millis: -(middle.least_millis.midpoint(middle.most_millis)),
            agreed: with_us > members / 2,
            off: off.into_iter().filter(|node| self.looks_off[node] >= LOOKS_UNTIL_OFF).collect(),
        }
    }
}

/// Where the median of all clocks, ours included, lies for certain. Two clocks have none: nobody
/// could say which of them is wrong.
fn median(others: &BTreeMap<NodeId, Bounds>) -> Option<Bounds> {
    let clocks = others.len() + 1;
    if clocks < 3 {
        return None;
    }
    let sorted = |bound: fn(&Bounds) -> i64| {
        let mut bounds: Vec<i64> = others.values().chain([&Bounds::OURS]).map(bound).collect();
        bounds.sort_unstable();
        bounds
    };
    let (least, most) = (sorted(|clock| clock.least_millis), sorted(|clock| clock.most_millis));
    // Of an even number, both in the middle.
    Some(Bounds { least_millis: least[(clocks - 1) / 2], most_millis: most[clocks / 2] })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: NodeId = NodeId(1);

    fn others(clocks: &[(i64, i64)]) -> BTreeMap<NodeId, Bounds> {
        let bounds = |&(least_millis, most_millis)| Bounds { least_millis, most_millis };
        (2..).map(NodeId).zip(clocks.iter().map(bounds)).collect()
    }

    /// The verdict after so many equal looks.
    fn after(looks: u32, members: usize, clocks: &[(i64, i64)]) -> Clocks {
        let mut judge = Judge::default();
        let mut last = Clocks::default();
        for _ in 0..looks {
            last = judge.look(OWN, members, &others(clocks));
        }
        last
    }

    fn off(nodes: &[u64]) -> BTreeSet<NodeId> {
        nodes.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn a_clock_that_is_off_is_convicted_after_three_looks() {
        let ahead = [(0, 4), (90_000, 90_004)];
        assert_eq!(after(2, 3, &ahead).off, off(&[]));
        assert_eq!(after(3, 3, &ahead).off, off(&[3]));
        assert!(after(1, 3, &ahead).agreed, "two of three agree");
        let own_is_off = after(3, 3, &[(-90_004, -90_000), (-90_002, -90_000)]);
        assert_eq!((own_is_off.off, own_is_off.agreed), (off(&[1]), false));
        assert_eq!(own_is_off.ahead_millis, 90_001);
    }

    #[test]
    fn a_good_look_acquits() {
        let mut judge = Judge::default();
        for _ in 0..5 {
            judge.look(OWN, 3, &others(&[(0, 1), (9_000, 9_001)]));
        }
        assert_eq!(judge.look(OWN, 3, &others(&[(0, 1), (400, 401)])).off, off(&[]));
        assert_eq!(judge.look(OWN, 3, &others(&[(0, 1), (9_000, 9_001)])).off, off(&[]));
    }

    #[test]
    fn slow_answers_convict_nobody() {
        let slow = after(9, 3, &[(-4_000, 300), (-100, 4_000)]);
        assert_eq!((slow.off, slow.agreed), (off(&[]), true));
        assert_eq!(Bounds::new(at(9), at(20), at(8)), None, "our clock was set back");
        let bounds = Bounds { least_millis: 10, most_millis: 15 };
        assert_eq!(Bounds::new(at(5), at(20), at(10)), Some(bounds));
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn two_clocks_that_differ_agree_on_nothing_and_convict_nobody() {
        let apart = after(9, 3, &[(90_000, 90_001)]);
        assert_eq!((apart.off, apart.agreed), (off(&[]), false));
        assert!(after(1, 3, &[(100, 101)]).agreed);
        assert!(!after(1, 3, &[]).agreed, "one of three is no majority");
        assert!(after(1, 1, &[]).agreed, "a node alone has only its own");
    }

    #[test]
    fn of_four_clocks_the_two_in_the_middle_count() {
        let clocks = after(3, 5, &[(0, 1), (400, 401), (5_000, 5_001)]);
        assert_eq!((clocks.off, clocks.agreed), (off(&[4]), true));
    }
}
