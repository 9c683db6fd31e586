use std::{io::Write as _, path::Path, time::Duration};

use super::*;

fn parsed(text: &str) -> Config {
    parse(text, Path::new("/etc/prometheus")).expect(text)
}

fn refusal(text: &str) -> String {
    parse(text, Path::new("/etc/prometheus")).expect_err(text).to_string()
}

fn job(keys: &str) -> String {
    let keys: String = keys.lines().map(|line| format!("    {line}\n")).collect();
    format!("scrape_configs:\n  - job_name: api\n{keys}")
}

/// The shape of the file that Debian's package installs.
const DEBIAN: &str = "
global:
  scrape_interval:     15s # also the default of the jobs
  evaluation_interval: 15s
  external_labels:
      monitor: 'example'
alerting:
  alertmanagers:
  - static_configs:
    - targets: ['localhost:9093']
rule_files:
  # - \"first_rules.yml\"
scrape_configs:
  - job_name: 'prometheus'
    scrape_interval: 5s
    scrape_timeout: 5s
    static_configs:
      - targets: ['localhost:9090']
  - job_name: node
    static_configs:
      - targets: ['localhost:9100']
";

/// The shape of the sample that Prometheus ships.
const SAMPLE: &str = "
global:
  scrape_interval: 15s
  evaluation_interval: 15s
alerting:
  alertmanagers:
    - static_configs:
        - targets:
          # - alertmanager:9093
rule_files:
  # - \"second_rules.yml\"
