//! The read front door of a process: what all its APIs share.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use narthex_model::Timestamp;
use narthex_promql::{ParseOptions, SamplePool};
use narthex_web::Clock;
use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, watch};

use crate::{
    active::ActiveQueries,
    api::{CardinalityBoard, LISTENERS_MAX},
    budget::Budget,
    cluster::Cluster,
    config_status::ConfigStatus,
    gate::QueryGate,
    hedge::Hedges,
    metrics::QuerierMetrics,
    quarantine::Quarantine,
    relabelling::Relabelling,
    results::Results,
    status::StatusBoard,
    turn::BYTES_PER_SAMPLE,
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
    /// `--query.max-memory-bytes`: what queries may take in this process, of all together: the
    /// answers of shards, and as much again while they are put together. Default: no limit.
    pub memory_bytes_max: usize,
    /// `--query.results-cache-max-bytes`: what answers to range queries may take that are kept to go
    /// on from; 0: none are. Default 64 MiB.
    pub results_bytes_max: usize,
    /// `--query.log-slower-than`: queries that take as long are logged; `None`: none. Default 10 s.
    pub slow_after: Option<Duration>,
    /// `--query.quarantine-after`: a query that breaks a limit so often in a row is refused for a
    /// while; 0: never. Default 3.
    pub quarantine_after: u32,
    /// `--query.lookback-delta`: how old a sample may be to count as current. Default 5 m.
    pub lookback: Duration,
    /// The step of subqueries without one: the global evaluation interval. Default 1 m.
    pub subquery_step: Duration,
    /// `--query.partial-response`: answer without the shards that are missing, with a warning.
    /// Default off; a request may ask for it.
    pub partial_response: bool,
    /// `--web.enable-admin-api`: deleting is allowed. Default off.
    pub enable_admin_api: bool,
    /// Answers with all statistics have those of each step. Default off, as it is a feature of
    /// Prometheus's.
    pub per_step_stats: bool,
    /// Names may be searched for. Default off, as it is a feature of Prometheus's.
    pub search_api: bool,
    /// What expressions may use.
    pub parse: ParseOptions,
    /// Labels and samples keep the names that operations drop until the query ends.
    pub delayed_name_removal: bool,
    /// `--web.external-url` or the address people reach the process at; for targets' URLs.
    pub external_url: String,
    /// The flags in force, for people to look up. Default: none.
    pub flags: BTreeMap<String, String>,
    /// What is known of the scrape configuration, as it changes. Default: nothing.
    pub config: watch::Receiver<ConfigStatus>,
    /// What rules of that configuration make of labels.
    pub relabelling: Relabelling,
}

impl Default for QuerierOptions {
    fn default() -> Self {
        Self {
            concurrency_max: 20,
            timeout: Duration::from_secs(120),
            samples_max: 50_000_000,
            memory_bytes_max: usize::MAX,
            results_bytes_max: 64 << 20,
            slow_after: Some(Duration::from_secs(10)),
            quarantine_after: 3,
            lookback: Duration::from_secs(300),
            subquery_step: Duration::from_secs(60),
            partial_response: false,
            enable_admin_api: false,
            per_step_stats: false,
            search_api: false,
            parse: ParseOptions::default(),
            delayed_name_removal: false,
            external_url: String::new(),
            flags: BTreeMap::new(),
            config: watch::Sender::new(ConfigStatus::default()).subscribe(),
            relabelling: Relabelling::default(),
        }
    }
}

/// See the module.
pub struct Querier {
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) clock: Clock,
    pub(crate) options: QuerierOptions,
    pub(crate) board: StatusBoard,
    pub(crate) cardinality: CardinalityBoard,
    pub(crate) active: Arc<ActiveQueries>,
    pub(crate) gate: QueryGate,
    pub(crate) budget: Arc<Budget>,
    pub(crate) pool: SamplePool,
    pub(crate) results: Results,
    pub(crate) hedges: Hedges,
    pub(crate) quarantine: Quarantine,
    pub(crate) metrics: QuerierMetrics,
    /// Places of those who listen to notifications.
    pub(crate) listeners: Arc<Semaphore>,
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
            cardinality: CardinalityBoard::default(),
            active: Arc::default(),
            gate: QueryGate::new(options.concurrency_max, metrics.clone()),
            budget: Budget::new(options.memory_bytes_max),
            pool: SamplePool::new(options.memory_bytes_max / BYTES_PER_SAMPLE),
            hedges: Hedges::default(),
            results: Results::new(options.results_bytes_max),
            quarantine: Quarantine::new(options.quarantine_after),
            listeners: Arc::new(Semaphore::new(LISTENERS_MAX)),
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
