//! Files of objects: documents of YAML or JSON, in folders or alone.

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use narthex_objects::read_documents;
use narthex_yaml::Problem;
use serde_json::Value;

/// Ends of names of files that folders are searched for.
const SUFFIXES: [&str; 3] = ["yaml", "yml", "json"];

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Make it readable.
    #[error("read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Correct it.
    #[error("{}: {problem}", path.display())]
    Invalid { path: PathBuf, problem: Problem },
    /// Name others.
    #[error("{} has no files of objects: want names that end in .yaml, .yml or .json", path.display())]
    Empty { path: PathBuf },
}

/// All documents of these files, of the files of these folders, and of standard input where a path
/// is a dash; in this order, and by name within a folder.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Value>, FileError> {
    let mut documents = Vec::new();
    for path in paths {
        if !path.is_dir() {
            documents.extend(read_one(path)?);
            continue;
        }
        let files = files_of(path)?;
        if files.is_empty() {
            return Err(FileError::Empty { path: path.clone() });
        }
        for file in files {
            documents.extend(read_one(&file)?);
        }
    }
    Ok(documents)
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let failed = |source| FileError::Read { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let suffix = path.extension().and_then(|suffix| suffix.to_str());
        if suffix.is_some_and(|suffix| SUFFIXES.contains(&suffix)) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_one(path: &Path) -> Result<Vec<Value>, FileError> {
    let failed = |source| FileError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    if path == Path::new("-") {
        io::stdin().read_to_string(&mut text).map_err(failed)?;
    } else {
        text = std::fs::read_to_string(path).map_err(failed)?;
    }
    read_documents(&text).map_err(|problem| FileError::Invalid { path: path.to_owned(), problem })
}

/// The one among these files that is a `prometheus.yml`: it can be read, and says neither of what
/// version nor of what kind it is. One that cannot be read as YAML is taken for one as well, if it
/// is called so.
pub fn prometheus_file(paths: &[PathBuf]) -> Option<&Path> {
    let is_one = |path: &&PathBuf| {
        if path.as_path() == Path::new("-") || path.is_dir() {
            return false;
        }
        match read_one(path) {
            Ok(documents) => documents
                .iter()
                .all(|document| document["apiVersion"].is_null() && document["kind"].is_null()),
            Err(_) => path.file_stem().is_some_and(|stem| stem == "prometheus"),
        }
    };
    paths.iter().find(is_one).map(PathBuf::as_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_read_in_the_order_of_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        write("b.yaml", "kind: B\n---\nkind: C\n");
        write("a.json", "{\"kind\": \"A\"}");
        write("note.txt", "kind: D\n");
        let read = read(&[folder.path().to_owned()]).expect("valid");
        let kinds: Vec<_> = read.iter().map(|document| document["kind"].as_str()).collect();
        assert_eq!(kinds, [Some("A"), Some("B"), Some("C")]);
        let empty = tempfile::tempdir().expect("a folder");
        assert!(matches!(super::read(&[empty.path().to_owned()]), Err(FileError::Empty { .. })));
    }

    #[test]
    fn a_prometheus_yml_is_told_from_objects() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.yml");
        for (text, is_one) in [
            ("scrape_configs: []\n", true),
            ("", true),
            ("apiVersion: v1\nkind: Secret\n", false),
            ("kind: Secret\n", false),
            ("a: [", false),
        ] {
            std::fs::write(&path, text).expect("written");
            assert_eq!(prometheus_file(std::slice::from_ref(&path)).is_some(), is_one, "{text}");
        }
        let path = folder.path().join("prometheus.yml");
        std::fs::write(&path, "a: [").expect("written");
        assert!(prometheus_file(&[path]).is_some(), "its own reader says what is wrong");
    }
}
