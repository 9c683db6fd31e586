//! Who a node is: the `META` file of its folder, and the lock that lets one process have it open.
//!
//! ```text
//! narthex node folder        fixed
//! format 1                   the version of everything in the folder
//! readable-from 1            the oldest version that can read it
//! folder 9c41…               drawn when the folder was made, so that its log fits no other
//! cluster 67e5…              once the node belongs to a cluster
//! node 2                     with it
//! incarnation 17             how often the folder was opened
//! checksum 3b0f…             xxh3-64 of the bytes above
//! ```
//!
//! Invariants
//! * while a [`Folder`] is open no other process has it open;
//! * the incarnation of an open folder is on disk, and higher than at any time before;
//! * a folder's cluster and node never change once set;
//! * `META` is replaced whole: after a power loss it is the old one or the new one.
//!
//! A folder without `META` that is not empty is refused: it is something else, or its `META` is
//! lost, and a node without its identity must not come back under a guessed one.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use narthex_cluster::{ClusterId, Incarnation, NodeId};
use xxhash_rust::xxh3::xxh3_64;

/// The version of everything in a folder that this binary writes.
pub const FORMAT_VERSION: u32 = 1;
/// The oldest version that can read what this binary writes.
const READABLE_FROM: u32 = 1;

const META: &str = "META";
const META_NEXT: &str = "META.next";
const LOCK: &str = "LOCK";
/// Why the cluster refused the folder, once it did.
const REFUSED: &str = "REFUSED";
const TITLE: &str = "narthex node folder";
/// More is no `META`.
const META_BYTES_MAX: u64 = 4096;

/// Why a folder is not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Stop the other process, or give this one another folder.
    #[error("{} is open in another process", .0.display())]
    Locked(PathBuf),
    /// Start a newer binary.
    #[error(
        "{} was written in format {format} by a newer version, which versions from format \
         {readable_from} on can read; this version reads up to format {FORMAT_VERSION}",
        .folder.display()
    )]
    Newer {
        /// The folder.
        folder: PathBuf,
        /// Its format.
        format: u32,
        /// The oldest format version that can read it.
        readable_from: u32,
    },
    /// Use the folder that this is an old copy of, or let the node rejoin with an empty folder.
    #[error("the cluster has refused {}: {reason}", .folder.display())]
    Refused {
        /// The folder.
        folder: PathBuf,
        /// What the cluster said.
        reason: String,
    },
    /// Name an empty folder, or restore `META`.
    #[error("{} is not empty and has no META: it is no folder of a narthex node", .0.display())]
    NotOurs(PathBuf),
    /// Restore `META`, or let the node rejoin with an empty folder and a new id.
    #[error("{} is damaged: {problem}", .folder.join(META).display())]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
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
}

/// Why a folder does not take an identity.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// Stop: the folder belongs to another cluster or node.
    #[error("the folder belongs to node {node} of cluster {cluster}")]
    Other {
        /// Whose folder it is.
        node: NodeId,
        /// The cluster it belongs to.
        cluster: ClusterId,
    },
    /// The identity is not on disk.
    #[error("write the identity")]
    Write(#[from] OpenError),
}

/// Which node of which cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node in it.
    pub node: NodeId,
}

/// A node's folder, open and locked until this is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    meta: Meta,
    _lock: File,
}

