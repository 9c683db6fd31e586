//! The pages in a real browser.

use std::{fmt::Write as _, path::Path, time::Duration};

use narthex_chaos_tests::{
    api::Api,
    cluster::Cluster,
    peers::{browser, output_of},
    targets::{Target, config},
    wait::{until, wall_millis},
};

/// A cluster with two targets, dropped ones, and half an hour of a histogram.
fn cluster_with(targets: &[Target]) -> Cluster {
    let mut jobs = config(&[("page", 1, targets)]);
    jobs.push_str(
        "  - job_name: dropped\n    static_configs:\n      - targets: [\"127.0.0.1:1\"]\n    \
         relabel_configs:\n      - {source_labels: [__address__], regex: \".*\", action: drop}\n",
    );
    Cluster::start(&jobs)
}

fn fill(api: &Api, targets: usize) {
    let (status, refusal) = api.import(&histogram()).expect("the router answers");
    assert!((200..300).contains(&status), "{status}: {refusal}");
    until("targets were scraped", Duration::from_secs(30), || {
        let up = api.vector("up", "instance")?;
        if up.len() == targets { Ok(()) } else { Err(format!("{up:?}")) }
    });
}

/// A classic histogram whose observations wander from bucket to bucket.
fn histogram() -> String {
    const BOUNDS: [&str; 6] = ["0.1", "0.5", "1", "5", "10", "+Inf"];
    let mut text = String::new();
    let start = wall_millis() - 30 * 60_000;
    for (part, more) in [("a", 0), ("b", 12)] {
        let mut counts = [0u64; BOUNDS.len()];
        for step in 0..120 {
            let time = start + step * 15_000;
            counts[usize::try_from(step / 10).expect("small") % BOUNDS.len()] += 20 + more;
            counts[2] += 5;
            let mut sum = 0;
            for (bound, count) in BOUNDS.iter().zip(counts) {
                sum += count;
                writeln!(
                    text,
                    "demo_seconds_bucket{{part=\"{part}\",le=\"{bound}\"}} {sum} {time}"
                )
                .expect("text");
            }
            writeln!(text, "demo_seconds_count{{part=\"{part}\"}} {sum} {time}").expect("text");
        }
    }
    text
}

fn script() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/main.mjs")
}

/// The script's assertions are the test's. `NARTHEX_SCREENSHOTS` names a folder to look at what it
/// saw.
#[test]
fn every_page_is_fine_in_a_browser() {
    let Some(mut node) = browser("every_page_is_fine_in_a_browser") else { return };
    let targets = [Target::start(), Target::start()];
    let cluster = cluster_with(&targets);
    fill(&cluster.api(), targets.len());
    node.arg(script()).arg(cluster.api().url());
    node.args(std::env::var_os("NARTHEX_SCREENSHOTS"));
    let said = output_of(&mut node);
    assert!(said.ends_with("all pages are fine\n"), "{said}");
}
