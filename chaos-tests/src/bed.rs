//! The cluster of a scenario: nodes on hosts of their own, each with a disk and with switches, and
//! whoever supervises them.
//!
//! Nodes are numbered from 1, as their hosts are. What a scenario takes down stays down until it is
//! brought back; a node that ends by itself is started again by [`Bed::supervise`], as a service
//! manager would.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    api::Api,
    disk::{Disk, fill},
    hosts::Hosts,
    namespaces::Network,
    node::Process,
    peers::output_of,
    switches::{Shim, Switches},
    view::{Size, View},
    wait::{now, until},
};

/// Founding, elections and the start of whoever is in front, on a loaded machine.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Between the end of a node and its next start, as `Restart=always` of systemd is mostly set.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
const ROUTER_PORT: u16 = 9090;
const QUERIER_PORT: u16 = 9091;

/// What a scenario needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Founders of the cluster.
    pub nodes: usize,
    /// Shards they begin with.
    pub shards: usize,
    /// Whether each node has a disk of its own.
    pub has_disks: bool,
    /// Whether clocks and syncs can be tampered with.
    pub has_switches: bool,
}

impl Shape {
    /// Three nodes with six shards, as most clusters begin.
    pub const THREE: Self = Self { nodes: 3, shards: 6, has_disks: false, has_switches: false };
    /// Three nodes, whose disks can be filled and cut off.
    pub const DISKS: Self = Self { has_disks: true, ..Self::THREE };
    /// Three nodes, whose clocks can be moved and whose syncs can fail.
    pub const SWITCHES: Self = Self { has_switches: true, ..Self::THREE };
    /// Five nodes with 24 shards.
    pub const FIVE: Self = Self { nodes: 5, shards: 24, ..Self::THREE };

    /// What the cluster says of itself when nothing is wrong.
    pub fn size(self) -> Size {
        Size { nodes: self.nodes, shards: self.shards, replicas: 3 }
    }
}

/// One node and what it stands on.
#[derive(Debug)]
struct Node {
    process: Option<Process>,
    /// When it was seen to have ended by itself.
    ended: Option<Instant>,
    /// Its folder's name.
    folder: String,
    /// The id that its certificate names.
    certificate: usize,
    is_founder: bool,
    disk: Option<Disk>,
    switches: Option<Switches>,
}

/// See the module. Dropping it ends and removes everything.
#[derive(Debug)]
pub struct Bed {
    shape: Shape,
    nodes: Vec<Node>,
    _front: [Process; 2],
    write: Api,
    read: Api,
    shim: Option<Shim>,
    /// The last certificate that is in use.
    certificates: usize,
    hosts: Hosts,
}

