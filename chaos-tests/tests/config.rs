//! `--config.file` as users have it: packaged files, sections without effect, reloads.

use std::{fs, process::Command, time::Duration};

use narthex_chaos_tests::{
    api::Api,
    cluster::{Cluster, program},
    node::Process,
    peers::{output_of, peer},
    ports::free_address,
    targets::{Target, config},
    wait::until,
};

const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn the_packaged_file_starts_unchanged() {
    let Some(prometheus) = peer("the_packaged_file_starts_unchanged", "prometheus") else { return };
    let root = prometheus.ancestors().nth(3).expect("it lies in usr/bin");
    let file = root.join("etc/prometheus/prometheus.yml");
    let said = output_of(Command::new(program()).args(["check", "config"]).arg(&file));
    assert!(said.contains("2 scrape jobs") && !said.contains("no effect"), "{said}");

    let text = fs::read_to_string(&file).expect("the package has it");
    let cluster = Cluster::start(&text);
    until("both jobs have their target", DEADLINE, || {
        let targets = cluster.api().data("/api/v1/targets")?;
        let active = targets["activeTargets"].as_array().map_or(0, Vec::len);
        if active == 2 { Ok(()) } else { Err(targets.to_string()) }
    });
}

#[test]
fn a_section_without_effect_is_said_everywhere() {
    let targets = [Target::start()];
    let text = config(&[("page", 1, &targets)]);
    let cluster = Cluster::start(&format!(
        "remote_write: [{{url: 'http://localhost:1/write'}}]\nremote_read: [{{url: 'http://x'}}]\n{text}"
    ));
    until("the configuration is known", DEADLINE, || {
        let status = cluster.status()?;
        let sections = &status["config"]["inactiveSections"];
        if *sections == serde_json::json!(["remote_write", "remote_read"]) {
            return Ok(());
        }
        Err(status.to_string())
    });
    let log = cluster.log();
    for section in ["remote_write", "remote_read"] {
        let metric = format!("narthex_config_section_inactive{{section=\"{section}\"}}");
        assert_eq!(cluster.api().metric(&metric), Ok(1.0));
        let warning = "this section of the configuration has no effect yet";
        let said = |line: &str| line.contains(warning) && line.contains(section);
        assert!(log.lines().any(said), "{section}: {log}");
    }
}

#[test]
fn a_file_is_applied_to_separate_processes() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (cluster, web) = (free_address(), free_address());
    let start = |role: &str, flags: &[String]| {
        let mut command = Command::new(program());
        command.arg(role).args(flags);
        Process::start(command, folder.path(), role)
    };
    let node = start(
        "node",
        &[
            format!("--cluster.listen-address={cluster}"),
            format!("--cluster.initial-nodes=n1={cluster}"),
            format!("--storage.tsdb.path={}", folder.path().join("data").display()),
            "--web.listen-address=127.0.0.1:0".to_owned(),
            "--awaits-config".to_owned(),
        ],
    );
    let flags = [format!("--cluster.join={cluster}"), format!("--web.listen-address={web}")];
    let _querier = start("querier", &flags);
    let file = folder.path().join("prometheus.yml");
    let apply = |text: &str| {
        fs::write(&file, text).expect("a temporary file can be written");
        let mut command = Command::new(program());
        command.args(["apply", "-f"]).arg(&file).arg(format!("--cluster.join={cluster}"));
        command.output().expect("the program starts")
    };
    let targets = [Target::start()];
    let good = config(&[("page", 1, &targets)]);
    for done in ["configured", "unchanged"] {
        let applied = apply(&good);
        let said = String::from_utf8_lossy(&applied.stdout).into_owned();
        assert!(applied.status.success() && said.trim().ends_with(done), "{applied:?}");
    }
    let refused = apply("scrape_configs: [{job_name: x, no_such_key: 1}]\n");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("no_such_key"), "{refused:?}");

    let api = Api::new(&format!("http://{web}"), DEADLINE);
    until("the target is up", DEADLINE, || match api.vector("up", "job") {
        Ok(up) if up.get("page") == Some(&1.0) => Ok(()),
        other => Err(format!("{other:?}\n{}", node.log())),
    });
    let ever = api.vector("count by (job) (last_over_time(up[1h]))", "job").expect("an answer");
    assert_eq!(ever.into_keys().collect::<Vec<_>>(), ["page"]);
}

#[test]
fn a_bad_file_leaves_the_last_good_state() {
    let (first, second) = ([Target::start()], [Target::start()]);
    let good = config(&[("page", 1, &first)]);
    let flags = ["--listen=127.0.0.1:0", "--web.enable-lifecycle"];
    let cluster = Cluster::start_with(Some(&good), &flags);
    let api = cluster.api();
    let is_up = |target: &Target| {
        let selector = format!("up{{instance={:?}}}", target.address());
        until("the target is up", DEADLINE, || match api.single(&selector)? {
            1.0 => Ok(()),
            other => Err(other.to_string()),
        });
    };
    is_up(&first[0]);
    let loaded =
        || Ok::<_, String>(api.data("/api/v1/status/runtimeinfo")?["lastConfigTime"].clone());
    let first_loaded = loaded().expect("an answer");

    cluster.write_config("scrape_configs: [{job_nam: x}]\n");
    let (status, body) = api.post("/-/reload").expect("an answer");
    assert_eq!(status, 500);
    let said = "failed to reload config: couldn't load configuration (--config.file=";
    assert!(body.starts_with(said), "{body}");
    assert!(
        body.contains("field job_nam not found") || body.contains("job_name is empty"),
        "{body}"
    );
    let info = api.data("/api/v1/status/runtimeinfo").expect("an answer");
    assert_eq!(info["reloadConfigSuccess"], false, "{info}");
    assert_eq!(info["lastConfigTime"], first_loaded, "{info}");
    assert_eq!(api.metric("prometheus_config_last_reload_successful"), Ok(0.0));
    let problem = cluster.status().expect("an answer")["config"]["problem"].to_string();
    assert!(problem.contains("couldn't load configuration"), "{problem}");
    let served = first[0].served();
    until("scraping goes on", DEADLINE, || match first[0].served() {
        now if now > served + 1 => Ok(()),
        now => Err(now.to_string()),
    });

    cluster.write_config(&config(&[("page", 1, &second)]));
    cluster.hang_up();
    is_up(&second[0]);
    until("the reload is told", DEADLINE, || {
        let info = api.data("/api/v1/status/runtimeinfo")?;
        let is_told = info["reloadConfigSuccess"] == true && info["lastConfigTime"] != first_loaded;
        if is_told { Ok(()) } else { Err(info.to_string()) }
    });
    assert_eq!(api.metric("prometheus_config_last_reload_successful"), Ok(1.0));
    assert_eq!(api.post("/-/reload"), Ok((200, String::new())));
}
