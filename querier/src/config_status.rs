//! The configuration as people should know of it.

use std::collections::BTreeMap;

use narthex_model::Timestamp;

/// What a process knows of the scrape configuration in force.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigStatus {
    /// Sections that are valid but have no effect.
    pub inactive: Vec<String>,
    /// Why the last attempt to load it changed nothing; empty if it succeeded.
    pub problem: String,
    /// Since when that is so.
    pub problem_since: Timestamp,
    /// Labels that samples get when they leave the cluster.
    pub external_labels: BTreeMap<String, String>,
    /// All of it as YAML, secrets masked.
    pub yaml: String,
    /// The same of each scrape job, by its name.
    pub pools: BTreeMap<String, String>,
    /// When it was last loaded.
    pub loaded: Timestamp,
}

impl ConfigStatus {
    /// The configuration was refused.
    pub fn fail(&mut self, problem: String, now: Timestamp) {
        self.problem = problem;
        self.problem_since = now;
    }
}
