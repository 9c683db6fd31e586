//! The page of one host that a fleet is shaped after: which series, and how their values move.
//!
//! A page is read from a file in the text format, or made up: about as many series as
//! node_exporter and a Prometheus beside it have, with the names that our queries ask for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use fastrand::Rng;
use narthex_exposition::{Item, MetricKind, ParseError, Parser, Reason, parse_series};

/// Draws how the series of a page move: the same page moves the same way in every run.
const MOTION_SEED: u64 = 0x006e_6172_7468_6578;

/// Of a real page's series this share never changes while one looks.
const STILL_SHARE: f64 = 0.4;

/// One series of a host.
#[derive(Debug, Clone, PartialEq)]
pub struct PageSeries {
    /// Labels in the order of the page, the metric's name first under `__name__`.
    pub labels: Vec<(String, String)>,
    /// How its value moves.
    pub motion: Motion,
    /// Where the value begins.
    pub value: f64,
}

/// How a value moves from one step to the next. Sizes are the mean of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Motion {
    /// Never.
    Still,
    /// Whole numbers that rise.
    Events(f64),
    /// Hundredths that rise, such as seconds of CPU.
    Amount(f64),
    /// Whole numbers that rise and fall.
    Level(f64),
    /// Thousandths that rise and fall.
    Ratio(f64),
    /// The first bucket of a histogram: what falls into it.
    FirstBucket(f64),
    /// A later bucket: what falls into it, and into all before it.
    Bucket(f64),
    /// The count of a histogram: what fell into its buckets.
    BucketCount,
}

/// Why a page cannot shape a fleet; choose another file.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// It is not in the text format.
    #[error("read the page")]
    Format(#[from] ParseError),
    /// A series is not.
    #[error("read a series of the page: {0}")]
    Series(Reason),
    /// Two samples of one series.
    #[error("the page has {0} twice")]
    Twice(String),
    /// Nothing to send.
    #[error("the page has no samples")]
    Empty,
}

/// Reads the series of a page in its order.
pub fn read(page: &str) -> Result<Vec<PageSeries>, PageError> {
    let mut kinds = BTreeMap::new();
    let mut series = Vec::new();
    let mut seen = BTreeSet::new();
    let mut random = Rng::with_seed(MOTION_SEED);
    let mut parser = Parser::new(page.as_bytes());
    while let Some(item) = parser.next(None)? {
        match item {
            Item::Help { .. } => {}
            Item::Type { metric, kind } => {
                kinds.insert(metric.to_owned(), kind);
            }
            Item::Sample(line) => {
                if !seen.insert(line.series) {
                    return Err(PageError::Twice(String::from_utf8_lossy(line.series).into()));
                }
                let labels = parse_series(line.series).map_err(PageError::Series)?;
                let labels: Vec<(String, String)> = labels
                    .iter()
                    .map(|(name, value)| (name.to_string(), value.to_string()))
                    .collect();
                let name = &labels[0].1;
                let motion = motion(name, kind_of(name, &kinds), line.value, &mut random);
                series.push(PageSeries { labels, motion, value: line.value });
            }
        }
    }
    join_buckets(&mut series);
    if series.is_empty() { Err(PageError::Empty) } else { Ok(series) }
}

fn kind_of(name: &str, kinds: &BTreeMap<String, MetricKind>) -> MetricKind {
    let family = ["_bucket", "_sum", "_count"].iter().find_map(|ending| name.strip_suffix(ending));
    let kind = kinds.get(name).or_else(|| kinds.get(family?));
    kind.copied().unwrap_or(MetricKind::Untyped)
}

fn motion(name: &str, kind: MetricKind, value: f64, random: &mut Rng) -> Motion {
    let (draw, size) = (random.f64(), (random.f64() * 12.0 - 2.0).exp());
    if kind == MetricKind::Histogram && name.ends_with("_bucket") {
        return Motion::Bucket(if draw < STILL_SHARE { 0.0 } else { size.min(100.0) });
    }
    if kind == MetricKind::Histogram && name.ends_with("_count") {
        return Motion::BucketCount;
    }
    if draw < STILL_SHARE || !value.is_finite() {
        return Motion::Still;
    }
    let rises = matches!(kind, MetricKind::Counter | MetricKind::Histogram | MetricKind::Summary);
    match (rises, value.fract() == 0.0) {
        (true, true) => Motion::Events(size),
        (true, false) => Motion::Amount(size.min(15.0)),
        (false, true) => Motion::Level(size),
        (false, false) => Motion::Ratio(size.min(100.0)),
    }
}

/// A bucket begins a histogram where the one before it is of another; a count follows no
/// buckets where the page does not have it right behind them.
fn join_buckets(series: &mut [PageSeries]) {
    let mut previous: Option<Vec<(String, String)>> = None;
    for one in series {
        let whose: Vec<_> =
            one.labels[1..].iter().filter(|(name, _)| name != "le").cloned().collect();
        match one.motion {
            Motion::Bucket(size) => {
                if previous.as_ref() != Some(&whose) {
                    one.motion = Motion::FirstBucket(size);
                }
                previous = Some(whose);
            }
            Motion::BucketCount if previous.as_ref() != Some(&whose) => {
                one.motion = Motion::Events(1.0);
            }
            // The sum stands between the buckets and the count.
            _ if one.labels[0].1.ends_with("_sum") => {}
            _ => previous = None,
        }
    }
}

