//! Requests against a state, without a cluster.

use narthex_cluster::{Addresses, Binary, ClusterId, ClusterVersion, Found, Founder, NodeId};
use narthex_model::Timestamp;

use super::*;

const ANN: Author<'static> = Author { who: "ann", note: "" };

/// A cluster without objects.
fn founded() -> ClusterState {
    let founder = Founder {
        node: NodeId(1),
        name: "a".into(),
        addresses: Addresses::default(),
        zone: String::new(),
        binary: Binary { level: ClusterVersion::CURRENT, text: String::new() },
    };
    let found = Found {
        cluster: ClusterId::from_random_bytes([9; 16]),
        members: vec![founder],
        shards: 1,
        replication_factor: 1,
    };
    let mut state = ClusterState::new();
    let at = Timestamp::from_millis(1);
    state.apply(&Request { id: RequestId(1), at, command: Command::Found(found) });
    state
}

fn request(documents: &[&str]) -> ApplyObjectsRequest {
    let documents = documents.iter().map(|text| (*text).to_owned()).collect();
    ApplyObjectsRequest { documents, ..ApplyObjectsRequest::default() }
}

/// Carries a plan out, and says what became of each object.
fn carried_out(state: &mut ClusterState, mut plan: Plan) -> Vec<String> {
    for chunk in super::super::chunks(plan.changes()) {
        let command = Command::ChangeObjects(ANN.request(chunk));
        let id = RequestId(u128::from(state.revision()) + 100);
        match state.apply(&Request { id, at: state.time(), command }) {
            Outcome::Objects { revision, outcomes } => plan.note_outcomes(revision, outcomes),
            other => panic!("{other:?}"),
        }
    }
    let results = plan.finish().results;
    let line = |result: ObjectResult| {
        format!("{} {} {}", result.object, result.outcome, result.problems.join("; "))
            .trim_end()
            .to_owned()
    };
    results.into_iter().map(line).collect()
}

const SECRET: &str =
    r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"stringData":{"p":"hunter2"}}"#;
const MONITOR: &str = r#"{"apiVersion":"monitoring.coreos.com/v1","kind":"ServiceMonitor","metadata":{"name":"m"},
"spec":{"selector":{},"endpoints":[{"basicAuth":{"password":{"name":"s","key":"p"}}}]}}"#;

#[test]
fn a_bad_object_changes_nothing_and_blocks_none() {
    let mut state = founded();
    let plan = apply(&state, &request(&["{", &MONITOR.replace("endpoints", "endpoint"), SECRET]));
    let results = carried_out(&mut state, plan.expect("a plan"));
    assert_eq!(results.len(), 3);
    assert!(results[0].contains("refused : it is no JSON"), "{}", results[0]);
    assert_eq!(
        results[1],
        "servicemonitor/m refused spec.endpoints: required, and missing; spec.endpoint: unknown field"
    );
    assert_eq!(results[2], "secret/s created");
    assert_eq!(state.objects().iter().count(), 1);
}

