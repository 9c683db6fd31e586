//! Role `endpointslice`: a target for every address and port of a slice, and for the other ports of
//! the pods behind it.

use std::collections::BTreeMap;

use super::{
    Group, Inventory, Meta,
    inventory::{EndpointPort, SERVICE_NAME, Slice, SliceEndpoint},
    joined, nodes, pods, sanitized,
    services::{self, or},
};

pub(super) fn group(slice: &Slice, inventory: &Inventory, attach_node: bool) -> Group {
    let place = &slice.place;
    let mut shared = Meta::default();
    shared
        .set("namespace", place.namespace.as_str())
        .set("endpointslice_name", place.name.as_str())
        .set("endpointslice_address_type", or(&slice.address_type, "IPv4"))
        .texts("endpointslice", place);
    let service = place.labels.get(SERVICE_NAME);
    let service = service.map(|name| (place.namespace.clone(), name.clone()));
    if let Some(service) = service.and_then(|id| inventory.services.get(&id)) {
        services::common(&mut shared, service);
    }
    let mut targets = Vec::new();
    let mut named_ports: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for port in &slice.ports {
        let number = port.port.unwrap_or_default();
        for endpoint in &slice.endpoints {
            let pod = inventory.pod_of(endpoint.target_ref.as_ref(), &place.namespace);
            if let Some(pod) = pod {
                named_ports.entry(&pod.place.name).or_default().push(number);
            }
            for address in &endpoint.addresses {
                let mut target = target(address, endpoint, port);
                let node = inventory.nodes.get(&endpoint.node_name);
                if let (true, Some(node)) = (attach_node, node) {
                    nodes::attach(&mut target, node);
                }
                if let Some(pod) = pod {
                    pods::common(&mut target, pod);
                    pods::behind_port(&mut target, pod, number);
                }
                targets.push(target.0);
            }
        }
    }
    for (name, ports) in named_ports {
        let pod = inventory.pods.get(&(place.namespace.clone(), name.to_owned()));
        let unnamed = pod.into_iter().flat_map(|pod| pods::unnamed_ports(pod, &ports));
        targets.extend(unnamed.map(|target| target.0));
    }
    let source = format!("endpointslice/{}/{}", place.namespace, place.name);
    Group { source, targets, labels: shared.0 }
}

fn target(address: &str, endpoint: &SliceEndpoint, port: &EndpointPort) -> Meta {
    let mut target = Meta::default();
    let number = port.port.unwrap_or_default();
    target.address(joined(address, number));
    target
        .set("endpointslice_port_name", port.name.as_str())
        .set("endpointslice_port_protocol", or(&port.protocol, "TCP"))
        .set("endpointslice_port", number.to_string())
        .set_given("endpointslice_port_app_protocol", &port.app_protocol);
    let conditions = &endpoint.conditions;
    for (name, condition) in [
        ("ready", conditions.ready),
        ("serving", conditions.serving),
        ("terminating", conditions.terminating),
    ] {
        if let Some(condition) = condition {
            let name = format!("endpointslice_endpoint_conditions_{name}");
            target.set(&name, condition.to_string());
        }
    }
    target
        .set_given("endpointslice_endpoint_hostname", &endpoint.hostname)
        .set_given("endpointslice_endpoint_node_name", &endpoint.node_name)
        .set_given("endpointslice_endpoint_zone", &endpoint.zone);
    if let Some(reference) = &endpoint.target_ref {
        target.set("endpointslice_address_target_kind", reference.kind.as_str());
        target.set("endpointslice_address_target_name", reference.name.as_str());
    }
    for (name, value) in &endpoint.deprecated_topology {
        let name = sanitized(name);
        target.set(&format!("endpointslice_endpoint_topology_{name}"), value.as_str());
        target.set(&format!("endpointslice_endpoint_topology_present_{name}"), "true");
    }
    target
}
