//! What `/metrics` says: the registry as text, the process, and the listener itself.
//!
//! The registry speaks OpenMetrics, in which a counter's family has no `_total`. What is served is
//! the older text format, which every Prometheus reads and in which it has. The registry has no
//! summaries: a family of unknown type is one, and its sum and count are the families behind it.

use std::fmt;

use procfs::process::LimitValue;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::Registry,
};

use crate::ready::Readiness;

/// The version of Prometheus whose HTTP API is served.
pub const PROMETHEUS_API_VERSION: &str = "3.14.0";
/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// `Content-Type` of the text format.
pub const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every metric of `registry` in text format 0.0.4.
pub fn encode(registry: &Registry) -> Result<String, fmt::Error> {
    let mut open_metrics = String::with_capacity(16 << 10);
    prometheus_client::encoding::text::encode(&mut open_metrics, registry)?;
    Ok(to_text_format(&open_metrics))
}

/// Gives counters their `_total` and leaves out what the older format does not know. The help of a
/// family stands before its type, so it is held back for a line.
fn to_text_format(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help: Option<(&str, &str)> = None;
    let mut summary = "";
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let part_of = |suffix| name.strip_suffix(suffix) == Some(summary);
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" if part_of("_sum") || part_of("_count") => continue,
                "unknown" => ("", "summary"),
                other => ("", other),
            };
            summary = name;
            if let Some((_, words)) = help.take().filter(|(family, _)| *family == name) {
                text.push_str(&format!("# HELP {name}{suffix} {words}\n"));
            }
            text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            // A whole number is written as one, as by Prometheus's own libraries.
            text.push_str(line.strip_suffix(".0").unwrap_or(line));
            text.push('\n');
        }
    }
    text
}

/// Registers what every process says about itself.
pub fn register_process(registry: &mut Registry) {
    let build = Info::new([("version", PROMETHEUS_API_VERSION), ("branch", ""), ("revision", "")]);
    registry.register("prometheus_build", "Version of Prometheus whose API is served", build);
    let own = Info::new([("version", VERSION)]);
    registry.register("narthex_build", "Version of this program", own);
    registry.register_collector(Box::new(Process));
}

/// Registers whether the process is ready.
pub(crate) fn register_readiness(registry: &mut Registry, readiness: Readiness) {
    registry.register_collector(Box::new(IsReady(readiness)));
}

#[derive(Debug)]
struct IsReady(Readiness);

impl Collector for IsReady {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Whether the process has started and can do all that its roles are for";
        let is_ready = f64::from(u8::from(self.0.waits_for().is_none()));
        gauge(&mut encoder, "prometheus_ready", help, is_ready)
    }
}

/// The process as the kernel sees it, under the names of Prometheus's client libraries.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Ok(process) = procfs::process::Process::myself() else {
            return Ok(());
        };
        if let Ok(stat) = process.stat() {
            let ticks = procfs::ticks_per_second() as f64;
            let cpu = (stat.utime + stat.stime) as f64 / ticks;
            let start =
                procfs::boot_time_secs().unwrap_or(0) as f64 + stat.starttime as f64 / ticks;
            let resident = stat.rss * procfs::page_size();
            counter(&mut encoder, "process_cpu_seconds", "CPU time used, in seconds", cpu)?;
            let help = "Start time since the epoch, in seconds";
            gauge(&mut encoder, "process_start_time_seconds", help, start)?;
            let help = "Resident memory, in bytes";
            gauge(&mut encoder, "process_resident_memory_bytes", help, resident as f64)?;
            let help = "Virtual memory, in bytes";
            gauge(&mut encoder, "process_virtual_memory_bytes", help, stat.vsize as f64)?;
            let help = "Threads of the process";
            gauge(&mut encoder, "process_threads", help, stat.num_threads as f64)?;
        }
        if let Ok(open) = process.fd_count() {
            gauge(&mut encoder, "process_open_fds", "Open file descriptors", open as f64)?;
        }
        let Ok(limits) = process.limits() else {
            return Ok(());
        };
        if let LimitValue::Value(max) = limits.max_open_files.soft_limit {
            gauge(&mut encoder, "process_max_fds", "Most open file descriptors", max as f64)?;
        }
        let most = match limits.max_address_space.soft_limit {
            LimitValue::Value(most) => most as f64,
            LimitValue::Unlimited => u64::MAX as f64,
        };
        let help = "Most virtual memory, in bytes";
        gauge(&mut encoder, "process_virtual_memory_max_bytes", help, most)
    }
}

