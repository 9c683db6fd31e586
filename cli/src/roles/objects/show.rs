//! Objects and their history as they are shown.

use std::collections::{BTreeMap, BTreeSet};

use narthex_cluster::{ClusterState, Object as Stored, ObjectAction, ObjectKey};
use narthex_objects::{Generated, Kind, generate, render, rule_files, selection};
use narthex_proto::v1::{
    ListObjectsRequest, Object, ObjectHistory, ObjectHistoryRequest, ObjectList, ObjectName,
    ObjectRevision,
};
use tonic::Status;

/// Which objects are asked for.
pub struct Wanted {
    /// Empty: all.
    kinds: BTreeSet<Kind>,
    namespace: String,
    name: String,
    labels: Vec<(String, String)>,
}

impl Wanted {
    /// What a request asks for.
    pub fn read(request: &ListObjectsRequest) -> Result<Self, Status> {
        let kinds: Result<_, Status> = request.kinds.iter().map(|word| kind(word)).collect();
        Ok(Self {
            kinds: kinds?,
            namespace: request.namespace.clone(),
            name: request.name.clone(),
            labels: selector(&request.selector)?,
        })
    }

    /// Whether an object is meant.
    pub fn contains(&self, object: &Stored) -> bool {
        let key = &object.key;
        let is_kind = || {
            Kind::of_stored(&key.group, &key.kind).is_some_and(|kind| self.kinds.contains(&kind))
        };
        let is = |wanted: &str, given: &str| wanted.is_empty() || wanted == given;
        // What is in no namespace is in all of them.
        let in_namespace = key.namespace.is_empty() || is(&self.namespace, &key.namespace);
        (self.kinds.is_empty() || is_kind())
            && in_namespace
            && is(&self.name, &key.name)
            && matches(&self.labels, &object.labels)
    }
}

/// A kind by any of its names.
fn kind(word: &str) -> Result<Kind, Status> {
    Kind::of_word(word).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// Labels as `a=b,c=d`.
pub fn selector(text: &str) -> Result<Vec<(String, String)>, Status> {
    let pair = |text: &str| {
        let (name, value) = text.split_once('=')?;
        // kubectl takes two equals signs, too.
        let value = value.strip_prefix('=').unwrap_or(value);
        (!name.is_empty() && !name.ends_with('!')).then(|| (name.to_owned(), value.to_owned()))
    };
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let pairs = parts.map(|part| {
        let message = || Status::invalid_argument(format!("want labels as a=b,c=d, got {part:?}"));
        pair(part).ok_or_else(message)
    });
    pairs.collect()
}

/// Whether all of these labels are there.
pub fn matches(wanted: &[(String, String)], labels: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// What is in force of the objects of a state.
struct InForce {
    rejections: BTreeMap<ObjectKey, Vec<String>>,
    jobs: BTreeMap<ObjectKey, Vec<String>>,
}

impl InForce {
    fn of(state: &ClusterState) -> Self {
        let Generated { jobs, rejected } = generate(state.objects());
        let (_, rules_rejected) = rule_files(state.objects());
        let mut found = Self { rejections: BTreeMap::new(), jobs: BTreeMap::new() };
        for job in jobs {
            found.jobs.entry(job.object).or_default().push(job.name);
        }
        for rejected in rejected.into_iter().chain(rules_rejected) {
            let reason = format!("selected by {}, but {}", rejected.by, rejected.reason);
            found.rejections.entry(rejected.object).or_default().push(reason);
        }
        found
    }
}

/// The objects that are asked for, with what is made of them.
pub fn list(
    state: &ClusterState,
    request: &ListObjectsRequest,
    show_secrets: bool,
) -> Result<ObjectList, Status> {
    let wanted = Wanted::read(request)?;
    let in_force = InForce::of(state);
    let objects = state.objects().iter().filter(|object| wanted.contains(object));
    let objects = objects.map(|object| {
        let of = |map: &BTreeMap<ObjectKey, Vec<String>>| {
            map.get(&object.key).cloned().unwrap_or_default()
        };
        Object {
            rejections: of(&in_force.rejections),
            jobs: of(&in_force.jobs),
            selection: match request.name.is_empty() {
                true => Vec::new(),
                false => selection(state.objects(), object),
            },
            ..shown(object, show_secrets)
        }
    });
    Ok(ObjectList { objects: objects.collect(), revision: state.revision() })
}

/// An object without what follows from others.
pub fn shown(object: &Stored, show_secrets: bool) -> Object {
    Object {
        kind: object.key.kind.clone(),
        namespace: object.key.namespace.clone(),
        name: object.key.name.clone(),
        json: render(object, show_secrets).to_string(),
        revision: object.revision,
        created_ms: object.created.millis(),
        owner: object.owner.to_string(),
        ..Object::default()
    }
}

/// What was changed.
pub fn history(
    state: &ClusterState,
    request: &ObjectHistoryRequest,
) -> Result<ObjectHistory, Status> {
    let kind = match request.kind.as_str() {
        "" => None,
        word => Some(kind(word)?),
    };
    let is = |wanted: &str, given: &str| wanted.is_empty() || wanted == given;
    let entries = state.objects().history().filter(|entry| {
        let key = &entry.key;
        let is_kind = kind.is_none_or(|kind| kind.name() == key.kind && kind.group() == key.group);
        let in_namespace = key.namespace.is_empty() || is(&request.namespace, &key.namespace);
        is_kind && in_namespace && is(&request.name, &key.name)
    });
    let revisions = entries.map(|entry| ObjectRevision {
        revision: entry.revision,
        time_ms: entry.at.millis(),
        who: entry.who.clone(),
        note: entry.note.clone(),
        object: Some(ObjectName {
            kind: entry.key.kind.clone(),
            namespace: entry.key.namespace.clone(),
            name: entry.key.name.clone(),
        }),
        action: match entry.action {
            ObjectAction::Created => "created",
            ObjectAction::Updated => "updated",
            ObjectAction::Deleted => "deleted",
        }
        .to_owned(),
        previous_revision: entry.before.as_ref().map_or(0, |before| before.revision),
    });
    Ok(ObjectHistory { revisions: revisions.collect() })
}
