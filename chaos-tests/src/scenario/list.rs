//! All scenarios.

use std::time::Duration;

use super::{Limits, Scenario};
use crate::{
    bed::Shape,
    faults::{Event, Fault, Victims, schedule::Draw},
};

/// In the order in which they run.
pub fn all() -> Vec<Scenario> {
    [processes(), networks(), disks(), folders(), clocks(), larger()].concat()
}

const fn scenario(id: &'static str, title: &'static str, seconds: u64) -> Scenario {
    Scenario {
        id,
        title,
        shape: Shape::THREE,
        length: Duration::from_secs(seconds),
        schedule: kills,
        limits: Limits::PROMISED,
    }
}

/// A node dies, and more often a leader.
fn kills(draw: &mut Draw) -> Vec<Event> {
    draw.rounds((4_000, 8_000), |draw, number| {
        let victims = match number % 3 {
            0 => draw.leader(),
            1 => Victims::ControlLeader,
            _ => draw.node(),
        };
        (Fault::Kill, victims, draw.millis(500, 3_000))
    })
}

fn processes() -> Vec<Scenario> {
    let everything = |draw: &mut Draw| {
        draw.rounds((6_000, 9_000), |draw, _| (Fault::Kill, Victims::All, draw.millis(200, 1_500)))
    };
    let freezes = |draw: &mut Draw| {
        draw.rounds((4_000, 7_000), |draw, number| {
            let victims = if number % 3 == 2 { draw.follower() } else { draw.leader() };
            (Fault::Freeze, victims, draw.millis(1_000, 12_000))
        })
    };
    let rolling = |draw: &mut Draw| {
        draw.rounds((6_000, 7_000), |draw, number| {
            (Fault::Restart, Victims::Node(number % 3 + 1), draw.millis(300, 1_000))
        })
    };
    vec![
        scenario("C01", "one node after the other is killed", 240),
        Scenario {
            schedule: everything,
            limits: Limits::resume_within(10).and_replicas(),
            ..scenario("C03", "all nodes are killed at once", 90)
        },
        Scenario {
            schedule: freezes,
            limits: Limits::resume_within(10),
            ..scenario("C06", "nodes freeze for up to 12 s and wake up with old beliefs", 180)
        },
        Scenario {
            schedule: rolling,
            limits: Limits { is_planned: true, ..Limits::PROMISED },
            ..scenario("C20", "a rolling restart under load", 120)
        },
    ]
}

fn networks() -> Vec<Scenario> {
    let isolations = |draw: &mut Draw| {
        draw.rounds((5_000, 8_000), |draw, number| {
            let victims = if number % 3 == 2 { Victims::ControlLeader } else { draw.leader() };
            (Fault::Isolate, victims, draw.millis(6_000, 12_000))
        })
    };
    let halves = |draw: &mut Draw| {
        draw.rounds((5_000, 8_000), |draw, number| {
            let fault = [Fault::Part, Fault::Deafen, Fault::Mute][number % 3];
            let victims = if number % 2 == 0 { draw.leader() } else { draw.node() };
            (fault, victims, draw.millis(6_000, 12_000))
        })
    };
    vec![
        Scenario {
            schedule: isolations,
            limits: Limits::resume_within(10),
            ..scenario("C04", "a leader is cut off from everybody", 180)
        },
        Scenario {
            schedule: halves,
            limits: Limits::resume_within(15),
            ..scenario("C05", "links fail in one direction, or between two of three", 180)
        },
    ]
}

fn disks() -> Vec<Scenario> {
    let power = |draw: &mut Draw| {
        draw.rounds((7_000, 10_000), |draw, number| {
            let victims = match number % 3 {
                0 => draw.leader(),
                1 => draw.majority(),
                _ => Victims::All,
            };
            (Fault::CutPower, victims, draw.millis(500, 2_000))
        })
    };
    let syncs = |draw: &mut Draw| {
        draw.rounds((6_000, 9_000), |draw, number| {
            let fault = [Fault::FailSyncs, Fault::HoldSyncs(2_000)][number % 2];
            let victims = if number % 4 < 2 { draw.leader() } else { draw.follower() };
            (fault, victims, draw.millis(4_000, 8_000))
        })
    };
    let full = |draw: &mut Draw| {
        draw.rounds((5_000, 8_000), |draw, number| {
            let victims = match number % 3 {
                0 => draw.leader(),
                1 => draw.follower(),
                _ => Victims::All,
            };
            (Fault::FillDisk, victims, draw.millis(8_000, 12_000))
        })
    };
    vec![
        Scenario {
            shape: Shape::DISKS,
            schedule: power,
            limits: Limits::resume_within(15).and_replicas(),
            ..scenario("C08", "power is lost on one node, a majority, all", 180)
        },
        Scenario {
            shape: Shape::SWITCHES,
            schedule: syncs,
            limits: Limits::resume_within(15),
            ..scenario("C11", "syncs fail, or take two seconds", 120)
        },
        Scenario {
            shape: Shape::DISKS,
            schedule: full,
            limits: Limits::resume_within(5),
            ..scenario("C12", "disks get full and have room again", 180)
        },
    ]
}

