//! What a shard must know of cluster state, brought to it as entries by its leader: settings, and
//! the horizons that retention moves from one midnight to the next.
//!
//! `due` decides; `run` performs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use narthex_cluster::{
    ClusterState, NodeId, Placement, RetentionRule as ClusterRule, RuleMatcher,
    Settings as ClusterSettings, ShardId,
};
use narthex_model::{InvalidRegex, Timestamp};
use narthex_tsdb::{RetentionClass, RetentionRule, Settings, entry::Horizon};
use tokio::sync::watch;
use tracing::{debug, error};

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
    /// A later beginning of what is kept, for some classes.
    Horizons(Vec<Horizon>),
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
    /// Series that are of other retention classes than the default one.
    pub retention: Arc<[RetentionRule]>,
}

/// What a shard with these settings and these horizons is to be told at `now`. Whole days end, so
/// that what is kept is never shorter than asked for.
pub fn due(wanted: &Wanted, settings: &Settings, horizons: &[Horizon], now: Timestamp) -> Vec<Due> {
    let mut due = Vec::new();
    let asked = asked(wanted, settings);
    if asked != *settings {
        due.push(Due::Settings(asked));
    }
    let midnight = |class: RetentionClass| {
        let keep_millis = match class {
            RetentionClass(0) => wanted.cluster.retention_millis,
            RetentionClass(days) => i64::from(days) * DAY_MILLIS,
        };
        let kept_from = now.saturating_add_millis(keep_millis.saturating_neg());
        Timestamp::from_millis(kept_from.utc_day().saturating_mul(DAY_MILLIS))
    };
    let mut before: BTreeMap<RetentionClass, Timestamp> =
        horizons.iter().map(|it| (it.class, it.time)).collect();
    // A class has its horizon before it has a sample.
    for rule in &*wanted.retention {
        before.entry(rule.class).or_insert(Timestamp::MIN);
    }
    let moved = before.into_iter().map(|(class, before)| (midnight(class), before, class));
    let moved: Vec<Horizon> = moved
        .filter(|(time, before, _)| time > before)
        .map(|(time, _, class)| Horizon { class, time })
        .collect();
    if !moved.is_empty() {
        due.push(Due::Horizons(moved));
    }
    due
}

/// The rules of cluster state as shards have them. A class is the days that it is kept.
fn retention(rules: &[ClusterRule]) -> Result<Arc<[RetentionRule]>, InvalidRegex> {
    let rule = |rule: &ClusterRule| {
        let matchers = rule.matchers.iter().map(RuleMatcher::compile).collect::<Result<_, _>>()?;
        let days = u16::try_from(rule.keep_days).unwrap_or(u16::MAX);
        Ok(RetentionRule { matchers, class: RetentionClass(days) })
    };
    rules.iter().map(rule).collect()
}

/// Compiled rules, and what they were compiled from.
#[derive(Default)]
struct Rules {
    of: Vec<ClusterRule>,
    compiled: Arc<[RetentionRule]>,
}

impl Rules {
    /// The compiled rules of this state.
    fn follow(&mut self, state: &ClusterState) -> Arc<[RetentionRule]> {
        if self.of != state.retention() {
            match retention(state.retention()) {
                Ok(compiled) => {
                    (self.of, self.compiled) = (state.retention().to_vec(), compiled);
                }
                // A newer program has checked them.
                Err(error) => error!(%error, "rules of retention stay as they were"),
            }
        }
        self.compiled.clone()
    }
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
        retention: wanted.retention.clone(),
        exemplars_max: EXEMPLARS_MAX / u32::try_from(wanted.shards.max(1)).unwrap_or(u32::MAX),
    }
}

