//! One node after the other is stopped and started again, as at an upgrade: leaders are handed over,
//! so that writers hardly wait and no query fails.

use std::time::Duration;

use narthex_chaos_tests::{asker::Asker, cluster::Cluster, wait::until, writer::Writer};

const DEADLINE: Duration = Duration::from_secs(90);
/// Between two acknowledgements of a writer of one batch at a time. A leader is handed over within
/// 300 ms; a loaded machine takes longer.
const PAUSE_MAX: Duration = Duration::from_secs(2);

#[test]
fn a_rolling_restart_loses_nothing_and_fails_no_query() {
    let cluster = Cluster::start("{}");
    let writer = Writer::start(cluster.api());
    let asker = Asker::start(cluster.api());
    let wait_for_batches = |more: usize| {
        let wanted = writer.acknowledged() + more;
        until("batches", DEADLINE, || match writer.acknowledged() {
            some if some < wanted => Err(some.to_string()),
            _ => Ok(()),
        });
    };
    wait_for_batches(50);
    for name in ["n1", "n2", "n3"] {
        let before = cluster.node(name);
        cluster.terminate_node(name);
        until("the node has another process", DEADLINE, || match cluster.node(name) {
            pid if pid != before => Ok(()),
            pid => Err(pid.to_string()),
        });
        until("all nodes are reachable", DEADLINE, || cluster.all_reachable());
        wait_for_batches(50);
    }
    asker.none_failed();
    let written = writer.stop();
    written.check(&cluster.api());
    until("replicas hold the same", DEADLINE, || cluster.digests_equal());
    let longest = written.longest_pause();
    assert!(longest <= PAUSE_MAX, "a writer waited for {longest:?}");
}
