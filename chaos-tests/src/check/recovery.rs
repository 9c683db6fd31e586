//! How long it took until samples of all shards were taken again, by kind of fault.

use std::{collections::BTreeMap, time::Duration};

use crate::{faults::injector::Injected, stalls::Stalls, wait::millis, writer::Written};

/// A fault is felt until this long after it was healed: leaders are given back.
const AFTERMATH: Duration = Duration::from_secs(3);

/// How writes went on behind one fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumed {
    /// The longest that a batch waited, from the blow, or from its end where it took the quorum.
    pub after: Duration,
    /// Of these milliseconds, those in which the machine stood still.
    pub stalled: i64,
    /// Whether it is measured from the end of the fault.
    pub from_heal: bool,
}

/// How writers went on behind a fault; `None` where another one overlaps it, or one did not go on.
pub fn resumed(
    fault: &Injected,
    all: &[Injected],
    (writers, stalls): (&[Written], &Stalls),
    nodes: usize,
) -> Option<Resumed> {
    let from_heal = !fault.keeps_quorum(nodes);
    let (healed, healed_wall) = fault.healed?;
    let (since, wall) = if from_heal { (healed, healed_wall) } else { (fault.at, fault.wall) };
    let end = healed + AFTERMATH;
    let overlaps = |other: &&Injected| {
        !other.is_passed_over()
            && !std::ptr::eq(*other, fault)
            && other.at < end
            && other.healed.is_none_or(|(healed, _)| healed > since)
    };
    if fault.is_passed_over() || all.iter().any(|other| overlaps(&other)) {
        return None;
    }
    let waits: Option<Vec<_>> = writers.iter().map(|it| it.longest_wait(since, end)).collect();
    let after = waits?.into_iter().max()?;
    Some(Resumed { after, stalled: stalls.within(wall, wall + millis(after)), from_heal })
}

/// Times in the order of their length.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Times(Vec<i64>);

impl Times {
    /// Adds one, in milliseconds.
    pub fn add(&mut self, time: i64) {
        let at = self.0.partition_point(|other| *other <= time);
        self.0.insert(at, time);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The shortest time that so many percent do not exceed; 0 if there is none.
    pub fn percentile(&self, percent: usize) -> i64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or(0)
    }
}

/// What is told of the times of one kind of fault: whether they led what was struck, and from when
/// it is measured.
pub fn kind(fault: &Injected, resumed: &Resumed) -> String {
    let role = match (resumed.from_heal, fault.led) {
        (true, _) => "all that made a quorum, from the end",
        (false, 0) => "a follower of all",
        (false, _) => "a leader",
    };
    format!("{}: {role}", fault.event.fault)
}

/// Recovery times without stalls, by kind.
pub fn by_kind(faults: &[(Injected, Option<Resumed>)]) -> BTreeMap<String, Times> {
    let mut kinds = BTreeMap::<String, Times>::new();
    for (fault, resumed) in faults {
        if let Some(resumed) = resumed {
            let ours = millis(resumed.after) - resumed.stalled;
            kinds.entry(kind(fault, resumed)).or_default().add(ours.max(0));
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let mut times = Times::default();
        assert_eq!(times.percentile(50), 0);
        for time in [30, 10, 20, 40] {
            times.add(time);
        }
        assert_eq!([50, 99, 100].map(|percent| times.percentile(percent)), [20, 40, 40]);
    }
}
