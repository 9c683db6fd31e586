//! Hosts with nodes of one cluster, and one host in front of them: where its router, its querier and
//! its clients are. They speak mTLS.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::{api::Api, cluster::program, namespaces::Network, node::Process, peers::output_of};

/// Where nodes listen to each other.
pub const PORT: u16 = 9095;
/// Node ids that have certificates: a node whose disk was lost takes the next one.
const CERTIFIED: usize = 16;
/// One answer over HTTP.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// The network, and a folder for all that its hosts keep.
#[derive(Debug)]
pub struct Hosts {
    network: Network,
    folder: TempDir,
    nodes: usize,
}

impl Hosts {
    /// So many hosts for nodes and one in front of them, or why this machine cannot have them.
    pub fn open(nodes: usize) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root can make network namespaces".to_owned());
        }
        let network = Network::open(nodes + 1);
        let network = network.map_err(|reason| format!("network namespaces: {reason}"))?;
        let folder = tempfile::Builder::new().prefix("narthex-chaos").tempdir();
        let folder = folder.expect("a temporary folder can be made");
        Ok(Self { network, folder, nodes })
    }

    /// How they are connected.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The host of the router and the querier, behind those of the nodes.
    pub fn front(&self) -> usize {
        self.nodes + 1
    }

    /// In the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Certificates for all nodes, those that may come later, and the front.
    pub fn make_certs(&self, name: &str) {
        let mut command = Command::new(program());
        command.args(["cluster", "certs"]).arg(self.path(name));
        output_of(command.arg(format!("--nodes={CERTIFIED}")));
    }

    /// `narthex ROLE` on a host, with these certificates.
    fn command(&self, host: usize, role: &str, certs: &Path) -> Command {
        let mut command = self.network.command(host);
        command.arg(program()).arg(role);
        command.arg(format!("--cluster.certs={}", certs.display()));
        command
    }

    /// Node `host` of the cluster whose nodes keep their folders in `cluster`.
    pub fn node(&self, cluster: &str, host: usize) -> Process {
        self.node_in(&format!("{cluster}-{host}"), host)
    }

    /// The same with this folder.
    pub fn node_in(&self, name: &str, host: usize) -> Process {
        let mut command = self.member(host, host);
        command.arg(format!("--storage.tsdb.path={}", self.path(name).display()));
        Process::start(command, self.folder.path(), name)
    }

    /// What starts a founder of the cluster, or starts it again, with the certificate of a node.
    pub fn member(&self, host: usize, certificate: usize) -> Command {
        let founders = (1..=self.nodes).map(|host| format!("n{host}={}", Self::address(host)));
        let mut command = self.listening(host, certificate);
        let founders: Vec<_> = founders.collect();
        command.arg(format!("--cluster.initial-nodes={}", founders.join(",")));
        command
    }

    /// What starts a node that joins.
    pub fn joining(&self, host: usize, certificate: usize) -> Command {
        let mut command = self.listening(host, certificate);
        command.arg(format!("--cluster.join={}", self.seeds()));
        command
    }

    fn listening(&self, host: usize, certificate: usize) -> Command {
        let certs = self.path("certs").join(format!("node-{certificate}"));
        let mut command = self.command(host, "node", &certs);
        command.arg(format!("--cluster.listen-address={}", Self::address(host)));
        command
    }

    /// A router or a querier, and its HTTP API for who is on the host in front.
    pub fn start_front(&self, role: &str, port: u16, flags: &[&str]) -> (Process, Api) {
        let mut command = self.front_command(role);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).args(flags);
        let process = Process::start(command, self.folder.path(), &format!("{role}-{port}"));
        (process, Api::new(&format!("http://127.0.0.1:{port}"), CALL_DEADLINE))
    }

    /// A command of the program that asks the nodes, on the host in front.
    pub fn front_command(&self, verb: &str) -> Command {
        let mut command = self.command(self.front(), verb, &self.path("certs/front"));
        command.arg(format!("--cluster.join={}", self.seeds()));
        command
    }

    fn seeds(&self) -> String {
        (1..=self.nodes).map(Self::address).collect::<Vec<_>>().join(",")
    }

    /// Where the node of a host listens.
    pub fn address(host: usize) -> String {
        format!("{}:{PORT}", Network::address(host))
    }
}
