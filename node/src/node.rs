//! A node: its parts, and the order in which they start and stop.
//!
//! Start: folder, log, control group, listener, founding or announcement; then the shards that
//! cluster state places here, one replica after the other, and what follows leadership. Stop is
//! the reverse: scraping ends, leaderships are handed over, replicas write a checkpoint.

use std::{fmt, net::TcpListener, path::PathBuf, sync::Arc, time::Duration};

use narthex_cluster::{Addresses, ClusterId, ClusterState, NodeId, Refusal};
use narthex_promql::SamplePool;
use narthex_proto::{
    client::ShardClient,
    connect::{Connections, PeerTls},
    service::{self, NodeService},
};
use narthex_tsdb::{
    ReplicaNumbers,
    kv::{DataDb, DataDbConfig, KvError},
};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
};
use tokio_stream::StreamExt as _;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Extensions, service::Routes, transport::server::Connected as _};
use tracing::{error, info};

use crate::{
    backup::Snapshots,
    clock::Clock,
    clocks::{self, ClocksSeen},
    control::{
        Control,
        founding::{self, FoundingError, FoundingPlan, ThisNode},
        joining::{self, JoinError, Joiner},
        keeper,
        machine::{CheckpointError, ControlMachine},
        moves::Moves,
    },
    discovery::DiscoveryMetrics,
    disk::{self, DiskGuard},
    founding::{Founders, InvalidFounders},
    host,
    identity::{AdoptError, Folder, NodeIdentity, OpenError},
    metrics::NodeMetrics,
    peers::ClusterPeers,
    raft::{
        ApplyPool, Group, GroupConfig, GroupId, LogConfig, LogDb, LogIdentity, Network,
        OpenGroupError, OpenLogError, RaftNode, RaftRuntime, SyncSeam,
    },
    rules::{self, RuleInputs, RuleMetrics, RuleQueries, notify::NotifierMetrics},
    scrape::ScrapeMetrics,
    scraping,
    service::LocalNode,
    shard::{
        Replicas,
        canary::{self, Canaries},
        checkpointer,
        comparing::{self, Comparisons},
        moving, placing, rewriting, series_limits,
        size_retention::{self, FirstDay},
        upkeep,
    },
    tls::{self, Incoming, InvalidTls, ServerTls, UnprotectedListener},
    waiting,
};

/// The raft log, in the node's folder.
const LOG: &str = "log";
/// The control group's checkpoint, in the node's folder.
const CONTROL: &str = "control";
/// Threads of the raft runtime: the log thread and apply have their own.
const RAFT_THREADS: usize = 1;
/// Threads that apply entries.
const APPLY_THREADS: usize = 2;
/// How long calls from other processes may go on when the node stops.
const STOP_GRACE: Duration = Duration::from_millis(500);
/// How often the control group's checkpoint is written.
const CONTROL_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);

/// How a node is started. Validated by whoever read the flags.
pub struct NodeConfig {
    /// Its folder.
    pub folder: PathBuf,
    /// Bytes of each shard's raft log; see `GroupConfig`.
    pub log_bytes_max: u64,
    /// What evaluating queries may take in memory, of all together, at 16 bytes a sample.
    pub query_bytes_max: u64,
    /// The cluster listener, bound.
    pub cluster_listener: TcpListener,
    /// `HOST:PORT` that others are told.
    pub advertise: String,
    /// `HOST:PORT` of its web listener, that others are told.
    pub web: String,
    /// The failure domain it shares with others; empty if none.
    pub zone: String,
    /// Who founds the cluster.
    pub founders: Option<Founders>,
    /// Cluster listeners of any nodes of a cluster that is there, for a folder that belongs to none;
    /// empty to found one or to wait.
    pub join: Vec<String>,
    /// When replicas are rebuilt.
    pub repair: Repair,
    /// What founders agree on.
    pub plan: FoundingPlan,
    /// TLS between processes of the cluster.
    pub tls: Option<PeerTls>,
    /// Opens a log that has lost entries.
    pub accept_log_loss: bool,
    /// Scrapes the cluster itself and its machines as long as no configuration was imported. Not
    /// where one is about to be: a scrape in between would leave series that nobody asked for.
    pub scrapes_builtin: bool,
    /// Where log writes become durable.
    pub sync: Arc<dyn SyncSeam>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Told what the start waits for, each time that changes.
    pub on_wait: Box<dyn Fn(StartPhase) + Send + Sync>,
}

