//! Changes of cluster state that this process asks for.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use narthex_cluster::{Command, DecodeError, Outcome, Refusal, Request, RequestId};
use narthex_proto::{
    client::ShardClient,
    internal::v1::{ProposeRequest, propose_response::Result as Answer},
    service::NodeService,
};
use narthex_router::Elections;
use narthex_web::Clock;

/// Between two attempts while the cluster has no leader, about as long as an election takes.
const RETRY_PAUSE: Duration = Duration::from_millis(300);

/// Why the state did not change. Asking again would not help.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// Make it smaller.
    #[error("it is too large for the cluster's state")]
    TooLarge(#[from] DecodeError),
    /// Correct it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the cluster has no nodes")]
    NoNodes,
}

/// Proposes to the control group, through whichever node answers.
#[derive(Clone)]
pub struct Proposer {
    seeds: Arc<[Arc<dyn NodeService>]>,
    shards: ShardClient,
    clock: Clock,
}

impl Proposer {
    /// A proposer that asks the members of the cluster in turn, and these nodes as long as nobody
    /// has said who they are.
    pub fn new(seeds: Vec<Arc<dyn NodeService>>, shards: ShardClient, clock: Clock) -> Self {
        Self { seeds: seeds.into(), shards, clock }
    }

    /// Whom to ask: anew for each round, as members come and go.
    pub fn nodes(&self) -> Vec<Arc<dyn NodeService>> {
        let state = self.shards.state();
        let members = state.members().keys().filter_map(|id| self.shards.node(*id).ok());
        let nodes: Vec<_> = members.collect();
        if nodes.is_empty() { self.seeds.to_vec() } else { nodes }
    }

    /// Proposes until a node has answered for the control group.
    pub async fn propose(&self, command: Command) -> Result<Outcome, ProposeError> {
        // One id for all attempts: one whose answer was lost is not carried out twice.
        let id = RequestId(uuid::Uuid::new_v4().as_u128());
        let request = Request { id, at: self.clock.now(), command }.encode()?;
        loop {
            let nodes = self.nodes();
            if nodes.is_empty() {
                return Err(ProposeError::NoNodes);
            }
            for node in nodes {
                if let Some(outcome) = ask(node.as_ref(), &request).await {
                    return Ok(outcome.accepted()?);
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

impl Elections for Proposer {
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Outcome, String>> {
        Box::pin(async { Self::propose(self, command).await.map_err(|error| error.to_string()) })
    }
}

async fn ask(node: &dyn NodeService, command: &[u8]) -> Option<Outcome> {
    let request = ProposeRequest { command: command.to_vec().into() };
    match node.propose(request).await.ok()?.result? {
        Answer::Outcome(bytes) => Outcome::decode(&bytes).ok(),
        Answer::Unavailable(_) => None,
    }
}
