//! Limits of series that no shard can check alone: those of a job, whose targets lie in many
//! shards, and of a node, which hosts replicas of several.
//!
//! A shard's apply checks what it can, exactly: the series of a target, all of which it has, and
//! that it has by itself no more of a job, and in all, than may be. Once a second every node adds
//! up what the leaders of all shards report; what is full then is told to the shards by their
//! leaders, as settings (`upkeep.rs`). So a job or a node may come to exceed its limit by what
//! several shards take within about two seconds, and never by what one of them takes.
//!
//! `full` decides; `run` performs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use narthex_cluster::{NodeId, Settings};
use narthex_proto::{
    client::ShardClient,
    internal::v1::{JobSeries, NodeStatusRequest},
};
use tokio::{sync::watch, time::timeout};
use tracing::warn;

use super::Replicas;
use crate::node::Shared;

/// How often series are added up.
const TURN: Duration = Duration::from_secs(1);
/// How long another node may take to say what it has.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// A shard reports the jobs of which it has this part of an even share of the limit; so much may
/// be missing from the sum, in shards that have little.
const REPORTED_PART: u64 = 16;
/// What is full stays so until it is below its limit by this part: no entries for single series.
const SLACK_PART: u64 = 16;
/// Bytes of the names of full jobs that shards are told.
const NAMES_BYTES_MAX: usize = 64 << 10;

/// What has as many series as it may.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Full {
    /// In order.
    pub jobs: Arc<[Box<str>]>,
    /// Nodes.
    pub nodes: BTreeSet<NodeId>,
}

/// What a node says of its series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Who says it.
    pub node: NodeId,
    /// Series of all its replicas.
    pub series: u64,
    /// Series by job, of the shards it leads.
    pub jobs: Vec<(String, u64)>,
}

/// What is full by these reports. A node that does not report is as it was `before`.
pub fn full(before: &Full, reports: &[Report], settings: &Settings) -> Full {
    let mut nodes = before.nodes.clone();
    for report in reports {
        match is_full(report.series, settings.series_per_node_max, nodes.contains(&report.node)) {
            true => nodes.insert(report.node),
            false => nodes.remove(&report.node),
        };
    }
    if settings.series_per_node_max == 0 {
        nodes.clear();
    }
    let mut jobs = BTreeMap::<&str, u64>::new();
    for (job, series) in reports.iter().flat_map(|report| &report.jobs) {
        *jobs.entry(job).or_default() += series;
    }
    let was_full = |job: &str| before.jobs.binary_search_by(|full| (**full).cmp(job)).is_ok();
    let max = settings.series_per_job_max;
    let mut bytes = 0;
    let jobs = jobs.into_iter().filter(|(job, series)| is_full(*series, max, was_full(job)));
    let jobs = jobs.map(|(job, _)| Box::<str>::from(job)).take_while(|job| {
        bytes += job.len();
        bytes <= NAMES_BYTES_MAX
    });
    Full { jobs: jobs.collect(), nodes }
}

fn is_full(series: u64, max: u32, was_full: bool) -> bool {
    let max = u64::from(max);
    let slack = if was_full { max / SLACK_PART } else { 0 };
    max > 0 && series >= max - slack
}

/// The jobs of the shards led here with more than a little of what a job may have.
pub(crate) fn jobs_led(replicas: &Replicas, settings: &Settings, shards: usize) -> Vec<JobSeries> {
    let limit = u64::from(settings.series_per_job_max);
    if limit == 0 {
        return Vec::new();
    }
    let series_min = (limit / (shards as u64).max(1) / REPORTED_PART).max(1);
    let mut jobs = BTreeMap::<String, u64>::new();
    for replica in replicas.all().iter().filter(|replica| replica.leadership().ready) {
        for (job, series) in replica.reader.jobs_of(series_min) {
            *jobs.entry(job).or_default() += series;
        }
    }
    jobs.into_iter().map(|(job, series)| JobSeries { job, series }).collect()
}

/// The series of all replicas here.
pub(crate) fn series_held(replicas: &Replicas) -> u64 {
    replicas.all().iter().map(|replica| replica.reader.counted_series()).sum()
}

