//! Nodes join, lose their disks, are replaced, while samples are written, scraped and asked for:
//! nothing acknowledged is missing, and no query fails.

use std::{path::PathBuf, process::Command, time::Duration};

use narthex_chaos_tests::{
    api::Api, asker::Asker, cluster::program, node::Process, peers::output_of, ports::free_address,
    wait::until, writer::Writer,
};
use serde_json::Value;
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(120);
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// A cluster that began as `narthex up`.
struct Grown {
    folder: TempDir,
    web: String,
    /// Of `up`, which every other node is told of.
    seed: String,
    _up: Process,
}

impl Grown {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("narthex-chaos").tempdir().expect("a folder");
        let web = free_address();
        let mut command = Command::new(program());
        command
            .arg("up")
            .arg(format!("--listen={web}"))
            .arg(format!("--data={}", folder.path().join("up").display()))
            .arg("--cluster.rebuild-after=5s");
        let up = Process::start(command, folder.path(), "up");
        let mut grown = Self { folder, web, seed: String::new(), _up: up };
        until("it is ready", DEADLINE, || match grown.api().text("/-/ready") {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        let status = grown.status();
        let address = status["nodes"][0]["address"].as_str().expect("an address");
        grown.seed = address.to_owned();
        grown
    }

    fn api(&self) -> Api {
        Api::new(&format!("http://{}", self.web), CALL_DEADLINE)
    }

    fn cluster(&self, arguments: &[&str]) -> String {
        let server = format!("http://{}", self.web);
        let mut command = Command::new(program());
        output_of(command.arg("cluster").args(arguments).args(["--server", &server]))
    }

    fn status(&self) -> Value {
        let status = self.cluster(&["status", "-o", "json"]);
        serde_json::from_str(&status).expect("JSON")
    }

    fn data_of(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A node that listens at `address` and joins.
    fn join(&self, name: &str, address: &str) -> Process {
        let mut command = Command::new(program());
        command
            .arg("node")
            .arg(format!("--storage.tsdb.path={}", self.data_of(name).display()))
            .arg(format!("--cluster.listen-address={address}"))
            .arg("--web.listen-address=127.0.0.1:0")
            .arg(format!("--cluster.join={}", self.seed))
            .arg("--cluster.rebuild-after=5s");
        Process::start(command, self.folder.path(), name)
    }

    /// Waits until so many nodes are members, and every shard has a replica on exactly `on`.
    fn settles_on(&self, on: &[&str]) {
        until(&format!("all shards lie on {on:?}"), DEADLINE, || {
            let status = self.status();
            let id = |name: &str| {
                let nodes = status["nodes"].as_array().into_iter().flatten();
                let mut found = nodes.filter(|node| node["name"] == name);
                found.next().and_then(|node| node["id"].as_u64())
            };
            let mut wanted: Vec<u64> = on.iter().filter_map(|name| id(name)).collect();
            wanted.sort_unstable();
            for shard in status["shards"].as_array().into_iter().flatten() {
                let replicas = shard["replicas"].as_array().into_iter().flatten();
                let mut nodes: Vec<u64> = replicas.filter_map(|it| it["node"].as_u64()).collect();
                nodes.sort_unstable();
                if nodes != wanted || wanted.len() != on.len() {
                    return Err(format!("{}\n{}", shard, self.cluster(&["moves"])));
                }
            }
            let moves: Value =
                serde_json::from_str(&self.cluster(&["moves", "-o", "json"])).expect("JSON");
            match moves["underWay"].as_array().map(Vec::is_empty) {
                Some(true) => Ok(()),
                _ => Err(moves.to_string()),
            }
        });
    }

    fn digests_are_equal(&self) {
        until("replicas hold the same", DEADLINE, || {
            let (_, body) = self.api().post("/api/v1/admin/tsdb/digests")?;
            match body.contains("\"data\":{\"equal\":true") {
                true => Ok(()),
                false => Err(body),
            }
        });
    }
}

/// From one node to three, a lost disk, a replaced node.
#[test]
fn a_cluster_grows_loses_a_disk_and_has_a_node_replaced() {
    let grown = Grown::start();
    let writer = Writer::start(grown.api());
    let asker = Asker::start(grown.api());
    until("batches", DEADLINE, || match writer.acknowledged() {
        0..50 => Err("few".to_owned()),
        _ => Ok(()),
    });
    let addresses = [free_address(), free_address(), free_address()];
    let second = grown.join("n2", &addresses[0]);
    let third = grown.join("n3", &addresses[1]);
    until("three nodes", DEADLINE, || match grown.status()["nodes"].as_array().map(Vec::len) {
        Some(3) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    grown.cluster(&["set", "cluster.replication-factor=3"]);
    let (one, two, three) = ("n1", addresses[0].as_str(), addresses[1].as_str());
    grown.settles_on(&[one, two, three]);
    grown.digests_are_equal();
    asker.none_failed();

    // The third loses its disk and comes back as somebody else.
    let acknowledged = writer.acknowledged();
    drop(third);
    std::fs::remove_dir_all(grown.data_of("n3")).expect("the folder goes");
    let third = grown.join("n3", &addresses[1]);
    until("four members", DEADLINE, || match grown.status()["nodes"].as_array().map(Vec::len) {
        Some(4) => Ok(()),
        other => Err(format!("{other:?}\n{}", third.log())),
    });
    let status = grown.status();
    let nodes = status["nodes"].as_array().expect("nodes");
    let newest = nodes.iter().max_by_key(|node| node["id"].as_u64()).expect("one");
    let back = newest["name"].as_str().expect("a name").to_owned();
    assert_ne!(back, three);
    grown.settles_on(&[one, two, &back]);
    grown.cluster(&["remove", three]);
    grown.digests_are_equal();
    assert!(writer.acknowledged() > acknowledged);

    // The second is replaced by a fourth, while it works.
    let asker = Asker::start(grown.api());
    let fourth = grown.join("n4", &addresses[2]);
    let replaced = grown.cluster(&["replace", two]);
    assert!(replaced.contains("no member any more"), "{replaced}");
    grown.settles_on(&[one, &back, &addresses[2]]);
    grown.digests_are_equal();
    asker.none_failed();
    // Whoever leads now scrapes: the nodes' own pages, in shards that have moved.
    until("what is left is scraped", DEADLINE, || {
        let fresh = grown.api().data("/api/v1/query?query=count(up%20==%201)")?;
        match fresh["result"][0]["value"][1].as_str() {
            Some("4") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let written = writer.stop();
    written.check(&grown.api());
    drop((second, third, fourth));
}
