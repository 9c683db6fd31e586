//! From objects to scrape jobs, as the Operator generates them: which monitors a `Prometheus`
//! selects, what each becomes in a `prometheus.yml`, and where its targets are.
//!
//! Two things differ. Jobs have no sharding steps, because the cluster spreads targets itself; and a
//! monitor that two `Prometheus` objects select is scraped once, for the first of them by name:
//! there is one set of series.

mod client;
mod job;
mod limits;
mod monitor;
mod probe;
mod scrape_config;
mod step;

use std::collections::{BTreeMap, BTreeSet};

use narthex_cluster::{Object, ObjectKey, Objects};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    Kind, document,
    manifest::parse_body,
    select::{Namespaces, is_selected},
    targets::Inventory,
    types::{Excluded, KeyReference, LabelSelector, PrometheusSpec, ScrapeClass},
};

pub use crate::targets::Group;

/// What follows from all objects.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Generated {
    /// In the Operator's order; each name once.
    pub jobs: Vec<Job>,
    /// Objects that were selected and cannot be used.
    pub rejected: Vec<Rejected>,
}

/// A scrape job.
#[derive(Clone, PartialEq)]
pub struct Job {
    /// Such as `serviceMonitor/NAMESPACE/NAME/0`.
    pub name: String,
    /// What it was made of.
    pub object: ObjectKey,
    /// An entry of `scrape_configs` without discovery in Kubernetes. Holds secrets.
    pub config: Value,
    /// What discovery in Kubernetes would find.
    pub groups: Vec<Group>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("name", &self.name).finish_non_exhaustive()
    }
}

/// An object that is not in force, though something selects it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Which.
    pub object: ObjectKey,
    /// What selects it.
    pub by: ObjectKey,
    /// Why not.
    pub reason: String,
}

/// The jobs of all `Prometheus` objects.
pub fn generate(objects: &Objects) -> Generated {
    let inventory = Inventory::of(objects);
    let namespaces = Namespaces::of(objects);
    let mut generated = Generated::default();
    let mut names = BTreeSet::new();
    for prometheus in of_kind(objects, Kind::Prometheus) {
        let spec: PrometheusSpec = match spec(prometheus) {
            Ok(spec) => spec,
            Err(reason) => {
                generated.reject(prometheus, prometheus, reason);
                continue;
            }
        };
        let instance = Instance {
            object: prometheus,
            spec,
            objects,
            inventory: &inventory,
            namespaces: &namespaces,
        };
        for (object, made) in instance.jobs() {
            match made {
                Ok(jobs) => {
                    let new = jobs.into_iter().filter(|job| names.insert(job.name.clone()));
                    generated.jobs.extend(new);
                }
                Err(reason) => generated.reject(object, prometheus, reason),
            }
        }
    }
    generated
}

impl Generated {
    fn reject(&mut self, object: &Object, by: &Object, reason: String) {
        let (object, by) = (object.key.clone(), by.key.clone());
        self.rejected.push(Rejected { object, by, reason });
    }
}

/// A `Prometheus` and what it looks at.
struct Instance<'a> {
    object: &'a Object,
    spec: PrometheusSpec,
    objects: &'a Objects,
    inventory: &'a Inventory,
    namespaces: &'a Namespaces,
}

type Made<'a> = (&'a Object, Result<Vec<Job>, String>);