/// Keeps the shards led here in step with cluster state, until the node stops.
pub(crate) async fn run(shared: Arc<Shared>, replicas: Arc<Replicas>, full: watch::Receiver<Full>) {
    let state = shared.control.state();
    let mut rules = Rules::default();
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(TURN) => {}
        }
        let state = state.borrow().clone();
        let full = full.borrow().clone();
        let retention = rules.follow(&state);
        let wanted = |shard| Wanted {
            cluster: state.settings(),
            shards: state.shards().len(),
            refuses_new_series: shared.disk.now().0 != DiskState::Ample,
            is_node_full: hosts(&state, shard).any(|node| full.nodes.contains(&node)),
            full_jobs: full.jobs.clone(),
            retention: retention.clone(),
        };
        // A wrong clock would end days that are to be kept: before there is agreement, none ends.
        let now = shared.clocks.agreed_time(shared.clock.monotonic()).unwrap_or(Timestamp::MIN);
        let all = replicas.all();
        let told = all.iter().filter(|replica| replica.leadership().ready).flat_map(|replica| {
            let (settings, horizons) = (replica.reader.settings(), replica.reader.horizons());
            let due = due(&wanted(replica.shard), &settings, &horizons, now);
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
        Due::Horizons(horizons) => Box::new(move |entry, _| {
            entry.horizon(&horizons);
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
    use narthex_cluster::{
        Addresses, Binary, ClusterId, ClusterVersion, Command, Found, Founder, Request, RequestId,
    };
    use narthex_model::{MatchOp, Matcher};

    use super::*;

    fn wanted(cluster: ClusterSettings) -> Wanted {
        Wanted {
            cluster,
            shards: 6,
            refuses_new_series: false,
            is_node_full: false,
            full_jobs: Arc::default(),
            retention: Arc::default(),
        }
    }

    fn horizons(times: &[(u16, i64)]) -> Vec<Horizon> {
        let horizon = |&(class, day): &(u16, i64)| Horizon {
            class: RetentionClass(class),
            time: Timestamp::from_millis(day * DAY_MILLIS),
        };
        times.iter().map(horizon).collect()
    }

    #[test]
    fn horizons_are_midnights_and_only_rise() {
        let cluster = ClusterSettings { retention_millis: DAY_MILLIS, ..Default::default() };
        let settings = Settings { exemplars_max: EXEMPLARS_MAX / 6, ..Settings::default() };
        let due =
            |wanted: &Wanted, horizons: &[Horizon], now| due(wanted, &settings, horizons, now);
        let noon = Timestamp::from_millis(10 * DAY_MILLIS + DAY_MILLIS / 2);
        let before = horizons(&[(0, i64::MIN / DAY_MILLIS), (3, 5), (7, 3)]);
        let moved = [Due::Horizons(horizons(&[(0, 9), (3, 7)]))];
        assert_eq!(due(&wanted(cluster), &before, noon), moved);
        let now = horizons(&[(0, 9), (3, 7), (7, 3)]);
        assert_eq!(due(&wanted(cluster), &now, noon), []);
        assert_eq!(due(&wanted(cluster), &now, Timestamp::from_millis(0)), []);
        let forever = wanted(ClusterSettings { retention_millis: i64::MAX, ..cluster });
        assert_eq!(due(&forever, &now, noon), []);
        let matchers = vec![Matcher::equal("job", "a")];
        let rule = RetentionRule { matchers, class: RetentionClass(2) };
        let retention: Arc<[_]> = [rule].into();
        let settings = Settings { retention: retention.clone(), ..settings.clone() };
        let ruled = Wanted { retention, ..wanted(cluster) };
        let moved = [Due::Horizons(horizons(&[(2, 8)]))];
        assert_eq!(super::due(&ruled, &settings, &now, noon), moved);
    }

    #[test]
    fn rules_are_compiled_once() {
        let mut state = ClusterState::new();
        let mut rules = Rules::default();
        assert!(rules.follow(&state).is_empty());
        let matcher = |op, value: &str| RuleMatcher { op, name: "job".into(), value: value.into() };
        let rule = |matcher, keep_days| ClusterRule { matchers: vec![matcher], keep_days };
        let wanted =
            [rule(matcher(MatchOp::Regex, "a|b"), 7), rule(matcher(MatchOp::Equal, "c"), 2)];
        let compiled = retention(&wanted).unwrap();
        let classes: Vec<u16> = compiled.iter().map(|rule| rule.class.0).collect();
        assert_eq!(classes, [7, 2]);
        assert!(compiled[0].matchers[0].matches("b") && !compiled[0].matchers[0].matches("c"));
        assert!(retention(&[rule(matcher(MatchOp::Regex, "("), 7)]).is_err());
        state = founded_with(wanted.to_vec());
        assert_eq!(*rules.follow(&state), *compiled);
    }

    fn founded_with(rules: Vec<ClusterRule>) -> ClusterState {
        let mut state = ClusterState::new();
        let binary = Binary { level: ClusterVersion(1), text: String::new() };
        let founder = Founder {
            node: NodeId(1),
            name: "n1".into(),
            addresses: Addresses::default(),
            zone: String::new(),
            binary,
        };
        let cluster = ClusterId::from_bytes([7; 16]);
        let found = Found { cluster, members: vec![founder], shards: 1, replication_factor: 1 };
        for (id, command) in
            [Command::Found(found), Command::SetRetention(rules)].into_iter().enumerate()
        {
            let id = RequestId(id as u128);
            let outcome = state.apply(&Request { id, at: Timestamp::from_millis(0), command });
            assert!(outcome.accepted().is_ok());
        }
        state
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
        let matchers = vec![Matcher::equal("job", "a")];
        let rules: Arc<[_]> = [RetentionRule { matchers, class: RetentionClass(3) }].into();
        let wanted = Wanted {
            refuses_new_series: true,
            is_node_full: true,
            full_jobs: ["a".into()].into(),
            retention: rules.clone(),
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
            retention: rules,
            exemplars_max: EXEMPLARS_MAX / 6,
        };
        let told = due(&wanted, &settings, &[], Timestamp::MIN);
        assert_eq!(told, [Due::Settings(asked.clone())]);
        assert_eq!(due(&wanted, &asked, &[], Timestamp::MIN), []);
    }
}
