//! What a request asks of the control group, and what comes of it. Decisions only.

use std::collections::{BTreeMap, BTreeSet};

use narthex_cluster::{
    ChangeObjects, ClusterState, Command, DeleteObject, Expected, ObjectChange, ObjectKey,
    ObjectOutcome, Outcome, Owner, PutObject, Request, RequestId,
};
use narthex_objects::{Kind, Manifest, Problem, Reference, render};
use narthex_proto::v1::{
    ApplyObjectsRequest, DeleteObjectsRequest, ObjectName, ObjectResult, ObjectResults,
    RollbackObjectRequest,
};
use serde_json::Value;
use tonic::Status;

use super::{
    show::{matches, selector},
    word,
};

/// Where objects are that name no namespace.
pub const DEFAULT_NAMESPACE: &str = "default";
/// Documents of a request at most.
const DOCUMENTS_MAX: usize = 10_000;

/// Who changes objects, and why.
pub struct Author<'a> {
    pub who: &'a str,
    pub note: &'a str,
}

impl Author<'_> {
    /// The request to the control group.
    pub fn request(&self, changes: Vec<ObjectChange>) -> ChangeObjects {
        ChangeObjects {
            owner: Owner::User(self.who.to_owned()),
            who: self.who.to_owned(),
            note: self.note.to_owned(),
            changes,
        }
    }
}

/// Changes to be asked for, and what is known of the others.
pub struct Plan {
    results: Vec<ObjectResult>,
    /// With the places of their results.
    changes: Vec<(usize, ObjectChange)>,
    /// How many of the changes have an outcome.
    decided: usize,
}

impl Plan {
    fn new() -> Self {
        Self { results: Vec::new(), changes: Vec::new(), decided: 0 }
    }

    fn refuse(&mut self, mut result: ObjectResult, problems: &[Problem]) {
        "refused".clone_into(&mut result.outcome);
        result.problems = problems.iter().map(ToString::to_string).collect();
        self.results.push(result);
    }

    fn ask(&mut self, result: ObjectResult, change: ObjectChange) {
        self.changes.push((self.results.len(), change));
        self.results.push(result);
    }

    /// All changes, in order.
    pub fn changes(&self) -> Vec<ObjectChange> {
        self.changes.iter().map(|(_, change)| change.clone()).collect()
    }

    /// Takes what became of the next changes.
    pub fn note_outcomes(&mut self, revision: u64, outcomes: Vec<ObjectOutcome>) {
        for outcome in outcomes {
            let Some((at, _)) = self.changes.get(self.decided) else { return };
            self.decided += 1;
            let result = &mut self.results[*at];
            // What is pruned says so.
            if result.outcome.is_empty() || matches!(outcome, ObjectOutcome::Refused(_)) {
                word(&outcome).clone_into(&mut result.outcome);
            }
            match outcome {
                ObjectOutcome::Refused(problem) => result.problems.push(problem.to_string()),
                ObjectOutcome::Unchanged => {}
                _ => result.revision = revision,
            }
        }
    }

    /// Finds out what would come of it, by applying it to a copy of the state.
    pub fn try_out(&mut self, state: &ClusterState, author: &Author<'_>) {
        let mut trial = state.clone();
        for (number, chunk) in (0..).zip(super::chunks(self.changes())) {
            let keys: Vec<ObjectKey> = chunk.iter().map(|change| change.key().clone()).collect();
            let first = self.decided;
            let command = Command::ChangeObjects(author.request(chunk));
            let id = RequestId(u128::MAX - number);
            match trial.apply(&Request { id, at: state.time(), command }) {
                // It has no revision: nothing was changed.
                Outcome::Objects { outcomes, .. } => self.note_outcomes(0, outcomes),
                other => tracing::error!(?other, "BUG: a trial of objects ended otherwise"),
            }
            for (offset, key) in keys.iter().enumerate() {
                let Some((at, _)) = self.changes.get(first + offset) else { continue };
                let shown = |state: &ClusterState| {
                    let object = state.objects().get(key);
                    object.map(|object| render(object, false).to_string()).unwrap_or_default()
                };
                self.results[*at].before = shown(state);
                self.results[*at].after = shown(&trial);
            }
        }
    }

