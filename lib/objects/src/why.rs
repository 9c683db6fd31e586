//! Why something selects an object, or does not.

use narthex_cluster::{Object, Objects};

use crate::{
    Kind,
    generate::{of_kind, spec},
    select::Namespaces,
    types::{LabelSelector, PrometheusSpec},
};

/// A line for each `Prometheus`: whether it selects the object, or why not. None for kinds that
/// nothing selects.
pub fn selection(objects: &Objects, object: &Object) -> Vec<String> {
    let Some(kind) = Kind::of_stored(&object.key.group, &object.key.kind) else {
        return Vec::new();
    };
    if selectors(&PrometheusSpec::default(), kind).is_none() {
        return Vec::new();
    }
    let namespaces = Namespaces::of(objects);
    let lines = of_kind(objects, Kind::Prometheus).map(|prometheus| {
        let by = &prometheus.key;
        let spec = match spec::<PrometheusSpec>(prometheus) {
            Ok(spec) => spec,
            Err(reason) => return format!("not selected by {by}, which cannot be read: {reason}"),
        };
        match obstacle(&namespaces, &spec, kind, (prometheus, object)) {
            None => format!("selected by {by}"),
            Some(reason) => format!("not selected by {by}: {reason}"),
        }
    });
    let lines: Vec<String> = lines.collect();
    match lines.is_empty() {
        true => vec!["not selected: there is no Prometheus object".to_owned()],
        false => lines,
    }
}

/// The fields that select objects of a kind: what they are called in front, and what they say.
type Selectors<'a> = (&'static str, Option<&'a LabelSelector>, Option<&'a LabelSelector>);

fn selectors(spec: &PrometheusSpec, kind: Kind) -> Option<Selectors<'_>> {
    let (name, selector, namespaces) = match kind {
        Kind::ServiceMonitor => (
            "serviceMonitor",
            &spec.service_monitor_selector,
            &spec.service_monitor_namespace_selector,
        ),
        Kind::PodMonitor => {
            ("podMonitor", &spec.pod_monitor_selector, &spec.pod_monitor_namespace_selector)
        }
        Kind::Probe => ("probe", &spec.probe_selector, &spec.probe_namespace_selector),
        Kind::ScrapeConfig => {
            ("scrapeConfig", &spec.scrape_config_selector, &spec.scrape_config_namespace_selector)
        }
        Kind::PrometheusRule => ("rule", &spec.rule_selector, &spec.rule_namespace_selector),
        _ => return None,
    };
    Some((name, selector.as_ref(), namespaces.as_ref()))
}

/// What keeps a `Prometheus` from selecting an object.
fn obstacle(
    namespaces: &Namespaces,
    spec: &PrometheusSpec,
    kind: Kind,
    (prometheus, object): (&Object, &Object),
) -> Option<String> {
    let (name, selector, namespace_selector) = selectors(spec, kind)?;
    let Some(selector) = selector else {
        return Some(format!("its {name}Selector is not set, and so selects nothing"));
    };
    if !selector.matches(&object.labels) {
        return Some(format!("its {name}Selector asks for other labels"));
    }
    let (own, namespace) = (&prometheus.key.namespace, &object.key.namespace);
    if namespaces.selected(namespace_selector, own, namespace) {
        return None;
    }
    Some(match namespace_selector {
        None => format!("its {name}NamespaceSelector is not set, so it looks only into {own}"),
        Some(_) => {
            format!("its {name}NamespaceSelector asks for other labels than {namespace} has")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::tests::applied;

    fn why(prometheus: &str) -> Vec<String> {
        let state = applied(&format!(
            "{prometheus}
---
apiVersion: v1
kind: Namespace
metadata: {{name: web, labels: {{team: x}}}}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {{name: m, namespace: web, labels: {{a: b}}}}
spec: {{selector: {{}}, endpoints: []}}
"
        ));
        let objects = state.objects();
        let monitor = of_kind(objects, Kind::ServiceMonitor).next().expect("it is there");
        selection(objects, monitor)
    }

    #[test]
    fn every_obstacle_is_named() {
        let prometheus = |spec: &str| {
            format!(
                "apiVersion: monitoring.coreos.com/v1\nkind: Prometheus\nmetadata: {{name: p, \
                 namespace: mon}}\nspec: {{{spec}}}"
            )
        };
        assert_eq!(why(""), ["not selected: there is no Prometheus object"]);
        let cases = [
            (
                "",
                "not selected by Prometheus mon/p: its serviceMonitorSelector is not set, and so selects nothing",
            ),
            (
                "serviceMonitorSelector: {matchLabels: {a: c}}",
                "not selected by Prometheus mon/p: its serviceMonitorSelector asks for other labels",
            ),
            (
                "serviceMonitorSelector: {}",
                "not selected by Prometheus mon/p: its serviceMonitorNamespaceSelector is not set, so it looks only into mon",
            ),
            (
                "serviceMonitorSelector: {}, serviceMonitorNamespaceSelector: {matchLabels: {team: y}}",
                "not selected by Prometheus mon/p: its serviceMonitorNamespaceSelector asks for other labels than web has",
            ),
            (
                "serviceMonitorSelector: {}, serviceMonitorNamespaceSelector: {matchLabels: {team: x}}",
                "selected by Prometheus mon/p",
            ),
        ];
        for (spec, line) in cases {
            assert_eq!(why(&prometheus(spec)), [line]);
        }
    }
}
