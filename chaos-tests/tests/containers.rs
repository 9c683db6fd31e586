//! The first cluster that a user starts on several hosts, as containers: it is ready, scrapes what
//! its file says, and loses nothing when containers are killed, cut off, and one loses its volume.

use std::time::Duration;

use narthex_chaos_tests::{
    containers::{Project, docker},
    peers::skip,
    wait::{now, until},
    writer::Writer,
};

/// From `up` until every target has been scraped, whose interval is 15 s.
const START_DEADLINE: Duration = Duration::from_secs(90);
/// Elections, retries and a node that catches up, on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(60);
const BATCHES: usize = 20;
const NODES: usize = 3;
/// What `deploy/compose/prometheus.yml` names.
const TARGETS: [&str; 6] =
    ["n1:9091", "n2:9091", "n3:9091", "node-exporter:9100", "querier:9090", "router:9090"];

#[test]
fn a_compose_project_outlives_what_happens_to_its_containers() {
    let project = match Project::open() {
        Ok(project) => project,
        Err(reason) => {
            skip("a_compose_project_outlives_what_happens_to_its_containers", &reason);
            return;
        }
    };
    start(&project);
    let writer = Writer::start(project.router());
    some_batches(&writer);
    kill_and_start(&project, &writer);
    cut_off_and_bring_back(&project, &writer);
    lose_a_volume(&project, &writer);
    let written = writer.stop();
    written.check(&project.querier());
    eprintln!("{} batches, longest pause {:?}", written.batches(), written.longest_pause());
    scrapes_only_what_the_file_says(&project);
}

fn start(project: &Project) {
    let began = now();
    project.compose(&["up", "--detach"]);
    until("the cluster is whole", START_DEADLINE, || match project.querier().text("/-/ready")? {
        (200, _) => project.is_whole(NODES),
        other => Err(format!("{other:?}")),
    });
    eprintln!("ready after {:?}", began.elapsed());
    until("every target is up", START_DEADLINE, || {
        let up = project.querier().vector("up", "instance")?;
        let is_up = |instance: &&str| up.get(*instance) == Some(&1.0);
        if TARGETS.iter().all(is_up) { Ok(()) } else { Err(format!("{up:?}")) }
    });
    eprintln!("every target was scraped after {:?}", began.elapsed());
    let memory = project.querier().single("node_memory_MemTotal_bytes{job=\"node\"}");
    assert!(memory.as_ref().is_ok_and(|bytes| *bytes > 0.0), "{memory:?}");
}

fn some_batches(writer: &Writer) {
    let wanted = writer.acknowledged() + BATCHES;
    until("batches", DEADLINE, || match writer.acknowledged() {
        some if some < wanted => Err(some.to_string()),
        _ => Ok(()),
    });
}

/// A container that ends without a word, and is started again.
fn kill_and_start(project: &Project, writer: &Writer) {
    let leader = until("a leader", DEADLINE, || project.leader(0));
    let container = project.container(&leader);
    let killed = now();
    docker(&["kill", &container]);
    let resumed = writer.resumed_after(killed, DEADLINE);
    eprintln!("{leader} killed: writes resumed after {resumed:?}");
    let started = now();
    docker(&["start", &container]);
    until("the node is back", DEADLINE, || project.is_whole(NODES));
    eprintln!("{leader} started: whole again after {:?}", started.elapsed());
}

/// A host that is cut off, and comes back under another address.
fn cut_off_and_bring_back(project: &Project, writer: &Writer) {
    let leader = until("a leader", DEADLINE, || project.leader(1));
    let container = project.container(&leader);
    let before = project.address(&container);
    let cut_off = now();
    project.disconnect(&container);
    let resumed = writer.resumed_after(cut_off, DEADLINE);
    eprintln!("{leader} cut off: writes resumed after {resumed:?}");
    some_batches(writer);
    project.take_address(&before);
    let connected = now();
    project.connect(&container, &leader);
    let after = project.address(&container);
    assert!(before != after && !after.is_empty(), "{before} became {after}");
    until("the node is back", DEADLINE, || project.is_whole(NODES));
    eprintln!("{leader} at {after}, not {before}: whole again after {:?}", connected.elapsed());
}

/// A node whose volume is empty does not come back as the one that it was, and says so; the others
/// go on. It joins as a new one and is filled.
fn lose_a_volume(project: &Project, writer: &Writer) {
    project.lose_volume("n3");
    until("it is refused", DEADLINE, || {
        let log = project.compose(&["logs", "--no-color", "n3"]);
        let reason = "it was a member before and has lost its folder";
        if log.contains(reason) { Ok(()) } else { Err(log) }
    });
    some_batches(writer);
    let joined = now();
    project.rejoin();
    until("the new node has everything", START_DEADLINE, || project.is_filled(4));
    eprintln!("node 4 was filled after {:?}", joined.elapsed());
    some_batches(writer);
}

/// Also while the file was not there yet.
fn scrapes_only_what_the_file_says(project: &Project) {
    let ever = project.querier().vector("count by (instance) (last_over_time(up[1h]))", "instance");
    let ever = ever.expect("an answer");
    let names: Vec<_> = ever.keys().map(String::as_str).collect();
    assert_eq!(names, TARGETS);
}
