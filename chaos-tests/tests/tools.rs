//! Our tools beside promtool, on the same files: the same exit codes and, where a message has no
//! place of its own in it, the same words.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use narthex_chaos_tests::{
    cluster::program,
    peers::{peer, skip},
};
use tempfile::TempDir;

/// Both programs, and a folder for their files.
struct Tools {
    promtool: PathBuf,
    folder: TempDir,
}

/// What a program did with a command line.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Self { code: output.status.code(), stdout, stderr }
    }
}

impl Tools {
    fn find(test: &str) -> Option<Self> {
        let promtool = peer(test, "promtool")?;
        Some(Self { promtool, folder: TempDir::new().expect("a folder") })
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("a file is written");
        path.display().to_string()
    }

    /// What ours and theirs say to the same arguments and the same standard input.
    fn both(&self, arguments: &[&str], input: &str) -> (Said, Said) {
        (run(&program(), arguments, input), run(&self.promtool, arguments, input))
    }
}

fn run(program: &Path, arguments: &[&str], input: &str) -> Said {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // Who does not read its input has closed it.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("the program ends").into()
}

/// Files with rules, and whether they can be used.
const RULE_FILES: &[(&str, bool)] = &[
    ("groups: []", true),
    ("", true),
    (
        "groups: [{name: g, rules: [{record: 'a:b', expr: sum(up)}, {alert: A, expr: up == 0, for: 5m}]}]",
        true,
    ),
    ("groups: [{name: g, interval: 1m, limit: 3, rules: []}]", true),
    (
        "groups: [{name: g, rules: [{alert: A, expr: up, annotations: {a: '{{ $value | humanize }}'}}]}]",
        true,
    ),
    ("groups: [{name: g, rules: [{record: a, expr: up}, {record: a, expr: up}]}]", true),
    ("group: []", false),
    ("groups: [{name: g, rulez: []}]", false),
    ("groups: [{name: ''}]", false),
    ("groups: [{name: g}, {name: g}]", false),
    ("groups: [{name: g, interval: 5}]", false),
    ("groups: [{name: g, rules: [{}]}]", false),
    ("groups: [{name: g, rules: [{record: a}]}]", false),
    ("groups: [{name: g, rules: [{record: a, alert: b, expr: up}]}]", false),
    ("groups: [{name: g, rules: [{record: a, expr: 'up{'}]}]", false),
    ("groups: [{name: g, rules: [{record: a, expr: up, for: 1m}]}]", false),
    ("groups: [{name: g, rules: [{record: a, expr: up, keep_firing_for: 1m}]}]", false),
    ("groups: [{name: g, rules: [{record: a, expr: up, annotations: {a: b}}]}]", false),
    ("groups: [{name: g, rules: [{record: 'a{b}', expr: up}]}]", false),
    ("groups: [{name: g, rules: [{record: a, expr: up, labels: {__name__: b}}]}]", false),
    ("groups: [{name: g, rules: [{alert: A, expr: up, labels: {a: '{{ $x }}'}}]}]", false),
    ("groups: [{name: g, rules: [{alert: A, expr: up, annotations: {a: '{{ foo }}'}}]}]", false),
    ("groups: [{name: g, rules: [{alert: A, expr: up, annotations: {a: '{{ if }}'}}]}]", false),
    ("groups: [", false),
];

#[test]
fn rule_files_are_judged_as_by_promtool() {
    let Some(tools) = Tools::find("rule_files_are_judged_as_by_promtool") else { return };
    for (text, is_good) in RULE_FILES {
        let file = tools.write("a.rules", text);
        let (ours, theirs) = tools.both(&["check", "rules", &file], "");
        assert_eq!(ours.code, theirs.code, "{text}\n{ours:?}\n{theirs:?}");
        assert_eq!(ours.code, Some(i32::from(!is_good)), "{text}\n{ours:?}");
        // Versions differ in the empty line behind what cannot be used.
        assert_eq!(ours.stdout.trim_end(), theirs.stdout.trim_end(), "{text}");
        if *is_good {
            assert_eq!(ours.stderr, theirs.stderr, "{text}");
        }
        let (ours, theirs) = tools.both(&["check", "rules", "--lint-fatal", &file], "");
        assert_eq!(ours.code, theirs.code, "{text}\n{ours:?}\n{theirs:?}");
    }
}

