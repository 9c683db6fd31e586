//! A scrape job at work: its configuration with compiled rules and a client.

use std::sync::Arc;

use narthex_model::InvalidRegex;

use super::{
    client::HttpClient,
    page::SampleRules,
    target::{JobTargets, Target, targets_of},
};
use crate::{
    config::{ScrapeConfig, TargetGroup},
    relabel::Rules,
};

/// What all targets of a job share.
#[derive(Debug)]
pub struct Job {
    /// The job's entry in the configuration.
    pub config: ScrapeConfig,
    /// Connections to its targets.
    pub client: HttpClient,
    target_rules: Rules,
    sample_rules: Arc<Rules>,
}

impl Job {
    /// Compiles the rules. Cannot fail for a configuration that was checked.
    pub fn new(config: ScrapeConfig) -> Result<Self, InvalidRegex> {
        Ok(Self {
            client: HttpClient::new(config.client.clone(), config.scrape_interval),
            target_rules: Rules::compile(&config.relabel_configs)?,
            sample_rules: Arc::new(Rules::compile(&config.metric_relabel_configs)?),
            config,
        })
    }

    /// Relabels what discovery found.
    pub fn targets(&self, groups: &[TargetGroup]) -> JobTargets {
        targets_of(&self.config, &self.target_rules, groups)
    }

    /// How samples of `target` are treated.
    pub fn rules_for(&self, target: &Target) -> SampleRules {
        SampleRules {
            target_labels: target.labels.clone(),
            honor_labels: self.config.honor_labels,
            honor_timestamps: self.config.honor_timestamps,
            relabel: self.sample_rules.clone(),
            limits: self.config.limits,
        }
    }
}
