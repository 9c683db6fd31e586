//! A `prometheus.yml`: read, checked whole as Prometheus does, and turned into plain values.
//!
//! Invariants
//! * a [`Config`] was checked: every regular expression compiles, every timeout fits its
//!   interval, every job's name is unique, every path is absolute;
//! * equal files give equal values, and equal values equal bytes ([`Config::encode`]), because a
//!   configuration is part of the replicated cluster state;
//! * no key is ignored: what is not in force is refused by name, or, for a whole section, listed
//!   in [`Config::inactive`].
//!
//! Nothing of Narthex's own is read here, and nothing watches the file.

mod alerting;
mod builtin;
mod client;
mod file;
mod global;
mod inactive;
mod job;
mod relabel;
pub mod retention;
mod rule_files;
mod show;
mod types;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

pub use builtin::{BuiltinHost, HOST_METRICS_PATH, NARTHEX_JOB, NODE_JOB, SOURCES_LABEL};
pub use file::ConfigFile;
pub use job::target_group;
use narthex_promql::ParseOptions;
use narthex_yaml::{Fields, Kind, Node, decode};
pub use narthex_yaml::{Problem, decode::parse_byte_size};
use serde::{Deserialize, Serialize};
pub use types::{
    AlertingConfig, AlertmanagerConfig, Authorization, BasicAuth, FileDiscoveryConfig,
    GlobalConfig, HttpClientConfig, RelabelAction, RelabelConfig, RuleFileText, ScrapeConfig,
    ScrapeLimits, Secret, SecretSource, TargetGroup, TlsConfig, TlsIdentity, TlsVersion,
};

/// First byte of [`Config::encode`].
const FORMAT_VERSION: u8 = 1;

/// A checked configuration.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Config {
    /// What all jobs share.
    pub global: GlobalConfig,
    /// The jobs, those of `scrape_config_files` behind the file's own.
    pub scrape_configs: Vec<ScrapeConfig>,
    /// The files of `rule_files` with their texts, which were checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rule_files: Vec<RuleFileText>,
    /// Where alerts are sent.
    #[serde(default, skip_serializing_if = "AlertingConfig::is_empty")]
    pub alerting: AlertingConfig,
    /// Sections and global keys that are valid but have no effect yet, in the file's order; each
    /// deserves a warning and `narthex_config_section_inactive{section} 1`.
    pub inactive: Vec<String>,
}

/// Why a configuration was refused. The one before it stays in force.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Make the file readable.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Correct the file.
    #[error("parsing YAML file {}: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        problem: Problem,
    },
    /// Correct the rules.
    #[error("loading rules: {}", of_file(path, problems))]
    Rules {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong in it.
        problems: Vec<Problem>,
    },
    /// The bytes are not from [`Config::encode`], or from a newer version of it.
    #[error("stored configuration cannot be read: {0}")]
    Encoding(String),
}

/// What surrounds the text of a configuration.
pub(crate) struct Surroundings<'a> {
    /// The folder that relative paths start from.
    folder: &'a Path,
    /// Environment variables, for `external_labels`.
    environment: &'a dyn Fn(&str) -> Option<String>,
}

impl Surroundings<'_> {
    fn absolute(&self, path: &str) -> String {
        if path.is_empty() {
            return String::new();
        }
        self.folder.join(path).to_string_lossy().into_owned()
    }
}

fn of_file(path: &Path, problems: &[Problem]) -> String {
    let lines = problems.iter().map(|problem| format!("{}: {problem}", path.display()));
    lines.collect::<Vec<_>>().join("; ")
}

/// Reads and checks the file at `path` with everything it includes, rules too, whose expressions may
/// use what `options` say.
pub fn load(path: &Path, options: &ParseOptions) -> Result<Config, ConfigError> {
    let file = ConfigFile::read(path)?;
    let patterns = file.rule_files.clone();
    let mut config = file.include()?;
    config.rule_files = rule_files::read(path, &patterns, options)?;
    Ok(config)
}

/// Checks `text` as a configuration whose relative paths start from `folder`; what it includes
/// is left out.
pub fn parse(text: &str, folder: &Path) -> Result<Config, Problem> {
    let surroundings = Surroundings { folder, environment: &|_| None };
    Ok(parse_file(text, &surroundings)?.config)
}

