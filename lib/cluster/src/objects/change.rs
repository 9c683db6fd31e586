//! Changes of objects: each is decided by itself, against the state that those before it left.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use narthex_model::Timestamp;

use super::{
    OBJECT_BYTES_MAX, OBJECT_CHANGES_MAX, OBJECTS_BYTES_MAX, Object, ObjectAction, ObjectKey,
    ObjectRevision, Objects, stored_bytes,
};
use crate::{
    ClusterState, Owner, Refusal,
    codec::{wire_enum, wire_struct},
};

/// Objects are written and deleted, each for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeObjects {
    /// On whose behalf. What it writes is owned by it; what is another's is refused.
    pub owner: Owner,
    /// Who asks: a user's name, or an address. For the history.
    pub who: String,
    /// Why. For the history.
    pub note: String,
    /// In this order; an object at most once.
    pub changes: Vec<ObjectChange>,
}

/// What is to become of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectChange {
    /// It is to be so.
    Put(PutObject),
    /// It is to be gone.
    Delete(DeleteObject),
}

impl ObjectChange {
    /// Which object.
    pub fn key(&self) -> &ObjectKey {
        match self {
            Self::Put(put) => &put.key,
            Self::Delete(delete) => &delete.key,
        }
    }
}

/// See [`ObjectChange::Put`].
#[derive(Clone, PartialEq, Eq)]
pub struct PutObject {
    /// Which object.
    pub key: ObjectKey,
    /// What must be the case for it.
    pub expected: Expected,
    /// Its id if it is created, drawn at random.
    pub uid: u128,
    /// Its labels, all of them.
    pub labels: BTreeMap<String, String>,
    /// Its annotations, all of them.
    pub annotations: BTreeMap<String, String>,
    /// All else.
    pub body: Arc<[u8]>,
}

impl fmt::Debug for PutObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutObject")
            .field("key", &self.key)
            .field("expected", &self.expected)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// See [`ObjectChange::Delete`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteObject {
    /// Which object.
    pub key: ObjectKey,
    /// What must be the case for it.
    pub expected: Expected,
}

/// What must be the case for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Whatever is.
    Any,
    /// There is no such object.
    Absent,
    /// The object has this revision.
    Revision(u64),
}

/// What became of one change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectOutcome {
    /// The object is new, with the revision of the request.
    Created,
    /// It is different, with the revision of the request.
    Updated,
    /// It was so already.
    Unchanged,
    /// It is gone.
    Deleted,
    /// It is as it was.
    Refused(ObjectProblem),
}

/// Why one change was refused; names the field and its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectProblem {
    /// Ask its owner.
    #[error("it is owned by {owner}")]
    OwnedBy {
        /// Who owns it.
        owner: Owner,
    },
    /// Look at the object again, then decide again.
    #[error(
        "metadata.resourceVersion: {expected}: the object has been modified, it is at {current}"
    )]
    Conflict {
        /// What was asked for.
        expected: u64,
        /// What it is.
        current: u64,
    },
    /// Name another one, or change that one.
    #[error("it exists already, with resourceVersion {current}")]
    AlreadyExists {
        /// Its revision.
        current: u64,
    },
    /// Nothing to do, or a wrong name.
    #[error("it is not there")]
    NotFound,
    /// Make it smaller.
    #[error("it has {bytes} bytes, more than the {max} that an object may have")]
    TooLarge {
        /// What it would have.
        bytes: u64,
        /// The most there can be.
        max: u64,
    },
    /// Delete others, or raise the setting.
    #[error(
        "all objects would have {bytes} bytes, more than the {max} of the setting objects.max-bytes"
    )]
    StoreFull {
        /// What all would have.
        bytes: u64,
        /// The most there can be.
        max: u64,
    },
    /// Name it once.
    #[error("it is named twice in one request")]
    Repeated,
    /// Give it one.
    #[error("metadata.name: \"\": an object needs a name, and a kind")]
    Nameless,
}

/// Whoever a change is for, and when.
struct Asked<'a> {
    request: &'a ChangeObjects,
    revision: u64,
    at: Timestamp,
}

impl ClusterState {
    /// What became of each change.
    pub(crate) fn change_objects(
        &mut self,
        request: &ChangeObjects,
    ) -> Result<Vec<ObjectOutcome>, Refusal> {
        let changes = request.changes.len();
        if changes > OBJECT_CHANGES_MAX {
            let max = OBJECT_CHANGES_MAX as u64;
            return Err(Refusal::TooManyChanges { changes: changes as u64, max });
        }
        let asked = Asked { request, revision: self.revision + 1, at: self.time };
        let mut seen = BTreeSet::new();
        let outcomes = request.changes.iter().map(|change| {
            if !seen.insert(change.key()) {
                return ObjectOutcome::Refused(ObjectProblem::Repeated);
            }
            let changed = match change {
                ObjectChange::Put(put) => self.objects.put_one(put, &asked),
                ObjectChange::Delete(delete) => self.objects.delete_one(delete, &asked),
            };
            changed.unwrap_or_else(ObjectOutcome::Refused)
        });
        Ok(outcomes.collect())
    }

    /// Whether anything changed.
    pub(crate) fn limit_objects(&mut self, bytes_max: u64) -> Result<bool, Refusal> {
        let bytes = bytes_max;
        if !(OBJECT_BYTES_MAX..=OBJECTS_BYTES_MAX).contains(&bytes) {
            return Err(Refusal::TooLarge { bytes, max: OBJECTS_BYTES_MAX });
        }
        let changed = self.objects.bytes_max != bytes;
        self.objects.bytes_max = bytes;
        Ok(changed)
    }
}

