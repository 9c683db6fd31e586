//! What a shard must know of cluster state, brought to it as entries by its leader: settings, and
//! the horizon that retention moves from one midnight to the next.
//!
//! `due` decides; `run` performs.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use narthex_cluster::{ClusterState, NodeId, Placement, Settings as ClusterSettings, ShardId};
use narthex_model::Timestamp;
use narthex_tsdb::{RetentionClass, Settings, entry::Horizon};
use tokio::sync::watch;
use tracing::debug;

use super::{
    Replica, Replicas,
    core::Urgency,
    series_limits::Full,
    task::{Encode, Write, WriteError},
};
use crate::{disk::DiskState, node::Shared};

/// How often shards are compared with cluster state. A look costs a lock each.
const TURN: Duration = Duration::from_secs(1);
const DAY_MILLIS: i64 = 86_400_000;
/// Exemplars that all shards together keep: as many as Prometheus does, and cheap for what they
/// tell. Some 20 MiB, spread over the shards.
const EXEMPLARS_MAX: u32 = 100_000;
/// About the size of either entry.
const ENTRY_BYTES: usize = 32;

/// What a shard is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Other settings.
    Settings(Settings),
    /// A later beginning of what is kept.
    Horizon(Timestamp),
}

/// What a shard should know.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What cluster state says.
    pub cluster: ClusterSettings,
    /// How many shards there are.
    pub shards: usize,
    /// Whether its leader is short of disk space.
    pub refuses_new_series: bool,
    /// Whether a node that hosts it has as many series as it may.
    pub is_node_full: bool,
    /// Jobs that have as many series as they may, in order.
    pub full_jobs: Arc<[Box<str>]>,
}

/// What a shard with these settings and this horizon is to be told at `now`. Whole days end, so
/// that what is kept is never shorter than asked for.
pub fn due(wanted: &Wanted, settings: &Settings, horizon: Timestamp, now: Timestamp) -> Vec<Due> {
    let mut due = Vec::new();
    let asked = asked(wanted, settings);
    if asked != *settings {
        due.push(Due::Settings(asked));
    }
    let retention_millis = wanted.cluster.retention_millis;
    let kept_from = now.saturating_add_millis(retention_millis.saturating_neg());
    let midnight = Timestamp::from_millis(kept_from.utc_day().saturating_mul(DAY_MILLIS));
    if midnight > horizon {
        due.push(Due::Horizon(midnight));
    }
    due
}

fn asked(wanted: &Wanted, settings: &Settings) -> Settings {
    let cluster = wanted.cluster;
    let window = u64::try_from(cluster.out_of_order_window_millis).unwrap_or(0);
    Settings {
        out_of_order_window: Duration::from_millis(window),
        ahead_max: settings.ahead_max,
        series_max: cluster.series_per_node_max,
        series_per_target_max: cluster.series_per_target_max,
        series_per_job_max: cluster.series_per_job_max,
        is_node_full: wanted.is_node_full,
        full_jobs: wanted.full_jobs.clone(),
        refuses_new_series: wanted.refuses_new_series,
        exemplars_max: EXEMPLARS_MAX / u32::try_from(wanted.shards.max(1)).unwrap_or(u32::MAX),
    }
}

/// Keeps the shards led here in step with cluster state, until the node stops.
pub(crate) async fn run(shared: Arc<Shared>, replicas: Arc<Replicas>, full: watch::Receiver<Full>) {
    let state = shared.control.state();
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(TURN) => {}
        }
        let state = state.borrow().clone();
        let full = full.borrow().clone();
        let wanted = |shard| Wanted {
            cluster: state.settings(),
            shards: state.shards().len(),
            refuses_new_series: shared.disk.now().0 != DiskState::Ample,
            is_node_full: hosts(&state, shard).any(|node| full.nodes.contains(&node)),
            full_jobs: full.jobs.clone(),
        };
        // A wrong clock would end days that are to be kept: before there is agreement, none ends.
        let now = shared.clocks.agreed_time(shared.clock.monotonic()).unwrap_or(Timestamp::MIN);
        let all = replicas.all();
        let told = all.iter().filter(|replica| replica.leadership().ready).flat_map(|replica| {
            let (settings, horizon) = (replica.reader.settings(), replica.reader.horizon());
            let due = due(&wanted(replica.shard), &settings, horizon, now);
            due.into_iter().map(move |due| tell(replica, due))
        });
        join_all(told).await;
    }
}

