//! What a configuration says: plain values without behaviour.
//!
//! They are part of the replicated cluster state, so each can be compared and has one encoding
//! (see [`Config::encode`](super::Config::encode)). Regular expressions stay texts here and are
//! compiled where they are used.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// A text that is never shown: it has no `Display`, and its `Debug` form is `<secret>`.
///
/// Serialising writes it in full, because cluster state must carry it to the node that scrapes;
/// [`Config::redacted`](super::Config::redacted) is the form to show.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a text into custody.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub(super) fn redact(&mut self) {
        if !self.0.is_empty() {
            "<secret>".clone_into(&mut self.0);
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// The `global` section. Values that Narthex does not act on yet are checked and left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GlobalConfig {
    /// Pause between two scrapes of a target. Default 1m.
    pub scrape_interval: Duration,
    /// How long a scrape may take. Default 10s, or the interval where that is shorter.
    pub scrape_timeout: Duration,
    /// Pause between two evaluations of a rule group. Default 1m.
    pub evaluation_interval: Duration,
    /// How far before the time of their evaluation rules look. Default 0.
    #[serde(default, skip_serializing_if = "Duration::is_zero")]
    pub rule_query_offset: Duration,
    /// Labels added to what leaves the cluster.
    pub external_labels: BTreeMap<String, String>,
    /// Limits of jobs that set none.
    pub limits: ScrapeLimits,
}

impl Default for GlobalConfig {
    fn default() -> Self {
        Self {
            scrape_interval: Duration::from_secs(60),
            scrape_timeout: Duration::from_secs(10),
            evaluation_interval: Duration::from_secs(60),
            rule_query_offset: Duration::ZERO,
            external_labels: BTreeMap::new(),
            limits: ScrapeLimits::default(),
        }
    }
}

/// Limits of a scrape job; 0 means none. Breaking one fails the scrape whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScrapeLimits {
    /// Bytes of a page after decompression.
    pub body_size_limit: u64,
    /// Samples of a scrape after metric relabelling.
    pub sample_limit: u64,
    /// Targets of the job after relabelling.
    pub target_limit: u64,
    /// Labels of a sample, the metric's name included.
    pub label_limit: u64,
    /// Bytes of a label's name.
    pub label_name_length_limit: u64,
    /// Bytes of a label's value.
    pub label_value_length_limit: u64,
    /// Dropped targets kept for the API; 0 keeps all.
    pub keep_dropped_targets: u64,
}

/// A file with rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleFileText {
    /// Where it was read: with a group's name that group's identity.
    pub path: String,
    /// What it said.
    pub text: String,
}

/// The `alerting` section.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AlertingConfig {
    /// Rules applied to the labels of alerts before they are sent anywhere.
    pub alert_relabel_configs: Vec<RelabelConfig>,
    /// Groups of Alertmanagers. Every alert goes to all of all groups.
    pub alertmanagers: Vec<AlertmanagerConfig>,
}

impl AlertingConfig {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Alertmanagers that are spoken to in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertmanagerConfig {
    /// `http` or `https`, unless relabelling changes it.
    pub scheme: String,
    /// What stands before `/api/v2/alerts`, unless relabelling changes it.
    pub path_prefix: String,
    /// How long a request may take. Default 10s.
    pub timeout: Duration,
    /// How to speak to them.
    pub client: HttpClientConfig,
    /// Those written in the configuration.
    pub static_configs: Vec<TargetGroup>,
    /// Those read from files of the node that sends.
    pub file_sd_configs: Vec<FileDiscoveryConfig>,
    /// Rules applied to them.
    pub relabel_configs: Vec<RelabelConfig>,
    /// Rules applied to the labels of alerts for these alone.
    pub alert_relabel_configs: Vec<RelabelConfig>,
}

/// One entry of `scrape_configs`, with everything it inherits from `global` filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScrapeConfig {
    /// Unique among the jobs.
    pub job_name: String,
    /// Pause between two scrapes.
    pub scrape_interval: Duration,
    /// How long a scrape may take; never above the interval.
    pub scrape_timeout: Duration,
    /// Path of the page. Default `/metrics`.
    pub metrics_path: String,
    /// `http` or `https`, unless relabelling changes it.
    pub scheme: String,
    /// Query parameters, by name.
    pub params: BTreeMap<String, Vec<String>>,
    /// Whether labels of the page win over those of the target. Default false.
    pub honor_labels: bool,
    /// Whether timestamps of the page count. Default true.
    pub honor_timestamps: bool,
    /// Whether a page without a content type that is known counts as text. Default false.
    pub falls_back_to_text: bool,
    /// Whether targets are asked for gzip. Default true.
    pub enable_compression: bool,
    /// How to speak to the targets.
    pub client: HttpClientConfig,
    /// Breaking one fails a scrape whole.
    pub limits: ScrapeLimits,
    /// Targets written in the configuration.
    pub static_configs: Vec<TargetGroup>,
    /// Targets read from files of the node that scrapes.
    pub file_sd_configs: Vec<FileDiscoveryConfig>,
    /// Rules applied to targets.
    pub relabel_configs: Vec<RelabelConfig>,
    /// Rules applied to samples.
    pub metric_relabel_configs: Vec<RelabelConfig>,
}

