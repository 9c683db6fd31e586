//! The program as a shell sees it: exit codes and what is printed where.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Output},
};

fn narthex(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_narthex");
    Command::new(program).args(arguments).output().expect("the program starts")
}

fn complaint(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("complaints are UTF-8")
}

/// One clear line, and nothing on standard output.
fn expect_complaint(output: &Output, code: i32, words: &[&str]) {
    let text = complaint(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(output.stdout.is_empty());
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("narthex: ")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    for word in words {
        assert!(lines[0].contains(word), "{word:?} is not in {text}");
    }
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

#[test]
fn help_names_every_verb() {
    let output = narthex(&["--help"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("help is UTF-8");
    for verb in ["up", "node", "router", "querier", "query", "cluster", "test", "check"] {
        assert!(text.contains(&format!("\n  {verb} ")), "{verb} is not in {text}");
    }
}

#[test]
fn a_misused_command_line_ends_with_2() {
    assert_eq!(narthex(&["upp"]).status.code(), Some(2));
    assert_eq!(narthex(&["up", "--nodes=2"]).status.code(), Some(2));
    expect_complaint(&narthex(&["up", "--agent"]), 2, &["--agent is not supported"]);
}

#[test]
fn a_file_where_the_folder_should_be_is_one_clear_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = path(folder.path(), "file");
    fs::write(&file, "").expect("a file");
    let data = format!("--data={file}/data");
    let output = narthex(&["up", "--listen=127.0.0.1:0", &data]);
    expect_complaint(&output, 1, &["create folder", &file]);
}

#[test]
fn a_bad_configuration_is_one_clear_line_and_starts_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = path(folder.path(), "prometheus.yml");
    fs::write(&file, "scrape_configs: 7\n").expect("a file");
    let data = path(folder.path(), "data");
    let flags =
        [format!("--config.file={file}"), format!("--data={data}"), "--listen=127.0.0.1:0".into()];
    let output = narthex(&["up", &flags[0], &flags[1], &flags[2]]);
    expect_complaint(&output, 1, &[&file]);
    assert!(!Path::new(&data).exists());
}

#[test]
fn an_address_that_was_asked_for_and_is_taken_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let data = format!("--data={}", folder.path().display());
    let output = narthex(&["up", &data, &format!("--listen={address}")]);
    expect_complaint(&output, 1, &[&address]);
}

#[test]
fn an_address_beyond_loopback_needs_a_decision() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = format!("--data={}", folder.path().display());
    let output = narthex(&["up", &data, "--listen=0.0.0.0:0"]);
    expect_complaint(&output, 1, &["--web.config.file", "--web.allow-anonymous"]);
}

#[test]
fn an_unknown_feature_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = format!("--data={}", folder.path().display());
    let output = narthex(&["up", &data, "--listen=127.0.0.1:0", "--enable-feature=time-travel"]);
    expect_complaint(&output, 1, &["time-travel"]);
}

#[test]
fn a_verb_without_a_cluster_says_where_nothing_answers() {
    // Bound but never served, then closed: nothing answers there.
    let port = TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = format!("--server=http://{}", port.local_addr().expect("it is bound"));
    drop(port);
    expect_complaint(&narthex(&["query", "up", &server]), 1, &["nothing answers at"]);
    expect_complaint(&narthex(&["cluster", "status", &server]), 1, &["nothing answers at"]);
}

#[test]
fn check_config_tells_good_files_from_bad_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = path(folder.path(), "good.yml");
    let bad = path(folder.path(), "bad.yml");
    fs::write(&good, "scrape_configs:\n  - job_name: a\n").expect("a file");
    fs::write(&bad, "scrape_config:\n").expect("a file");
    let output = narthex(&["check", "config", &good]);
    assert!(output.status.success(), "{}", complaint(&output));
    let output = narthex(&["check", "config", &good, &bad]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).expect("answers are UTF-8");
    assert!(text.contains("SUCCESS") && text.contains("FAILED"), "{text}");
}

#[test]
fn a_script_prints_its_file_and_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = path(folder.path(), "up.test");
    fs::write(&file, "load 10s\n  up 1\n\neval instant at 0s up\n  up 2\n").expect("a file");
    let output = narthex(&["test", "promql", "--shards=5", &file]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{file} 0 1\n"));
}
