//! Who may do what: one table with a row for every HTTP route and every gRPC method.
//!
//! An [`Endpoint`] can only be made here, and a route is only added by naming an endpoint, so no
//! route exists without a row. gRPC methods come from generated code; a test walks the published
//! descriptors and fails for a method without a row, and a request for one is refused.

use std::fmt;

use http::Method;

/// A right that a caller may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Queries, and the state of targets and the cluster.
    Read,
    /// Appending samples.
    Write,
    /// Changing rules.
    Rules,
    /// Changing silences.
    Silence,
    /// Changing any other object.
    Config,
    /// What can lose data or stop a process.
    Admin,
    /// Being a process of the same cluster. Never given on a web listener.
    Peer,
}

impl Role {
    /// Every role, in the order of the documentation.
    pub const ALL: [Self; 7] = [
        Self::Read,
        Self::Write,
        Self::Rules,
        Self::Silence,
        Self::Config,
        Self::Admin,
        Self::Peer,
    ];

    /// The role's name in flags and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Rules => "rules",
            Self::Silence => "silence",
            Self::Config => "config",
            Self::Admin => "admin",
            Self::Peer => "peer",
        }
    }

    /// Whether a caller with this role changes something.
    pub const fn mutates(self) -> bool {
        !matches!(self, Self::Read)
    }
}

/// A set of roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RoleSet(u8);

impl RoleSet {
    /// No role.
    pub const NONE: Self = Self(0);
    /// What a trusted caller of a web listener has: every role but [`Role::Peer`].
    pub const ALL_BUT_PEER: Self = Self((1 << (Role::Peer as u8)) - 1);

    /// This set and `role`.
    #[must_use]
    pub const fn with(self, role: Role) -> Self {
        Self(self.0 | 1 << role as u8)
    }

    /// Whether `role` is in the set.
    pub const fn contains(self, role: Role) -> bool {
        self.0 & 1 << role as u8 != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Reads a list such as `read,write`. `peer` is refused: it is never given by a flag.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut set = Self::NONE;
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match Role::ALL.into_iter().find(|role| role.name() == name) {
                Some(Role::Peer) => return Err("role \"peer\" cannot be given away".to_owned()),
                Some(role) => set = set.with(role),
                None => return Err(format!("unknown role {name:?}")),
            }
        }
        Ok(set)
    }
}

impl fmt::Display for RoleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> =
            Role::ALL.into_iter().filter(|role| self.contains(*role)).map(Role::name).collect();
        f.write_str(&names.join(","))
    }
}

/// What a route or method asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: liveness and readiness, which say nothing about the data.
    Public,
    /// The role.
    Needs(Role),
}

/// One row of the HTTP table.
#[derive(Debug)]
pub struct Endpoint {
    path: &'static str,
    methods: &'static [Method],
    access: Access,
}

impl Endpoint {
    /// The path below the route prefix, in axum's syntax.
    pub const fn path(&self) -> &'static str {
        self.path
    }

    /// Methods it answers. `HEAD` comes with `GET`.
    pub const fn methods(&self) -> &'static [Method] {
        self.methods
    }

    /// What it asks of its caller.
    pub const fn access(&self) -> Access {
        self.access
    }

    /// Whether it exists only with `--web.enable-lifecycle`.
    pub fn is_lifecycle(&self) -> bool {
        [RELOAD.path, QUIT.path].contains(&self.path)
    }

    /// The path as Prometheus writes it in its `handler` label.
    pub fn handler(&self) -> String {
        self.path.replace('{', ":").replace('}', "")
    }
}

