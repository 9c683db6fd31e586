//! The front of a cluster: routers and queriers, which keep nothing.

use std::{
    net::{SocketAddr, TcpListener},
    process::ExitCode,
    sync::Arc,
};

use narthex_cluster::ClusterState;
use narthex_proto::{
    client::ShardClient, connect::Connections, follow::follow, service::NodeService,
};
use narthex_querier::{Querier, QuerierOptions};
use narthex_router::{
    AcceptedMessages, Limits, MESSAGE_1, MESSAGE_2, Pairs, Router, RouterOptions, pairs::PairLabels,
};
use narthex_web::{Clock, Readiness, Routes, Serving};
use prometheus_client::registry::Registry;
use tokio::{runtime, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    Prepared, PreparedConfig, RoleError, Running, SHUTDOWN_TIMEOUT, admin, features, membership,
    node, objects, retention,
    rules::{self, RuleQuerying},
    settings,
};
use crate::{
    addresses::NodeAddresses,
    client,
    config_file::Importer,
    config_status,
    flags::{
        IngestFlags, JoinFlags, QuerierArguments, RouterArguments, SettingsFlags, UpArguments,
    },
    listener, memory,
    output::answer,
    proposer::Proposer,
    relabelling,
    signals::{self, StartedBy},
};

/// The condition of readiness that the cluster is known, and what it is until then.
const CLUSTER: &str = "cluster";
const NOT_KNOWN: &str = "no node has said where the shards are";

/// What `up` runs in its own process: the router and the querier, and without child nodes the
/// node too.
pub struct Front<'a> {
    pub arguments: &'a UpArguments,
    pub prepared: Prepared,
    /// The cluster's folder.
    pub folder: &'a std::path::Path,
    /// Child nodes; empty: the node is part of this process.
    pub nodes: &'a [NodeAddresses],
    pub listener: TcpListener,
    pub url: &'a str,
    /// Stops the whole cluster.
    pub quit: CancellationToken,
    /// Stops the front.
    pub stop: CancellationToken,
    pub runtime: &'a runtime::Handle,
}

/// Starts the front of a cluster; returns once it accepts connections.
pub async fn start_front(front: Front<'_>) -> Result<Running, RoleError> {
    let mut options = features::options(&front.arguments.query)?;
    let settings = front.arguments.settings;
    options.external_url =
        front.arguments.web.external_url.clone().unwrap_or_else(|| front.url.to_owned());
    options.enable_admin_api = front.arguments.web.enable_admin_api;
    options.flags.clone_from(&front.arguments.web.in_force);
    let web = front.listener.local_addr()?;
    let node = match front.nodes {
        [] => {
            let readiness = front.prepared.web.readiness();
            Some(node::config_in_process(front.arguments, front.folder, web, readiness)?)
        }
        _ => None,
    };
    let seeds = front.nodes.iter().map(|node| node.cluster.to_string()).collect();
    let parts = Parts {
        prepared: front.prepared,
        router: Some(router_role(&front.arguments.ingest)?),
        querier: Some(options),
        settings,
        listener: front.listener,
        tasks: TaskTracker::new(),
        quit: front.quit,
        stop: front.stop,
    };
    // Spawned, as what it starts is to run on this runtime and not on the supervisor's.
    let started = front.runtime.spawn(async move {
        match node {
            None => parts.join(seeds, Connections::new(None)).await,
            Some(node) => parts.host(node).await,
        }
    });
    started.await?
}

/// What a process of routers and queriers is put together from.
struct Parts {
    prepared: Prepared,
    router: Option<RouterRole>,
    querier: Option<QuerierOptions>,
    /// What the cluster is to keep and take.
    settings: SettingsFlags,
    listener: TcpListener,
    tasks: TaskTracker,
    quit: CancellationToken,
    stop: CancellationToken,
}

/// The cluster as these parts reach it.
struct Reached {
    shards: ShardClient,
    /// Any nodes, for what every node answers.
    nodes: Vec<Arc<dyn NodeService>>,
    state: watch::Receiver<Arc<ClusterState>>,
}

