//! Senders that others wrote: Prometheus with remote write, and OpenTelemetry's SDK for Python.

use std::{fs, path::Path, process::Command, time::Duration};

use narthex_chaos_tests::{
    api::Api,
    cluster::Cluster,
    node::Process,
    peers::{output_of, peer, python_with},
    ports::free_address,
    prometheus::{Prometheus, SenderConfig},
    targets::{SEQUENCE, Target},
    wait::until,
};

/// From a sender's start until what it sends is there, on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(90);

#[test]
fn prometheus_writes_in_both_versions() {
    let Some(program) = peer("prometheus_writes_in_both_versions", "prometheus") else { return };
    let target = Target::start();
    let cluster = Cluster::start("scrape_configs: []\n");
    let url = cluster.api().url().to_owned();
    for message in ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"] {
        let labels = [("sender", message)];
        let sender = Prometheus::sender(
            &program,
            &url,
            SenderConfig { message, labels: &labels, target: &target },
        );
        let selector = format!("{SEQUENCE}{{sender={message:?}}}[1m]");
        let got = until(&format!("five samples came as {message}"), DEADLINE, || {
            let mut series = cluster.api().samples(&selector, "job")?;
            let samples = series.remove("page").ok_or("none yet")?;
            if samples.len() >= 5 { Ok(samples) } else { Err(format!("{samples:?}")) }
        });
        let kept =
            sender.api().samples(&selector.replace(&format!("sender={message:?}"), ""), "job");
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

/// Ninety-nine observations of a size, one of them of zero, and one pause.
fn expect_exponential(cluster: &Cluster, labels: &str) {
    let value = |expression: &str| cluster.api().single(expression).expect("an answer");
    let of = |function: &str, name: &str| value(&format!("{function}({name}{labels})"));
    assert_eq!(of("histogram_count", "size_bytes"), 99.0);
    assert_eq!(of("histogram_sum", "size_bytes"), 101.0 + 96.0 * 97.0 / 2.0);
    assert_eq!(of("histogram_count", "pause_seconds"), 1.0);
    assert_eq!(of("histogram_sum", "pause_seconds"), 2.5);
    let quantile = |q: f64, name: &str| value(&format!("histogram_quantile({q}, {name}{labels})"));
    let is_near = |found: f64, want: f64, within: f64| (found / want - 1.0).abs() <= within;
    // Of 0, 1, 1, 2 … 96, 100 the median is 48; buckets are 2^(1/16) wide.
    let median = quantile(0.5, "size_bytes");
    assert!(is_near(median, 48.0, 0.05), "{median}");
    // The narrowest buckets that are kept are 2^(1/256) wide.
    let pause = quantile(0.5, "pause_seconds");
    assert!(is_near(pause, 2.5, 0.003), "{pause}");
}

fn expect_exemplars(cluster: &Cluster, labels: &str) {
    let now = narthex_chaos_tests::wait::wall_millis() / 1000;
    let asked = |name: &str| {
        let range = format!("start={}&end={}", now - 600, now + 60);
        let query = format!("{name}{labels}").replace('{', "%7B").replace('}', "%7D");
        let query = query.replace('"', "%22").replace('/', "%2F");
        let data = cluster.api().data(&format!("/api/v1/query_exemplars?query={query}&{range}"));
        data.expect("an answer")
    };
    let trace = "5b8aa5a2d2c872e8321cf37308d69df2";
    let bucket = asked("latency_seconds_bucket");
    assert_eq!(bucket.as_array().map(Vec::len), Some(1), "one bucket: {bucket}");
    assert_eq!(bucket[0]["seriesLabels"]["le"], "5");
    let exemplar = &bucket[0]["exemplars"][0];
    assert_eq!(exemplar["labels"]["trace_id"], trace);
    assert_eq!(exemplar["labels"]["span_id"], "5fb397be34d26b51");
    assert_eq!(exemplar["labels"]["user"], "u1", "the attribute that the view left out");
    assert_eq!(exemplar["value"], "1");
    let sizes = asked("size_bytes");
    let sizes = sizes[0]["exemplars"].as_array().expect("some");
    assert!(!sizes.is_empty() && sizes.iter().all(|it| it["labels"]["trace_id"] == trace));
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
        expect_exponential(&cluster, &labels);
        expect_exemplars(&cluster, &labels);
        // Both exports came, the first one with what had been counted by then.
        let counts = cluster.api().samples(&format!("requests_total{labels}[5m]"), "job");
        let counts = counts.expect("an answer").remove(&format!("shop/{way}")).expect("a series");
        let counts: Vec<f64> = counts.into_iter().map(|sample| sample.1).collect();
        assert_eq!((counts.first(), counts.last()), (Some(&3.0), Some(&7.0)));
        let target = format!("target_info{{job=\"shop/{way}\",host_name=\"h1\"}}");
        assert_eq!(value(&target), Ok(1.0));
    }
}

/// vmagent is the only one who scrapes the target, so its pages are numbered without a gap if
/// nothing is lost and nothing is stored twice.
#[test]
fn vmagent_writes_every_page_while_nodes_die() {
    const NAME: &str = "vmagent_writes_every_page_while_nodes_die";
    let Some(program) = peer(NAME, "vmagent") else { return };
    let target = Target::start();
    let cluster = Cluster::start("scrape_configs: []\n");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let config = format!(
        "global: {{scrape_interval: 1s, external_labels: {{sender: vmagent}}}}\n\
         scrape_configs:\n  - job_name: page\n    static_configs:\n      - targets: [{:?}]\n",
        target.address()
    );
    let file = folder.path().join("scrape.yml");
    fs::write(&file, config).expect("a temporary file can be written");
    let address = free_address();
    let mut command = Command::new(program);
    command
        .arg(format!("-promscrape.config={}", file.display()))
        .arg(format!("-httpListenAddr={address}"))
        .arg(format!("-remoteWrite.url={}/api/v1/write", cluster.api().url()))
        .arg(format!("-remoteWrite.tmpDataPath={}", folder.path().join("queue").display()))
        .args(["-remoteWrite.flushInterval=500ms", "-remoteWrite.retryMinInterval=500ms"]);
    let _process = Process::start(command, folder.path(), "vmagent");
    let selector = format!("{SEQUENCE}{{sender=\"vmagent\"}}[10m]");
    let wait_for = |count: usize| {
        until(&format!("{count} pages came"), DEADLINE, || {
            let mut series = cluster.api().samples(&selector, "job")?;
            let pages = series.remove("page").ok_or("none yet")?;
            if pages.len() >= count { Ok(pages) } else { Err(format!("{pages:?}")) }
        })
    };
    let mut pages = wait_for(2);
    for node in ["n1", "n3"] {
        cluster.kill_node(node);
        pages = wait_for(pages.len() + 4);
        until("all nodes are reachable", DEADLINE, || cluster.all_reachable());
    }
    let numbers: Vec<f64> = pages.iter().map(|page| page.1).collect();
    let gaps: Vec<_> = numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1.0).collect();
    assert!(gaps.is_empty(), "pages are missing or twice: {numbers:?}");
    let own = Api::new(&format!("http://{address}"), Duration::from_secs(5));
    let dropped = r#"vmagent_remotewrite_packets_dropped_total{url="1:secret-url"}"#;
    assert_eq!(own.metric(dropped), Ok(0.0));
}
