//! What a querier counts, under Prometheus's names where it has them.

use narthex_web::{
    Clock,
    summary::{Named, Summaries},
};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::query::QueryStats;

/// What Prometheus cuts a query's time into; sorting the answer is a part of evaluating it here.
const SLICES: &[&str] = &["inner_eval", "prepare_time", "queue_time"];
const DURATIONS: Named = Named {
    name: "prometheus_engine_query_duration_seconds",
    help: "How long queries took in the last minutes, by what they did, in seconds",
    label: "slice",
    values: SLICES,
};

/// See the module.
#[derive(Debug, Clone)]
pub struct QuerierMetrics {
    pub(crate) running: Gauge,
    pub(crate) waiting: Gauge,
    pub(crate) concurrency_max: Gauge,
    pub(crate) samples: Counter,
    seconds: Summaries,
    seconds_buckets: Family<SliceLabels, Histogram>,
    pub(crate) partial: Counter,
    pub(crate) slow: Counter,
    pub(crate) remembered_bytes: Gauge,
    recalls: Family<RecallLabels, Counter>,
    pub(crate) hedged: Counter,
    pub(crate) hedges_won: Counter,
    failures: Family<FailureLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    error_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RecallLabels {
    found: Recall,
}

/// What was remembered of a query's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Recall {
    /// No step of it.
    Nothing,
    /// Its first steps.
    Part,
    /// All of it.
    Whole,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SliceLabels {
    slice: &'static str,
}

fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 18))
}

impl QuerierMetrics {
    /// Nothing counted yet.
    pub fn new(clock: Clock) -> Self {
        Self {
            running: Gauge::default(),
            waiting: Gauge::default(),
            concurrency_max: Gauge::default(),
            samples: Counter::default(),
            seconds: Summaries::new(DURATIONS, clock),
            seconds_buckets: Family::new_with_constructor(durations),
            partial: Counter::default(),
            slow: Counter::default(),
            remembered_bytes: Gauge::default(),
            recalls: Family::default(),
            hedged: Counter::default(),
            hedges_won: Counter::default(),
            failures: Family::default(),
        }
    }

    /// Registers everything.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Queries being evaluated";
        registry.register("prometheus_engine_queries", help, self.running.clone());
        let help = "Queries that may be evaluated at once";
        let concurrency_max = self.concurrency_max.clone();
        registry.register("prometheus_engine_queries_concurrent_max", help, concurrency_max);
        let help = "Samples read by queries";
        registry.register("prometheus_engine_query_samples", help, self.samples.clone());
        let help = "Queries waiting for their turn";
        registry.register("narthex_querier_queries_waiting", help, self.waiting.clone());
        let help = "How long queries took, by what they did, in seconds";
        let buckets = self.seconds_buckets.clone();
        registry.register("prometheus_engine_query_duration_histogram_seconds", help, buckets);
        self.seconds.register(registry);
        let help = "Answers that lacked a shard, as their callers had allowed";
        registry.register("narthex_querier_partial_answers", help, self.partial.clone());
        let help = "Queries that took longer than --query.log-slower-than";
        registry.register("narthex_querier_slow_queries", help, self.slow.clone());
        let help = "Range queries whose like may be remembered, by what was";
        registry.register("narthex_querier_results_cache_requests", help, self.recalls.clone());
        let help = "Bytes of remembered answers";
        let remembered = self.remembered_bytes.clone();
        registry.register("narthex_querier_results_cache_bytes", help, remembered);
        let help = "Questions to slow shards that were asked of a second replica";
        registry.register("narthex_querier_hedged", help, self.hedged.clone());
        let help = "Those of them that the second replica answered first";
        registry.register("narthex_querier_hedges_won", help, self.hedges_won.clone());
        let help = "Requests that failed, by error type";
        registry.register("narthex_querier_failures", help, self.failures.clone());
    }

    /// Counts an answered query, with the times that Prometheus cuts it into.
    pub(crate) fn answered(&self, stats: &QueryStats) {
        for (slice, time) in [
            ("prepare_time", stats.prepared),
            ("queue_time", stats.queued),
            ("inner_eval", stats.evaluated),
        ] {
            let seconds = time.as_secs_f64();
            self.seconds.observe(slice, seconds);
            self.seconds_buckets.get_or_create(&SliceLabels { slice }).observe(seconds);
        }
        self.samples.inc_by(stats.samples_read);
    }

    pub(crate) fn recalled(&self, found: Recall) {
        self.recalls.get_or_create(&RecallLabels { found }).inc();
    }

    pub(crate) fn failed(&self, error_type: &'static str) {
        self.failures.get_or_create(&FailureLabels { error_type }).inc();
    }
}
