//! What a cluster keeps, and what it refuses to begin with: retention of some series, and limits
//! of series, as operators set them and senders see them.

use std::{fs, ops::Range, process::Command, time::Duration};

use narthex_chaos_tests::{
    api::Api,
    cluster::{Cluster, program},
    wait::{until, wall_millis},
};

const DEADLINE: Duration = Duration::from_secs(30);
const HOUR: i64 = 3_600_000;

/// Lines of series `m{series=…}` of a target, all with one value.
fn page(job: &str, instance: &str, series: Range<usize>, value: u64) -> String {
    let line = |n| format!("m{{job=\"{job}\",instance=\"{instance}\",series=\"{n}\"}} {value}\n");
    series.map(line).collect()
}

fn count(api: &Api, expression: &str) -> Result<f64, String> {
    let counted = api.vector(&format!("count({expression})"), "")?;
    Ok(counted.values().sum())
}

#[test]
fn series_beyond_a_limit_are_refused_and_the_others_go_on() {
    let limits = ["--ingest.max-series-per-target=100", "--ingest.max-series-per-job=150"];
    let cluster =
        Cluster::start_with(Some("{}"), &[&["--listen=127.0.0.1:0"], &limits[..]].concat());
    let api = cluster.api();
    // Flags become settings of the shards within a moment.
    until("a target is limited", DEADLINE, || {
        let job = format!("try{}", wall_millis());
        match api.import(&page(&job, "a:1", 0..101, 1))? {
            (400, body) if body.contains("1 target_series_limit") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });

    assert_eq!(api.import(&page("api", "a:1", 0..100, 1)).unwrap().0, 204);
    let (status, body) = api.import(&page("api", "a:1", 0..120, 2)).unwrap();
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("20 samples refused, the rest is stored"), "{body}");
    let flag = "its target has the 100 series that --ingest.max-series-per-target allows";
    assert!(body.contains("20 target_series_limit (for example {__name__=\"m\""), "{body}");
    assert!(body.contains(flag), "{body}");
    assert_eq!(count(&api, "m{job=\"api\"} == 2").unwrap(), 100.0, "what exists goes on");
    let refused = "narthex_router_append_samples_total{outcome=\"target_series_limit\"}";
    assert!(api.metric(refused).unwrap() >= 21.0);

    // Another target of the job has room, until the job has not.
    let _ = api.import(&page("api", "b:1", 0..90, 1)).unwrap();
    let mut instance = 0;
    until("the job is full", DEADLINE, || {
        instance += 1;
        match api.import(&page("api", &format!("c:{instance}"), 0..1, 1))? {
            (400, body) if body.contains("1 job_series_limit") => {
                assert!(body.contains("--ingest.max-series-per-job"), "{body}");
                Ok(())
            }
            other => Err(format!("{other:?}")),
        }
    });
    assert_eq!(api.import(&page("api", "a:1", 0..100, 3)).unwrap().0, 204);
    assert_eq!(api.import(&page("web", "a:1", 0..100, 3)).unwrap().0, 204, "another job");
    assert_eq!(count(&api, "m{job=\"api\",instance=\"a:1\"} == 3").unwrap(), 100.0);
    cluster.digests_equal().unwrap();
}

#[test]
fn a_rule_of_retention_holds_for_what_it_matches() {
    let cluster = Cluster::start_with(Some("{}"), &["--listen=127.0.0.1:0"]);
    let api = cluster.api();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("retention.yml");
    let retention = |argument: &str| {
        let mut command = Command::new(program());
        command.args(["cluster", "retention", argument, "--server", api.url()]);
        let output = command.output().expect("the program starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    assert_eq!(retention("show"), (true, "retention: []\n".to_owned(), String::new()));
    fs::write(&file, "retention:\n- {match: '{job=\"short\"}', keep: 36h}\n").unwrap();
    let (done, _, error) = retention(file.to_str().unwrap());
    assert!(!done && error.contains("line 2: keep: whole days are kept"), "{error}");
    let rules = "retention:\n  - {match: '{job=\"short\"}', keep: 1d}\n";
    fs::write(&file, rules).unwrap();
    assert_eq!(retention(file.to_str().unwrap()), (true, String::new(), String::new()));
    assert_eq!(retention("show").1, rules);

    let old = wall_millis() - 72 * HOUR;
    let mut tried = 0;
    until("the rule is in force", DEADLINE, || {
        tried += 1;
        let line = format!("m{{job=\"short\",instance=\"a:{tried}\"}} 1 {old}\n");
        match api.import(&line)? {
            (400, body) if body.contains("1 behind_horizon") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let line = |job| format!("m{{job=\"{job}\",instance=\"a:1\"}} 1 {}\n", old + HOUR);
    assert_eq!(api.import(&line("long")).unwrap().0, 204, "other series are kept for 15 days");
    let new = format!("m{{job=\"short\",instance=\"a:0\"}} 1 {}\n", wall_millis());
    assert_eq!(api.import(&new).unwrap().0, 204);
    let jobs = api.vector("count by (job) (count_over_time(m[5d]))", "job").unwrap();
    assert_eq!(jobs.keys().collect::<Vec<_>>(), ["long", "short"]);
    assert_eq!(jobs["long"], 1.0);
    cluster.digests_equal().unwrap();
}
