//! The short form of `make chaos`: a few scenarios for as long as a change can wait. Each draws its
//! schedule from a fixed seed; `build/chaos` runs all of them, with others.

use std::time::Duration;

use narthex_chaos_tests::{
    peers::skip,
    scenario::{Kept, Ran, Verdict, all, run},
};

const SEED: u64 = 1;
const LENGTH: Duration = Duration::from_secs(20);

/// Runs a scenario, and once more where the first run proves nothing.
fn passes(test: &str, id: &str) {
    let scenario = all().into_iter().find(|it| it.id == id).expect("it is in the list");
    let folder = std::env::temp_dir().join("narthex-chaos-kept");
    for is_last in [false, true] {
        match run(scenario, SEED, LENGTH, Kept { folder: &folder, all: false }) {
            Ran::Skipped(reason) => return skip(test, &reason),
            Ran::Judged(report) if report.verdict == Verdict::Pass => return,
            Ran::Judged(report) if report.verdict == Verdict::Unknown && !is_last => {
                eprintln!("no verdict, trying once more: {:#?}", report.findings);
            }
            Ran::Judged(report) => {
                panic!("{}: {:#?}\nkept: {:?}", report.verdict, report.findings, report.kept);
            }
        }
    }
}

#[test]
fn nodes_are_killed() {
    passes("scenarios::nodes_are_killed", "C01");
}

#[test]
fn leaders_are_cut_off() {
    passes("scenarios::leaders_are_cut_off", "C04");
}

#[test]
fn links_fail_in_one_direction() {
    passes("scenarios::links_fail_in_one_direction", "C05");
}

#[test]
fn disks_get_full() {
    passes("scenarios::disks_get_full", "C12");
}

#[test]
fn syncs_fail() {
    passes("scenarios::syncs_fail", "C11");
}
