//! The cluster's settings: what flags say of them, brought to it once it is founded, and the service
//! `narthex.v1.Settings`, which names them.

mod names;
mod service;

use std::{sync::Arc, time::Duration};

use narthex_cluster::{ClusterState, Command, SettingsChange};
use narthex_proto::v1::settings_server::SettingsServer;
use narthex_web::Routes;
use tokio::sync::watch;
use tracing::{error, info};

use self::service::SettingsService;
use crate::{flags::SettingsFlags, proposer::Proposer};

/// Adds the service.
pub fn add(routes: &mut Routes, proposer: Proposer, state: watch::Receiver<Arc<ClusterState>>) {
    routes.grpc(SettingsServer::new(SettingsService { proposer, state }));
}

fn change(flags: &SettingsFlags) -> SettingsChange {
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    SettingsChange {
        retention_millis: flags.retention_time.map(millis),
        retention_bytes: flags.retention_size.map(|size| i64::try_from(size).unwrap_or(i64::MAX)),
        series_per_target_max: flags.max_series_per_target,
        series_per_job_max: flags.max_series_per_job,
        series_per_node_max: flags.max_series_per_node,
        ..SettingsChange::default()
    }
}

/// Gives the cluster the settings that flags name, once it is founded.
pub async fn set(
    proposer: Proposer,
    mut state: watch::Receiver<Arc<ClusterState>>,
    flags: SettingsFlags,
) {
    let settings = match state.wait_for(|state| !state.shards().is_empty()).await {
        Ok(state) => state.settings(),
        Err(_) => return,
    };
    let change = change(&flags);
    let wanted = change.applied_to(settings);
    if settings == wanted {
        return;
    }
    match proposer.propose(Command::ChangeSettings(change)).await {
        Ok(_) => info!(settings = ?wanted, "settings changed"),
        Err(error) => error!(%error, "settings refused"),
    }
}

#[cfg(test)]
mod tests {
    use narthex_cluster::Settings;

    use super::*;

    #[test]
    fn what_no_flag_names_stays() {
        let before = Settings { series_per_job_max: 7, retention_bytes: 9, ..Settings::default() };
        assert_eq!(change(&SettingsFlags::default()).applied_to(before), before);
        let flags = SettingsFlags {
            retention_time: Some(Duration::from_secs(86_400)),
            max_series_per_target: Some(5),
            max_series_per_job: Some(0),
            ..SettingsFlags::default()
        };
        let after = Settings {
            retention_millis: 86_400_000,
            series_per_target_max: 5,
            series_per_job_max: 0,
            ..before
        };
        assert_eq!(change(&flags).applied_to(before), after);
    }
}
