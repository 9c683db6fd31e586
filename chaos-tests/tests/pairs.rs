//! A pair of Prometheus servers as senders, of which one is heard; its death, and in the silence
//! behind it that of each node, also of the one that would elect the other.

use std::time::Duration;

use narthex_chaos_tests::{
    api::Samples,
    cluster::Cluster,
    peers::peer,
    prometheus::{Prometheus, SenderConfig},
    targets::{SEQUENCE, Target},
    wait::until,
};

const DEADLINE: Duration = Duration::from_secs(90);
/// The elected replica's last report, its silence, and what a sender sends at once.
const GAP_MAX_MILLIS: i64 = (5 + 35 + 10) * 1000;
/// No other replica is heard before.
const SILENCE_MILLIS: i64 = 30_000;
const MESSAGE: &str = "prometheus.WriteRequest";

fn sender(
    program: &std::path::Path,
    cluster: &Cluster,
    replica: &str,
    target: &Target,
) -> Prometheus {
    let labels =
        [("cluster", "c"), ("prometheus", "monitoring/k8s"), ("prometheus_replica", replica)];
    let config = SenderConfig { message: MESSAGE, labels: &labels, target };
    Prometheus::sender(program, cluster.api().url(), config)
}

/// What the cluster has of the page that both scrape: one series, without the replica's label.
fn stored(cluster: &Cluster) -> Result<Samples, String> {
    let selector = format!("{SEQUENCE}{{prometheus=\"monitoring/k8s\"}}[10m]");
    let mut series = cluster.api().samples(&selector, "prometheus_replica")?;
    let samples = series.remove("").ok_or("none yet")?;
    if series.is_empty() { Ok(samples) } else { Err(format!("replicas are stored: {series:?}")) }
}

/// What a replica has scraped itself.
fn scraped(sender: &Prometheus) -> Result<Samples, String> {
    let mut series = sender.api().samples(&format!("{SEQUENCE}[10m]"), "job")?;
    series.remove("page").ok_or_else(|| "nothing scraped yet".to_owned())
}

fn has_at_least(count: usize, samples: Samples) -> Result<Samples, String> {
    if samples.len() >= count { Ok(samples) } else { Err(format!("{samples:?}")) }
}

/// One after the other, so that the one that would elect is among them.
fn kill_every_node(cluster: &Cluster) {
    for node in ["n1", "n2", "n3"] {
        cluster.kill_node(node);
        until("all nodes are reachable", DEADLINE, || cluster.all_reachable());
    }
}

#[test]
fn the_other_replica_takes_over_when_one_is_killed() {
    const NAME: &str = "the_other_replica_takes_over_when_one_is_killed";
    let Some(program) = peer(NAME, "prometheus") else { return };
    let target = Target::start();
    let flags = ["--listen=127.0.0.1:0", "--ingest.ha-pairs"];
    let cluster = Cluster::start_with(Some("scrape_configs: []\n"), &flags);
    let elected = sender(&program, &cluster, "k8s-0", &target);
    until("the first replica is heard", DEADLINE, || stored(&cluster));
    let other = sender(&program, &cluster, "k8s-1", &target);
    until("both have scraped", DEADLINE, || {
        has_at_least(4, scraped(&other)?)?;
        has_at_least(6, stored(&cluster)?)
    });
    // What is asked now and what is there when it is killed are the same, but for a scrape.
    let of_elected = until("an answer", DEADLINE, || scraped(&elected));
    let before = until("an answer", DEADLINE, || stored(&cluster));
    drop(elected);
    kill_every_node(&cluster);
    let after = until("the other replica is heard", DEADLINE, || {
        has_at_least(before.len() + 6, stored(&cluster)?)
    });
    let of_other = until("an answer", DEADLINE, || scraped(&other));

    assert!(after.windows(2).all(|pair| pair[0].1 < pair[1].1), "a page is there twice: {after:?}");
    let gaps = after.windows(2).map(|pair| (pair[1].0 - pair[0].0, pair[1].0));
    let (gap, switched) = gaps.max().expect("there are many");
    assert!((SILENCE_MILLIS..GAP_MAX_MILLIS).contains(&gap), "{gap} ms of silence: {after:?}");
    let last_known = of_elected.last().expect("it scraped").0;
    for sample in after.iter().filter(|sample| sample.0 <= last_known) {
        assert!(of_elected.contains(sample), "{sample:?} is not of the elected replica");
    }
    for sample in after.iter().filter(|sample| sample.0 >= switched) {
        assert!(of_other.contains(sample), "{sample:?} is not of the other replica");
    }
    assert_eq!(other.total("prometheus_remote_storage_samples_failed_total"), Ok(0.0));
    until("replicas hold the same", DEADLINE, || cluster.digests_equal());
}