impl Parts {
    /// Serves a cluster whose nodes are other processes; `seeds` are cluster listeners of any.
    async fn join(
        self,
        seeds: Vec<String>,
        connections: Connections,
    ) -> Result<Running, RoleError> {
        let mut nodes: Vec<Arc<dyn NodeService>> = Vec::new();
        for seed in &seeds {
            nodes.push(Arc::new(connections.node(None, seed)?));
        }
        let (sender, state) = watch::channel(Arc::new(ClusterState::new()));
        self.tasks.spawn(follow(seeds, connections.clone(), sender, self.stop.clone()));
        let shards = ShardClient::new(state.clone(), connections, None);
        let tasks = self.tasks.clone();
        let serving = self.listen().await?;
        let reached = Reached { shards, nodes, state };
        self.serve(reached, serving, Routes::new(), Registry::default()).await;
        Ok(Running { tasks, node: None })
    }

    /// Serves a cluster whose only node is part of this process.
    async fn host(self, config: narthex_node::node::NodeConfig) -> Result<Running, RoleError> {
        let serving = self.listen().await?;
        let memory_bytes_max = config.query_bytes_max;
        let node = narthex_node::node::Node::start(config).await?;
        let options = self.querier.clone().unwrap_or_default();
        let external_url = options.external_url.clone();
        rules::evaluate(&node, RuleQuerying { memory_bytes_max, options, external_url });
        self.prepared.web.readiness().set(node::NODE, Ok(()));
        let shards = node.client();
        let state = shards.watch_state();
        let reached = Reached { shards, nodes: vec![node.service()], state };
        let mut routes = Routes::new();
        let mut registry = Registry::default();
        node::add_to(&node, &mut routes, &mut registry);
        let tasks = self.tasks.clone();
        self.serve(reached, serving, routes, registry).await;
        Ok(Running { tasks, node: Some(node) })
    }

    /// Serves health from the first moment on.
    async fn listen(&self) -> Result<Serving, RoleError> {
        self.prepared.web.readiness().set(CLUSTER, Err(NOT_KNOWN.to_owned()));
        let listener = self.listener.try_clone()?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        Ok(self.prepared.web.listen(vec![listener], (&self.tasks, &self.stop)).await?)
    }

    async fn serve(
        self,
        reached: Reached,
        serving: Serving,
        mut routes: Routes,
        mut registry: Registry,
    ) {
        let Self { prepared, router, querier, settings, tasks, quit, stop, .. } = self;
        let Reached { shards, nodes, state } = reached;
        let proposer = Proposer::new(nodes, shards.clone(), Clock::system());
        membership::add(&mut routes, proposer.clone(), state.clone());
        if let Some(RouterRole { mut options, pairs }) = router {
            let elections = Arc::new(proposer.clone());
            options.pairs = pairs.map(|labels| Pairs { labels, elections });
            let shards = Arc::new(shards.clone());
            let router = Router::new(shards, Clock::system(), options, &mut registry);
            router.add_routes(&mut routes);
            router.add_services(&mut routes);
        }
        let status = config_status::open(&mut registry);
        let follow = config_status::follow(state.clone(), status.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(follow));
        if let Some(mut options) = querier {
            options.config = status.subscribe();
            options.relabelling = relabelling::of(state.clone());
            admin::add_settle(&mut routes, shards.clone());
            admin::add_digests(&mut routes, shards.clone());
            let cluster = Arc::new(shards);
            let querier = Querier::new(cluster, Clock::system(), options, &mut registry);
            querier.add_routes(&mut routes);
            querier.add_services(&mut routes);
        }
        if settings != SettingsFlags::default() {
            let set = settings::set(proposer.clone(), state.clone(), settings);
            tasks.spawn(stop.clone().run_until_cancelled_owned(set));
        }
        retention::add(&mut routes, proposer.clone(), state.clone());
        settings::add(&mut routes, proposer.clone(), state.clone());
        objects::add(&mut routes, proposer.clone(), state.clone());
        let reload = prepared.config.map(|PreparedConfig { path, config, options }| {
            let (importer, reload) = Importer::new((path, options), proposer, status);
            tasks.spawn(importer.run(config, stop.clone()));
            reload
        });
        admin::add_lifecycle(&mut routes, reload, quit);
        serving.open(routes, registry).await;
        tasks.spawn(follow_readiness(state, prepared.web.readiness(), stop));
    }
}

