//! What the Operator generates, step by step.

use narthex_cluster::{
    Addresses, Binary, ChangeObjects, ClusterId, ClusterState, ClusterVersion, Command, Found,
    Founder, NodeId, ObjectChange, Outcome, Owner, Request, RequestId,
};
use narthex_model::Timestamp;

use super::*;
use crate::{Manifest, read_documents};

/// The objects of a state to which these documents were applied.
pub(crate) fn applied(text: &str) -> ClusterState {
    let mut state = ClusterState::new();
    let mut apply = |number, command| {
        let at = Timestamp::from_millis(1000);
        state.apply(&Request { id: RequestId(number), at, command })
    };
    let founder = Founder {
        node: NodeId(1),
        name: "a".into(),
        addresses: Addresses::default(),
        zone: String::new(),
        binary: Binary { level: ClusterVersion::CURRENT, text: String::new() },
    };
    apply(
        1,
        Command::Found(Found {
            cluster: ClusterId::from_random_bytes([9; 16]),
            members: vec![founder],
            shards: 1,
            replication_factor: 1,
        }),
    );
    let documents = read_documents(text).expect("valid YAML");
    let changes = documents.into_iter().map(|document| {
        let manifest = Manifest::read(document, "default").expect("a valid object");
        ObjectChange::Put(manifest.put(7))
    });
    let request = ChangeObjects {
        owner: Owner::User("ann".into()),
        who: "ann".into(),
        note: String::new(),
        changes: changes.collect(),
    };
    let outcome = apply(2, Command::ChangeObjects(request));
    assert!(matches!(outcome, Outcome::Objects { revision: 2, .. }), "{outcome:?}");
    state
}

const PROMETHEUS: &str = "
apiVersion: monitoring.coreos.com/v1
kind: Prometheus
metadata: {name: k8s, namespace: monitoring}
spec:
  serviceMonitorSelector: {}
  serviceMonitorNamespaceSelector: {}
  podMonitorSelector: {}
  podMonitorNamespaceSelector: {}
  probeSelector: {}
  probeNamespaceSelector: {}
  scrapeConfigSelector: {}
  scrapeConfigNamespaceSelector: {}
  podTargetLabels: [zone]
  EXTRA
---
";

fn prometheus(extra: &str) -> String {
    PROMETHEUS.replace("EXTRA", extra)
}

fn generated(text: &str) -> Generated {
    generate(applied(text).objects())
}

/// The steps of a job, a line each: sources → target, and what is special.
fn steps(job: &Job) -> Vec<String> {
    let text = |step: &Value, name: &str| step[name].as_str().unwrap_or_default().to_owned();
    let line = |step: &Value| {
        let sources = step["source_labels"].as_array().into_iter().flatten();
        let sources: Vec<_> = sources.filter_map(Value::as_str).collect();
        let mut line = format!(
            "{} {} -> {}",
            text(step, "action"),
            sources.join("+"),
            text(step, "target_label")
        );
        for name in ["regex", "replacement"] {
            if !step[name].is_null() {
                line += &format!(" {name}={}", text(step, name));
            }
        }
        line.trim().to_owned()
    };
    job.config["relabel_configs"].as_array().into_iter().flatten().map(line).collect()
}

const MONITOR: &str = "
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: api, namespace: web, labels: {team: x}}
spec:
  jobLabel: app.kubernetes.io/name
  targetLabels: [tier]
  podTargetLabels: [version]
  selector:
    matchLabels: {app.kubernetes.io/name: api, a: b}
    matchExpressions:
    - {key: tier, operator: In, values: [x, y]}
    - {key: tier, operator: NotIn, values: [z]}
    - {key: old, operator: DoesNotExist}
    - {key: new, operator: Exists}
  endpoints:
  - port: http
    interval: 15s
    relabelings: [{action: Replace, sourceLabels: [__address__], targetLabel: addr}]
    metricRelabelings: [{action: drop, sourceLabels: [__name__], regex: go_.*}]
  - targetPort: 8080
    filterRunning: false
";

