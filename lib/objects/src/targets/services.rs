//! Role `service`: a target for every port of a service.

use super::{Group, Meta, inventory::Service, joined};

pub(super) fn group(service: &Service) -> Group {
    let place = &service.place;
    let mut shared = Meta::default();
    shared.set("namespace", place.namespace.as_str());
    common(&mut shared, service);
    let targets = service.spec.ports.iter().map(|port| {
        let mut target = Meta::default();
        let host = format!("{}.{}.svc", place.name, place.namespace);
        target.address(joined(&host, port.port));
        target.set("service_port_name", port.name.as_str());
        target.set("service_port_number", port.port.to_string());
        target.set("service_port_protocol", or(&port.protocol, "TCP"));
        let spec = &service.spec;
        target.set("service_type", or(&spec.of, "ClusterIP"));
        if spec.of == "ExternalName" {
            target.set("service_external_name", spec.external_name.as_str());
        } else {
            target.set("service_cluster_ip", spec.cluster_ip.as_str());
        }
        if spec.of == "LoadBalancer" {
            target.set("service_loadbalancer_ip", spec.load_balancer_ip.as_str());
        }
        target.0
    });
    let source = format!("svc/{}/{}", place.namespace, place.name);
    Group { source, targets: targets.collect(), labels: shared.0 }
}

/// What targets behind a service get, too.
pub(super) fn common(meta: &mut Meta, service: &Service) {
    meta.set("service_name", service.place.name.as_str()).texts("service", &service.place);
}

/// What Kubernetes fills in where nothing is written.
pub(super) fn or<'a>(text: &'a str, default: &'a str) -> &'a str {
    if text.is_empty() { default } else { text }
}