impl Config {
    /// The bytes that cluster state keeps: a format version, then JSON. Holds secrets.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT_VERSION];
        serde_json::to_writer(&mut bytes, self).expect("plain values always serialise");
        bytes
    }

    /// Reads what [`Config::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, ConfigError> {
        match bytes.split_first() {
            Some((&FORMAT_VERSION, json)) => serde_json::from_slice(json)
                .map_err(|error| ConfigError::Encoding(error.to_string())),
            Some((version, _)) => Err(ConfigError::Encoding(format!(
                "format version {version}, this program knows {FORMAT_VERSION}"
            ))),
            None => Err(ConfigError::Encoding("no bytes".to_owned())),
        }
    }

    /// The same with every secret replaced by `<secret>`: the form to show.
    #[must_use]
    pub fn redacted(&self) -> Self {
        let mut shown = self.clone();
        for job in &mut shown.scrape_configs {
            client::redact(&mut job.client);
        }
        alerting::redact(&mut shown.alerting);
        shown
    }

    /// The job of that name.
    pub fn job(&self, name: &str) -> Option<&ScrapeConfig> {
        self.scrape_configs.iter().find(|job| job.job_name == name)
    }
}

/// What a file says, and which files it names.
struct ParsedFile {
    config: Config,
    scrape_config_files: Vec<String>,
    rule_files: Vec<String>,
}

fn parse_file(text: &str, surroundings: &Surroundings<'_>) -> Result<ParsedFile, Problem> {
    let root = narthex_yaml::parse(text)?;
    let mut fields = Fields::open(&root, "config.plain")?;
    let mut inactive = Vec::new();
    let global = match fields.take("global") {
        Some(node) => global::read(node, surroundings, &mut inactive)?,
        None => GlobalConfig::default(),
    };
    let scrape_configs = jobs(fields.take("scrape_configs"), &global, surroundings)?;
    let scrape_config_files = patterns(&mut fields, "scrape_config_files", surroundings)?;
    let rule_files = patterns(&mut fields, "rule_files", surroundings)?;
    let alerting = match fields.take("alerting") {
        Some(node) => alerting::read(node, surroundings)?,
        None => AlertingConfig::default(),
    };
    for section in inactive::SECTIONS {
        if let Some(node) = fields.take(section) {
            inactive::check(section, node)?;
            if !is_empty(node) {
                inactive.push((*section).to_owned());
            }
        }
    }
    fields.finish()?;
    check_job_names(&scrape_configs)?;
    let config = Config { global, scrape_configs, rule_files: Vec::new(), alerting, inactive };
    Ok(ParsedFile { config, scrape_config_files, rule_files })
}

/// Absolute patterns of files; only their last element may hold an asterisk.
fn patterns(
    fields: &mut Fields<'_>,
    key: &str,
    surroundings: &Surroundings<'_>,
) -> Result<Vec<String>, Problem> {
    let read = |node: &Node| {
        let pattern = decode::text(node)?;
        let behind = pattern.split_once('*').map_or("", |(_, behind)| behind);
        if behind.contains('/') {
            let what = key.trim_end_matches("_files").replace('_', " ");
            let message = format!("invalid {what} file path {pattern:?}");
            return Err(Problem::at(node.line, message));
        }
        Ok(surroundings.absolute(&pattern))
    };
    Ok(fields.read(key, |node| decode::list(node, read))?.unwrap_or_default())
}

fn parse_included(
    text: &str,
    global: &GlobalConfig,
    surroundings: &Surroundings<'_>,
) -> Result<Vec<ScrapeConfig>, Problem> {
    let root = narthex_yaml::parse(text)?;
    let mut fields = Fields::open(&root, "config.ScrapeConfigs")?;
    let jobs = jobs(fields.take("scrape_configs"), global, surroundings)?;
    fields.finish()?;
    Ok(jobs)
}

fn jobs(
    node: Option<&Node>,
    global: &GlobalConfig,
    surroundings: &Surroundings<'_>,
) -> Result<Vec<ScrapeConfig>, Problem> {
    let Some(node) = node else { return Ok(Vec::new()) };
    decode::list(node, |node| job::read(node, global, surroundings))
}

fn check_job_names(jobs: &[ScrapeConfig]) -> Result<(), Problem> {
    let mut seen = BTreeSet::new();
    match jobs.iter().find(|job| !seen.insert(&job.job_name)) {
        None => Ok(()),
        Some(job) => Err(Problem::new(format!(
            "found multiple scrape configs with job name {:?}",
            job.job_name
        ))),
    }
}

fn is_empty(node: &Node) -> bool {
    match &node.kind {
        Kind::Null => true,
        Kind::Scalar { .. } => false,
        Kind::Sequence(items) => items.is_empty(),
        Kind::Mapping(entries) => entries.is_empty(),
    }
}

#[cfg(test)]
mod tests;
