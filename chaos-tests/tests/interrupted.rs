//! Nodes are killed in the middle of what they do beside taking samples: snapshots, sealing and
//! checkpoints. Every acknowledged sample is there afterwards, and nothing of what was cut off is in
//! the way of the next attempt.

use std::{fs, path::PathBuf, thread, time::Duration};

use narthex_chaos_tests::{
    cluster::Cluster,
    wait::{now, pause_for, until},
    writer::Writer,
};

const DEADLINE: Duration = Duration::from_secs(90);
const NODES: [&str; 3] = ["n1", "n2", "n3"];
const SNAPSHOT: &str = "/api/v1/admin/tsdb/snapshot";
const SETTLE: &str = "/api/v1/admin/tsdb/settle";
/// Where a kill strikes, in percent of the time that the whole takes.
const STRIKES: [u32; 4] = [15, 40, 65, 90];

fn wait_for_batches(writer: &Writer, more: usize) {
    let wanted = writer.acknowledged() + more;
    until("batches", DEADLINE, || match writer.acknowledged() {
        some if some < wanted => Err(some.to_string()),
        _ => Ok(()),
    });
}

/// Asks for `path` and kills one node, or all, when a part of the time has passed that it takes.
fn interrupt(cluster: &mut Cluster, writer: &Writer, path: &'static str) {
    let began = now();
    assert!([200, 204].contains(&cluster.api().post(path).expect("answered").0));
    let whole = began.elapsed();
    for (round, percent) in STRIKES.into_iter().flat_map(|it| [it, it]).enumerate() {
        let api = cluster.api();
        // It has nothing to say where all are killed.
        let cut_off = thread::spawn(move || drop(api.post(path)));
        pause_for(whole * percent / 100);
        if round % 2 == 0 {
            cluster.kill_node(NODES[round / 2 % NODES.len()]);
        } else {
            cluster.kill_all();
            cluster.start_again();
        }
        cut_off.join().expect("it does not panic");
        until("all nodes are reachable", DEADLINE, || cluster.all_reachable());
        wait_for_batches(writer, 3);
    }
}

/// Folders of snapshots, complete ones and others.
fn snapshots(cluster: &Cluster) -> Vec<PathBuf> {
    let of = |node: &str| fs::read_dir(cluster.data().join(node).join("snapshots"));
    let entries = NODES.iter().filter_map(|node| of(node).ok()).flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

#[test]
fn snapshots_that_are_cut_off_lose_nothing_and_are_in_nobodys_way() {
    let mut cluster = Cluster::start_on_a_port(&["--web.enable-admin-api"]);
    let writer = Writer::start(cluster.api());
    wait_for_batches(&writer, 50);
    interrupt(&mut cluster, &writer, SNAPSHOT);
    until("nothing unfinished is left", DEADLINE, || {
        let left = snapshots(&cluster);
        match left.iter().any(|path| path.extension().is_some()) {
            true => Err(format!("{left:?}")),
            false => Ok(()),
        }
    });

    let (status, body) = cluster.api().post(SNAPSHOT).expect("answered");
    assert_eq!(status, 200, "{body}");
    let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let name = answer["data"]["name"].as_str().expect("a name");
    let taken = snapshots(&cluster).iter().filter(|path| path.ends_with(name)).count();
    assert_eq!(taken, NODES.len());

    let folder = tempfile::tempdir().expect("folder");
    let backup = folder.path().join("backup");
    let before = writer.acknowledged();
    cluster.back_up(&backup).expect("backed up");
    let written = writer.stop();
    written.check(&cluster.api());
    until("replicas hold the same", DEADLINE, || cluster.digests_equal());
    drop(cluster);
    let restored = Cluster::start_from_backup(&backup);
    written.as_of(before).check(&restored.api());
}

/// Settling seals every open chunk, writes checkpoints, joins chunks and purges the log.
#[test]
fn kills_during_sealing_and_checkpoints_lose_nothing() {
    let mut cluster = Cluster::start_on_a_port(&[]);
    let writer = Writer::start(cluster.api());
    wait_for_batches(&writer, 50);
    interrupt(&mut cluster, &writer, SETTLE);
    let written = writer.stop();
    written.check(&cluster.api());
    until("replicas hold the same", DEADLINE, || cluster.digests_equal());
    assert_eq!(cluster.api().post(SETTLE).expect("answered").0, 204);
    written.check(&cluster.api());
}
