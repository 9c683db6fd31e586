//! A configuration as YAML for people: Prometheus's keys, what was inherited filled in, secrets
//! masked. Read again, it gives the same configuration, but for the secrets.

use std::collections::BTreeMap;

use narthex_model::duration;
use serde::Serialize;

use super::{
    AlertingConfig, AlertmanagerConfig, Authorization, BasicAuth, Config, FileDiscoveryConfig,
    GlobalConfig, HttpClientConfig, RelabelAction, RelabelConfig, ScrapeConfig, ScrapeLimits,
    SecretSource, TargetGroup, TlsConfig, TlsVersion, job::TEXT_PROTOCOL,
};

impl Config {
    /// The whole configuration as YAML.
    pub fn to_yaml(&self) -> String {
        let shown = self.redacted();
        let jobs = shown.scrape_configs.iter().map(Job::new).collect();
        let rule_files = shown.rule_files.iter().map(|file| file.path.as_str()).collect();
        let alerting = (!shown.alerting.is_empty()).then(|| Alerting::new(&shown.alerting));
        let global = Global::new(&shown.global);
        yaml(&File { global, alerting, rule_files, scrape_configs: jobs })
    }

    /// The configuration of each job as YAML, by its name.
    pub fn jobs_to_yaml(&self) -> BTreeMap<String, String> {
        let shown = self.redacted();
        let jobs = shown.scrape_configs.iter();
        jobs.map(|job| (job.job_name.clone(), yaml(&Job::new(job)))).collect()
    }
}

fn yaml(value: &impl Serialize) -> String {
    serde_saphyr::to_string(value).expect("texts, numbers, lists and maps always serialise")
}

fn is_empty<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_false(value: &bool) -> bool {
    !value
}

#[derive(Serialize)]
struct File<'a> {
    global: Global<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alerting: Option<Alerting<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rule_files: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scrape_configs: Vec<Job<'a>>,
}

#[derive(Serialize)]
struct Global<'a> {
    scrape_interval: String,
    scrape_timeout: String,
    evaluation_interval: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_query_offset: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    external_labels: &'a BTreeMap<String, String>,
    #[serde(flatten)]
    limits: Limits,
}

impl<'a> Global<'a> {
    fn new(global: &'a GlobalConfig) -> Self {
        Self {
            scrape_interval: duration::format(global.scrape_interval),
            scrape_timeout: duration::format(global.scrape_timeout),
            evaluation_interval: duration::format(global.evaluation_interval),
            rule_query_offset: Some(global.rule_query_offset)
                .filter(|offset| !offset.is_zero())
                .map(duration::format),
            external_labels: &global.external_labels,
            limits: Limits::new(global.limits),
        }
    }
}

#[derive(Serialize)]
struct Alerting<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    alert_relabel_configs: Vec<Rule<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    alertmanagers: Vec<Alertmanager<'a>>,
}

impl<'a> Alerting<'a> {
    fn new(config: &'a AlertingConfig) -> Self {
        Self {
            alert_relabel_configs: config.alert_relabel_configs.iter().map(Rule::new).collect(),
            alertmanagers: config.alertmanagers.iter().map(Alertmanager::new).collect(),
        }
    }
}

#[derive(Serialize)]
struct Alertmanager<'a> {
    #[serde(flatten)]
    client: Client<'a>,
    scheme: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    path_prefix: &'a str,
    timeout: String,
    api_version: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    relabel_configs: Vec<Rule<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    alert_relabel_configs: Vec<Rule<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    static_configs: Vec<Group<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    file_sd_configs: Vec<Files<'a>>,
}

impl<'a> Alertmanager<'a> {
    fn new(config: &'a AlertmanagerConfig) -> Self {
        Self {
            client: Client::new(&config.client),
            scheme: &config.scheme,
            path_prefix: &config.path_prefix,
            timeout: duration::format(config.timeout),
            api_version: "v2",
            relabel_configs: config.relabel_configs.iter().map(Rule::new).collect(),
            alert_relabel_configs: config.alert_relabel_configs.iter().map(Rule::new).collect(),
            static_configs: config.static_configs.iter().map(Group::new).collect(),
            file_sd_configs: config.file_sd_configs.iter().map(Files::new).collect(),
        }
    }
}

#[derive(Serialize)]
struct Limits {
    #[serde(skip_serializing_if = "String::is_empty")]
    body_size_limit: String,
    #[serde(skip_serializing_if = "is_empty")]
    sample_limit: u64,
    #[serde(skip_serializing_if = "is_empty")]
    target_limit: u64,
    #[serde(skip_serializing_if = "is_empty")]
    label_limit: u64,
    #[serde(skip_serializing_if = "is_empty")]
    label_name_length_limit: u64,
    #[serde(skip_serializing_if = "is_empty")]
    label_value_length_limit: u64,
    #[serde(skip_serializing_if = "is_empty")]
    keep_dropped_targets: u64,
}

