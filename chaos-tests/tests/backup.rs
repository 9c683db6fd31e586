//! A cluster of three is backed up while it is written to, and starts again from that.

use std::time::Duration;

use narthex_chaos_tests::{cluster::Cluster, wait::until, writer::Writer};

const DEADLINE: Duration = Duration::from_secs(60);
/// Batches written before the backup begins, and again behind it.
const BATCHES: usize = 20;
/// A log stands still for tens of milliseconds; this is far below an election.
const PAUSE_MAX: Duration = Duration::from_secs(1);

fn wait_for_batches(writer: &Writer, wanted: usize) {
    until("batches", DEADLINE, || match writer.acknowledged() {
        some if some < wanted => Err(some.to_string()),
        _ => Ok(()),
    });
}

#[test]
fn a_backup_under_load_restores_what_was_acknowledged_before_it() {
    let folder = tempfile::tempdir().expect("folder");
    let backups = [folder.path().join("first"), folder.path().join("second")];
    let cluster = Cluster::start_with(None, &["--listen=127.0.0.1:0"]);
    let writer = Writer::start(cluster.api());
    wait_for_batches(&writer, BATCHES);
    let before = backups.each_ref().map(|backup| {
        let before = writer.acknowledged();
        cluster.back_up(backup).expect("backed up");
        wait_for_batches(&writer, writer.acknowledged() + BATCHES);
        before
    });
    let again = cluster.back_up(&backups[0]).expect_err("never over another");
    assert!(again.contains("is not empty"), "{again}");
    let left = ["n1", "n2", "n3"].map(|node| cluster.data().join(node).join("snapshots"));
    for snapshots in left {
        let left = std::fs::read_dir(&snapshots).map_or(0, Iterator::count);
        assert_eq!(left, 0, "a fetched backup is deleted on its node");
    }
    let written = writer.stop();
    written.check(&cluster.api());
    eprintln!("longest pause of writes {:?}", written.longest_pause());
    assert!(written.longest_pause() < PAUSE_MAX, "{:?}", written.longest_pause());
    drop(cluster);

    for (backup, before) in backups.iter().zip(before) {
        let restored = Cluster::start_from_backup(backup);
        written.as_of(before).check(&restored.api());
        until("equal replicas", DEADLINE, || restored.digests_equal());
        let writer = Writer::start(restored.api());
        wait_for_batches(&writer, BATCHES);
        writer.stop();
        until("replicas stay equal", DEADLINE, || restored.digests_equal());
    }
}
