//! Blocks that Prometheus and promtool have written, imported into a cluster.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use narthex_chaos_tests::{
    api::{Api, Samples},
    cluster::{Cluster, program},
    node::Process,
    peers::{output_of, peer},
    ports::free_address,
    wait::{until, wall_millis},
};
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(60);
const STEP: i64 = 15_000;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const INSTANCES: i64 = 3;

/// What an instance says at a time.
fn value(instance: i64, time: i64) -> f64 {
    (instance * 1_000_000 + time / STEP % 100_000) as f64 + 0.25
}

/// A block of three hours from `start` on, and what is in it.
fn blocks(promtool: &Path, folder: &Path, start: i64) -> (PathBuf, Vec<Samples>) {
    let mut text = "# TYPE imported gauge\n".to_owned();
    let mut written = vec![Samples::new(); INSTANCES as usize];
    for instance in 0..INSTANCES {
        for time in (start..start + 3 * HOUR).step_by(STEP as usize) {
            let value = value(instance, time);
            writeln!(text, "imported{{instance=\"i{instance}\"}} {value} {}", time as f64 / 1000.0)
                .expect("memory");
            written[instance as usize].push((time, value));
        }
    }
    text.push_str("# EOF\n");
    let (file, blocks) = (folder.join(format!("{start}.txt")), folder.join(start.to_string()));
    fs::write(&file, text).expect("written");
    output_of(
        Command::new(promtool)
            .args(["tsdb", "create-blocks-from", "openmetrics"])
            .args([&file, &blocks]),
    );
    (blocks, written)
}

/// The values of a vector, by their labels.
fn by_labels(vector: &Value) -> BTreeMap<String, f64> {
    let row = |row: &Value| {
        let value = row["value"][1].as_str().expect("a value");
        (row["metric"].to_string(), value.parse().expect("a number"))
    };
    vector.as_array().expect("a vector").iter().map(row).collect()
}

fn import(cluster: &Cluster, blocks: &Path) -> String {
    let mut command = Command::new(program());
    output_of(command.args(["import", "tsdb", "--server", cluster.api().url()]).arg(blocks))
}

#[test]
fn blocks_are_imported_whatever_is_there_already() {
    let Some(promtool) = peer("blocks_are_imported_whatever_is_there_already", "promtool") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let today = wall_millis() / DAY * DAY;
    let (newer, mut written) = blocks(&promtool, folder.path(), today - DAY);
    let (older, before) = blocks(&promtool, folder.path(), today - 3 * DAY);
    let cluster = Cluster::start_with(None, &["--listen=127.0.0.1:0"]);
    let said = import(&cluster, &newer);
    assert_eq!(said, format!("{} samples imported from 2 blocks\n", 3 * 720));
    // Far behind the newest, which remote write alone would refuse; and sent twice.
    for _ in 0..2 {
        import(&cluster, &older);
    }
    for (all, before) in written.iter_mut().zip(before) {
        all.splice(0..0, before);
    }
    let stored = cluster.api().samples("imported[5d]", "instance").expect("an answer");
    for (instance, written) in written.iter().enumerate() {
        assert_eq!(&stored[&format!("i{instance}")], written, "instance {instance}");
    }
    until("equal replicas", DEADLINE, || cluster.digests_equal());
}

#[test]
fn native_histograms_of_a_real_prometheus_are_imported() {
    let test = "native_histograms_of_a_real_prometheus_are_imported";
    let Some(prometheus) = peer(test, "prometheus") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let address = free_address();
    let config = folder.path().join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: self\n  \
         static_configs: [{{targets: ['{address}']}}]\n"
    );
    fs::write(&config, text).expect("written");
    let data = folder.path().join("data");
    let mut command = Command::new(prometheus);
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", data.display()))
        .arg(format!("--web.listen-address={address}"))
        .args(["--web.enable-admin-api", "--enable-feature=native-histograms"]);
    let process = Process::start(command, folder.path(), "prometheus");
    let peer = Api::new(&format!("http://{address}"), DEADLINE);
    let count = "sum by (handler) (histogram_count(prometheus_http_request_duration_seconds))";
    let scraped =
        "min(count_over_time(prometheus_http_request_duration_seconds{handler=\"/metrics\"}[1m]))";
    until("some histograms", DEADLINE, || match peer.single(scraped)? {
        few if few < 5.0 => Err(few.to_string()),
        _ => Ok(()),
    });
    let at = (wall_millis() / 1000).to_string();
    let (status, answer) = peer.post("/api/v1/admin/tsdb/snapshot").expect("an answer");
    assert_eq!(status, 200, "{answer}");
    let ask = |api: &Api| {
        let spread = "histogram_quantile(0.5, prometheus_http_request_duration_seconds)";
        [count, spread].map(|it| api.query(&[("query", it), ("time", &at)]).expect("an answer"))
    };
    let expected = ask(&peer);
    process.stop();
    assert!(expected[0].as_array().is_some_and(|rows| !rows.is_empty()), "{expected:?}");

    let snapshots = fs::read_dir(data.join("snapshots")).expect("a snapshot");
    let snapshot = snapshots.flatten().next().expect("one").path();
    let cluster = Cluster::start_with(None, &["--listen=127.0.0.1:0"]);
    import(&cluster, &snapshot);
    for (found, expected) in ask(&cluster.api()).iter().zip(&expected) {
        let (found, expected) = (by_labels(found), by_labels(expected));
        assert_eq!(found.len(), expected.len(), "{found:?} {expected:?}");
        for ((labels, found), (_, expected)) in found.iter().zip(&expected) {
            // Exponents and logarithms may differ in the last bit.
            assert!(
                (found - expected).abs() <= expected.abs() * 1e-14,
                "{labels} {found} {expected}"
            );
        }
    }
}