/// Targets with the labels that all of them have.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TargetGroup {
    /// One label set a target; a target from a list has `__address__` only.
    pub targets: Vec<BTreeMap<String, String>>,
    /// Labels of every target that does not set them itself.
    pub labels: BTreeMap<String, String>,
    /// Where the group comes from: unique within a job.
    pub source: String,
}

/// Targets from files, followed as they change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDiscoveryConfig {
    /// Paths of JSON or YAML files; the last element may hold one `*`.
    pub files: Vec<String>,
    /// The files are read again at least this often. Default 5m.
    pub refresh_interval: Duration,
}

/// How a request is authorised and encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpClientConfig {
    /// HTTP basic authentication.
    pub basic_auth: Option<BasicAuth>,
    /// An `Authorization` header.
    pub authorization: Option<Authorization>,
    /// TLS towards the target.
    pub tls: TlsConfig,
    /// Whether the page may be elsewhere; else a redirect fails the scrape. Default true.
    pub follow_redirects: bool,
    /// Whether HTTP/2 is offered to targets with TLS. Default true.
    pub enable_http2: bool,
}

impl Default for HttpClientConfig {
    fn default() -> Self {
        Self {
            basic_auth: None,
            authorization: None,
            tls: TlsConfig::default(),
            follow_redirects: true,
            enable_http2: true,
        }
    }
}

/// A text in place or in a file of the node that scrapes, read anew for each use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecretSource {
    /// In the configuration.
    Inline(Secret),
    /// In this file; white space around it is cut off.
    File(String),
}

/// User and password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BasicAuth {
    /// User name.
    pub username: SecretSource,
    /// Password.
    pub password: SecretSource,
}

/// Scheme and credentials of an `Authorization` header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorization {
    /// `Bearer` by default; never `Basic`.
    pub scheme: String,
    /// What follows the scheme; nothing where only the scheme was given.
    pub credentials: Option<SecretSource>,
}

/// TLS towards a target.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TlsConfig {
    /// Certificates that may sign the target's; the system's where absent.
    pub ca: Option<SecretSource>,
    /// The client certificate and its key.
    pub identity: Option<TlsIdentity>,
    /// The name the target's certificate must have; its address where empty.
    pub server_name: String,
    /// Accepts any certificate.
    pub insecure_skip_verify: bool,
    /// Lowest version; TLS 1.2 where absent.
    pub min_version: Option<TlsVersion>,
    /// Highest version.
    pub max_version: Option<TlsVersion>,
}

/// A client certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsIdentity {
    /// PEM certificates.
    pub cert: SecretSource,
    /// PEM key.
    pub key: SecretSource,
}

/// Versions of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2
    Tls12,
    /// TLS 1.3
    Tls13,
}

/// One rule of relabelling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelabelConfig {
    /// Labels whose values are joined and matched.
    pub source_labels: Vec<String>,
    /// What stands between them. Default `;`.
    pub separator: String,
    /// Must match the joined text whole. Default `(.*)`.
    pub regex: String,
    /// For `hashmod`.
    pub modulus: u64,
    /// The label that is written or compared.
    pub target_label: String,
    /// What is written. Default `$1`.
    pub replacement: String,
    /// What the rule does. Default `replace`.
    pub action: RelabelAction,
}

impl Default for RelabelConfig {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: ";".to_owned(),
            regex: "(.*)".to_owned(),
            modulus: 0,
            target_label: String::new(),
            replacement: "$1".to_owned(),
            action: RelabelAction::Replace,
        }
    }
}

/// What a rule of relabelling does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelabelAction {
    /// Writes the filled replacement into the target label where the regex matches.
    Replace,
    /// Drops what does not match.
    Keep,
    /// Drops what matches.
    Drop,
    /// Drops where the joined text differs from the target label.
    KeepEqual,
    /// Drops where the joined text equals the target label.
    DropEqual,
    /// Writes the joined text's hash, modulo, into the target label.
    HashMod,
    /// Copies labels whose names match to names made from the replacement.
    LabelMap,
    /// Removes labels whose names match.
    LabelDrop,
    /// Removes labels whose names do not match.
    LabelKeep,
    /// Writes the joined text in lower case.
    Lowercase,
    /// Writes the joined text in upper case.
    Uppercase,
}
