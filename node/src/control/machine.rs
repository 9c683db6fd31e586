//! The control group's state machine: [`ClusterState`] behind raft's interface, and its checkpoint.
//!
//! ```text
//! checkpoint := "NXCP" version(1) term(u64) index(u64) len(u32) members len(u32) state
//!               xxh3-64 of all before                               integers little-endian
//! ```
//!
//! Invariants
//! * the state on disk is the state at one log id (C1): the file is replaced whole and synced;
//! * a request that this binary cannot read stops the replica; it is never skipped.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use narthex_cluster::{ClusterState, DecodeError, Request};
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    planted::{Planted, is_planted},
    raft::{Applied, Command, CommittedEntry, LogPosition, MachineError, StateMachine},
};

const MAGIC: &[u8; 4] = b"NXCP";
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 8;

/// Why the control group's checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Look at permissions and the disk.
    #[error("{step} {}", .path.display())]
    Io {
        /// What was being done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is damaged: restore it, or let the node rejoin under a new id.
    #[error("{} is damaged", .0.display())]
    Damaged(PathBuf),
    /// The state in it is damaged or of a newer version.
    #[error("read the cluster state in {}", .path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
}

/// Cluster state as the control group's log makes it.
#[derive(Debug)]
pub struct ControlMachine {
    path: PathBuf,
    state: ClusterState,
    applied: Applied,
    published: watch::Sender<Arc<ClusterState>>,
}

impl ControlMachine {
    /// The state of the checkpoint at `path`, or the empty one. Every later state is published.
    pub fn open(
        path: PathBuf,
        published: watch::Sender<Arc<ClusterState>>,
    ) -> Result<Self, CheckpointError> {
        let (applied, state) = match fs::read(&path) {
            Ok(bytes) => decode(&path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Default::default(),
            Err(source) => return Err(CheckpointError::Io { step: "read", path, source }),
        };
        published.send_replace(Arc::new(state.clone()));
        Ok(Self { path, state, applied, published })
    }

    fn apply_one(&mut self, command: Command) -> Result<Bytes, DecodeError> {
        match command {
            Command::Nothing => Ok(Bytes::new()),
            Command::Members(members) => {
                self.applied.members = members;
                Ok(Bytes::new())
            }
            Command::Data(bytes) => {
                let mut request = Request::decode(&bytes)?;
                if is_planted(Planted::RequestRepeated) {
                    request.id.0 += u128::from(self.state.revision()) << 64;
                }
                let outcome = self.state.apply(&request);
                Ok(outcome.encode().into())
            }
        }
    }
}

impl StateMachine for ControlMachine {
    fn applied(&self) -> Applied {
        self.applied.clone()
    }

    fn apply(&mut self, entries: Vec<CommittedEntry>) -> Result<Vec<Bytes>, MachineError> {
        let before = self.state.revision();
        let mut outcomes = Vec::with_capacity(entries.len());
        for entry in entries {
            outcomes.push(self.apply_one(entry.command)?);
            self.applied.position = Some(entry.position);
        }
        if self.state.revision() != before {
            self.published.send_replace(Arc::new(self.state.clone()));
        }
        Ok(outcomes)
    }

