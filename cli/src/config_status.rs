//! What a process says of the scrape configuration: in its metrics, and through its querier.
//!
//! The configuration is the cluster's, so every process follows the same state; only one that
//! reads a file can also say that the file was refused.

use std::{fmt, sync::Arc};

use narthex_cluster::ClusterState;
use narthex_node::config::Config;
use narthex_querier::ConfigStatus;
use narthex_web::{Clock, metrics::gauge};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::gauge::ConstGauge,
    registry::Registry,
};
use tokio::sync::watch;

/// The status that a process begins with, and its metrics.
pub fn open(registry: &mut Registry) -> Arc<watch::Sender<ConfigStatus>> {
    let first = ConfigStatus { loaded: Clock::system().now(), ..ConfigStatus::default() };
    let status = Arc::new(watch::Sender::new(first));
    registry.register_collector(Box::new(ConfigMetrics(status.subscribe())));
    status
}

/// Keeps the status in line with cluster state, for as long as that changes.
pub async fn follow(
    mut state: watch::Receiver<Arc<ClusterState>>,
    status: Arc<watch::Sender<ConfigStatus>>,
) {
    let mut seen = None;
    loop {
        let current = state.borrow_and_update().clone();
        let config = current.scrape_config();
        let digest = config.map(|config| config.digest);
        if seen != Some(digest) {
            seen = Some(digest);
            let decoded = config.map(|config| Config::decode(&config.content)).transpose();
            let imported = config.map(|config| config.imported).unwrap_or_default();
            status.send_modify(|status| match decoded {
                Ok(config) => {
                    let config = config.unwrap_or_default();
                    status.yaml = config.to_yaml();
                    status.pools = config.jobs_to_yaml();
                    status.inactive = config.inactive;
                    status.external_labels = config.global.external_labels;
                    status.loaded = status.loaded.max(imported);
                }
                Err(error) => status.fail(error.to_string(), Clock::system().now()),
            });
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

#[derive(Debug)]
struct ConfigMetrics(watch::Receiver<ConfigStatus>);

impl Collector for ConfigMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = self.0.borrow().clone();
        let name = "prometheus_config_last_reload_successful";
        let help = "Whether the last attempt to load the configuration succeeded";
        gauge(&mut encoder, name, help, f64::from(u8::from(status.problem.is_empty())))?;
        let name = "prometheus_config_last_reload_success_timestamp_seconds";
        let help = "When the configuration was last loaded, in seconds since the epoch";
        gauge(&mut encoder, name, help, status.loaded.millis() as f64 / 1000.0)?;
        if status.inactive.is_empty() {
            return Ok(());
        }
        let name = "narthex_config_section_inactive";
        let help = "Sections of the configuration that are valid but have no effect";
        let one = ConstGauge::new(1.0);
        let mut family = encoder.encode_descriptor(name, help, None, one.metric_type())?;
        for section in status.inactive {
            one.encode(family.encode_family(&[("section", section)])?)?;
        }
        Ok(())
    }
}
