//! The folder of `narthex up`: one running cluster at a time, and where that one answers.
//!
//! `lock` is held with `flock` for as long as the cluster runs and contains its URL once it is
//! known. The kernel releases it however the process ends, so a stale lock cannot exist.

use std::{
    fs::File,
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenFolderError {
    /// Nothing to do: tell the user where it answers.
    #[error("{folder} is in use by a running cluster{}", at(url))]
    Running {
        /// As the user gave it.
        folder: String,
        /// Empty while that cluster starts.
        url: String,
    },
    /// Choose another folder or mend its permissions.
    #[error("cannot {step} {path}")]
    Io {
        step: &'static str,
        path: String,
        #[source]
        source: std::io::Error,
    },
}

fn at(url: &str) -> String {
    if url.is_empty() {
        ", which has not finished starting".to_owned()
    } else {
        format!(" at {url}")
    }
}

/// An open folder. No other cluster uses it until this is dropped.
#[derive(Debug)]
pub struct ClusterFolder {
    path: PathBuf,
    lock: File,
}

impl ClusterFolder {
    /// Makes the folder if it does not exist and locks it.
    pub fn open(path: &Path) -> Result<Self, OpenFolderError> {
        let failed = |step, path: &Path, source| OpenFolderError::Io {
            step,
            path: path.display().to_string(),
            source,
        };
        std::fs::create_dir_all(path).map_err(|error| failed("create folder", path, error))?;
        let path = path.canonicalize().map_err(|error| failed("open folder", path, error))?;
        let file = path.join("lock");
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&file)
            .map_err(|error| failed("write to", &file, error))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut url = String::new();
            lock.read_to_string(&mut url).map_err(|error| failed("read", &file, error))?;
            let folder = path.display().to_string();
            return Err(OpenFolderError::Running { folder, url: url.trim().to_owned() });
        }
        lock.set_len(0).map_err(|error| failed("write to", &file, error))?;
        Ok(Self { path, lock })
    }

    /// The folder's absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the URL for whoever starts a cluster here while this one runs.
    pub fn announce(&mut self, url: &str) -> std::io::Result<()> {
        self.lock.set_len(0)?;
        self.lock.rewind()?;
        self.lock.write_all(url.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_open_learns_the_url_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = ClusterFolder::open(folder.path()).unwrap();
        first.announce("http://127.0.0.1:9091").unwrap();
        let error = ClusterFolder::open(folder.path()).unwrap_err();
        let OpenFolderError::Running { url, .. } = error else { panic!("{error}") };
        assert_eq!(url, "http://127.0.0.1:9091");
    }

    #[test]
    fn a_folder_is_free_again_when_its_cluster_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        drop(ClusterFolder::open(folder.path()).unwrap());
        ClusterFolder::open(folder.path()).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "").unwrap();
        let error = ClusterFolder::open(&path.join("data")).unwrap_err();
        assert!(error.to_string().contains("file/data"), "{error}");
    }
}