/// Pages of metrics.
const PAGES: &[&str] = &[
    "",
    "# HELP a_total A.\n# TYPE a_total counter\na_total 1\n",
    "# HELP a A.\n# TYPE a counter\na 1\n",
    "# HELP a_total A.\n# TYPE a_total gauge\na_total{le=\"1\"} 1\na_total{quantile=\"1\"} 1\n",
    "# TYPE aB_ms gauge\naB_ms{xY=\"1\"} 1\naB_ms{xY=\"2\"} 1\n",
    "# HELP a_milliseconds A.\n# TYPE a_milliseconds untyped\na_milliseconds 1\n",
    "# HELP a_hours_total A.\n# TYPE a_hours_total counter\na_hours_total 1\n",
    "# HELP a:gauge A.\n# TYPE a:gauge gauge\na:gauge 1\n",
    "# HELP h H.\n# TYPE h histogram\nh_bucket{xY=\"1\",le=\"1\"} 1\nh_bucket{xY=\"1\",le=\"+Inf\"} 1\nh_sum{xY=\"1\"} 1\nh_count{xY=\"1\"} 1\n",
    "# HELP s S.\n# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 1\ns_count 1\n",
    "# HELP only Described.\n# TYPE only gauge\n",
    "a_sum 1\na_count 2\n",
    "# HELP a\na 1\n",
    "# HELP a A.\n# HELP a B.\na 1\n",
    "a 1\n# TYPE a gauge\n",
    "a{b=1} 1\n",
    "a x\n",
    "a\n",
];

#[test]
fn pages_are_judged_as_by_promtool() {
    let Some(tools) = Tools::find("pages_are_judged_as_by_promtool") else { return };
    for page in PAGES {
        let (ours, theirs) = tools.both(&["check", "metrics"], page);
        assert_eq!((ours.code, &ours.stdout), (theirs.code, &theirs.stdout), "{page}\n{theirs:?}");
        if ours.code != Some(1) {
            assert_eq!(ours.stderr, theirs.stderr, "{page}");
        }
    }
}

#[test]
fn configurations_are_judged_as_by_promtool() {
    let Some(tools) = Tools::find("configurations_are_judged_as_by_promtool") else { return };
    tools.write("good.rules", "groups: [{name: g, rules: [{record: a, expr: up}]}]");
    tools.write("bad.rules", "groups: [{name: g, rules: [{}]}]");
    let texts = [
        "",
        "scrape_configs: [{job_name: a, static_configs: [{targets: ['b:1']}]}]",
        "scrape_configs: [{job_name: a}, {job_name: a}]",
        "scrape_config: []",
        "rule_files: [good.rules]",
        "rule_files: ['*.rules']",
        "rule_files: [absent.rules]",
        "rule_files: ['absent*.rules']",
        "rule_files: ['*/x.rules']",
        "global: {scrape_interval: 1s, scrape_timeout: 2s}",
        "scrape_configs: [{job_name: a, authorization: {credentials_file: absent}}]",
        "scrape_configs: [{job_name: a, file_sd_configs: [{files: ['absent.json']}]}]",
    ];
    for text in texts {
        let file = tools.write("prometheus.yml", text);
        for arguments in
            [&["check", "config", &file][..], &["check", "config", "--syntax-only", &file][..]]
        {
            let (ours, theirs) = tools.both(arguments, "");
            assert_eq!(ours.code, theirs.code, "{text} {arguments:?}\n{ours:?}\n{theirs:?}");
        }
    }
}

#[test]
fn expressions_are_laid_out_as_by_promtool() {
    const NAME: &str = "expressions_are_laid_out_as_by_promtool";
    let Some(tools) = Tools::find(NAME) else { return };
    let theirs =
        |expr: &str| run(&tools.promtool, &["--experimental", "promql", "format", expr], "");
    if theirs("up").code != Some(0) {
        return skip(NAME, "this promtool has no promql format");
    }
    let long = "a_metric_with_a_name_that_is_long_enough_to_fill_a_line_when_there_are_two_of_them";
    let exprs = [
        "sum(up)by(job)".to_owned(),
        "rate(a[5m]offset 1h)>bool 1".to_owned(),
        format!("sum by (job) (rate({long}[5m])) / on (job) group_left () ({long} or {long}_b)"),
        "up{".to_owned(),
    ];
    for expr in exprs {
        let ours = run(&program(), &["promql", "format", &expr], "");
        let theirs = theirs(&expr);
        assert_eq!((ours.code, ours.stdout), (theirs.code, theirs.stdout), "{expr}");
    }
}

const TESTED_RULES: &str = "
groups:
- name: alerts
  rules:
  - alert: InstanceDown
    expr: up == 0
    for: 5m
    keep_firing_for: 3m
    labels: {severity: page, value: '{{ $value }}'}
    annotations:
      summary: 'Instance {{ $labels.instance }} of {{ .Labels.job }} down'
      surroundings: '{{ $externalLabels.zone }} {{ $externalURL }}'