impl Objects {
    fn put_one(
        &mut self,
        put: &PutObject,
        asked: &Asked<'_>,
    ) -> Result<ObjectOutcome, ObjectProblem> {
        if put.key.name.is_empty() || put.key.kind.is_empty() {
            return Err(ObjectProblem::Nameless);
        }
        let present = self.check(&put.key, put.expected, &asked.request.owner)?;
        if let Some(present) = present
            && present.body == put.body
            && present.labels == put.labels
            && present.annotations == put.annotations
            && present.owner == asked.request.owner
        {
            return Ok(ObjectOutcome::Unchanged);
        }
        self.check_size(put, present)?;
        let is_other = |present: &&Arc<Object>| present.body != put.body;
        let object = Object {
            key: put.key.clone(),
            uid: present.map_or(put.uid, |present| present.uid),
            revision: asked.revision,
            generation: present
                .map_or(1, |present| present.generation + u64::from(is_other(&present))),
            labels: put.labels.clone(),
            annotations: put.annotations.clone(),
            owner: asked.request.owner.clone(),
            created: present.map_or(asked.at, |present| present.created),
            body: Arc::clone(&put.body),
        };
        let before = self.insert(Arc::new(object));
        let (action, outcome) = match before {
            None => (ObjectAction::Created, ObjectOutcome::Created),
            Some(_) => (ObjectAction::Updated, ObjectOutcome::Updated),
        };
        self.note(&put.key, action, before, asked);
        Ok(outcome)
    }

    fn delete_one(
        &mut self,
        delete: &DeleteObject,
        asked: &Asked<'_>,
    ) -> Result<ObjectOutcome, ObjectProblem> {
        self.check(&delete.key, delete.expected, &asked.request.owner)?;
        let before = self.remove(&delete.key).ok_or(ObjectProblem::NotFound)?;
        self.note(&delete.key, ObjectAction::Deleted, Some(before), asked);
        Ok(ObjectOutcome::Deleted)
    }

    /// The object as it is, if it may be changed.
    fn check(
        &self,
        key: &ObjectKey,
        expected: Expected,
        by: &Owner,
    ) -> Result<Option<&Arc<Object>>, ObjectProblem> {
        let present = self.all.get(key);
        let current = present.map(|object| object.revision);
        match (expected, current) {
            (Expected::Absent, Some(current)) => {
                return Err(ObjectProblem::AlreadyExists { current });
            }
            (Expected::Revision(_), None) => return Err(ObjectProblem::NotFound),
            (Expected::Revision(expected), Some(current)) if expected != current => {
                return Err(ObjectProblem::Conflict { expected, current });
            }
            _ => {}
        }
        match present {
            Some(object) if !may_change(by, &object.owner) => {
                Err(ObjectProblem::OwnedBy { owner: object.owner.clone() })
            }
            present => Ok(present),
        }
    }

    fn check_size(
        &self,
        put: &PutObject,
        present: Option<&Arc<Object>>,
    ) -> Result<(), ObjectProblem> {
        let bytes = stored_bytes(&put.key, [&put.labels, &put.annotations], &put.body);
        if bytes > OBJECT_BYTES_MAX {
            return Err(ObjectProblem::TooLarge { bytes, max: OBJECT_BYTES_MAX });
        }
        let before = present.map_or(0, |object| object.bytes());
        let (all, max) = (self.bytes - before + bytes, self.bytes_max);
        // What shrinks is taken even where the limit was lowered below what there is.
        match all > max && bytes > before {
            true => Err(ObjectProblem::StoreFull { bytes: all, max }),
            false => Ok(()),
        }
    }

    /// What is mirrored has its history where it comes from.
    fn note(
        &mut self,
        key: &ObjectKey,
        action: ObjectAction,
        before: Option<Arc<Object>>,
        asked: &Asked<'_>,
    ) {
        if asked.request.owner == Owner::Kubernetes {
            return;
        }
        self.remember(ObjectRevision {
            revision: asked.revision,
            at: asked.at,
            who: asked.request.who.clone(),
            note: asked.request.note.clone(),
            key: key.clone(),
            action,
            before,
        });
    }
}

/// Users share their objects: roles say who may change any, and history says who did.
fn may_change(by: &Owner, owner: &Owner) -> bool {
    by == owner || matches!((by, owner), (Owner::User(_), Owner::User(_)))
}

wire_struct!(ChangeObjects { owner, who, note, changes });
wire_struct!(PutObject { key, expected, uid, labels, annotations, body });
wire_struct!(DeleteObject { key, expected });
wire_enum!(ObjectChange, "object change" { 1 => Put(put), 2 => Delete(delete), });
wire_enum!(Expected, "expectation" { 1 => Any, 2 => Absent, 3 => Revision(revision), });
wire_enum!(ObjectOutcome, "object outcome" {
    1 => Created,
    2 => Updated,
    3 => Unchanged,
    4 => Deleted,
    5 => Refused(problem),
});
wire_enum!(ObjectProblem, "object problem" {
    1 => OwnedBy { owner },
    2 => Conflict { expected, current },
    3 => AlreadyExists { current },
    4 => NotFound,
    5 => TooLarge { bytes, max },
    6 => StoreFull { bytes, max },
    7 => Repeated,
    8 => Nameless,
});
