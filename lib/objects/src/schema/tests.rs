//! Tables against objects, and against the Operator's own schemas where those lie beside the
//! project.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{Manifest, read_documents};

fn problems(kind: Kind, object: &Value) -> Vec<String> {
    let version = kind.api_versions().remove(0);
    check(kind, &version, object).problems.iter().map(ToString::to_string).collect()
}

fn monitor(spec: Value) -> Value {
    json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": { "name": "a" },
        "spec": spec,
    })
}

#[test]
fn fields_are_refused_by_their_paths() {
    let found = problems(
        Kind::ServiceMonitor,
        &monitor(json!({
            "selector": { "matchLabels": { "a": 1 } },
            "endpoints": [{}, {}, { "interval": "5x", "ports": "http", "scheme": "ftp" }],
            "sampleLimit": -1,
            "bodySizeLimit": "many",
            "jobLabel": null,
        })),
    );
    assert_eq!(
        found,
        [
            "spec.bodySizeLimit: units: invalid \"many\"",
            "spec.endpoints[2].interval: unknown unit \"x\" in duration \"5x\"",
            "spec.endpoints[2].ports: unknown field",
            "spec.endpoints[2].scheme: want one of http, https, HTTP, HTTPS, got \"ftp\"",
            "spec.sampleLimit: want a whole number from 0, got -1",
            "spec.selector.matchLabels[a]: want a text, got 1",
        ]
    );
    let found = problems(Kind::ServiceMonitor, &monitor(json!({ "endpoints": {} })));
    assert_eq!(
        found,
        [
            "spec.selector: required, and missing",
            "spec.endpoints: want a list of objects, got an object",
        ]
    );
}

#[test]
fn what_only_pods_have_is_taken_and_noted() {
    let object = json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "Prometheus",
        "metadata": { "name": "a" },
        "spec": { "affinity": { "anything": [1] }, "retention": "5d", "replicas": 2 },
    });
    let checked = check(Kind::Prometheus, "monitoring.coreos.com/v1", &object);
    assert_eq!(checked.problems, []);
    let notes: Vec<_> = checked.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            "spec.affinity: ignored: there is no pod that it could be about",
            "spec.replicas: ignored: there is no pod that it could be about",
            "spec.retention: not in force in this version of Narthex",
        ]
    );
}

#[test]
fn references_are_found_by_their_shape() {
    let object = monitor(json!({
        "selector": {},
        "endpoints": [
            { "basicAuth": { "password": { "name": "s", "key": "p" } } },
            { "tlsConfig": { "ca": { "configMap": { "name": "c", "key": "ca" } } } },
            { "bearerTokenSecret": { "name": "t", "key": "k", "optional": true } },
        ],
    }));
    let found = references(Kind::ServiceMonitor, "monitoring.coreos.com/v1", &object);
    let found: Vec<_> =
        found.iter().map(|it| (it.path.as_str(), it.kind, it.name.as_str())).collect();
    assert_eq!(
        found,
        [
            ("spec.endpoints[0].basicAuth.password", Kind::Secret, "s"),
            ("spec.endpoints[1].tlsConfig.ca.configMap", Kind::ConfigMap, "c"),
        ]
    );
}

#[test]
fn fields_are_explained_by_their_path() {
    let found = explain(Kind::ServiceMonitor, "spec.endpoints.interval").expect("it is there");
    assert_eq!(found.path, "ServiceMonitor.spec.endpoints.interval");
    assert_eq!(found.of, "a duration such as 30s or 1h30m");
    let found = explain(Kind::Prometheus, "spec.affinity").expect("it is there");
    assert!(!found.without_effect.is_empty());
    let found = explain(Kind::AlertmanagerConfig, "spec.route.routes.routes").expect("again");
    assert!(found.fields.iter().any(|(name, _)| name == "receiver"));
    let problem = explain(Kind::Probe, "spec.nothing").expect_err("unknown").to_string();
    assert!(problem.starts_with("Probe.spec: there is no field \"nothing\", only "), "{problem}");
}

