//! Config objects as cluster state keeps them: a place by group, kind, namespace and name, what
//! every kind has, and a body that is opaque here.
//!
//! Invariants
//! * an object's revision is that of the state that last changed it, and every change of an object
//!   has a revision of its own;
//! * its generation counts changes of the body, not of labels and annotations;
//! * a refused change changes nothing, and leaves the others of its request as they are;
//! * history holds what a change replaced, never what is in force: each body is stored once.
//!
//! What a body means, and whether it is valid, is not known here.

mod change;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
};

use narthex_model::Timestamp;

use crate::{
    ClusterState, DecodeError, Owner,
    codec::{Reader, Wire, wire_enum, wire_struct},
};

/// Bytes that one object may have, all of it counted: what etcd lets Kubernetes have, nearly.
pub const OBJECT_BYTES_MAX: u64 = 1 << 20;
/// What all objects may have unless it is set otherwise, and at most: the state is sent whole.
pub const OBJECTS_BYTES_DEFAULT: u64 = 16 << 20;
/// See [`OBJECTS_BYTES_DEFAULT`].
pub const OBJECTS_BYTES_MAX: u64 = 48 << 20;
/// Changes of one request at most.
pub const OBJECT_CHANGES_MAX: usize = 256;
/// Changes that are remembered at most, of all objects.
const HISTORY_ENTRIES_MAX: usize = 4096;
/// The part of the bytes of all objects that their history may have.
const HISTORY_SHARE: u64 = 4;
/// What an object costs beside its texts.
const OVERHEAD_BYTES: u64 = 64;

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The API group, such as `monitoring.coreos.com`; empty for Kubernetes's core.
    pub group: String,
    /// Such as `ServiceMonitor`.
    pub kind: String,
    /// Empty for kinds that have none.
    pub namespace: String,
    /// Unique among those of its kind and namespace.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        match self.namespace.as_str() {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

/// An object.
#[derive(Clone, PartialEq, Eq)]
pub struct Object {
    /// Where it is.
    pub key: ObjectKey,
    /// Drawn by whoever created it; another object of the same name has another one.
    pub uid: u128,
    /// The state's revision that last changed it: Kubernetes's `resourceVersion`.
    pub revision: u64,
    /// How often the body was changed, from 1.
    pub generation: u64,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Who may change it.
    pub owner: Owner,
    /// When it came to be.
    pub created: Timestamp,
    /// All else, in the canonical form of whoever reads it. May hold secrets.
    pub body: Arc<[u8]>,
}

impl Object {
    /// What it counts against the limits.
    pub fn bytes(&self) -> u64 {
        stored_bytes(&self.key, [&self.labels, &self.annotations], &self.body)
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("key", &self.key)
            .field("revision", &self.revision)
            .field("generation", &self.generation)
            .field("owner", &self.owner)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectAction {
    /// It was not there before.
    Created,
    /// Something about it is different.
    Updated,
    /// It is gone.
    Deleted,
}

/// A change that is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRevision {
    /// The state's revision since.
    pub revision: u64,
    /// When.
    pub at: Timestamp,
    /// Who asked for it: a user's name, or an address.
    pub who: String,
    /// Why, in words of whoever asked; often empty.
    pub note: String,
    /// To what.
    pub key: ObjectKey,
    /// What.
    pub action: ObjectAction,
    /// The object as it was before; `None` where it was created.
    pub before: Option<Arc<Object>>,
}

impl ObjectRevision {
    fn bytes(&self) -> u64 {
        let texts = self.who.len() + self.note.len() + self.key.name.len();
        let before = self.before.as_ref().map_or(0, |object| object.bytes());
        before + texts as u64 + OVERHEAD_BYTES
    }
}

/// All objects of a cluster, with their latest changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objects {
    bytes_max: u64,
    all: BTreeMap<ObjectKey, Arc<Object>>,
    /// Oldest first.
    history: VecDeque<Arc<ObjectRevision>>,
    /// Of `all`.
    bytes: u64,
    /// Of `history`.
    history_bytes: u64,
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            bytes_max: OBJECTS_BYTES_DEFAULT,
            all: BTreeMap::new(),
            history: VecDeque::new(),
            bytes: 0,
            history_bytes: 0,
        }
    }
}