#[test]
fn a_service_monitor_becomes_the_operators_steps() {
    let found = generated(&(prometheus("enforcedNamespaceLabel: ns") + MONITOR));
    assert_eq!(found.rejected, []);
    let names: Vec<_> = found.jobs.iter().map(|job| job.name.as_str()).collect();
    assert_eq!(names, ["serviceMonitor/web/api/0", "serviceMonitor/web/api/1"]);
    let label = "__meta_kubernetes_service_label_";
    let present = "__meta_kubernetes_service_labelpresent_";
    let target = "__meta_kubernetes_endpoint_address_target_";
    assert_eq!(
        steps(&found.jobs[0]),
        [
            "job -> __tmp_prometheus_job_name".to_owned(),
            format!("keep {label}a+{present}a ->  regex=(b);true"),
            format!(
                "keep {label}app_kubernetes_io_name+{present}app_kubernetes_io_name ->  regex=(api);true"
            ),
            format!("keep {label}tier+{present}tier ->  regex=(x|y);true"),
            format!("drop {label}tier+{present}tier ->  regex=(z);true"),
            format!("drop {present}old ->  regex=true"),
            format!("keep {present}new ->  regex=true"),
            "keep __meta_kubernetes_endpoint_port_name ->  regex=http".to_owned(),
            format!("{target}kind+{target}name -> node regex=Node;(.*) replacement=${{1}}"),
            format!("{target}kind+{target}name -> pod regex=Pod;(.*) replacement=${{1}}"),
            "__meta_kubernetes_namespace -> namespace".to_owned(),
            "__meta_kubernetes_service_name -> service".to_owned(),
            "__meta_kubernetes_pod_name -> pod".to_owned(),
            "__meta_kubernetes_pod_container_name -> container".to_owned(),
            "drop __meta_kubernetes_pod_phase ->  regex=(Failed|Succeeded)".to_owned(),
            format!("{label}tier -> tier regex=(.+) replacement=${{1}}"),
            "__meta_kubernetes_pod_label_version -> version regex=(.+) replacement=${1}".to_owned(),
            "__meta_kubernetes_pod_label_zone -> zone regex=(.+) replacement=${1}".to_owned(),
            "__meta_kubernetes_service_name -> job replacement=${1}".to_owned(),
            format!("{label}app_kubernetes_io_name -> job regex=(.+) replacement=${{1}}"),
            "-> endpoint replacement=http".to_owned(),
            "replace __address__ -> addr".to_owned(),
            "-> ns replacement=web".to_owned(),
        ]
    );
    let config = &found.jobs[0].config;
    assert_eq!(config["scrape_interval"], "15s");
    assert_eq!(config["metric_relabel_configs"][0]["regex"], "go_.*");
    assert_eq!(config["metric_relabel_configs"][1]["replacement"], "web");
    let second = steps(&found.jobs[1]);
    assert!(
        second.contains(&"keep __meta_kubernetes_pod_container_port_number ->  regex=8080".into())
    );
    assert!(second.contains(&"-> endpoint replacement=8080".to_owned()));
    assert!(!second.iter().any(|step| step.contains("pod_phase")));
    assert_eq!(found.jobs[1].config["scrape_interval"], "30s", "the Operator's default");
}

