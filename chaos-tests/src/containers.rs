//! The compose project of `deploy/` on the Docker engine of this machine: its image built from the
//! program under test and loaded from its tar, its containers killed and cut off.
//!
//! The engine is not started here, and no registry is asked: `build/base-images` has made what the
//! images stand on.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::{api::Api, cluster::program, peers::output_of, ports::free_address};

/// One answer over HTTP.
const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// More than the addresses that services which have ended leave behind.
const STRANGERS_MAX: usize = 8;

/// A project of its own name, with images and volumes of its own. Dropping it removes all of them.
#[derive(Debug)]
pub struct Project {
    name: String,
    /// The program and its first arguments.
    compose: Vec<&'static str>,
    router: String,
    querier: String,
}

impl Project {
    /// Builds the images, or says what this machine lacks. Starts nothing.
    pub fn open() -> Result<Self, String> {
        if !succeeds("docker", &["version"]) {
            return Err("there is no Docker engine".to_owned());
        }
        let compose = match () {
            () if succeeds("docker", &["compose", "version"]) => vec!["docker", "compose"],
            () if succeeds("docker-compose", &["version"]) => vec!["docker-compose"],
            () => return Err("there is no docker compose".to_owned()),
        };
        let bases = std::env::var_os("NARTHEX_IMAGES").map(PathBuf::from);
        let bases = bases.ok_or("there are no images to stand on; see build/base-images")?;
        let project = Self {
            name: format!("narthex-chaos-{}", std::process::id()),
            compose,
            router: free_address(),
            querier: free_address(),
        };
        project.make_images(&bases);
        Ok(project)
    }

    /// As a user would: built, carried in a tar, loaded.
    fn make_images(&self, bases: &Path) {
        import(&bases.join("base.tar"), &self.image("base"), &[]);
        let entry = "ENTRYPOINT [\"/usr/bin/prometheus-node-exporter\"]";
        let changes = ["--change", entry, "--change", "USER 65534"];
        import(&bases.join("node-exporter.tar"), &self.image("node-exporter"), &changes);
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let tar = folder.path().join("image.tar");
        let image = self.image("narthex");
        let mut build = Command::new(repository().join("build/image"));
        build.env("IMAGE", &image).env("BASE", self.image("base")).env("TAR", &tar);
        build.env("NARTHEX_BIN", program()).env("CARGO_TARGET_DIR", folder.path());
        output_of(&mut build);
        docker(&["image", "rm", &image]);
        output_of(Command::new("docker").args(["load", "--input"]).arg(&tar));
    }

    fn image(&self, name: &str) -> String {
        format!("{name}:{}", self.name)
    }

    /// `docker compose` with these arguments; its output.
    pub fn compose(&self, arguments: &[&str]) -> String {
        output_of(&mut self.compose_command(arguments))
    }

    fn remove_with_volume(&self, service: &str) {
        self.compose(&["rm", "--stop", "--force", service]);
        docker(&["volume", "rm", &format!("{}_{service}", self.name)]);
    }

    /// Starts n3, whose volume was lost, as a new member, with a folder that nobody has begun.
    pub fn rejoin(&self) {
        self.remove_with_volume("n3");
        let file = repository().join("deploy/compose/rejoin.yaml");
        let file = format!("--file={}", file.display());
        self.compose(&[&file, "run", "--rm", "certs"]);
        self.compose(&[&file, "up", "--detach", "--no-deps", "n3"]);
    }

    fn compose_command(&self, arguments: &[&str]) -> Command {
        let port = |address: &str| address.rsplit(':').next().map(str::to_owned);
        let mut command = Command::new(self.compose[0]);
        command
            .args(&self.compose[1..])
            .arg(format!("--project-name={}", self.name))
            .arg("--file")
            .arg(repository().join("deploy/compose/compose.yaml"))
            .args(arguments)
            .env("NARTHEX_REBUILD_AFTER", "10s")
            .env("NARTHEX_IMAGE", self.image("narthex"))
            .env("NODE_EXPORTER_IMAGE", self.image("node-exporter"))
            .env("NARTHEX_ROUTER_PORT", port(&self.router).unwrap_or_default())
            .env("NARTHEX_QUERIER_PORT", port(&self.querier).unwrap_or_default());
        command
    }

    /// Where a user sends samples.
    pub fn router(&self) -> Api {
        Api::new(&format!("http://{}", self.router), CALL_DEADLINE)
    }

    /// Where a user asks.
    pub fn querier(&self) -> Api {
        Api::new(&format!("http://{}", self.querier), CALL_DEADLINE)
    }

    /// The container of a service; it need not run.
    pub fn container(&self, service: &str) -> String {
        let ids = self.compose(&["ps", "--all", "--quiet", service]);
        let id = ids.lines().next().map(str::trim);
        id.unwrap_or_else(|| panic!("{service} has no container")).to_owned()
    }

    /// Starts a service anew whose volume of the same name is gone.
    pub fn lose_volume(&self, service: &str) {
        self.remove_with_volume(service);
        self.compose(&["up", "--detach", "--no-deps", service]);
    }

