//! Snapshots of a node's folder, from which a cluster can be started again.
//!
//! A snapshot is a copy of the folder as a crash might have left it, made of hard links where files
//! never change: the replicas' checkpoints first, then the log, which is not purged in between. So
//! the log begins at or below every checkpoint. All nodes hold their logs while they are copied
//! (`narthex_proto::snapshot`), so a cluster started from them is as after a crash of all its nodes
//! at one moment. `docs/formats/backup.md` has the files.
//!
//! Invariant: whoever asked for a snapshot and went away holds up nothing. A log goes on after the
//! time that was asked for, and a snapshot that is not complete after a minute is dropped.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use narthex_proto::{
    internal::v1::{SnapshotFile, SnapshotPart, SnapshotResponse},
    service::Answers,
    snapshot::BACKUP_PREFIX,
};
use parking_lot::Mutex;
use tokio::sync::{MutexGuard, OwnedMutexGuard, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::{error, info};

use crate::{node::Shared, raft::HeldLog, shard::Replicas};

/// Where snapshots lie, in the node's folder. Each is a folder of its own.
const SNAPSHOTS: &str = "snapshots";
/// How the folder of one ends that is not complete.
const UNFINISHED: &str = "unfinished";
/// What a snapshot has beside the folders `log` and `data`, in the order it is copied: the
/// watermark says what the log holds at least, so it is older than the log.
const SMALL_FILES: [&str; 3] = ["META", WATERMARK, "control"];
const WATERMARK: &str = "WATERMARK";
/// Bytes of a file in one message.
const PART_BYTES: usize = 1 << 20;
/// Messages read ahead of the network.
const PARTS_WAITING: usize = 4;
/// How long the log may stand still: shorter than an election, as votes wait, too.
const HOLD_MAX: Duration = Duration::from_secs(5);
/// How long a snapshot may take from its first step to its last.
const UNFINISHED_MAX: Duration = Duration::from_secs(60);

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Choose letters, digits and hyphens.
    #[error("{0:?} is no name of a snapshot: want letters, digits and hyphens")]
    Name(String),
    /// Choose another name.
    #[error("there is a snapshot of the name {0:?} already")]
    Taken(String),
    /// Wait until it is complete or dropped.
    #[error("a snapshot is being taken already: {0:?}")]
    Busy(String),
    /// Take another.
    #[error("the log was not held until the snapshot {0:?} was complete")]
    NotHeld(String),
    /// Take one first.
    #[error("there is no snapshot of the name {0:?}")]
    Unknown(String),
    /// Look at the log and the disk.
    #[error("{step}: {problem}")]
    Failed {
        /// What was being done.
        step: &'static str,
        /// What went wrong.
        problem: String,
    },
}

fn failed(step: &'static str) -> impl Fn(&dyn std::error::Error) -> SnapshotError {
    move |problem| SnapshotError::Failed { step, problem: problem.to_string() }
}

fn io_failed(step: &'static str) -> impl FnOnce(io::Error) -> SnapshotError {
    move |problem| failed(step)(&problem)
}

impl From<SnapshotError> for Status {
    fn from(error: SnapshotError) -> Self {
        let text = error.to_string();
        match error {
            SnapshotError::Name(_) => Self::invalid_argument(text),
            SnapshotError::Taken(_) => Self::already_exists(text),
            SnapshotError::Busy(_) | SnapshotError::NotHeld(_) => Self::failed_precondition(text),
            SnapshotError::Unknown(_) => Self::not_found(text),
            SnapshotError::Failed { .. } => {
                error!(problem = text, "snapshot was not taken");
                Self::unavailable(text)
            }
        }
    }
}

fn path_of(shared: &Shared, name: &str) -> Result<PathBuf, SnapshotError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
    match (1..=64).contains(&name.len()) && name.chars().all(fits) {
        true => Ok(shared.folder.join(SNAPSHOTS).join(name)),
        false => Err(SnapshotError::Name(name.to_owned())),
    }
}

/// The snapshot that is being taken, if one is.
pub(crate) struct Snapshots {
    /// Held while the log must not be purged any further.
    purging: Arc<tokio::sync::Mutex<()>>,
    unfinished: Mutex<Option<Unfinished>>,
}

