//! `file_sd_configs`: target groups in JSON or YAML files.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use narthex_model::Timestamp;
use narthex_yaml::Kind;

use crate::config::{FileDiscoveryConfig, Problem, TargetGroup, target_group};

/// The label that names the file a target came from.
const FILE_PATH_LABEL: &str = "__meta_filepath";
/// A longer file is refused: it would be held by every node.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Why a file gave no groups. Its last good groups stay.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Make the file readable.
    #[error("read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Correct the file.
    #[error("{}: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        problem: Problem,
    },
}

/// The files of one `file_sd_configs` entry and what they said last. All methods wait for the
/// disk.
#[derive(Debug)]
pub struct FileGroups {
    config: FileDiscoveryConfig,
    files: BTreeMap<PathBuf, KnownFile>,
    refreshed: Option<Timestamp>,
    /// Of the last look.
    read_errors: u64,
}

#[derive(Debug, Default)]
struct KnownFile {
    stamp: Option<Stamp>,
    groups: Vec<TargetGroup>,
    problem: Option<String>,
}

/// What changes when a file is written or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    len: u64,
}

impl FileGroups {
    /// Nothing read yet.
    pub fn new(config: FileDiscoveryConfig) -> Self {
        Self { config, files: BTreeMap::new(), refreshed: None, read_errors: 0 }
    }

    /// Reads files that are new or have changed, and all of them where `refresh_interval` is
    /// over. True if the groups or problems are others than before.
    pub fn poll(&mut self, now: Timestamp) -> bool {
        let age = self.refreshed.map(|then| now.millis_since(then));
        let is_due = age.is_none_or(|age| {
            age < 0 || Duration::from_millis(age.unsigned_abs()) >= self.config.refresh_interval
        });
        if is_due {
            self.refreshed = Some(now);
        }
        let paths = self.paths();
        let before = self.files.len();
        self.files.retain(|path, _| paths.contains(path));
        let mut changed = self.files.len() != before;
        self.read_errors = 0;
        for path in paths {
            let polled = self.files.entry(path.clone()).or_default().poll(&path, is_due);
            changed |= polled.changed;
            self.read_errors += u64::from(polled.failed);
        }
        changed
    }

    /// Files that the last look could not read.
    pub fn read_errors(&self) -> u64 {
        self.read_errors
    }

    /// The files and when each was last written, in seconds since 1970.
    pub fn modified(&self) -> impl Iterator<Item = (&Path, i64)> {
        self.files.iter().filter_map(|(path, file)| {
            let since = file.stamp?.modified.duration_since(SystemTime::UNIX_EPOCH).ok()?;
            Some((path.as_path(), i64::try_from(since.as_secs()).ok()?))
        })
    }

    /// The groups of all files, in the order of their paths.
    pub fn groups(&self) -> impl Iterator<Item = &TargetGroup> {
        self.files.values().flat_map(|file| &file.groups)
    }

    /// What is wrong with files, one text each.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.files.values().filter_map(|file| file.problem.as_deref())
    }

    /// Whether the files were looked at once.
    pub fn is_synced(&self) -> bool {
        self.refreshed.is_some()
    }

    fn paths(&self) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        for pattern in &self.config.files {
            if let Ok(found) = glob::glob(pattern) {
                paths.extend(found.filter_map(Result::ok));
            }
        }
        paths
    }
}

/// What a look at a file found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Polled {
    /// Its groups or its problem are others than before.
    changed: bool,
    /// It was read and gave none.
    failed: bool,
}

impl KnownFile {
    fn poll(&mut self, path: &Path, is_due: bool) -> Polled {
        let stamp = fs::metadata(path).ok().and_then(|metadata| {
            Some(Stamp { modified: metadata.modified().ok()?, len: metadata.len() })
        });
        if stamp == self.stamp && stamp.is_some() && !is_due {
            return Polled { changed: false, failed: false };
        }
        self.stamp = stamp;
        match read_groups(path) {
            Ok(groups) => {
                let changed = self.groups != groups || self.problem.is_some();
                self.groups = groups;
                self.problem = None;
                Polled { changed, failed: false }
            }
            Err(error) => {
                let problem = Some(error.to_string());
                let changed = self.problem != problem;
                self.problem = problem;
                Polled { changed, failed: true }
            }
        }
    }
}

