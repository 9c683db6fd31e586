//! A node that belongs to no cluster yet, as its watchers see it.

use std::{process::Command, time::Duration};

use narthex_chaos_tests::{
    api::Api, cluster::program, node::Process, peers::output_of, ports::free_address, wait::until,
};

/// A start and a founding, on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn a_waiting_node_is_healthy_and_says_what_it_waits_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let (web, cluster) = (free_address(), free_address());
    let mut command = Command::new(program());
    command
        .arg("node")
        .arg(format!("--web.listen-address={web}"))
        .arg(format!("--cluster.listen-address={cluster}"))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("n1").display()));
    let node = Process::start(command, folder.path(), "n1");
    let api = Api::new(&format!("http://{web}"), Duration::from_secs(10));

    until("it says what it waits for", DEADLINE, || match api.text("/-/ready") {
        Ok((503, body)) if body.contains("waits for `narthex cluster init`") => Ok(()),
        other => Err(format!("{other:?}\n{}", node.log())),
    });
    assert_eq!(api.text("/-/healthy").map(|(status, _)| status), Ok(200));
    assert_eq!(api.metric("prometheus_ready"), Ok(0.0));
    assert!(api.metric("process_resident_memory_bytes").is_ok_and(|bytes| bytes > 0.0));
    let (status, body) = api.text("/metrics/node").expect("an answer");
    assert_eq!((status, body.contains("waits for")), (503, true), "{body}");

    output_of(Command::new(program()).args(["cluster", "init", "--node", &cluster]));
    until("it is ready", DEADLINE, || match api.text("/-/ready") {
        Ok((200, _)) => Ok(()),
        other => Err(format!("{other:?}\n{}", node.log())),
    });
    assert_eq!(api.metric("prometheus_ready"), Ok(1.0));
    assert_eq!(api.text("/metrics/node").map(|(status, _)| status), Ok(200));
    node.stop();
}
