//! Prometheus as a sender of remote write, as a reader of what a cluster has, and as one who gets the
//! same.

use std::{fs, path::Path, process::Command, time::Duration};

use tempfile::TempDir;

use crate::{api::Api, node::Process, ports::free_address, targets::Target};

/// A Prometheus that works with a cluster. Dropping it kills it.
#[derive(Debug)]
pub struct Prometheus {
    api: Api,
    _process: Process,
    _folder: TempDir,
}

/// What a sender is told.
#[derive(Debug, Clone, Copy)]
pub struct SenderConfig<'a> {
    /// The protobuf message it sends.
    pub message: &'a str,
    /// Labels of every series.
    pub labels: &'a [(&'a str, &'a str)],
    /// What it scrapes as the job `page`. Itself is the job `self`.
    pub target: &'a Target,
}

impl Prometheus {
    /// Starts `program`, which scrapes a target and itself, every second, and writes what it
    /// scrapes to the cluster at `url`.
    pub fn sender(program: &Path, url: &str, config: SenderConfig<'_>) -> Self {
        let SenderConfig { message, labels, target } = config;
        let address = free_address();
        let labels: Vec<_> =
            labels.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        let config = format!(
            "global:\n  scrape_interval: 1s\n  external_labels: {{{}}}\n\
             remote_write:\n  - url: {url}/api/v1/write\n    protobuf_message: {message}\n    \
             send_native_histograms: true\n    send_exemplars: true\n    \
             queue_config: {{batch_send_deadline: 500ms}}\n\
             scrape_configs:\n  - job_name: page\n    static_configs:\n      - targets: [{:?}]\n  \
             - job_name: self\n    static_configs:\n      - targets: [{address:?}]\n",
            labels.join(", "),
            target.address()
        );
        Self::run(program, &address, &config, &[])
    }

    /// Starts `program`, which scrapes the page that the cluster at `url` has for `selector` every
    /// second, and asks the cluster for whatever it is asked.
    pub fn reader(program: &Path, url: &str, selector: &str) -> Self {
        let address = url.trim_start_matches("http://");
        let config = format!(
            "global:\n  scrape_interval: 1s\n\
             remote_read:\n  - url: {url}/api/v1/read\n    read_recent: true\n\
             scrape_configs:\n  - job_name: federation\n    honor_labels: true\n    \
             metrics_path: /federate\n    params: {{'match[]': ['{selector}']}}\n    \
             static_configs:\n      - targets: [{address:?}]\n"
        );
        Self::run(program, &free_address(), &config, &[])
    }

    /// Starts `program`, which does nothing but scrape the page that the cluster at `url` has for
    /// `selector`, every second.
    pub fn federating(program: &Path, url: &str, selector: &str) -> Self {
        let address = url.trim_start_matches("http://");
        let config = format!(
            "global:\n  scrape_interval: 1s\n\
             scrape_configs:\n  - job_name: federation\n    honor_labels: true\n    \
             metrics_path: /federate\n    params: {{'match[]': ['{selector}']}}\n    \
             static_configs:\n      - targets: [{address:?}]\n"
        );
        Self::run(program, &free_address(), &config, &[])
    }

    /// Starts `program` with these flags too. It scrapes nothing and takes both versions of remote
    /// write.
    pub fn receiver(program: &Path, more_flags: &[&str]) -> Self {
        let accepts = |message: &str| {
            format!("--web.remote-write-receiver.accepted-protobuf-messages={message}")
        };
        let first = accepts("prometheus.WriteRequest");
        let second = accepts("io.prometheus.write.v2.Request");
        let flags = ["--web.enable-remote-write-receiver", first.as_str(), second.as_str()];
        Self::run(program, &free_address(), "{}", &[&flags[..], more_flags].concat())
    }

    /// Starts `program` with this configuration.
    pub fn with_config(program: &Path, config: &str) -> Self {
        Self::run(program, &free_address(), config, &[])
    }

    fn run(program: &Path, address: &str, config: &str, more_flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config).expect("a temporary file can be written");
        let mut command = Command::new(program);
        command
            .arg("--enable-feature=native-histograms,exemplar-storage,metadata-wal-records")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(more_flags);
        let process = Process::start(command, folder.path(), "prometheus");
        let api = Api::new(&format!("http://{address}"), Duration::from_secs(5));
        Self { api, _process: process, _folder: folder }
    }

    /// Its own HTTP API.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// The sum of a family's series on its own page.
    pub fn total(&self, family: &str) -> Result<f64, String> {
        let (_, page) = self.api.text("/metrics")?;
        let of_family = page.lines().filter(|line| line.starts_with(family));
        let values: Vec<f64> =
            of_family.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect();
        if values.is_empty() { Err(format!("no {family}")) } else { Ok(values.iter().sum()) }
    }
}
