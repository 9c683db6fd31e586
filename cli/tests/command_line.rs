//! The program as a shell sees it: exit codes and what is printed where.

use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
};

fn narthex(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_narthex");
    Command::new(program).args(arguments).output().expect("the program starts")
}

fn complaint(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("complaints are UTF-8")
}

fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("answers are UTF-8")
}

/// What the program makes of this standard input.
fn narthex_reading(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_narthex"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("the program reads");
    drop(stdin);
    child.wait_with_output().expect("the program ends")
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
    for verb in ["up", "node", "router", "querier", "query", "cluster", "promql", "test", "check"] {
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
    let text = printed(&output);
    assert!(text.contains(&format!(" SUCCESS: {good} is valid prometheus config")), "{text}");
    assert!(complaint(&output).contains("  FAILED: parsing YAML file"), "{}", complaint(&output));
}

#[test]
fn check_config_checks_the_rules_that_a_file_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = path(folder.path(), "prometheus.yml");
    fs::write(&config, "rule_files: [a.rules, '*.yaml']\n").expect("a file");
    let absent = narthex(&["check", "config", &config]);
    assert_eq!(absent.status.code(), Some(1));
    assert!(complaint(&absent).contains("a.rules\" does not point to an existing file"));
    assert!(narthex(&["check", "config", "--syntax-only", &config]).status.success());

    let rules = "groups: [{name: a, rules: [{record: b, expr: up}]}]";
    fs::write(folder.path().join("a.rules"), rules).expect("a file");
    let good = narthex(&["check", "config", &config]);
    assert!(good.status.success(), "{}", complaint(&good));
    let text = printed(&good);
    assert!(!text.contains("WARNING"), "{text}");
    assert!(text.contains("1 rule files found") && text.contains("1 rules found"), "{text}");
    let slow = path(folder.path(), "slow.yml");
    fs::write(&slow, "scrape_configs: [{job_name: a, scrape_interval: 5m}]").expect("a file");
    assert!(narthex(&["check", "config", "--lint-fatal", &slow]).status.success());
    let found = narthex(&["check", "config", "--lint-fatal", "--lint=all", &slow]);
    assert_eq!(found.status.code(), Some(3));
    assert!(complaint(&found).ends_with("job: a, interval: 5m\n"), "{}", complaint(&found));
    fs::write(folder.path().join("b.yaml"), "groups: [{name: a, rules: [{}]}]").expect("a file");
    assert_eq!(narthex(&["check", "config", &config]).status.code(), Some(1));
}

#[test]
fn check_rules_has_the_exit_codes_of_promtool() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = path(folder.path(), "a.rules");
    let rule = "{record: a, expr: up, labels: {b: c}}";
    let check = |text: &str, flags: &[&str]| {
        fs::write(&file, text).expect("a file");
        narthex(&[&["check", "rules", file.as_str()][..], flags].concat())
    };
    let good = check(&format!("groups: [{{name: g, rules: [{rule}]}}]"), &[]);
    assert_eq!(printed(&good), format!("Checking {file}\n  SUCCESS: 1 rules found\n\n"));
    let twice = format!("groups: [{{name: g, rules: [{rule}, {rule}]}}]");
    let odd = check(&twice, &[]);
    assert!(odd.status.success());
    let finding = "  FAILED:\nlint error 1 duplicate rule(s) found.\nMetric: a\nLabel(s):\n\tb: c\n\
                   Might cause inconsistency while recording expressions\n";
    assert_eq!(complaint(&odd), finding);
    assert_eq!(check(&twice, &["--lint-fatal"]).status.code(), Some(3));
    assert!(check(&twice, &["--lint-fatal", "--lint=none"]).status.success());
    let bad = check("groups: [{name: g, rules: [{record: a, expr: 'up{'}]}]", &[]);
    assert_eq!(bad.status.code(), Some(1));
    let text = complaint(&bad);
    assert!(text.starts_with(&format!("  FAILED:\n{file}: line 1: group \"g\", rule 1")), "{text}");
}

#[test]
fn check_web_config_reads_what_a_file_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = path(folder.path(), "web.yml");
    fs::write(&file, "http_server_config: {http2: true}\n").expect("a file");
    let good = narthex(&["check", "web-config", &file]);
    assert_eq!((good.status.code(), complaint(&good)), (Some(0), format!("{file} SUCCESS\n")));
    let text = "tls_server_config: {cert_file: absent.pem, key_file: absent.key}\n";
    fs::write(&file, text).expect("a file");
    let bad = narthex(&["check", "web-config", &file]);
    assert_eq!(bad.status.code(), Some(1));
    let text = complaint(&bad);
    assert!(text.contains(" FAILED: ") && text.contains("absent.pem"), "{text}");
}

#[test]
fn check_reads_standard_input() {
    let rules = narthex_reading(&["check", "rules"], "groups: []");
    assert_eq!(printed(&rules), "Checking standard input\n  SUCCESS: 0 rules found\n\n");
    let metrics = |page: &str| narthex_reading(&["check", "metrics"], page);
    assert!(metrics("# HELP a_total A.\n# TYPE a_total counter\na_total 1\n").status.success());
    let odd = metrics("# HELP a A.\n# TYPE a counter\na 1\n");
    assert_eq!(odd.status.code(), Some(3));
    assert_eq!(complaint(&odd), "a counter metrics should have \"_total\" suffix\n");
    let bad = metrics("a\n");
    assert_eq!(bad.status.code(), Some(1));
    assert!(complaint(&bad).starts_with("error while linting: line 1: "), "{}", complaint(&bad));
}

#[test]
fn test_rules_has_the_words_of_promtool() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = path(folder.path(), "t.yml");
    let test = |value: u8| {
        let sample = format!("exp_samples: [{{labels: '{{}}', value: {value}}}]");
        let text =
            format!("tests: [{{promql_expr_test: [{{expr: '1', eval_time: 1m, {sample}}}]}}]");
        fs::write(&file, text).expect("a file");
        narthex(&["test", "rules", &file])
    };
    let passed = test(1);
    assert_eq!(printed(&passed), format!("Unit Testing:  {file}\n  SUCCESS\n\n"));
    let failed = test(2);
    assert_eq!(failed.status.code(), Some(1));
    let difference =
        "  FAILED:\n    expr: \"1\", time: 1m,\n        exp: {} 2E+00\n        got: {} 1E+00\n";
    assert_eq!(complaint(&failed), difference);
}

#[test]
fn promql_prints_an_expression_as_a_line_or_a_tree() {
    let format = narthex(&["promql", "format", "sum(up)by(job)"]);
    assert_eq!(printed(&format), "sum by (job) (up)\n");
    let tree = narthex(&["promql", "parse", "up"]);
    assert!(printed(&tree).starts_with("{\"anchored\":false,"), "{}", printed(&tree));
    expect_complaint(&narthex(&["promql", "parse", "up{"]), 1, &["1:4: parse error"]);
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
