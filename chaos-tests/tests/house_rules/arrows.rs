//! Manifests' arrows only point down, and heavy libraries stay in their rooms.

use crate::{expect_none, sources};

/// Which of our crates each may depend on: the arrows of ARCHITECTURE.md, followed to the end.
const ARROWS: &[(&str, &[&str])] = &[
    ("narthex-model", &[]),
    ("narthex-exposition", &["narthex-model"]),
    ("narthex-yaml", &["narthex-model"]),
    ("narthex-template", &["narthex-model"]),
    ("narthex-rules", &["narthex-yaml", "narthex-template", "narthex-promql", "narthex-model"]),
    (
        "narthex-objects",
        &[
            "narthex-cluster",
            "narthex-rules",
            "narthex-yaml",
            "narthex-template",
            "narthex-promql",
            "narthex-model",
        ],
    ),
    ("narthex-promql", &["narthex-model"]),
    ("narthex-tsdb", &["narthex-model"]),
    ("narthex-cluster", &["narthex-model"]),
    ("narthex-proto", &["narthex-cluster", "narthex-model"]),
    ("narthex-web", &["narthex-proto", "narthex-model"]),
    (
        "narthex-node",
        &[
            "narthex-web",
            "narthex-proto",
            "narthex-cluster",
            "narthex-exposition",
            "narthex-objects",
            "narthex-promql",
            "narthex-rules",
            "narthex-template",
            "narthex-tsdb",
            "narthex-yaml",
            "narthex-model",
        ],
    ),
    (
        "narthex-router",
        &["narthex-web", "narthex-proto", "narthex-cluster", "narthex-exposition", "narthex-model"],
    ),
    (
        "narthex-querier",
        &["narthex-web", "narthex-proto", "narthex-cluster", "narthex-promql", "narthex-model"],
    ),
    (
        "narthex-cli",
        &[
            "narthex-node",
            "narthex-router",
            "narthex-querier",
            "narthex-web",
            "narthex-proto",
            "narthex-cluster",
            "narthex-exposition",
            "narthex-objects",
            "narthex-rules",
            "narthex-template",
            "narthex-yaml",
            "narthex-promql",
            "narthex-model",
        ],
    ),
    ("narthex-chaos-tests", &["narthex-proto", "narthex-model"]),
    // Systems are programs to it; a page it reads as a scrape does.
    ("narthex-bench", &["narthex-exposition", "narthex-model"]),
];

/// Libraries that only these crates may name in a manifest.
const KEPT_IN: &[(&str, &[&str])] = &[
    ("openraft", &["narthex-node"]),
    ("rocksdb", &["narthex-node", "narthex-tsdb"]),
    (
        "tokio",
        &[
            "narthex-web",
            "narthex-proto",
            "narthex-node",
            "narthex-router",
            "narthex-querier",
            "narthex-cli",
        ],
    ),
    (
        "tonic",
        &[
            "narthex-web",
            "narthex-proto",
            "narthex-node",
            "narthex-router",
            "narthex-querier",
            "narthex-cli",
        ],
    ),
    ("tikv-jemallocator", &["narthex-node", "narthex-cli"]),
];

struct Dependency {
    of: String,
    on: String,
    /// Only its tests, benches and examples use it.
    dev: bool,
}

#[test]
fn arrows_point_down() {
    let violations: Vec<_> = dependencies()
        .iter()
        .filter(|dependency| dependency.on.starts_with("narthex-"))
        .filter(|dependency| {
            let allowed = ARROWS.iter().find(|(name, _)| *name == dependency.of);
            !allowed.is_some_and(|(_, below)| below.contains(&dependency.on.as_str()))
        })
        .map(|dependency| format!("{} must not know {}", dependency.of, dependency.on))
        .collect();
    expect_none("arrows point down", &violations);
}

#[test]
fn libraries_stay_in_their_rooms() {
    let violations: Vec<_> = dependencies()
        .iter()
        .filter(|dependency| !dependency.dev)
        .filter(|dependency| {
            let room = KEPT_IN.iter().find(|(name, _)| *name == dependency.on);
            room.is_some_and(|(_, crates)| !crates.contains(&dependency.of.as_str()))
        })
        .map(|dependency| format!("{} must not use {}", dependency.of, dependency.on))
        .collect();
    expect_none("libraries stay in their rooms", &violations);
}

/// Read through cargo itself, which knows every way to write a manifest.
fn dependencies() -> Vec<Dependency> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = std::process::Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(sources::root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().expect("a workspace has packages") {
        for dependency in package["dependencies"].as_array().expect("a list, if only an empty one")
        {
            found.push(Dependency {
                of: package["name"].as_str().unwrap_or_default().to_owned(),
                on: dependency["name"].as_str().unwrap_or_default().to_owned(),
                dev: dependency["kind"] == "dev",
            });
        }
    }
    found
}
