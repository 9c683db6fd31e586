//! Documents and what is stored of them.

use narthex_cluster::Owner;
use narthex_model::Timestamp;

use super::*;

fn read(document: Value) -> Manifest {
    Manifest::read(document, "default").expect("a valid object")
}

fn problems(document: Value) -> Vec<String> {
    let found = Manifest::read(document, "default").expect_err("invalid");
    found.iter().map(ToString::to_string).collect()
}

fn secret() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "s",
            "annotations": { LAST_APPLIED: "{\"stringData\":{\"a\":\"hunter2\"}}" },
        },
        "stringData": { "a": "hunter2" },
    })
}

fn stored(manifest: &Manifest) -> Object {
    Object {
        key: manifest.key.clone(),
        uid: 0x1234,
        revision: 12,
        generation: 1,
        labels: manifest.labels.clone(),
        annotations: manifest.annotations.clone(),
        owner: Owner::User("ann".into()),
        created: Timestamp::from_millis(951_782_400_000),
        body: Arc::clone(&manifest.body),
    }
}

#[test]
fn what_the_cluster_says_is_not_part_of_the_body() {
    let plain = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "c", "namespace": "web" }, "data": { "a": "1" },
    });
    let mut shown = plain.clone();
    shown["metadata"] = json!({
        "name": "c", "namespace": "web", "uid": "x", "resourceVersion": "7", "generation": 3,
        "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{}],
    });
    let (plain, shown) = (read(plain), read(shown));
    assert_eq!(plain.body, shown.body);
    assert_eq!((plain.resource_version, shown.resource_version), (None, Some(7)));
    assert_eq!(shown.key.namespace, "web");
    assert_eq!(shown.put(1).expected, Expected::Revision(7));
}

#[test]
fn a_secret_is_stored_and_masked() {
    let manifest = read(secret());
    assert_eq!(manifest.value()["data"]["a"], "aHVudGVyMg==");
    assert!(!format!("{manifest:?}").contains("hunter2"));
    let object = stored(&manifest);
    let masked = render(&object, false).to_string();
    assert!(!masked.contains("hunter2") && !masked.contains("aHVudGVyMg"), "{masked}");
    assert_eq!(render(&object, true)["data"]["a"], "aHVudGVyMg==");
    // What was masked is never taken for a secret.
    assert_eq!(problems(render(&object, false)), ["data[a]: it is not base64"]);
}

#[test]
fn what_is_shown_can_be_applied_again() {
    let manifest = read(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "p", "labels": { "a": "b" },
            "ownerReferences": [{ "kind": "ReplicaSet", "name": "r", "controller": true }],
        },
        "status": { "podIP": "10.0.0.1" },
    }));
    let shown = render(&stored(&manifest), false);
    assert_eq!(shown["metadata"]["uid"], "00000000-0000-0000-0000-000000001234");
    assert_eq!(shown["metadata"]["creationTimestamp"], "2000-02-29T00:00:00Z");
    let again = read(shown);
    assert_eq!((again.body, again.labels), (manifest.body, manifest.labels));
    assert_eq!(again.key.namespace, "default");
}

#[test]
fn names_labels_and_depth_are_checked() {
    let with =
        |metadata: Value| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
    assert_eq!(
        problems(with(json!({ "name": "A_b", "namespace": "x", "labels": { "a b": "c d" } }))),
        [
            "metadata.name: \"A_b\" is no name: want a-z, 0-9, '-' and '.', at most 253",
            "metadata.namespace: a Namespace is in no namespace, got \"x\"",
            "metadata.labels[a b]: it is no label's name",
            "metadata.labels[a b]: \"c d\" is no label's value",
        ]
    );
    assert_eq!(problems(with(json!({}))), ["metadata.name: required, and missing"]);
    let mut deep = json!({});
    for _ in 0..80 {
        deep = json!([deep]);
    }
    assert_eq!(problems(json!({ "a": deep })), [": nested deeper than 64"]);
    let unknown = problems(json!({ "apiVersion": "v1", "kind": "Deployment" }));
    assert!(unknown[0].starts_with("kind: there is no kind \"Deployment\", only "), "{unknown:?}");
}
