//! Flags of the roles.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use narthex_node::node::Repair;
use narthex_router::{Limits, MESSAGE_1, MESSAGE_2};

use crate::memory;

/// `narthex up`.
#[derive(Debug, Args)]
pub struct UpArguments {
    /// Child nodes to run, an odd number; without it, all roles share one process
    #[arg(long, env = "NARTHEX_NODES", value_parser = parse_nodes)]
    pub nodes: Option<u32>,
    /// Shards of a new cluster; fixed from then on
    #[arg(long, env = "NARTHEX_SHARDS", default_value_t = 6,
        value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub shards: u32,
    /// A prometheus.yml; without it, Narthex scrapes itself and this host
    #[arg(long = "config.file", env = "NARTHEX_CONFIG_FILE")]
    pub config_file: Option<PathBuf>,
    #[command(flatten)]
    pub settings: SettingsFlags,
    /// Where to answer [default: the first free port of 127.0.0.1:9090 to 9099]
    #[arg(long = "web.listen-address", env = "NARTHEX_WEB_LISTEN_ADDRESS",
        visible_alias = "listen", value_parser = parse_listen)]
    pub web_listen_address: Option<SocketAddr>,
    #[command(flatten)]
    pub web: WebFlags,
    #[command(flatten)]
    pub storage: StorageFlags,
    #[command(flatten)]
    pub repair: RepairFlags,
    #[command(flatten)]
    pub ingest: IngestFlags,
    #[command(flatten)]
    pub query: QueryFlags,
    #[command(flatten)]
    pub log: LogFlags,
}

/// `narthex node`.
#[derive(Debug, Args)]
pub struct NodeArguments {
    /// Where to serve its own metrics and health
    #[arg(long = "web.listen-address", env = "NARTHEX_WEB_LISTEN_ADDRESS",
        default_value = "127.0.0.1:9091", value_parser = parse_listen)]
    pub web_listen_address: SocketAddr,
    /// Shards of a new cluster that --cluster.initial-nodes founds
    #[arg(long, env = "NARTHEX_SHARDS", default_value_t = 6,
        value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub shards: u32,
    #[command(flatten)]
    pub cluster: ClusterFlags,
    #[command(flatten)]
    pub web: WebFlags,
    #[command(flatten)]
    pub storage: StorageFlags,
    #[command(flatten)]
    pub query_memory: QueryMemoryFlags,
    #[command(flatten)]
    pub rules: RuleFlags,
    #[command(flatten)]
    pub log: LogFlags,
    /// Start although the log has lost entries that were acknowledged
    #[arg(long, env = "NARTHEX_ACCEPT_LOG_LOSS")]
    pub accept_log_loss: bool,
    /// Ends when standard input does and leaves Ctrl-C to the parent: for `up --nodes`
    #[arg(long, hide = true)]
    pub supervised: bool,
    /// Scrape nothing before the cluster has a configuration, rather than Narthex and its hosts
    #[arg(long, env = "NARTHEX_AWAITS_CONFIG")]
    pub awaits_config: bool,
}

/// `narthex router`.
#[derive(Debug, Args)]
pub struct RouterArguments {
    /// Where to accept writes
    #[arg(long = "web.listen-address", env = "NARTHEX_WEB_LISTEN_ADDRESS",
        default_value = "127.0.0.1:9090", value_parser = parse_listen)]
    pub web_listen_address: SocketAddr,
    #[command(flatten)]
    pub cluster: JoinFlags,
    #[command(flatten)]
    pub web: WebFlags,
    #[command(flatten)]
    pub ingest: IngestFlags,
    #[command(flatten)]
    pub log: LogFlags,
}

/// `narthex querier`.
#[derive(Debug, Args)]
pub struct QuerierArguments {
    /// Where to answer queries
    #[arg(long = "web.listen-address", env = "NARTHEX_WEB_LISTEN_ADDRESS",
        default_value = "127.0.0.1:9090", value_parser = parse_listen)]
    pub web_listen_address: SocketAddr,
    #[command(flatten)]
    pub cluster: JoinFlags,
    #[command(flatten)]
    pub web: WebFlags,
    #[command(flatten)]
    pub query: QueryFlags,
    #[command(flatten)]
    pub log: LogFlags,
}