    /// The answer.
    pub fn finish(self) -> ObjectResults {
        ObjectResults { results: self.results }
    }
}

fn result_of(kind: Kind, key: &ObjectKey) -> ObjectResult {
    ObjectResult {
        object: kind.object_name(&key.name),
        namespace: key.namespace.clone(),
        ..ObjectResult::default()
    }
}

/// What documents ask for.
pub fn apply(state: &ClusterState, request: &ApplyObjectsRequest) -> Result<Plan, Status> {
    if request.documents.len() > DOCUMENTS_MAX {
        let message = format!("more than {DOCUMENTS_MAX} documents in one request");
        return Err(Status::invalid_argument(message));
    }
    let namespace = match request.namespace.as_str() {
        "" => DEFAULT_NAMESPACE,
        namespace => namespace,
    };
    let read: Vec<Result<Manifest, Unreadable>> =
        request.documents.iter().map(|document| manifest(document, namespace)).collect();
    let valid: BTreeMap<&ObjectKey, &Manifest> =
        read.iter().filter_map(|it| it.as_ref().ok()).map(|it| (&it.key, it)).collect();
    let mut plan = Plan::new();
    let mut seen = BTreeSet::new();
    for manifest in &read {
        let manifest = match manifest {
            Ok(manifest) => manifest,
            Err(Unreadable { object, namespace, problems }) => {
                let (object, namespace) = (object.clone(), namespace.clone());
                let result = ObjectResult { object, namespace, ..ObjectResult::default() };
                plan.refuse(result, problems);
                continue;
            }
        };
        let mut result = result_of(manifest.kind, &manifest.key);
        result.notes = manifest.notes.iter().map(ToString::to_string).collect();
        let mut problems: Vec<Problem> = manifest
            .references()
            .into_iter()
            .filter_map(|reference| missing(&reference, manifest, &valid, state))
            .collect();
        if !seen.insert(&manifest.key) {
            problems.push(Problem::new("metadata.name", "an object before it has the same one"));
        }
        match problems.is_empty() {
            true => {
                let uid = uuid::Uuid::new_v4().as_u128();
                plan.ask(result, ObjectChange::Put(manifest.put(uid)));
            }
            false => plan.refuse(result, &problems),
        }
    }
    if request.prune {
        prune(&mut plan, state, request, &seen)?;
    }
    Ok(plan)
}

/// A document that is no object, with what it calls itself.
struct Unreadable {
    object: String,
    namespace: String,
    problems: Vec<Problem>,
}

fn manifest(document: &str, namespace: &str) -> Result<Manifest, Unreadable> {
    let value: Value = serde_json::from_str(document).map_err(|error| Unreadable {
        object: String::new(),
        namespace: String::new(),
        problems: vec![Problem::new("", format!("it is no JSON: {error}"))],
    })?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, metadata) = (text(&value["kind"]), &value["metadata"]);
    let object = format!("{}/{}", kind.to_lowercase(), text(&metadata["name"]));
    let of = text(&metadata["namespace"]);
    Manifest::read(value, namespace).map_err(|problems| Unreadable {
        object,
        namespace: of,
        problems,
    })
}

/// Why a reference leads nowhere: what it names is neither there nor among the documents.
fn missing(
    reference: &Reference,
    manifest: &Manifest,
    valid: &BTreeMap<&ObjectKey, &Manifest>,
    state: &ClusterState,
) -> Option<Problem> {
    let key = ObjectKey {
        group: reference.kind.group().to_owned(),
        kind: reference.kind.name().to_owned(),
        namespace: manifest.key.namespace.clone(),
        name: reference.name.clone(),
    };
    let body = match valid.get(&key) {
        Some(manifest) => Some(manifest.value()),
        None => state.objects().get(&key).and_then(|it| serde_json::from_slice(&it.body).ok()),
    };
    let place = format!("{} {}/{}", reference.kind, key.namespace, key.name);
    let message = match body {
        None => format!("there is no {place}"),
        Some(body) if body["data"][reference.key.as_str()].is_null() => {
            format!("there is no key {:?} in {place}", reference.key)
        }
        Some(_) => return None,
    };
    Some(Problem::new(reference.path.clone(), message))
}

