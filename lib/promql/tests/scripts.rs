//! Our own scripts: one situation a file, the file's name is the claim, its first line the story.
//!
//! Each runs on one shard, on five, and on three of which each has become one more in its course.

use std::{fs, path::PathBuf};

use narthex_model::{Labels, Timestamp};
use narthex_promql::conformance::{RunOptions, run, spread};

#[test]
fn every_script_holds() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder of scripts")
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    let mut wrong = Vec::new();
    for path in paths {
        let script = fs::read_to_string(&path).expect("readable");
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let minute = |minutes: i64| Timestamp::from_millis(minutes * 60_000);
        let splits = [minute(4), minute(21)];
        for (shards, splits) in [(1, &[][..]), (5, &[][..]), (3, &splits[..])] {
            let shard_of = |labels: &Labels| spread(labels) as usize;
            let options = RunOptions { shards, shard_of: &shard_of, splits };
            let report = run(&script, &options).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(report.passed + report.failed > 0, "{name} asks nothing");
            for failure in report.details {
                let (line, query, why) = (failure.line, failure.query, failure.why);
                wrong.push(format!(
                    "{name}:{line} [{shards} shards, {} splits] {query}\n    {why}",
                    splits.len()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
