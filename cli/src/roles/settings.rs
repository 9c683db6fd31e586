//! What flags say of the cluster's settings, brought to it once it is founded.

use std::{sync::Arc, time::Duration};

use narthex_cluster::{ClusterState, Command, Settings};
use tokio::sync::watch;
use tracing::{error, info};

use crate::{flags::SettingsFlags, proposer::Proposer};

/// Prometheus's default, which is the cluster's too.
const RETENTION: Duration = Duration::from_secs(15 * 86_400);

/// Retention as Prometheus's runtime information has it.
pub fn retention_text(flags: &SettingsFlags) -> String {
    let time = narthex_model::duration::format(flags.retention_time.unwrap_or(RETENTION));
    match flags.retention_size {
        None | Some(0) => time,
        Some(bytes) => format!("{time} or {bytes}B"),
    }
}

fn applied_to(flags: &SettingsFlags, mut settings: Settings) -> Settings {
    if let Some(time) = flags.retention_time {
        settings.retention_millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    }
    if let Some(bytes) = flags.retention_size {
        settings.retention_bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    }
    let limits = [
        (flags.max_series_per_target, &mut settings.series_per_target_max),
        (flags.max_series_per_job, &mut settings.series_per_job_max),
        (flags.max_series_per_node, &mut settings.series_per_node_max),
    ];
    for (flag, limit) in limits {
        *limit = flag.unwrap_or(*limit);
    }
    settings
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
    let wanted = applied_to(&flags, settings);
    if settings == wanted {
        return;
    }
    match proposer.propose(Command::SetSettings(wanted)).await {
        Ok(_) => info!(settings = ?wanted, "settings changed"),
        Err(error) => error!(%error, "settings refused"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_flag_names_stays() {
        let before = Settings { series_per_job_max: 7, retention_bytes: 9, ..Settings::default() };
        assert_eq!(applied_to(&SettingsFlags::default(), before), before);
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
        assert_eq!(applied_to(&flags, before), after);
    }

    #[test]
    fn retention_is_named_as_prometheus_names_it() {
        let flags = SettingsFlags { retention_size: Some(512), ..SettingsFlags::default() };
        assert_eq!(retention_text(&flags), "15d or 512B");
    }
}
