//! What is counted of rules and notifications, under Prometheus's names where it counts the same.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        MetricType,
        counter::ConstCounter,
        gauge::ConstGauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use super::groups::{Group, GroupId};

/// Counters of this node since it started. A group's are there while the node evaluates it.
#[derive(Debug)]
pub struct RuleMetrics {
    groups: Mutex<BTreeMap<GroupId, GroupCounts>>,
    durations: Histogram,
    group_durations: Histogram,
    counts: Mutex<Counts>,
}

/// Not of one group.
#[derive(Debug, Default, Clone)]
struct Counts {
    refused: u64,
    lost: u64,
    not_stored: u64,
}

/// Of one group.
#[derive(Debug, Clone, Default)]
struct GroupCounts {
    /// `FILE;NAME`, as Prometheus names a group.
    name: String,
    rules: usize,
    interval: Duration,
    evaluations: u64,
    failures: u64,
    iterations: u64,
    missed: u64,
    last_evaluation: f64,
    last_duration: f64,
    last_samples: u64,
}

/// What one evaluation of a group came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Evaluated {
    /// Rules that were evaluated.
    pub rules: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// Samples that they gave.
    pub samples: u64,
    /// How long it took.
    pub took: Duration,
    /// When it was, in seconds since the epoch.
    pub at: f64,
}

impl Default for RuleMetrics {
    fn default() -> Self {
        Self {
            groups: Mutex::default(),
            durations: Histogram::new(exponential_buckets(0.001, 4.0, 8)),
            group_durations: Histogram::new(exponential_buckets(0.001, 4.0, 8)),
            counts: Mutex::default(),
        }
    }
}

impl RuleMetrics {
    /// Puts everything into `registry`.
    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        let help = "How long the evaluation of a rule took";
        let durations = self.durations.clone();
        registry.register("prometheus_rule_evaluation_duration_seconds", help, durations);
        let help = "How long the evaluation of a rule group took";
        let durations = self.group_durations.clone();
        registry.register("prometheus_rule_group_duration_seconds", help, durations);
        registry.register_collector(Box::new(Page(self.clone())));
    }

    /// Groups that this node evaluates; of others nothing is said any more.
    pub(super) fn note_groups(&self, owned: &[Arc<Group>]) {
        let mut groups = self.groups.lock();
        groups.retain(|id, _| owned.iter().any(|group| group.id == *id));
        for group in owned {
            let counts = groups.entry(group.id).or_default();
            counts.name = format!("{};{}", group.file, group.group.name);
            counts.rules = group.group.rules.len();
            counts.interval = group.interval;
        }
    }

    pub(super) fn note_missed(&self, group: GroupId, missed: u64) {
        if let Some(counts) = self.groups.lock().get_mut(&group) {
            counts.missed += missed;
            counts.iterations += missed;
        }
    }

    pub(super) fn note_rule(&self, took: Duration) {
        self.durations.observe(took.as_secs_f64());
    }

    pub(super) fn note_evaluated(&self, group: GroupId, evaluated: &Evaluated) {
        self.group_durations.observe(evaluated.took.as_secs_f64());
        if let Some(counts) = self.groups.lock().get_mut(&group) {
            counts.evaluations += evaluated.rules;
            counts.failures += evaluated.failures;
            counts.iterations += 1;
            counts.last_evaluation = evaluated.at;
            counts.last_duration = evaluated.took.as_secs_f64();
            counts.last_samples = evaluated.samples;
        }
    }

    /// Samples that a shard did not take.
    pub(super) fn note_refused(&self, samples: u64) {
        self.counts.lock().refused += samples;
    }

    /// Parts of results that were given up: their shard was away for too long.
    pub(super) fn note_lost(&self, parcels: u64) {
        self.counts.lock().lost += parcels;
    }

    /// An evaluation whose outcome the group's shard did not take.
    pub(super) fn note_not_stored(&self) {
        self.counts.lock().not_stored += 1;
    }
}

/// Reads the counters when the page is asked for.
#[derive(Debug)]
struct Page(Arc<RuleMetrics>);

impl Page {
    fn of_groups(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        type Value = fn(&GroupCounts) -> f64;
        let groups = self.0.groups.lock().clone();
        let counters: [(&str, &str, Value); 4] = [
            ("prometheus_rule_evaluations", "Evaluations of rules", |it| it.evaluations as f64),
            ("prometheus_rule_evaluation_failures", "Evaluations of rules that failed", |it| {
                it.failures as f64
            }),
            (
                "prometheus_rule_group_iterations",
                "Evaluations of groups that were due, the missed ones included",
                |it| it.iterations as f64,
            ),
            (
                "prometheus_rule_group_iterations_missed",
                "Evaluations of groups that were left out: the one before took too long, or nobody led",
                |it| it.missed as f64,
            ),
        ];
        for (name, help, value) in counters {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for group in groups.values() {
                let labels = [("rule_group", group.name.clone())];
                ConstCounter::new(value(group)).encode(family.encode_family(&labels)?)?;
            }
        }
        let gauges: [(&str, &str, Value); 5] = [
            (
                "prometheus_rule_group_interval_seconds",
                "Pause between two evaluations of a group",
                |it| it.interval.as_secs_f64(),
            ),
            ("prometheus_rule_group_rules", "Rules of a group", |it| it.rules as f64),
            (
                "prometheus_rule_group_last_evaluation_timestamp_seconds",
                "When a group was last evaluated, in seconds since the epoch",
                |it| it.last_evaluation,
            ),
            (
                "prometheus_rule_group_last_duration_seconds",
                "How long the last evaluation of a group took",
                |it| it.last_duration,
            ),
            (
                "prometheus_rule_group_last_evaluation_samples",
                "Samples that the last evaluation of a group gave",
                |it| it.last_samples as f64,
            ),
        ];
        for (name, help, value) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for group in groups.values() {
                let labels = [("rule_group", group.name.clone())];
                ConstGauge::new(value(group)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        self.of_groups(&mut encoder)?;
        let counts = self.0.counts.lock().clone();
        let rows = [
            (
                "narthex_node_rule_samples_refused",
                "Samples of rules that their shards did not take",
                counts.refused,
            ),
            (
                "narthex_node_rule_parts_lost",
                "Parts of rules' results that were given up, as their shard was away for too long",
                counts.lost,
            ),
            (
                "narthex_node_rule_evaluations_not_stored",
                "Evaluations of groups whose outcome the group's shard did not take",
                counts.not_stored,
            ),
        ];
        for (name, help, count) in rows {
            let counter = ConstCounter::new(count);
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        Ok(())
    }
}
