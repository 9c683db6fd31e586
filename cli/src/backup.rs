//! `narthex cluster backup` and `narthex cluster restore`: every node's folder, and a manifest that
//! says what belongs to it. `docs/formats/backup.md` has the files.
//!
//! A backup has no manifest until all its files are there and synced, and none is restored without
//! one. What is restored is compared with the manifest, byte by byte through hashes, before any
//! node may open it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use narthex_cluster::NodeId;
use narthex_proto::{
    connect::Connections,
    internal::v1::{SnapshotFile, SnapshotRequest, SnapshotResponse},
    snapshot::{self, BACKUP_PREFIX},
    v1::{Member, MembersRequest, cluster_client::ClusterClient},
};
use serde_json::{Value, json};
use tokio_stream::StreamExt as _;
use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

use crate::{
    client::{self, ClientError},
    flags::{BackupArguments, RestoreArguments},
    output::answer,
};

/// The format of the manifest and of what it lists.
const FORMAT: u64 = 1;
const MANIFEST: &str = "MANIFEST.json";
const COPY_BYTES: usize = 1 << 20;

/// Why there is no backup, or why it is not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Name another folder.
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// Start the node, or wait for it: a backup is of all nodes.
    #[error("node {node}: {problem}")]
    Node { node: String, problem: String },
    #[error("{step} {}", path.display())]
    Disk {
        step: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Name the folder of a backup. One that was cut off has no manifest.
    #[error("{} is no backup: {problem}", .folder.display())]
    NoBackup { folder: PathBuf, problem: String },
    /// Use a newer narthex.
    #[error("the backup has format {0}, this version reads up to format {FORMAT}")]
    Newer(u64),
    /// Use another backup.
    #[error("{} is damaged: {problem}", .path.display())]
    Damaged { path: PathBuf, problem: &'static str },
}

fn disk<'p>(step: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> BackupError + 'p {
    move |source| BackupError::Disk { step, path: path.to_owned(), source }
}

/// One file of a node's folder.
#[derive(Debug, PartialEq, Eq)]
struct Listed {
    path: String,
    bytes: u64,
    hash: u128,
}

/// Backs up the cluster that `--server` belongs to.
pub async fn backup(arguments: &BackupArguments) -> Result<(), BackupError> {
    let folder = &arguments.folder;
    check_empty(folder)?;
    let channel = client::connect(&arguments.server).await?;
    let members = ClusterClient::new(channel).members(MembersRequest {}).await;
    let members = members.map_err(ClientError::from)?.into_inner();
    let tls = arguments.certs.as_deref().map(client::peer_tls).transpose()?;
    let connections = Connections::new(tls);
    if let Ok(cluster) = members.cluster_id.parse() {
        connections.cluster().learn(cluster);
    }
    let mut nodes: Vec<snapshot::Node> = Vec::new();
    for member in &members.members {
        let id = NodeId(member.node_id);
        let node = connections.node(Some(id), &member.address).map_err(ClientError::from)?;
        nodes.push((id, Arc::new(node)));
    }
    let name = format!("{BACKUP_PREFIX}{}", Uuid::new_v4().simple());
    let taken = snapshot::take(&nodes, &name).await;
    let taken = taken.map_err(|(node, status)| failure(&members.members, node, &status))?;
    let fetched = fetch(folder, &members.members, &nodes, taken, &name).await;
    snapshot::delete(&nodes, &name).await;
    let manifest = json!({
        "format": FORMAT,
        "narthex": env!("CARGO_PKG_VERSION"),
        "cluster": members.cluster_id,
        "nodes": fetched?,
    });
    write_synced(&folder.join(MANIFEST), format!("{manifest:#}\n").as_bytes())?;
    sync_folder(folder)?;
    answer(&folder.display().to_string()).map_err(ClientError::from)?;
    Ok(())
}

fn failure(members: &[Member], node: NodeId, status: &tonic::Status) -> BackupError {
    let member = members.iter().find(|member| member.node_id == node.0);
    BackupError::Node {
        node: member.map_or_else(|| node.to_string(), |member| member.name.clone()),
        problem: status.message().to_owned(),
    }
}

/// Copies what each node has, in the members' order; gives the manifest's rows.
async fn fetch(
    folder: &Path,
    members: &[Member],
    nodes: &[snapshot::Node],
    taken: Vec<SnapshotResponse>,
    name: &str,
) -> Result<Vec<Value>, BackupError> {
    let mut rows = Vec::new();
    for ((member, (id, node)), snapshot) in members.iter().zip(nodes).zip(taken) {
        let failed = |status: tonic::Status| failure(members, *id, &status);
        let own = folder_of(member);
        let mut receiver = Receiver::new(folder.join(&own));
        let parts = node.read_snapshot(SnapshotRequest { name: name.to_owned() }).await;
        let mut parts = parts.map_err(failed)?;
        while let Some(part) = parts.next().await {
            let part = part.map_err(failed)?;
            receiver.take(&part.path, part.offset, &part.content, part.is_last)?;
        }
        let received = receiver.finish(&snapshot.files)?;
        rows.push(row(member.node_id, &own, &received));
    }
    Ok(rows)
}

/// The folder of a node: its name, as `up` has it, where that is a plain one.
fn folder_of(member: &Member) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name = &member.name;
    match !name.is_empty() && !name.starts_with('.') && name.chars().all(is_plain) {
        true => name.clone(),
        false => format!("n{}", member.node_id),
    }
}