/// What the cluster keeps and takes. What is not given stays as the cluster has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Args)]
pub struct SettingsFlags {
    /// How long samples are kept, in whole days [default: what the cluster has, 15d at first]
    #[arg(long = "storage.tsdb.retention.time", env = "NARTHEX_STORAGE_TSDB_RETENTION_TIME",
        value_parser = parse_duration)]
    pub retention_time: Option<Duration>,
    /// Bytes of each node's folder, such as 512MB, beyond which the oldest days go; 0 for no limit
    /// [default: what the cluster has, 0 at first]
    #[arg(long = "storage.tsdb.retention.size", env = "NARTHEX_STORAGE_TSDB_RETENTION_SIZE",
        value_parser = parse_byte_size)]
    pub retention_size: Option<u64>,
    /// Series with one job and instance beyond which new ones are refused; 0 for no limit
    /// [default: what the cluster has, 0 at first]
    #[arg(long = "ingest.max-series-per-target", env = "NARTHEX_INGEST_MAX_SERIES_PER_TARGET")]
    pub max_series_per_target: Option<u32>,
    /// The same for series with one job
    #[arg(long = "ingest.max-series-per-job", env = "NARTHEX_INGEST_MAX_SERIES_PER_JOB")]
    pub max_series_per_job: Option<u32>,
    /// The same for all series of a node
    #[arg(long = "ingest.max-series-per-node", env = "NARTHEX_INGEST_MAX_SERIES_PER_NODE")]
    pub max_series_per_node: Option<u32>,
}

/// What becomes of a node that is gone.
#[derive(Debug, Clone, Copy, Args)]
pub struct RepairFlags {
    /// After how long the replicas of a node that is not heard are rebuilt on others; the same on
    /// each node
    #[arg(long = "cluster.rebuild-after", env = "NARTHEX_CLUSTER_REBUILD_AFTER",
        default_value = "5m", value_parser = parse_duration)]
    pub rebuild_after: Duration,
    /// How often the replicas of a shard are compared, and one that differs rebuilt; 0s: never. The
    /// same on each node
    #[arg(long = "cluster.digest-interval", env = "NARTHEX_CLUSTER_DIGEST_INTERVAL",
        default_value = "6h", value_parser = parse_duration)]
    pub digest_interval: Duration,
    /// How often a sample is written to each shard with more than one replica, and read back from
    /// all of them; 0s: never. The same on each node
    #[arg(long = "cluster.canary-interval", env = "NARTHEX_CLUSTER_CANARY_INTERVAL",
        default_value = "20s", value_parser = parse_duration)]
    pub canary_interval: Duration,
}

impl From<RepairFlags> for Repair {
    fn from(flags: RepairFlags) -> Self {
        let RepairFlags { rebuild_after, digest_interval, canary_interval } = flags;
        Self { rebuild_after, digest_interval, canary_interval }
    }
}

