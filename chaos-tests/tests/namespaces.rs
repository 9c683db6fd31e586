//! Nodes on hosts of their own: they speak mTLS, and only with who belongs to the cluster.

use std::{process::Command, time::Duration};

use narthex_chaos_tests::{
    cluster::program,
    hosts::{Hosts, PORT},
    namespaces::Network,
    node::Process,
    peers::{output_of, skip},
    ports::free_address,
    wait::until,
    writer::Writer,
};

/// Elections, restarts and retries, on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(60);
const NODES: usize = 3;

fn founded(node: &Process) {
    node.says(&["node started", "incarnation"], DEADLINE);
}

#[test]
fn hosts_speak_with_certificates_and_refuse_who_does_not_belong() {
    let hosts = match Hosts::open(NODES) {
        Ok(hosts) => hosts,
        Err(reason) => {
            skip("hosts_speak_with_certificates_and_refuse_who_does_not_belong", &reason);
            return;
        }
    };
    hosts.make_certs("certs");
    hosts.make_certs("other-certs");
    // Folders of another cluster, for later.
    let others: Vec<_> = (1..=NODES).map(|host| hosts.node("other", host)).collect();
    others.iter().for_each(founded);
    others.into_iter().for_each(Process::stop);

    let mut nodes: Vec<_> = (1..=NODES).map(|host| hosts.node("ours", host)).collect();
    nodes.iter().for_each(founded);
    // What this thread and its threads ask is asked on the host of the front from here on.
    hosts.network().enter(hosts.front());
    let (router, write) = hosts.start_front("router", 9090, &[]);
    let (querier, read) = hosts.start_front("querier", 9091, &[]);
    let writer = Writer::start(write);
    until("some batches", DEADLINE, || match writer.acknowledged() {
        0..20 => Err(format!("{}\n{}", writer.acknowledged(), router.log())),
        _ => Ok(()),
    });
    writer.stop().check(&read);

    refuses_without_certificate(&hosts, &nodes[0]);
    let third = nodes.pop().expect("three were started");
    third.stop();
    refuses_another_cluster(&hosts, &nodes);
    refuses_an_old_copy(&hosts);
    drop((router, querier));
}

/// Neither without TLS nor with a certificate that another authority signed.
fn refuses_without_certificate(hosts: &Hosts, node: &Process) {
    let address = format!("{}:{PORT}", Network::address(1));
    let init = |more: &[String]| {
        let mut command = Command::new(program());
        let command = command.args(["cluster", "init", "--node", &address]).args(more);
        let output = command.output().expect("the program starts");
        assert!(!output.status.success(), "{output:?}");
    };
    init(&[]);
    node.says(&["refused a peer's certificate"], DEADLINE);
    let before = node.log().matches("refused a peer's certificate").count();
    init(&[format!("--cluster.certs={}", hosts.path("other-certs/node-1").display())]);
    until("the other authority is refused", DEADLINE, || {
        match node.log().matches("refused a peer's certificate").count() {
            count if count > before => Ok(()),
            count => Err(count.to_string()),
        }
    });
}

/// A node's folder of another cluster, started in place of ours.
fn refuses_another_cluster(hosts: &Hosts, ours: &[Process]) {
    let stranger = hosts.node("other", 3);
    until("the stranger is refused", DEADLINE, || {
        let said = |node: &&Process| {
            node.log().lines().any(|line| {
                line.contains("refused a raft peer") && line.contains("belongs to cluster")
            })
        };
        if ours.iter().any(|node| said(&node)) { Ok(()) } else { Err(stranger.log()) }
    });
    assert_eq!(stranger.log().matches("node started").count(), 1, "{}", stranger.log());
}

/// A copy of a node's folder, started after the node has gone on without it.
fn refuses_an_old_copy(hosts: &Hosts) {
    let (original, copy) = (hosts.path("ours-3"), hosts.path("copy-3"));
    output_of(Command::new("cp").arg("-a").arg(&original).arg(&copy));
    let again = hosts.node("ours", 3);
    until("the node is back", DEADLINE, || match again.log().matches("node started").count() {
        0 | 1 => Err(again.log()),
        _ => Ok(()),
    });
    again.stop();
    for reason in ["incarnation", "the cluster has refused"] {
        let mut refused = hosts.node_in("copy-3", 3);
        let status = refused.ended(DEADLINE);
        let log = refused.log();
        assert!(!status.success() && log.contains(reason), "{status}: {log}");
    }
    let again = hosts.node("ours", 3);
    until("the node is back", DEADLINE, || match again.log().matches("node started").count() {
        0..3 => Err(again.log()),
        _ => Ok(()),
    });
}

#[test]
fn a_node_waits_for_init() {
    let folder = tempfile::Builder::new().prefix("narthex-chaos").tempdir();
    let folder = folder.expect("a temporary folder can be made");
    let address = free_address();
    let start = || {
        let mut command = Command::new(program());
        command
            .args(["node", "--web.listen-address=127.0.0.1:0"])
            .arg(format!("--cluster.listen-address={address}"))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        Process::start(command, folder.path(), "node")
    };
    let node = start();
    node.says(&["waiting for `narthex cluster init`"], DEADLINE);
    let init = |more: &[&str]| {
        let mut command = Command::new(program());
        let output = command.args(["cluster", "init", "--node", &address]).args(more).output();
        output.expect("the program starts")
    };
    let refused = init(&["--replication-factor=3"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("replication factor of 3"), "{said}");
    let founded = init(&["--shards=2"]);
    assert!(founded.status.success(), "{founded:?}\n{}", node.log());
    let cluster = String::from_utf8_lossy(&founded.stdout).trim().to_owned();
    assert_eq!(cluster.len(), 36, "{cluster}");
    node.says(&["node started", &cluster], DEADLINE);
    let again = init(&[]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && said.contains(&cluster), "{said}");
    node.stop();

    let node = start();
    until("it is itself again", DEADLINE, || {
        match node.log().matches(&format!("cluster={cluster}")).count() {
            0 | 1 => Err(node.log()),
            _ => Ok(()),
        }
    });
}
