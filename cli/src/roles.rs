//! Composition of the roles: which parts a process starts, and in which order it stops them.
//!
//! A role adds its routes and metrics to those of its process, which serves them all on one web
//! listener. Everything a process starts is tracked by one [`TaskTracker`] and ends on one token.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use narthex_cluster::ClusterState;
use narthex_node::config::{Config, ConfigError};
use narthex_proto::{
    client::ShardClient,
    connect::{ConnectError, Connections},
    follow::follow,
    service::NodeService,
};
use narthex_router::Router;
use narthex_web::{
    Clock, Routes, Tls, Web, WebError, WebFile, WebFileError, WebOptions, access::RoleSet,
};
use prometheus_client::registry::Registry;
use tokio::{runtime, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    addresses::NodeAddresses,
    client::{self, ClientError},
    config_file::{self, Importer},
    flags::{JoinFlags, NodeArguments, QuerierArguments, RouterArguments, WebFlags},
    listener::{self, BindError},
    output::answer,
    signals::{self, StartedBy},
};

/// How long blocked threads may keep a stopped process.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a role does not start.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// Correct the file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Correct the flag or the file it names.
    #[error(transparent)]
    Web(#[from] WebError),
    /// Correct the file.
    #[error("--web.config.file")]
    WebFile(#[from] WebFileError),
    /// Use the names of roles.
    #[error("--web.allow-anonymous: {0}")]
    Roles(String),
    /// Make the certificates, or correct the folder.
    #[error(transparent)]
    Certificates(#[from] ClientError),
    /// Correct the address.
    #[error(transparent)]
    Peer(#[from] ConnectError),
    /// Ask for another address.
    #[error(transparent)]
    Listen(#[from] BindError),
    #[error("start the runtime")]
    Runtime(#[from] std::io::Error),
    #[error("BUG: a role died while it started")]
    Died(#[from] tokio::task::JoinError),
    /// Use a build that has it.
    #[error("this build has no {0} yet")]
    Missing(&'static str),
}

/// What `up` runs in its own process: the router and the querier, and without child nodes the
/// node too.
pub struct Front<'a> {
    pub prepared: Prepared,
    /// Child nodes; empty: the node is part of this process.
    pub nodes: &'a [NodeAddresses],
    pub listener: TcpListener,
    pub stop: CancellationToken,
    pub runtime: &'a runtime::Handle,
}

/// What is checked before anything starts.
pub struct Prepared {
    web: Web,
    /// The scheme of the web listener's URLs.
    pub scheme: &'static str,
    config: Option<(PathBuf, Config)>,
}

/// Reads files and checks flags, so that what is wrong is said before anything starts.
pub fn prepare(web: &WebFlags, config_file: Option<&Path>) -> Result<Prepared, RoleError> {
    let scheme = match &web.config_file {
        Some(file) if Tls::open(&WebFile::open(file)?)?.is_some() => "https",
        _ => "http",
    };
    let config = config_file
        .map(|path| Ok::<_, ConfigError>((path.to_owned(), config_file::load(path)?)))
        .transpose()?;
    Ok(Prepared { web: open_web(web)?, scheme, config })
}

impl Prepared {
    /// Refuses an address beyond loopback that nobody was given a role for.
    pub fn check_address(&self, address: SocketAddr) -> Result<(), RoleError> {
        Ok(self.web.check_address(address)?)
    }
}

fn open_web(flags: &WebFlags) -> Result<Web, RoleError> {
    let options = WebOptions {
        config_file: flags.config_file.clone(),
        external_url: flags.external_url.clone(),
        route_prefix: flags.route_prefix.clone(),
        cors_origin: flags.cors_origin.clone(),
        allow_anonymous: RoleSet::parse(&flags.allow_anonymous).map_err(RoleError::Roles)?,
        connections_max: flags.max_connections,
        read_timeout: flags.read_timeout,
    };
    Ok(Web::open(options, Clock::system())?)
}

/// Tasks of roles that run.
#[derive(Debug)]
pub struct Running {
    tasks: TaskTracker,
}

impl Running {
    /// Returns when everything that was accepted is answered.
    pub async fn wait(self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Starts the front of a cluster; returns once it accepts connections.
pub async fn start_front(front: Front<'_>) -> Result<Running, RoleError> {
    if front.nodes.is_empty() {
        return Err(RoleError::Missing("node in the same process; use --nodes"));
    }
    let tasks = TaskTracker::new();
    let peers = Peers {
        seeds: front.nodes.iter().map(|node| node.cluster.to_string()).collect(),
        connections: Connections::new(None),
    };
    let start = start_stateless(Stateless {
        prepared: front.prepared,
        peers,
        roles: &[Role::Router, Role::Querier],
        listener: front.listener,
        tasks: tasks.clone(),
        stop: front.stop,
    });
    // Spawned, as what it starts is to run on this runtime and not on the supervisor's.
    front.runtime.spawn(start).await??;
    Ok(Running { tasks })
}

/// A role without state of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Router,
    Querier,
}

/// How to find a cluster.
struct Peers {
    /// Cluster listeners of any nodes.
    seeds: Vec<String>,
    connections: Connections,
}

struct Stateless {
    prepared: Prepared,
    peers: Peers,
    roles: &'static [Role],
    listener: TcpListener,
    tasks: TaskTracker,
    stop: CancellationToken,
}

async fn start_stateless(parts: Stateless) -> Result<(), RoleError> {
    let Stateless { prepared, peers, roles, listener, tasks, stop } = parts;
    let (sender, state) = watch::channel(Arc::new(ClusterState::new()));
    let connections = peers.connections.clone();
    tasks.spawn(follow(peers.seeds.clone(), connections.clone(), sender, stop.clone()));
    let shards = ShardClient::new(state, connections, None);

    let mut routes = Routes::new();
    let mut registry = Registry::default();
    if roles.contains(&Role::Router) {
        let router = Router::new(Arc::new(shards.clone()), Clock::system(), &mut registry);
        router.add_routes(&mut routes);
    }
    if let Some((path, config)) = prepared.config {
        let mut nodes: Vec<Arc<dyn NodeService>> = Vec::new();
        for seed in &peers.seeds {
            nodes.push(Arc::new(peers.connections.node(None, seed)?));
        }
        let importer = Importer { path, nodes, clock: Clock::system() };
        tasks.spawn(importer.run(config, stop.clone()));
    }
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    prepared.web.serve(vec![listener], routes, registry, (&tasks, &stop)).await?;
    Ok(())
}

/// `narthex router`.
pub fn run_router(arguments: &RouterArguments) -> Result<ExitCode, RoleError> {
    let prepared = prepare(&arguments.web, None)?;
    let address = arguments.web_listen_address;
    run_stateless(prepared, address, &arguments.cluster, &[Role::Router])
}

/// `narthex querier`.
pub fn run_querier(arguments: &QuerierArguments) -> Result<ExitCode, RoleError> {
    let prepared = prepare(&arguments.web, None)?;
    let address = arguments.web_listen_address;
    run_stateless(prepared, address, &arguments.cluster, &[Role::Querier])
}

/// Runs roles without state until the process is told to stop.
fn run_stateless(
    prepared: Prepared,
    address: SocketAddr,
    join: &JoinFlags,
    roles: &'static [Role],
) -> Result<ExitCode, RoleError> {
    prepared.check_address(address)?;
    let tls = join.certs.as_deref().map(client::peer_tls).transpose()?;
    let peers = Peers { seeds: join.join.clone(), connections: Connections::new(tls) };
    let listener = listener::bind_web(Some(address))?;
    let url = format!("{}://{}", prepared.scheme, listener.local_addr()?);
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let stop = signals::stop_token(StartedBy::User)?;
        let tasks = TaskTracker::new();
        let parts = Stateless {
            prepared,
            peers,
            roles,
            listener,
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        start_stateless(parts).await?;
        answer(&format!("Narthex answers at {url}"))?;
        stop.cancelled().await;
        Running { tasks }.wait().await;
        Ok(ExitCode::SUCCESS)
    });
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    result
}

/// `narthex node`.
pub fn run_node(_arguments: &NodeArguments) -> Result<ExitCode, RoleError> {
    Err(RoleError::Missing("node"))
}