impl Folder {
    /// Opens the folder, making it if it is missing, and counts its incarnation up.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        fs::create_dir_all(path).map_err(io_error("create", path))?;
        let lock = lock(path)?;
        if let Ok(reason) = fs::read_to_string(path.join(REFUSED)) {
            let (folder, reason) = (path.to_owned(), reason.trim_end().to_owned());
            return Err(OpenError::Refused { folder, reason });
        }
        let before = match read_meta(path)? {
            Some(meta) => meta,
            None if is_fresh(path)? => {
                Meta { folder: uuid::Uuid::new_v4().as_u64_pair().0, ..Meta::default() }
            }
            None => return Err(OpenError::NotOurs(path.to_owned())),
        };
        let meta = Meta { incarnation: Incarnation(before.incarnation.0 + 1), ..before };
        write_meta(path, &meta)?;
        Ok(Self { path: path.to_owned(), meta, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it is; `None` until the node belongs to a cluster.
    pub fn identity(&self) -> Option<NodeIdentity> {
        self.meta.identity
    }

    /// Drawn at random when the folder was made, and never changed; 0 in a folder made by a version
    /// that drew none.
    pub fn number(&self) -> u64 {
        self.meta.folder
    }

    /// How often it was opened, this time included.
    pub fn incarnation(&self) -> Incarnation {
        self.meta.incarnation
    }

    /// Keeps the folder from being opened again, because the cluster has refused it for good: a
    /// copy that only counts its openings on would otherwise pass for the folder it is a copy of.
    pub fn refuse(&self, reason: &str) -> Result<(), OpenError> {
        let path = self.path.join(REFUSED);
        let mut file = File::create(&path).map_err(io_error("create", &path))?;
        file.write_all(format!("{reason}\n").as_bytes()).map_err(io_error("write", &path))?;
        file.sync_all().map_err(io_error("sync", &path))?;
        sync_folder(&self.path)
    }

    /// Makes it the folder of this node for ever; synced when this returns. The same again does
    /// nothing.
    pub fn adopt(&mut self, identity: NodeIdentity) -> Result<(), AdoptError> {
        match self.meta.identity {
            Some(present) if present == identity => return Ok(()),
            Some(NodeIdentity { cluster, node }) => {
                return Err(AdoptError::Other { node, cluster });
            }
            None => {}
        }
        let meta = Meta { identity: Some(identity), ..self.meta };
        write_meta(&self.path, &meta)?;
        self.meta = meta;
        Ok(())
    }
}

/// What `META` says. Its versions never go down: a part of the folder may be as new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Meta {
    format: u32,
    readable_from: u32,
    folder: u64,
    identity: Option<NodeIdentity>,
    incarnation: Incarnation,
}

/// The folder of nobody, never opened.
impl Default for Meta {
    fn default() -> Self {
        let (format, readable_from) = (FORMAT_VERSION, READABLE_FROM);
        Self { format, readable_from, folder: 0, identity: None, incarnation: Incarnation(0) }
    }
}

impl Meta {
    fn text(&self) -> String {
        let identity = self.identity.map_or_else(String::new, |NodeIdentity { cluster, node }| {
            format!("cluster {cluster}\nnode {node}\n")
        });
        let body = format!(
            "{TITLE}\nformat {}\nreadable-from {}\nfolder {:016x}\n{identity}incarnation {}\n",
            self.format, self.readable_from, self.folder, self.incarnation
        );
        format!("{body}checksum {:016x}\n", xxh3_64(body.as_bytes()))
    }

    /// Reads the versions first: a newer format may have other lines and another checksum.
    fn parse(text: &str, folder: &Path) -> Result<Self, OpenError> {
        let damaged = |problem| OpenError::Damaged { folder: folder.to_owned(), problem };
        let mut lines = text.lines();
        if lines.next() != Some(TITLE) {
            return Err(damaged("it does not begin as one"));
        }
        let format: u32 = field(&mut lines, "format").map_err(damaged)?;
        let readable_from: u32 = field(&mut lines, "readable-from").map_err(damaged)?;
        if readable_from > FORMAT_VERSION {
            let folder = folder.to_owned();
            return Err(OpenError::Newer { folder, format, readable_from });
        }
        let body_end = text.rfind("checksum ").ok_or_else(|| damaged("it has no checksum"))?;
        let (body, checksum) = text.split_at(body_end);
        if checksum != format!("checksum {:016x}\n", xxh3_64(body.as_bytes())) {
            return Err(damaged("its checksum does not fit"));
        }
        let folder = match body.contains("\nfolder ") {
            true => {
                let number: String = field(&mut lines, "folder").map_err(damaged)?;
                u64::from_str_radix(&number, 16)
                    .map_err(|_| damaged("a line has no valid value"))?
            }
            false => 0,
        };
        let identity = match body.contains("\ncluster ") {
            true => {
                let cluster = field(&mut lines, "cluster").map_err(damaged)?;
                let node = field(&mut lines, "node").map_err(damaged)?;
                Some(NodeIdentity { cluster, node })
            }
            false => None,
        };
        let incarnation = field(&mut lines, "incarnation").map_err(damaged)?;
        let (format, readable_from) =
            (format.max(FORMAT_VERSION), readable_from.max(READABLE_FROM));
        Ok(Self { format, readable_from, folder, identity, incarnation })
    }
}

fn field<'a, T: FromStr>(
    lines: &mut impl Iterator<Item = &'a str>,
    name: &str,
) -> Result<T, &'static str> {
    let line = lines.next().ok_or("it is cut short")?;
    let value = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' '));
    value.ok_or("a line is missing")?.parse().map_err(|_| "a line has no valid value")
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join(LOCK);
    let file = File::options().create(true).append(true).open(&path);
    let file = file.map_err(io_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(folder.to_owned())),
        Err(TryLockError::Error(source)) => Err(io_error("lock", &path)(source)),
    }
}

