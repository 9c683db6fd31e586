//! Role `pod`: a target for every port that a container names.

use super::{
    Group, Inventory, Meta,
    inventory::{Container, ContainerPort, Pod},
    joined, nodes,
    services::or,
};

pub(super) fn group(pod: &Pod, inventory: &Inventory, attach_node: bool) -> Group {
    let source = format!("pod/{}/{}", pod.place.namespace, pod.place.name);
    let ip = &pod.status.pod_ip;
    if ip.is_empty() {
        return Group { source, ..Group::default() };
    }
    let mut shared = Meta::default();
    shared.set("namespace", pod.place.namespace.as_str());
    common(&mut shared, pod);
    if let (true, Some(node)) = (attach_node, inventory.nodes.get(&pod.spec.node_name)) {
        nodes::attach(&mut shared, node);
    }
    let mut targets = Vec::new();
    for (container, is_init) in containers(pod) {
        let mut target = Meta::default();
        common_of_container(&mut target, pod, container);
        target.set("pod_container_init", is_init.to_string());
        if container.ports.is_empty() {
            // Others may add a port by relabelling.
            let address = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
            targets.push(Meta(target.0.clone()).address(address).0.clone());
        }
        for port in &container.ports {
            let mut target = Meta(target.0.clone());
            target.address(joined(ip, port.container_port));
            port_labels(&mut target, port);
            targets.push(target.0);
        }
    }
    Group { source, targets, labels: shared.0 }
}

/// Containers of a pod, and whether they only prepare it.
fn containers(pod: &Pod) -> impl Iterator<Item = (&Container, bool)> {
    let usual = pod.spec.containers.iter().map(|container| (container, false));
    usual.chain(pod.spec.init_containers.iter().map(|container| (container, true)))
}

/// Labels of the pod itself.
pub(super) fn common(meta: &mut Meta, pod: &Pod) {
    let is_ready = pod.status.conditions.iter().find(|condition| condition.of == "Ready");
    let is_ready = is_ready.map_or("unknown".to_owned(), |it| it.status.to_lowercase());
    meta.set("pod_name", pod.place.name.as_str())
        .set("pod_ip", pod.status.pod_ip.as_str())
        .set("pod_ready", is_ready)
        .set("pod_phase", pod.status.phase.as_str())
        .set("pod_node_name", pod.spec.node_name.as_str())
        .set("pod_host_ip", pod.status.host_ip.as_str())
        .set("pod_uid", pod.place.uid.as_str());
    if let Some(owner) = pod.metadata.owner_references.iter().find(|owner| owner.controller) {
        meta.set_given("pod_controller_kind", &owner.kind);
        meta.set_given("pod_controller_name", &owner.name);
    }
    meta.texts("pod", &pod.place);
}

/// Labels of one of its containers.
fn common_of_container(meta: &mut Meta, pod: &Pod, container: &Container) {
    let status = &pod.status;
    let mut statuses = status.container_statuses.iter().chain(&status.init_container_statuses);
    let id = statuses.find(|status| status.name == container.name).map(|it| &it.container_id);
    meta.set("pod_container_name", container.name.as_str())
        .set("pod_container_id", id.cloned().unwrap_or_default())
        .set("pod_container_image", container.image.as_str());
}

fn port_labels(meta: &mut Meta, port: &ContainerPort) {
    meta.set("pod_container_port_name", port.name.as_str())
        .set("pod_container_port_number", port.container_port.to_string())
        .set("pod_container_port_protocol", or(&port.protocol, "TCP"));
}

/// Labels of the container behind a port, where one names it. Says whether one does.
pub(super) fn behind_port(meta: &mut Meta, pod: &Pod, port: i64) -> bool {
    for (container, is_init) in containers(pod) {
        let Some(found) = container.ports.iter().find(|it| it.container_port == port) else {
            continue;
        };
        common_of_container(meta, pod, container);
        meta.set("pod_container_init", is_init.to_string());
        port_labels(meta, found);
        return true;
    }
    false
}

/// Targets of a pod that its endpoints do not name: ports that only its containers know.
pub(super) fn unnamed_ports(pod: &Pod, named: &[i64]) -> Vec<Meta> {
    let mut targets = Vec::new();
    for port in containers(pod).flat_map(|(container, _)| &container.ports) {
        if named.contains(&port.container_port) || pod.status.pod_ip.is_empty() {
            continue;
        }
        let mut target = Meta::default();
        target.address(joined(&pod.status.pod_ip, port.container_port));
        common(&mut target, pod);
        behind_port(&mut target, pod, port.container_port);
        targets.push(target);
    }
    targets
}