/// Files of public projects, where they lie in `shared/data` beside the project or around it.
fn shared(folder: &str) -> Option<Vec<PathBuf>> {
    let folder = Path::new("shared/data").join(folder);
    let around = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let found = around.map(|place| place.join(&folder)).find(|place| place.is_dir());
    let Some(found) = found else {
        eprintln!("skipped: there is no folder {}", folder.display());
        return None;
    };
    let entries = std::fs::read_dir(found).expect("readable");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    Some(paths)
}

/// Every field of the Operator's schemas is in our tables, and required where it is there.
#[test]
fn tables_have_the_fields_of_the_operators_schemas() {
    let Some(paths) = shared("crds") else { return };
    let mut compared = 0;
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("readable");
        for definition in read_documents(&text).expect("valid YAML") {
            let kind = definition["spec"]["names"]["kind"].as_str().expect("a kind");
            let kind = Kind::of_word(kind).expect("a known kind");
            for version in definition["spec"]["versions"].as_array().expect("versions") {
                let name =
                    format!("{}/{}", kind.group(), version["name"].as_str().expect("a name"));
                let schema = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
                let table = tables::of(kind, &name);
                let spec = table.iter().find(|field| field.name == "spec").expect("it has one");
                compared += compare(&format!("{kind}.spec"), schema, spec.of);
            }
        }
    }
    assert!(compared > 2000, "only {compared} fields were compared");
}

fn compare(path: &str, schema: &Value, of: Type) -> usize {
    if let Type::List(of) | Type::NonEmptyList(of) = of {
        return compare(path, &schema["items"], *of);
    }
    if let Type::Map(of) = of {
        return compare(path, &schema["additionalProperties"], *of);
    }
    let Some(properties) = schema["properties"].as_object() else { return 0 };
    if matches!(of, Type::Any) {
        return 0;
    }
    let table = fields_of(of);
    let names: Vec<_> = table.iter().map(|field| field.name).collect();
    let wanted: Vec<_> = properties.keys().map(String::as_str).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, wanted, "fields of {path}");
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut compared = names.len();
    for field in table {
        let is_required = required.iter().any(|name| name == field.name);
        assert_eq!(field.is_required, is_required, "{path}.{}", field.name);
        let inner = &properties[field.name];
        compared += compare(&format!("{path}.{}", field.name), inner, field.of);
    }
    compared
}

/// What people apply is taken as it is.
#[test]
fn manifests_of_kube_prometheus_are_valid() {
    let Some(paths) = shared("kube-prometheus") else { return };
    let mut read = 0;
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("readable");
        for document in read_documents(&text).expect("valid YAML") {
            let manifest = Manifest::read(document, "default");
            assert!(manifest.is_ok(), "{}: {:?}", path.display(), manifest.err());
            read += 1;
        }
    }
    assert!(read > 10, "only {read} were read");
}

/// Any JSON, some of it with the names of fields that mean something.
fn json_value() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "spec",
        "endpoints",
        "selector",
        "matchLabels",
        "relabelings",
        "groups",
        "rules",
        "expr",
        "route",
        "routes",
        "interval",
        "metadata",
        "name",
        "data",
        "targets",
        "x",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z(){}\\[\\]$:0-9]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        let name = names.clone().prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_makes_it_panic(kind in 0..17usize, version in 0..2usize, spec in json_value(), other in json_value()) {
        let kind = Kind::all().nth(kind).expect("there are seventeen");
        let versions = kind.api_versions();
        let mut object = json!({
            "apiVersion": versions[version % versions.len()],
            "kind": kind.name(),
            "metadata": { "name": "a" },
            "spec": spec,
        });
        let _ = Manifest::read(object.clone(), "default");
        object["data"] = other.clone();
        object["subsets"] = other.clone();
        let _ = Manifest::read(object, "default");
        let _ = Manifest::read(other, "default");
    }

    #[test]
    fn no_text_makes_it_panic(text in "[a-z0-9:\\-\\[\\]{} \n&*!|>'\"]{0,200}") {
        let _ = read_documents(&text);
    }
}
