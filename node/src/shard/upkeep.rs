//! What a shard must know of cluster state, brought to it as entries by its leader: settings, and
//! the horizon that retention moves from one midnight to the next.
//!
//! `due` decides; `run` performs.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use narthex_cluster::Settings as ClusterSettings;
use narthex_model::Timestamp;
use narthex_tsdb::{RetentionClass, Settings, entry::Horizon};
use tracing::debug;

use super::{
    Replica, Replicas,
    core::Urgency,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Other settings.
    Settings(Settings),
    /// A later beginning of what is kept.
    Horizon(Timestamp),
}

/// What a shard should know.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// What cluster state says.
    pub cluster: ClusterSettings,
    /// How many shards there are.
    pub shards: usize,
    /// Whether its leader is short of disk space.
    pub refuses_new_series: bool,
}

/// What a shard with these settings and this horizon is to be told at `now`. Whole days end, so
/// that what is kept is never shorter than asked for.
pub fn due(wanted: &Wanted, settings: Settings, horizon: Timestamp, now: Timestamp) -> Vec<Due> {
    let Wanted { cluster: wanted, shards, refuses_new_series } = *wanted;
    let mut due = Vec::new();
    let window = u64::try_from(wanted.out_of_order_window_millis).unwrap_or(0);
    let asked = Settings {
        out_of_order_window: Duration::from_millis(window),
        exemplars_max: EXEMPLARS_MAX / u32::try_from(shards.max(1)).unwrap_or(u32::MAX),
        refuses_new_series,
        ..settings
    };
    if asked != settings {
        due.push(Due::Settings(asked));
    }
    let kept_from = now.saturating_add_millis(wanted.retention_millis.saturating_neg());
    let midnight = Timestamp::from_millis(kept_from.utc_day().saturating_mul(DAY_MILLIS));
    if midnight > horizon {
        due.push(Due::Horizon(midnight));
    }
    due
}

/// Keeps the shards led here in step with cluster state, until the node stops.
pub(crate) async fn run(shared: Arc<Shared>, replicas: Arc<Replicas>) {
    let state = shared.control.state();
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(TURN) => {}
        }
        let (cluster, shards) = {
            let state = state.borrow();
            (state.settings(), state.shards().len())
        };
        let refuses_new_series = shared.disk.now().0 != DiskState::Ample;
        let wanted = Wanted { cluster, shards, refuses_new_series };
        // A wrong clock would end days that are to be kept: before there is agreement, none ends.
        let now = shared.clocks.agreed_time(shared.clock.monotonic()).unwrap_or(Timestamp::MIN);
        let all = replicas.all();
        let told = all.iter().filter(|replica| replica.leadership().ready).flat_map(|replica| {
            let due = due(&wanted, replica.reader.settings(), replica.reader.horizon(), now);
            due.into_iter().map(move |due| tell(replica, due))
        });
        join_all(told).await;
    }
}

pub(crate) async fn tell(replica: &Replica, due: Due) {
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
        Ok(_) => debug!(shard = %replica.shard, ?due, "shard told"),
        Err(problem @ (WriteError::NotLeader { .. } | WriteError::Unknown)) => {
            debug!(shard = %replica.shard, %problem, "shard not told; its next leader will");
        }
        Err(problem) => debug!(shard = %replica.shard, %problem, "shard not told; trying again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn horizons_are_midnights_and_only_rise() {
        let cluster = ClusterSettings { retention_millis: DAY_MILLIS, ..Default::default() };
        let wanted = Wanted { cluster, shards: 6, refuses_new_series: false };
        let settings = Settings { exemplars_max: EXEMPLARS_MAX / 6, ..Settings::default() };
        let at = |millis| Timestamp::from_millis(millis);
        let noon = at(10 * DAY_MILLIS + DAY_MILLIS / 2);
        let moved = [Due::Horizon(at(9 * DAY_MILLIS))];
        assert_eq!(due(&wanted, settings, Timestamp::MIN, noon), moved);
        assert_eq!(due(&wanted, settings, at(9 * DAY_MILLIS), noon), []);
        assert_eq!(due(&wanted, settings, at(9 * DAY_MILLIS), at(0)), []);
        let cluster = ClusterSettings { retention_millis: i64::MAX, ..cluster };
        let forever = Wanted { cluster, ..wanted };
        assert_eq!(due(&forever, settings, at(9 * DAY_MILLIS), noon), []);
    }

    #[test]
    fn other_settings_leave_the_rest_as_it_is() {
        let cluster = ClusterSettings { out_of_order_window_millis: 0, ..Default::default() };
        let wanted = Wanted { cluster, shards: 6, refuses_new_series: true };
        let settings = Settings { series_max: 7, ..Settings::default() };
        let exemplars_max = EXEMPLARS_MAX / 6;
        let told = due(&wanted, settings, Timestamp::MAX, Timestamp::MIN);
        let asked = Settings {
            out_of_order_window: Duration::ZERO,
            exemplars_max,
            refuses_new_series: true,
            ..settings
        };
        assert_eq!(told, [Due::Settings(asked)]);
    }
}