/// Whether nothing is in the folder but what an opening cut short can leave behind.
fn is_fresh(folder: &Path) -> Result<bool, OpenError> {
    let leftovers = [LOCK, META_NEXT, "lost+found"];
    for entry in fs::read_dir(folder).map_err(io_error("list", folder))? {
        let name = entry.map_err(io_error("list", folder))?.file_name();
        if !leftovers.iter().any(|leftover| name == *leftover) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read_meta(folder: &Path) -> Result<Option<Meta>, OpenError> {
    let path = folder.join(META);
    let length = match fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io_error("read", &path)(source)),
    };
    if length > META_BYTES_MAX {
        let problem = "it is too long";
        return Err(OpenError::Damaged { folder: folder.to_owned(), problem });
    }
    let bytes = fs::read(&path).map_err(io_error("read", &path))?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| OpenError::Damaged { folder: folder.to_owned(), problem: "it is no text" })?;
    Meta::parse(text, folder).map(Some)
}

fn write_meta(folder: &Path, meta: &Meta) -> Result<(), OpenError> {
    let (next, path) = (folder.join(META_NEXT), folder.join(META));
    let mut file = File::create(&next).map_err(io_error("create", &next))?;
    file.write_all(meta.text().as_bytes()).map_err(io_error("write", &next))?;
    file.sync_all().map_err(io_error("sync", &next))?;
    fs::rename(&next, &path).map_err(io_error("replace", &path))?;
    sync_folder(folder)?;
    // The folder itself may be new: its name is in its parent. A relative path of one part has
    // the current folder as its parent.
    match folder.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_folder(Path::new(".")),
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> Result<(), OpenError> {
    let file = File::open(folder).map_err(io_error("open", folder))?;
    file.sync_all().map_err(io_error("sync", folder))
}

fn io_error(step: &'static str, path: &Path) -> impl Fn(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { step, path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn identity(node: u64) -> NodeIdentity {
        NodeIdentity { cluster: ClusterId::from_random_bytes([3; 16]), node: NodeId(node) }
    }

    fn open(folder: &tempfile::TempDir) -> Result<Folder, OpenError> {
        Folder::open(folder.path())
    }

    fn rewrite(folder: &tempfile::TempDir, edit: impl Fn(String) -> String) {
        let path = folder.path().join(META);
        let text = edit(fs::read_to_string(&path).unwrap());
        fs::write(&path, text).unwrap();
    }

    #[test]
    fn an_identity_is_kept_and_the_incarnation_counts_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = open(&folder).unwrap();
        assert_eq!((first.identity(), first.incarnation()), (None, Incarnation(1)));
        first.adopt(identity(2)).unwrap();
        first.adopt(identity(2)).unwrap();
        drop(first);
        let second = open(&folder).unwrap();
        assert_eq!((second.identity(), second.incarnation()), (Some(identity(2)), Incarnation(2)));
    }

    #[test]
    fn a_folder_never_changes_hands() {
        let folder = tempfile::tempdir().unwrap();
        let mut open = open(&folder).unwrap();
        open.adopt(identity(2)).unwrap();
        let error = open.adopt(identity(3)).unwrap_err().to_string();
        assert!(error.starts_with("the folder belongs to node 2 of cluster 03030303"), "{error}");
    }

    #[test]
    fn a_refused_folder_stays_so() {
        let folder = tempfile::tempdir().unwrap();
        open(&folder).unwrap().refuse("it is an old copy").unwrap();
        let error = open(&folder).unwrap_err().to_string();
        assert!(error.ends_with(": it is an old copy"), "{error}");
    }

    #[test]
    fn two_at_once_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(&folder).unwrap();
        assert!(matches!(open(&folder), Err(OpenError::Locked(_))));
        drop(first);
        assert!(open(&folder).is_ok());
    }

    #[test]
    fn a_newer_folder_is_refused_with_both_versions() {
        let folder = tempfile::tempdir().unwrap();
        drop(open(&folder).unwrap());
        rewrite(&folder, |text| {
            text.replace("format 1", "format 9").replace("readable-from 1", "readable-from 8")
        });
        let error = open(&folder).unwrap_err().to_string();
        assert!(error.contains("format 9") && error.contains("up to format 1"), "{error}");
    }

    #[test]
    fn a_newer_folder_that_this_version_can_read_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        drop(open(&folder).unwrap());
        rewrite(&folder, |text| {
            let body = text.split("checksum").next().unwrap().replace("format 1", "format 2");
            format!("{body}checksum {:016x}\n", xxh3_64(body.as_bytes()))
        });
        assert_eq!(open(&folder).unwrap().incarnation(), Incarnation(2));
        let text = fs::read_to_string(folder.path().join(META)).unwrap();
        assert!(text.contains("\nformat 2\n"), "what is newer stays so: {text}");
    }

    #[test]
    fn a_folder_of_something_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "x").unwrap();
        assert!(matches!(open(&folder), Err(OpenError::NotOurs(_))));
        let lost = tempfile::tempdir().unwrap();
        drop(open(&lost).unwrap());
        fs::create_dir(lost.path().join("log")).unwrap();
        fs::remove_file(lost.path().join(META)).unwrap();
        assert!(matches!(open(&lost), Err(OpenError::NotOurs(_))));
    }

    #[test]
    fn an_opening_cut_short_is_repeated() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(META_NEXT), "narthex no").unwrap();
        assert_eq!(open(&folder).unwrap().incarnation(), Incarnation(1));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Folder::open(&file.path().join("data")).unwrap_err().to_string();
        assert!(error.starts_with("create ") && error.ends_with("/data"), "{error}");
    }

    #[test]
    fn a_failed_write_leaves_the_old_identity() {
        let folder = tempfile::tempdir().unwrap();
        let mut open_folder = open(&folder).unwrap();
        fs::create_dir(folder.path().join(META_NEXT)).unwrap();
        assert!(open_folder.adopt(identity(2)).is_err());
        assert_eq!(open_folder.identity(), None);
        drop(open_folder);
        fs::remove_dir(folder.path().join(META_NEXT)).unwrap();
        assert_eq!(open(&folder).unwrap().identity(), None);
    }

    proptest! {
        #[test]
        fn a_changed_or_cut_meta_is_refused(node in 1u64.., place: usize, flip in 1u8..128, cut: bool) {
            let meta = Meta { identity: Some(identity(node)), ..Meta::default() };
            let mut bytes = meta.text().into_bytes();
            let path = Path::new("x");
            prop_assert_eq!(Meta::parse(&meta.text(), path).unwrap(), meta);
            let place = place % bytes.len();
            if cut { bytes.truncate(place) } else { bytes[place] ^= flip }
            if let Ok(text) = String::from_utf8(bytes) {
                prop_assert!(Meta::parse(&text, path).is_err());
            }
        }
    }
}