/// How a node meets its cluster.
#[derive(Debug, Args)]
pub struct ClusterFlags {
    /// Where other processes of the cluster reach this one; mTLS beyond loopback
    #[arg(long = "cluster.listen-address", env = "NARTHEX_CLUSTER_LISTEN_ADDRESS",
        default_value = "127.0.0.1:9095", value_parser = parse_listen)]
    pub listen_address: SocketAddr,
    /// HOST:PORT that others are told [default: the listen address]
    #[arg(long = "cluster.advertise-address", env = "NARTHEX_CLUSTER_ADVERTISE_ADDRESS")]
    pub advertise_address: Option<String>,
    /// The founders as NAME=HOST:PORT,…, the same on each; without it, wait for `cluster init`
    #[arg(long = "cluster.initial-nodes", env = "NARTHEX_CLUSTER_INITIAL_NODES")]
    pub initial_nodes: Option<String>,
    /// Cluster listeners of any nodes of a cluster to join, as HOST:PORT,…; a folder that belongs to
    /// a cluster stays with it
    #[arg(
        long = "cluster.join",
        env = "NARTHEX_CLUSTER_JOIN",
        value_delimiter = ',',
        conflicts_with = "initial_nodes"
    )]
    pub join: Vec<String>,
    #[command(flatten)]
    pub repair: RepairFlags,
    /// Failure domain: replicas of one shard lie in different zones while zones suffice
    #[arg(long = "cluster.zone", env = "NARTHEX_CLUSTER_ZONE", default_value = "")]
    pub zone: String,
    /// Folder with ca.pem, node.pem and node-key.pem from `cluster certs`
    #[arg(long = "cluster.certs", env = "NARTHEX_CLUSTER_CERTS")]
    pub certs: Option<PathBuf>,
}

/// How a process without state meets its cluster, or a verb asks it.
#[derive(Debug, Args)]
pub struct JoinFlags {
    /// Cluster listeners of any nodes as HOST:PORT,…
    #[arg(
        long = "cluster.join",
        env = "NARTHEX_CLUSTER_JOIN",
        value_delimiter = ',',
        required = true
    )]
    pub join: Vec<String>,
    /// Folder with ca.pem, node.pem and node-key.pem from `cluster certs`
    #[arg(long = "cluster.certs", env = "NARTHEX_CLUSTER_CERTS")]
    pub certs: Option<PathBuf>,
}

/// What the web listener allows.
#[derive(Debug, Clone, Args)]
pub struct WebFlags {
    /// TLS and users of the web listener, in exporter-toolkit's format
    #[arg(long = "web.config.file", env = "NARTHEX_WEB_CONFIG_FILE")]
    pub config_file: Option<PathBuf>,
    /// What callers without credentials may do beyond loopback, such as read,write
    #[arg(
        long = "web.allow-anonymous",
        env = "NARTHEX_WEB_ALLOW_ANONYMOUS",
        default_value = "",
        value_name = "ROLES"
    )]
    pub allow_anonymous: String,
    /// The URL under which browsers reach this process
    #[arg(long = "web.external-url", env = "NARTHEX_WEB_EXTERNAL_URL")]
    pub external_url: Option<String>,
    /// Path before all routes [default: the external URL's]
    #[arg(long = "web.route-prefix", env = "NARTHEX_WEB_ROUTE_PREFIX")]
    pub route_prefix: Option<String>,
    /// Origins that browsers may read from, as a regular expression
    #[arg(long = "web.cors.origin", env = "NARTHEX_WEB_CORS_ORIGIN", default_value = ".*")]
    pub cors_origin: String,
    /// Connections at one time
    #[arg(
        long = "web.max-connections",
        env = "NARTHEX_WEB_MAX_CONNECTIONS",
        default_value_t = 512
    )]
    pub max_connections: usize,
    /// For a request to arrive, and for an idle connection
    #[arg(long = "web.read-timeout", env = "NARTHEX_WEB_READ_TIMEOUT", default_value = "5m",
        value_parser = parse_duration)]
    pub read_timeout: Duration,
    /// Allow reload and quit over HTTP
    #[arg(long = "web.enable-lifecycle", env = "NARTHEX_WEB_ENABLE_LIFECYCLE")]
    pub enable_lifecycle: bool,
    /// Allow deletion and snapshots over HTTP
    #[arg(long = "web.enable-admin-api", env = "NARTHEX_WEB_ENABLE_ADMIN_API")]
    pub enable_admin_api: bool,
    /// Accepted for Prometheus's sake: remote write is always received
    #[arg(
        long = "web.enable-remote-write-receiver",
        env = "NARTHEX_WEB_ENABLE_REMOTE_WRITE_RECEIVER"
    )]
    pub enable_remote_write_receiver: bool,
    /// Accepted for Prometheus's sake: OTLP is always received
    #[arg(long = "web.enable-otlp-receiver", env = "NARTHEX_WEB_ENABLE_OTLP_RECEIVER")]
    pub enable_otlp_receiver: bool,
    /// All flags of the command with their values in force, for people to look up.
    #[arg(skip)]
    pub in_force: BTreeMap<String, String>,
}