    /// Takes a container off the network that all are on, which then has its address to give away.
    pub fn disconnect(&self, container: &str) {
        docker(&["network", "disconnect", &self.network(), container]);
    }

    /// Brings it back under its service's name.
    pub fn connect(&self, container: &str, service: &str) {
        docker(&["network", "connect", "--alias", service, &self.network(), container]);
    }

    /// The address that a container has on it.
    pub fn address(&self, container: &str) -> String {
        let format =
            format!("{{{{(index .NetworkSettings.Networks {:?}).IPAddress}}}}", self.network());
        docker(&["inspect", "--format", &format, container]).trim().to_owned()
    }

    /// Starts containers that nobody speaks to until one of them has this address.
    pub fn take_address(&self, address: &str) {
        for stranger in self.strangers() {
            let image = self.image("node-exporter");
            docker(&["run", "--detach", "--name", &stranger, "--network", &self.network(), &image]);
            if self.address(&stranger) == address {
                return;
            }
        }
        panic!("{STRANGERS_MAX} containers were given other addresses than {address}");
    }

    fn strangers(&self) -> impl Iterator<Item = String> {
        (1..=STRANGERS_MAX).map(|number| format!("{}-stranger-{number}", self.name))
    }

    fn network(&self) -> String {
        format!("{}_default", self.name)
    }

    /// The state of the cluster as the querier knows it.
    pub fn status(&self) -> Result<Value, String> {
        self.querier().data("/api/v1/status/cluster")
    }

    /// The name of the node that leads this shard.
    pub fn leader(&self, shard: u64) -> Result<String, String> {
        let status = self.status()?;
        let find = |list: &str, id: &Value| {
            let rows = status[list].as_array().map_or(&[][..], Vec::as_slice);
            rows.iter().find(|row| row["id"] == *id).cloned().unwrap_or_default()
        };
        let leader = &find("shards", &shard.into())["leader"];
        let name = find("nodes", leader)["name"].as_str().map(str::to_owned);
        name.ok_or_else(|| format!("no leader: {status}"))
    }

    /// Whether this node has a replica of every shard that lacks nothing but what is under way.
    pub fn is_filled(&self, node: u64) -> Result<(), String> {
        let status = self.status()?;
        let shards = status["shards"].as_array().map_or(&[][..], Vec::as_slice);
        let is_there = |replica: &Value| {
            replica["node"] == node && replica["lagEntries"].as_u64().is_some_and(|lag| lag < 20)
        };
        let has_one =
            |shard: &Value| shard["replicas"].as_array().is_some_and(|it| it.iter().any(is_there));
        let is_filled = shards.len() == 6 && shards.iter().all(has_one);
        if is_filled { Ok(()) } else { Err(status.to_string()) }
    }

    /// Whether so many nodes answer, and every shard is led and has three replicas that lack
    /// nothing but what is under way.
    pub fn is_whole(&self, nodes: usize) -> Result<(), String> {
        let status = self.status()?;
        let of = |list: &str| status[list].as_array().cloned().unwrap_or_default();
        let reachable = of("nodes").iter().filter(|node| node["reachable"] == true).count();
        let keeps_up = |replica: &Value| replica["lagEntries"].as_u64().is_some_and(|lag| lag < 20);
        let is_whole = |shard: &Value| {
            let replicas = shard["replicas"].as_array().map_or(&[][..], Vec::as_slice);
            shard["leader"] != 0 && replicas.len() == 3 && replicas.iter().all(keeps_up)
        };
        let shards = of("shards");
        match reachable == nodes && shards.len() == 6 && shards.iter().all(is_whole) {
            true => Ok(()),
            false => Err(status.to_string()),
        }
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // Also after a failure, when some of it was never made.
        let quietly = |mut command: Command| drop(command.output());
        if std::thread::panicking() {
            let logs = self.compose_command(&["logs", "--no-color", "--tail=40"]).output();
            let logs = logs.map(|logs| String::from_utf8_lossy(&logs.stdout).into_owned());
            eprintln!("{}", logs.unwrap_or_default());
        }
        let docker = |arguments: &[&str]| {
            let mut command = Command::new("docker");
            command.args(arguments);
            command
        };
        for stranger in self.strangers() {
            quietly(docker(&["rm", "--force", &stranger]));
        }
        let file = format!("--file={}", repository().join("deploy/compose/rejoin.yaml").display());
        quietly(self.compose_command(&[&file, "kill"]));
        quietly(self.compose_command(&[&file, "down", "--volumes", "--remove-orphans"]));
        for image in ["narthex", "node-exporter", "base"] {
            quietly(docker(&["image", "rm", &self.image(image)]));
        }
    }
}

/// Runs the client to its end; a failure is the test's.
pub fn docker(arguments: &[&str]) -> String {
    output_of(Command::new("docker").args(arguments))
}

fn import(tar: &Path, image: &str, changes: &[&str]) {
    output_of(Command::new("docker").arg("import").args(changes).arg(tar).arg(image));
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("crates lie in it").to_owned()
}