impl Objects {
    /// What all objects may have in all.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// What they have.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All of them, by their places.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.all.values()
    }

    /// One of them.
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<Object>> {
        self.all.get(key)
    }

    /// The remembered changes of all objects, oldest first.
    pub fn history(&self) -> impl DoubleEndedIterator<Item = &Arc<ObjectRevision>> {
        self.history.iter()
    }

    /// The object as it was at a revision of its own, if that is remembered.
    pub fn at_revision(&self, key: &ObjectKey, revision: u64) -> Option<&Arc<Object>> {
        let was = |object: &&Arc<Object>| object.revision == revision;
        let before = self.history.iter().filter(|entry| entry.key == *key);
        let before = before.filter_map(|entry| entry.before.as_ref());
        self.get(key).into_iter().chain(before).find(was)
    }

    /// Whether anything differs in `other`, cheaply: every change has a revision of its own.
    pub fn is_same(&self, other: &Self) -> bool {
        let newest = |objects: &Self| objects.history.back().map(|entry| entry.revision);
        self.bytes_max == other.bytes_max
            && newest(self) == newest(other)
            && self.all.len() == other.all.len()
            && self.all.iter().zip(&other.all).all(|((key, object), (other_key, other))| {
                key == other_key && object.revision == other.revision && object.uid == other.uid
            })
    }

    fn insert(&mut self, object: Arc<Object>) -> Option<Arc<Object>> {
        self.bytes += object.bytes();
        let before = self.all.insert(object.key.clone(), object);
        self.bytes -= before.as_ref().map_or(0, |object| object.bytes());
        before
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Arc<Object>> {
        let before = self.all.remove(key)?;
        self.bytes -= before.bytes();
        Some(before)
    }

    fn remember(&mut self, entry: ObjectRevision) {
        self.history_bytes += entry.bytes();
        self.history.push_back(Arc::new(entry));
        let bytes_max = self.bytes_max / HISTORY_SHARE;
        while self.history.len() > HISTORY_ENTRIES_MAX || self.history_bytes > bytes_max {
            let Some(oldest) = self.history.pop_front() else { return };
            self.history_bytes -= oldest.bytes();
        }
    }
}

/// What an object of these parts counts against the limits.
fn stored_bytes(key: &ObjectKey, texts: [&BTreeMap<String, String>; 2], body: &[u8]) -> u64 {
    let key = key.group.len() + key.kind.len() + key.namespace.len() + key.name.len();
    let pairs = texts.into_iter().flatten().map(|(name, value)| name.len() + value.len());
    (key + pairs.sum::<usize>() + body.len()) as u64 + OVERHEAD_BYTES
}

impl ClusterState {
    /// The config objects.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }
}

wire_struct!(ObjectKey { group, kind, namespace, name });
wire_struct!(Object { key, uid, revision, generation, labels, annotations, owner, created, body });
wire_struct!(ObjectRevision { revision, at, who, note, key, action, before });
wire_enum!(ObjectAction, "object action" { 1 => Created, 2 => Updated, 3 => Deleted, });

impl<T: Wire> Wire for Arc<T> {
    fn put(&self, out: &mut Vec<u8>) {
        T::put(self, out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        T::read(from).map(Self::new)
    }
}

/// Keys are in the objects, and sums are worked out anew.
impl Wire for Objects {
    fn put(&self, out: &mut Vec<u8>) {
        self.bytes_max.put(out);
        self.all.values().cloned().collect::<Vec<_>>().put(out);
        self.history.put(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes_max = u64::read(from)?;
        let at = from.malformed("objects");
        let all = Vec::<Arc<Object>>::read(from)?;
        if !all.is_sorted_by(|a, b| a.key < b.key) {
            return Err(at);
        }
        let history = VecDeque::<Arc<ObjectRevision>>::read(from)?;
        Ok(Self {
            bytes_max,
            bytes: all.iter().map(|object| object.bytes()).sum(),
            history_bytes: history.iter().map(|entry| entry.bytes()).sum(),
            all: all.into_iter().map(|object| (object.key.clone(), object)).collect(),
            history,
        })
    }
}

pub use change::{
    ChangeObjects, DeleteObject, Expected, ObjectChange, ObjectOutcome, ObjectProblem, PutObject,
};

#[cfg(test)]
mod tests;