- name: records
  rules:
  - {record: 'job:up:sum', expr: sum by (job) (up)}
  - {record: 'job:up:twice', expr: 'job:up:sum * 2'}
  - {record: ended, expr: up == 1}
";

/// A file of tests on [`TESTED_RULES`]. Half of the cases expect what is not there.
const TESTS: &str = "
rule_files: [tested.rules]
evaluation_interval: 1m
group_eval_order: [alerts, records]
tests:
- name: a test
  interval: 1m
  input_series:
  - {series: 'up{job=\"p\", instance=\"a:1\"}', values: '0x7 1x20'}
  - {series: 'up{job=\"n\", instance=\"b:2\"}', values: '1x6 0x3 _x3 stale 1x4'}
  external_labels: {zone: eu}
  external_url: https://n.example/path
  alert_rule_test:
  - {eval_time: 4m, alertname: InstanceDown}
  - {eval_time: 5m, alertname: InstanceDown}
  - eval_time: 6m
    alertname: InstanceDown
    exp_alerts:
    - exp_labels: {severity: page, instance: 'a:1', job: p, value: '0'}
      exp_annotations:
        summary: Instance a:1 of p down
        surroundings: eu https://n.example/path
  - {eval_time: 9m30s, alertname: InstanceDown}
  - {eval_time: 10m, alertname: InstanceDown}
  - {eval_time: 11m, alertname: InstanceDown}
  - {eval_time: 12m, alertname: Absent, exp_alerts: [{exp_labels: {a: b}}]}
  promql_expr_test:
  - {expr: 'job:up:twice', eval_time: 5m, exp_samples: [{labels: 'job:up:twice{job=\"n\"}', value: 2}, {labels: 'job:up:twice{job=\"p\"}', value: 0}]}
  - {expr: up > 0, eval_time: 4m, exp_samples: [{labels: 'up', value: 3.5}]}
  - {expr: ALERTS, eval_time: 7m}
  - {expr: ALERTS_FOR_STATE, eval_time: 7m}
  - {expr: count(ended), eval_time: 7m}
  - {expr: ended, eval_time: 14m}
  - {expr: 'sum(', eval_time: 1m}
  - {expr: '1', eval_time: 1m, exp_samples: [{labels: '{', value: 1}]}
  - {expr: 'up[5m]', eval_time: 1m}
";

#[test]
fn unit_tests_have_the_outcome_that_promtool_gives_them() {
    let Some(tools) = Tools::find("unit_tests_have_the_outcome_that_promtool_gives_them") else {
        return;
    };
    tools.write("tested.rules", TESTED_RULES);
    let file = tools.write("tests.yml", TESTS);
    let (ours, theirs) = tools.both(&["test", "rules", &file], "");
    assert_eq!((ours.code, &ours.stdout), (theirs.code, &theirs.stdout), "{ours:?}\n{theirs:?}");
    // What cannot be parsed is told in words of one's own.
    let lines = |said: &Said| -> Vec<String> {
        let told = said.stderr.lines().filter(|line| !line.contains(", err: "));
        told.map(str::to_owned).collect()
    };
    assert_eq!(lines(&ours).join("\n"), lines(&theirs).join("\n"));
    for text in [
        "tests: [{}]",
        "test: []",
        "rule_files: [absent]\ntests: [{}]",
        "tests: [{alert_rule_test: [{eval_time: 1m}]}]",
    ] {
        let file = tools.write("tests.yml", text);
        let (ours, theirs) = tools.both(&["test", "rules", &file], "");
        assert_eq!(ours.code, theirs.code, "{text}\n{ours:?}\n{theirs:?}");
    }
}