#[test]
fn a_pod_monitor_and_slices_have_their_own_steps() {
    let found = generated(
        &(prometheus("serviceDiscoveryRole: EndpointSlice")
            + MONITOR
            + "---
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata: {name: p, namespace: web}
spec:
  selector: {matchLabels: {app: a}}
  jobLabel: app
  podMetricsEndpoints: [{portNumber: 9100}]
"),
    );
    let slices = steps(&found.jobs[0]);
    assert!(
        slices.contains(&"keep __meta_kubernetes_endpointslice_port_name ->  regex=http".into())
    );
    assert_eq!(
        steps(&found.jobs[2]),
        [
            "job -> __tmp_prometheus_job_name",
            "drop __meta_kubernetes_pod_phase ->  regex=(Failed|Succeeded)",
            "keep __meta_kubernetes_pod_label_app+__meta_kubernetes_pod_labelpresent_app ->  regex=(a);true",
            "keep __meta_kubernetes_pod_container_port_number ->  regex=9100",
            "__meta_kubernetes_namespace -> namespace",
            "__meta_kubernetes_pod_container_name -> container",
            "__meta_kubernetes_pod_name -> pod",
            "__meta_kubernetes_pod_label_zone -> zone regex=(.+) replacement=${1}",
            "-> job replacement=web/p",
            "__meta_kubernetes_pod_label_app -> job regex=(.+) replacement=${1}",
            "-> endpoint replacement=9100",
        ]
    );
    assert_eq!(found.jobs[2].name, "podMonitor/web/p/0");
}

#[test]
fn probes_and_scrape_configs() {
    let found = generated(
        &(prometheus("scrapeInterval: 20s\n  scrapeTimeout: 15s")
            + "
apiVersion: monitoring.coreos.com/v1
kind: Probe
metadata: {name: blackbox, namespace: web}
spec:
  jobName: http
  prober: {url: 'prober:9115'}
  module: http_2xx
  targets:
    staticConfig: {static: ['https://a.example'], labels: {zone: eu}}
---
apiVersion: monitoring.coreos.com/v1alpha1
kind: ScrapeConfig
metadata: {name: node, namespace: web}
spec:
  jobName: machines
  scrapeInterval: 5s
  staticConfigs: [{targets: ['a:9100'], labels: {x: y}}]
  relabelings: [{sourceLabels: [__address__], targetLabel: instance}]
"),
    );
    assert_eq!(found.rejected, []);
    assert_eq!(
        steps(&found.jobs[0]),
        [
            "job -> __tmp_prometheus_job_name",
            "-> job replacement=http",
            "__address__ -> __param_target",
            "__param_target -> instance",
            "-> __address__ replacement=prober:9115",
        ]
    );
    let probe = &found.jobs[0].config;
    assert_eq!(probe["metrics_path"], "/probe");
    assert_eq!(probe["params"]["module"][0], "http_2xx");
    assert_eq!(probe["static_configs"][0]["labels"]["namespace"], "web");
    assert_eq!(probe["scrape_timeout"], "15s");
    let scrape = &found.jobs[1];
    assert_eq!(scrape.name, "scrapeConfig/web/node");
    assert_eq!(steps(scrape)[1], "-> job replacement=machines");
    assert_eq!(scrape.config["scrape_timeout"], "5s", "the general one is cut to the interval");
}

#[test]
fn null_selects_nothing_and_a_missing_secret_rejects_one_monitor() {
    let monitor = MONITOR.replace(
        "  - port: http\n",
        "  - port: http\n    basicAuth: {password: {name: s, key: p}}\n",
    );
    let none = prometheus("").replace("  serviceMonitorSelector: {}\n", "");
    assert_eq!(generated(&(none + MONITOR)).jobs.len(), 0);
    let own = prometheus("").replace("  serviceMonitorNamespaceSelector: {}\n", "");
    assert_eq!(generated(&(own + MONITOR)).jobs.len(), 0, "only its own namespace");
    let other = MONITOR.replace("name: api,", "name: other,");
    let found = generated(&(prometheus("") + &monitor + "---\n" + &other));
    assert_eq!(found.jobs.len(), 2, "the other one is in force");
    assert_eq!(
        found.rejected[0].reason,
        "spec.endpoints[0].basicAuth.password: there is no key \"p\" in Secret web/s"
    );
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: web}\nstringData: {p: hunter2}\n";
    let found = generated(&(prometheus("") + &monitor + secret));
    assert_eq!(found.rejected, []);
    assert_eq!(found.jobs[0].config["basic_auth"]["password"], "hunter2");
    assert!(!format!("{found:?}").contains("hunter2"));
}

#[test]
fn targets_of_slices_have_the_labels_of_their_service() {
    let inventory = "---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: web, labels: {app.kubernetes.io/name: api}}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: api-1, namespace: web, labels: {kubernetes.io/service-name: api}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.0.0.1], nodeName: n1, conditions: {ready: true}}
- {addresses: [10.0.0.2]}
";
    for role in ["Endpoints", "EndpointSlice"] {
        let text = prometheus(&format!("serviceDiscoveryRole: {role}")) + MONITOR + inventory;
        let found = generated(&text);
        let groups = &found.jobs[0].groups;
        assert_eq!(groups.len(), 1, "{role}");
        assert_eq!(groups[0].labels["__meta_kubernetes_service_name"], "api");
        let addresses: Vec<_> = groups[0].targets.iter().map(|it| &it["__address__"]).collect();
        assert_eq!(addresses, ["10.0.0.1:8080", "10.0.0.2:8080"], "{role}");
    }
    let elsewhere = inventory.replace("namespace: web", "namespace: shop");
    let found = generated(&(prometheus("") + MONITOR + &elsewhere));
    assert_eq!(found.jobs[0].groups, [], "a monitor looks into its own namespace");
}

#[test]
fn limits_and_classes() {
    let found = generated(
        &(prometheus(
            "enforcedSampleLimit: 100
  sampleLimit: 500
  scrapeClasses:
  - name: secure
    default: true
    tlsConfig: {insecureSkipVerify: true}
    relabelings: [{targetLabel: class, replacement: secure}]",
        ) + MONITOR),
    );
    let job = &found.jobs[0];
    assert_eq!(job.config["sample_limit"], 100);
    assert_eq!(job.config["tls_config"]["insecure_skip_verify"], true);
    let steps = steps(job);
    let class = steps.iter().position(|it| it == "-> class replacement=secure").expect("there");
    let user = steps.iter().position(|it| it == "replace __address__ -> addr").expect("there");
    assert!(class < user, "the class comes first");
    let unknown = MONITOR.replace("spec:\n", "spec:\n  scrapeClass: nobody\n");
    let found = generated(&(prometheus("") + &unknown));
    assert_eq!(found.rejected[0].reason, "spec.scrapeClass: there is no scrape class \"nobody\"");
}

#[test]
fn equal_objects_give_equal_jobs() {
    let text = prometheus("") + MONITOR;
    assert_eq!(generated(&text), generated(&text));
}