/// Keeps `told` up to date while series of jobs or nodes are limited, until the node stops.
pub(crate) async fn run(
    shared: Arc<Shared>,
    replicas: Arc<Replicas>,
    client: ShardClient,
    told: watch::Sender<Full>,
) {
    let state = shared.control.state();
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(TURN) => {}
        }
        let (settings, shards) = {
            let state = state.borrow();
            (state.settings(), state.shards().len())
        };
        let is_limited = settings.series_per_job_max > 0 || settings.series_per_node_max > 0;
        let now = match is_limited {
            false => Full::default(),
            true => {
                let own = Report {
                    node: shared.node,
                    series: series_held(&replicas),
                    jobs: jobs_led(&replicas, &settings, shards)
                        .into_iter()
                        .map(|it| (it.job, it.series))
                        .collect(),
                };
                let mut reports = others(&shared, &client).await;
                reports.push(own);
                full(&told.borrow(), &reports, &settings)
            }
        };
        told.send_if_modified(|before| {
            let is_changed = *before != now;
            if is_changed && now != Full::default() {
                let (jobs, nodes) = (now.jobs.len(), now.nodes.len());
                warn!(
                    jobs,
                    nodes, "new series are refused: jobs or nodes have reached their limit"
                );
            }
            *before = now;
            is_changed
        });
    }
}

async fn others(shared: &Arc<Shared>, client: &ShardClient) -> Vec<Report> {
    let members: Vec<NodeId> = shared.control.state().borrow().members().keys().copied().collect();
    let others = members.into_iter().filter(|node| *node != shared.node);
    let asked = others.map(|node| async move {
        let service = client.node(node).ok()?;
        let status = timeout(ANSWER_TIMEOUT, service.node_status(NodeStatusRequest {})).await;
        let status = status.ok()?.ok()?;
        let jobs = status.jobs.into_iter().map(|it| (it.job, it.series)).collect();
        Some(Report { node, series: status.counted_series, jobs })
    });
    join_all(asked).await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(node: u64, series: u64, jobs: &[(&str, u64)]) -> Report {
        let jobs = jobs.iter().map(|&(job, series)| (job.to_owned(), series)).collect();
        Report { node: NodeId(node), series, jobs }
    }

    const SETTINGS: Settings = Settings {
        out_of_order_window_millis: 0,
        retention_millis: 1,
        retention_bytes: 0,
        series_per_target_max: 0,
        series_per_job_max: 100,
        series_per_node_max: 160,
    };

    #[test]
    fn a_job_is_full_by_what_all_shards_have() {
        let reports = [report(1, 60, &[("a", 60), ("b", 40)]), report(2, 80, &[("a", 40)])];
        let found = full(&Full::default(), &reports, &SETTINGS);
        assert_eq!(found, Full { jobs: ["a".into()].into(), ..Full::default() });
        let fewer = [report(1, 60, &[("a", 60)]), report(2, 80, &[("a", 34)])];
        assert_eq!(full(&found, &fewer, &SETTINGS), found, "single series change nothing");
        assert_eq!(full(&Full::default(), &fewer, &SETTINGS), Full::default());
        let few = [report(1, 60, &[("a", 60)]), report(2, 80, &[("a", 33)])];
        assert_eq!(full(&found, &few, &SETTINGS), Full::default());
    }

    #[test]
    fn a_node_that_does_not_report_is_as_it_was() {
        let nodes = BTreeSet::from([NodeId(2)]);
        let found = full(&Full::default(), &[report(1, 9, &[]), report(2, 160, &[])], &SETTINGS);
        assert_eq!(found.nodes, nodes);
        assert_eq!(full(&found, &[report(1, 9, &[])], &SETTINGS).nodes, nodes);
        let unlimited = Settings { series_per_node_max: 0, ..SETTINGS };
        assert!(full(&found, &[report(1, 9, &[])], &unlimited).nodes.is_empty());
        assert!(full(&found, &[report(2, 149, &[])], &SETTINGS).nodes.is_empty());
    }

    #[test]
    fn no_limit_is_no_limit() {
        let unlimited = Settings { series_per_job_max: 0, series_per_node_max: 0, ..SETTINGS };
        let reports = [report(1, u64::MAX, &[("a", u64::MAX)])];
        assert_eq!(full(&Full::default(), &reports, &unlimited), Full::default());
    }
}