struct Unfinished {
    name: String,
    path: PathBuf,
    /// The log is not purged behind a checkpoint that the snapshot lacks.
    _unpurged: OwnedMutexGuard<()>,
    held: Option<HeldLog>,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After completion it has another name.
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl Snapshots {
    /// Deletes what a node that ended in between has left: unfinished snapshots, and backups that
    /// nobody fetches any more.
    pub fn open(folder: &Path) -> Self {
        for entry in fs::read_dir(folder.join(SNAPSHOTS)).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(UNFINISHED) || name.starts_with(BACKUP_PREFIX) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Self { purging: Arc::default(), unfinished: Mutex::default() }
    }

    /// Held while a replica tells that it has persisted more; `None` while a snapshot needs the log
    /// as it is, and then the next checkpoint tells.
    pub fn allow_purge(&self) -> Option<MutexGuard<'_, ()>> {
        self.purging.try_lock().ok()
    }

    fn take_out(&self, name: &str) -> Option<Unfinished> {
        let mut unfinished = self.unfinished.lock();
        unfinished.take_if(|it| it.name == name)
    }

    fn let_log_go(&self, name: &str) {
        let mut unfinished = self.unfinished.lock();
        if let Some(it) = unfinished.as_mut().filter(|it| it.name == name) {
            it.held = None;
        }
    }
}

/// Begins a snapshot: checkpoints of all replicas, as links, and the node's small files.
pub(crate) async fn prepare(
    shared: &Arc<Shared>,
    replicas: &Replicas,
    name: &str,
) -> Result<(), SnapshotError> {
    let path = path_of(shared, name)?;
    if path.exists() {
        return Err(SnapshotError::Taken(name.to_owned()));
    }
    if let Some(other) = shared.snapshots.unfinished.lock().as_ref() {
        return Err(SnapshotError::Busy(other.name.clone()));
    }
    let unpurged = shared.snapshots.purging.clone().lock_owned().await;
    let path = path.with_extension(UNFINISHED);
    let unfinished = Unfinished { name: name.to_owned(), path, _unpurged: unpurged, held: None };
    for replica in replicas.all() {
        let state = replica.state.clone();
        let written = tokio::task::spawn_blocking(move || state.write_checkpoint()).await;
        written.expect("BUG: checkpoint panicked").map_err(|e| failed("write checkpoint")(&e))?;
    }
    let control = shared.control.group().checkpoint().await;
    control.map_err(|problem| failed("write the control group's checkpoint")(&problem))?;
    let linking = shared.clone();
    let linked = tokio::task::spawn_blocking(move || {
        copy_all_but_log(&linking, &unfinished.path).map(|()| unfinished)
    });
    let unfinished = linked.await.expect("BUG: snapshot panicked")?;
    *shared.snapshots.unfinished.lock() = Some(unfinished);
    let (dropping, name) = (shared.clone(), name.to_owned());
    shared.tasks.spawn(async move {
        tokio::select! {
            () = dropping.stop.cancelled() => {}
            () = tokio::time::sleep(UNFINISHED_MAX) => {}
        }
        // On a thread of its own: it deletes files.
        tokio::task::spawn_blocking(move || drop(dropping.snapshots.take_out(&name)));
    });
    Ok(())
}

/// Keeps the log as it is until the snapshot is complete, for `at_most`.
pub(crate) async fn hold_log(
    shared: &Arc<Shared>,
    name: &str,
    at_most: Duration,
) -> Result<(), SnapshotError> {
    let holding = shared.clone();
    let held = tokio::task::spawn_blocking(move || holding.raft.log.hold()).await;
    let held = held.expect("BUG: holding the log panicked");
    match shared.snapshots.unfinished.lock().as_mut().filter(|it| it.name == name) {
        Some(unfinished) if held.is_some() => unfinished.held = held,
        Some(_) => return Err(SnapshotError::NotHeld(name.to_owned())),
        None => return Err(SnapshotError::Unknown(name.to_owned())),
    }
    let (releasing, name) = (shared.clone(), name.to_owned());
    shared.tasks.spawn(async move {
        tokio::select! {
            () = releasing.stop.cancelled() => {}
            () = tokio::time::sleep(at_most.min(HOLD_MAX)) => {}
        }
        releasing.snapshots.let_log_go(&name);
    });
    Ok(())
}