/// Where a process keeps what outlives it.
#[derive(Debug, Clone, Args)]
pub struct StorageFlags {
    /// Folder of logs and data
    #[arg(
        long = "storage.tsdb.path",
        env = "NARTHEX_STORAGE_TSDB_PATH",
        visible_alias = "data",
        default_value = "narthex-data"
    )]
    pub path: PathBuf,
    /// Bytes of each shard's raft log, such as 512MB, beyond which entries go that a replica still
    /// lacks; that replica must be filled anew
    #[arg(long = "storage.raft-log.max-bytes", env = "NARTHEX_STORAGE_RAFT_LOG_MAX_BYTES",
        default_value = "1GB", value_parser = parse_log_bytes)]
    pub raft_log_max_bytes: u64,
}

/// Less would have checkpoints written all the time.
const RAFT_LOG_BYTES_MIN: u64 = 64 << 20;

/// What senders may send.
#[derive(Debug, Clone, Args)]
pub struct IngestFlags {
    /// Messages that are taken as remote write
    #[arg(
        long = "web.remote-write-receiver.accepted-protobuf-messages",
        env = "NARTHEX_WEB_REMOTE_WRITE_RECEIVER_ACCEPTED_PROTOBUF_MESSAGES",
        value_delimiter = ',',
        value_parser = [MESSAGE_1, MESSAGE_2],
        default_values = [MESSAGE_1, MESSAGE_2],
        value_name = "MESSAGES"
    )]
    pub accepted_messages: Vec<String>,
    /// Bytes of one request, decompressed
    #[arg(long = "ingest.max-request-bytes", env = "NARTHEX_INGEST_MAX_REQUEST_BYTES",
        default_value_t = Limits::default().request_bytes_max)]
    pub max_request_bytes: usize,
    /// Bytes of all requests under way, decompressed
    #[arg(long = "ingest.max-memory-bytes", env = "NARTHEX_INGEST_MAX_MEMORY_BYTES",
        default_value_t = Limits::default().memory_bytes_max)]
    pub max_memory_bytes: usize,
    /// Labels of a series, its name among them; 0 is no limit
    #[arg(
        long = "ingest.max-labels-per-series",
        env = "NARTHEX_INGEST_MAX_LABELS_PER_SERIES",
        default_value_t = 0
    )]
    pub max_labels: usize,
    /// Bytes of a label's name; 0 is no limit
    #[arg(
        long = "ingest.max-label-name-length",
        env = "NARTHEX_INGEST_MAX_LABEL_NAME_LENGTH",
        default_value_t = 0
    )]
    pub max_label_name_length: usize,
    /// Bytes of a label's value; 0 is no limit
    #[arg(
        long = "ingest.max-label-value-length",
        env = "NARTHEX_INGEST_MAX_LABEL_VALUE_LENGTH",
        default_value_t = 0
    )]
    pub max_label_value_length: usize,
    #[command(flatten)]
    pub pairs: PairFlags,
}

/// Pairs of Prometheus servers that send the same.
#[derive(Debug, Clone, Args)]
pub struct PairFlags {
    /// Take the samples of one replica of each pair of senders, and the other's once it is silent
    #[arg(long = "ingest.ha-pairs", env = "NARTHEX_INGEST_HA_PAIRS")]
    pub ha_pairs: bool,
    /// Labels that together name a pair
    #[arg(
        long = "ingest.ha-cluster-labels",
        env = "NARTHEX_INGEST_HA_CLUSTER_LABELS",
        value_delimiter = ',',
        default_values = ["cluster", "prometheus"],
        value_name = "LABELS"
    )]
    pub ha_cluster_labels: Vec<String>,
    /// Labels of which the first found names the replica; they are dropped
    #[arg(
        long = "ingest.ha-replica-labels",
        env = "NARTHEX_INGEST_HA_REPLICA_LABELS",
        value_delimiter = ',',
        default_values = ["__replica__", "prometheus_replica"],
        value_name = "LABELS"
    )]
    pub ha_replica_labels: Vec<String>,
}

