//! Targets out of inventory, with the labels that Prometheus's discovery in Kubernetes gives them.
//!
//! An `Endpoints` object and the slices of a service say the same: where one of them is missing it
//! follows from the other, as controllers of Kubernetes would see to.

mod endpoints;
mod ingresses;
mod inventory;
mod nodes;
mod pods;
mod services;
mod slices;

use std::collections::BTreeMap;

pub(crate) use inventory::Inventory;
use serde::{Deserialize, Serialize};

use crate::select::Scope;

/// Targets that come from one object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Group {
    /// The object: unique within a job.
    pub source: String,
    /// Labels of every target that does not set them itself.
    pub labels: BTreeMap<String, String>,
    /// A label set a target, `__address__` among them.
    pub targets: Vec<BTreeMap<String, String>>,
}

/// What targets are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Endpoints,
    EndpointSlice,
    Service,
    Pod,
    Node,
    Ingress,
}

impl Role {
    /// The role by its name in configurations, in any case.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name.to_lowercase().as_str() {
            "endpoints" => Some(Self::Endpoints),
            "endpointslice" => Some(Self::EndpointSlice),
            "service" => Some(Self::Service),
            "pod" => Some(Self::Pod),
            "node" => Some(Self::Node),
            "ingress" => Some(Self::Ingress),
            _ => None,
        }
    }
}

/// What a job looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Discovery {
    pub role: Role,
    pub scope: Scope,
    /// Whether targets on a node get the node's labels, too.
    pub attach_node: bool,
}

impl Inventory {
    /// What there is, by object.
    pub(crate) fn groups(&self, discovery: &Discovery) -> Vec<Group> {
        let attach = discovery.attach_node;
        let within = |namespace: &str| discovery.scope.contains(namespace);
        let groups: Vec<Group> = match discovery.role {
            Role::Endpoints => {
                let all = self.endpoints.iter().filter(|it| within(&it.place.namespace));
                all.map(|it| endpoints::group(it, self, attach)).collect()
            }
            Role::EndpointSlice => {
                let all = self.slices.iter().filter(|it| within(&it.place.namespace));
                all.map(|it| slices::group(it, self, attach)).collect()
            }
            Role::Service => {
                let all = self.services.values().filter(|it| within(&it.place.namespace));
                all.map(services::group).collect()
            }
            Role::Pod => {
                let all = self.pods.values().filter(|it| within(&it.place.namespace));
                all.map(|pod| pods::group(pod, self, attach)).collect()
            }
            Role::Node => self.nodes.values().map(nodes::group).collect(),
            Role::Ingress => {
                let all = self.ingresses.iter().filter(|it| within(&it.place.namespace));
                all.map(ingresses::group).collect()
            }
        };
        groups.into_iter().filter(|group| !group.targets.is_empty()).collect()
    }
}

/// Labels under construction, their names beginning with `__meta_kubernetes_`.
#[derive(Debug, Default)]
struct Meta(BTreeMap<String, String>);

impl Meta {
    fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.0.insert(format!("__meta_kubernetes_{name}"), value.into());
        self
    }

    /// Sets it where there is a value.
    fn set_given(&mut self, name: &str, value: &str) -> &mut Self {
        if !value.is_empty() {
            self.set(name, value);
        }
        self
    }

    /// Labels and annotations of an object, each with a mark that it is there.
    fn texts(&mut self, of: &str, place: &inventory::Place) -> &mut Self {
        for (what, texts) in [("label", &place.labels), ("annotation", &place.annotations)] {
            for (name, value) in texts {
                let name = sanitized(name);
                self.set(&format!("{of}_{what}_{name}"), value.as_str());
                self.set(&format!("{of}_{what}present_{name}"), "true");
            }
        }
        self
    }

    fn address(&mut self, address: impl Into<String>) -> &mut Self {
        self.0.insert("__address__".to_owned(), address.into());
        self
    }
}

/// A label's name in which only letters, digits and underscores are left.
pub(crate) fn sanitized(name: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    name.chars().map(keep).collect()
}

/// An address with its port; one of version 6 stands in brackets.
fn joined(host: &str, port: i64) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests;
