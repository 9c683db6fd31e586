//! `ServiceMonitor` and `PodMonitor`: a job for every endpoint.

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
    Kind,
    select::Scope,
    targets::{Discovery, Role, sanitized},
    types::{Endpoint, IntOrText, MonitorSpec, ScrapeClass},
};

const NAMESPACE: &str = "__meta_kubernetes_namespace";
const SERVICE_NAME: &str = "__meta_kubernetes_service_name";
const POD_NAME: &str = "__meta_kubernetes_pod_name";
const POD_PHASE: &str = "__meta_kubernetes_pod_phase";
const CONTAINER_NAME: &str = "__meta_kubernetes_pod_container_name";
const CONTAINER_PORT_NAME: &str = "__meta_kubernetes_pod_container_port_name";
const CONTAINER_PORT_NUMBER: &str = "__meta_kubernetes_pod_container_port_number";
/// Pods that run no more.
const ENDED: &str = "(Failed|Succeeded)";

/// The jobs of a monitor, or why there are none: all of it is in force, or nothing.
pub(super) fn jobs(
    instance: &Instance<'_>,
    object: &Object,
    kind: Kind,
) -> Result<Vec<Job>, String> {
    let monitor: MonitorSpec = spec(object)?;
    let class = instance.scrape_class(&monitor.scrape_class)?;
    let of_pods = kind == Kind::PodMonitor;
    let made =
        monitor.endpoints.iter().enumerate().map(|(at, endpoint)| {
            job(instance, object, (&monitor, endpoint, at), (&class, of_pods))
        });
    made.collect()
}

fn job(
    instance: &Instance<'_>,
    object: &Object,
    (monitor, endpoint, at): (&MonitorSpec, &Endpoint, usize),
    (class, of_pods): (&ScrapeClass, bool),
) -> Result<Job, String> {
    let resource = if of_pods { "podmonitors" } else { "servicemonitors" };
    let mut draft = Draft { instance, object, resource, class, config: Config::new() };
    draft.timing(&endpoint.interval, &endpoint.scrape_timeout);
    draft.honor(endpoint.honor_labels, endpoint.honor_timestamps);
    draft.text("metrics_path", &endpoint.path);
    draft.text("scheme", &endpoint.scheme.to_lowercase());
    if !endpoint.params.is_empty() {
        draft.config.insert("params", json!(endpoint.params));
    }
    draft.limits(&monitor.limits);
    draft.fallback(&monitor.fallback_scrape_protocol);
    draft.metric_steps(&endpoint.metric_relabelings);
    let part = if of_pods { "podMetricsEndpoints" } else { "endpoints" };
    let namespace = &object.key.namespace;
    let secrets = Secrets { instance, namespace, path: format!("spec.{part}[{at}].") };
    secrets.put(&mut draft.config, &endpoint.client, class)?;

    let role = role(instance, monitor, of_pods);
    let mut steps = match of_pods {
        true => pod_steps(instance, object, monitor, endpoint),
        false => service_steps(instance, monitor, endpoint, role),
    };
    steps.extend(draft.last_steps(&endpoint.relabelings));
    let attach = monitor.attach_metadata.as_ref().or(class.attach_metadata.as_ref());
    let only_own = instance.spec.ignore_namespace_selectors;
    let scope = Scope::of(&monitor.namespace_selector, namespace, only_own);
    let attach_node = attach.is_some_and(|attach| attach.node);
    let discovery = Discovery { role, scope, attach_node };
    let what = if of_pods { "podMonitor" } else { "serviceMonitor" };
    let name = format!("{what}/{namespace}/{}/{at}", object.key.name);
    Ok(draft.finish(name, &steps, &[discovery]))
}

/// What a monitor discovers: its own word counts before that of the `Prometheus`.
fn role(instance: &Instance<'_>, monitor: &MonitorSpec, of_pods: bool) -> Role {
    if of_pods {
        return Role::Pod;
    }
    let named = [&monitor.service_discovery_role, &instance.spec.service_discovery_role];
    let named = named.into_iter().find_map(|name| Role::parse(name));
    named.unwrap_or(Role::Endpoints)
}