/// A made-up page.
pub fn made_up() -> String {
    let mut page = Page(String::new());
    page.host();
    for (prefix, metrics) in [("receive", NETWORK), ("transmit", NETWORK)] {
        for metric in metrics {
            page.counters(&format!("node_network_{prefix}_{metric}_total"), "device", DEVICES);
        }
    }
    for metric in LINK {
        page.gauges(&format!("node_network_{metric}"), "device", DEVICES);
    }
    for metric in DISK {
        page.counters(&format!("node_disk_{metric}_total"), "device", DISKS);
    }
    for metric in FILESYSTEM {
        page.gauges(&format!("node_filesystem_{metric}"), "mountpoint", MOUNTS);
    }
    for metric in MEMORY {
        page.gauges(&format!("node_memory_{metric}_bytes"), "", &[""]);
    }
    for metric in NETSTAT {
        page.counters(&format!("node_netstat_{metric}_total"), "", &[""]);
    }
    page.gauges("node_scrape_collector_duration_seconds", "collector", MEMORY);
    page.gauges("node_scrape_collector_success", "collector", MEMORY);
    page.histograms();
    page.0
}

const NETWORK: &[&str] =
    &["bytes", "packets", "errs", "drop", "fifo", "frame", "compressed", "multicast"];
const LINK: &[&str] =
    &["up", "mtu_bytes", "speed_bytes", "carrier", "flags", "transmit_queue_length"];
const DEVICES: &[&str] =
    &["lo", "eth0", "eth1", "docker0", "veth0a1", "veth17c", "veth3f9", "veth5d2", "bond0", "br0"];
const DISK: &[&str] = &[
    "reads_completed",
    "reads_merged",
    "read_bytes",
    "read_time_seconds",
    "writes_completed",
    "writes_merged",
    "written_bytes",
    "write_time_seconds",
    "io_time_seconds",
    "io_time_weighted_seconds",
    "discards_completed",
    "flush_requests",
];
const DISKS: &[&str] = &["sda", "sdb", "nvme0n1", "nvme1n1", "dm-0"];
const FILESYSTEM: &[&str] =
    &["avail_bytes", "size_bytes", "free_bytes", "files", "files_free", "readonly", "device_error"];
const MOUNTS: &[&str] = &["/", "/boot", "/home", "/run", "/var", "/var/lib/containers"];
const MEMORY: &[&str] = &[
    "MemTotal",
    "MemFree",
    "MemAvailable",
    "Active",
    "Inactive",
    "Buffers",
    "Cached",
    "Dirty",
    "Writeback",
    "AnonPages",
    "Mapped",
    "Shmem",
    "Slab",
    "SReclaimable",
    "SUnreclaim",
    "KernelStack",
    "PageTables",
    "NFS_Unstable",
    "Bounce",
    "WritebackTmp",
    "CommitLimit",
    "Committed_AS",
    "VmallocTotal",
    "VmallocUsed",
    "VmallocChunk",
    "Percpu",
    "HardwareCorrupted",
    "AnonHugePages",
    "ShmemHugePages",
    "SwapTotal",
    "SwapFree",
    "SwapCached",
    "Unevictable",
    "Mlocked",
    "HugePages_Total",
    "HugePages_Free",
    "HugePages_Rsvd",
    "HugePages_Surp",
    "DirectMap4k",
    "DirectMap2M",
];
const NETSTAT: &[&str] = &[
    "Icmp_InMsgs",
    "Icmp_OutMsgs",
    "Ip_Forwarding",
    "IpExt_InOctets",
    "IpExt_OutOctets",
    "Tcp_ActiveOpens",
    "Tcp_CurrEstab",
    "Tcp_InSegs",
    "Tcp_OutSegs",
    "Tcp_RetransSegs",
    "Tcp_PassiveOpens",
    "TcpExt_ListenDrops",
    "TcpExt_SyncookiesSent",
    "Udp_InDatagrams",
    "Udp_OutDatagrams",
    "Udp_InErrors",
    "Udp_NoPorts",
    "UdpLite_InErrors",
];
const CPUS: usize = 16;
const UNITS: usize = 30;
const STATES: &[&str] = &["activating", "active", "deactivating", "failed", "inactive"];
const MODES: &[&str] = &["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"];
const HANDLERS: &[&str] = &["/", "/metrics", "/api/v1/query", "/api/v1/query_range", "/-/ready"];
const BOUNDS: &[&str] = &["0.1", "0.2", "0.4", "1", "3", "8", "20", "60", "120", "+Inf"];

struct Page(String);

