//! Service discovery: which targets a job has now.
//!
//! What a configuration lists stands still; what files list is read again as they change. The
//! groups of a job go to whoever relabels them into targets ([`crate::scrape`]).
//!
//! Invariants
//! * a file that cannot be read or understood keeps the groups it had; one that is gone has none;
//! * [`JobGroups::is_synced`] says whether every source was read at least once: until then the
//!   absence of a target means nothing.

mod file;
mod metrics;
mod task;

use std::{collections::BTreeMap, sync::Arc};

pub use file::{FileError, FileGroups, read_groups};
pub use metrics::DiscoveryMetrics;
pub use task::{Discovery, DiscoveryHandle};

use crate::config::TargetGroup;

/// What is known of every job, by its name.
pub type Discovered = BTreeMap<String, Arc<JobGroups>>;

/// The target groups of one job.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JobGroups {
    /// Groups in the order of the configuration.
    pub groups: Vec<TargetGroup>,
    /// Every source was read at least once.
    pub is_synced: bool,
    /// Files that could not be read, with the reason.
    pub problems: Vec<String>,
}
