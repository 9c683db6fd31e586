//! `narthex up`: a whole cluster on this machine, in the foreground.
//!
//! With `--nodes N` the nodes are child processes and this process is their supervisor, their
//! router and their querier. The supervisor has the main thread to itself: the kernel ends a
//! child when the *thread* that started it ends, and the main thread ends last.

use std::{ffi::OsString, net::SocketAddr, path::Path, process::ExitCode, time::Duration};

use tokio::runtime;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    addresses::{self, AddressesError, NodeAddresses},
    flags::UpArguments,
    folder::{ClusterFolder, OpenFolderError},
    listener::{self, BindError},
    output::{answer, say},
    roles::{self, Front, Prepared, RoleError},
    signals::{self, StartedBy},
    supervisor::{self, Child, ChildHandle},
};

/// How long a cluster that is being started may take to say where it answers.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why no cluster came up.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    #[error(transparent)]
    Folder(#[from] OpenFolderError),
    #[error(transparent)]
    Listen(#[from] BindError),
    #[error(transparent)]
    Addresses(#[from] AddressesError),
    #[error(transparent)]
    Role(#[from] RoleError),
    #[error("start the runtime")]
    Runtime(#[from] std::io::Error),
}

/// Runs until it is told to stop.
pub fn run(arguments: &UpArguments) -> Result<ExitCode, UpError> {
    let prepared = Prepared::for_up(arguments)?;
    let supervisor = runtime::Builder::new_current_thread().enable_all().build()?;
    let folder = match supervisor.block_on(open_folder(&arguments.storage.path))? {
        Opened::Folder(folder) => folder,
        Opened::RunsAt(url) => {
            answer(&url)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let front = roles::start_runtime("front")?;
    let result = supervisor.block_on(run_in(folder, arguments, prepared, front.handle()));
    // A blocked thread must not keep a stopped cluster in the foreground.
    front.shutdown_timeout(roles::SHUTDOWN_TIMEOUT);
    result.map(|()| ExitCode::SUCCESS)
}

enum Opened {
    Folder(ClusterFolder),
    RunsAt(String),
}

/// Opens the folder, or finds out where its running cluster answers.
async fn open_folder(path: &Path) -> Result<Opened, UpError> {
    let open = async {
        loop {
            match ClusterFolder::open(path) {
                Ok(folder) => return Ok(Opened::Folder(folder)),
                Err(OpenFolderError::Running { url, .. }) if !url.is_empty() => {
                    say(&format!("a cluster already runs in {}", path.display()));
                    return Ok(Opened::RunsAt(url));
                }
                Err(OpenFolderError::Running { .. }) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => return Err(UpError::Folder(error)),
            }
        }
    };
    match tokio::time::timeout(ANNOUNCE_TIMEOUT, open).await {
        Ok(opened) => opened,
        Err(_) => ClusterFolder::open(path).map(Opened::Folder).map_err(UpError::Folder),
    }
}

async fn run_in(
    mut folder: ClusterFolder,
    arguments: &UpArguments,
    prepared: Prepared,
    front: &runtime::Handle,
) -> Result<(), UpError> {
    let tasks = TaskTracker::new();
    let stop = signals::stop_token(StartedBy::User)?;
    let listener = listener::bind_web(arguments.web_listen_address)?;
    let address = listener.local_addr()?;
    if arguments.web_listen_address.is_none() && listener::is_fallback(address) {
        say(&format!("port 9090 is taken; using {}", address.port()));
    }
    let url = url(prepared.scheme, address);

    let nodes = match arguments.nodes {
        Some(count) => addresses::of_nodes(folder.path(), count)?,
        None => Vec::new(),
    };
    let children: Vec<_> = nodes
        .iter()
        .map(|node| {
            let child = child(folder.path(), (arguments, &url), &nodes, node);
            supervisor::spawn(child, &tasks, stop.clone())
        })
        .collect();

    // Its own token: the front door closes first, but only once told so, and children after it.
    let front_stop = CancellationToken::new();
    let running = roles::start_front(Front {
        arguments,
        prepared,
        folder: folder.path(),
        nodes: &nodes,
        listener,
        url: &url,
        quit: stop.clone(),
        stop: front_stop.clone(),
        runtime: front,
    })
    .await;
    let running = match running {
        Ok(running) => running,
        Err(error) => {
            stop_children(children).await;
            return Err(error.into());
        }
    };
    folder.announce(&url)?;
    answer(&format!("Narthex answers at {url}"))?;
    let result = tokio::select! {
        () = stop.cancelled() => Ok(()),
        error = running.failed() => Err(error.into()),
    };
    say("stopping");
    front_stop.cancel();
    running.stopped().await;
    stop_children(children).await;
    result
}

/// The last one first, so that the others know its leaderships before they stop themselves.
async fn stop_children(children: Vec<ChildHandle>) {
    for child in children.into_iter().rev() {
        child.stop().await;
    }
}

/// `narthex node` with the flags that make it one of this cluster.
fn child(
    folder: &Path,
    (arguments, url): (&UpArguments, &str),
    nodes: &[NodeAddresses],
    node: &NodeAddresses,
) -> Child {
    let founders: Vec<_> =
        nodes.iter().map(|node| format!("{}={}", node.name, node.cluster)).collect();
    let data = folder.join(&node.name);
    let flag = |name: &str, value: &dyn std::fmt::Display| format!("--{name}={value}").into();
    let mut data_flag = OsString::from("--storage.tsdb.path=");
    data_flag.push(&data);
    let external_url = arguments.web.external_url.as_deref().unwrap_or(url);
    let lookback = arguments.query.lookback_delta.as_millis();
    let features = &arguments.query.features.enable_feature;
    let features = features.iter().map(|feature| flag("enable-feature", feature));
    let awaits_config = arguments.config_file.as_ref().map(|_| "--awaits-config".into());
    let flags = vec![
        "node".into(),
        "--supervised".into(),
        flag("cluster.listen-address", &node.cluster),
        flag("cluster.initial-nodes", &founders.join(",")),
        flag("web.listen-address", &node.web),
        data_flag,
        flag("shards", &arguments.shards),
        flag("storage.raft-log.max-bytes", &arguments.storage.raft_log_max_bytes),
        flag("cluster.rebuild-after", &format!("{}ms", arguments.repair.rebuild_after.as_millis())),
        flag(
            "cluster.digest-interval",
            &format!("{}ms", arguments.repair.digest_interval.as_millis()),
        ),
        flag(
            "cluster.canary-interval",
            &format!("{}ms", arguments.repair.canary_interval.as_millis()),
        ),
        flag("query.max-memory-bytes", &arguments.query.memory.bytes_max(nodes.len() as u64)),
        flag("rules.external-url", &external_url),
        flag("query.lookback-delta", &format!("{lookback}ms")),
        flag("log.level", &arguments.log.level.name()),
        flag("log.format", &arguments.log.format.name()),
    ];
    Child {
        name: node.name.clone(),
        folder: data,
        arguments: flags.into_iter().chain(features).chain(awaits_config).collect(),
    }
}

/// `SCHEME://HOST:PORT`, with a host that a browser can open.
fn url(scheme: &str, address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        return format!("{scheme}://localhost:{}", address.port());
    }
    format!("{scheme}://{address}")
}
