//! Labels of targets by role.

use super::*;
use crate::generate::tests::applied;

const OBJECTS: &str = "
apiVersion: v1
kind: Service
metadata: {name: api, namespace: web, labels: {app: api}, annotations: {example.com/a-b: c}}
spec: {type: ClusterIP, clusterIP: 10.1.0.1, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: api, namespace: web}
subsets:
- ports: [{name: http, port: 8080}]
  addresses: [{ip: 10.0.0.1, nodeName: n1, targetRef: {kind: Pod, name: api-0, namespace: web}}]
  notReadyAddresses: [{ip: 'fd00::2'}]
---
apiVersion: v1
kind: Pod
metadata:
  name: api-0
  namespace: web
  labels: {app: api}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: api-rs, uid: x, controller: true}]
spec:
  nodeName: n1
  containers:
  - {name: main, image: 'api:1', ports: [{name: http, containerPort: 8080}, {name: admin, containerPort: 9000}]}
  initContainers: [{name: prepare, image: 'prepare:1'}]
status:
  podIP: 10.0.0.1
  hostIP: 192.168.0.1
  phase: Running
  conditions: [{type: Ready, status: 'True'}]
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {zone: eu}}
status:
  addresses: [{type: Hostname, address: n1.example}, {type: InternalIP, address: 192.168.0.1}]
  daemonEndpoints: {kubeletEndpoint: {Port: 10250}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, namespace: web}
spec:
  tls: [{hosts: ['*.example.com']}]
  rules:
  - {host: a.example.com, http: {paths: [{path: /x}, {}]}}
  - {host: plain.org}
";

fn targets(role: Role, attach_node: bool) -> Vec<BTreeMap<String, String>> {
    let state = applied(OBJECTS);
    let discovery = Discovery { role, scope: Scope::All, attach_node };
    let groups = Inventory::of(state.objects()).groups(&discovery);
    let whole = |group: Group| {
        let shared = group.labels;
        group.targets.into_iter().map(move |own| shared.clone().into_iter().chain(own).collect())
    };
    groups.into_iter().flat_map(whole).collect()
}

/// Labels of a target by the ends of their names.
fn assert_labels(target: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        let name = if name.starts_with("__") {
            (*name).to_owned()
        } else {
            format!("__meta_kubernetes_{name}")
        };
        assert_eq!(target.get(&name).map(String::as_str), Some(*value), "{name} of {target:?}");
    }
}

#[test]
fn endpoints_know_their_service_and_pod() {
    let targets = targets(Role::Endpoints, true);
    let addresses: Vec<_> = targets.iter().map(|it| it["__address__"].as_str()).collect();
    assert_eq!(addresses, ["10.0.0.1:8080", "[fd00::2]:8080", "10.0.0.1:9000"]);
    assert_labels(
        &targets[0],
        &[
            ("namespace", "web"),
            ("endpoints_name", "api"),
            ("endpoint_port_name", "http"),
            ("endpoint_port_protocol", "TCP"),
            ("endpoint_ready", "true"),
            ("endpoint_node_name", "n1"),
            ("endpoint_address_target_kind", "Pod"),
            ("endpoint_address_target_name", "api-0"),
            ("service_name", "api"),
            ("service_label_app", "api"),
            ("service_labelpresent_app", "true"),
            ("service_annotation_example_com_a_b", "c"),
            ("pod_name", "api-0"),
            ("pod_ready", "true"),
            ("pod_controller_kind", "ReplicaSet"),
            ("pod_container_name", "main"),
            ("pod_container_port_name", "http"),
            ("pod_label_app", "api"),
            ("node_label_zone", "eu"),
        ],
    );
    assert_labels(&targets[1], &[("endpoint_ready", "false")]);
    assert_labels(&targets[2], &[("pod_container_port_name", "admin"), ("service_name", "api")]);
    assert!(!targets[2].contains_key("__meta_kubernetes_endpoint_port_name"));
}

#[test]
fn slices_follow_from_endpoints() {
    let targets = targets(Role::EndpointSlice, false);
    assert_eq!(targets.len(), 3);
    assert_labels(
        &targets[0],
        &[
            ("endpointslice_name", "api-0"),
            ("endpointslice_address_type", "IPv4"),
            ("endpointslice_label_kubernetes_io_service_name", "api"),
            ("endpointslice_port", "8080"),
            ("endpointslice_port_name", "http"),
            ("endpointslice_endpoint_conditions_ready", "true"),
            ("endpointslice_endpoint_node_name", "n1"),
            ("endpointslice_address_target_kind", "Pod"),
            ("service_label_app", "api"),
            ("pod_container_name", "main"),
        ],
    );
    assert!(!targets[0].contains_key("__meta_kubernetes_node_label_zone"));
}

#[test]
fn pods_services_nodes_and_ingresses() {
    let pods = targets(Role::Pod, false);
    let addresses: Vec<_> = pods.iter().map(|it| it["__address__"].as_str()).collect();
    assert_eq!(addresses, ["10.0.0.1:8080", "10.0.0.1:9000", "10.0.0.1"]);
    assert_labels(&pods[2], &[("pod_container_init", "true"), ("pod_container_name", "prepare")]);
    assert_labels(&pods[0], &[("pod_host_ip", "192.168.0.1"), ("pod_phase", "Running")]);
    let services = targets(Role::Service, false);
    assert_labels(
        &services[0],
        &[
            ("__address__", "api.web.svc:80"),
            ("service_cluster_ip", "10.1.0.1"),
            ("service_port_number", "80"),
            ("service_type", "ClusterIP"),
        ],
    );
    let nodes = targets(Role::Node, false);
    assert_labels(
        &nodes[0],
        &[
            ("__address__", "192.168.0.1:10250"),
            ("node_address_InternalIP", "192.168.0.1"),
            ("node_address_Hostname", "n1.example"),
            ("node_label_zone", "eu"),
        ],
    );
    assert_eq!(nodes[0]["instance"], "n1");
    let ingresses = targets(Role::Ingress, false);
    let urls = ingresses.iter().map(|it| {
        let of = |name: &str| it[&format!("__meta_kubernetes_ingress_{name}")].clone();
        format!("{}://{}{}", of("scheme"), it["__address__"], of("path"))
    });
    let urls: Vec<_> = urls.collect();
    assert_eq!(urls, ["https://a.example.com/x", "https://a.example.com/", "http://plain.org/"]);
}