scrape_configs:
  - job_name: \"prometheus\"
    static_configs:
      - targets: [\"localhost:9090\"]
        labels:
          app: \"prometheus\"
";

/// Two hosts with an exporter and a container page each, as tutorials have it.
const TUTORIAL: &str = "
global:
  scrape_interval: 5s
  external_labels:
    monitor: 'tutorial'
scrape_configs:
  - job_name: 'prometheus'
    static_configs:
      - targets: ['localhost:9090']
  - job_name: 'docker-containers'
    static_configs:
      - targets: ['host1:8080', 'host2:8080']
  - job_name: 'hosts'
    static_configs:
      - targets: ['host1:9100', 'host2:9100']
        labels: {group: tutorial}
";

#[test]
fn files_that_people_have_are_accepted() {
    let debian = parsed(DEBIAN);
    assert!(debian.inactive.is_empty());
    let manager = &debian.alerting.alertmanagers[0];
    assert_eq!((manager.scheme.as_str(), manager.timeout), ("http", Duration::from_secs(10)));
    assert_eq!(manager.static_configs[0].targets[0]["__address__"], "localhost:9093");
    assert_eq!(debian.global.external_labels["monitor"], "example");
    let [prometheus, node] = &debian.scrape_configs[..] else { panic!("two jobs") };
    assert_eq!(prometheus.scrape_interval, Duration::from_secs(5));
    assert_eq!(node.scrape_interval, Duration::from_secs(15));
    assert_eq!(node.scrape_timeout, Duration::from_secs(10));
    assert_eq!(node.static_configs[0].targets[0]["__address__"], "localhost:9100");

    let sample = parsed(SAMPLE);
    assert!(sample.inactive.is_empty());
    assert_eq!(sample.alerting.alertmanagers.len(), 1);
    assert_eq!(sample.scrape_configs[0].static_configs[0].labels["app"], "prometheus");

    let tutorial = parsed(TUTORIAL);
    assert!(tutorial.inactive.is_empty());
    assert_eq!(tutorial.scrape_configs[1].static_configs[0].targets.len(), 2);
    assert_eq!(tutorial.scrape_configs[1].scrape_timeout, Duration::from_secs(5));
}

#[test]
fn an_empty_file_is_a_configuration_without_jobs() {
    assert_eq!(parsed(""), Config::default());
    assert_eq!(parsed("# nothing yet\n"), Config::default());
}

#[test]
fn what_does_not_fit_is_refused_with_line_and_reason() {
    let cases: &[(&str, &str)] = &[
        ("foo: 1\n", "line 1: field foo not found in type config.plain"),
        ("global: {scrape_intervall: 1s}\n", "field scrape_intervall not found"),
        ("global: {scrape_interval: 1x}\n", "line 1: unknown unit \"x\" in duration \"1x\""),
        (
            "global: {scrape_interval: 5s, scrape_timeout: 6s}\n",
            "global scrape timeout greater than scrape interval",
        ),
        ("scrape_configs:\n  -\n", "line 2: empty or null scrape config section"),
        ("scrape_configs:\n  - metrics_path: /x\n", "job_name is empty"),
        (
            "scrape_configs: [{job_name: a}, {job_name: a}]\n",
            "found multiple scrape configs with job name \"a\"",
        ),
        ("scrape_configs: [{job_name: a, job_name: b}]", "key \"job_name\" already set in map"),
        ("global:\n\tscrape_interval: 1s\n", "line 2: yaml:"),
        ("remote_write: [{url: http://x, queue: 1}]\n", "field queue not found"),
        ("remote_write: [{name: x}]\n", "url for remote_write is empty"),
        ("alerting: {alertmanager: []}\n", "field alertmanager not found"),
        ("storage: {tsdb: {foo: 1}}\n", "field foo not found"),
        ("storage: {tsdb: {retention: {days: 1}}}\n", "field days not found"),
        ("remote_write: [{url: http://x, queue_config: {shards: 1}}]\n", "field shards not found"),
        (
            "alerting: {alertmanagers: [{gossip_sd_configs: []}]}\n",
            "field gossip_sd_configs not found in type config.plain",
        ),
        (
            "alerting: {alertmanagers: [{static_configs: [{target: [a]}]}]}\n",
            "field target not found",
        ),
        (
            "global: {scrape_native_histograms: true}\n",
            "global: key \"scrape_native_histograms\" is not in force",
        ),
        ("global: {scrape_protocols: []}\n", "scrape_protocols cannot be empty"),
        (
            "global: {scrape_protocols: [PrometheusText0.0.4, PrometheusText0.0.4]}\n",
            "duplicated protocol in scrape_protocols",
        ),
        (
            "global: {scrape_protocols: [OpenMetricsText1.0.0]}\n",
            "global: key \"scrape_protocols\" is not in force",
        ),
        ("global: {sample_limit: -1}\n", "cannot unmarshal !!str `-1` into uint"),
        ("scrape_configs: 7\n", "cannot unmarshal"),
    ];
    for (text, reason) in cases {
        let refusal = refusal(text);
        assert!(refusal.contains(reason), "{text}: {refusal}");
    }
}

#[test]
fn jobs_are_checked_as_prometheus_checks_them() {
    let cases: &[(&str, &str)] = &[
        (
            "scrape_interval: 1s\nscrape_timeout: 2s",
            "scrape timeout greater than scrape interval for scrape config with job name \"api\"",
        ),
        ("foo: 1", "line 3: field foo not found in type config.plain"),
        ("honor_labels: maybe", "cannot unmarshal !!str `maybe` into bool"),
        ("body_size_limit: 1XB", "units: unknown unit in \"1XB\""),
        ("static_configs: [{targets: ['http://x:1']}]", "\"http://x:1\" is not a valid hostname"),
        ("static_configs: [{target: ['x:1']}]", "field target not found"),
        ("file_sd_configs: [{files: []}]", "must contain at least one path name"),
        ("file_sd_configs: [{files: ['a*/b.json']}]", "path name \"a*/b.json\" is not valid"),
        ("file_sd_configs: [{files: ['a.txt']}]", "is not valid for file discovery"),
        (
            "basic_auth: {username: a, username_file: b}",
            "at most one of basic_auth username & username_file must be configured",
        ),
        (
            "basic_auth: {username: a}\nauthorization: {credentials: x}",
            "at most one of basic_auth, oauth2 & authorization",
        ),
        (
            "basic_auth: {username: a}\nbearer_token: x",
            "at most one of basic_auth, authorization, bearer_token & bearer_token_file",
        ),
        (
            "bearer_token: x\nbearer_token_file: y",
            "at most one of bearer_token & bearer_token_file",
        ),
        ("authorization: {type: Basic}", "authorization type cannot be set to \"basic\""),
        ("tls_config: {cert: x}", "exactly one of key or key_file"),
        (
            "tls_config: {min_version: TLS13, max_version: TLS12}",
            "tls_config.max_version must be greater",
        ),
        ("tls_config: {min_version: SSL3}", "unknown TLS version: SSL3"),
        ("relabel_configs: [{action: frobnicate}]", "unknown relabel action \"frobnicate\""),
        ("relabel_configs: [{regex: '('}]", "error parsing regexp"),
        (
            "relabel_configs: [{replacement: x}]",
            "relabel configuration for replace action requires 'target_label' value",
        ),
        (
            "relabel_configs: [{action: hashmod, target_label: x}]",
            "hashmod requires non-zero modulus",
        ),
        (
            "relabel_configs: [{action: labeldrop, target_label: x}]",
            "labeldrop action requires only 'regex', and no other fields",
        ),
        (
            "relabel_configs: [{action: keepequal, target_label: x, regex: y}]",
            "keepequal action requires only",
        ),
        (
            "relabel_configs: [{action: lowercase, target_label: x, replacement: y}]",
            "'replacement' can not be set for lowercase action",
        ),
        (
            "relabel_configs: [{sourcelabels: [x]}]",
            "field sourcelabels not found in type relabel.plain",
        ),
    ];
    for (keys, reason) in cases {
        let refusal = refusal(&job(keys));
        assert!(refusal.contains(reason), "{keys}: {refusal}");
    }
}

#[test]
fn a_valid_key_that_is_not_in_force_names_job_and_key() {
    for key in ["oauth2: {}", "kubernetes_sd_configs: []", "proxy_url: http://p"] {
        let name = key.split(':').next().expect("a key");
        let refusal = refusal(&job(key));
        assert!(refusal.contains("scrape job \"api\""), "{refusal}");
        assert!(refusal.contains(&format!("key {name:?} is not in force")), "{refusal}");
    }
}

#[test]
fn secrets_of_a_manager_are_refused() {
    for keys in ["tls_config: {ca_ref: x}", "basic_auth: {username_ref: x}"] {
        assert!(refusal(&job(keys)).contains("need a secret manager"), "{keys}");
    }
}

#[test]
fn a_value_that_is_not_in_force_names_job_and_key() {
    for key in [
        "extra_scrape_metrics: true",
        "fallback_scrape_protocol: PrometheusProto",
        "metric_name_validation_scheme: legacy",
        "scrape_protocols: [OpenMetricsText1.0.0]",
    ] {
        let name = key.split(':').next().expect("a key");
        let refusal = refusal(&job(key));
        assert!(refusal.contains("scrape job \"api\""), "{refusal}");
        assert!(refusal.contains(&format!("key {name:?} is not in force")), "{refusal}");
    }
    let unknown = refusal(&job("scrape_protocols: [Carbon]"));
    assert!(unknown.contains("unknown scrape protocol Carbon"), "{unknown}");
}

/// A job as the Prometheus operator and `/api/v1/status/config` write it, defaults and all.
#[test]
fn jobs_that_spell_out_defaults_are_accepted() {
    let config = parsed(&job("honor_labels: true
honor_timestamps: true
track_timestamps_staleness: false
scrape_interval: 30s
scrape_timeout: 10s
scrape_protocols: [OpenMetricsText1.0.0, OpenMetricsText0.0.1, PrometheusText1.0.0, PrometheusText0.0.4]
scrape_native_histograms: false
always_scrape_classic_histograms: false
convert_classic_histograms_to_nhcb: false
extra_scrape_metrics: false
metric_name_validation_scheme: utf8
metric_name_escaping_scheme: allow-utf-8
metrics_path: /metrics
scheme: https
enable_compression: true
follow_redirects: true
enable_http2: true
bearer_token_file: /var/run/secrets/token
tls_config: {insecure_skip_verify: true}
relabel_configs:
- {source_labels: [job], target_label: __tmp_prometheus_job_name}
- {source_labels: [__address__], target_label: instance, action: replace}
static_configs: [{targets: ['10.0.0.1:9100']}]"));
    let client = &config.scrape_configs[0].client;
    assert!(client.follow_redirects && client.enable_http2);
    let authorization = client.authorization.as_ref().expect("a bearer token");
    assert_eq!(authorization.scheme, "Bearer");
    let file = SecretSource::File("/var/run/secrets/token".into());
    assert_eq!(authorization.credentials, Some(file));

    let config = parsed(&job("fallback_scrape_protocol: PrometheusText0.0.4"));
    assert!(config.scrape_configs[0].falls_back_to_text);
    let config = parsed(&job("follow_redirects: false\nenable_http2: no\nenable_compression: off"));
    let job = &config.scrape_configs[0];
    assert!(!job.client.follow_redirects && !job.client.enable_http2 && !job.enable_compression);
}

/// The way to probe URLs, as the blackbox exporter documents it.
#[test]
fn a_url_may_be_a_target_that_rules_move() {
    let probed = job("static_configs: [{targets: ['https://x/y']}]
relabel_configs: [{source_labels: [__address__], target_label: __param_target}]");
    let group = &parsed(&probed).scrape_configs[0].static_configs[0];
    assert_eq!(group.targets[0]["__address__"], "https://x/y");
}

/// Keys of Prometheus 3.14's jobs that are in force, some with one value only.
const IN_FORCE: &[&str] = &[
    "scrape_interval: 1m",
    "scrape_timeout: 1s",
    "scrape_protocols: [PrometheusText0.0.4]",
    "fallback_scrape_protocol: PrometheusText0.0.4",
    "scrape_native_histograms: false",
    "always_scrape_classic_histograms: false",
    "convert_classic_histograms_to_nhcb: false",
    "scrape_failure_log_file: ''",
    "metrics_path: /m",
    "scheme: http",
    "params: {a: [b]}",
    "honor_labels: true",
    "honor_timestamps: true",
    "track_timestamps_staleness: false",
    "enable_compression: true",
    "body_size_limit: 1MB",
    "sample_limit: 1",
    "target_limit: 1",
    "label_limit: 1",
    "label_name_length_limit: 1",
    "label_value_length_limit: 1",
    "native_histogram_bucket_limit: 0",
    "native_histogram_min_bucket_factor: 0",
    "keep_dropped_targets: 1",
    "metric_name_validation_scheme: utf8",
    "metric_name_escaping_scheme: allow-utf-8",
    "extra_scrape_metrics: false",
    "relabel_configs: []",
    "metric_relabel_configs: []",
    "static_configs: []",
    "file_sd_configs: []",
    "basic_auth: {username: a}",
    "authorization: {credentials: a}",
    "bearer_token: a",
    "bearer_token_file: a",
    "tls_config: {}",
    "proxy_from_environment: false",
    "follow_redirects: true",
    "enable_http2: true",
];

/// The others.
const REFUSED: &[&str] = &[
    "oauth2",
    "proxy_url",
    "no_proxy",
    "proxy_connect_header",
    "http_headers",
    "aws_sd_configs",
    "azure_sd_configs",
    "consul_sd_configs",
    "digitalocean_sd_configs",
    "dns_sd_configs",
    "docker_sd_configs",
    "dockerswarm_sd_configs",
    "ec2_sd_configs",
    "eureka_sd_configs",
    "gce_sd_configs",
    "hetzner_sd_configs",
    "http_sd_configs",
    "ionos_sd_configs",
    "kubernetes_sd_configs",
    "kuma_sd_configs",
    "lightsail_sd_configs",
    "linode_sd_configs",
    "marathon_sd_configs",
    "nerve_sd_configs",
    "nomad_sd_configs",
    "oci_sd_configs",
    "openstack_sd_configs",
    "outscale_sd_configs",
    "ovhcloud_sd_configs",
    "puppetdb_sd_configs",
    "scaleway_sd_configs",
    "serverset_sd_configs",
    "stackit_sd_configs",
    "triton_sd_configs",
    "uyuni_sd_configs",
    "vultr_sd_configs",
];

#[test]
fn every_key_of_a_job_is_in_force_or_refused_by_name() {
    for key in IN_FORCE {
        parsed(&job(key));
    }
    for key in REFUSED {
        let refusal = refusal(&job(&format!("{key}: x")));
        assert!(refusal.contains(&format!("key {key:?} is not in force")), "{refusal}");
    }
}

#[test]
fn sections_without_effect_are_listed() {
    let config = parsed(
        "rule_files: [a.yml]\nremote_write: [{url: http://x}]\nremote_read: [{url: http://x}]\n\
         otlp: {promote_scope_metadata: true}\ntracing: {endpoint: x}\n\
         storage: {tsdb: {out_of_order_time_window: 1h}}\nglobal: {query_log_file: q.log}\n",
    );
    assert_eq!(
        config.inactive,
        ["global.query_log_file", "remote_write", "remote_read", "otlp", "tracing", "storage"]
    );
}

#[test]
fn defaults_and_inheritance() {
    let config = parsed(
        "global: {scrape_interval: 7s, sample_limit: 5, body_size_limit: 1KB}\n\
         scrape_configs:\n- job_name: a\n  sample_limit: 9\n  params: {module: [x, y], q: z}\n",
    );
    let job = &config.scrape_configs[0];
    assert_eq!(
        (job.scrape_interval, job.scrape_timeout),
        (Duration::from_secs(7), Duration::from_secs(7))
    );
    assert_eq!((job.limits.sample_limit, job.limits.body_size_limit), (9, 1024));
    assert_eq!((job.metrics_path.as_str(), job.scheme.as_str()), ("/metrics", "http"));
    assert!(job.honor_timestamps && !job.honor_labels);
    assert_eq!(job.params["module"], ["x", "y"]);
    assert_eq!(job.params["q"], ["z"]);
}

#[test]
fn relative_paths_start_from_the_files_folder() {
    let config = parsed(&job("file_sd_configs: [{files: [targets/*.json, /abs.yml]}]\n\
         basic_auth: {username: u, password_file: pw}\ntls_config: {ca_file: ca.pem}"));
    let job = &config.scrape_configs[0];
    assert_eq!(job.file_sd_configs[0].files, ["/etc/prometheus/targets/*.json", "/abs.yml"]);
    assert_eq!(job.file_sd_configs[0].refresh_interval, Duration::from_secs(300));
    let basic = job.client.basic_auth.as_ref().expect("given");
    assert_eq!(basic.password, SecretSource::File("/etc/prometheus/pw".into()));
    assert_eq!(job.client.tls.ca, Some(SecretSource::File("/etc/prometheus/ca.pem".into())));
}

#[test]
fn secrets_are_stored_and_never_shown() {
    let config = parsed(&job("basic_auth: {username: u, password: hunter2}"));
    assert!(!format!("{config:?}").contains("hunter2"));
    let shown = serde_json::to_string(&config.redacted()).expect("plain values");
    assert!(!shown.contains("hunter2") && shown.contains("<secret>"));
    let stored = Config::decode(&config.encode()).expect("just encoded");
    let basic = stored.scrape_configs[0].client.basic_auth.clone().expect("given");
    assert_eq!(basic.password, SecretSource::Inline(Secret::new("hunter2")));
}

#[test]
fn the_encoding_reads_back_equal_and_refuses_what_it_does_not_know() {
    for text in [DEBIAN, SAMPLE, TUTORIAL] {
        let config = parsed(text);
        let bytes = config.encode();
        assert_eq!(Config::decode(&bytes).expect("just encoded"), config);
        assert_eq!(parsed(text).encode(), bytes);
    }
    assert!(Config::decode(&[]).is_err());
    assert!(Config::decode(&[9, b'{', b'}']).expect_err("newer").to_string().contains("version 9"));
}

#[test]
fn included_files_add_their_jobs() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        let mut file = std::fs::File::create(&path).expect("create");
        file.write_all(text.as_bytes()).expect("write");
        path
    };
    let main = write(
        "prometheus.yml",
        "global: {scrape_interval: 3s}\nscrape_config_files: ['jobs-*.yml']\nscrape_configs: [{job_name: a}]\n",
    );
    write("jobs-1.yml", "scrape_configs: [{job_name: b}]\n");
    let config = load(&main, &ParseOptions::default()).expect("valid");
    assert_eq!(config.job("b").expect("included").scrape_interval, Duration::from_secs(3));

    write("jobs-2.yml", "scrape_configs: [{job_name: a}]\n");
    let error = load(&main, &ParseOptions::default()).expect_err("a twice").to_string();
    assert!(error.contains("found multiple scrape configs with job name \"a\""), "{error}");

    write("jobs-2.yml", "scrape_config: []\n");
    let error = load(&main, &ParseOptions::default()).expect_err("unknown key").to_string();
    assert!(error.contains("jobs-2.yml: line 1: field scrape_config not found"), "{error}");
    assert!(load(&folder.path().join("absent.yml"), &ParseOptions::default()).is_err());
}

#[test]
fn without_a_file_narthex_watches_itself_and_its_hosts() {
    let host = BuiltinHost {
        host_name: "vm1".into(),
        address: "127.0.0.1:9090".into(),
        sources: vec!["127.0.0.1:9091".into(), "127.0.0.1:9090".into()],
    };
    let config = Config::builtin(&["127.0.0.1:9090".into()], &[host]);
    assert_eq!(Config::decode(&config.encode()).expect("just encoded"), config);
    let [own, node] = &config.scrape_configs[..] else { panic!("two jobs") };
    assert_eq!((own.job_name.as_str(), own.metrics_path.as_str()), ("narthex", "/metrics"));
    assert_eq!((node.job_name.as_str(), node.metrics_path.as_str()), ("node", "/metrics/node"));
    assert_eq!(node.static_configs[0].labels["instance"], "vm1");
}

#[test]
fn rule_files_are_read_whole_and_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let main = folder.path().join("prometheus.yml");
    let write =
        |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect(name);
    write("prometheus.yml", "rule_files: [a.rules, '*.rules', absent.yml]");
    write("b.rules", "groups: [{name: g, rules: [{record: a, expr: up}]}]");
    write("a.rules", "groups: [{name: g}]");
    let load = || load(&main, &ParseOptions::default());
    let config = load().expect("valid");
    let names: Vec<_> = config.rule_files.iter().map(|file| Path::new(&file.path)).collect();
    assert_eq!(names, [folder.path().join("a.rules"), folder.path().join("b.rules")]);
    assert_eq!(Config::decode(&config.encode()).expect("its own bytes"), config);
    assert!(config.to_yaml().contains("b.rules"), "{}", config.to_yaml());
    write("b.rules", "groups: [{name: g, rules: [{record: a, expr: 'up +'}]}]");
    let error = load().expect_err("a bad expression").to_string();
    let start = format!("loading rules: {}: line 1: ", folder.path().join("b.rules").display());
    assert!(error.starts_with(&start), "{error}");
    assert!(error.contains("could not parse expression"), "{error}");
    write("b.rules", &format!("groups: # {}", "x".repeat(3 << 20)));
    assert!(load().expect_err("too much").to_string().contains("more than the 3145728"));
}
