//! The scoreboard: how many queries of the conformance scripts answer as they must, whole and
//! over five shards, and over five of which one more came in the middle of the data, twice.
//!
//! `scoreboard.tsv` holds the scores. A lower score fails the test, and so does a difference
//! between one shard and five. `NARTHEX_RECORD=1` writes the file anew; failures are listed with
//! `NARTHEX_FAILURES=1`. Scripts are looked for at `../shared/promqltest` beside the repository, or
//! where `NARTHEX_PROMQLTEST` says.

use std::{collections::BTreeMap, env, fs, io::Write, path::PathBuf};

use narthex_model::{Labels, Timestamp};
use narthex_promql::conformance::{RunOptions, ScriptReport, run, spread};

const SHARDS: usize = 5;

/// When shards are split: at a sample of most scripts, and between two.
const SPLITS: [Timestamp; 2] =
    [Timestamp::from_millis(5 * 60_000), Timestamp::from_millis(1_777_777)];

/// Passed and failed queries of a file, with one shard and with [`SHARDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Score {
    passed: usize,
    failed: usize,
    passed_sharded: usize,
}

fn scripts() -> Option<Vec<PathBuf>> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/promqltest");
    let folder = env::var_os("NARTHEX_PROMQLTEST").map_or(beside, PathBuf::from);
    let entries = fs::read_dir(folder).ok()?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut scripts: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "test"))
        .collect();
    scripts.sort();
    Some(scripts)
}

fn scoreboard() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scoreboard.tsv")
}

fn recorded() -> BTreeMap<String, Score> {
    let text = fs::read_to_string(scoreboard()).unwrap_or_default();
    let read = |line: &str| {
        let mut fields = line.split('\t');
        let name = fields.next()?.to_owned();
        let mut number = || fields.next()?.parse().ok();
        let score = Score { passed: number()?, failed: number()?, passed_sharded: number()? };
        Some((name, score))
    };
    text.lines().filter_map(read).collect()
}

fn run_file(name: &str, script: &str, shards: usize, splits: &[Timestamp]) -> ScriptReport {
    let shard_of = |labels: &Labels| spread(labels) as usize;
    let report = run(script, &RunOptions { shards, shard_of: &shard_of, splits })
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    if env::var_os("NARTHEX_FAILURES").is_some() {
        for failure in &report.details {
            eprintln!("{name}:{} [{shards}] {}\n    {}", failure.line, failure.query, failure.why);
        }
    }
    report
}

#[test]
fn scores_only_rise_and_shards_make_no_difference() {
    let Some(scripts) = scripts() else {
        let name = "conformance::scores_only_rise_and_shards_make_no_difference";
        // Past the capture of a passing test's output, for build/test to list.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {name}: no scripts at ../shared/promqltest");
        return;
    };
    let before = recorded();
    let mut now = BTreeMap::new();
    let mut wrong = Vec::new();
    for path in scripts {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let script = fs::read_to_string(&path).expect("readable");
        let whole = run_file(&name, &script, 1, &[]);
        let sharded = run_file(&name, &script, SHARDS, &[]);
        let split = run_file(&name, &script, SHARDS, &SPLITS);
        let failures = |report: &ScriptReport| -> Vec<usize> {
            report.details.iter().map(|failure| failure.line).collect()
        };
        if failures(&whole) != failures(&sharded) {
            wrong.push(format!("{name} differs between 1 and {SHARDS} shards"));
        }
        if failures(&whole) != failures(&split) {
            wrong.push(format!("{name} differs between 1 shard and shards that were split"));
        }
        let (passed, failed) = (whole.passed, whole.failed);
        let score = Score { passed, failed, passed_sharded: sharded.passed };
        if let Some(old) = before.get(&name)
            && (score.passed < old.passed || score.passed_sharded < old.passed_sharded)
        {
            wrong.push(format!("{name} fell from {old:?} to {score:?}"));
        }
        now.insert(name, score);
    }
    let mut text = String::from("# file\tpassed\tfailed\tpassed on 5 shards\n");
    for (name, score) in &now {
        let Score { passed, failed, passed_sharded } = score;
        text.push_str(&format!("{name}\t{passed}\t{failed}\t{passed_sharded}\n"));
    }
    eprintln!("{text}");
    if env::var_os("NARTHEX_RECORD").is_some() {
        fs::write(scoreboard(), &text).expect("written");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
