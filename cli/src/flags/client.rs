//! Flags of the verbs that ask a cluster, or need none.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};

use super::server::{FeatureFlags, parse_duration};

/// Which cluster to ask, and how to print what it says.
#[derive(Debug, Clone, Args)]
pub struct ClientFlags {
    /// URL of a web listener
    #[arg(long, env = "NARTHEX_SERVER", default_value = "http://127.0.0.1:9090")]
    pub server: String,
    /// How to print the answer
    #[arg(short, long, env = "NARTHEX_OUTPUT", default_value = "table")]
    pub output: Output,
}

/// Formats of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
}

/// `narthex query`.
#[derive(Debug, Args)]
pub struct QueryArguments {
    /// A PromQL expression
    pub expression: String,
    /// Evaluate at this time, in seconds since 1970 [default: now]
    #[arg(long, env = "NARTHEX_TIME")]
    pub time: Option<f64>,
    #[command(flatten)]
    pub client: ClientFlags,
}

/// `narthex cluster`.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Found a cluster on nodes that wait for it
    Init(InitArguments),
    /// Nodes, shards, leaders and lag
    Status(ClientFlags),
    /// Make a certificate authority and certificates for nodes
    Certs(CertsArguments),
    /// Keep some series for another time than the others
    Retention(RetentionArguments),
    /// Settings of the cluster: what it keeps, how many series it takes
    Get(GetArguments),
    /// Change settings; those that are not named stay
    Set(SetArguments),
    /// Move everything off a node, so that it can be removed
    Drain(DrainArguments),
    /// Take a node that holds nothing out of the cluster, for ever
    Remove(RemoveArguments),
    /// Drain a node, wait until others hold what it held, and remove it
    Replace(RemoveArguments),
    /// Spread series over more shards, while they are written and read
    Split(SplitArguments),
    /// What is moved between nodes, and why
    Moves(ClientFlags),
    /// Copy every node's folder, as of one moment, into a folder here
    Backup(BackupArguments),
    /// Make a cluster's folder, for `narthex up`, of a backup
    Restore(RestoreArguments),
}

/// `narthex cluster drain`.
#[derive(Debug, Args)]
pub struct DrainArguments {
    /// Name or id of the node
    pub node: String,
    /// Let it take replicas again
    #[arg(long, env = "NARTHEX_UNDO")]
    pub undo: bool,
    #[command(flatten)]
    pub client: ClientFlags,
}

/// `narthex cluster remove` and `narthex cluster replace`.
#[derive(Debug, Args)]
pub struct RemoveArguments {
    /// Name or id of the node
    pub node: String,
    #[command(flatten)]
    pub client: ClientFlags,
}

/// `narthex cluster split`.
#[derive(Debug, Args)]
pub struct SplitArguments {
    /// How many shards there are to be in all [default: twice as many as now]
    #[arg(long, env = "NARTHEX_SHARDS")]
    pub shards: Option<u32>,
    #[command(flatten)]
    pub client: ClientFlags,
}

/// `narthex cluster retention`.
#[derive(Debug, Args)]
pub struct RetentionArguments {
    /// Rules to put in force, `retention: [{match: '{job="x"}', keep: 7d}]`; - is standard input,
    /// and `show` prints those in force
    pub file: String,
    #[command(flatten)]
    pub client: ClientFlags,
}

/// `narthex cluster get`.
#[derive(Debug, Args)]
pub struct GetArguments {
    /// A setting; without it, all of them
    pub name: Option<String>,
    #[command(flatten)]
    pub client: ClientFlags,
}

/// `narthex cluster set`.
#[derive(Debug, Args)]
pub struct SetArguments {
    /// NAME=VALUE, such as storage.tsdb.retention.time=30d; `cluster get` lists the names
    #[arg(required = true)]
    pub settings: Vec<String>,
    /// URL of a web listener
    #[arg(long, env = "NARTHEX_SERVER", default_value = "http://127.0.0.1:9090")]
    pub server: String,
}

/// `narthex cluster backup`.
#[derive(Debug, Args)]
pub struct BackupArguments {
    /// Where to write: a folder that is empty or not there
    pub folder: PathBuf,
    /// URL of a web listener
    #[arg(long, env = "NARTHEX_SERVER", default_value = "http://127.0.0.1:9090")]
    pub server: String,
    /// Folder with ca.pem, node.pem and node-key.pem, for nodes beyond loopback
    #[arg(long = "cluster.certs", env = "NARTHEX_CLUSTER_CERTS")]
    pub certs: Option<PathBuf>,
}

/// `narthex cluster restore`.
#[derive(Debug, Args)]
pub struct RestoreArguments {
    /// The backup
    pub folder: PathBuf,
    /// The cluster's new folder: empty or not there
    #[arg(
        long = "storage.tsdb.path",
        env = "NARTHEX_STORAGE_TSDB_PATH",
        visible_alias = "data",
        default_value = "narthex-data"
    )]
    pub path: PathBuf,
}

/// `narthex import`.
#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// Blocks of a Prometheus's data folder, or one block
    Tsdb(ImportArguments),
}

/// `narthex import tsdb`.
#[derive(Debug, Args)]
pub struct ImportArguments {
    /// A Prometheus's data folder, or a block in it
    pub folder: PathBuf,
    /// URL of a web listener
    #[arg(long, env = "NARTHEX_SERVER", default_value = "http://127.0.0.1:9090")]
    pub server: String,
}

