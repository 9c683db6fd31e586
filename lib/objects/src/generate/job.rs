//! What all jobs have.

use narthex_cluster::Object;
use serde_json::{Value, json};

use super::{
    Config, Instance, Job, limits,
    step::{self, Step},
};
use crate::{
    targets::{Discovery, Group},
    types::{Limits, Relabeling, ScrapeClass},
};

/// The Operator's default, not Prometheus's.
const SCRAPE_INTERVAL: &str = "30s";

/// A job under construction.
pub(super) struct Draft<'a> {
    pub instance: &'a Instance<'a>,
    pub object: &'a Object,
    /// The object's kind in lists of exclusions, such as `servicemonitors`.
    pub resource: &'a str,
    pub class: &'a ScrapeClass,
    pub config: Config,
}

impl Draft<'_> {
    /// How often, and how long a scrape may take.
    pub(super) fn timing(&mut self, interval: &str, timeout: &str) {
        let spec = &self.instance.spec;
        let or = |texts: &[&str]| texts.iter().find(|it| !it.is_empty()).map(|it| (*it).to_owned());
        let interval = or(&[interval, &spec.scrape_interval, SCRAPE_INTERVAL]);
        let timeout_ = or(&[timeout]).or_else(|| {
            // One that all share is cut to a shorter interval instead of refusing it.
            let read = |text: &str| narthex_model::duration::parse(text).ok();
            let general = read(&spec.scrape_timeout)?;
            let interval = read(interval.as_deref()?)?;
            Some(narthex_model::duration::format(general.min(interval)))
        });
        self.config.extend(interval.map(|text| ("scrape_interval", Value::String(text))));
        self.config.extend(timeout_.map(|text| ("scrape_timeout", Value::String(text))));
    }

    /// Whether labels and timestamps of pages count.
    pub(super) fn honor(&mut self, labels: bool, timestamps: Option<bool>) {
        let spec = &self.instance.spec;
        self.config.insert("honor_labels", (labels && !spec.override_honor_labels).into());
        let timestamps = if spec.override_honor_timestamps { Some(false) } else { timestamps };
        self.config.extend(timestamps.map(|honor| ("honor_timestamps", honor.into())));
    }

    /// Sets a text where there is one.
    pub(super) fn text(&mut self, name: &'static str, text: &str) {
        if !text.is_empty() {
            self.config.insert(name, text.into());
        }
    }

    pub(super) fn limits(&mut self, own: &Limits) {
        limits::put(&mut self.config, own, &self.instance.spec);
    }

    /// What a target's page is read as where it does not say.
    pub(super) fn fallback(&mut self, own: &str) {
        let class = &self.class.fallback_scrape_protocol;
        self.text("fallback_scrape_protocol", if own.is_empty() { class } else { own });
    }

    /// Steps of the class, then those of users, then the enforced label.
    pub(super) fn last_steps(&self, users: &[Relabeling]) -> Vec<Step> {
        let rules = self.class.relabelings.iter().chain(users);
        rules.map(Step::from).chain(self.enforced()).collect()
    }

    /// The step that marks what a monitor brings with its namespace.
    pub(super) fn enforced(&self) -> Option<Step> {
        let (label, namespace) = self.instance.enforced_label(self.object, self.resource)?;
        Some(step::set(label, namespace))
    }

    pub(super) fn metric_steps(&mut self, users: &[Relabeling]) {
        let mut steps: Vec<Step> = self.class.metric_relabelings.iter().map(Step::from).collect();
        steps.extend(users.iter().map(Step::from));
        steps.extend(self.enforced());
        if !steps.is_empty() {
            self.config.insert("metric_relabel_configs", json!(steps));
        }
    }

    /// The finished job.
    pub(super) fn finish(mut self, name: String, steps: &[Step], discoveries: &[Discovery]) -> Job {
        self.config.insert("job_name", name.as_str().into());
        self.config.insert("relabel_configs", json!(steps));
        let groups: Vec<Group> = discoveries
            .iter()
            .flat_map(|discovery| self.instance.inventory.groups(discovery))
            .collect();
        let config = self.config.into_iter().map(|(name, value)| (name.to_owned(), value));
        let config = Value::Object(config.collect());
        Job { name, object: self.object.key.clone(), config, groups }
    }
}