impl Limits {
    fn new(limits: ScrapeLimits) -> Self {
        let ScrapeLimits { body_size_limit, sample_limit, target_limit, label_limit, .. } = limits;
        Self {
            body_size_limit: match body_size_limit {
                0 => String::new(),
                bytes => format!("{bytes}B"),
            },
            sample_limit,
            target_limit,
            label_limit,
            label_name_length_limit: limits.label_name_length_limit,
            label_value_length_limit: limits.label_value_length_limit,
            keep_dropped_targets: limits.keep_dropped_targets,
        }
    }
}

#[derive(Serialize)]
struct Job<'a> {
    job_name: &'a str,
    honor_labels: bool,
    honor_timestamps: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    params: &'a BTreeMap<String, Vec<String>>,
    scrape_interval: String,
    scrape_timeout: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback_scrape_protocol: Option<&'static str>,
    metrics_path: &'a str,
    scheme: &'a str,
    enable_compression: bool,
    #[serde(flatten)]
    limits: Limits,
    #[serde(flatten)]
    client: Client<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    relabel_configs: Vec<Rule<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metric_relabel_configs: Vec<Rule<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    static_configs: Vec<Group<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    file_sd_configs: Vec<Files<'a>>,
}

impl<'a> Job<'a> {
    fn new(job: &'a ScrapeConfig) -> Self {
        Self {
            job_name: &job.job_name,
            honor_labels: job.honor_labels,
            honor_timestamps: job.honor_timestamps,
            params: &job.params,
            scrape_interval: duration::format(job.scrape_interval),
            scrape_timeout: duration::format(job.scrape_timeout),
            fallback_scrape_protocol: job.falls_back_to_text.then_some(TEXT_PROTOCOL),
            metrics_path: &job.metrics_path,
            scheme: &job.scheme,
            enable_compression: job.enable_compression,
            limits: Limits::new(job.limits),
            client: Client::new(&job.client),
            relabel_configs: job.relabel_configs.iter().map(Rule::new).collect(),
            metric_relabel_configs: job.metric_relabel_configs.iter().map(Rule::new).collect(),
            static_configs: job.static_configs.iter().map(Group::new).collect(),
            file_sd_configs: job.file_sd_configs.iter().map(Files::new).collect(),
        }
    }
}

#[derive(Serialize)]
struct Client<'a> {
    /// Keys and texts, as each may be in place or in a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    basic_auth: Option<BTreeMap<String, &'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization: Option<BTreeMap<String, &'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_config: Option<Tls<'a>>,
    follow_redirects: bool,
    enable_http2: bool,
}

impl<'a> Client<'a> {
    fn new(client: &'a HttpClientConfig) -> Self {
        let basic = |BasicAuth { username, password }: &'a BasicAuth| {
            BTreeMap::from([place("username", username), place("password", password)])
        };
        let authorization = |Authorization { scheme, credentials }: &'a Authorization| {
            let credentials = credentials.as_ref().map(|source| place("credentials", source));
            let scheme = ("type".to_owned(), scheme.as_str());
            std::iter::once(scheme).chain(credentials).collect()
        };
        Self {
            basic_auth: client.basic_auth.as_ref().map(basic),
            authorization: client.authorization.as_ref().map(authorization),
            tls_config: (!is_empty(&client.tls)).then(|| Tls::new(&client.tls)),
            follow_redirects: client.follow_redirects,
            enable_http2: client.enable_http2,
        }
    }
}

/// A text's key, which says where it is, and the text or its file.
fn place<'a>(key: &str, source: &'a SecretSource) -> (String, &'a str) {
    match source {
        SecretSource::Inline(text) => (key.to_owned(), text.reveal()),
        SecretSource::File(path) => (format!("{key}_file"), path),
    }
}

#[derive(Serialize)]
struct Tls<'a> {
    #[serde(flatten)]
    texts: BTreeMap<String, &'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    server_name: &'a str,
    #[serde(skip_serializing_if = "is_false")]
    insecure_skip_verify: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_version: Option<&'static str>,
}

impl<'a> Tls<'a> {
    fn new(tls: &'a TlsConfig) -> Self {
        let version = |version: TlsVersion| match version {
            TlsVersion::Tls12 => "TLS12",
            TlsVersion::Tls13 => "TLS13",
        };
        let ca = tls.ca.as_ref().map(|source| place("ca", source));
        let identity = tls.identity.as_ref();
        let identity = identity.map(|it| [place("cert", &it.cert), place("key", &it.key)]);
        Self {
            texts: ca.into_iter().chain(identity.into_iter().flatten()).collect(),
            server_name: &tls.server_name,
            insecure_skip_verify: tls.insecure_skip_verify,
            min_version: tls.min_version.map(version),
            max_version: tls.max_version.map(version),
        }
    }
}

