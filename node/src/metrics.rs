//! What a node says of itself on `/metrics`. Read when asked: nothing here is counted twice.
//!
//! Where Prometheus measures the same thing, the name is Prometheus's, so that dashboards and
//! alerts go on working; a node's series are those of the shards that it leads, so that a sum
//! over nodes counts each series once.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, atomic::Ordering},
};

use narthex_cluster::ShardId;
use narthex_model::Timestamp;
use narthex_tsdb::ShardStats;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::{
    node::Shared,
    raft::{Durations, GroupStatus, Role},
    scrape::ScrapeMetrics,
    shard::{Replicas, canary::Fault},
};

type Labels<'a, const COUNT: usize = 1> = [(&'a str, String); COUNT];

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
        self.scrape.register(registry);
        registry.register_collector(Box::new(self));
    }

    fn groups(&self) -> Vec<GroupStatus> {
        let mut groups = vec![self.shared.control.group().status()];
        groups.extend(self.replicas.all().iter().map(|replica| replica.group.status()));
        groups
    }

    fn storage(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut led = Led::default();
        let (mut memory, mut behind, mut tombstones) = (0, 0, 0);
        for replica in self.replicas.all() {
            let stats = replica.reader.stats();
            memory += stats.memory_bytes;
            tombstones += stats.tombstones;
            behind += replica.state.behind_checkpoint().samples;
            if replica.leadership().role == Role::Leader {
                led.add(&stats);
            }
        }
        led.encode(encoder)?;
        let retention = self.shared.control.state().borrow().settings().retention_millis;
        let help = "How long samples are kept, in seconds";
        let name = "prometheus_tsdb_retention_limit_seconds";
        gauge(encoder, name, help, retention as f64 / 1000.0)?;
        let help = "Memory of series, index and unwritten chunks of all replicas, in bytes";
        gauge(encoder, "narthex_node_head_bytes", help, memory as f64)?;
        let help = "Deletes of a series and range of all replicas, to be taken out of pages";
        gauge(encoder, "narthex_node_tombstones", help, tombstones as f64)?;
        let (state, space) = self.shared.disk.now();
        let help = "Bytes that the disk of the node's folder has left, without missing ballast";
        gauge(encoder, "narthex_node_disk_free_bytes", help, space.free as f64)?;
        let help = "What the node takes for want of disk space: 0 all, 1 no new series, 2 nothing";
        gauge(encoder, "narthex_node_disk_refuses", help, f64::from(state as u8))?;
        let help = "Samples that a restart would apply again";
        gauge(encoder, "narthex_node_checkpoint_behind_samples", help, behind as f64)
    }

    fn comparisons(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counts = &self.shared.comparisons;
        let rows = [
            ("equal", &counts.equal),
            ("rebuilt", &counts.rebuilt),
            ("undecided", &counts.undecided),
            ("failed", &counts.failed),
        ];
        let rows = rows.map(|(result, count)| {
            ([("result", result.to_owned())], count.load(Ordering::Relaxed) as f64)
        });
        let help = "Comparisons of a shard's replicas by this node as its leader";
        counters(encoder, "narthex_node_replica_comparisons", help, rows)
    }

    fn canaries(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let canaries = self.shared.canaries.all();
        let of_shard = |shard: &ShardId| [("shard", shard.to_string())];
        let help =
            "When a shard's canary last passed under this node; at first, since when it is here";
        let passed = canaries
            .iter()
            .map(|(shard, it)| (of_shard(shard), it.passed_at.millis() as f64 / 1000.0));
        gauges(encoder, "narthex_node_canary_last_success_timestamp_seconds", help, passed)?;
        let help =
            "From writing a shard's canary to the last replica's answer, when it last passed";
        let took = canaries
            .iter()
            .filter_map(|(shard, it)| Some((of_shard(shard), it.took?.as_secs_f64())));
        gauges(encoder, "narthex_node_canary_duration_seconds", help, took)?;
        let help = "Canaries of a shard that failed under this node, by the worst that was found";
        let failures = canaries.iter().flat_map(|(shard, it)| {
            Fault::ALL.into_iter().zip(it.failures).map(|(fault, count)| {
                let labels = [("shard", shard.to_string()), ("reason", fault.name().to_owned())];
                (labels, count as f64)
            })
        });
        counters(encoder, "narthex_node_canary_failures", help, failures)
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
        self.raft_log(encoder, &groups)?;
        let help = "How long tasks held a thread of the raft runtime, in seconds";
        let polls = self.shared.raft.runtime.poll_durations();
        durations(encoder, "narthex_node_raft_poll_duration_seconds", help, polls)
    }

    fn raft_log(&self, encoder: &mut DescriptorEncoder<'_>, groups: &[GroupStatus]) -> fmt::Result {
        let rows = |value: fn(&GroupStatus) -> f64| {
            groups.iter().map(move |it| ([("group", it.group.to_string())], value(it)))
        };
        let help = "Bytes of the log above its purge point";
        let bytes = rows(|it| it.log_bytes as f64);
        gauges(encoder, "narthex_node_raft_log_bytes", help, bytes)?;
        let help = "Followers that lack purged entries and must be filled anew";
        let cut_off =
            rows(|it| it.followers.iter().filter(|follower| follower.is_cut_off).count() as f64);
        gauges(encoder, "narthex_node_raft_followers_cut_off", help, cut_off)?;
        let log = self.shared.raft.log.metrics();
        let help = "Bytes written to the raft log, before RocksDB's own work";
        let written = log.written_bytes.load(Ordering::Relaxed) as f64;
        counter(encoder, "narthex_node_raft_log_written_bytes", help, written)?;
        let help = "How long syncs of the raft log took, in seconds";
        durations(encoder, "narthex_node_raft_log_sync_duration_seconds", help, &log.sync_duration)
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

/// What the shards led here hold, under Prometheus's names.
#[derive(Default)]
struct Led {
    series: u64,
    created: u64,
    chunks: u64,
    samples: u64,
    oldest: Option<Timestamp>,
    newest: Option<Timestamp>,
}

impl Led {
    fn add(&mut self, stats: &ShardStats) {
        self.series += stats.series;
        self.created += stats.series_created;
        self.chunks += stats.open_chunks + stats.finished_chunks;
        self.samples += stats.samples;
        self.oldest = [self.oldest, stats.time_min].into_iter().flatten().min();
        self.newest = self.newest.max(stats.time_max);
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Series in memory of the shards led here";
        gauge(encoder, "prometheus_tsdb_head_series", help, self.series as f64)?;
        let help = "Chunks in memory of the shards led here, open ones too";
        gauge(encoder, "prometheus_tsdb_head_chunks", help, self.chunks as f64)?;
        let help = "Series ever created in the shards led here";
        let created = self.created as f64;
        counter(encoder, "prometheus_tsdb_head_series_created", help, created)?;
        let help = "Series that the shards led here have forgotten";
        let removed = self.created.saturating_sub(self.series) as f64;
        counter(encoder, "prometheus_tsdb_head_series_removed", help, removed)?;
        let help = "Samples ever stored in the shards led here";
        let samples = self.samples as f64;
        counter(encoder, "prometheus_tsdb_head_samples_appended", help, samples)?;
        for (name, help, time) in [
            ("prometheus_tsdb_head_max_time", "Time of the newest sample", self.newest),
            (
                "prometheus_tsdb_lowest_timestamp",
                "Where the samples that are kept begin",
                self.oldest,
            ),
        ] {
            let Some(time) = time else { continue };
            let millis = time.millis() as f64;
            gauge(encoder, name, &format!("{help}, in milliseconds since 1970"), millis)?;
            let help = format!("{help}, in seconds since 1970");
            gauge(encoder, &format!("{name}_seconds"), &help, millis / 1000.0)?;
        }
        Ok(())
    }
}

impl Collector for NodeMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.storage(&mut encoder)?;
        self.clocks(&mut encoder)?;
        self.comparisons(&mut encoder)?;
        self.canaries(&mut encoder)?;
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

fn counters<'a, const COUNT: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl IntoIterator<Item = (Labels<'a, COUNT>, f64)>,
) -> fmt::Result {
    let kind = ConstCounter::new(0.0).metric_type();
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in rows {
        ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// A histogram, and the quantile that a budget is about.
fn durations(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    durations: &Durations,
) -> fmt::Result {
    let mut below = 0;
    let buckets: Vec<(f64, u64)> = durations
        .cumulative()
        .into_iter()
        .map(|(bound, count)| (bound, count - std::mem::replace(&mut below, count)))
        .collect();
    encoder
        .encode_descriptor(name, help, None, MetricType::Histogram)?
        .encode_histogram::<NoLabelSet>(durations.sum_seconds(), below, &buckets, None)?;
    let p99 = durations.quantile_bound(0.99).as_secs_f64();
    gauge(encoder, &format!("{name}_p99"), help, p99)
}
