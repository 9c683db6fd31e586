//! The configuration of a start without one: Narthex watches itself and its hosts.

use std::{collections::BTreeMap, time::Duration};

use super::{Config, GlobalConfig, ScrapeConfig, TargetGroup};

/// The job of Narthex's own processes.
pub const NARTHEX_JOB: &str = "narthex";
/// The job of the built-in host exporter.
pub const NODE_JOB: &str = "node";
/// Where the host exporter's page is served.
pub const HOST_METRICS_PATH: &str = "/metrics/node";

/// Names the addresses that all have the page of one target: the first that answers is taken.
pub const SOURCES_LABEL: &str = "__narthex_sources__";

/// Short enough that a first look shows something.
const INTERVAL: Duration = Duration::from_secs(10);

/// A machine that the built-in configuration scrapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltinHost {
    /// The `instance` of its host metrics.
    pub host_name: String,
    /// `HOST:PORT` of the machine's first node, which with the name stands for the target.
    pub address: String,
    /// Every `HOST:PORT` at which [`HOST_METRICS_PATH`] is served, in the order to ask them.
    pub sources: Vec<String>,
}

impl Config {
    /// Jobs `narthex`, with the processes at `processes`, and `node`, with one target a machine.
    pub fn builtin(processes: &[String], hosts: &[BuiltinHost]) -> Self {
        let own = processes.iter().map(|address| target(address)).collect();
        let own =
            TargetGroup { targets: own, source: "builtin/0".to_owned(), ..Default::default() };
        let hosts = hosts.iter().enumerate().map(|(at, host)| TargetGroup {
            targets: vec![host_target(host)],
            labels: BTreeMap::from([("instance".to_owned(), host.host_name.clone())]),
            source: format!("builtin/{at}"),
        });
        let global = GlobalConfig {
            scrape_interval: INTERVAL,
            scrape_timeout: INTERVAL,
            ..GlobalConfig::default()
        };
        let scrape_configs = vec![
            job(NARTHEX_JOB, "/metrics", vec![own]),
            job(NODE_JOB, HOST_METRICS_PATH, hosts.collect()),
        ];
        Self { global, scrape_configs, ..Self::default() }
    }
}

fn target(address: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("__address__".to_owned(), address.to_owned())])
}

fn host_target(host: &BuiltinHost) -> BTreeMap<String, String> {
    let mut target = target(&host.address);
    target.insert(SOURCES_LABEL.to_owned(), host.sources.join(","));
    target
}

fn job(name: &str, path: &str, groups: Vec<TargetGroup>) -> ScrapeConfig {
    ScrapeConfig {
        job_name: name.to_owned(),
        scrape_interval: INTERVAL,
        scrape_timeout: INTERVAL,
        metrics_path: path.to_owned(),
        scheme: "http".to_owned(),
        params: BTreeMap::new(),
        honor_labels: false,
        honor_timestamps: true,
        falls_back_to_text: false,
        enable_compression: true,
        client: super::HttpClientConfig::default(),
        limits: super::ScrapeLimits::default(),
        static_configs: groups,
        file_sd_configs: Vec::new(),
        relabel_configs: Vec::new(),
        metric_relabel_configs: Vec::new(),
    }
}
