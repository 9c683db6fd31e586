//! Clients that others wrote: promtool, and Python with what it generates from the `.proto` files.

use std::{path::Path, process::Command, time::Duration};

use narthex_chaos_tests::{
    cluster::Cluster,
    node::Process,
    peers::{output_of, peer, python, python_with},
    ports::free_address,
    targets::{SEQUENCE, Target, config},
    wait::{until, wall_millis},
};

fn cluster_with(targets: &[Target]) -> Cluster {
    let cluster = Cluster::start(&config(&[("page", 1, targets)]));
    until("every target was scraped twice", Duration::from_secs(30), || {
        let counts =
            cluster.api().vector(&format!("count_over_time({SEQUENCE}[1m])"), "instance")?;
        let ready = counts.len() == targets.len() && counts.values().all(|count| *count >= 2.0);
        if ready { Ok(()) } else { Err(format!("{counts:?}")) }
    });
    cluster
}

#[test]
fn promtool_queries() {
    let Some(promtool) = peer("promtool_queries", "promtool") else { return };
    let targets = [Target::start(), Target::start()];
    let cluster = cluster_with(&targets);
    let url = cluster.api().url().to_owned();
    let query = |arguments: &[&str]| {
        let mut command = Command::new(&promtool);
        output_of(command.arg("query").args(arguments))
    };

    let instant = query(&["instant", &url, "up"]);
    for target in &targets {
        let line = format!("up{{instance=\"{}\", job=\"page\"}} => 1 @[", target.address());
        assert!(instant.contains(&line), "{instant}");
    }
    // The next whole second, at which both targets are up.
    let end = wall_millis() / 1000 + 1;
    let (start, end) = (format!("--start={}", end - 60), format!("--end={end}"));
    let range = query(&["range", &start, &end, "--step=1s", &url, "sum(up)"]);
    assert!(range.starts_with("{} =>\n") && range.contains("\n2 @["), "{range}");
    let series = query(&["series", "--match=up", &start, &end, &url]);
    assert_eq!(series.lines().filter(|line| line.contains("__name__=\"up\"")).count(), 2);
    let jobs = query(&["labels", &start, &end, &url, "job"]);
    assert_eq!(jobs.trim(), "page");

    let output = Command::new(&promtool).args(["query", "instant", &url, "up{"]).output();
    let output = output.expect("promtool starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("bad_data"), "{error}");
}

/// The script's assertions are the test's.
#[test]
fn a_client_generated_from_the_published_files_queries() {
    let Some(mut python) = python("a_client_generated_from_the_published_files_queries") else {
        return;
    };
    let targets = [Target::start(), Target::start()];
    let cluster = cluster_with(&targets);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let address = cluster.api().url().trim_start_matches("http://").to_owned();
    let said = output_of(
        python
            .arg(here.join("tests/grpc_client.py"))
            .arg(address)
            .arg(here.with_file_name("proto"))
            .args(targets.iter().map(Target::address)),
    );
    eprint!("{said}");
    assert!(said.ends_with("all answered\n"), "{said}");
}

/// Runs a script that asks a cluster of two targets; its assertions are the test's.
fn scripted(mut python: Command, script: &str) {
    let targets = [Target::start(), Target::start()];
    let cluster = cluster_with(&targets);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let asked = python.arg(script).arg(cluster.api().url()).arg(SEQUENCE);
    let said = output_of(asked.args(targets.iter().map(Target::address)));
    assert!(said.ends_with("all answered\n"), "{said}");
}

#[test]
fn clients_for_python_query() {
    let python = python_with("clients_for_python_query", "prometheus_pandas");
    if let Some(python) = python {
        scripted(python, "http_clients.py");
    }
}

#[test]
fn grafanas_requests_are_answered() {
    let Some(python) = python("grafanas_requests_are_answered") else { return };
    scripted(python, "grafana.py");
}

/// Its rules are evaluated by asking the cluster, and their results are written back to it.
#[test]
fn vmalert_evaluates_rules() {
    const NAME: &str = "vmalert_evaluates_rules";
    let Some(program) = peer(NAME, "vmalert") else { return };
    let targets = [Target::start(), Target::start()];
    let cluster = cluster_with(&targets);
    let url = cluster.api().url().to_owned();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let rules = folder.path().join("rules.yml");
    let text = "groups:\n  - name: g\n    interval: 1s\n    rules:\n      \
                - {record: 'job:up:sum', expr: 'sum by (job) (up)'}\n      \
                - {alert: Up, expr: 'up == 1', labels: {severity: info}}\n";
    std::fs::write(&rules, text).expect("a temporary file can be written");
    let address = free_address();
    let mut command = Command::new(program);
    command
        .arg(format!("-rule={}", rules.display()))
        .arg(format!("-datasource.url={url}"))
        .arg(format!("-remoteWrite.url={url}"))
        .arg(format!("-remoteRead.url={url}"))
        .arg(format!("-httpListenAddr={address}"))
        .args(["-notifier.blackhole", "-remoteWrite.flushInterval=500ms"]);
    let _process = Process::start(command, folder.path(), "vmalert");
    until("what its rules record is there", Duration::from_secs(60), || {
        match cluster.api().single("job:up:sum{job=\"page\"}")? {
            2.0 => Ok(()),
            other => Err(other.to_string()),
        }
    });
    until("its alerts are there", Duration::from_secs(30), || {
        let firing = "count(ALERTS{alertname=\"Up\",alertstate=\"firing\",job=\"page\"})";
        match cluster.api().single(firing)? {
            2.0 => Ok(()),
            other => Err(other.to_string()),
        }
    });
}

/// Every operation that only reads is called with what its description allows and does not allow:
/// none may fail as a bug would, or answer what is not described.
#[test]
fn the_description_of_the_api_holds() {
    let test = "the_description_of_the_api_holds";
    let Some(mut python) = python_with(test, "schemathesis") else { return };
    let flags = ["--listen=127.0.0.1:0", "--enable-feature=search-api"];
    let cluster = Cluster::start_with(None, &flags);
    let url = cluster.api().url().to_owned();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let checks = [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    ];
    // What changes something, what ends the cluster, what has a body of its own, and what has no end.
    let others = "admin|/-/|/write|/otlp|/import|/metrics|/api/v1/read$|/live$|^/$|^/.page|^/assets|/objects";
    // It leaves a cache where it runs.
    let folder = tempfile::tempdir().expect("a folder can be made");
    let said = output_of(
        python
            .current_dir(&folder)
            .args(["-m", "schemathesis.cli", "--config-file"])
            .arg(fixtures.join("schemathesis.toml"))
            .args(["run", &format!("{url}/api/v1/openapi.yaml")])
            .arg(format!("--url={url}"))
            .arg(format!("--checks={}", checks.join(",")))
            .arg(format!("--exclude-path-regex={others}"))
            .args(["--max-examples=10", "--seed=7", "--phases=coverage,fuzzing"])
            .args(["--request-timeout=20", "--no-color"]),
    );
    let cases = said.lines().find(|line| line.contains(" generated, ")).unwrap_or_default();
    eprintln!("{cases}");
    assert!(cases.contains("passed") && !cases.contains("failed"), "{said}");
}
