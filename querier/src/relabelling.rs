//! What the rules of a scrape job make of labels, one rule after the other. Whoever knows the
//! configuration works it out.

use std::{fmt, sync::Arc};

use narthex_model::Labels;

/// A rule as files have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelabelRule {
    /// Labels whose values are joined and matched.
    pub source_labels: Vec<String>,
    /// What stands between them.
    pub separator: String,
    /// What the joined values must match.
    pub regex: String,
    /// For `hashmod`; 0: not given.
    pub modulus: u64,
    /// The label that is written or compared.
    pub target_label: String,
    /// What is written.
    pub replacement: String,
    /// What the rule does.
    pub action: &'static str,
}

/// What came of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelabelStep {
    /// The rule.
    pub rule: RelabelRule,
    /// The labels behind it; `None`: it dropped them, and no other rule follows.
    pub output: Option<Labels>,
}

type Work = dyn Fn(&str, &Labels) -> Option<Vec<RelabelStep>> + Send + Sync;

/// Works out what a job's rules make of labels. Default: no job is known.
#[derive(Clone, Default)]
pub struct Relabelling(Option<Arc<Work>>);

impl Relabelling {
    /// `work` is given a job's name and labels; `None` is for a job that is not known.
    pub fn new(
        work: impl Fn(&str, &Labels) -> Option<Vec<RelabelStep>> + Send + Sync + 'static,
    ) -> Self {
        Self(Some(Arc::new(work)))
    }

    /// The steps of a job's rules; `None` if the job is not known.
    pub fn steps(&self, job: &str, labels: &Labels) -> Option<Vec<RelabelStep>> {
        self.0.as_ref().and_then(|work| work(job, labels))
    }
}

impl fmt::Debug for Relabelling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Relabelling").field(&self.0.is_some()).finish()
    }
}