/// How a node evaluates rules.
#[derive(Debug, Clone, Args)]
pub struct RuleFlags {
    /// URL at which people reach the cluster, for links in alerts [default: --web.external-url, or
    /// where the node itself answers]
    #[arg(long = "rules.external-url", env = "NARTHEX_RULES_EXTERNAL_URL")]
    pub external_url: Option<String>,
    /// How old a sample may be to count as current, such as 5m
    #[arg(long = "query.lookback-delta", env = "NARTHEX_QUERY_LOOKBACK_DELTA",
        default_value = "5m", value_parser = parse_duration)]
    pub lookback_delta: Duration,
    #[command(flatten)]
    pub features: FeatureFlags,
}

/// What queries may take of the machine.
#[derive(Debug, Clone, Copy, Args)]
pub struct QueryMemoryFlags {
    /// Bytes that queries may take in this process, of all together, such as 2GB [default: a
    /// quarter of the machine's memory]
    #[arg(long = "query.max-memory-bytes", env = "NARTHEX_QUERY_MAX_MEMORY_BYTES",
        value_parser = parse_byte_size)]
    pub max_memory_bytes: Option<u64>,
}

impl QueryMemoryFlags {
    /// The limit in force, where `processes` of the machine share it.
    pub fn bytes_max(self, processes: u64) -> u64 {
        self.max_memory_bytes.unwrap_or_else(|| memory::of_machine() / 4 / processes.max(1))
    }
}

/// Limits of queries.
#[derive(Debug, Clone, Args)]
pub struct QueryFlags {
    /// How far an instant selector looks back
    #[arg(long = "query.lookback-delta", env = "NARTHEX_QUERY_LOOKBACK_DELTA",
        default_value = "5m", value_parser = parse_duration)]
    pub lookback_delta: Duration,
    /// After this, a query ends with an error
    #[arg(long = "query.timeout", env = "NARTHEX_QUERY_TIMEOUT", default_value = "2m",
        value_parser = parse_duration)]
    pub timeout: Duration,
    /// Queries at one time; more of them wait
    #[arg(
        long = "query.max-concurrency",
        env = "NARTHEX_QUERY_MAX_CONCURRENCY",
        default_value_t = 20
    )]
    pub max_concurrency: usize,
    /// Samples that one query may hold in memory
    #[arg(
        long = "query.max-samples",
        env = "NARTHEX_QUERY_MAX_SAMPLES",
        default_value_t = 50_000_000
    )]
    pub max_samples: usize,
    #[command(flatten)]
    pub memory: QueryMemoryFlags,
    /// Bytes that answers to range queries may take that are kept to go on from, such as 64MB; 0: none
    /// are [default: a hundredth of the machine's memory]
    #[arg(long = "query.results-cache-max-bytes", env = "NARTHEX_QUERY_RESULTS_CACHE_MAX_BYTES",
        value_parser = parse_byte_size)]
    pub results_cache_max_bytes: Option<u64>,
    /// Queries that take as long are logged; 0s: none
    #[arg(long = "query.log-slower-than", env = "NARTHEX_QUERY_LOG_SLOWER_THAN",
        default_value = "10s", value_parser = parse_duration)]
    pub log_slower_than: Duration,
    /// A query that breaks a limit so often in a row is refused for a minute; 0: never
    #[arg(
        long = "query.quarantine-after",
        env = "NARTHEX_QUERY_QUARANTINE_AFTER",
        default_value_t = 3
    )]
    pub quarantine_after: u32,
    /// Answer without the shards that are missing, with a warning that names them
    #[arg(long = "query.partial-response", env = "NARTHEX_QUERY_PARTIAL_RESPONSE")]
    pub partial_response: bool,
    #[command(flatten)]
    pub features: FeatureFlags,
}