impl Bed {
    /// Founds a cluster. This thread, and those that it starts, are on the host in front from here
    /// on. The error says what this machine lacks.
    pub fn start(shape: Shape) -> Result<Self, String> {
        let hosts = Hosts::open(shape.nodes)?;
        hosts.make_certs("certs");
        let shim = match shape.has_switches {
            true => Some(Shim::compile(&hosts.path(""))?),
            false => None,
        };
        let mut nodes = Vec::new();
        for host in 1..=shape.nodes {
            nodes.push(Node::prepare(&hosts, host, shape)?);
        }
        hosts.network().enter(hosts.front());
        let (router, write) = hosts.start_front("router", ROUTER_PORT, &[]);
        let (querier, read) =
            hosts.start_front("querier", QUERIER_PORT, &["--web.enable-admin-api"]);
        let certificates = shape.nodes;
        let _front = [router, querier];
        let mut bed = Self { shape, nodes, _front, write, read, shim, certificates, hosts };
        for host in 1..=shape.nodes {
            bed.start_node(host);
        }
        until("the cluster is whole", START_DEADLINE, || bed.view()?.is_whole(shape.size()));
        until("the front is ready", START_DEADLINE, || match bed.write.text("/-/ready") {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        Ok(bed)
    }

    /// What it was made as.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The router.
    pub fn write(&self) -> &Api {
        &self.write
    }

    /// The querier.
    pub fn read(&self) -> &Api {
        &self.read
    }

    /// How hosts are connected.
    pub fn network(&self) -> &Network {
        self.hosts.network()
    }

    /// What the cluster says of itself.
    pub fn view(&self) -> Result<View, String> {
        View::ask(&self.read)
    }

    /// The host of a node, by the id that the cluster has given it.
    pub fn host_of(&self, view: &View, node: u64) -> Option<usize> {
        let address = view.address(node)?;
        (1..=self.nodes.len()).find(|host| Hosts::address(*host) == address)
    }

    /// Puts a prometheus.yml in force.
    pub fn apply(&self, config: &str) {
        let file = self.hosts.path("prometheus.yml");
        fs::write(&file, config).expect("a temporary file can be written");
        output_of(self.hosts.front_command("apply").arg("-f").arg(&file));
    }

    /// Starts a node that is down.
    pub fn start_node(&mut self, host: usize) {
        let node = &self.nodes[host - 1];
        let mut command = match node.is_founder {
            true => self.hosts.member(host, node.certificate),
            false => self.hosts.joining(host, node.certificate),
        };
        let data = self.hosts.path(&node.folder).join("data");
        command
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--shards={}", self.shape.shards))
            .args(["--awaits-config", "--cluster.rebuild-after=10s"]);
        if let (Some(shim), Some(switches)) = (&self.shim, &node.switches) {
            switches.preload(shim, &mut command);
        }
        let process = Process::start(command, &self.hosts.path(""), &format!("node-{host}"));
        let node = &mut self.nodes[host - 1];
        node.process = Some(process);
        node.ended = None;
    }

    /// The process of a node that runs.
    pub fn process(&self, host: usize) -> Option<&Process> {
        self.nodes[host - 1].process.as_ref()
    }

    /// Takes a node down as a crash would. It stays down.
    pub fn kill(&mut self, host: usize) {
        // Dropping a process kills it and waits for its end.
        self.nodes[host - 1].process = None;
    }

    /// Sends a signal to a node, if it runs.
    pub fn signal(&self, host: usize, signal: Signal) {
        if let Some(process) = self.process(host) {
            process.signal(signal);
        }
    }

    /// Stops a node as a service manager would, and waits for its end. It stays down.
    pub fn stop(&mut self, host: usize) {
        if let Some(process) = self.nodes[host - 1].process.take() {
            process.stop();
        }
    }

    /// Whether a node that was started has ended by itself.
    pub fn has_ended(&mut self, host: usize) -> bool {
        self.nodes[host - 1].process.as_mut().is_some_and(Process::has_ended)
    }

    /// Starts again whoever has ended by itself, but for those that are to stay down.
    pub fn supervise(&mut self, down: &[usize]) {
        for host in 1..=self.nodes.len() {
            let has_ended = self.has_ended(host);
            if !has_ended || down.contains(&host) {
                continue;
            }
            let ended = *self.nodes[host - 1].ended.get_or_insert_with(now);
            if ended.elapsed() >= RESTART_PAUSE {
                self.start_node(host);
            }
        }
    }

    /// The disk of a node.
    pub fn disk(&self, host: usize) -> Result<&Disk, String> {
        self.nodes[host - 1].disk.as_ref().ok_or_else(|| format!("n{host} has no disk of its own"))
    }

    /// The switches of a node.
    pub fn switches(&self, host: usize) -> Result<&Switches, String> {
        let switches = self.nodes[host - 1].switches.as_ref();
        switches.ok_or_else(|| format!("n{host} has no switches"))
    }

    /// Takes all of a node's disk but a little.
    pub fn fill_disk(&self, host: usize) -> Result<(), String> {
        self.disk(host)?;
        fill(&self.filler(host))
    }

    /// Gives the room back.
    pub fn empty_disk(&self, host: usize) -> Result<(), String> {
        fs::remove_file(self.filler(host)).map_err(|error| error.to_string())
    }

    fn filler(&self, host: usize) -> std::path::PathBuf {
        self.hosts.path(&self.nodes[host - 1].folder).join("filler")
    }

    /// Puts a node that is down on an empty disk: it will join as somebody else.
    pub fn wipe(&mut self, host: usize) -> Result<(), String> {
        self.certificates += 1;
        let node = &mut self.nodes[host - 1];
        node.certificate = self.certificates;
        node.is_founder = false;
        let data = self.hosts.path(&node.folder).join("data");
        fs::remove_dir_all(data).map_err(|error| error.to_string())
    }

    /// A copy of a node's folder, to be brought back when it is old. The node is down.
    pub fn copy_folder(&self, host: usize) -> Result<(), String> {
        let (data, copy) = self.folder_and_copy(host);
        let mut command = Command::new("cp");
        crate::node::run(command.arg("-a").args([&data, &copy]))
    }

    /// Exchanges a node's folder and its copy. The node is down.
    pub fn exchange_folder(&self, host: usize) -> Result<(), String> {
        let (data, copy) = self.folder_and_copy(host);
        let aside = data.with_extension("aside");
        let exchanged = fs::rename(&data, &aside)
            .and_then(|()| fs::rename(&copy, &data))
            .and_then(|()| fs::rename(&aside, &copy));
        exchanged.map_err(|error| error.to_string())
    }

    fn folder_and_copy(&self, host: usize) -> (std::path::PathBuf, std::path::PathBuf) {
        let data = self.hosts.path(&self.nodes[host - 1].folder).join("data");
        (data.clone(), data.with_extension("copy"))
    }

    /// What a node has said since its first start.
    pub fn log(&self, host: usize) -> String {
        let file = self.hosts.path(&format!("node-{host}.log"));
        fs::read_to_string(file).unwrap_or_default()
    }

    /// Keeps logs of all processes in `folder`, and the data of nodes without a disk of their own.
    pub fn keep(&self, folder: &Path) -> Result<(), String> {
        let files = fs::read_dir(self.hosts.path("")).map_err(|error| error.to_string())?;
        for path in files.flatten().map(|file| file.path()) {
            let is_log = path.extension().is_some_and(|extension| extension == "log");
            let is_data =
                self.nodes.iter().any(|node| node.disk.is_none() && path.ends_with(&node.folder));
            if is_log || is_data {
                let mut command = Command::new("cp");
                crate::node::run(command.arg("-a").arg(&path).arg(folder))?;
            }
        }
        Ok(())
    }
}

impl Node {
    fn prepare(hosts: &Hosts, host: usize, shape: Shape) -> Result<Self, String> {
        let folder = format!("n{host}");
        let path = hosts.path(&folder);
        fs::create_dir(&path).map_err(|error| error.to_string())?;
        let disk = match shape.has_disks {
            true => Some(Disk::make(&hosts.path(&format!("{folder}.image")), &path)?),
            false => None,
        };
        let switches = match shape.has_switches {
            true => Some(Switches::create(&hosts.path(&format!("{folder}.switches")))?),
            false => None,
        };
        let (process, ended, certificate, is_founder) = (None, None, host, true);
        Ok(Self { process, ended, folder, certificate, is_founder, disk, switches })
    }
}