/// A front is ready once it knows where every shard is.
async fn follow_readiness(
    mut state: watch::Receiver<Arc<ClusterState>>,
    readiness: Readiness,
    stop: CancellationToken,
) {
    loop {
        let is_known = !state.borrow_and_update().shards().is_empty();
        readiness.set(CLUSTER, if is_known { Ok(()) } else { Err(NOT_KNOWN.to_owned()) });
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

/// `narthex router`.
pub fn run_router(arguments: &RouterArguments) -> Result<ExitCode, RoleError> {
    let prepared = Prepared::new(&arguments.web)?;
    let role = Role::Router(router_role(&arguments.ingest)?);
    run(prepared, arguments.web_listen_address, &arguments.cluster, role)
}

/// `narthex querier`.
pub fn run_querier(arguments: &QuerierArguments) -> Result<ExitCode, RoleError> {
    let prepared = Prepared::new(&arguments.web)?;
    let address = arguments.web_listen_address;
    let mut options = features::options(&arguments.query)?;
    options.enable_admin_api = arguments.web.enable_admin_api;
    options.flags.clone_from(&arguments.web.in_force);
    let external_url = arguments.web.external_url.clone();
    options.external_url =
        external_url.unwrap_or_else(|| format!("{}://{address}", prepared.scheme));
    run(prepared, address, &arguments.cluster, Role::Querier(options))
}

/// What a process without state is.
enum Role {
    Router(RouterRole),
    Querier(QuerierOptions),
}

/// Runs a role until told to stop.
fn run(
    prepared: Prepared,
    address: SocketAddr,
    join: &JoinFlags,
    role: Role,
) -> Result<ExitCode, RoleError> {
    let (router, querier) = match role {
        Role::Router(options) => (Some(options), None),
        Role::Querier(options) => (None, Some(options)),
    };
    prepared.check_address(address)?;
    let tls = join.certs.as_deref().map(client::peer_tls).transpose()?;
    let connections = Connections::new(tls);
    let listener = listener::bind_web(Some(address))?;
    let url = format!("{}://{}", prepared.scheme, listener.local_addr()?);
    let runtime = super::runtime::start("front")?;
    let result = runtime.block_on(async {
        let stop = signals::stop_token(StartedBy::User)?;
        let parts = Parts {
            prepared,
            router,
            querier,
            settings: SettingsFlags::default(),
            listener,
            tasks: TaskTracker::new(),
            quit: stop.clone(),
            stop: stop.clone(),
        };
        let running = parts.join(join.join.clone(), connections).await?;
        answer(&format!("Narthex answers at {url}"))?;
        stop.cancelled().await;
        running.stopped().await;
        Ok(ExitCode::SUCCESS)
    });
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    result
}

/// A router before it knows its cluster.
struct RouterRole {
    options: RouterOptions,
    /// How pairs of senders name themselves, where they are told apart.
    pairs: Option<PairLabels>,
}

/// What the flags say of senders.
fn router_role(flags: &IngestFlags) -> Result<RouterRole, RoleError> {
    let accepts = |message: &str| flags.accepted_messages.iter().any(|name| name == message);
    let limits = Limits {
        request_bytes_max: flags.max_request_bytes,
        memory_bytes_max: flags.max_memory_bytes,
        labels_max: flags.max_labels,
        label_name_bytes_max: flags.max_label_name_length,
        label_value_bytes_max: flags.max_label_value_length,
    };
    limits.validate()?;
    let options = RouterOptions {
        series_cached_max: series_cached_max(),
        seed: Uuid::new_v4().as_u128(),
        limits,
        accepted_messages: AcceptedMessages {
            version_1: accepts(MESSAGE_1),
            version_2: accepts(MESSAGE_2),
        },
        pairs: None,
    };
    let pairs = flags.pairs.ha_pairs.then(|| PairLabels {
        pair: flags.pairs.ha_cluster_labels.clone(),
        replica: flags.pairs.ha_replica_labels.clone(),
    });
    Ok(RouterRole { options, pairs })
}

/// A 64th of the machine's memory for the router's series, at about 64 bytes each.
fn series_cached_max() -> usize {
    usize::try_from(memory::of_machine() / 64 / 64).unwrap_or(usize::MAX)
}