/// Templates whose texts must be those of promtool; also what goes wrong, but for its place.
const TEMPLATES: &[&str] = &[
    "{{ 1234567.0 | humanize }} {{ 0.00012 | humanize }} {{ 0 | humanize }} {{ humanize \"1e9\" }}",
    "{{ 123456789.0 | humanize1024 }} {{ 0.5 | humanize1024 }}",
    "{{ 3661.5 | humanizeDuration }} {{ 0.0123 | humanizeDuration }} {{ 200000.0 | humanizeDuration }} {{ 59.99 | humanizeDuration }}",
    "{{ 0.98765 | humanizePercentage }} {{ 1435065584.128 | humanizeTimestamp }}",
    "{{ 1435065584 | toTime }} {{ (1435065584 | toTime).Year }} {{ (1435065584 | toTime).Format \"Mon Jan _2 15:04:05 MST 2006\" }}",
    "{{ title \"aa bb-CC\" }} {{ toUpper \"aB\" }} {{ toLower \"aB\" }}",
    "{{ reReplaceAll \"(.*):.*\" \"$1\" \"localhost:9090\" }} {{ match \"b+\" \"abc\" }}",
    "{{ stripPort \"a.example:80\" }} {{ stripDomain \"a.example:80\" }} {{ stripPort \"[::1]:80\" }} {{ stripDomain \"10.0.0.1:80\" }}",
    "{{ graphLink \"up > 1\" }} {{ tableLink \"sum(up)\" }} {{ parseDuration \"1h30m\" }}",
    "{{ with query \"up\" | sortByLabel \"job\" }}{{ . | first | value }}{{ . | first | label \"job\" }}{{ end }}",
    "{{ range query \"up\" | sortByLabel \"instance\" }}{{ .Labels.instance }}={{ .Value }};{{ end }}",
    "{{ range $i, $s := query \"up\" | sortByLabel \"job\" }}{{ $i }}{{ $s.Labels.job }}{{ end }}",
    "{{ if gt $value 1.0 }}a{{ else if eq $labels.job \"p\" }}b{{ else }}c{{ end }}",
    "{{ $x := 1 }}{{ $x = 2 }}{{ $x }}{{- \" a \" -}} b {{/* nothing */}}",
    "{{ printf \"%.2f|%5d|%-5s|%q|%v|%x|%e|%08.3f|%+d\" 3.14159 42 \"ab\" \"c\" true 255 12345.678 -1.5 7 }}",
    "{{ printf \"%d %s\" 1.5 }} {{ printf \"a\" 1 }} {{ printf \"%.3g %g\" 1234.5 1e21 }}",
    "{{ len \"abc\" }} {{ index $labels \"job\" }} {{ slice \"abcd\" 1 3 }} {{ print 1 2 \"x\" }}",
    "{{ and 1 0 }} {{ or 0 \"x\" }} {{ not 1 }} {{ lt 1 2 }} {{ ne \"a\" \"b\" }} {{ ge 2.0 2.0 }}",
    "{{ html \"<a>\" }} {{ urlquery \"a b&c\" }} {{ (args 1 \"b\").arg1 }} {{ safeHtml \"<b>\" }}",
    "{{ define \"t\" }}<{{ . }}>{{ end }}{{ template \"t\" \"x\" }}",
    "{{ $labels.absent }}| {{ .Value }} {{ 1e6 }} {{ 0x10 }} {{ `raw` }}",
    "{{ query \"up\" | sortByLabel \"job\" | first | value | printf \"%.1f\" }}",
    "{{ first (query \"absent\") }}",
    "{{ gt $value 1 }}",
    "{{ $value.x }}",
    "{{ query \"up{\" }}",
    "{{ humanize \"x\" }}",
    "{{ index (query \"up\") 9 }}",
    "{{ template \"absent\" }}",
];

/// Both programs print what an alert has instead of the annotations that a test wrongly expects.
#[test]
fn templates_have_the_texts_that_promtool_gives_them() {
    let Some(tools) = Tools::find("templates_have_the_texts_that_promtool_gives_them") else {
        return;
    };
    let tests = "
rule_files: [tested.rules]
tests:
- input_series:
  - {series: 'up{job=\"p\", instance=\"a:1\"}', values: '0.25x3'}
  - {series: 'up{job=\"n\", instance=\"b:2\"}', values: '7x3'}
  alert_rule_test: [{eval_time: 1m, alertname: A}]
";
    let file = tools.write("tests.yml", tests);
    let mut differences = Vec::new();
    for template in TEMPLATES {
        let quoted = template.replace('\'', "''");
        let rules = format!(
            "groups: [{{name: g, rules: [{{alert: A, expr: 'up{{job=\"p\"}}', annotations: {{a: '{quoted}'}}}}]}}]"
        );
        tools.write("tested.rules", &rules);
        let (ours, theirs) = tools.both(&["test", "rules", &file], "");
        let told = |said: &Said| {
            let line = said.stderr.lines().find(|line| line.contains("Annotations:"));
            let line = line.unwrap_or_else(|| panic!("{template}: {said:?}")).trim().to_owned();
            // An error ends with words of one's own, about a place of one's own.
            line.split(": template: ").next().unwrap_or_default().to_owned()
        };
        if told(&ours) != told(&theirs) {
            differences.push(format!("{template}\n  {}\n  {}", told(&ours), told(&theirs)));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
