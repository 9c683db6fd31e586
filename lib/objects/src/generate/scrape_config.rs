//! `ScrapeConfig`: a scrape configuration nearly as Prometheus has it.

use std::collections::BTreeSet;

use narthex_cluster::Object;
use serde_json::{Value, json};

use super::{
    Config, Instance, Job,
    client::Secrets,
    job::Draft,
    spec,
    step::{self, Step},
};
use crate::{
    select::Scope,
    targets::{Discovery, Role},
    types::{KubernetesDiscovery, ScrapeConfigSpec},
};

/// The job of a scrape configuration.
pub(super) fn job(instance: &Instance<'_>, object: &Object) -> Result<Job, String> {
    let scrape: ScrapeConfigSpec = spec(object)?;
    let class = instance.scrape_class(&scrape.scrape_class)?;
    let config = Config::new();
    let mut draft = Draft { instance, object, resource: "scrapeconfigs", class: &class, config };
    draft.timing(&scrape.scrape_interval, &scrape.scrape_timeout);
    draft.honor(scrape.honor_labels.unwrap_or(false), scrape.honor_timestamps);
    draft.text("metrics_path", &scrape.metrics_path);
    draft.text("scheme", &scrape.scheme.to_lowercase());
    if !scrape.params.is_empty() {
        draft.config.insert("params", json!(scrape.params));
    }
    draft.config.extend(scrape.enable_compression.map(|on| ("enable_compression", on.into())));
    draft.limits(&scrape.limits);
    draft.fallback(&scrape.fallback_scrape_protocol);
    draft.metric_steps(&scrape.metric_relabelings);
    let namespace = &object.key.namespace;
    let secrets = Secrets { instance, namespace, path: "spec.".to_owned() };
    secrets.put(&mut draft.config, &scrape.client, &class)?;
    listed(&mut draft.config, &scrape);

    let mut steps = vec![step::keep_job_name()];
    steps.extend(class.relabelings.iter().map(Step::from));
    if !scrape.job_name.is_empty() {
        steps.push(step::set("job", scrape.job_name.as_str()));
    }
    // As the Operator has it: the label is enforced only where there are rules of a user.
    if !scrape.relabelings.is_empty() {
        steps.extend(scrape.relabelings.iter().map(Step::from));
        steps.extend(draft.enforced());
    }
    let discoveries: Result<Vec<_>, String> = scrape
        .kubernetes_sd_configs
        .iter()
        .enumerate()
        .map(|(at, discovery)| kubernetes(discovery, at, namespace))
        .collect();
    let name = format!("scrapeConfig/{namespace}/{}", object.key.name);
    Ok(draft.finish(name, &steps, &discoveries?))
}

/// Targets that are written down, and files that list them.
fn listed(config: &mut Config, scrape: &ScrapeConfigSpec) {
    let groups = scrape.static_configs.iter();
    let groups = groups.map(|it| json!({ "targets": it.targets, "labels": it.labels }));
    let groups: Vec<Value> = groups.collect();
    if !groups.is_empty() {
        config.insert("static_configs", groups.into());
    }
    let files = scrape.file_sd_configs.iter().map(|it| match it.refresh_interval.as_str() {
        "" => json!({ "files": it.files }),
        refresh => json!({ "files": it.files, "refresh_interval": refresh }),
    });
    let files: Vec<Value> = files.collect();
    if !files.is_empty() {
        config.insert("file_sd_configs", files.into());
    }
}

fn kubernetes(discovery: &KubernetesDiscovery, at: usize, own: &str) -> Result<Discovery, String> {
    let unknown = || format!("spec.kubernetesSDConfigs[{at}].role: {:?}", discovery.role);
    let role = Role::parse(&discovery.role).ok_or_else(unknown)?;
    let mut names: BTreeSet<String> = discovery.namespaces.names.iter().cloned().collect();
    if discovery.namespaces.own_namespace {
        names.insert(own.to_owned());
    }
    let scope = if names.is_empty() { Scope::All } else { Scope::Only(names) };
    Ok(Discovery { role, scope, attach_node: discovery.attach_metadata.node })
}