/// Writes one counter; `name` without its `_total`.
pub fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: f64,
) -> Result<(), fmt::Error> {
    let metric = ConstCounter::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

/// Writes one gauge.
pub fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: f64,
) -> Result<(), fmt::Error> {
    let metric = ConstGauge::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

/// What the listener counts.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<HandlerLabels, Histogram>,
    sizes: Family<HandlerLabels, Histogram>,
    refused: Family<RefusedLabels, Counter>,
    pub(crate) connections: Gauge,
    pub(crate) config_loaded: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    handler: String,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandlerLabels {
    handler: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    reason: &'static str,
}

fn durations() -> Histogram {
    Histogram::new([0.1, 0.2, 0.4, 1.0, 3.0, 8.0, 20.0, 60.0, 120.0])
}

fn sizes() -> Histogram {
    Histogram::new(exponential_buckets(100.0, 10.0, 8))
}

impl Default for HttpMetrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(durations),
            sizes: Family::new_with_constructor(sizes),
            refused: Family::default(),
            connections: Gauge::default(),
            config_loaded: Gauge::default(),
        }
    }
}

/// One answered request.
pub(crate) struct Answered<'a> {
    pub handler: &'a str,
    pub code: u16,
    pub seconds: f64,
    /// Known unless the body is streamed.
    pub bytes: Option<u64>,
}

impl HttpMetrics {
    /// Registers everything under Prometheus's names where it has them.
    pub fn register(&self, registry: &mut Registry) {
        let help = "HTTP requests by handler and status code";
        registry.register("prometheus_http_requests", help, self.requests.clone());
        let help = "Time from a request to its answer's head, in seconds";
        let durations = self.durations.clone();
        registry.register("prometheus_http_request_duration_seconds", help, durations);
        let help = "Size of answers before compression, in bytes";
        registry.register("prometheus_http_response_size_bytes", help, self.sizes.clone());
        let help = "Requests and connections refused, by reason";
        registry.register("narthex_web_refused", help, self.refused.clone());
        let help = "Open connections of the web listener";
        registry.register("narthex_web_connections", help, self.connections.clone());
        let help = "Whether the web configuration file in force is the newest one";
        let config_loaded = self.config_loaded.clone();
        registry.register("narthex_web_config_last_reload_successful", help, config_loaded);
    }

    pub(crate) fn answered(&self, request: &Answered<'_>) {
        let handler = request.handler.to_owned();
        let labels = RequestLabels { handler: handler.clone(), code: request.code };
        self.requests.get_or_create(&labels).inc();
        let labels = HandlerLabels { handler };
        self.durations.get_or_create(&labels).observe(request.seconds);
        if let Some(bytes) = request.bytes {
            self.sizes.get_or_create(&labels).observe(bytes as f64);
        }
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&RefusedLabels { reason }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_have_the_names_of_the_text_format() {
        let mut registry = Registry::default();
        register_process(&mut registry);
        let metrics = HttpMetrics::default();
        metrics.register(&mut registry);
        metrics.answered(&Answered { handler: "/x", code: 200, seconds: 3.0, bytes: Some(7) });
        let text = encode(&registry).expect("text");
        for line in [
            "# TYPE prometheus_http_requests_total counter",
            r#"prometheus_http_requests_total{handler="/x",code="200"} 1"#,
            r#"prometheus_http_request_duration_seconds_count{handler="/x"} 1"#,
            "prometheus_http_request_duration_seconds_sum{handler=\"/x\"} 3\n",
            "# TYPE prometheus_build_info gauge",
            "# TYPE process_cpu_seconds_total counter",
            "# TYPE process_resident_memory_bytes gauge",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(!text.contains("# EOF") && !text.contains("# UNIT"));
        assert!(!text.contains("# TYPE prometheus_http_requests counter"));
    }
}
