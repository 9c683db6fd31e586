//! The workspace's sources, read and parsed.

use std::path::{Path, PathBuf};

/// One file of Rust source.
pub struct Source {
    /// From the workspace's root, with forward slashes.
    pub path: String,
    pub text: String,
    pub syntax: syn::File,
}

impl Source {
    /// Whether it serves tests only: integration tests, benches, and modules named `tests`.
    pub fn is_test(&self) -> bool {
        self.path.starts_with("chaos-tests/")
            || self.path.split('/').any(|part| {
                matches!(part, "tests" | "benches" | "examples" | "tests.rs")
                    || part.ends_with("_tests.rs")
            })
    }

    /// The folder of the crate it belongs to, such as `lib/model`.
    pub fn crate_folder(&self) -> &str {
        let parts = if self.path.starts_with("lib/") { 2 } else { 1 };
        let end = self.path.match_indices('/').nth(parts - 1).map_or(self.path.len(), |(at, _)| at);
        &self.path[..end]
    }
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("a member's folder lies in the workspace's").to_path_buf()
}

/// Every Rust source of the workspace, in order of paths.
pub fn all() -> Vec<Source> {
    let mut sources: Vec<_> = files_ending(".rs").into_iter().map(parse).collect();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(sources.len() > 10, "the workspace's sources were not found");
    sources
}

/// Paths, from the root, of all files that end like this.
pub fn files_ending(ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    collect(&root(), ending, &mut found);
    found
}

fn collect(folder: &Path, ending: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the workspace is readable") {
        let path = entry.expect("a folder of the workspace is readable").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with('.')
            || matches!(name, "target" | "narthex-data" | "node_modules" | "dist")
        {
            continue;
        }
        if path.is_dir() {
            collect(&path, ending, found);
        } else if name.ends_with(ending) {
            let below = path.strip_prefix(root()).expect("the walk starts at the root");
            found.push(below.to_string_lossy().into_owned());
        }
    }
}

fn parse(path: String) -> Source {
    let text = std::fs::read_to_string(root().join(&path)).expect("a source file is readable");
    let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
    Source { path, text, syntax }
}

/// Whether an item is compiled for tests only.
pub fn for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) => {
            list.path.is_ident("cfg") && list.tokens.to_string().starts_with("test")
        }
        syn::Meta::NameValue(_) => false,
    })
}
