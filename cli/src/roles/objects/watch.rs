//! Objects as they are, and then their changes.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use futures_util::stream;
use narthex_cluster::{ClusterState, Object as Stored, ObjectKey};
use narthex_proto::v1::ObjectEvent;
use tokio::sync::watch;
use tokio_stream::Stream;
use tonic::Status;

use super::show::{Wanted, shown};

struct Watched {
    state: watch::Receiver<Arc<ClusterState>>,
    wanted: Wanted,
    known: BTreeMap<ObjectKey, Arc<Stored>>,
    events: VecDeque<ObjectEvent>,
}

/// Events until whoever listens goes, or the process stops.
pub fn events(
    mut state: watch::Receiver<Arc<ClusterState>>,
    wanted: Wanted,
) -> impl Stream<Item = Result<ObjectEvent, Status>> {
    state.mark_changed();
    let watched = Watched { state, wanted, known: BTreeMap::new(), events: VecDeque::new() };
    stream::unfold(watched, |mut watched| async move {
        loop {
            if let Some(event) = watched.events.pop_front() {
                return Some((Ok(event), watched));
            }
            watched.state.changed().await.ok()?;
            watched.look();
        }
    })
}

impl Watched {
    /// Notes what differs from what is known. Several changes of an object are seen as one.
    fn look(&mut self) {
        let state = self.state.borrow_and_update().clone();
        let wanted = state.objects().iter().filter(|object| self.wanted.contains(object));
        let now: BTreeMap<ObjectKey, Arc<Stored>> =
            wanted.map(|object| (object.key.clone(), Arc::clone(object))).collect();
        let event = |of: &str, object: &Stored| ObjectEvent {
            r#type: of.to_owned(),
            object: Some(shown(object, false)),
        };
        for (key, object) in &now {
            match self.known.get(key) {
                None => self.events.push_back(event("ADDED", object)),
                Some(known) if known.uid != object.uid => {
                    self.events.push_back(event("DELETED", known));
                    self.events.push_back(event("ADDED", object));
                }
                Some(known) if known.revision != object.revision => {
                    self.events.push_back(event("MODIFIED", object));
                }
                Some(_) => {}
            }
        }
        for (key, known) in &self.known {
            if !now.contains_key(key) {
                self.events.push_back(event("DELETED", known));
            }
        }
        self.known = now;
    }
}
