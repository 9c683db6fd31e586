//! A real Prometheus that scrapes a cluster's federated page and reads from it remotely.

use std::time::Duration;

use narthex_chaos_tests::{
    api::Api,
    cluster::Cluster,
    peers::peer,
    prometheus::Prometheus,
    targets::{SEQUENCE, Target, config},
    wait::until,
};

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn prometheus_federates_and_reads() {
    let Some(program) = peer("prometheus_federates_and_reads", "prometheus") else { return };
    let targets = [Target::start(), Target::start()];
    let jobs = config(&[("page", 1, &targets)]);
    let cluster = Cluster::start(&format!("global:\n  external_labels: {{region: eu}}\n{jobs}"));
    let samples =
        |of: &Api, labels: &str| of.samples(&format!("{SEQUENCE}{labels}[5m]"), "instance");
    let before = until("three samples of each target", DEADLINE, || {
        let samples = samples(&cluster.api(), "")?;
        let ready = samples.len() == 2 && samples.values().all(|samples| samples.len() >= 3);
        if ready { Ok(samples) } else { Err(format!("{samples:?}")) }
    });

    let reader = Prometheus::reader(&program, cluster.api().url(), r#"{job="page"}"#);
    let read = until("samples from before it started", DEADLINE, || {
        let read = samples(reader.api(), r#"{region="eu"}"#)?;
        if read.is_empty() { Err("none".to_owned()) } else { Ok(read) }
    });
    for (instance, samples) in &before {
        let read = read.get(instance).expect("each target's series");
        for sample in samples {
            assert!(read.contains(sample), "{sample:?} of {instance} is not among {read:?}");
        }
    }
    assert!(samples(reader.api(), r#"{region="us"}"#).expect("an answer").is_empty());
    until("the page was scraped", DEADLINE, || {
        match reader.api().single(r#"min(up{job="federation"})"#)? {
            1.0 => Ok(()),
            other => Err(other.to_string()),
        }
    });
    let scraped = reader.api().single(r#"min(scrape_samples_scraped{job="federation"})"#);
    assert!(scraped.expect("a count") >= 10.0, "the pages of two targets");
    let failed = reader.total("prometheus_remote_storage_read_queries_total{code=\"500\"");
    assert!(failed.is_err(), "{failed:?}");
}