/// Deletes what users applied to the documents' namespaces and is not among the documents.
fn prune(
    plan: &mut Plan,
    state: &ClusterState,
    request: &ApplyObjectsRequest,
    named: &BTreeSet<&ObjectKey>,
) -> Result<(), Status> {
    if plan.results.iter().any(|result| result.outcome == "refused") {
        // A document that is refused would be taken for one that was left out.
        return Ok(());
    }
    let wanted = selector(&request.prune_selector)?;
    let namespaces: BTreeSet<&str> = named.iter().map(|key| key.namespace.as_str()).collect();
    for object in state.objects().iter() {
        let key = &object.key;
        let is_users = matches!(object.owner, Owner::User(_));
        let is_left_out = !key.namespace.is_empty()
            && namespaces.contains(key.namespace.as_str())
            && !named.contains(key);
        let Some(kind) = Kind::of_stored(&key.group, &key.kind) else { continue };
        if is_users && is_left_out && matches(&wanted, &object.labels) {
            let mut result = result_of(kind, key);
            "pruned".clone_into(&mut result.outcome);
            let expected = Expected::Revision(object.revision);
            let delete = DeleteObject { key: key.clone(), expected };
            plan.ask(result, ObjectChange::Delete(delete));
        }
    }
    Ok(())
}

/// What names ask for.
pub fn delete(state: &ClusterState, request: &DeleteObjectsRequest) -> Result<Plan, Status> {
    let mut plan = Plan::new();
    let mut leaving = BTreeSet::new();
    for name in &request.objects {
        let (kind, key) = key_of(name)?;
        leaving.insert(key.clone());
        let result = result_of(kind, &key);
        let left = match kind {
            Kind::Namespace => left_in(state, &key.name, &leaving),
            _ => 0,
        };
        if left > 0 {
            let message = format!("{left} objects are in it; delete them first");
            plan.refuse(result, &[Problem::new("metadata.name", message)]);
            continue;
        }
        let delete = DeleteObject { key, expected: Expected::Any };
        plan.ask(result, ObjectChange::Delete(delete));
    }
    Ok(plan)
}

/// How many objects of a namespace stay.
fn left_in(state: &ClusterState, namespace: &str, leaving: &BTreeSet<ObjectKey>) -> usize {
    let all = state.objects().iter();
    all.filter(|it| it.key.namespace == namespace && !leaving.contains(&it.key)).count()
}

/// What brings an object back.
pub fn rollback(state: &ClusterState, request: &RollbackObjectRequest) -> Result<Plan, Status> {
    let name = request.object.as_ref();
    let name = name.ok_or_else(|| Status::invalid_argument("no object is named"))?;
    let (kind, key) = key_of(name)?;
    let Some(then) = state.objects().at_revision(&key, request.revision) else {
        return Err(Status::not_found(format!(
            "revision {} of {key} is not remembered; `narthex history` lists those that are",
            request.revision
        )));
    };
    let put = PutObject {
        key: key.clone(),
        expected: match state.objects().get(&key) {
            Some(present) => Expected::Revision(present.revision),
            None => Expected::Absent,
        },
        uid: uuid::Uuid::new_v4().as_u128(),
        labels: then.labels.clone(),
        annotations: then.annotations.clone(),
        body: then.body.clone(),
    };
    let mut plan = Plan::new();
    plan.ask(result_of(kind, &key), ObjectChange::Put(put));
    Ok(plan)
}

/// The place that a name means.
pub fn key_of(name: &ObjectName) -> Result<(Kind, ObjectKey), Status> {
    let kind =
        Kind::of_word(&name.kind).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let namespace = match (kind.is_namespaced(), name.namespace.as_str()) {
        (false, _) => "",
        (true, "") => DEFAULT_NAMESPACE,
        (true, namespace) => namespace,
    };
    let key = ObjectKey {
        group: kind.group().to_owned(),
        kind: kind.name().to_owned(),
        namespace: namespace.to_owned(),
        name: name.name.clone(),
    };
    Ok((kind, key))
}

#[cfg(test)]
mod tests;