/// When replicas are looked after and rebuilt; the same on all nodes.
#[derive(Debug, Clone, Copy)]
pub struct Repair {
    /// After how long those of a node that is not heard are rebuilt on others.
    pub rebuild_after: Duration,
    /// How often those of a shard are compared; 0: never.
    pub digest_interval: Duration,
    /// How often a sample is written to each shard and read back from its replicas; 0: never.
    pub canary_interval: Duration,
}

/// What a starting node does, which may take long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartPhase {
    /// Reads its folder and the log in it.
    Opening,
    /// Waits to be told that it is the first of a new cluster.
    Init,
    /// Waits for a member of a cluster to take it in.
    Joining,
    /// Waits for a majority of the founders.
    Founding,
    /// Waits for the control group to take note of this start.
    Announcing,
}

impl fmt::Display for StartPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Opening => "it reads its folder",
            Self::Init => "it belongs to no cluster and waits for `narthex cluster init`",
            Self::Joining => "it waits for the cluster of --cluster.join to take it in",
            Self::Founding => "it waits for a majority of the founders",
            Self::Announcing => "it waits for the control group to have a leader",
        })
    }
}

/// Why a node does not start. A human must act.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] OpenError),
    /// The folder's identity.
    #[error(transparent)]
    Adopt(#[from] AdoptError),
    /// The list of founders.
    #[error(transparent)]
    Founders(#[from] InvalidFounders),
    /// There is neither an identity nor a list.
    #[error("BUG: the folder {} belongs to no cluster and nobody founded one", .0.display())]
    NoCluster(PathBuf),
    /// The raft log.
    #[error(transparent)]
    Log(#[from] OpenLogError),
    /// The series.
    #[error("open the data folder")]
    Data(#[source] KvError),
    /// Cluster state.
    #[error(transparent)]
    Control(#[from] CheckpointError),
    /// A raft group.
    #[error(transparent)]
    Group(#[from] OpenGroupError),
    /// The cluster.
    #[error(transparent)]
    Founding(#[from] FoundingError),
    /// The cluster that it is to join.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The numbers of its replicas.
    #[error("read which replicas there are")]
    Replicas(#[from] narthex_tsdb::OpenError),
    /// The cluster listener's certificates.
    #[error("use the certificates of --cluster.certs")]
    Tls(#[from] InvalidTls),
    /// The cluster listener has none where it needs them.
    #[error(transparent)]
    Unprotected(#[from] UnprotectedListener),
    /// Threads or sockets.
    #[error("{step}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// What the parts of a running node share.
pub(crate) struct Shared {
    pub node: NodeId,
    pub raft: RaftNode,
    pub data: Arc<DataDb>,
    /// Which of the store's replicas are whose.
    pub numbers: Mutex<ReplicaNumbers>,
    pub control: Control,
    /// What it decides while it leads the control group.
    pub moves: Moves,
    /// See [`NodeConfig::repair`].
    pub repair: Repair,
    /// What came of comparing replicas.
    pub comparisons: Comparisons,
    /// What came of writing samples and reading them back.
    pub canaries: Canaries,
    /// The node's folder.
    pub folder: PathBuf,
    /// See [`NodeConfig::log_bytes_max`].
    pub log_bytes_max: u64,
    /// Of all queries that are evaluated here.
    pub query_pool: SamplePool,
    /// See [`NodeConfig::scrapes_builtin`].
    pub scrapes_builtin: bool,
    pub first_day_kept: FirstDay,
    pub disk: DiskGuard,
    pub snapshots: Snapshots,
    pub clock: Arc<dyn Clock>,
    pub clocks: ClocksSeen,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

/// A running node.
pub struct Node {
    shared: Arc<Shared>,
    replicas: Arc<Replicas>,
    client: ShardClient,
    service: Arc<LocalNode>,
    scraping_metrics: (Arc<ScrapeMetrics>, Arc<DiscoveryMetrics>),
    rule_metrics: (Arc<RuleMetrics>, Arc<NotifierMetrics>),
    /// Keeps the folder locked.
    _folder: Folder,
}

impl Node {
    /// Starts a node and returns once it is a member of its cluster, which for a node that was
    /// told of none takes a `cluster init`. Its shards open behind.
    pub async fn start(mut config: NodeConfig) -> Result<Self, StartError> {
        (config.on_wait)(StartPhase::Opening);
        let mut folder = Folder::open(&config.folder)?;
        let tasks = TaskTracker::new();
        let tls = config.tls.as_ref().map(ServerTls::new).transpose()?;
        let init = wait_for_init(&mut config, &folder, tls.clone(), &tasks).await?;
        let connections = Connections::new(config.tls.clone());
        join_cluster(&config, &mut folder, &connections).await?;
        let node = own_id(&config, &folder)?;
        let own_cluster = connections.cluster().clone();
        folder.identity().into_iter().for_each(|identity| own_cluster.learn(identity.cluster));
        let (published, state) = watch::channel(Arc::new(ClusterState::new()));
        let raft = open_raft(&config, node, &folder, &state, &connections)?;
        let group = open_control(&config, &raft, &connections, published).await?;
        let (data, numbers) = open_data(&config)?;
        let me = this_node(&config, node, &folder);
        let control = Control::new(node, group, state.clone(), config.clock.clone());
        let shared = Arc::new(Shared {
            node,
            raft,
            data,
            numbers: Mutex::new(numbers),
            control,
            moves: Moves::default(),
            repair: config.repair,
            comparisons: Comparisons::default(),
            canaries: Canaries::default(),
            folder: config.folder.clone(),
            log_bytes_max: config.log_bytes_max,
            query_pool: query_pool(config.query_bytes_max),
            scrapes_builtin: config.scrapes_builtin,
            first_day_kept: FirstDay::default(),
            disk: DiskGuard::default(),
            snapshots: Snapshots::open(&config.folder),
            clock: config.clock.clone(),
            clocks: ClocksSeen::default(),
            tasks,
            stop: CancellationToken::new(),
        });
        let replicas = Arc::new(Replicas::new(shared.clone()));
        let service = Arc::new(LocalNode::new(shared.clone(), replicas.clone()));
        let local: Arc<dyn NodeService> = service.clone();
        // Without the local node: it must not keep itself alive.
        service.reach_others_by(ShardClient::new(state.clone(), connections.clone(), None));
        let client = ShardClient::new(state, connections, Some((node, local.clone())));
        let routes = service::serve(local, &own_cluster);
        serve(&shared, config.cluster_listener, tls, routes)?;

        let cluster = match (folder.identity(), &config.founders) {
            (Some(identity), _) => identity.cluster,
            (None, Some(founders)) => {
                (config.on_wait)(StartPhase::Founding);
                founding::found(&shared.control, founders, config.plan).await
            }
            (None, None) => return Err(StartError::NoCluster(config.folder)),
        };
        folder.adopt(NodeIdentity { cluster, node })?;
        own_cluster.learn(cluster);
        if let Some(init) = init {
            // Whoever asked may have gone; the cluster is founded all the same.
            let _ = init.send(cluster);
        }
        (config.on_wait)(StartPhase::Announcing);
        announce(&shared.control, &client, &me, &folder).await?;
        info!(%node, %cluster, incarnation = %me.incarnation, "node started");
        spawn_tasks(&shared, &replicas, &client);
        let scraping_metrics = <(Arc<ScrapeMetrics>, Arc<DiscoveryMetrics>)>::default();
        let metrics = scraping_metrics.clone();
        service.scrape_by(scraping::start(&shared, &replicas, client.clone(), metrics)?);
        let rule_metrics = <(Arc<RuleMetrics>, Arc<NotifierMetrics>)>::default();
        let _folder = folder;
        Ok(Self { shared, replicas, client, service, scraping_metrics, rule_metrics, _folder })
    }

    /// Begins to evaluate rules. Their expressions are answered by `queries`; `external_url` is where
    /// people reach the cluster, for links. A node that this is not called for leaves the rules of its
    /// shards unevaluated.
    pub fn evaluate_rules(&self, queries: Arc<dyn RuleQueries>, external_url: String) {
        let metrics = self.rule_metrics.clone();
        let inputs = RuleInputs { queries, external_url, metrics };
        let rules = rules::start(&self.shared, &self.replicas, self.client.clone(), inputs);
        self.service.evaluate_by(rules);
    }

    /// This node's id.
    pub fn id(&self) -> NodeId {
        self.shared.node
    }

    /// What it answers, for the router and querier in the same process.
    pub fn service(&self) -> Arc<dyn NodeService> {
        self.service.clone()
    }

    /// Reaches every shard of the cluster.
    pub fn client(&self) -> ShardClient {
        self.client.clone()
    }

    /// Its shards.
    pub fn replicas(&self) -> &Arc<Replicas> {
        &self.replicas
    }

    /// Adds what the node says of itself to the metrics of its process.
    pub fn register(&self, registry: &mut Registry) {
        let (scrape, discovery) = self.scraping_metrics.clone();
        discovery.register(registry);
        let (rules, notifier) = &self.rule_metrics;
        rules.register(registry);
        notifier.register(registry);
        let (shared, replicas) = (self.shared.clone(), self.replicas.clone());
        let metrics = NodeMetrics { shared, replicas, scrape };
        metrics.register(registry);
    }

    /// Resolves when the log has failed: the node must exit.
    pub async fn failed(&self) -> Arc<std::io::Error> {
        let mut failure = self.shared.raft.log.failure();
        loop {
            if let Some(error) = failure.borrow_and_update().clone() {
                return error;
            }
            if failure.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Hands over leaderships, writes checkpoints and ends.
    pub async fn stop(self) {
        self.replicas.hand_over().await;
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.replicas.close().await;
        if let Err(problem) = self.shared.control.group().checkpoint().await {
            error!(%problem, "control group's last checkpoint was not written");
        }
        self.shared.control.group().close().await;
        info!(node = %self.shared.node, "node stopped");
    }
}

/// What the node says of itself.
fn this_node(config: &NodeConfig, node: NodeId, folder: &Folder) -> ThisNode {
    ThisNode {
        node,
        incarnation: folder.incarnation(),
        addresses: addresses(config),
        zone: config.zone.clone(),
    }
}

fn addresses(config: &NodeConfig) -> Addresses {
    let (cluster, web) = (config.advertise.clone(), config.web.clone());
    Addresses { cluster, web, host: host::host_name() }
}

/// Opens the control group, for a new member with the state that the others have.
async fn open_control(
    config: &NodeConfig,
    raft: &RaftNode,
    connections: &Connections,
    published: watch::Sender<Arc<ClusterState>>,
) -> Result<Group, StartError> {
    let path = config.folder.join(CONTROL);
    let is_new = !path.exists() && !raft.log.group(GroupId::CONTROL).is_used();
    if is_new && !config.join.is_empty() {
        (config.on_wait)(StartPhase::Joining);
        let node = NodeId(raft.node);
        joining::fetch_state(connections, &config.join, (node, &path)).await?;
    }
    let machine = Box::new(ControlMachine::open(path, published)?);
    Ok(Group::open(raft, GroupConfig::new(GroupId::CONTROL), machine).await?)
}

/// Starts what goes on for as long as the node runs, but for scraping.
fn spawn_tasks(shared: &Arc<Shared>, replicas: &Arc<Replicas>, client: &ShardClient) {
    let tasks = &shared.tasks;
    tasks.spawn(placing::follow(replicas.clone(), client.clone()));
    tasks.spawn(moving::run(shared.clone(), replicas.clone(), client.clone()));
    tasks.spawn(keeper::run(shared.clone(), client.clone()));
    let (comparing, every) = (replicas.clone(), shared.repair.digest_interval);
    tasks.spawn(comparing::run(shared.clone(), comparing, client.clone(), every));
    let (singing, every) = (replicas.clone(), shared.repair.canary_interval);
    tasks.spawn(canary::run(shared.clone(), singing, client.clone(), every));
    tasks.spawn(replicas.clone().balance_leaders());
    tasks.spawn(checkpointer::run(shared.clone(), replicas.clone()));
    tasks.spawn(disk::watch(shared.clone(), replicas.clone()));
    tasks.spawn(rewriting::run(shared.clone(), replicas.clone()));
    let full = watch::Sender::default();
    tasks.spawn(upkeep::run(shared.clone(), replicas.clone(), full.subscribe()));
    let counting = series_limits::run(shared.clone(), replicas.clone(), client.clone(), full);
    tasks.spawn(counting);
    let by_size = size_retention::run(shared.clone(), replicas.clone(), client.clone());
    tasks.spawn(by_size);
    tasks.spawn(checkpoint_control(shared.clone()));
    tasks.spawn(clocks::run(shared.clone(), replicas.clone(), client.clone()));
}

/// Waits where nothing says which cluster this is. Returns who is to be told the cluster's id.
async fn wait_for_init(
    config: &mut NodeConfig,
    folder: &Folder,
    tls: Option<ServerTls>,
    tasks: &TaskTracker,
) -> Result<Option<oneshot::Sender<ClusterId>>, StartError> {
    let is_told = config.founders.is_some() || !config.join.is_empty();
    if folder.identity().is_some() || is_told {
        return Ok(None);
    }
    let io = |source| StartError::Io { step: "wait for cluster init", source };
    tls::check_listener(config.cluster_listener.local_addr().map_err(io)?, tls.as_ref())?;
    let listener = config.cluster_listener.try_clone().map_err(io)?;
    (config.on_wait)(StartPhase::Init);
    let asked = waiting::wait(listener, tls, &config.advertise, tasks).await.map_err(io)?;
    config.founders = Some(asked.founders);
    config.plan = asked.plan;
    (config.on_wait)(StartPhase::Opening);
    Ok(Some(asked.answer))
}

/// Makes a folder that belongs to no cluster a member's of the one it was told of.
async fn join_cluster(
    config: &NodeConfig,
    folder: &mut Folder,
    connections: &Connections,
) -> Result<(), StartError> {
    if folder.identity().is_some() || config.join.is_empty() {
        return Ok(());
    }
    if config.folder.join(LOG).exists() {
        // It is another node's, which the cluster would not know of.
        return Err(JoinError::Used(config.folder.clone()).into());
    }
    (config.on_wait)(StartPhase::Joining);
    let joiner = Joiner {
        folder: folder.number(),
        node: config.tls.as_ref().map(tls::own_node).transpose()?,
        name: config.advertise.clone(),
        addresses: addresses(config),
        zone: config.zone.clone(),
    };
    let identity = joining::join(connections, &config.join, &joiner).await?;
    Ok(folder.adopt(identity)?)
}

/// Announces this start. A cluster that knows a newer one of this node refuses the folder for good.
async fn announce(
    control: &Control,
    client: &ShardClient,
    me: &ThisNode,
    folder: &Folder,
) -> Result<(), StartError> {
    let announced = founding::announce(control, client, me).await;
    if let Err(FoundingError::Refused(refusal @ Refusal::StaleIncarnation { .. })) = &announced {
        folder.refuse(&format!("{refusal}: it is an old copy of the node's folder"))?;
    }
    Ok(announced?)
}

/// Bytes of a sample that is evaluated, as limits count it: its time and its value.
const SAMPLE_BYTES: u64 = 16;

fn query_pool(bytes_max: u64) -> SamplePool {
    SamplePool::new(usize::try_from(bytes_max / SAMPLE_BYTES).unwrap_or(usize::MAX))
}

fn own_id(config: &NodeConfig, folder: &Folder) -> Result<NodeId, StartError> {
    if let Some(identity) = folder.identity() {
        return Ok(identity.node);
    }
    match &config.founders {
        Some(founders) => Ok(founders.own(&config.advertise)?.node),
        None => Err(StartError::NoCluster(config.folder.clone())),
    }
}

fn open_data(config: &NodeConfig) -> Result<(Arc<DataDb>, ReplicaNumbers), StartError> {
    let data = DataDb::open(&config.folder.join("data"), DataDbConfig::default());
    let data = Arc::new(data.map_err(StartError::Data)?);
    let numbers = ReplicaNumbers::open(data.clone())?;
    Ok((data, numbers))
}

fn open_raft(
    config: &NodeConfig,
    node: NodeId,
    folder: &Folder,
    state: &watch::Receiver<Arc<ClusterState>>,
    connections: &Connections,
) -> Result<RaftNode, StartError> {
    let io = |step| move |source| StartError::Io { step, source };
    let identity = LogIdentity { node: node.0, folder: folder.number() };
    let log = config.folder.join(LOG);
    let mut log = LogConfig::new(log, config.folder.join("WATERMARK"), identity);
    log.accept_log_loss = config.accept_log_loss;
    log.sync = config.sync.clone();
    let runtime = RaftRuntime::start(RAFT_THREADS).map_err(io("start the raft runtime"))?;
    let peers = ClusterPeers {
        node,
        incarnation: folder.incarnation(),
        adopted: folder.identity().map(|identity| identity.cluster),
        founders: config.founders.clone(),
        state: state.clone(),
        connections: connections.clone(),
        calls: parking_lot::Mutex::default(),
    };
    let network = Network::new(node.0, Arc::new(peers), runtime.handle().clone());
    Ok(RaftNode {
        node: node.0,
        runtime,
        log: LogDb::open(log)?,
        pool: ApplyPool::start(APPLY_THREADS).map_err(io("start the apply threads"))?,
        network,
    })
}

/// Serves raft on its own runtime and everything else on this one.
fn serve(
    shared: &Arc<Shared>,
    listener: TcpListener,
    tls: Option<ServerTls>,
    routes: Routes,
) -> Result<(), StartError> {
    let io = |source| StartError::Io { step: "listen for the cluster", source };
    tls::check_listener(listener.local_addr().map_err(io)?, tls.as_ref())?;
    listener.set_nonblocking(true).map_err(io)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(io)?;
    let (others, raft) = Incoming::with_raft(listener, tls);
    let stop = &shared.stop;
    shared.tasks.spawn(serve_until_stopped(others, routes, stop.clone()));
    let network = &shared.raft.network;
    let calls = serve_until_stopped(raft.calls, Routes::new(network.service()), stop.clone());
    shared.tasks.spawn_on(calls, shared.raft.runtime.handle());
    let streams = serve_streams(raft.streams, network.clone(), stop.clone());
    shared.tasks.spawn_on(streams, shared.raft.runtime.handle());
    Ok(())
}

/// Serves raft's streams of appends, each until it ends, all until `stop`.
async fn serve_streams(mut incoming: Incoming, network: Network, stop: CancellationToken) {
    let mut serving = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(accepted) = incoming.next() => if let Ok(stream) = accepted {
                let (network, peer) = (network.clone(), stream.connect_info());
                serving.spawn(async move {
                    let mut extensions = Extensions::new();
                    extensions.insert(peer);
                    network.serve(Box::new(stream), &extensions).await;
                });
            },
            Some(_) = serving.join_next() => {}
        }
    }
}

async fn serve_until_stopped(incoming: Incoming, routes: Routes, stop: CancellationToken) {
    let served = tonic::transport::Server::builder()
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    // Peers keep their streams open for as long as they live: calls get a moment to end.
    let grace = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    tokio::select! {
        served = served => if let Err(problem) = served {
            error!(error = %problem, "cluster listener ended");
        },
        () = grace => {}
    }
}

async fn checkpoint_control(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(CONTROL_CHECKPOINT_INTERVAL) => {}
        }
        match shared.control.group().checkpoint().await {
            Ok(applied) => {
                // Not while a snapshot is being taken: the next checkpoint tells.
                if let Some(_purging) = shared.snapshots.allow_purge() {
                    shared.control.group().persisted(applied);
                }
            }
            Err(problem) => error!(%problem, "control group's checkpoint was not written"),
        }
    }
}
