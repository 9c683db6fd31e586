//! Role `endpoints`: a target for every address and port of an `Endpoints` object, and for the
//! other ports of the pods behind it.

use std::collections::BTreeMap;

use super::{
    Group, Inventory, Meta,
    inventory::{EndpointAddress, EndpointPort, Endpoints},
    joined, nodes, pods,
    services::{self, or},
};

pub(super) fn group(endpoints: &Endpoints, inventory: &Inventory, attach_node: bool) -> Group {
    let place = &endpoints.place;
    let id = (place.namespace.clone(), place.name.clone());
    let mut shared = Meta::default();
    shared.set("namespace", place.namespace.as_str());
    shared.set("endpoints_name", place.name.as_str()).texts("endpoints", place);
    if let Some(service) = inventory.services.get(&id) {
        services::common(&mut shared, service);
    }
    let mut targets = Vec::new();
    let mut named_ports: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for subset in &endpoints.subsets {
        let ready = subset.addresses.iter().map(|address| (address, true));
        let others = subset.not_ready_addresses.iter().map(|address| (address, false));
        let addresses: Vec<_> = ready.chain(others).collect();
        for port in &subset.ports {
            for (address, is_ready) in &addresses {
                let mut target = target(address, port, *is_ready);
                if let (true, Some(node)) = (attach_node, inventory.nodes.get(&address.node_name)) {
                    nodes::attach(&mut target, node);
                }
                let pod = inventory.pod_of(address.target_ref.as_ref(), &place.namespace);
                if let Some(pod) = pod {
                    pods::common(&mut target, pod);
                    let port = port.port.unwrap_or_default();
                    pods::behind_port(&mut target, pod, port);
                    named_ports.entry(&pod.place.name).or_default().push(port);
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
    let source = format!("endpoints/{}/{}", place.namespace, place.name);
    Group { source, targets, labels: shared.0 }
}

fn target(address: &EndpointAddress, port: &EndpointPort, is_ready: bool) -> Meta {
    let mut target = Meta::default();
    target.address(joined(&address.ip, port.port.unwrap_or_default()));
    target
        .set("endpoint_port_name", port.name.as_str())
        .set("endpoint_port_protocol", or(&port.protocol, "TCP"))
        .set("endpoint_ready", is_ready.to_string())
        .set_given("endpoint_hostname", &address.hostname)
        .set_given("endpoint_node_name", &address.node_name);
    if let Some(reference) = &address.target_ref {
        target.set("endpoint_address_target_kind", reference.kind.as_str());
        target.set("endpoint_address_target_name", reference.name.as_str());
    }
    target
}
