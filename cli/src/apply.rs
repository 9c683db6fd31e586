//! `narthex apply`: what files say becomes state of a running cluster.
//!
//! Objects go to a web listener. A `prometheus.yml`, which is told from them by its having neither
//! `apiVersion` nor `kind`, goes to nodes, as they ask each other: whoever has a certificate of the
//! cluster may configure it, and no web listener has to allow it. There is no watching of files;
//! whoever changes one applies it again.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use narthex_cluster::{ClusterState, Outcome};
use narthex_node::config::ConfigError;
use narthex_promql::ParseOptions;
use narthex_proto::{
    client::ShardClient,
    connect::{ConnectError, Connections},
    service::NodeService,
};
use narthex_web::Clock;
use tokio::sync::watch;

use crate::{
    client::{self, ClientError},
    config_file,
    flags::ApplyArguments,
    objects::{self, ObjectsError, files},
    output::answer,
    proposer::{ProposeError, Proposer},
};

/// Nodes that are started at the same moment found their cluster first; elections take seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Why the cluster is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Correct the file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Make the certificates, or correct the folder.
    #[error(transparent)]
    Certificates(#[from] ClientError),
    /// Correct the address.
    #[error(transparent)]
    Node(#[from] ConnectError),
    /// What it says.
    #[error("configuration refused")]
    Propose(#[from] ProposeError),
    /// Start the nodes, or name others.
    #[error("no node of {nodes} answered for the cluster within {} s", ANSWER_TIMEOUT.as_secs())]
    Silent { nodes: String },
    #[error("print the answer")]
    Print(#[from] io::Error),
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// Say where the cluster's nodes are.
    #[error("{} is a prometheus.yml: it needs --cluster.join, and no other file", file.display())]
    Alone { file: PathBuf },
}

/// Whether all that the files say is in force.
pub async fn run(arguments: &ApplyArguments) -> Result<bool, ApplyError> {
    if let Some(file) = files::prometheus_file(&arguments.files) {
        if arguments.files.len() > 1 || arguments.join.is_empty() {
            return Err(ApplyError::Alone { file: file.to_owned() });
        }
        import(file, arguments).await?;
        return Ok(true);
    }
    Ok(objects::apply(arguments).await?)
}

/// Puts the file in force, and says whether that changed anything.
async fn import(file: &Path, cluster: &ApplyArguments) -> Result<(), ApplyError> {
    // Whoever evaluates rules takes all that expressions may use.
    let config = narthex_node::config::load(file, &ParseOptions::everything())?;
    for section in &config.inactive {
        answer(&format!("WARNING: {section} has no effect yet"))?;
    }
    let tls = cluster.certs.as_deref().map(client::peer_tls).transpose()?;
    let connections = Connections::new(tls);
    let mut nodes: Vec<Arc<dyn NodeService>> = Vec::new();
    for address in &cluster.join {
        nodes.push(Arc::new(connections.node(None, address)?));
    }
    // Nobody follows the state here: who is asked is who was named.
    let (_, state) = watch::channel(Arc::new(ClusterState::new()));
    let shards = ShardClient::new(state, connections, None);
    let proposer = Proposer::new(nodes, shards, Clock::system());
    let answered = proposer.propose(config_file::command(&config));
    let outcome = match tokio::time::timeout(ANSWER_TIMEOUT, answered).await {
        Ok(outcome) => outcome?,
        Err(_) => return Err(ApplyError::Silent { nodes: cluster.join.join(", ") }),
    };
    let done = if outcome == Outcome::Unchanged { "unchanged" } else { "configured" };
    answer(&format!("{} {done}", file.display()))?;
    Ok(())
}