/// Reads a file's groups. JSON is read as YAML, of which it is a part.
pub fn read_groups(path: &Path) -> Result<Vec<TargetGroup>, FileError> {
    let failed = |source| FileError::Read { path: path.to_owned(), source };
    let invalid = |problem| FileError::Invalid { path: path.to_owned(), problem };
    if fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(invalid(Problem::new(format!("larger than {FILE_BYTES_MAX} bytes"))));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let root = narthex_yaml::parse(&text).map_err(invalid)?;
    let nodes = match &root.kind {
        Kind::Sequence(nodes) => nodes.as_slice(),
        Kind::Null => &[],
        _ => return Err(invalid(Problem::new("expected a list of target groups"))),
    };
    let mut groups = Vec::with_capacity(nodes.len());
    for (at, node) in nodes.iter().enumerate() {
        if node.kind == Kind::Null {
            return Err(invalid(Problem::new("nil target group item found")));
        }
        let mut group = target_group(node).map_err(invalid)?;
        group.source = format!("{}:{at}", path.display());
        group.labels.insert(FILE_PATH_LABEL.to_owned(), path.display().to_string());
        groups.push(group);
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1000;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"))
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.0.path().join(name), text).expect("write");
        }

        fn watched(&self, pattern: &str) -> FileGroups {
            FileGroups::new(FileDiscoveryConfig {
                files: vec![self.0.path().join(pattern).display().to_string()],
                refresh_interval: Duration::from_secs(300),
            })
        }
    }

    fn addresses(files: &FileGroups) -> Vec<&str> {
        files.groups().flat_map(|group| &group.targets).map(|t| t["__address__"].as_str()).collect()
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn json_and_yaml_files_are_followed() {
        let folder = Folder::new();
        folder.write("a.json", r#"[{"targets": ["x:1", "y:2"], "labels": {"zone": "eu"}}]"#);
        let mut files = folder.watched("*");
        files.config.files = vec![
            folder.0.path().join("*.json").display().to_string(),
            folder.0.path().join("*.yml").display().to_string(),
        ];
        assert!(!files.is_synced());
        assert!(files.poll(at(0)));
        assert!(files.is_synced());
        assert_eq!(addresses(&files), ["x:1", "y:2"]);
        let group = files.groups().next().expect("a group");
        assert_eq!(group.labels["zone"], "eu");
        assert!(group.labels[FILE_PATH_LABEL].ends_with("/a.json"));
        assert!(group.source.ends_with("a.json:0"));
        assert!(!files.poll(at(SECOND)), "nothing changed");

        folder.write("b.yml", "- targets: ['z:3']\n");
        assert!(files.poll(at(2 * SECOND)));
        assert_eq!(addresses(&files), ["x:1", "y:2", "z:3"]);
        fs::remove_file(folder.0.path().join("a.json")).expect("remove");
        assert!(files.poll(at(3 * SECOND)));
        assert_eq!(addresses(&files), ["z:3"]);
    }

    #[test]
    fn a_broken_file_keeps_what_it_had() {
        let folder = Folder::new();
        folder.write("a.yml", "- targets: ['x:1']\n");
        let mut files = folder.watched("a.yml");
        assert!(files.poll(at(0)));
        for broken in ["- target: ['y:1']\n", "targets: x\n", "[", "-\n"] {
            folder.write("a.yml", broken);
            assert!(files.poll(at(SECOND)), "{broken:?}");
            assert_eq!(addresses(&files), ["x:1"], "{broken:?}");
            assert_eq!((files.problems().count(), files.read_errors()), (1, 1));
        }
        files.poll(at(SECOND));
        assert_eq!(files.read_errors(), 0, "it was not read again");
        folder.write("a.yml", "[]");
        assert!(files.poll(at(SECOND)));
        assert!(addresses(&files).is_empty());
        assert_eq!(files.problems().count(), 0);
    }
}
