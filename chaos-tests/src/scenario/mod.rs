//! Scenarios: a cluster, a schedule of faults drawn from a seed, workloads beside it, and what is
//! asked of all that when it is over.
//!
//! A verdict is one of three: *pass*, *fail*, and *unknown* for a run that proves nothing, as the
//! machine stood still, a fault had no effect or hardly anything was written. Unknown is no pass.

mod list;
mod load;
mod run;
mod verdict;

use std::time::Duration;

pub use self::{
    list::all,
    run::{Evidence, Kept, Ran, Report, run},
    verdict::{Finding, Verdict, judge},
};
use crate::{
    bed::Shape,
    faults::{Event, schedule::Draw},
};

/// One of the list.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// As in the plan of all scenarios.
    pub id: &'static str,
    /// What happens, in a line.
    pub title: &'static str,
    /// The cluster it happens to.
    pub shape: Shape,
    /// For how long faults are injected in a full run.
    pub length: Duration,
    /// Draws the schedule.
    pub schedule: fn(&mut Draw) -> Vec<Event>,
    /// What may not be exceeded.
    pub limits: Limits,
}

/// What a scenario is judged by, beside what always holds.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// In which 99 of 100 recoveries are done; the longest in short runs.
    pub resume: Duration,
    /// From the end of the last fault until replicas hold the same.
    pub equal: Duration,
    /// Whether clocks are wrong, so that samples may be refused for their times and scrapes may
    /// have any.
    pub has_wrong_clocks: bool,
    /// Whether everything was planned: no client that tries twice sees an error, no query fails.
    pub is_planned: bool,
    /// Whether what each replica holds is read from it alone, which takes a minute.
    pub reads_replicas: bool,
}

/// Write p99 behind the end of a leader.
const RESUME_MAX: Duration = Duration::from_secs(3);

impl Limits {
    /// Where nothing but the promised times is asked.
    pub const PROMISED: Self = Self {
        resume: RESUME_MAX,
        equal: Duration::from_secs(30),
        has_wrong_clocks: false,
        is_planned: false,
        reads_replicas: false,
    };

    /// The same, and every replica is read.
    #[must_use]
    pub const fn and_replicas(self) -> Self {
        Self { reads_replicas: true, ..self }
    }

    /// The same with more time to take samples again.
    pub const fn resume_within(seconds: u64) -> Self {
        Self { resume: Duration::from_secs(seconds), ..Self::PROMISED }
    }

    /// Where replicas have to be filled from others.
    pub const REFILLED: Self = Self { equal: Duration::from_secs(150), ..Self::PROMISED };
}