    fn checkpoint(&mut self) -> Result<(), MachineError> {
        let bytes = encode(&self.applied, &self.state);
        replace(&self.path, &bytes).map_err(|source| CheckpointError::Io {
            step: "write",
            path: self.path.clone(),
            source,
        })?;
        Ok(())
    }
}

fn encode(applied: &Applied, state: &ClusterState) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(VERSION);
    let position = applied.position.unwrap_or(LogPosition { term: 0, index: 0 });
    bytes.extend_from_slice(&position.term.to_le_bytes());
    bytes.extend_from_slice(&position.index.to_le_bytes());
    for part in [applied.members.as_ref(), state.encode().as_slice()] {
        bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    let checksum = xxh3_64(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(path: &Path, bytes: &[u8]) -> Result<(Applied, ClusterState), CheckpointError> {
    let (applied, state) = split(bytes).ok_or_else(|| CheckpointError::Damaged(path.to_owned()))?;
    let state = ClusterState::decode(state)
        .map_err(|source| CheckpointError::State { path: path.to_owned(), source })?;
    Ok((applied, state))
}

/// Checks everything around the state, and gives the state's bytes.
fn split(bytes: &[u8]) -> Option<(Applied, &[u8])> {
    let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_BYTES)?)?;
    if xxh3_64(body).to_le_bytes() != checksum {
        return None;
    }
    let rest = body.strip_prefix(MAGIC)?.strip_prefix(&[VERSION])?;
    let (term, rest) = rest.split_first_chunk()?;
    let (index, rest) = rest.split_first_chunk()?;
    let (members, rest) = part(rest)?;
    let (state, rest) = part(rest)?;
    let position =
        LogPosition { term: u64::from_le_bytes(*term), index: u64::from_le_bytes(*index) };
    let applied = Applied { position: Some(position), members: Bytes::copy_from_slice(members) };
    rest.is_empty().then_some((applied, state))
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*len) as usize)
}

/// Replaces a file whole: after a power loss it is the old one or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let next = path.with_extension("next");
    let mut file = File::create(&next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use narthex_cluster::{
        Addresses, Binary, ClusterId, ClusterVersion, Command as Change, Found, Founder, NodeId,
        RequestId,
    };
    use narthex_model::Timestamp;

    use super::*;

    fn found() -> Request {
        let founder = Founder {
            node: NodeId(1),
            name: "a".into(),
            addresses: Addresses { cluster: "127.0.0.1:9095".into(), ..Addresses::default() },
            zone: String::new(),
            binary: Binary { level: ClusterVersion::default(), text: "test".into() },
        };
        let found = Found {
            cluster: ClusterId::from_random_bytes([3; 16]),
            members: vec![founder],
            shards: 6,
            replication_factor: 1,
        };
        Request {
            id: RequestId(1),
            at: Timestamp::from_millis(1_000),
            command: Change::Found(found),
        }
    }

    fn entry(index: u64, command: Command) -> CommittedEntry {
        CommittedEntry { position: LogPosition { term: 1, index }, command }
    }

    #[test]
    fn a_checkpoint_reads_back_the_state_and_its_position() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let (published, state) = watch::channel(Arc::default());
        let mut machine = ControlMachine::open(path.clone(), published).unwrap();
        let data = Command::Data(found().encode().unwrap().into());
        let members = Command::Members(Bytes::from_static(b"members"));
        machine.apply(vec![entry(0, members), entry(1, data)]).unwrap();
        machine.checkpoint().unwrap();
        assert_eq!(state.borrow().shards().len(), 6);

        let (published, reopened) = watch::channel(Arc::default());
        let again = ControlMachine::open(path.clone(), published).unwrap();
        assert_eq!(again.applied(), machine.applied());
        assert_eq!(*reopened.borrow(), *state.borrow());

        let mut damaged = fs::read(&path).unwrap();
        damaged[20] ^= 1;
        fs::write(&path, damaged).unwrap();
        let (published, _) = watch::channel(Arc::default());
        let refused = ControlMachine::open(path, published);
        assert!(matches!(refused, Err(CheckpointError::Damaged(_))), "{refused:?}");
    }

    #[test]
    fn an_entry_that_cannot_be_read_stops_the_replica() {
        let folder = tempfile::tempdir().unwrap();
        let (published, _) = watch::channel(Arc::default());
        let mut machine = ControlMachine::open(folder.path().join("control"), published).unwrap();
        let unknown = Command::Data(Bytes::from_static(b"\xff"));
        assert!(machine.apply(vec![entry(0, unknown)]).is_err());
        assert_eq!(machine.applied().position, None);
    }
}
