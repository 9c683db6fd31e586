//! Loss of power, not only of processes: what was acknowledged was synced.

use std::time::Duration;

use narthex_chaos_tests::{
    cluster::Cluster, disk::Disk, peers::skip, targets::config, wait::until, writer::Writer,
};

/// Processes end, disks are mounted again, the supervisor starts nodes again after pauses that
/// double.
const BACK_DEADLINE: Duration = Duration::from_secs(120);
const WRITE_DEADLINE: Duration = Duration::from_secs(60);
const BATCHES: usize = 30;

#[test]
fn what_was_acknowledged_survives_a_loss_of_power() {
    let cluster = match Cluster::start_on_disks(&config(&[])) {
        Ok(cluster) => cluster,
        Err(reason) => {
            skip("power::what_was_acknowledged_survives_a_loss_of_power", &reason);
            return;
        }
    };
    let writer = Writer::start(cluster.api());
    let wait_for = |batches| {
        until("batches", WRITE_DEADLINE, || match writer.acknowledged() {
            some if some < batches => Err(some.to_string()),
            some => Ok(some),
        })
    };
    for lost in 1..=cluster.disks().len() {
        let disks = &cluster.disks()[..lost];
        let some = wait_for(writer.acknowledged() + BATCHES);
        let running = cluster.nodes();
        wait_for(some + 1);
        disks.iter().for_each(Disk::cut_power);
        until("the nodes without a disk have ended", BACK_DEADLINE, || {
            let left: Vec<_> =
                running[..lost].iter().filter(|node| cluster.nodes().contains(node)).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
        disks.iter().for_each(Disk::repair);
        until("all nodes are back", BACK_DEADLINE, || cluster.all_reachable());
        wait_for(writer.acknowledged() + 2);
        until("replicas hold the same", BACK_DEADLINE, || cluster.digests_equal());
    }
    writer.stop().check(&cluster.api());
}
