//! What a router counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// Reasons of a shard that have a name of their own in metrics; any other counts as `other`.
const SHARD_REASONS: &[&str] = &[
    "out_of_order",
    "too_old",
    "conflict",
    "behind_horizon",
    "too_far_ahead",
    "series_limit",
    "target_series_limit",
    "job_series_limit",
    "node_series_limit",
    "invalid_labels",
    EXEMPLAR,
    METADATA,
    REFUSED_BY_SHARD,
];

/// Exemplars older than their series' newest, or with labels too long.
pub(crate) const EXEMPLAR: &str = "exemplar";
/// Descriptions that are too long, or of too many families.
pub(crate) const METADATA: &str = "metadata";

/// Series of which a shard takes nothing.
pub(crate) const REFUSED_BY_SHARD: &str = "refused_by_shard";

/// See the module.
#[derive(Debug, Clone)]
pub struct RouterMetrics {
    samples: Family<OutcomeLabels, Counter>,
    requests_refused: Family<OutcomeLabels, Counter>,
    pub(crate) in_flight_bytes: Gauge,
    pub(crate) silent_shards: Gauge,
    pub(crate) append_seconds: Histogram,
    pub(crate) metadata: Counter,
    pub(crate) relabelled: Counter,
    pub(crate) series_cached: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

impl Default for RouterMetrics {
    fn default() -> Self {
        Self {
            samples: Family::default(),
            requests_refused: Family::default(),
            in_flight_bytes: Gauge::default(),
            silent_shards: Gauge::default(),
            append_seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 16)),
            metadata: Counter::default(),
            relabelled: Counter::default(),
            series_cached: Gauge::default(),
        }
    }
}

impl RouterMetrics {
    /// Registers everything.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Samples received, by what became of them";
        registry.register("narthex_router_append_samples", help, self.samples.clone());
        let help = "Write requests that were refused or failed as a whole, by reason";
        let refused = self.requests_refused.clone();
        registry.register("narthex_router_write_requests_failed", help, refused);
        let help = "Bytes that write requests under way hold: bodies, and parts of them for shards";
        let in_flight = self.in_flight_bytes.clone();
        registry.register("narthex_router_in_flight_bytes", help, in_flight);
        let help = "Shards that have had no leader for longer than an election takes";
        registry.register("narthex_router_silent_shards", help, self.silent_shards.clone());
        let help = "Time from a decoded write request to the last shard's answer, in seconds";
        registry.register(
            "narthex_router_append_duration_seconds",
            help,
            self.append_seconds.clone(),
        );
        let help = "Descriptions of metrics sent to shards, each until a shard has it";
        registry.register("narthex_router_metadata_sent", help, self.metadata.clone());
        let help = "Write requests sent again with labels, as a shard did not know a number";
        registry.register("narthex_router_relabelled_requests", help, self.relabelled.clone());
        let help = "Series whose numbers in their shards are remembered";
        registry.register("narthex_router_series_cached", help, self.series_cached.clone());
    }

    pub(crate) fn samples(&self, outcome: &'static str, count: u64) {
        self.samples.get_or_create(&OutcomeLabels { outcome }).inc_by(count);
    }

    /// Counts samples that a shard refused; its words become a label only if they are known ones.
    pub(crate) fn samples_refused_by_shard(&self, reason: &str, count: u64) {
        let known = SHARD_REASONS.iter().copied().find(|known| *known == reason);
        self.samples(known.unwrap_or("other"), count);
    }

    pub(crate) fn request_failed(&self, outcome: &'static str) {
        self.requests_refused.get_or_create(&OutcomeLabels { outcome }).inc();
    }
}