/// Nodes whose folders are not what they were.
fn folders() -> Vec<Scenario> {
    let lost = |draw: &mut Draw| {
        draw.rounds((30_000, 40_000), |draw, _| {
            (Fault::Replace, draw.node(), draw.millis(500, 900))
        })
    };
    // Replicas of a lost disk are filled from 10 s on, when it counts as lost; leaders die meanwhile.
    let filled = |draw: &mut Draw| {
        let mut events = Vec::new();
        let mut add = |at: Duration, fault, victims, hold| {
            events.push(Event { at, fault, victims, hold });
        };
        add(Duration::from_secs(1), Fault::Replace, draw.node(), draw.millis(500, 900));
        add(draw.millis(11_500, 14_000), Fault::Kill, draw.leader(), draw.millis(200, 800));
        add(
            draw.millis(18_000, 20_000),
            Fault::Kill,
            Victims::ControlLeader,
            draw.millis(200, 800),
        );
        events
    };
    let old = |draw: &mut Draw| {
        draw.rounds((8_000, 9_000), |draw, _| {
            (Fault::OldFolder, draw.node(), draw.millis(6_000, 8_000))
        })
    };
    vec![
        Scenario {
            schedule: lost,
            limits: Limits::REFILLED,
            ..scenario("C13", "a disk is lost, and its node comes back as somebody else", 60)
        },
        Scenario {
            schedule: filled,
            // A shard whose third replica is being filled has no quorum without its leader.
            limits: Limits { resume: Duration::from_secs(15), ..Limits::REFILLED },
            ..scenario("C14", "leaders are killed while replicas are filled from checkpoints", 30)
        },
        Scenario { schedule: old, ..scenario("C13b", "a node comes back with an old folder", 60) },
    ]
}

fn clocks() -> Vec<Scenario> {
    const JUMPS: [i64; 6] = [5_000, -5_000, 7_200_000, -7_200_000, 31_536_000_000, -900_000];
    let one = |draw: &mut Draw| {
        draw.rounds((9_000, 11_000), |draw, _| {
            (Fault::MoveClock(draw.one_of(&JUMPS)), draw.leader(), draw.millis(8_000, 14_000))
        })
    };
    let all = |draw: &mut Draw| {
        draw.rounds((9_000, 11_000), |draw, _| {
            (Fault::MoveClock(draw.one_of(&JUMPS[..4])), Victims::All, draw.millis(8_000, 14_000))
        })
    };
    let limits = Limits { has_wrong_clocks: true, ..Limits::resume_within(15) };
    vec![
        Scenario {
            shape: Shape::SWITCHES,
            schedule: one,
            limits,
            ..scenario("C16", "the clock of a leader jumps by seconds, hours, a year", 120)
        },
        Scenario {
            shape: Shape::SWITCHES,
            schedule: all,
            limits,
            ..scenario("C16b", "the clocks of all nodes jump together", 90)
        },
    ]
}

/// Five nodes with 24 shards, and what comes as it comes.
fn larger() -> Vec<Scenario> {
    const ANY: [Fault; 7] = [
        Fault::Kill,
        Fault::Kill,
        Fault::Restart,
        Fault::Freeze,
        Fault::Isolate,
        Fault::Deafen,
        Fault::Part,
    ];
    let storm = |draw: &mut Draw| draw.storm(&ANY, (1_500, 8_000));
    vec![
        Scenario {
            shape: Shape::FIVE,
            ..scenario("C01five", "five nodes with 24 shards, killed one after the other", 120)
        },
        Scenario {
            schedule: storm,
            limits: Limits::resume_within(30),
            ..scenario("S03", "random faults that overlap, on three nodes", 300)
        },
        Scenario {
            shape: Shape::FIVE,
            schedule: storm,
            limits: Limits::resume_within(30),
            ..scenario("S05", "random faults that overlap, on five nodes with 24 shards", 300)
        },
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_scenario_has_a_name_and_faults() {
        let all = all();
        let ids: BTreeSet<_> = all.iter().map(|it| it.id).collect();
        assert_eq!(ids.len(), all.len());
        for it in &all {
            let events = (it.schedule)(&mut Draw::new(1, it.shape, it.length));
            assert!(!events.is_empty(), "{}", it.id);
            let end = events.iter().map(|event| event.at + event.hold).max().expect("some");
            assert!(end <= it.length, "{}: {end:?}", it.id);
        }
    }

    #[test]
    fn all_of_them_fit_into_their_time() {
        let seconds: u64 = all().iter().map(|it| it.length.as_secs()).sum();
        // Each founds a cluster and reads everything back, about half a minute.
        assert!(seconds + 40 * all().len() as u64 <= 90 * 60, "{seconds}");
    }
}