fn service_steps(
    instance: &Instance<'_>,
    monitor: &MonitorSpec,
    endpoint: &Endpoint,
    role: Role,
) -> Vec<Step> {
    let prefix = match role {
        Role::EndpointSlice => "__meta_kubernetes_endpointslice",
        _ => "__meta_kubernetes_endpoint",
    };
    let mut steps = vec![step::keep_job_name()];
    steps.extend(step::selected("service", &monitor.selector));
    match (endpoint.port.as_str(), &endpoint.target_port) {
        ("", port) => steps.extend(target_port(port.as_ref())),
        (port, _) => steps.push(step::keep(&[&format!("{prefix}_port_name")], port)),
    }
    let kind = format!("{prefix}_address_target_kind");
    let name = format!("{prefix}_address_target_name");
    steps.push(step::copy_matching(&[&kind, &name], "Node;(.*)", "node").joined_by(";"));
    steps.push(step::copy_matching(&[&kind, &name], "Pod;(.*)", "pod").joined_by(";"));
    steps.push(step::copy(NAMESPACE, "namespace"));
    steps.push(step::copy(SERVICE_NAME, "service"));
    steps.push(step::copy(POD_NAME, "pod"));
    steps.push(step::copy(CONTAINER_NAME, "container"));
    if endpoint.filter_running.unwrap_or(true) {
        steps.push(step::drop(&[POD_PHASE], ENDED));
    }
    for label in &monitor.target_labels {
        steps.push(label_step("service", label, &sanitized(label)));
    }
    steps.extend(pod_target_labels(instance, monitor));
    steps.push(step::copy(SERVICE_NAME, "job").replaced_by("${1}"));
    if !monitor.job_label.is_empty() {
        steps.push(label_step("service", &monitor.job_label, "job"));
    }
    steps.extend(endpoint_label(endpoint));
    steps
}

fn pod_steps(
    instance: &Instance<'_>,
    object: &Object,
    monitor: &MonitorSpec,
    endpoint: &Endpoint,
) -> Vec<Step> {
    let mut steps = vec![step::keep_job_name()];
    if endpoint.filter_running.unwrap_or(true) {
        steps.push(step::drop(&[POD_PHASE], ENDED));
    }
    steps.extend(step::selected("pod", &monitor.selector));
    match (endpoint.port.as_str(), endpoint.port_number) {
        ("", None) => steps.extend(target_port(endpoint.target_port.as_ref())),
        ("", Some(port)) => steps.push(step::keep(&[CONTAINER_PORT_NUMBER], port.to_string())),
        (port, _) => steps.push(step::keep(&[CONTAINER_PORT_NAME], port)),
    }
    steps.push(step::copy(NAMESPACE, "namespace"));
    steps.push(step::copy(CONTAINER_NAME, "container"));
    steps.push(step::copy(POD_NAME, "pod"));
    steps.extend(pod_target_labels(instance, monitor));
    steps.push(step::set("job", format!("{}/{}", object.key.namespace, object.key.name)));
    if !monitor.job_label.is_empty() {
        steps.push(label_step("pod", &monitor.job_label, "job"));
    }
    steps.extend(endpoint_label(endpoint));
    steps
}

fn target_port(port: Option<&IntOrText>) -> Option<Step> {
    match port? {
        IntOrText::Text(name) if !name.is_empty() => {
            Some(step::keep(&[CONTAINER_PORT_NAME], name.as_str()))
        }
        IntOrText::Int(number) if *number != 0 => {
            Some(step::keep(&[CONTAINER_PORT_NUMBER], number.to_string()))
        }
        _ => None,
    }
}

fn endpoint_label(endpoint: &Endpoint) -> Option<Step> {
    let text = match (endpoint.port.as_str(), endpoint.port_number, &endpoint.target_port) {
        ("", Some(number), _) => number.to_string(),
        ("", None, Some(IntOrText::Int(number))) => number.to_string(),
        ("", None, Some(IntOrText::Text(name))) => name.clone(),
        (port, ..) => port.to_owned(),
    };
    (!text.is_empty()).then(|| step::set("endpoint", text))
}

fn pod_target_labels(instance: &Instance<'_>, monitor: &MonitorSpec) -> Vec<Step> {
    let labels = monitor.pod_target_labels.iter().chain(&instance.spec.pod_target_labels);
    labels.map(|label| label_step("pod", label, &sanitized(label))).collect()
}

/// A label of a service or pod becomes a label of the target, where it is not empty.
fn label_step(of: &str, label: &str, target: &str) -> Step {
    let source = format!("__meta_kubernetes_{of}_label_{}", sanitized(label));
    step::copy_given(&source, target)
}
