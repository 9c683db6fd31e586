//! A group's state machine as openraft sees it.
//!
//! A snapshot here is a manifest: the position and members of the last persisted checkpoint. It
//! exists so that openraft lets us purge. Installing one is refused: openraft panics when an apply
//! is queued behind an installation, so a replica that needs a snapshot is filled before its group
//! is opened.
//!
//! What openraft calls applied was handed over here and is about to be: only the [`Machine`] knows
//! what is in the state.

use std::{io, mem, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    alias::{SnapshotMetaOf, SnapshotOf},
    storage::{ApplyResponder, EntryResponder, RaftStateMachine},
};
use parking_lot::Mutex;

use super::{
    codec::{self, entry_bytes},
    jobs::Urgency,
    machine::{Applied, Command, CommittedEntry, Machine},
    types::{Entry, LogId, Membership, Opaque, StoredMembership, TypeConfig},
};

/// Bytes and entries handed to the state machine at once: bounds what an apply holds in memory and
/// how long other groups of its thread wait.
const APPLY_BYTES_MAX: usize = 1 << 20;
const APPLY_ENTRIES_MAX: usize = 256;

/// What a snapshot consists of besides its position and members: nothing.
#[derive(Debug, Clone, Copy)]
pub struct Manifest;

type SnapshotMeta = SnapshotMetaOf<TypeConfig>;
type Snapshot = SnapshotOf<TypeConfig, Manifest>;

/// The last checkpoint known to be on disk.
pub(super) type Persisted = Arc<Mutex<Applied>>;

/// Hands apply to the group's thread.
pub(super) struct Adapter {
    machine: Machine,
    persisted: Persisted,
    /// Our number at the state machine, once we have taken over.
    core: Option<u64>,
}

impl Adapter {
    pub fn new(machine: Machine, persisted: Persisted) -> Self {
        Self { machine, persisted, core: None }
    }

    async fn core(&mut self) -> io::Result<u64> {
        match self.core {
            Some(core) => Ok(core),
            None => {
                let (core, _) = self.machine.take_over().await?;
                Ok(*self.core.insert(core))
            }
        }
    }

    async fn hand_over(
        &mut self,
        chunk: Vec<EntryResponder<TypeConfig>>,
        bytes: usize,
    ) -> io::Result<()> {
        let core = self.core().await?;
        let (entries, waiting): (Vec<_>, Vec<_>) =
            chunk.into_iter().map(|(entry, responder)| (committed(entry), responder)).unzip();
        let urgency = match waiting.iter().any(Option::is_some) {
            true => Urgency::Now,
            false => Urgency::Someday,
        };
        let answer_all = |outcomes: Vec<Bytes>| {
            for (responder, outcome) in waiting.into_iter().zip(outcomes) {
                answer(responder, outcome);
            }
        };
        Ok(self.machine.hand_over(core, (entries, bytes, urgency), answer_all).await?)
    }
}

fn answer(responder: Option<ApplyResponder<TypeConfig>>, outcome: Bytes) {
    if let Some(responder) = responder {
        responder.send(Opaque(outcome));
    }
}

fn committed(entry: Entry) -> CommittedEntry {
    let command = match entry.payload {
        EntryPayload::Blank => Command::Nothing,
        EntryPayload::Normal(data) => Command::Data(data.0),
        EntryPayload::Membership(membership) => {
            Command::Members(stored_members(entry.log_id, membership))
        }
    };
    CommittedEntry { position: entry.log_id.into(), command }
}

fn stored_members(id: LogId, membership: Membership) -> Bytes {
    codec::encode_stored_membership(&StoredMembership::new(Some(id), membership))
}

fn manifest(persisted: &Applied) -> io::Result<SnapshotMeta> {
    Ok(SnapshotMeta {
        last_log_id: persisted.position.map(LogId::from),
        last_membership: codec::decode_stored_membership(&persisted.members)?,
    })
}

impl RaftStateMachine<TypeConfig> for Adapter {
    type SnapshotData = Manifest;
    type SnapshotBuilder = ManifestBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        self.core().await?;
        let applied = self.machine.applied().await?;
        let members = codec::decode_stored_membership(&applied.members)?;
        Ok((applied.position.map(LogId::from), members))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            bytes += entry_bytes(&entry);
            chunk.push((entry, responder));
            if bytes >= APPLY_BYTES_MAX || chunk.len() == APPLY_ENTRIES_MAX {
                self.hand_over(mem::take(&mut chunk), mem::take(&mut bytes)).await?;
            }
        }
        if chunk.is_empty() { Ok(()) } else { self.hand_over(chunk, bytes).await }
    }

    async fn get_snapshot_builder(&mut self) -> ManifestBuilder {
        ManifestBuilder { persisted: self.persisted.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, _: Manifest) -> io::Result<()> {
        tracing::error!(snapshot = %meta, "refused to install a snapshot on an open replica");
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "a replica is filled before its group is opened, never afterwards",
        ))
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let persisted = self.persisted.lock().clone();
        if persisted.position.is_none() {
            return Ok(None);
        }
        Ok(Some(Snapshot { meta: manifest(&persisted)?, snapshot: Manifest }))
    }
}

/// Gives the manifest of the last persisted checkpoint.
pub(super) struct ManifestBuilder {
    persisted: Persisted,
}

impl RaftSnapshotBuilder<TypeConfig> for ManifestBuilder {
    type SnapshotData = Manifest;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let persisted = self.persisted.lock().clone();
        Ok(Snapshot { meta: manifest(&persisted)?, snapshot: Manifest })
    }
}