#[test]
fn references_lead_to_objects_of_the_same_request_or_of_the_state() {
    let mut state = founded();
    let plan = apply(&state, &request(&[MONITOR])).expect("a plan");
    assert_eq!(
        carried_out(&mut state, plan),
        ["servicemonitor.monitoring.coreos.com/m refused \
          spec.endpoints[0].basicAuth.password: there is no Secret default/s"]
    );
    let plan = apply(&state, &request(&[MONITOR, SECRET])).expect("a plan");
    let created = ["servicemonitor.monitoring.coreos.com/m created", "secret/s created"];
    assert_eq!(carried_out(&mut state, plan), created);
    let other = MONITOR.replace(r#""key":"p""#, r#""key":"q""#);
    let plan = apply(&state, &request(&[&other])).expect("a plan");
    let refused = carried_out(&mut state, plan);
    assert!(refused[0].ends_with("there is no key \"q\" in Secret default/s"), "{refused:?}");
}

#[test]
fn a_trial_changes_nothing_and_shows_no_secret() {
    let state = founded();
    let mut plan = apply(&state, &request(&[SECRET, SECRET])).expect("a plan");
    plan.try_out(&state, &ANN);
    let results = plan.finish().results;
    assert_eq!((results[0].outcome.as_str(), results[0].revision), ("created", 0));
    assert!(results[0].before.is_empty() && results[0].after.contains("<secret>"));
    assert_eq!(results[1].outcome, "refused", "the same object twice");
    assert_eq!(state.objects().iter().count(), 0);
}

#[test]
fn what_is_left_out_is_pruned_where_it_is_asked_for() {
    let mut state = founded();
    let map = |name: &str, namespace: &str, label: &str| {
        format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}","namespace":"{namespace}","labels":{{"app":"{label}"}}}}}}"#
        )
    };
    let all =
        [map("a", "web", "x"), map("b", "web", "x"), map("c", "web", "y"), map("d", "shop", "x")];
    let texts: Vec<&str> = all.iter().map(String::as_str).collect();
    let plan = apply(&state, &request(&texts)).expect("a plan");
    assert_eq!(carried_out(&mut state, plan).len(), 4);
    let pruning = |documents: &[&str]| ApplyObjectsRequest {
        prune: true,
        prune_selector: "app=x".to_owned(),
        ..request(documents)
    };
    let plan = apply(&state, &pruning(&[&all[0], "{"])).expect("a plan");
    let results = carried_out(&mut state, plan);
    assert_eq!(results.len(), 2, "nothing is pruned where a document is refused: {results:?}");
    let plan = apply(&state, &pruning(&[&all[0]])).expect("a plan");
    assert_eq!(carried_out(&mut state, plan), ["configmap/a unchanged", "configmap/b pruned"]);
    assert!(
        apply(
            &state,
            &ApplyObjectsRequest { prune: true, prune_selector: "app".into(), ..request(&[]) }
        )
        .is_err()
    );
}

#[test]
fn a_rollback_brings_back_what_was() {
    let mut state = founded();
    let map = |value: &str| {
        format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"a"}},"data":{{"x":"{value}"}}}}"#
        )
    };
    for value in ["1", "2"] {
        let plan = apply(&state, &request(&[&map(value)])).expect("a plan");
        carried_out(&mut state, plan);
    }
    let name = ObjectName { kind: "cm".into(), namespace: String::new(), name: "a".into() };
    let back =
        |revision| RollbackObjectRequest { object: Some(name.clone()), revision, dry_run: false };
    let unknown = rollback(&state, &back(99)).map(drop).expect_err("unknown");
    assert_eq!(unknown.code(), tonic::Code::NotFound);
    let plan = rollback(&state, &back(2)).expect("a plan");
    assert_eq!(carried_out(&mut state, plan), ["configmap/a configured"]);
    let (_, key) = key_of(&name).expect("a key");
    let body =
        String::from_utf8_lossy(&state.objects().get(&key).expect("there").body).into_owned();
    assert!(body.contains(r#""x":"1""#), "{body}");
}

#[test]
fn a_namespace_with_objects_is_not_deleted_without_them() {
    let mut state = founded();
    let namespace = r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"web"}}"#;
    let map = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"web"}}"#;
    let plan = apply(&state, &request(&[namespace, map])).expect("a plan");
    carried_out(&mut state, plan);
    let name = |kind: &str, name: &str| ObjectName {
        kind: kind.into(),
        namespace: "web".into(),
        name: name.into(),
    };
    let deleting = |objects| DeleteObjectsRequest { objects, ..DeleteObjectsRequest::default() };
    let plan = delete(&state, &deleting(vec![name("ns", "web")])).expect("a plan");
    let results = carried_out(&mut state, plan);
    assert_eq!(
        results,
        ["namespace/web refused metadata.name: 1 objects are in it; delete them first"]
    );
    let plan = delete(&state, &deleting(vec![name("cm", "a"), name("ns", "web")])).expect("a plan");
    assert_eq!(carried_out(&mut state, plan), ["configmap/a deleted", "namespace/web deleted"]);
}
