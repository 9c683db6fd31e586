//! Config objects against a real cluster, without Kubernetes: what is applied is scraped, and what
//! is bad changes nothing.

use std::{
    fs,
    process::{Command, Output},
    time::Duration,
};

use narthex_chaos_tests::{
    cluster::{Cluster, program},
    targets::Target,
    wait::{now, until},
};
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(30);
/// From the commit of an object to its being in force.
const IN_FORCE: Duration = Duration::from_secs(2);
const EMPTY: &str = "global: {scrape_interval: 1s}\n";
/// Base64 of a word that must be in no output.
const CANARY: &str = "Y2FuYXJ5LWh1bnRlcjI=";

/// Runs a verb against the cluster.
fn verb(cluster: &Cluster, arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.args(arguments).args(["--server", cluster.api().url()]);
    command.output().expect("the program runs")
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// Runs a verb that must end well, and says what it printed.
fn done(cluster: &Cluster, arguments: &[&str]) -> String {
    let output = verb(cluster, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    said(&output)
}

/// Objects that make a target of an address.
fn objects(target: &Target) -> String {
    let (ip, port) = target.address().rsplit_once(':').expect("HOST:PORT");
    format!(
        "
apiVersion: v1
kind: Namespace
metadata: {{name: web, labels: {{team: shop}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: api, namespace: web, labels: {{app: api}}}}
spec: {{ports: [{{name: http, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: api-1, namespace: web, labels: {{kubernetes.io/service-name: api}}}}
addressType: IPv4
ports: [{{name: http, port: {port}}}]
endpoints: [{{addresses: ['{ip}'], conditions: {{ready: true}}}}]
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {{name: api, namespace: web}}
spec:
  selector: {{matchLabels: {{app: api}}}}
  endpoints: [{{port: http, interval: 1s}}]
---
apiVersion: monitoring.coreos.com/v1
kind: Prometheus
metadata: {{name: main, namespace: monitoring}}
spec:
  serviceMonitorSelector: {{}}
  serviceMonitorNamespaceSelector: {{matchLabels: {{team: shop}}}}
  serviceDiscoveryRole: EndpointSlice
  replicas: 2
"
    )
}

fn active_targets(cluster: &Cluster) -> Result<Vec<Value>, String> {
    let targets = cluster.api().data("/api/v1/targets")?;
    Ok(targets["activeTargets"].as_array().cloned().unwrap_or_default())
}

#[test]
fn objects_are_scraped_without_kubernetes_until_they_are_deleted() {
    let target = Target::start();
    let cluster = Cluster::start(EMPTY);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("objects.yaml");
    fs::write(&file, objects(&target)).expect("written");
    let file = file.to_str().expect("UTF-8");

    let trial = done(&cluster, &["apply", "--dry-run", "-f", file]);
    assert!(trial.contains("servicemonitor.monitoring.coreos.com/api created (server dry run)"));
    let differences = verb(&cluster, &["diff", "-f", file]);
    assert_eq!(differences.status.code(), Some(1), "{}", said(&differences));
    assert_eq!(active_targets(&cluster).expect("an answer"), [] as [Value; 0]);

    let applied = done(&cluster, &["apply", "-f", file]);
    let since = now();
    assert!(applied.contains("prometheus.monitoring.coreos.com/main created"), "{applied}");
    let note = "spec.replicas: ignored: there is no pod that it could be about";
    assert!(applied.contains(note), "{applied}");
    let found = until("the target is known", DEADLINE, || {
        active_targets(&cluster)?.pop().ok_or_else(|| cluster.log())
    });
    assert!(since.elapsed() < IN_FORCE, "in force after {:?}", since.elapsed());
    assert_eq!(found["scrapePool"], "serviceMonitor/web/api/0");
    for (name, value) in
        [("namespace", "web"), ("service", "api"), ("job", "api"), ("endpoint", "http")]
    {
        assert_eq!(found["labels"][name], value, "{found}");
    }
    let discovered = &found["discoveredLabels"];
    assert_eq!(discovered["__meta_kubernetes_service_label_app"], "api", "{discovered}");
    until("the target is scraped", DEADLINE, || {
        match cluster.api().single("up{job=\"api\",namespace=\"web\"}")? {
            1.0 => Ok(()),
            other => Err(other.to_string()),
        }
    });
    let why = done(&cluster, &["why", "smon/api", "-n", "web"]);
    assert!(why.contains("Selection: selected by Prometheus monitoring/main"), "{why}");
    assert!(why.contains(&format!("{}/metrics is up", target.address())), "{why}");
    let table = done(&cluster, &["get", "smon", "-A"]);
    assert!(table.contains("1 job"), "{table}");
    assert!(
        done(&cluster, &["apply", "-f", file])
            .contains("servicemonitor.monitoring.coreos.com/api unchanged")
    );
    assert_eq!(
        done(&cluster, &["diff", "-f", file])
            .lines()
            .filter(|it| !it.starts_with("note: "))
            .count(),
        0
    );

    let deleted = done(&cluster, &["delete", "smon/api", "-n", "web"]);
    assert_eq!(deleted.trim(), "servicemonitor.monitoring.coreos.com/api deleted");
    let since = now();
    until("the target is gone", DEADLINE, || match active_targets(&cluster)?.len() {
        0 => Ok(()),
        targets => Err(targets.to_string()),
    });
    assert!(since.elapsed() < IN_FORCE, "gone after {:?}", since.elapsed());
}

#[test]
fn rules_of_objects_are_evaluated_until_they_are_deleted() {
    let cluster = Cluster::start(EMPTY);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rules.yaml");
    let rules = "
apiVersion: monitoring.coreos.com/v1
kind: Prometheus
metadata: {name: main, namespace: monitoring}
spec: {ruleSelector: {matchLabels: {role: rules}}, ruleNamespaceSelector: {}}
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {name: ours, namespace: web, labels: {role: rules}}
spec:
  groups:
    - name: g
      interval: 1s
      rules:
        - {record: from_object, expr: vector(7)}
        - {alert: Always, expr: vector(1), labels: {severity: page}}
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {name: others, namespace: web}
spec: {groups: [{name: g, rules: [{record: not_selected, expr: vector(8)}]}]}
";
    fs::write(&file, rules).expect("written");
    done(&cluster, &["apply", "-f", file.to_str().expect("UTF-8")]);
    until("the rule is evaluated", DEADLINE, || match cluster.api().single("from_object")? {
        7.0 => Ok(()),
        other => Err(other.to_string()),
    });
    let groups = cluster.api().data("/api/v1/rules").expect("an answer");
    let names: Vec<_> =
        groups["groups"].as_array().into_iter().flatten().map(|it| &it["file"]).collect();
    assert_eq!(names, ["web/ours"], "{groups}");
    until("the alert fires", DEADLINE, || {
        let alerts = cluster.api().data("/api/v1/alerts")?;
        match alerts["alerts"][0]["state"].as_str() {
            Some("firing") => Ok(()),
            _ => Err(alerts.to_string()),
        }
    });
    done(&cluster, &["delete", "promrule/ours", "-n", "web"]);
    until("its series has ended", DEADLINE, || match cluster.api().vector("from_object", "job") {
        Ok(found) if found.is_empty() => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn a_bad_object_is_refused_by_its_path_and_changes_nothing() {
    let target = Target::start();
    let cluster = Cluster::start(EMPTY);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("objects.yaml");
    fs::write(&file, objects(&target)).expect("written");
    let path = file.to_str().expect("UTF-8");
    done(&cluster, &["apply", "-f", path]);
    until("the target is known", DEADLINE, || {
        active_targets(&cluster)?.pop().ok_or_else(|| "none".to_owned())
    });
    let before = done(&cluster, &["get", "smon/api", "-n", "web", "-o", "yaml"]);

    let bad = objects(&target).replace("interval: 1s", "interval: 1s, scrapeTimeout: 5s");
    let bad = bad.replace("labels: {team: shop}", "labels: {team: shop, also: this}");
    fs::write(&file, bad).expect("written");
    let refused = verb(&cluster, &["apply", "-f", path]);
    assert_eq!(refused.status.code(), Some(1));
    let text = said(&refused);
    let problem = "refused: servicemonitor/api in web: spec.endpoints[0].scrapeTimeout: 5s is longer \
                   than the interval 1s";
    assert!(text.contains(problem), "{text}");
    assert!(text.contains("namespace/web configured"), "others are applied: {text}");
    let after = done(&cluster, &["get", "smon/api", "-n", "web", "-o", "yaml"]);
    assert_eq!(after, before, "it is as it was");
    assert_eq!(active_targets(&cluster).expect("an answer").len(), 1);

    let unknown = verb(&cluster, &["get", "deployments"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(said(&unknown).contains("there is no kind \"deployments\""), "{}", said(&unknown));
    assert_eq!(verb(&cluster, &["get", "smon", "-o", "png"]).status.code(), Some(2));
}

#[test]
fn secrets_are_masked_and_old_objects_come_back() {
    let cluster = Cluster::start(EMPTY);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("secret.yaml");
    let path = file.to_str().expect("UTF-8");
    let secret = |data: &str| {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\ndata: {{p: {data}}}\n")
    };
    fs::write(&file, secret(CANARY)).expect("written");
    done(&cluster, &["apply", "-f", path, "--note", "first"]);
    fs::write(&file, secret("b3RoZXI=")).expect("written");
    let differences = verb(&cluster, &["diff", "-f", path]);
    done(&cluster, &["apply", "-f", path]);
    let list = cluster.api().text("/api/v1/objects").expect("an answer").1;
    let outputs = [
        said(&differences),
        done(&cluster, &["get", "secret", "s", "-o", "yaml"]),
        done(&cluster, &["get", "all", "-A", "-o", "json"]),
        done(&cluster, &["describe", "secret/s"]),
        done(&cluster, &["history"]),
        list,
        cluster.api().text("/api/v1/status/config").expect("an answer").1,
        cluster.log(),
    ];
    for output in outputs {
        assert!(!output.contains(CANARY) && !output.contains("b3RoZXI="), "{output}");
        assert!(!output.contains("canary-hunter2"), "{output}");
    }

    let history = done(&cluster, &["history", "secret/s"]);
    let last = history.lines().last().expect("two changes");
    let revision = last.split_whitespace().nth(6).expect("the revision before");
    assert!(history.contains("first"), "{history}");
    done(&cluster, &["rollback", "secret/s", "--to-revision", revision]);
    let shown = done(&cluster, &["get", "secret", "s", "-o", "yaml", "--show-secrets"]);
    assert!(shown.contains(CANARY), "{shown}");
    let unknown = verb(&cluster, &["rollback", "secret/s", "--to-revision", "1"]);
    assert_eq!(unknown.status.code(), Some(1));
}
