//! The host that a cluster without a configuration watches.

use std::time::Duration;

use narthex_chaos_tests::{cluster::Cluster, wait::until};

/// Two scrapes of the built-in configuration, a start and an election.
const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn a_machine_is_watched_through_whichever_node_runs() {
    let cluster = Cluster::start_with(None, &["--listen=127.0.0.1:0"]);
    let api = cluster.api();
    let scrapes = || {
        let series = api.samples("up{job=\"node\"}[10m]", "instance")?;
        match series.into_iter().collect::<Vec<_>>().as_slice() {
            [(host, samples)] if *host == host_name() => Ok(samples.clone()),
            other => Err(format!("not one series for this host: {other:?}")),
        }
    };
    let first = until("the host is up", DEADLINE, scrapes);
    assert!(first.iter().all(|(_, up)| *up == 1.0), "{first:?}");
    until("the host's page is stored", DEADLINE, || {
        match api.single("node_boot_time_seconds")? {
            boot if boot > 0.0 => Ok(()),
            other => Err(other.to_string()),
        }
    });

    // The node that stands first in the cluster, and whose address names the target.
    cluster.freeze_node("n1");
    let after = until("scraping goes on without it", DEADLINE, || {
        let samples = scrapes()?;
        if samples.len() >= first.len() + 3 { Ok(samples) } else { Err(format!("{samples:?}")) }
    });
    cluster.thaw_node("n1");
    assert!(after.iter().all(|(_, up)| *up == 1.0), "{after:?}");
    let pages = api.single("count(node_boot_time_seconds)");
    assert_eq!(pages, Ok(1.0), "one machine, one series");
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
