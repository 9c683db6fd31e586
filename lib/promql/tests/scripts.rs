//! Our own scripts: one situation a file, the file's name is the claim, its first line the story.
//!
//! Each runs on one shard and on five.

use std::{fs, path::PathBuf};

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
        for shards in [1, 5] {
            let shard_of = |labels: &narthex_model::Labels| (spread(labels) % shards) as usize;
            let options = RunOptions { shards: shards as usize, shard_of: &shard_of };
            let report = run(&script, &options).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(report.passed + report.failed > 0, "{name} asks nothing");
            for failure in report.details {
                let (line, query, why) = (failure.line, failure.query, failure.why);
                wrong.push(format!("{name}:{line} [{shards} shards] {query}\n    {why}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
