//! Pairs of senders at the door: whose request is taken.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use narthex_cluster::{Command, HeardReplica, Outcome};
use tracing::{debug, info};

use super::{Router, answer::WriteError};
use crate::{
    pairs::{PairLabels, Verdict, verdict},
    payload::Payload,
};

/// How long a sender waits for an election: below what its own patience is.
const ELECTION_TIME: Duration = Duration::from_secs(10);
/// How long a report may hold up the request that it came with.
const REPORT_TIME: Duration = Duration::from_secs(1);
/// Between two looks at cluster state after an election.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// The control group as a router asks it.
pub trait Elections: Send + Sync + 'static {
    /// Proposes a change of cluster state.
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Outcome, String>>;
}

/// Pairs of senders are told apart.
#[derive(Clone)]
pub struct Pairs {
    /// How they name themselves.
    pub labels: PairLabels,
    /// Who elects.
    pub elections: Arc<dyn Elections>,
}

impl std::fmt::Debug for Pairs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pairs").field("labels", &self.labels).finish_non_exhaustive()
    }
}

impl Router {
    /// The replica that was elected instead of the one that sends this, if it is one of a pair.
    pub(super) async fn elected_instead(
        &self,
        payload: &Payload,
    ) -> Result<Option<String>, WriteError> {
        let Some(pairs) = &self.options.pairs else { return Ok(None) };
        let bytes_max = self.options.limits.request_bytes_max;
        let Some(sender) = payload.sender(bytes_max, &pairs.labels)? else { return Ok(None) };
        match self.verdict(&sender) {
            Verdict::Taken => {
                if let Some(heard) = self.reports.hear(sender, self.clock.now()) {
                    self.report(pairs, heard).await;
                }
                Ok(None)
            }
            Verdict::Deduplicated { elected } => Ok(Some(elected)),
            Verdict::Ask => self.elect(pairs, sender).await,
        }
    }

    fn verdict(&self, sender: &HeardReplica) -> Verdict {
        verdict(self.shards.state().pair(&sender.pair), sender, self.clock.now())
    }

    /// A report that fails is made up for by the next one.
    async fn report(&self, pairs: &Pairs, heard: Vec<HeardReplica>) {
        let proposed = pairs.elections.propose(Command::HearReplicas(heard));
        match tokio::time::timeout(REPORT_TIME, proposed).await {
            Ok(Ok(_)) => {}
            Ok(Err(problem)) => debug!(%problem, "replicas not reported; trying again"),
            Err(_) => debug!("replicas not reported in time; trying again"),
        }
    }

    /// Reports a replica whose pair has none, or a silent one, and waits for what comes of it.
    async fn elect(
        &self,
        pairs: &Pairs,
        sender: HeardReplica,
    ) -> Result<Option<String>, WriteError> {
        let HeardReplica { pair, replica } = sender.clone();
        let unavailable = |problem: &str| {
            WriteError::Unavailable(format!("no replica of the pair {pair} is elected: {problem}"))
        };
        let election = async {
            pairs.elections.propose(Command::HearReplicas(vec![sender.clone()])).await?;
            loop {
                match self.verdict(&sender) {
                    Verdict::Taken => return Ok(None),
                    Verdict::Deduplicated { elected } => return Ok(Some(elected)),
                    Verdict::Ask => tokio::time::sleep(LOOK_PAUSE).await,
                }
            }
        };
        match tokio::time::timeout(ELECTION_TIME, election).await {
            Ok(Ok(instead)) => {
                info!(pair, replica, ?instead, "a replica of a pair of senders is elected");
                Ok(instead)
            }
            Ok(Err(problem)) => {
                let problem: String = problem;
                Err(unavailable(&problem))
            }
            Err(_) => Err(unavailable("the control group does not answer")),
        }
    }
}

#[cfg(test)]
mod tests;