/// `narthex cluster init`.
#[derive(Debug, Args)]
pub struct InitArguments {
    /// Cluster listener of the node that founds
    #[arg(long, env = "NARTHEX_NODE", default_value = "127.0.0.1:9095")]
    pub node: String,
    /// Shards of the cluster; fixed from then on
    #[arg(long, env = "NARTHEX_SHARDS", default_value_t = 6,
        value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub shards: u32,
    /// Replicas of each shard
    #[arg(long, env = "NARTHEX_REPLICATION_FACTOR", default_value_t = 1)]
    pub replication_factor: u32,
    /// Folder with ca.pem, node.pem and node-key.pem, for a node beyond loopback
    #[arg(long = "cluster.certs", env = "NARTHEX_CLUSTER_CERTS")]
    pub certs: Option<PathBuf>,
}

/// `narthex cluster certs`.
#[derive(Debug, Args)]
pub struct CertsArguments {
    /// Where to write; an authority that is there already is used again
    pub folder: PathBuf,
    /// Node ids 1 to this number get a certificate in FOLDER/node-ID
    #[arg(long, env = "NARTHEX_NODES", default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub nodes: u32,
}

/// `narthex promql`.
#[derive(Debug, Subcommand)]
pub enum PromqlCommand {
    /// Lay an expression out over as many lines as it needs
    Format(ExpressionArguments),
    /// Print an expression's syntax tree, as /api/v1/parse_query answers it
    Parse(ExpressionArguments),
}

/// `narthex promql format` and `narthex promql parse`.
#[derive(Debug, Args)]
pub struct ExpressionArguments {
    /// A PromQL expression
    #[arg(allow_hyphen_values = true)]
    pub expression: String,
    #[command(flatten)]
    pub features: FeatureFlags,
}

/// `narthex test`.
#[derive(Debug, Subcommand)]
pub enum TestArguments {
    /// Run scripts in the language of Prometheus's own PromQL tests
    Promql {
        /// Spread the series over so many shards and answer through plan, wire and merge
        #[arg(long, env = "NARTHEX_SHARDS", default_value_t = 1,
            value_parser = clap::value_parser!(u32).range(1..=1024))]
        shards: u32,
        /// Scripts
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Run unit tests of rules, in promtool's format
    Rules(TestRulesArguments),
}

/// `narthex test rules`.
#[derive(Debug, Args)]
pub struct TestRulesArguments {
    /// Files of tests
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Run only tests whose name matches this regular expression; may be repeated
    #[arg(long, env = "NARTHEX_RUN", value_name = "REGEX")]
    pub run: Vec<String>,
    /// Write what became of the tests to this file, as JUnit's XML
    #[arg(long, env = "NARTHEX_JUNIT")]
    pub junit: Option<PathBuf>,
    #[command(flatten)]
    pub features: FeatureFlags,
}

/// `narthex check`.
#[derive(Debug, Subcommand)]
pub enum CheckArguments {
    /// Check prometheus.yml files and the rule files that they name
    Config(CheckConfigArguments),
    /// Check rule files
    Rules(CheckRulesArguments),
    /// Check the metrics of a page on standard input for what is odd; exit code 3 where there is
    Metrics,
    /// Check files for --web.config.file, with the certificates that they name
    WebConfig {
        /// Files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

/// `narthex check config`.
#[derive(Debug, Args)]
pub struct CheckConfigArguments {
    /// Files
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Read no file that these name
    #[arg(long, env = "NARTHEX_SYNTAX_ONLY")]
    pub syntax_only: bool,
    /// How far the server's queries look back, which too-long-scrape-interval compares with
    #[arg(long = "query.lookback-delta", env = "NARTHEX_QUERY_LOOKBACK_DELTA",
        default_value = "5m", value_parser = parse_duration)]
    pub lookback_delta: Duration,
    #[command(flatten)]
    pub lint: LintFlags,
    #[command(flatten)]
    pub features: FeatureFlags,
}

/// `narthex check rules`.
#[derive(Debug, Args)]
pub struct CheckRulesArguments {
    /// Files; - is standard input, as is none
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub lint: LintFlags,
    #[command(flatten)]
    pub features: FeatureFlags,
}

/// What to look for in valid files.
#[derive(Debug, Clone, Args)]
pub struct LintFlags {
    /// Checks of what is valid and probably not meant
    #[arg(
        long = "lint",
        env = "NARTHEX_LINT",
        value_delimiter = ',',
        default_value = "duplicate-rules"
    )]
    pub lints: Vec<Lint>,
    /// End with exit code 3 where such a check finds something
    #[arg(long = "lint-fatal", env = "NARTHEX_LINT_FATAL")]
    pub fatal: bool,
}

impl LintFlags {
    /// Whether this check is asked for. `none` wins over others.
    pub fn looks_for(&self, lint: Lint) -> bool {
        let is_asked_for = |asked: Lint| self.lints.contains(&asked);
        !is_asked_for(Lint::None) && (is_asked_for(Lint::All) || is_asked_for(lint))
    }
}

/// Checks beyond errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Lint {
    /// All there are
    All,
    /// Rules of a file with the same name and labels
    DuplicateRules,
    /// Scrape jobs whose samples are no longer seen before the next ones come; for configurations
    TooLongScrapeInterval,
    /// None
    None,
}
