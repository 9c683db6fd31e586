//! Role `node`: a target for every machine, at its kubelet.

use super::{Group, Meta, inventory::Node, joined, sanitized};

/// Where a kubelet listens unless its node says something else.
const KUBELET_PORT: i64 = 10_250;
/// Whichever address comes first in this order is the node's.
const ADDRESSES: [&str; 4] = ["InternalIP", "ExternalIP", "LegacyHostIP", "Hostname"];

pub(super) fn group(node: &Node) -> Group {
    let mut shared = Meta::default();
    shared.set("node_name", node.place.name.as_str());
    shared.set("node_provider_id", node.spec.provider_id.as_str());
    shared.texts("node", &node.place);
    for condition in &node.status.conditions {
        let name = format!("node_condition_{}", sanitized(&condition.of));
        shared.set(&name, condition.status.to_lowercase());
    }
    let addresses = &node.status.addresses;
    let address = ADDRESSES.iter().find_map(|of| addresses.iter().find(|it| it.of == *of));
    let target = address.map(|found| {
        let mut target = Meta::default();
        let port = match node.status.daemon_endpoints.kubelet_endpoint.port {
            0 => KUBELET_PORT,
            port => port,
        };
        target.address(joined(&found.address, port));
        target.0.insert("instance".to_owned(), node.place.name.clone());
        let mut seen = Vec::new();
        for address in addresses.iter().filter(|it| !it.address.is_empty()) {
            if !seen.contains(&&address.of) {
                seen.push(&address.of);
                let name = format!("node_address_{}", sanitized(&address.of));
                target.set(&name, address.address.as_str());
            }
        }
        target.0
    });
    let source = format!("node/{}", node.place.name);
    Group { source, targets: target.into_iter().collect(), labels: shared.0 }
}

/// What targets on a node get where they ask for it.
pub(super) fn attach(meta: &mut Meta, node: &Node) {
    meta.set("node_name", node.place.name.as_str()).texts("node", &node.place);
}
