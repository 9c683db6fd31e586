//! Flags of the verbs about config objects.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Which cluster to ask, and where the objects are.
#[derive(Debug, Clone, Args)]
pub struct ObjectFlags {
    /// URL of a web listener
    #[arg(long, env = "NARTHEX_SERVER", default_value = "http://127.0.0.1:9090")]
    pub server: String,
    /// Namespace of objects that name none
    #[arg(short, long, env = "NARTHEX_NAMESPACE", default_value = "default")]
    pub namespace: String,
}

/// Formats of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ObjectOutput {
    Table,
    Json,
    Yaml,
    Name,
}

/// `narthex apply`.
#[derive(Debug, Args)]
pub struct ApplyArguments {
    /// Objects: files, folders of them, or - for standard input; or a prometheus.yml, which needs
    /// --cluster.join, and of which files that it names are read on the nodes
    #[arg(short, long = "filename", env = "NARTHEX_FILENAME", required = true)]
    pub files: Vec<PathBuf>,
    /// Say what would come of it, and change nothing
    #[arg(long, env = "NARTHEX_DRY_RUN")]
    pub dry_run: bool,
    /// Delete objects of users in the same namespaces that are not in the files
    #[arg(long, env = "NARTHEX_PRUNE")]
    pub prune: bool,
    /// Prune only what has these labels: a=b,c=d
    #[arg(short = 'l', long, env = "NARTHEX_SELECTOR", default_value = "")]
    pub selector: String,
    /// Prune whatever its labels are
    #[arg(long, env = "NARTHEX_ALL")]
    pub all: bool,
    /// A word for the history
    #[arg(long, env = "NARTHEX_NOTE", default_value = "")]
    pub note: String,
    #[command(flatten)]
    pub objects: ObjectFlags,
    /// For a prometheus.yml: cluster listeners of any nodes as HOST:PORT,…
    #[arg(long = "cluster.join", env = "NARTHEX_CLUSTER_JOIN", value_delimiter = ',')]
    pub join: Vec<String>,
    /// For a prometheus.yml: folder with ca.pem, node.pem and node-key.pem from `cluster certs`
    #[arg(long = "cluster.certs", env = "NARTHEX_CLUSTER_CERTS")]
    pub certs: Option<PathBuf>,
}

/// `narthex get`.
#[derive(Debug, Args)]
pub struct GetObjectsArguments {
    /// Kinds, such as smon,pmon, or `all`; or KIND/NAME
    pub kind: String,
    /// One of them
    pub name: Option<String>,
    /// Those of all namespaces
    #[arg(short = 'A', long, env = "NARTHEX_ALL_NAMESPACES")]
    pub all_namespaces: bool,
    /// Only those with these labels: a=b,c=d
    #[arg(short = 'l', long, env = "NARTHEX_SELECTOR", default_value = "")]
    pub selector: String,
    /// How to print them
    #[arg(short, long, env = "NARTHEX_OUTPUT", default_value = "table")]
    pub output: ObjectOutput,
    /// Show what Secrets hold; needs the role admin
    #[arg(long, env = "NARTHEX_SHOW_SECRETS")]
    pub show_secrets: bool,
    #[command(flatten)]
    pub objects: ObjectFlags,
}

/// `narthex describe` and `narthex why`.
#[derive(Debug, Args)]
pub struct DescribeArguments {
    /// A kind, or KIND/NAME
    pub kind: String,
    /// The object
    pub name: Option<String>,
    #[command(flatten)]
    pub objects: ObjectFlags,
}

/// `narthex delete`.
#[derive(Debug, Args)]
pub struct DeleteArguments {
    /// A kind, or KIND/NAME
    #[arg(required_unless_present = "files")]
    pub kind: Option<String>,
    /// The objects
    pub names: Vec<String>,
    /// Delete the objects that these files name
    #[arg(short, long = "filename", env = "NARTHEX_FILENAME", conflicts_with = "kind")]
    pub files: Vec<PathBuf>,
    /// Say what would come of it, and change nothing
    #[arg(long, env = "NARTHEX_DRY_RUN")]
    pub dry_run: bool,
    #[command(flatten)]
    pub objects: ObjectFlags,
}

/// `narthex diff`.
#[derive(Debug, Args)]
pub struct DiffArguments {
    /// Files, folders of them, or - for standard input
    #[arg(short, long = "filename", env = "NARTHEX_FILENAME", required = true)]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub objects: ObjectFlags,
}

/// `narthex watch`.
#[derive(Debug, Args)]
pub struct WatchArguments {
    /// Kinds, such as smon,pmon, or `all`; or KIND/NAME
    pub kind: String,
    /// One of them
    pub name: Option<String>,
    /// Those of all namespaces
    #[arg(short = 'A', long, env = "NARTHEX_ALL_NAMESPACES")]
    pub all_namespaces: bool,
    /// How to print them
    #[arg(short, long, env = "NARTHEX_OUTPUT", default_value = "table")]
    pub output: ObjectOutput,
    #[command(flatten)]
    pub objects: ObjectFlags,
}

/// `narthex explain`.
#[derive(Debug, Args)]
pub struct ExplainArguments {
    /// A kind, or a field of one: smon.spec.endpoints.interval
    pub field: String,
}

/// `narthex history`.
#[derive(Debug, Args)]
pub struct HistoryArguments {
    /// A kind, or KIND/NAME; all kinds by default
    pub kind: Option<String>,
    /// One object
    pub name: Option<String>,
    /// That of all namespaces
    #[arg(short = 'A', long, env = "NARTHEX_ALL_NAMESPACES")]
    pub all_namespaces: bool,
    #[command(flatten)]
    pub objects: ObjectFlags,
}

/// `narthex rollback`.
#[derive(Debug, Args)]
pub struct RollbackArguments {
    /// KIND/NAME
    pub object: String,
    /// A revision that the object had: `narthex history` lists them
    #[arg(long, env = "NARTHEX_TO_REVISION")]
    pub to_revision: u64,
    /// Say what would come of it, and change nothing
    #[arg(long, env = "NARTHEX_DRY_RUN")]
    pub dry_run: bool,
    #[command(flatten)]
    pub objects: ObjectFlags,
}
