//! `Probe`: what a prober says of addresses that are listed, or of ingresses.

use std::collections::BTreeMap;

use narthex_cluster::Object;
use serde_json::json;

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
    types::{ProbeIngress, ProbeSpec, ProbeStatic},
};

/// The job of a probe.
pub(super) fn job(instance: &Instance<'_>, object: &Object) -> Result<Job, String> {
    let probe: ProbeSpec = spec(object)?;
    let class = instance.scrape_class(&probe.scrape_class)?;
    let config = Config::new();
    let mut draft = Draft { instance, object, resource: "probes", class: &class, config };
    draft.timing(&probe.interval, &probe.scrape_timeout);
    draft.honor(false, Some(true));
    let path = if probe.prober.path.is_empty() { "/probe" } else { &probe.prober.path };
    draft.text("metrics_path", path);
    draft.text("scheme", &probe.prober.scheme.to_lowercase());
    let mut params: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for param in &probe.params {
        params.entry(&param.name).or_insert_with(|| param.values.clone());
    }
    if !probe.module.is_empty() {
        params.insert("module", vec![probe.module.clone()]);
    }
    if !params.is_empty() {
        draft.config.insert("params", json!(params));
    }
    draft.limits(&probe.limits);
    draft.fallback(&probe.fallback_scrape_protocol);
    draft.metric_steps(&probe.metric_relabelings);
    let namespace = &object.key.namespace;
    let secrets = Secrets { instance, namespace, path: "spec.".to_owned() };
    secrets.put(&mut draft.config, &probe.client, &class)?;

    let mut steps = vec![step::keep_job_name()];
    if !probe.job_name.is_empty() {
        steps.push(step::set("job", probe.job_name.as_str()));
    }
    let mut discoveries = Vec::new();
    let users = match (&probe.targets.static_config, &probe.targets.ingress) {
        (Some(listed), _) => {
            listed_targets(&mut draft.config, listed, namespace);
            steps.push(step::copy("__address__", "__param_target"));
            &listed.relabeling_configs
        }
        (None, Some(ingress)) => {
            steps.extend(ingress_steps(ingress));
            let only_own = instance.spec.ignore_namespace_selectors;
            let scope = Scope::of(&ingress.namespace_selector, namespace, only_own);
            discoveries.push(Discovery { role: Role::Ingress, scope, attach_node: false });
            &ingress.relabeling_configs
        }
        (None, None) => return Err("spec.targets: neither staticConfig nor ingress".to_owned()),
    };
    steps.push(step::copy("__param_target", "instance"));
    steps.push(step::set("__address__", probe.prober.url.as_str()));
    steps.extend(draft.last_steps(users));
    let name = format!("probe/{namespace}/{}", object.key.name);
    Ok(draft.finish(name, &steps, &discoveries))
}

fn listed_targets(config: &mut Config, listed: &ProbeStatic, namespace: &str) {
    let mut labels = listed.labels.clone();
    labels.entry("namespace".to_owned()).or_insert_with(|| namespace.to_owned());
    config.insert("static_configs", json!([{ "targets": listed.targets, "labels": labels }]));
}

fn ingress_steps(ingress: &ProbeIngress) -> Vec<Step> {
    let mut steps = step::selected("ingress", &ingress.selector);
    let address =
        ["__meta_kubernetes_ingress_scheme", "__address__", "__meta_kubernetes_ingress_path"];
    steps.push(
        step::replace(&["__address__"], "(.*)", "__tmp_ingress_address", "$1").joined_by(";"),
    );
    let url = step::replace(&address, "(.+);(.+);(.+)", "__param_target", "${1}://${2}${3}");
    steps.push(url.joined_by(";"));
    steps.push(step::copy("__meta_kubernetes_namespace", "namespace"));
    steps.push(step::copy("__meta_kubernetes_ingress_name", "ingress"));
    steps
}