impl<'a> Instance<'a> {
    /// What becomes of each object that is selected, in the Operator's order.
    fn jobs(&self) -> Vec<Made<'a>> {
        let spec = &self.spec;
        let mut made = Vec::new();
        let kinds: [(Kind, Option<&LabelSelector>, Option<&LabelSelector>); 4] = [
            (
                Kind::ServiceMonitor,
                spec.service_monitor_selector.as_ref(),
                spec.service_monitor_namespace_selector.as_ref(),
            ),
            (
                Kind::PodMonitor,
                spec.pod_monitor_selector.as_ref(),
                spec.pod_monitor_namespace_selector.as_ref(),
            ),
            (Kind::Probe, spec.probe_selector.as_ref(), spec.probe_namespace_selector.as_ref()),
            (
                Kind::ScrapeConfig,
                spec.scrape_config_selector.as_ref(),
                spec.scrape_config_namespace_selector.as_ref(),
            ),
        ];
        for (kind, selector, namespaces) in kinds {
            for object in of_kind(self.objects, kind) {
                let own = &self.object.key.namespace;
                if is_selected(self.namespaces, (selector, namespaces), own, object) {
                    made.push((object, self.jobs_of(kind, object)));
                }
            }
        }
        if let Some(reference) = &spec.additional_scrape_configs {
            made.push((self.object, self.additional(reference)));
        }
        made
    }

    fn jobs_of(&self, kind: Kind, object: &Object) -> Result<Vec<Job>, String> {
        match kind {
            Kind::ServiceMonitor | Kind::PodMonitor => monitor::jobs(self, object, kind),
            Kind::Probe => probe::job(self, object).map(|job| vec![job]),
            _ => scrape_config::job(self, object).map(|job| vec![job]),
        }
    }

    /// `additionalScrapeConfigs`: jobs as they are written.
    fn additional(&self, reference: &KeyReference) -> Result<Vec<Job>, String> {
        let own = &self.object.key.namespace;
        let Some(text) = self.secret(own, reference)? else { return Ok(Vec::new()) };
        let place =
            |problem: &dyn std::fmt::Display| format!("spec.additionalScrapeConfigs: {problem}");
        let documents = document::read_documents(&text).map_err(|problem| place(&problem))?;
        let mut jobs = Vec::new();
        for config in documents.into_iter().flat_map(|document| match document {
            Value::Array(items) => items,
            other => vec![other],
        }) {
            let name = config["job_name"].as_str().unwrap_or_default().to_owned();
            if name.is_empty() {
                return Err(place(&"job_name is empty"));
            }
            jobs.push(Job { name, object: self.object.key.clone(), config, groups: Vec::new() });
        }
        Ok(jobs)
    }

    /// The scrape class that a monitor names, or the default one.
    fn scrape_class(&self, name: &str) -> Result<ScrapeClass, String> {
        let mut classes = self.spec.scrape_classes.iter();
        let class = match name {
            "" => classes.find(|class| class.default),
            name => {
                let found = classes.find(|class| class.name == name);
                let unknown = || format!("spec.scrapeClass: there is no scrape class {name:?}");
                Some(found.ok_or_else(unknown)?)
            }
        };
        Ok(class.cloned().unwrap_or_default())
    }

    /// The label that monitors of this object are marked with, and their namespace.
    fn enforced_label(&self, object: &Object, resource: &str) -> Option<(&str, String)> {
        let label = self.spec.enforced_namespace_label.as_str();
        let key = &object.key;
        let is_excluded = |it: &Excluded| {
            it.resource == resource
                && it.namespace == key.namespace
                && (it.name.is_empty() || it.name == key.name)
        };
        let excluded = self.spec.excluded_from_enforcement.iter().any(is_excluded);
        (!label.is_empty() && !excluded).then(|| (label, key.namespace.clone()))
    }

    /// A secret as text; nothing where it may be missing and is.
    fn secret(&self, namespace: &str, reference: &KeyReference) -> Result<Option<String>, String> {
        client::value_of(self.objects, Kind::Secret, namespace, reference)
    }
}

/// Objects of one kind, by namespace and name.
pub(crate) fn of_kind(objects: &Objects, kind: Kind) -> impl Iterator<Item = &Object> {
    let is_it =
        move |object: &&Object| object.key.group == kind.group() && object.key.kind == kind.name();
    objects.iter().map(AsRef::as_ref).filter(is_it)
}

/// What an object says. Kept objects were checked; those of a newer version may not be readable.
pub(crate) fn spec<T: DeserializeOwned>(object: &Object) -> Result<T, String> {
    let mut body = parse_body(&object.body);
    serde_json::from_value(body["spec"].take()).map_err(|error| format!("spec: {error}"))
}

/// Fields of a scrape configuration, those without a value left out.
type Config = BTreeMap<&'static str, Value>;

#[cfg(test)]
pub(crate) mod tests;
