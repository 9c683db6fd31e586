//! `narthex.v1.Settings`.

use std::{sync::Arc, time::Duration};

use narthex_cluster::{ClusterState, Command, Outcome, Settings as ClusterSettings};
use narthex_proto::v1::{Setting, SettingsList, ShowSettingsRequest, settings_server::Settings};
use tokio::{sync::watch, time::timeout};
use tonic::{Request, Response, Status};

use super::names;
use crate::proposer::Proposer;

/// How long this process may take to hear of what it has set.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(2);

/// See the module.
pub struct SettingsService {
    pub proposer: Proposer,
    pub state: watch::Receiver<Arc<ClusterState>>,
}

#[tonic::async_trait]
impl Settings for SettingsService {
    async fn show(
        &self,
        _: Request<ShowSettingsRequest>,
    ) -> Result<Response<SettingsList>, Status> {
        let state = self.state.borrow().clone();
        if state.shards().is_empty() {
            return Err(Status::unavailable("no node has said what the cluster's settings are"));
        }
        Ok(Response::new(list(&state.settings())))
    }

    async fn change(
        &self,
        request: Request<SettingsList>,
    ) -> Result<Response<SettingsList>, Status> {
        let asked = request.into_inner().settings;
        let pairs = asked.iter().map(|it| (it.name.as_str(), it.value.as_str()));
        let refused = |error: String| Status::invalid_argument(error);
        let change = names::change(pairs).map_err(|error| refused(error.to_string()))?;
        let proposed = self.proposer.propose(Command::ChangeSettings(change)).await;
        let outcome = proposed.map_err(|error| refused(error.to_string()))?;
        if let Outcome::Changed { revision } = outcome {
            // Whoever asks here next is shown what was set.
            let mut state = self.state.clone();
            let followed = state.wait_for(|state| state.revision() >= revision);
            drop(timeout(FOLLOW_TIMEOUT, followed).await);
        }
        let settings = self.state.borrow().settings();
        Ok(Response::new(list(&settings)))
    }
}

fn list(settings: &ClusterSettings) -> SettingsList {
    let setting = |named: &names::Named| Setting {
        name: named.name.to_owned(),
        value: (named.show)(settings),
    };
    SettingsList { settings: names::ALL.iter().map(setting).collect() }
}
