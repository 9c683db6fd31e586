//! A node, in a process of its own or in that of `up`.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use http::StatusCode;
use narthex_node::{
    clock::SystemClock,
    control::founding::FoundingPlan,
    founding::Founders,
    host,
    node::{Node, NodeConfig, StartPhase},
    raft::PlainSync,
};
use narthex_web::{Readiness, Routes, access, metrics::TEXT_FORMAT};
use prometheus_client::registry::Registry;
use tokio_util::task::TaskTracker;

use super::{
    Prepared, RoleError, Running, SHUTDOWN_TIMEOUT, admin, features,
    rules::{self, RuleQuerying},
};
use crate::{
    client, config_status,
    flags::{NodeArguments, UpArguments},
    listener,
    output::say,
    signals::{self, StartedBy},
};

/// The name of the only node of a cluster in one process, and of the folder it has.
const ALONE: &str = "n1";
/// The condition of readiness that a node has started.
pub const NODE: &str = "node";

/// Lets `/-/ready` say what a node waits for while it starts.
fn tell(readiness: Readiness) -> Box<dyn Fn(StartPhase) + Send + Sync> {
    let tell = move |phase: StartPhase| readiness.set(NODE, Err(phase.to_string()));
    tell(StartPhase::Opening);
    Box::new(tell)
}

/// `narthex node`. Ends with an error when its log can no longer be written, so that whoever
/// supervises it starts it again.
pub fn run_node(arguments: &NodeArguments) -> Result<ExitCode, RoleError> {
    let prepared = Prepared::new(&arguments.web)?;
    prepared.check_address(arguments.web_listen_address)?;
    let web = listener::bind_web(Some(arguments.web_listen_address))?;
    let address = web.local_addr()?;
    let config = config(arguments, address, prepared.web.readiness())?;
    let rules = rule_querying(arguments, format!("{}://{}", prepared.scheme, config.web))?;
    let started_by = if arguments.supervised { StartedBy::Supervisor } else { StartedBy::User };
    let runtime = super::runtime::start("node")?;
    let result = runtime.block_on(run(started_by, prepared, web, (config, rules)));
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    result.map(|()| ExitCode::SUCCESS)
}

/// How the node evaluates rules; `own_url` is where it answers itself.
fn rule_querying(arguments: &NodeArguments, own_url: String) -> Result<RuleQuerying, RoleError> {
    let flags = &arguments.rules;
    let external_url = flags.external_url.as_ref().or(arguments.web.external_url.as_ref());
    Ok(RuleQuerying {
        memory_bytes_max: arguments.query_memory.bytes_max(1),
        options: features::rule_options(flags)?,
        external_url: external_url.cloned().unwrap_or(own_url),
    })
}

async fn run(
    started_by: StartedBy,
    prepared: Prepared,
    web: TcpListener,
    (config, rules): (NodeConfig, RuleQuerying),
) -> Result<(), RoleError> {
    let stop = signals::stop_token(started_by)?;
    let tasks = TaskTracker::new();
    web.set_nonblocking(true)?;
    let web = tokio::net::TcpListener::from_std(web)?;
    let serving = prepared.web.listen(vec![web], (&tasks, &stop)).await?;
    let started = tokio::select! {
        started = Node::start(config) => started?,
        () = stop.cancelled() => return Ok(()),
    };
    rules::evaluate(&started, rules);
    let mut routes = Routes::new();
    let mut registry = Registry::default();
    add_to(&started, &mut routes, &mut registry);
    let status = config_status::open(&mut registry);
    let follow = config_status::follow(started.client().watch_state(), status);
    tasks.spawn(stop.clone().run_until_cancelled_owned(follow));
    admin::add_lifecycle(&mut routes, None, stop.clone());
    serving.open(routes, registry).await;
    prepared.web.readiness().set(NODE, Ok(()));
    let running = Running { tasks, node: Some(started) };
    tokio::select! {
        error = running.failed() => return Err(error),
        () = stop.cancelled() => {}
    }
    running.stopped().await;
    Ok(())
}

/// Adds what a node serves on the web listener of its process.
pub fn add_to(node: &Node, routes: &mut Routes, registry: &mut Registry) {
    node.register(registry);
    routes.http(&access::METRICS_NODE, async || {
        // It reads /proc, which is quick but not instant.
        let page = tokio::task::spawn_blocking(host::render).await;
        page.map(|page| ([(http::header::CONTENT_TYPE, TEXT_FORMAT)], page))
            .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
    });
}

/// The node of a cluster that is one process.
pub fn config_in_process(
    arguments: &UpArguments,
    folder: &Path,
    web: SocketAddr,
    readiness: Readiness,
) -> Result<NodeConfig, RoleError> {
    let addresses = crate::addresses::of_nodes(folder, 1)?;
    let cluster_listener = listener::bind_web(Some(addresses[0].cluster))?;
    let advertise = addresses[0].cluster.to_string();
    Ok(NodeConfig {
        folder: folder.join(ALONE),
        log_bytes_max: arguments.storage.raft_log_max_bytes,
        query_bytes_max: arguments.query.memory.bytes_max(1),
        cluster_listener,
        web: web.to_string(),
        zone: String::new(),
        founders: Some(Founders::alone(ALONE, &advertise)),
        join: Vec::new(),
        repair: arguments.repair.into(),
        advertise,
        plan: FoundingPlan { shards: arguments.shards, replication_factor: 1 },
        tls: None,
        accept_log_loss: false,
        scrapes_builtin: arguments.config_file.is_none(),
        sync: Arc::new(PlainSync),
        clock: SystemClock::shared(),
        on_wait: tell(readiness),
    })
}

fn config(
    arguments: &NodeArguments,
    web: SocketAddr,
    readiness: Readiness,
) -> Result<NodeConfig, RoleError> {
    let cluster = &arguments.cluster;
    let tls = cluster.certs.as_deref().map(client::peer_tls).transpose()?;
    let cluster_listener = listener::bind_web(Some(cluster.listen_address))?;
    let advertise = match &cluster.advertise_address {
        Some(address) => address.clone(),
        None => cluster_listener.local_addr()?.to_string(),
    };
    let founders: Option<Founders> =
        cluster.initial_nodes.as_deref().map(str::parse).transpose()?;
    let founder_count = founders.as_ref().map_or(1, |founders| founders.iter().len());
    if arguments.accept_log_loss {
        say("--accept-log-loss: what the log has lost stays lost");
    }
    Ok(NodeConfig {
        folder: arguments.storage.path.clone(),
        log_bytes_max: arguments.storage.raft_log_max_bytes,
        query_bytes_max: arguments.query_memory.bytes_max(1),
        cluster_listener,
        web: advertised_web(web, &advertise),
        advertise,
        zone: cluster.zone.clone(),
        founders,
        join: cluster.join.clone(),
        repair: cluster.repair.into(),
        plan: FoundingPlan {
            shards: arguments.shards,
            replication_factor: u8::try_from(founder_count.min(3)).expect("three at the most"),
        },
        tls,
        accept_log_loss: arguments.accept_log_loss,
        scrapes_builtin: !arguments.awaits_config,
        sync: Arc::new(PlainSync),
        clock: SystemClock::shared(),
        on_wait: tell(readiness),
    })
}

/// Where others reach the web listener: one on every address is told by the host that the cluster
/// listener is told by.
fn advertised_web(web: SocketAddr, advertise: &str) -> String {
    match advertise.rsplit_once(':') {
        Some((host, _)) if web.ip().is_unspecified() => format!("{host}:{}", web.port()),
        _ => web.to_string(),
    }
}