fn row(id: u64, folder: &str, files: &[Listed]) -> Value {
    let files = files.iter().map(|file| {
        json!({ "path": file.path, "bytes": file.bytes, "xxh3": format!("{:032x}", file.hash) })
    });
    json!({ "id": id, "folder": folder, "files": files.collect::<Vec<_>>() })
}

/// Writes the files of one node as their parts come.
struct Receiver {
    folder: PathBuf,
    open: Option<(String, File, u64, Xxh3)>,
    done: BTreeMap<String, Listed>,
}

impl Receiver {
    fn new(folder: PathBuf) -> Self {
        Self { folder, open: None, done: BTreeMap::new() }
    }

    fn take(
        &mut self,
        path: &str,
        offset: u64,
        content: &[u8],
        is_last: bool,
    ) -> Result<(), BackupError> {
        let target = self.folder.join(plain(path, &self.folder)?);
        if offset == 0 {
            let parent = target.parent().unwrap_or(&self.folder);
            fs::create_dir_all(parent).map_err(disk("make", parent))?;
            let file = File::create_new(&target).map_err(disk("create", &target))?;
            self.open = Some((path.to_owned(), file, 0, Xxh3::new()));
        }
        let out_of_order = || BackupError::Damaged {
            path: target.clone(),
            problem: "its parts came out of order",
        };
        let (name, file, bytes, hash) = self.open.as_mut().ok_or_else(out_of_order)?;
        if name != path || *bytes != offset {
            return Err(out_of_order());
        }
        file.write_all(content).map_err(disk("write", &target))?;
        hash.update(content);
        *bytes += content.len() as u64;
        if is_last {
            file.sync_all().map_err(disk("sync", &target))?;
            let listed = Listed { path: path.to_owned(), bytes: *bytes, hash: hash.digest128() };
            self.done.insert(path.to_owned(), listed);
            self.open = None;
        }
        Ok(())
    }

    /// What came, if it is all that the node listed.
    fn finish(self, files: &[SnapshotFile]) -> Result<Vec<Listed>, BackupError> {
        for file in files {
            let came = self.done.get(&file.path).map(|done| done.bytes);
            if came != Some(file.bytes) {
                let (path, problem) = (self.folder.join(&file.path), "it did not come whole");
                return Err(BackupError::Damaged { path, problem });
            }
        }
        Ok(self.done.into_values().collect())
    }
}

/// A path that stays below its folder.
fn plain<'p>(path: &'p str, folder: &Path) -> Result<&'p Path, BackupError> {
    let relative = Path::new(path);
    let is_plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    match is_plain && !path.is_empty() {
        true => Ok(relative),
        false => Err(BackupError::Damaged {
            path: folder.to_owned(),
            problem: "a file in it has a path that leads elsewhere",
        }),
    }
}

/// Restores a backup into a folder that `narthex up` can open.
pub fn restore(arguments: &RestoreArguments) -> Result<(), BackupError> {
    let (from, into) = (&arguments.folder, &arguments.path);
    check_empty(into)?;
    let manifest = read_manifest(from)?;
    let no_backup = |problem: &str| BackupError::NoBackup {
        folder: from.clone(),
        problem: format!("{MANIFEST} has {problem}"),
    };
    let nodes = manifest["nodes"].as_array().ok_or_else(|| no_backup("no nodes"))?;
    let mut bytes = 0;
    for node in nodes {
        let name = node["folder"].as_str().ok_or_else(|| no_backup("a node without a folder"))?;
        let name = plain(name, from)?;
        let files = node["files"].as_array().ok_or_else(|| no_backup("a node without files"))?;
        for file in files {
            let listed = listed(file).ok_or_else(|| no_backup("a file that is not described"))?;
            let path = name.join(plain(&listed.path, from)?);
            copy_checked(&from.join(&path), &into.join(&path), &listed)?;
            bytes += listed.bytes;
        }
    }
    sync_folder(into)?;
    let restored = format!("{} nodes, {bytes} bytes restored to {}", nodes.len(), into.display());
    answer(&restored).map_err(ClientError::from)?;
    Ok(())
}

fn read_manifest(folder: &Path) -> Result<Value, BackupError> {
    let no_backup = |problem: String| BackupError::NoBackup { folder: folder.to_owned(), problem };
    let text = fs::read_to_string(folder.join(MANIFEST))
        .map_err(|error| no_backup(format!("{MANIFEST}: {error}")))?;
    let manifest: Value =
        serde_json::from_str(&text).map_err(|error| no_backup(format!("{MANIFEST}: {error}")))?;
    match manifest["format"].as_u64() {
        Some(FORMAT) => Ok(manifest),
        Some(newer) if newer > FORMAT => Err(BackupError::Newer(newer)),
        _ => Err(no_backup(format!("{MANIFEST} has no format"))),
    }
}

