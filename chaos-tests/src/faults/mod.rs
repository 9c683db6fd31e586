//! Faults: which there are, schedules of them, and who injects them.
//!
//! A schedule is drawn from a seed before anything runs, so that a seed repeats it. Whom a fault
//! strikes is named by role ([`Victims`]) and becomes hosts at the moment of the blow.

pub mod injector;
pub mod schedule;

use std::{fmt, time::Duration};

/// What can happen to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Ends without a word; started again when healed.
    Kill,
    /// Asked to end, as at an upgrade; started again when healed.
    Restart,
    /// Does not run, and does not end.
    Freeze,
    /// Hears no node and is heard by none.
    Isolate,
    /// Hears no other node, and is heard.
    Deafen,
    /// Is heard by no other node, and hears them.
    Mute,
    /// Cut off from one other node, while both reach the rest.
    Part,
    /// Its disk gets full.
    FillDisk,
    /// Every sync fails.
    FailSyncs,
    /// Every sync takes so many milliseconds longer.
    HoldSyncs(i64),
    /// Loses power: what was not synced is gone.
    CutPower,
    /// Its wall clock is so many milliseconds off.
    MoveClock(i64),
    /// Loses its disk and comes back as somebody else.
    Replace,
    /// Comes back with the folder it had at an earlier moment, which must be refused.
    OldFolder,
}

impl Fault {
    /// Whether a node that suffers it takes no part in a quorum.
    pub fn silences(self) -> bool {
        !matches!(self, Self::Part | Self::HoldSyncs(_))
    }

    /// Whether all that its end disturbs is disturbed at once: whoever it silences stays silent, and
    /// others take over.
    pub fn strikes_once(self) -> bool {
        self.silences() && self != Self::OldFolder
    }

    /// Whether it is the scenario that ends the process.
    pub fn takes_down(self) -> bool {
        use Fault::{CutPower, FailSyncs, Kill, OldFolder, Replace, Restart};
        matches!(self, Kill | Restart | CutPower | FailSyncs | Replace | OldFolder)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => f.write_str("killed"),
            Self::Restart => f.write_str("restarted"),
            Self::Freeze => f.write_str("frozen"),
            Self::Isolate => f.write_str("isolated"),
            Self::Deafen => f.write_str("deaf"),
            Self::Mute => f.write_str("mute"),
            Self::Part => f.write_str("parted from one"),
            Self::FillDisk => f.write_str("disk full"),
            Self::FailSyncs => f.write_str("syncs fail"),
            Self::HoldSyncs(_) => f.write_str("syncs slow"),
            Self::CutPower => f.write_str("power lost"),
            Self::MoveClock(millis) => write!(f, "clock {:+} s", *millis / 1000),
            Self::Replace => f.write_str("disk lost"),
            Self::OldFolder => f.write_str("old folder"),
        }
    }
}

/// Whom a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victims {
    /// Who leads this shard.
    Leader(u64),
    /// Who leads the control group.
    ControlLeader,
    /// A node that does not lead this shard.
    Follower(u64),
    /// This node.
    Node(usize),
    /// More than half of the nodes, from this one on.
    Majority(usize),
    /// All nodes.
    All,
}

impl fmt::Display for Victims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leader(shard) => write!(f, "leader of shard {shard}"),
            Self::ControlLeader => f.write_str("leader of the control group"),
            Self::Follower(shard) => write!(f, "a follower of shard {shard}"),
            Self::Node(node) => write!(f, "n{node}"),
            Self::Majority(_) => f.write_str("a majority"),
            Self::All => f.write_str("all"),
        }
    }
}

/// One blow of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Since the first moment of the schedule.
    pub at: Duration,
    /// What happens.
    pub fault: Fault,
    /// To whom.
    pub victims: Victims,
    /// For how long.
    pub hold: Duration,
}
