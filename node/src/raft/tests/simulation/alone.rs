//! A run in a process of its own, all of whose randomness is the seed's.
//!
//! Tokio wakes waiters, and hash maps keep their entries, in an order that the system's randomness
//! decides. Both ask the C library for it once, so a few lines in front of that make a run the same
//! again; they are compiled when they are first needed.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::{Planted, setting};

/// Where the child looks for what it is to run.
const CHILD_SEED: &str = "NARTHEX_SIM_CHILD_SEED";
const CHILD_PLANTED: &str = "NARTHEX_SIM_CHILD_PLANTED";

const RANDOMNESS: &str = "
#include <stddef.h>
#include <string.h>
#include <sys/types.h>
ssize_t getrandom(void *into, size_t length, unsigned flags) {
    (void)flags;
    memset(into, 7, length);
    return (ssize_t)length;
}
";

/// The library that a child is preloaded with.
fn preloaded() -> &'static Path {
    static LIBRARY: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, library) = LIBRARY.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let (source, library) = (folder.path().join("seeded.c"), folder.path().join("seeded.so"));
        fs::write(&source, RANDOMNESS).expect("written");
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let mut words = compiler.split_whitespace();
        let status = Command::new(words.next().expect("a compiler"))
            .args(words)
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .status()
            .expect("a C compiler: what RocksDB is built with");
        assert!(status.success(), "the library was not compiled");
        (folder, library)
    });
    library
}

/// Runs a seed; gives what happened, with what was not as promised at its end.
pub fn run(seed: u64, planted: Option<Planted>) -> Result<String, String> {
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    child
        .args(["--exact", ENTRANCE, "--nocapture"])
        .env("LD_PRELOAD", preloaded())
        .env("RUST_BACKTRACE", "0")
        .env(CHILD_SEED, seed.to_string());
    if let Some(planted) = planted {
        let at = Planted::ALL.iter().position(|it| *it == planted).expect("all are listed");
        child.env(CHILD_PLANTED, at.to_string());
    }
    let output = child.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let events: Vec<&str> = said.lines().filter(|line| line.starts_with(EVENT)).collect();
    match output.status.success() {
        true => Ok(events.join("\n")),
        false => {
            let last = events.len().saturating_sub(40);
            Err(format!(
                "{}\n{}",
                events[last..].join("\n"),
                String::from_utf8_lossy(&output.stderr)
            ))
        }
    }
}

/// The test by which a child comes in: it does what [`as_child`] says, and nothing else.
const ENTRANCE: &str = "raft::tests::simulation::seeds_keep_what_was_promised";

const EVENT: &str = "event ";

/// Runs the seed that [`run`] has started this process for; false where it has not.
pub fn as_child() -> bool {
    let Some(seed) = setting(CHILD_SEED) else { return false };
    let planted = setting(CHILD_PLANTED).map(|at| Planted::ALL[at as usize]);
    let (trace, result) = super::simulate(seed, planted);
    let trace: String = trace.iter().map(|event| format!("{EVENT}{event}\n")).collect();
    std::io::stdout().write_all(trace.as_bytes()).expect("the parent reads it");
    assert_eq!(result, Ok(()), "seed {seed}");
    true
}