/// What is not on by itself.
#[derive(Debug, Clone, Args)]
pub struct FeatureFlags {
    /// Features of Prometheus's list to switch on
    #[arg(long = "enable-feature", env = "NARTHEX_ENABLE_FEATURE", value_delimiter = ',')]
    pub enable_feature: Vec<String>,
}

/// What the log shows.
#[derive(Debug, Clone, Args)]
pub struct LogFlags {
    /// The least severe messages that are shown
    #[arg(long = "log.level", env = "NARTHEX_LOG_LEVEL", default_value = "info")]
    pub level: LogLevel,
    /// How messages are written
    #[arg(long = "log.format", env = "NARTHEX_LOG_FORMAT", default_value = "logfmt")]
    pub format: LogFormat,
}

/// Prometheus's levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

impl LogLevel {
    /// As the flag takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Prometheus's formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Logfmt,
    Json,
}

impl LogFormat {
    /// As the flag takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Logfmt => "logfmt",
            Self::Json => "json",
        }
    }
}

pub(super) fn parse_duration(
    text: &str,
) -> Result<Duration, narthex_model::duration::InvalidDuration> {
    narthex_model::duration::parse(text)
}

/// Every unit is a power of 1024, as in Prometheus.
fn parse_byte_size(text: &str) -> Result<u64, String> {
    narthex_node::config::parse_byte_size(text)
}

fn parse_log_bytes(text: &str) -> Result<u64, String> {
    match parse_byte_size(text)? {
        bytes if bytes >= RAFT_LOG_BYTES_MIN => Ok(bytes),
        _ => Err(format!("want at least {RAFT_LOG_BYTES_MIN} bytes, 64MB")),
    }
}

/// `:9090` means every address, as in Prometheus, and `localhost` is looked up nowhere.
fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let full = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None if text.starts_with(':') => format!("0.0.0.0{text}"),
        None => text.to_owned(),
    };
    full.parse().map_err(|_| "expected IP:PORT, such as 127.0.0.1:9090".to_owned())
}

fn parse_nodes(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(2) => Err("two nodes survive no failure: a majority of two is two".to_owned()),
        Ok(nodes @ (1 | 3 | 5 | 7)) => Ok(nodes),
        _ => Err("expected 1, 3, 5 or 7".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses_are_read_as_prometheus_reads_them() {
        assert_eq!(parse_listen(":9090"), Ok(([0, 0, 0, 0], 9090).into()));
        assert_eq!(parse_listen("localhost:0"), Ok(([127, 0, 0, 1], 0).into()));
        assert_eq!(parse_listen("[::1]:1").unwrap().to_string(), "[::1]:1");
        assert!(parse_listen("9090").is_err());
    }

    #[test]
    fn sizes_are_read_as_prometheus_reads_them() {
        assert_eq!(parse_byte_size("512MB"), Ok(512 << 20));
        assert_eq!(parse_byte_size("1.5GiB"), Ok(3 << 29));
        assert_eq!(parse_byte_size("0"), Ok(0));
        assert!(parse_byte_size("5 apples").is_err());
        assert!(parse_byte_size("-1KB").is_err());
        assert_eq!(parse_log_bytes("64MB"), Ok(64 << 20));
        assert!(parse_log_bytes("63MB").unwrap_err().contains("64MB"));
    }

    #[test]
    fn clusters_have_odd_numbers_of_nodes() {
        assert_eq!(parse_nodes("3"), Ok(3));
        assert!(parse_nodes("2").unwrap_err().contains("majority of two"));
        assert!(parse_nodes("4").is_err());
        assert!(parse_nodes("0").is_err());
    }
}
