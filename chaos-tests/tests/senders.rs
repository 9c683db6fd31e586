//! Senders that others wrote: Prometheus with remote write, and OpenTelemetry's SDK for Python.

use std::{fs, path::Path, process::Command, time::Duration};

use narthex_chaos_tests::{
    api::Api,
    cluster::Cluster,
    node::Process,
    peers::{output_of, peer, python_with},
    targets::{SEQUENCE, Target},
    wait::until,
};
use tempfile::TempDir;

/// From a sender's start until what it sends is there, on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(90);

/// A Prometheus that scrapes a target and itself and writes what it scrapes to a cluster.
struct Sender {
    api: Api,
    _process: Process,
    _folder: TempDir,
}

impl Sender {
    fn start(program: &Path, url: &str, message: &str, target: &Target) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let address = free_address();
        let config = format!(
            "global:\n  scrape_interval: 1s\n  external_labels: {{sender: {message:?}}}\n\
             remote_write:\n  - url: {url}/api/v1/write\n    protobuf_message: {message}\n    \
             send_native_histograms: true\n    send_exemplars: true\n    \
             queue_config: {{batch_send_deadline: 500ms}}\n\
             scrape_configs:\n  - job_name: page\n    static_configs:\n      - targets: [{:?}]\n  \
             - job_name: self\n    static_configs:\n      - targets: [{address:?}]\n",
            target.address()
        );
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config).expect("a temporary file can be written");
        let mut command = Command::new(program);
        command
            .arg("--enable-feature=native-histograms,exemplar-storage,metadata-wal-records")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"));
        let process = Process::start(command, folder.path(), "prometheus");
        let api = Api::new(&format!("http://{address}"), Duration::from_secs(5));
        Self { api, _process: process, _folder: folder }
    }

    /// The sum of a family's series on its own page.
    fn total(&self, family: &str) -> Result<f64, String> {
        let (_, page) = self.api.text("/metrics")?;
        let of_family = page.lines().filter(|line| line.starts_with(family));
        let values: Vec<f64> =
            of_family.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect();
        if values.is_empty() { Err(format!("no {family}")) } else { Ok(values.iter().sum()) }
    }
}

/// An address on which nothing listens now.
fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it is bound").to_string()
}

#[test]
fn prometheus_writes_in_both_versions() {
    let Some(program) = peer("prometheus_writes_in_both_versions", "prometheus") else { return };
    let target = Target::start();
    let cluster = Cluster::start("scrape_configs: []\n");
    let url = cluster.api().url().to_owned();
    for message in ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"] {
        let sender = Sender::start(&program, &url, message, &target);
        let selector = format!("{SEQUENCE}{{sender={message:?}}}[1m]");
        let got = until(&format!("five samples came as {message}"), DEADLINE, || {
            let mut series = cluster.api().samples(&selector, "job")?;
            let samples = series.remove("page").ok_or("none yet")?;
            if samples.len() >= 5 { Ok(samples) } else { Err(format!("{samples:?}")) }
        });
        let kept = sender.api.samples(&selector.replace(&format!("sender={message:?}"), ""), "job");
        let kept = kept.expect("Prometheus answers").remove("page").expect("it scraped");
        for sample in &got {
            assert!(kept.contains(sample), "{sample:?} of {message} is not among {kept:?}");
        }
        let up = format!("min_over_time(up{{sender={message:?},job=\"self\"}}[30s])");
        assert_eq!(cluster.api().single(&up), Ok(1.0));
        // Prometheus shows how long its own requests take as native histograms, too.
        let requests = format!("prometheus_http_request_duration_seconds{{sender={message:?}}}");
        until(&format!("a native histogram came as {message}"), DEADLINE, || {
            let count = format!("sum(histogram_count({requests}))");
            match cluster.api().single(&count)? {
                count if count > 0.0 => Ok(()),
                count => Err(count.to_string()),
            }
        });
        assert!(sender.total("prometheus_remote_storage_samples_total").expect("a count") > 100.0);
        for trouble in ["samples_failed_total", "histograms_failed_total", "exemplars_failed_total"]
        {
            let family = format!("prometheus_remote_storage_{trouble}");
            assert_eq!(sender.total(&family), Ok(0.0), "{family} of {message}");
        }
    }
    let metrics = cluster.api().text("/metrics").expect("the router answers").1;
    assert!(!metrics.contains("narthex_router_write_requests_failed_total{"), "{metrics}");
}

/// The script's assertions are the SDK's; what came of them is asked here.
#[test]
fn an_opentelemetry_sdk_sends_over_http_and_grpc() {
    const NAME: &str = "an_opentelemetry_sdk_sends_over_http_and_grpc";
    let Some(mut python) = python_with(NAME, "opentelemetry") else { return };
    let cluster = Cluster::start("scrape_configs: []\n");
    let url = cluster.api().url().to_owned();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/otel_sender.py");
    let said = output_of(python.arg(script).arg(&url));
    assert!(said.ends_with("all exported\n"), "{said}");
    for way in ["http", "grpc"] {
        let labels = format!("{{job=\"shop/{way}\",instance=\"i-1\",http_method=\"GET\"}}");
        let value = |expression: &str| cluster.api().single(expression);
        assert_eq!(value(&format!("requests_total{labels}")), Ok(7.0));
        assert_eq!(value(&format!("queue_length{labels}")), Ok(-3.0));
        assert_eq!(value(&format!("cpu_load_ratio{labels}")), Ok(0.25));
        assert_eq!(value(&format!("latency_seconds_count{labels}")), Ok(3.0));
        assert_eq!(value(&format!("latency_seconds_sum{labels}")), Ok(8.25));
        let below = |le: &str| {
            let bucket = labels.replace('}', &format!(",le={le:?}}}"));
            value(&format!("latency_seconds_bucket{bucket}"))
        };
        assert_eq!((below("0.5"), below("5"), below("+Inf")), (Ok(1.0), Ok(2.0), Ok(3.0)));
        let target = format!("target_info{{job=\"shop/{way}\",host_name=\"h1\"}}");
        assert_eq!(value(&target), Ok(1.0));
    }
}