fn listed(file: &Value) -> Option<Listed> {
    Some(Listed {
        path: file["path"].as_str()?.to_owned(),
        bytes: file["bytes"].as_u64()?,
        hash: u128::from_str_radix(file["xxh3"].as_str()?, 16).ok()?,
    })
}

fn copy_checked(from: &Path, into: &Path, listed: &Listed) -> Result<(), BackupError> {
    let parent = into.parent().unwrap_or(into);
    fs::create_dir_all(parent).map_err(disk("make", parent))?;
    let mut source = File::open(from).map_err(disk("open", from))?;
    let mut target = File::create_new(into).map_err(disk("create", into))?;
    let (mut hash, mut bytes) = (Xxh3::new(), 0);
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let read = source.read(&mut buffer).map_err(disk("read", from))?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
        target.write_all(&buffer[..read]).map_err(disk("write", into))?;
    }
    target.sync_all().map_err(disk("sync", into))?;
    match (bytes, hash.digest128()) == (listed.bytes, listed.hash) {
        true => Ok(()),
        false => Err(BackupError::Damaged {
            path: from.to_owned(),
            problem: "it is not what the manifest says",
        }),
    }
}

fn check_empty(folder: &Path) -> Result<(), BackupError> {
    match fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(BackupError::NotEmpty(folder.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(disk("read", folder)(error)),
    }
}

fn write_synced(path: &Path, content: &[u8]) -> Result<(), BackupError> {
    let mut file = File::create_new(path).map_err(disk("create", path))?;
    file.write_all(content).map_err(disk("write", path))?;
    file.sync_all().map_err(disk("sync", path))
}

/// Makes names durable, in the folder and all below it.
fn sync_folder(folder: &Path) -> Result<(), BackupError> {
    for entry in fs::read_dir(folder).map_err(disk("read", folder))? {
        let path = entry.map_err(disk("read", folder))?.path();
        if path.is_dir() {
            sync_folder(&path)?;
        }
    }
    File::open(folder).and_then(|it| it.sync_all()).map_err(disk("sync", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A backup of one node with one file, and where to restore it.
    fn backed_up(folder: &Path) -> RestoreArguments {
        let from = folder.join("backup");
        let mut receiver = Receiver::new(from.join("n1"));
        receiver.take("data/1.sst", 0, b"ab", false).expect("taken");
        receiver.take("data/1.sst", 2, b"cd", true).expect("taken");
        receiver.take("META", 0, b"", true).expect("taken");
        let file = |path: &str, bytes| SnapshotFile { path: path.to_owned(), bytes };
        let files = receiver.finish(&[file("META", 0), file("data/1.sst", 4)]).expect("whole");
        let manifest = json!({ "format": FORMAT, "nodes": [row(1, "n1", &files)] });
        write_synced(&from.join(MANIFEST), manifest.to_string().as_bytes()).expect("written");
        RestoreArguments { folder: from, path: folder.join("restored") }
    }

    #[test]
    fn what_was_backed_up_is_restored() {
        let folder = tempfile::tempdir().expect("folder");
        let arguments = backed_up(folder.path());
        restore(&arguments).expect("restored");
        let restored = |path: &str| fs::read(arguments.path.join("n1").join(path));
        assert_eq!(restored("data/1.sst").expect("there"), b"abcd");
        assert_eq!(restored("META").expect("there"), b"");
        assert!(matches!(restore(&arguments), Err(BackupError::NotEmpty(_))), "never twice");
    }

    #[test]
    fn a_damaged_backup_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let arguments = backed_up(folder.path());
        fs::write(arguments.folder.join("n1/data/1.sst"), b"abcx").expect("written");
        assert!(matches!(restore(&arguments), Err(BackupError::Damaged { .. })));
    }

    #[test]
    fn a_backup_of_another_format_or_none_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("folder");
        let arguments = backed_up(folder.path());
        let manifest = arguments.folder.join(MANIFEST);
        fs::write(&manifest, r#"{"format": 2, "nodes": []}"#).expect("written");
        let error = restore(&arguments).expect_err("newer").to_string();
        assert_eq!(error, "the backup has format 2, this version reads up to format 1");
        fs::remove_file(&manifest).expect("removed");
        assert!(matches!(restore(&arguments), Err(BackupError::NoBackup { .. })));
    }

    #[test]
    fn parts_out_of_order_and_paths_that_lead_elsewhere_are_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let mut receiver = Receiver::new(folder.path().join("n1"));
        assert!(receiver.take("data/1.sst", 2, b"cd", true).is_err());
        for path in ["../x", "/etc/x", "a/../../x", ""] {
            assert!(receiver.take(path, 0, b"", true).is_err(), "{path}");
        }
        receiver.take("a", 0, b"x", true).expect("taken");
        let listed = SnapshotFile { path: "a".to_owned(), bytes: 2 };
        assert!(receiver.finish(&[listed]).is_err(), "it came short");
    }
}
