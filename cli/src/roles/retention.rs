//! `narthex.v1.Retention`: which series are kept for another time than the others.

use std::{sync::Arc, time::Duration};

use narthex_cluster::{ClusterState, Command, Outcome, RetentionRule};
use narthex_node::config::retention::{matchers, selector_text};
use narthex_proto::v1::{
    RetentionRule as Rule, RetentionRules, SetRetentionResponse, ShowRetentionRequest,
    retention_server::{Retention, RetentionServer},
};
use narthex_web::Routes;
use tokio::{sync::watch, time::timeout};
use tonic::{Request, Response, Status};

use crate::proposer::Proposer;

/// How long this process may take to hear of what it has set.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(2);

/// Adds the service.
pub fn add(routes: &mut Routes, proposer: Proposer, state: watch::Receiver<Arc<ClusterState>>) {
    routes.grpc(RetentionServer::new(RetentionService { proposer, state }));
}

struct RetentionService {
    proposer: Proposer,
    state: watch::Receiver<Arc<ClusterState>>,
}

#[tonic::async_trait]
impl Retention for RetentionService {
    async fn show(
        &self,
        _: Request<ShowRetentionRequest>,
    ) -> Result<Response<RetentionRules>, Status> {
        let state = self.state.borrow().clone();
        if state.shards().is_empty() {
            return Err(Status::unavailable("no node has said what the cluster keeps"));
        }
        let rules = state.retention().iter().map(|rule| Rule {
            selector: selector_text(&rule.matchers),
            keep_days: rule.keep_days,
        });
        Ok(Response::new(RetentionRules { rules: rules.collect() }))
    }

    async fn set(
        &self,
        request: Request<RetentionRules>,
    ) -> Result<Response<SetRetentionResponse>, Status> {
        let rules: Result<_, Status> = request.into_inner().rules.iter().map(rule).collect();
        let proposed = self.proposer.propose(Command::SetRetention(rules?)).await;
        let outcome = proposed.map_err(|error| Status::invalid_argument(error.to_string()))?;
        if let Outcome::Changed { revision } = outcome {
            // Whoever asks here next is shown what was set.
            let mut state = self.state.clone();
            let followed = state.wait_for(|state| state.revision() >= revision);
            drop(timeout(FOLLOW_TIMEOUT, followed).await);
        }
        Ok(Response::new(SetRetentionResponse {}))
    }
}

fn rule(rule: &Rule) -> Result<RetentionRule, Status> {
    let matchers = matchers(&rule.selector)
        .map_err(|problem| Status::invalid_argument(format!("{}: {problem}", rule.selector)))?;
    Ok(RetentionRule { matchers, keep_days: rule.keep_days })
}
