//! `narthex.v1.Settings`.

use std::{sync::Arc, time::Duration};

use narthex_cluster::{ClusterState, Command, Outcome};
use narthex_proto::v1::{Setting, SettingsList, ShowSettingsRequest, settings_server::Settings};
use tokio::{sync::watch, time::timeout};
use tonic::{Request, Response, Status};

use super::names;
use crate::proposer::Proposer;

/// How many replicas each shard has.
const REPLICATION_FACTOR: &str = "cluster.replication-factor";
/// How many bytes all config objects may have.
const OBJECTS_BYTES: &str = "objects.max-bytes";
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
        Ok(Response::new(list(&state)))
    }

    async fn change(
        &self,
        request: Request<SettingsList>,
    ) -> Result<Response<SettingsList>, Status> {
        let asked = request.into_inner().settings;
        let refused = |error: String| Status::invalid_argument(error);
        let command = command(&asked).map_err(refused)?;
        let proposed = self.proposer.propose(command).await;
        let outcome = proposed.map_err(|error| refused(error.to_string()))?;
        if let Outcome::Changed { revision } = outcome {
            // Whoever asks here next is shown what was set.
            let mut state = self.state.clone();
            let followed = state.wait_for(|state| state.revision() >= revision);
            drop(timeout(FOLLOW_TIMEOUT, followed).await);
        }
        let state = self.state.borrow().clone();
        Ok(Response::new(list(&state)))
    }
}

/// What these settings ask for. Those that are no part of what shards keep are changed by requests
/// of their own.
fn command(asked: &[Setting]) -> Result<Command, String> {
    let alone = |name: &str| match asked.iter().find(|it| it.name == name) {
        Some(_) if asked.len() > 1 => {
            Err(format!("{name} is changed alone, without other settings"))
        }
        found => Ok(found.map(|it| it.value.trim())),
    };
    if let Some(value) = alone(REPLICATION_FACTOR)? {
        let number = value.parse().map_err(|_| {
            format!("{REPLICATION_FACTOR}: {value:?}: want an odd number such as 1, 3 or 5")
        })?;
        return Ok(Command::SetReplicationFactor(number));
    }
    if let Some(value) = alone(OBJECTS_BYTES)? {
        let bytes = narthex_node::config::parse_byte_size(value)
            .map_err(|problem| format!("{OBJECTS_BYTES}: {problem}"))?;
        return Ok(Command::LimitObjects(bytes));
    }
    let pairs = asked.iter().map(|it| (it.name.as_str(), it.value.as_str()));
    let change = names::change(pairs).map_err(|error| error.to_string())?;
    Ok(Command::ChangeSettings(change))
}

fn list(state: &ClusterState) -> SettingsList {
    let settings = state.settings();
    let setting = |named: &names::Named| Setting {
        name: named.name.to_owned(),
        value: (named.show)(&settings),
    };
    let factor = Setting {
        name: REPLICATION_FACTOR.to_owned(),
        value: state.replication_factor().to_string(),
    };
    let objects = Setting {
        name: OBJECTS_BYTES.to_owned(),
        value: format!("{}B", state.objects().bytes_max()),
    };
    SettingsList { settings: names::ALL.iter().map(setting).chain([factor, objects]).collect() }
}
