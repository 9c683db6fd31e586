//! What a node says of itself on `/metrics`. Read when asked: nothing here is counted twice.
//!
//! Where Prometheus measures the same thing, the name is Prometheus's, so that dashboards and
//! alerts go on working; a node's series are those of the shards that it leads, so that a sum
//! over nodes counts each series once.

use std::{collections::BTreeMap, fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::{
    node::Shared,
    raft::{Durations, GroupStatus, Role},
    scrape::ScrapeMetrics,
    shard::Replicas,
};

type Labels<'a> = [(&'a str, String); 1];

/// Reads a node's parts.
pub(crate) struct NodeMetrics {
    pub shared: Arc<Shared>,
    pub replicas: Arc<Replicas>,
    pub scrape: Arc<ScrapeMetrics>,
}

impl fmt::Debug for NodeMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeMetrics")
    }
}

impl NodeMetrics {
    /// Puts everything into `registry`.
    pub fn register(self, registry: &mut Registry) {
        registry.register_collector(Box::new(self));
    }

    fn groups(&self) -> Vec<GroupStatus> {
        let mut groups = vec![self.shared.control.group().status()];
        groups.extend(self.replicas.all().iter().map(|replica| replica.group.status()));
        groups
    }

    fn storage(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (mut series, mut created, mut samples, mut memory) = (0, 0, 0, 0);
        let mut behind = 0;
        for replica in self.replicas.all() {
            let stats = replica.reader.stats();
            memory += stats.memory_bytes;
            behind += replica.state.behind_checkpoint().samples;
            if replica.leadership().role == Role::Leader {
                series += stats.series;
                created += stats.series_created;
                samples += stats.samples;
            }
        }
        let help = "Series in memory of the shards led here";
        gauge(encoder, "prometheus_tsdb_head_series", help, series as f64)?;
        let help = "Series ever created in the shards led here";
        counter(encoder, "prometheus_tsdb_head_series_created", help, created as f64)?;
        let help = "Samples ever stored in the shards led here";
        counter(encoder, "prometheus_tsdb_head_samples_appended", help, samples as f64)?;
        let help = "Memory of series, index and unwritten chunks of all replicas, in bytes";
        gauge(encoder, "narthex_node_head_bytes", help, memory as f64)?;
        let help = "Samples that a restart would apply again";
        gauge(encoder, "narthex_node_checkpoint_behind_samples", help, behind as f64)
    }

    fn clocks(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let clocks = self.shared.clocks.last();
        let help = "How far this node's clock is ahead of the cluster's median, in seconds";
        let ahead = clocks.ahead_millis as f64 / 1000.0;
        gauge(encoder, "narthex_node_clock_ahead_seconds", help, ahead)?;
        let is_off = clocks.off.contains(&self.shared.node);
        let help = "Whether that is so far that the node leads nothing";
        gauge(encoder, "narthex_node_clock_is_off", help, f64::from(u8::from(is_off)))
    }

    fn raft(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let groups = self.groups();
        let per_group = |encoder: &mut DescriptorEncoder<'_>,
                         name,
                         help,
                         value: &dyn Fn(&GroupStatus) -> f64| {
            let rows =
                groups.iter().map(|group| ([("group", group.group.to_string())], value(group)));
            gauges(encoder, name, help, rows)
        };
        per_group(
            encoder,
            "narthex_node_raft_is_leader",
            "Whether this replica leads its group",
            &|it| f64::from(u8::from(it.leadership.role == Role::Leader)),
        )?;
        per_group(
            encoder,
            "narthex_node_raft_term",
            "Newest term that the replica knows",
            &|it| it.leadership.term as f64,
        )?;
        per_group(encoder, "narthex_node_raft_applied_index", "Newest entry applied", &|it| {
            it.applied.map_or(0.0, |at| at.index as f64)
        })?;
        per_group(
            encoder,
            "narthex_node_raft_persisted_index",
            "Newest entry in a checkpoint on disk",
            &|it| it.persisted.map_or(0.0, |at| at.index as f64),
        )?;
        per_group(
            encoder,
            "narthex_node_raft_is_stalled",
            "No leader, or one that hears no majority",
            &|it| f64::from(u8::from(it.stalled)),
        )?;
        per_group(
            encoder,
            "narthex_node_raft_reopenings",
            "Times the group was reopened after its core ended",
            &|it| it.reopenings as f64,
        )?;
        per_group(
            encoder,
            "narthex_node_raft_follower_lag_entries",
            "Entries that the slowest follower lacks",
            &|it| {
                it.followers.iter().map(|follower| follower.lag_entries).max().unwrap_or(0) as f64
            },
        )?;
        let log = self.shared.raft.log.metrics();
        let help = "How long syncs of the raft log took, in seconds";
        durations(
            encoder,
            "narthex_node_raft_log_sync_duration_seconds",
            help,
            &log.sync_duration,
        )?;
        let help = "How long tasks held a thread of the raft runtime, in seconds";
        let polls = self.shared.raft.runtime.poll_durations();
        durations(encoder, "narthex_node_raft_poll_duration_seconds", help, polls)
    }

    fn scrapes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut families: BTreeMap<&str, Vec<(Labels<'_>, f64)>> = BTreeMap::new();
        for (name, reason, count) in self.scrape.counts() {
            let name = name.strip_suffix("_total").unwrap_or(name);
            families.entry(name).or_default().push(([("reason", reason.to_owned())], count as f64));
        }
        for (name, help, count) in self.scrape.prometheus_counts() {
            counter(encoder, name, help, count as f64)?;
        }
        for (name, rows) in families {
            counters(encoder, name, "Scrapes, or samples left out, by what became of them", rows)?;
        }
        Ok(())
    }
}

impl Collector for NodeMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.storage(&mut encoder)?;
        self.clocks(&mut encoder)?;
        self.raft(&mut encoder)?;
        self.scrapes(&mut encoder)
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    let metric = ConstGauge::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    let metric = ConstCounter::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn gauges<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl IntoIterator<Item = (Labels<'a>, f64)>,
) -> fmt::Result {
    let kind = ConstGauge::new(0.0).metric_type();
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in rows {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn counters<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl IntoIterator<Item = (Labels<'a>, f64)>,
) -> fmt::Result {
    let kind = ConstCounter::new(0.0).metric_type();
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in rows {
        ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// Sum and count of a histogram; its quantiles are what budgets are about.
fn durations(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    durations: &Durations,
) -> fmt::Result {
    counter(encoder, &format!("{name}_sum"), help, durations.sum_seconds())?;
    counter(encoder, &format!("{name}_count"), help, durations.count() as f64)?;
    let p99 = durations.quantile_bound(0.99).as_secs_f64();
    gauge(encoder, &format!("{name}_p99"), help, p99)
}