/// The nodes that have a replica of a shard.
fn hosts(state: &ClusterState, shard: ShardId) -> impl Iterator<Item = NodeId> {
    state.placement(shard).into_iter().flat_map(Placement::nodes)
}

pub(crate) async fn tell(replica: &Replica, due: Due) {
    let what = format!("{due:?}");
    let encode: Encode = match due {
        Due::Settings(settings) => Box::new(move |entry, _| {
            entry.settings(&settings);
            Ok(())
        }),
        Due::Horizon(time) => Box::new(move |entry, _| {
            entry.horizon(&[Horizon { class: RetentionClass::default(), time }]);
            Ok(())
        }),
    };
    let write = Write { encode, bytes: ENTRY_BYTES, urgency: Urgency::AtOnce };
    match replica.writer.write(write).await {
        Ok(_) => debug!(shard = %replica.shard, what, "shard told"),
        Err(problem @ (WriteError::NotLeader { .. } | WriteError::Unknown)) => {
            debug!(shard = %replica.shard, %problem, "shard not told; its next leader will");
        }
        Err(problem) => debug!(shard = %replica.shard, %problem, "shard not told; trying again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(cluster: ClusterSettings) -> Wanted {
        Wanted {
            cluster,
            shards: 6,
            refuses_new_series: false,
            is_node_full: false,
            full_jobs: Arc::default(),
        }
    }

    #[test]
    fn horizons_are_midnights_and_only_rise() {
        let cluster = ClusterSettings { retention_millis: DAY_MILLIS, ..Default::default() };
        let settings = Settings { exemplars_max: EXEMPLARS_MAX / 6, ..Settings::default() };
        let due = |wanted: &Wanted, horizon, now| due(wanted, &settings, horizon, now);
        let at = |millis| Timestamp::from_millis(millis);
        let noon = at(10 * DAY_MILLIS + DAY_MILLIS / 2);
        let moved = [Due::Horizon(at(9 * DAY_MILLIS))];
        assert_eq!(due(&wanted(cluster), Timestamp::MIN, noon), moved);
        assert_eq!(due(&wanted(cluster), at(9 * DAY_MILLIS), noon), []);
        assert_eq!(due(&wanted(cluster), at(9 * DAY_MILLIS), at(0)), []);
        let forever = wanted(ClusterSettings { retention_millis: i64::MAX, ..cluster });
        assert_eq!(due(&forever, at(9 * DAY_MILLIS), noon), []);
    }

    #[test]
    fn settings_are_told_whole_and_once() {
        let cluster = ClusterSettings {
            out_of_order_window_millis: 0,
            series_per_target_max: 1,
            series_per_job_max: 2,
            series_per_node_max: 3,
            ..Default::default()
        };
        let wanted = Wanted {
            refuses_new_series: true,
            is_node_full: true,
            full_jobs: ["a".into()].into(),
            ..wanted(cluster)
        };
        let ahead_max = Duration::from_secs(9);
        let settings = Settings { ahead_max, ..Settings::default() };
        let asked = Settings {
            out_of_order_window: Duration::ZERO,
            ahead_max,
            series_max: 3,
            series_per_target_max: 1,
            series_per_job_max: 2,
            refuses_new_series: true,
            is_node_full: true,
            full_jobs: ["a".into()].into(),
            exemplars_max: EXEMPLARS_MAX / 6,
        };
        let told = due(&wanted, &settings, Timestamp::MAX, Timestamp::MIN);
        assert_eq!(told, [Due::Settings(asked.clone())]);
        assert_eq!(due(&wanted, &asked, Timestamp::MAX, Timestamp::MIN), []);
    }
}
