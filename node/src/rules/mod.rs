//! Rules: which group is evaluated when, what its rules come to, and who is told of alerts.
//!
//! The leader of the shard that a group hashes to evaluates it, in slots ([`Schedule`] decides, the
//! runner in `task.rs` performs). What its rules remember is state of that shard, so that whoever leads
//! it next goes on where the last one ended; what they store goes to the shards that it belongs to, as
//! parts of scrapes do.
//!
//! Invariants
//! * a slot of a group is evaluated once, and what it comes to is stored once, whoever leads;
//! * no rule sees an answer that is not whole: where a shard is missing, the evaluation fails and says so;
//! * `for` never restarts: since when an alert is active is in the shard's state.
//!
//! Nothing here evaluates expressions: whoever puts a process together passes in what does.

mod core;
mod delivery;
mod evaluation;
mod groups;
mod metrics;
pub mod notify;
mod report;
mod starting;
mod state;
mod task;

use futures_util::future::BoxFuture;
use narthex_model::Timestamp;
use narthex_promql::VectorElement;

pub use self::{
    core::{Action, Known, Planned, Schedule, Start},
    evaluation::RuleStatus,
    groups::{Group, GroupId, RuleKey, groups_of},
    metrics::{Evaluated, RuleMetrics},
    state::{GroupState, Parcel, RuleMemory, StateError},
};
pub(crate) use self::{
    report::{alertmanagers, group_status},
    starting::{RuleInputs, start},
    task::RulesHandle,
};

/// Answers the expressions of rules.
pub trait RuleQueries: Send + Sync + 'static {
    /// The vector that `query` gives at `time`; a scalar is one element without labels. All of it, or
    /// an error: never what some of the shards have.
    fn query<'a>(
        &'a self,
        query: &'a str,
        time: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<VectorElement>, String>>;
}