/// Adds the held log to the snapshot, lets it go on, and lists the files.
pub(crate) async fn complete(
    shared: &Arc<Shared>,
    name: &str,
) -> Result<SnapshotResponse, SnapshotError> {
    let path = path_of(shared, name)?;
    let unfinished = shared.snapshots.take_out(name);
    let mut unfinished = unfinished.ok_or_else(|| SnapshotError::Unknown(name.to_owned()))?;
    let held = unfinished.held.take().ok_or_else(|| SnapshotError::NotHeld(name.to_owned()))?;
    let completed = tokio::task::spawn_blocking(move || {
        let from = &unfinished.path;
        held.link_to(&from.join("log")).map_err(io_failed("link log files"))?;
        drop(held);
        let mut files = Vec::new();
        list(from, from, &mut files).map_err(io_failed("list the snapshot"))?;
        files.sort_by(|a: &SnapshotFile, b| a.path.cmp(&b.path));
        fs::rename(from, &path).map_err(io_failed("rename the snapshot"))?;
        Ok(files)
    });
    let files = completed.await.expect("BUG: snapshot panicked")?;
    info!(name, files = files.len(), "snapshot taken");
    Ok(SnapshotResponse { files })
}

fn copy_all_but_log(shared: &Shared, into: &Path) -> Result<(), SnapshotError> {
    let _ = fs::remove_dir_all(into);
    fs::create_dir_all(into).map_err(io_failed("make the snapshot's folder"))?;
    let data = shared.data.link_to(&into.join("data"));
    data.map_err(|problem| failed("link data files")(&problem))?;
    for name in SMALL_FILES {
        match fs::copy(shared.folder.join(name), into.join(name)) {
            // A young node has not marked its log yet.
            Err(problem) if name == WATERMARK && problem.kind() == io::ErrorKind::NotFound => {}
            copied => drop(copied.map_err(io_failed("copy a file of the node's folder"))?),
        }
    }
    Ok(())
}

fn list(root: &Path, folder: &Path, files: &mut Vec<SnapshotFile>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(root, &path, files)?;
            continue;
        }
        let relative = path.strip_prefix(root).map_err(io::Error::other)?;
        files.push(SnapshotFile {
            path: relative.to_string_lossy().into_owned(),
            bytes: path.metadata()?.len(),
        });
    }
    Ok(())
}

/// Streams a snapshot's files, one after the other.
pub(crate) fn read(shared: &Shared, name: &str) -> Result<Answers<SnapshotPart>, SnapshotError> {
    let path = path_of(shared, name)?;
    let mut files = Vec::new();
    list(&path, &path, &mut files).map_err(|_| SnapshotError::Unknown(name.to_owned()))?;
    let (parts, answers) = mpsc::channel(PARTS_WAITING);
    tokio::task::spawn_blocking(move || {
        for file in files {
            if let Err(problem) = send(&path, &file, &parts) {
                let status = Status::unavailable(format!("read {}: {problem}", file.path));
                let _ = parts.blocking_send(Err(status));
                return;
            }
        }
    });
    Ok(Box::pin(ReceiverStream::new(answers)))
}

/// Every file has at least one part, so that empty ones arrive, too.
fn send(
    root: &Path,
    file: &SnapshotFile,
    parts: &mpsc::Sender<Result<SnapshotPart, Status>>,
) -> io::Result<()> {
    let mut from = File::open(root.join(&file.path))?;
    let mut offset = 0;
    loop {
        let mut content = vec![0; PART_BYTES];
        let mut filled = 0;
        while filled < content.len() {
            match from.read(&mut content[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        content.truncate(filled);
        let is_last = filled < PART_BYTES;
        let part =
            SnapshotPart { path: file.path.clone(), offset, content: content.into(), is_last };
        offset += filled as u64;
        if parts.blocking_send(Ok(part)).is_err() || is_last {
            return Ok(());
        }
    }
}

/// Deletes a snapshot, complete or not. Its space returns as far as nothing else links to its files.
pub(crate) async fn delete(shared: &Shared, name: &str) -> Result<(), SnapshotError> {
    let path = path_of(shared, name)?;
    let unfinished = shared.snapshots.take_out(name);
    let name = name.to_owned();
    let deleted = tokio::task::spawn_blocking(move || {
        let was_unfinished = unfinished.is_some();
        drop(unfinished);
        match fs::remove_dir_all(&path) {
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => {
                was_unfinished.then_some(()).ok_or(SnapshotError::Unknown(name))
            }
            deleted => deleted.map_err(io_failed("delete the snapshot")),
        }
    });
    deleted.await.expect("BUG: deleting a snapshot panicked")
}