impl Page {
    fn host(&mut self) {
        self.family("node_cpu_seconds_total", "counter");
        for cpu in 0..CPUS {
            for mode in MODES {
                self.sample(
                    &format!("node_cpu_seconds_total{{cpu=\"{cpu}\",mode=\"{mode}\"}}"),
                    0.37,
                );
            }
        }
        for metric in ["processed", "dropped", "times_squeezed"] {
            let name = format!("node_softnet_{metric}_total");
            self.family(&name, "counter");
            (0..CPUS).for_each(|cpu| self.sample(&format!("{name}{{cpu=\"{cpu}\"}}"), 5000.0));
        }
        self.family("node_systemd_unit_state", "gauge");
        for unit in 0..UNITS {
            for state in STATES {
                let labels = format!("name=\"unit-{unit}.service\",state=\"{state}\"");
                self.sample(&format!("node_systemd_unit_state{{{labels}}}"), 1.0);
            }
        }
        for metric in ["node_load1", "node_load5", "node_load15"] {
            self.gauges(metric, "", &[""]);
        }
        self.counters("node_context_switches_total", "", &[""]);
        self.counters("node_intr_total", "", &[""]);
    }

    fn counters(&mut self, name: &str, label: &str, values: &[&str]) {
        self.family(name, "counter");
        self.members(name, label, values);
    }

    fn gauges(&mut self, name: &str, label: &str, values: &[&str]) {
        self.family(name, "gauge");
        self.members(name, label, values);
    }

    fn members(&mut self, name: &str, label: &str, values: &[&str]) {
        let is_whole = !name.contains("seconds") && !name.contains("load");
        for (at, value) in values.iter().enumerate() {
            let series = match label {
                "" => name.to_owned(),
                _ => format!("{name}{{{label}=\"{value}\"}}"),
            };
            let start = 1000.0 * (at + name.len()) as f64;
            self.sample(&series, if is_whole { start } else { start / 997.0 });
        }
    }

    fn histograms(&mut self) {
        let name = "prometheus_http_request_duration_seconds";
        self.family(name, "histogram");
        for handler in HANDLERS {
            for (at, le) in BOUNDS.iter().enumerate() {
                let series = format!("{name}_bucket{{handler=\"{handler}\",le=\"{le}\"}}");
                self.sample(&series, 100.0 + at as f64);
            }
            self.sample(&format!("{name}_sum{{handler=\"{handler}\"}}"), 17.25);
            self.sample(&format!("{name}_count{{handler=\"{handler}\"}}"), 109.0);
        }
    }

    fn family(&mut self, name: &str, kind: &str) {
        writeln!(self.0, "# TYPE {name} {kind}").expect("a string takes everything");
    }

    fn sample(&mut self, series: &str, value: f64) {
        writeln!(self.0, "{series} {value}").expect("a string takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_with_the_kinds_it_names() {
        let page = "# TYPE c_total counter\nc_total{a=\"x\\\"y\"} 7\nc_total{a=\"z\"} NaN\n\
                    # TYPE g gauge\ng 1.5\nu +Inf\n";
        let series = read(page).unwrap();
        assert_eq!(series.len(), 4);
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(series[0].labels, [label("__name__", "c_total"), label("a", "x\"y")]);
        assert_eq!(series[0].value, 7.0);
        assert!(series[1].value.is_nan());
        assert_eq!((series[1].motion, series[3].motion), (Motion::Still, Motion::Still));
        let motions =
            |series: &[PageSeries]| -> Vec<_> { series.iter().map(|one| one.motion).collect() };
        assert_eq!(motions(&series), motions(&read(page).unwrap()), "every run moves the same way");
    }

    #[test]
    fn buckets_know_where_their_histogram_begins() {
        let page = "# TYPE h histogram\nh_bucket{a=\"1\",le=\"1\"} 1\nh_bucket{a=\"1\",le=\"+Inf\"} 2\n\
                    h_sum{a=\"1\"} 3.5\nh_count{a=\"1\"} 2\nh_bucket{a=\"2\",le=\"1\"} 1\nother 1\n\
                    h_count{a=\"2\"} 1\n";
        let motions: Vec<_> = read(page).unwrap().iter().map(|series| series.motion).collect();
        assert!(matches!(motions[0], Motion::FirstBucket(_)));
        assert!(matches!(motions[1], Motion::Bucket(_)));
        assert_eq!(motions[3], Motion::BucketCount);
        assert!(matches!(motions[4], Motion::FirstBucket(_)));
        assert_eq!(motions[6], Motion::Events(1.0), "its buckets stand elsewhere");
    }

    #[test]
    fn what_is_no_page_is_refused() {
        assert!(matches!(read("a{"), Err(PageError::Format(_))));
        assert!(matches!(read("# TYPE a gauge\n"), Err(PageError::Empty)));
        assert!(matches!(read("a 1\na 2\n"), Err(PageError::Twice(_))));
    }

    #[test]
    fn the_made_up_page_is_as_large_as_a_host_and_moves_like_one() {
        let series = read(&made_up()).unwrap();
        assert!((750..950).contains(&series.len()), "{}", series.len());
        let still = series.iter().filter(|one| one.motion == Motion::Still).count();
        assert!((series.len() / 4..series.len() / 2).contains(&still), "{still}");
        let has = |name: &str| series.iter().any(|one| one.labels[0].1 == name);
        assert!(has("node_network_receive_bytes_total") && has("node_load1"));
    }
}
