//! Inventory objects as discovery looks at them.

use std::collections::{BTreeMap, BTreeSet};

use narthex_cluster::{Object, Objects};
use serde::{Deserialize, de::DeserializeOwned};

use crate::Kind;

/// Names the service of a slice.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Where an object is and what it is labelled with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

/// Namespace and name.
pub(super) type Id = (String, String);

/// What is known of everything that could be scraped.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub(super) services: BTreeMap<Id, Service>,
    pub(super) endpoints: Vec<Endpoints>,
    pub(super) slices: Vec<Slice>,
    pub(super) pods: BTreeMap<Id, Pod>,
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) ingresses: Vec<Ingress>,
}

macro_rules! inventory {
    ($($name:ident { $($(#[$attribute:meta])* $field:ident: $of:ty,)* })*) => {
        $(#[derive(Debug, Clone, Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        pub(super) struct $name {
            $($(#[$attribute])* pub $field: $of,)*
        })*
    };
}

inventory! {
    Service {
        #[serde(skip)]
        place: Place,
        spec: ServiceSpec,
    }
    ServiceSpec {
        #[serde(rename = "type")]
        of: String,
        #[serde(rename = "clusterIP")]
        cluster_ip: String,
        external_name: String,
        #[serde(rename = "loadBalancerIP")]
        load_balancer_ip: String,
        ports: Vec<ServicePort>,
    }
    ServicePort {
        name: String,
        port: i64,
        protocol: String,
    }
    Endpoints {
        #[serde(skip)]
        place: Place,
        subsets: Vec<Subset>,
    }
    Subset {
        addresses: Vec<EndpointAddress>,
        not_ready_addresses: Vec<EndpointAddress>,
        ports: Vec<EndpointPort>,
    }
    EndpointAddress {
        ip: String,
        hostname: String,
        node_name: String,
        target_ref: Option<TargetReference>,
    }
    TargetReference {
        kind: String,
        name: String,
        namespace: String,
    }
    EndpointPort {
        name: String,
        port: Option<i64>,
        protocol: String,
        app_protocol: String,
    }
    Slice {
        #[serde(skip)]
        place: Place,
        address_type: String,
        endpoints: Vec<SliceEndpoint>,
        ports: Vec<EndpointPort>,
    }
    SliceEndpoint {
        addresses: Vec<String>,
        conditions: Conditions,
        hostname: String,
        node_name: String,
        zone: String,
        deprecated_topology: BTreeMap<String, String>,
        target_ref: Option<TargetReference>,
    }
    Conditions {
        ready: Option<bool>,
        serving: Option<bool>,
        terminating: Option<bool>,
    }
    Pod {
        #[serde(skip)]
        place: Place,
        metadata: PodMetadata,
        spec: PodSpec,
        status: PodStatus,
    }
    PodMetadata {
        owner_references: Vec<OwnerReference>,
    }
    OwnerReference {
        kind: String,
        name: String,
        controller: bool,
    }
    PodSpec {
        node_name: String,
        containers: Vec<Container>,
        init_containers: Vec<Container>,
    }
    Container {
        name: String,
        image: String,
        ports: Vec<ContainerPort>,
    }
    ContainerPort {
        name: String,
        container_port: i64,
        protocol: String,
    }
    PodStatus {
        #[serde(rename = "podIP")]
        pod_ip: String,
        #[serde(rename = "hostIP")]
        host_ip: String,
        phase: String,
        conditions: Vec<Condition>,
        container_statuses: Vec<ContainerStatus>,
        init_container_statuses: Vec<ContainerStatus>,
    }
    Condition {
        #[serde(rename = "type")]
        of: String,
        status: String,
    }
    ContainerStatus {
        name: String,
        #[serde(rename = "containerID")]
        container_id: String,
    }
    Node {
        #[serde(skip)]
        place: Place,
        spec: NodeSpec,
        status: NodeStatus,
    }
    NodeSpec {
        #[serde(rename = "providerID")]
        provider_id: String,
    }
    NodeStatus {
        addresses: Vec<NodeAddress>,
        conditions: Vec<Condition>,
        daemon_endpoints: DaemonEndpoints,
    }
    NodeAddress {
        #[serde(rename = "type")]
        of: String,
        address: String,
    }
    DaemonEndpoints {
        kubelet_endpoint: KubeletEndpoint,
    }
    KubeletEndpoint {
        #[serde(rename = "Port")]
        port: i64,
    }
    Ingress {
        #[serde(skip)]
        place: Place,
        spec: IngressSpec,
    }
    IngressSpec {
        ingress_class_name: String,
        tls: Vec<IngressTls>,
        rules: Vec<IngressRule>,
    }
    IngressTls {
        hosts: Vec<String>,
    }
    IngressRule {
        host: String,
        http: Option<IngressHttp>,
    }
    IngressHttp {
        paths: Vec<IngressPath>,
    }
    IngressPath {
        path: String,
    }
}

impl Inventory {
    /// The inventory among the objects. What cannot be read, which nothing that was checked is,
    /// is left out.
    pub(crate) fn of(objects: &Objects) -> Self {
        let mut inventory = Self::default();
        for object in objects.iter() {
            inventory.add(object);
        }
        inventory.mirror();
        inventory
    }

    fn add(&mut self, object: &Object) {
        let key = &object.key;
        let id = || (key.namespace.clone(), key.name.clone());
        match Kind::of_stored(&key.group, &key.kind) {
            Some(Kind::Service) => {
                let service = read(object).map(|it| Service { place: place(object), ..it });
                self.services.extend(service.map(|service| (id(), service)));
            }
            Some(Kind::Endpoints) => self
                .endpoints
                .extend(read(object).map(|it| Endpoints { place: place(object), ..it })),
            Some(Kind::EndpointSlice) => {
                self.slices.extend(read(object).map(|it| Slice { place: place(object), ..it }));
            }
            Some(Kind::Pod) => {
                let pod = read(object).map(|it| Pod { place: place(object), ..it });
                self.pods.extend(pod.map(|pod| (id(), pod)));
            }
            Some(Kind::Node) => {
                let node = read(object).map(|it| Node { place: place(object), ..it });
                self.nodes.extend(node.map(|node| (key.name.clone(), node)));
            }
            Some(Kind::Ingress) => {
                self.ingresses.extend(read(object).map(|it| Ingress { place: place(object), ..it }))
            }
            _ => {}
        }
    }

    /// Makes slices of endpoints that have none, and endpoints of slices that have none.
    fn mirror(&mut self) {
        let id = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
        let sliced: BTreeSet<Id> = self
            .slices
            .iter()
            .filter_map(|it| Some(id(&it.place.namespace, it.place.labels.get(SERVICE_NAME)?)))
            .collect();
        let whole: BTreeSet<Id> =
            self.endpoints.iter().map(|it| id(&it.place.namespace, &it.place.name)).collect();
        let missing = self
            .endpoints
            .iter()
            .filter(|it| !sliced.contains(&id(&it.place.namespace, &it.place.name)));
        let made: Vec<Slice> = missing.flat_map(slices_of).collect();
        let mut joined: BTreeMap<Id, Endpoints> = BTreeMap::new();
        for slice in &self.slices {
            let Some(service) = slice.place.labels.get(SERVICE_NAME) else { continue };
            let id = id(&slice.place.namespace, service);
            if whole.contains(&id) {
                continue;
            }
            let place = self.services.get(&id).map(|service| service.place.clone());
            let place = place.unwrap_or_else(|| Place {
                namespace: id.0.clone(),
                name: id.1.clone(),
                ..Place::default()
            });
            let endpoints =
                joined.entry(id).or_insert_with(|| Endpoints { place, subsets: Vec::new() });
            endpoints.subsets.push(subset_of(slice));
        }
        self.slices.extend(made);
        self.endpoints.extend(joined.into_values());
    }

    /// The pod that an address stands for.
    pub(super) fn pod_of(
        &self,
        reference: Option<&TargetReference>,
        namespace: &str,
    ) -> Option<&Pod> {
        let reference = reference.filter(|reference| reference.kind == "Pod")?;
        let named = reference.namespace.as_str();
        let namespace = if named.is_empty() { namespace } else { named };
        self.pods.get(&(namespace.to_owned(), reference.name.clone()))
    }
}

fn read<T: DeserializeOwned>(object: &Object) -> Option<T> {
    serde_json::from_slice(&object.body).ok()
}

fn place(object: &Object) -> Place {
    Place {
        namespace: object.key.namespace.clone(),
        name: object.key.name.clone(),
        uid: crate::manifest::uid_text(object.uid),
        labels: object.labels.clone(),
        annotations: object.annotations.clone(),
    }
}

fn subset_of(slice: &Slice) -> Subset {
    let mut subset = Subset { ports: slice.ports.clone(), ..Subset::default() };
    for endpoint in &slice.endpoints {
        let is_ready = endpoint.conditions.ready.unwrap_or(true);
        let list = if is_ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        list.extend(endpoint.addresses.iter().map(|ip| EndpointAddress {
            ip: ip.clone(),
            hostname: endpoint.hostname.clone(),
            node_name: endpoint.node_name.clone(),
            target_ref: endpoint.target_ref.clone(),
        }));
    }
    subset
}

fn slices_of(endpoints: &Endpoints) -> impl Iterator<Item = Slice> {
    endpoints.subsets.iter().enumerate().map(|(at, subset)| {
        let mut place = endpoints.place.clone();
        place.labels.insert(SERVICE_NAME.to_owned(), place.name.clone());
        place.name = format!("{}-{at}", place.name);
        let endpoint = |address: &EndpointAddress, is_ready: bool| SliceEndpoint {
            addresses: vec![address.ip.clone()],
            conditions: Conditions { ready: Some(is_ready), ..Conditions::default() },
            hostname: address.hostname.clone(),
            node_name: address.node_name.clone(),
            target_ref: address.target_ref.clone(),
            ..SliceEndpoint::default()
        };
        let ready = subset.addresses.iter().map(|address| endpoint(address, true));
        let others = subset.not_ready_addresses.iter().map(|address| endpoint(address, false));
        let is_v6 = subset.addresses.first().is_some_and(|address| address.ip.contains(':'));
        Slice {
            place,
            address_type: if is_v6 { "IPv6" } else { "IPv4" }.to_owned(),
            endpoints: ready.chain(others).collect(),
            ports: subset.ports.clone(),
        }
    })
}
