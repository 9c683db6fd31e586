//! Schedules, drawn from a seed. Equal seeds give equal schedules.

use std::time::Duration;

use super::{Event, Fault, Victims};
use crate::bed::Shape;

/// Where a schedule's numbers come from.
pub struct Draw {
    numbers: fastrand::Rng,
    shape: Shape,
    length: Duration,
}

/// What one round of a schedule does, and for how long.
pub type Round = (Fault, Victims, Duration);

impl Draw {
    /// Draws from `seed` for a run of this length.
    pub fn new(seed: u64, shape: Shape, length: Duration) -> Self {
        Self { numbers: fastrand::Rng::with_seed(seed), shape, length }
    }

    /// A time between two, in milliseconds.
    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.numbers.u64(from..=to))
    }

    /// Any node.
    pub fn node(&mut self) -> Victims {
        Victims::Node(self.numbers.usize(1..=self.shape.nodes))
    }

    /// The leader of any shard.
    pub fn leader(&mut self) -> Victims {
        Victims::Leader(self.shard())
    }

    /// A follower of any shard.
    pub fn follower(&mut self) -> Victims {
        Victims::Follower(self.shard())
    }

    /// More than half of the nodes.
    pub fn majority(&mut self) -> Victims {
        Victims::Majority(self.numbers.usize(1..=self.shape.nodes))
    }

    fn shard(&mut self) -> u64 {
        self.numbers.u64(0..self.shape.shards as u64)
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        *self.numbers.choice(choices).expect("there is something to choose from")
    }

    /// One blow after the other, with time to recover behind each that is healed.
    pub fn rounds(
        &mut self,
        recover_millis: (u64, u64),
        mut round: impl FnMut(&mut Self, usize) -> Round,
    ) -> Vec<Event> {
        let (mut events, mut at) = (Vec::new(), self.millis(500, 1500));
        for number in 0.. {
            let (fault, victims, hold) = round(self, number);
            if at + hold > self.length && number > 0 {
                break;
            }
            events.push(Event { at, fault, victims, hold });
            at += hold + self.millis(recover_millis.0, recover_millis.1);
        }
        events
    }

    /// Blows that overlap, as they come: of any of these kinds, on any node.
    pub fn storm(&mut self, faults: &[Fault], gap_millis: (u64, u64)) -> Vec<Event> {
        let (mut events, mut at) = (Vec::new(), self.millis(500, 1500));
        loop {
            let (fault, hold) = (self.one_of(faults), self.millis(1_000, 12_000));
            let kind = self.numbers.u8(0..10);
            let victims = match kind {
                0 => Victims::ControlLeader,
                1..=5 => self.leader(),
                _ => self.node(),
            };
            if at + hold > self.length && !events.is_empty() {
                return events;
            }
            events.push(Event { at, fault, victims, hold });
            at += self.millis(gap_millis.0, gap_millis.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kills(seed: u64) -> Vec<Event> {
        let mut draw = Draw::new(seed, Shape::FIVE, Duration::from_secs(120));
        draw.rounds((3_000, 8_000), |draw, _| (Fault::Kill, draw.node(), draw.millis(1_000, 2_000)))
    }

    #[test]
    fn a_seed_repeats_its_schedule() {
        assert_eq!(kills(7), kills(7));
        assert_ne!(kills(7), kills(8));
    }

    #[test]
    fn rounds_do_not_overlap_and_end_in_time() {
        let events = kills(3);
        assert!(events.len() > 10, "{events:?}");
        for pair in events.windows(2) {
            assert!(pair[0].at + pair[0].hold + Duration::from_secs(3) <= pair[1].at, "{pair:?}");
        }
        let last = events.last().expect("some");
        assert!(last.at + last.hold <= Duration::from_secs(120), "{last:?}");
    }

    #[test]
    fn a_storm_overlaps() {
        let mut draw = Draw::new(5, Shape::THREE, Duration::from_secs(60));
        let events = draw.storm(&[Fault::Kill, Fault::Freeze, Fault::Isolate], (500, 3_000));
        assert!(events.windows(2).any(|pair| pair[0].at + pair[0].hold > pair[1].at), "{events:?}");
    }
}
