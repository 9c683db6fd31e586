//! The read front door of a process: what all its APIs share.

use std::{sync::Arc, time::Duration};

use narthex_model::Timestamp;
use narthex_promql::ParseOptions;
use narthex_web::Clock;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::{
    cluster::Cluster, config_status::ConfigStatus, gate::QueryGate, metrics::QuerierMetrics,
    status::StatusBoard,
};

/// The `--query.*` flags and what the API says about the process.
#[derive(Debug, Clone)]
pub struct QuerierOptions {
    /// `--query.max-concurrency`: queries evaluated at once; more wait. Default 20.
    pub concurrency_max: usize,
    /// `--query.timeout`: for a query with its wait. A request may ask for less. Default 2 m.
    pub timeout: Duration,
    /// `--query.max-samples`: samples a query may hold in memory. Default 50 million.
    pub samples_max: usize,
    /// `--query.lookback-delta`: how old a sample may be to count as current. Default 5 m.
    pub lookback: Duration,
    /// The step of subqueries without one: the global evaluation interval. Default 1 m.
    pub subquery_step: Duration,
    /// `--query.partial-response`: answer without the shards that are missing, with a warning.
    /// Default off; a request may ask for it.
    pub partial_response: bool,
    /// `--web.enable-admin-api`: deleting is allowed. Default off.
    pub enable_admin_api: bool,
    /// What expressions may use.
    pub parse: ParseOptions,
    /// Labels and samples keep the names that operations drop until the query ends.
    pub delayed_name_removal: bool,
    /// `--web.external-url` or the address people reach the process at; for targets' URLs.
    pub external_url: String,
    /// What is known of the scrape configuration, as it changes. Default: nothing.
    pub config: watch::Receiver<ConfigStatus>,
}

impl Default for QuerierOptions {
    fn default() -> Self {
        Self {
            concurrency_max: 20,
            timeout: Duration::from_secs(120),
            samples_max: 50_000_000,
            lookback: Duration::from_secs(300),
            subquery_step: Duration::from_secs(60),
            partial_response: false,
            enable_admin_api: false,
            parse: ParseOptions::default(),
            delayed_name_removal: false,
            external_url: String::new(),
            config: watch::Sender::new(ConfigStatus::default()).subscribe(),
        }
    }
}

/// See the module.
pub struct Querier {
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) clock: Clock,
    pub(crate) options: QuerierOptions,
    pub(crate) board: StatusBoard,
    pub(crate) gate: QueryGate,
    pub(crate) metrics: QuerierMetrics,
    pub(crate) started: Timestamp,
}

impl Querier {
    /// A querier that asks `cluster` and registers what it counts.
    pub fn new(
        cluster: Arc<dyn Cluster>,
        clock: Clock,
        options: QuerierOptions,
        registry: &mut Registry,
    ) -> Arc<Self> {
        let metrics = QuerierMetrics::new(clock.clone());
        metrics.register(registry);
        metrics.concurrency_max.set(i64::try_from(options.concurrency_max).unwrap_or(i64::MAX));
        Arc::new(Self {
            board: StatusBoard::new(Arc::clone(&cluster), clock.clone()),
            gate: QueryGate::new(options.concurrency_max, metrics.clone()),
            started: clock.now(),
            cluster,
            clock,
            options,
            metrics,
        })
    }
}

impl std::fmt::Debug for Querier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Querier").field("options", &self.options).finish_non_exhaustive()
    }
}
