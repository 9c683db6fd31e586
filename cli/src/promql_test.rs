//! `narthex test promql`: conformance scripts, whole or over shards in this process.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use narthex_cluster::{Ring, ShardId, TenantId, routing::routing_key};
use narthex_model::Labels;
use narthex_promql::conformance::{self, RunOptions, ScriptError, ScriptReport};

use crate::output::{answer, say};

/// Why scripts were not run to their end.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// Make the file readable.
    #[error("read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Correct the script.
    #[error("{}", path.display())]
    Script {
        path: PathBuf,
        #[source]
        source: ScriptError,
    },
    #[error("print the result")]
    Print(#[from] io::Error),
}

/// Prints `FILE passed failed` for each script, and what failed on standard error. True if
/// nothing failed.
pub fn run(files: &[PathBuf], shards: u32) -> Result<bool, TestError> {
    // As a cluster spreads them: by the ring, with a target's series together.
    let ring = Ring::new((1..=shards).map(ShardId));
    let shard_of = |labels: &Labels| {
        let key = routing_key(TenantId(0), labels.iter(), &BTreeSet::new());
        usize::try_from(ring.shard_of_key(key).0 - 1).expect("shards are few")
    };
    let shards = usize::try_from(shards).expect("shards are few");
    let options = RunOptions { shards, shard_of: &shard_of, splits: &[] };
    let mut passed = true;
    for file in files {
        let report = run_file(file, &options)?;
        for failure in &report.details {
            let (file, line) = (file.display(), failure.line);
            say(&format!("{file}:{line}: {}: {}", failure.query, failure.why));
        }
        answer(&format!("{} {} {}", file.display(), report.passed, report.failed))?;
        passed &= report.failed == 0;
    }
    Ok(passed)
}

fn run_file(file: &Path, options: &RunOptions<'_>) -> Result<ScriptReport, TestError> {
    let script = std::fs::read_to_string(file)
        .map_err(|source| TestError::Read { path: file.to_owned(), source })?;
    conformance::run(&script, options)
        .map_err(|source| TestError::Script { path: file.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_passes_over_one_and_over_five_shards() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("up.test");
        let script = "load 10s\n  up{job=\"a\",instance=\"1\"} 1+0x10\n  up{job=\"a\",instance=\"2\"} 0+0x10\n\n\
                      eval instant at 50s sum by (job) (up)\n  {job=\"a\"} 1\n";
        std::fs::write(&file, script).unwrap();
        for shards in [1, 5] {
            assert!(run(std::slice::from_ref(&file), shards).unwrap());
        }
        assert!(run(&[folder.path().join("absent")], 1).is_err());
    }
}