#[derive(Serialize)]
struct Rule<'a> {
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    source_labels: &'a [String],
    separator: &'a str,
    regex: &'a str,
    #[serde(skip_serializing_if = "is_empty")]
    modulus: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    target_label: &'a str,
    replacement: &'a str,
    action: RelabelAction,
}

impl<'a> Rule<'a> {
    fn new(rule: &'a RelabelConfig) -> Self {
        Self {
            source_labels: &rule.source_labels,
            separator: &rule.separator,
            regex: &rule.regex,
            modulus: rule.modulus,
            target_label: &rule.target_label,
            replacement: &rule.replacement,
            action: rule.action,
        }
    }
}

#[derive(Serialize)]
struct Group<'a> {
    targets: Vec<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
}

impl<'a> Group<'a> {
    fn new(group: &'a TargetGroup) -> Self {
        let address = |target: &'a BTreeMap<String, String>| target.get("__address__");
        let targets = group.targets.iter().filter_map(address).map(String::as_str).collect();
        Self { targets, labels: &group.labels }
    }
}

#[derive(Serialize)]
struct Files<'a> {
    files: &'a [String],
    refresh_interval: String,
}

impl<'a> Files<'a> {
    fn new(config: &'a FileDiscoveryConfig) -> Self {
        Self { files: &config.files, refresh_interval: duration::format(config.refresh_interval) }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::parse;

    const FULL: &str = r#"
global:
  scrape_interval: 15s
  external_labels: {region: eu, "on": "yes", zone: "1.10"}
  sample_limit: 1000
  body_size_limit: 10MB
  rule_query_offset: 5s
alerting:
  alert_relabel_configs: [{action: labeldrop, regex: replica}]
  alertmanagers:
  - path_prefix: /am
    timeout: 3s
    basic_auth: {username: ann, password_file: /etc/secret}
    static_configs: [{targets: ["a:9093"], labels: {zone: eu}}]
    file_sd_configs: [{files: [/etc/managers/*.json]}]
    relabel_configs: [{source_labels: [zone], regex: us, action: drop}]
    alert_relabel_configs: [{target_label: via, replacement: narthex}]
scrape_configs:
- job_name: plain
  static_configs:
  - targets: ["a:9100", "b:9100"]
    labels: {env: "no"}
- job_name: 'everything: "quoted"'
  honor_labels: true
  honor_timestamps: false
  scrape_interval: 1m30s
  scrape_timeout: 500ms
  fallback_scrape_protocol: PrometheusText0.0.4
  metrics_path: /probe
  scheme: https
  params: {module: [http_2xx, "~"], "x y": [""]}
  enable_compression: false
  follow_redirects: false
  enable_http2: false
  label_limit: 30
  keep_dropped_targets: 7
  basic_auth: {username: ann, password_file: /etc/secret}
  tls_config:
    ca_file: /etc/ca.pem
    cert_file: /etc/cert.pem
    key_file: /etc/key.pem
    server_name: node.example
    insecure_skip_verify: true
    min_version: TLS12
    max_version: TLS13
  file_sd_configs: [{files: [/etc/targets/*.json], refresh_interval: 30s}]
  relabel_configs:
  - {source_labels: [__address__, zone], separator: ",", target_label: instance, regex: '(.*):\d+,(.*)', replacement: '$1-$2'}
  - {action: hashmod, source_labels: [instance], modulus: 8, target_label: __tmp_hash}
  metric_relabel_configs:
  - {action: labeldrop, regex: "pod_.*"}
  - {action: keep, source_labels: [__name__], regex: "up|node_.*"}
"#;

    #[test]
    fn what_is_shown_says_the_same_when_it_is_read() {
        let config = parse(FULL, Path::new("/etc")).expect("valid");
        let shown = config.to_yaml();
        let read = parse(&shown, Path::new("/elsewhere"))
            .unwrap_or_else(|problem| panic!("{problem}\n{shown}"));
        assert_eq!(read, config, "{shown}");
        let jobs = config.jobs_to_yaml();
        assert_eq!(jobs.len(), 2);
        assert!(jobs["plain"].starts_with("job_name: plain\n"), "{}", jobs["plain"]);
    }

    #[test]
    fn secrets_are_masked() {
        let text = "scrape_configs: [{job_name: a, basic_auth: {username: ann, password: hunter2}}, \
                    {job_name: b, authorization: {credentials: hunter2}}]";
        let config = parse(text, Path::new("/")).expect("valid");
        let all = config.to_yaml() + &config.jobs_to_yaml()["b"];
        assert!(!all.contains("hunter2"), "{all}");
        assert_eq!(all.matches("<secret>").count(), 3, "{all}");
        assert!(all.contains("username: ann"), "{all}");
    }
}
