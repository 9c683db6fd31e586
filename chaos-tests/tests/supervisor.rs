//! `narthex up --nodes 3` as the supervisor of its nodes.

use std::{
    net::TcpListener,
    process::{Command, Stdio},
    time::Duration,
};

use narthex_chaos_tests::{
    cluster::{Cluster, program},
    wait::until,
};

const NO_TARGETS: &str = "scrape_configs: []\n";

#[test]
fn a_second_start_prints_the_url_of_the_first() {
    let cluster = Cluster::start(NO_TARGETS);
    let data = format!("--data={}", cluster.data().display());
    let output = Command::new(program())
        .args(["up", "--nodes=3", &data])
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), cluster.api().url());
}

#[test]
fn a_dead_child_is_started_again_and_both_are_said() {
    let cluster = Cluster::start(NO_TARGETS);
    let before = cluster.node("n2");
    cluster.kill_node("n2");
    until("n2 runs again", Duration::from_secs(20), || match cluster.node("n2") {
        pid if pid == before => Err("not yet".to_owned()),
        _ => Ok(()),
    });
    let log = cluster.log();
    assert!(log.contains("n2 ended"), "{log}");
    assert!(log.contains("starting it again in 1 s"), "{log}");
    assert!(log.contains("n2 started again: pid"), "{log}");
}

#[test]
fn children_end_with_their_parent() {
    let mut cluster = Cluster::start(NO_TARGETS);
    assert_eq!(cluster.nodes().len(), 3);
    // Waits until no child is left, although only the parent is killed.
    cluster.kill_parent();
}

#[test]
fn a_taken_default_port_is_passed_over_and_said() {
    // Taken by us or by somebody else: taken it is.
    let _taken = TcpListener::bind("127.0.0.1:9090");
    let cluster = Cluster::start_on_default_port(NO_TARGETS);
    assert!(cluster.log().contains("port 9090 is taken; using 909"), "{}", cluster.log());
}