macro_rules! endpoints {
    ($($(#[$doc:meta])* $name:ident = $path:literal, [$($method:ident),+], $access:expr;)+) => {
        $($(#[$doc])*
        pub static $name: Endpoint =
            Endpoint { path: $path, methods: &[$(Method::$method),+], access: $access };)+

        /// Every row of the HTTP table.
        pub static ENDPOINTS: &[&Endpoint] = &[$(&$name),+];
    };
}

use Access::{Needs, Public};
use Role::{Admin, Read, Write};

endpoints! {
    /// The document that all pages are.
    PAGE = "/", [GET], Needs(Read);
    /// The same at a page's own path.
    PAGES = "/{page}", [GET], Needs(Read);
    /// What the document loads.
    ASSETS = "/assets/{file}", [GET], Needs(Read);
    /// Liveness.
    HEALTHY = "/-/healthy", [GET], Public;
    /// Readiness.
    READY = "/-/ready", [GET], Public;
    /// Reads the configuration again.
    RELOAD = "/-/reload", [POST, PUT], Needs(Admin);
    /// Stops the process.
    QUIT = "/-/quit", [POST, PUT], Needs(Admin);
    /// Metrics of this process.
    METRICS = "/metrics", [GET], Needs(Read);
    /// Metrics of this machine.
    METRICS_NODE = "/metrics/node", [GET], Needs(Read);
    /// Instant queries.
    QUERY = "/api/v1/query", [GET, POST], Needs(Read);
    /// Range queries.
    QUERY_RANGE = "/api/v1/query_range", [GET, POST], Needs(Read);
    /// Exemplars of series.
    QUERY_EXEMPLARS = "/api/v1/query_exemplars", [GET, POST], Needs(Read);
    /// A query laid out over lines.
    FORMAT_QUERY = "/api/v1/format_query", [GET, POST], Needs(Read);
    /// A query's syntax tree.
    PARSE_QUERY = "/api/v1/parse_query", [GET, POST], Needs(Read);
    /// What is known of metric families.
    METADATA = "/api/v1/metadata", [GET], Needs(Read);
    /// The newest samples, for another Prometheus to scrape.
    FEDERATE = "/federate", [GET], Needs(Read);
    /// Which version answers, without an envelope.
    VERSION = "/version", [GET], Needs(Read);
    /// Label sets of series.
    SERIES = "/api/v1/series", [GET, POST], Needs(Read);
    /// Names of labels.
    LABELS = "/api/v1/labels", [GET, POST], Needs(Read);
    /// Values of a label.
    LABEL_VALUES = "/api/v1/label/{name}/values", [GET], Needs(Read);
    /// Metrics' names, found as they are typed.
    SEARCH_METRIC_NAMES = "/api/v1/search/metric_names", [GET, POST], Needs(Read);
    /// Labels' names.
    SEARCH_LABEL_NAMES = "/api/v1/search/label_names", [GET, POST], Needs(Read);
    /// Values of a label.
    SEARCH_LABEL_VALUES = "/api/v1/search/label_values", [GET, POST], Needs(Read);
    /// Scrape targets.
    TARGETS = "/api/v1/targets", [GET], Needs(Read);
    /// What the targets said of their metric families.
    TARGETS_METADATA = "/api/v1/targets/metadata", [GET], Needs(Read);
    /// What rules make of a target's labels.
    TARGETS_RELABEL_STEPS = "/api/v1/targets/relabel_steps", [GET], Needs(Read);
    /// Names of scrape jobs.
    SCRAPE_POOLS = "/api/v1/scrape_pools", [GET], Needs(Read);
    /// The configuration of a scrape job.
    SCRAPE_POOLS_CONFIG = "/api/v1/scrape_pools/config", [GET], Needs(Read);
    /// Where alerts are sent.
    ALERTMANAGERS = "/api/v1/alertmanagers", [GET], Needs(Read);
    /// What people should know of this process.
    NOTIFICATIONS = "/api/v1/notifications", [GET], Needs(Read);
    /// The same as events, as it changes.
    NOTIFICATIONS_LIVE = "/api/v1/notifications/live", [GET], Needs(Read);
    /// What clients may use.
    FEATURES = "/api/v1/features", [GET], Needs(Read);
    /// A description of this API.
    OPENAPI = "/api/v1/openapi.yaml", [GET], Needs(Read);
    /// Rule groups.
    RULES = "/api/v1/rules", [GET], Needs(Read);
    /// Active alerts.
    ALERTS = "/api/v1/alerts", [GET], Needs(Read);
    /// Which version answers.
    STATUS_BUILDINFO = "/api/v1/status/buildinfo", [GET], Needs(Read);
    /// How the process runs.
    STATUS_RUNTIMEINFO = "/api/v1/status/runtimeinfo", [GET], Needs(Read);
    /// The scrape configuration.
    STATUS_CONFIG = "/api/v1/status/config", [GET], Needs(Read);
    /// The flags of the process.
    STATUS_FLAGS = "/api/v1/status/flags", [GET], Needs(Read);
    /// How far the log was read again.
    STATUS_WALREPLAY = "/api/v1/status/walreplay", [GET], Needs(Read);
    /// Metrics of this process, as JSON.
    STATUS_SELF_METRICS = "/api/v1/status/self_metrics", [GET], Needs(Read);
    /// What makes the cluster big.
    STATUS_TSDB = "/api/v1/status/tsdb", [GET], Needs(Read);
    /// Prometheus's blocks, of which there are none.
    STATUS_TSDB_BLOCKS = "/api/v1/status/tsdb/blocks", [GET], Needs(Read);
    /// Queries under way.
    STATUS_QUERIES = "/api/v1/status/queries", [GET], Needs(Read);
    /// Nodes, shards, leaders and lag.
    STATUS_CLUSTER = "/api/v1/status/cluster", [GET], Needs(Read);
    /// Remote read.
    READ = "/api/v1/read", [POST], Needs(Read);
    /// Remote write.
    WRITE = "/api/v1/write", [POST], Needs(Write);
    /// Prometheus's text format, of any length and age.
    IMPORT = "/api/v1/import/prometheus", [POST], Needs(Write);
    /// OpenTelemetry's metrics.
    OTLP_METRICS = "/api/v1/otlp/v1/metrics", [POST], Needs(Write);
    /// Config objects, secrets masked.
    OBJECTS = "/api/v1/objects", [GET], Needs(Read);
    /// What was changed of config objects.
    OBJECTS_HISTORY = "/api/v1/objects/history", [GET], Needs(Read);
    /// Brings config objects into the state that documents say.
    OBJECTS_APPLY = "/api/v1/objects/apply", [POST], Needs(Role::Config);
    /// Deletes a config object.
    OBJECTS_DELETE = "/api/v1/objects/delete", [POST], Needs(Role::Config);
    /// Ends a query.
    ADMIN_KILL_QUERY = "/api/v1/admin/queries/kill", [POST, PUT], Needs(Admin);
    /// Brings what is in memory to disk in its final form.
    ADMIN_SETTLE = "/api/v1/admin/tsdb/settle", [POST, PUT], Needs(Admin);
    /// Deletes samples of series.
    ADMIN_DELETE_SERIES = "/api/v1/admin/tsdb/delete_series", [POST, PUT], Needs(Admin);
    /// Takes what was deleted out of the files.
    ADMIN_CLEAN_TOMBSTONES = "/api/v1/admin/tsdb/clean_tombstones", [POST, PUT], Needs(Admin);
    /// Takes a snapshot of every node.
    ADMIN_SNAPSHOT = "/api/v1/admin/tsdb/snapshot", [POST, PUT], Needs(Admin);
    /// Compares what the replicas of each shard hold.
    ADMIN_DIGESTS = "/api/v1/admin/tsdb/digests", [POST, PUT], Needs(Admin);
}

/// The gRPC table: a service's full name, a method (`*`: all of them), what it asks.
pub const GRPC: &[(&str, &str, Access)] = &[
    ("narthex.v1.Query", "Instant", Needs(Read)),
    ("narthex.v1.Query", "Range", Needs(Read)),
    ("narthex.v1.Query", "FindSeries", Needs(Read)),
    ("narthex.v1.Query", "LabelNames", Needs(Read)),
    ("narthex.v1.Query", "LabelValues", Needs(Read)),
    ("narthex.v1.Query", "Metadata", Needs(Read)),
    ("narthex.v1.Cluster", "Members", Needs(Read)),
    ("narthex.v1.Cluster", "Shards", Needs(Read)),
    ("narthex.v1.Cluster", "Config", Needs(Read)),
    ("narthex.v1.Cluster", "Watch", Needs(Read)),
    ("narthex.v1.Retention", "Show", Needs(Read)),
    ("narthex.v1.Retention", "Set", Needs(Role::Config)),
    ("narthex.v1.Settings", "Show", Needs(Read)),
    ("narthex.v1.Settings", "Change", Needs(Role::Config)),
    ("narthex.v1.Membership", "Drain", Needs(Admin)),
    ("narthex.v1.Membership", "Remove", Needs(Admin)),
    ("narthex.v1.Membership", "Split", Needs(Admin)),
    ("narthex.v1.Membership", "Moves", Needs(Read)),
    ("narthex.v1.Objects", "Apply", Needs(Role::Config)),
    ("narthex.v1.Objects", "Delete", Needs(Role::Config)),
    ("narthex.v1.Objects", "List", Needs(Read)),
    ("narthex.v1.Objects", "Reveal", Needs(Admin)),
    ("narthex.v1.Objects", "Watch", Needs(Read)),
    ("narthex.v1.Objects", "History", Needs(Read)),
    ("narthex.v1.Objects", "Rollback", Needs(Role::Config)),
    ("narthex.v1.Append", "Append", Needs(Write)),
    ("opentelemetry.proto.collector.metrics.v1.MetricsService", "Export", Needs(Write)),
    ("grpc.health.v1.Health", "*", Public),
    ("grpc.reflection.v1.ServerReflection", "*", Needs(Read)),
    ("grpc.reflection.v1alpha.ServerReflection", "*", Needs(Read)),
    ("narthex.internal.v1.ShardWrite", "*", Needs(Role::Peer)),
    ("narthex.internal.v1.ShardRead", "*", Needs(Role::Peer)),
    ("narthex.internal.v1.Control", "*", Needs(Role::Peer)),
    ("narthex.internal.v1.Backup", "*", Needs(Role::Peer)),
    ("narthex.internal.v1.Membership", "*", Needs(Role::Peer)),
];

/// What the gRPC method at an HTTP/2 path such as `/narthex.v1.Query/Range` asks of its caller.
pub fn grpc_access(path: &str) -> Option<Access> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    GRPC.iter()
        .find(|(name, row, _)| *name == service && (*row == method || *row == "*"))
        .map(|(_, _, access)| *access)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn every_published_method_has_a_row() {
        let published = FileDescriptorSet::decode(narthex_proto::PUBLIC_DESCRIPTORS)
            .expect("generated descriptors");
        let mut methods = 0;
        for file in &published.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    assert!(grpc_access(&path).is_some(), "{path} has no row");
                    methods += 1;
                }
            }
        }
        assert!(methods >= 5);
    }

    #[test]
    fn a_method_without_a_row_is_nobodys() {
        assert_eq!(grpc_access("/narthex.v1.Query/Forget"), None);
        assert_eq!(grpc_access("/narthex.v1.Query"), None);
        assert_eq!(grpc_access("narthex"), None);
    }

    #[test]
    fn what_changes_something_is_never_read_or_public() {
        for endpoint in ENDPOINTS {
            let reads = matches!(endpoint.access(), Public | Needs(Read));
            assert!(reads || !endpoint.methods().contains(&Method::GET), "{}", endpoint.path());
        }
    }

    #[test]
    fn no_row_hides_another() {
        for (i, a) in ENDPOINTS.iter().enumerate() {
            assert!(ENDPOINTS[i + 1..].iter().all(|b| a.path() != b.path()), "{}", a.path());
        }
    }

    #[test]
    fn roles_are_read_from_a_flag() {
        let set = RoleSet::parse("read, write").expect("valid");
        assert!(set.contains(Read) && set.contains(Write) && !set.contains(Admin));
        assert_eq!(set.to_string(), "read,write");
        assert!(RoleSet::parse("peer").is_err() && RoleSet::parse("root").is_err());
        assert!(!RoleSet::ALL_BUT_PEER.contains(Role::Peer));
        assert!(RoleSet::ALL_BUT_PEER.contains(Admin));
    }
}
