//! Role `ingress`: a target for every path.

use super::{Group, Meta, inventory::Ingress};

pub(super) fn group(ingress: &Ingress) -> Group {
    let place = &ingress.place;
    let mut shared = Meta::default();
    shared.set("namespace", place.namespace.as_str()).set("ingress_name", place.name.as_str());
    shared.set_given("ingress_class_name", &ingress.spec.ingress_class_name);
    shared.texts("ingress", place);
    let mut targets = Vec::new();
    for rule in &ingress.spec.rules {
        let scheme = if is_encrypted(ingress, &rule.host) { "https" } else { "http" };
        let paths = rule.http.iter().flat_map(|http| &http.paths);
        let paths = paths.map(|path| if path.path.is_empty() { "/" } else { path.path.as_str() });
        let mut paths: Vec<&str> = paths.collect();
        if paths.is_empty() {
            paths.push("/");
        }
        for path in paths {
            let mut target = Meta::default();
            target.address(rule.host.as_str());
            target
                .set("ingress_scheme", scheme)
                .set("ingress_host", rule.host.as_str())
                .set("ingress_path", path);
            targets.push(target.0);
        }
    }
    let source = format!("ingress/{}/{}", place.namespace, place.name);
    Group { source, targets, labels: shared.0 }
}

/// Whether a host is among those with a certificate; `*` stands for one part of a name.
fn is_encrypted(ingress: &Ingress, host: &str) -> bool {
    let covers = |pattern: &String| match pattern.strip_prefix("*.") {
        Some(rest) => host.split_once('.').is_some_and(|(_, behind)| behind == rest),
        None => pattern == host,
    };
    ingress.spec.tls.iter().flat_map(|tls| &tls.hosts).any(covers)
}
