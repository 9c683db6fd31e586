//! Hosts on one machine: network namespaces joined by a bridge. Needs root and iproute2, and
//! iptables where packets are to be lost.

use std::{
    fs::File,
    os::fd::AsFd as _,
    path::Path,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::node::run;

/// How many networks this process has made.
static MADE: AtomicUsize = AtomicUsize::new(0);

/// Namespaces with the addresses `10.77.0.1`, `10.77.0.2` and so on. Dropping it removes them.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    hosts: usize,
}

/// One direction between two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Who does not hear.
    pub at: usize,
    /// Who is not heard.
    pub from: usize,
}

impl Network {
    /// Sets up so many hosts, or says why this machine cannot.
    pub fn open(hosts: usize) -> Result<Self, String> {
        remove_orphans()?;
        run(Command::new("iptables").arg("--version"))?;
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let network = Self { prefix: format!("nx{}x{made}", std::process::id()), hosts };
        let hub = network.hub();
        ip(&["netns", "add", &hub])?;
        ip(&["-n", &hub, "link", "add", "bridge", "type", "bridge"])?;
        ip(&["-n", &hub, "link", "set", "bridge", "up"])?;
        for host in 1..=hosts {
            let (name, port) = (network.name(host), format!("port{host}"));
            ip(&["netns", "add", &name])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
            let peer = ["peer", "name", &port, "netns", &hub];
            ip(&[&["-n", &name, "link", "add", "eth0", "type", "veth"], &peer[..]].concat())?;
            ip(&["-n", &hub, "link", "set", &port, "master", "bridge", "up"])?;
            let address = format!("{}/24", Self::address(host));
            ip(&["-n", &name, "address", "add", &address, "dev", "eth0"])?;
            ip(&["-n", &name, "link", "set", "eth0", "up"])?;
        }
        Ok(network)
    }

    /// The address of a host, counted from 1.
    pub fn address(host: usize) -> String {
        format!("10.77.0.{host}")
    }

    /// What runs a program on a host: the program and its arguments follow. It stays among the
    /// mounts of this process, so that a disk can be taken from it, and ends with the thread that
    /// starts it.
    pub fn command(&self, host: usize) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name(host)));
        command.args(["setpriv", "--pdeathsig=KILL"]);
        command
    }

    /// From here on a host hears nothing of what another one sends.
    pub fn cut(&self, cut: Cut) -> Result<(), String> {
        self.filter("-A", cut)
    }

    /// Ends a cut. Returns how many packets were lost by it.
    pub fn mend(&self, cut: Cut) -> Result<u64, String> {
        let mut list = self.command(cut.at);
        let output = list.args(["iptables", "-L", "INPUT", "-v", "-n", "-x"]).output();
        let output = output.map_err(|error| format!("iptables: {error}"))?;
        let lost = lost(&String::from_utf8_lossy(&output.stdout), &Self::address(cut.from));
        self.filter("-D", cut)?;
        Ok(lost)
    }

    fn filter(&self, change: &str, cut: Cut) -> Result<(), String> {
        let from = Self::address(cut.from);
        let mut command = self.command(cut.at);
        command.args(["iptables", change, "INPUT", "-s", &from, "-j", "DROP"]);
        run(&mut command)
    }

    /// Moves this thread, and those that it starts from now on, to a host.
    pub fn enter(&self, host: usize) {
        let path = format!("/run/netns/{}", self.name(host));
        let namespace = File::open(&path).expect("a namespace has a file");
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("root may enter a network namespace");
    }

    fn name(&self, host: usize) -> String {
        format!("{}-{host}", self.prefix)
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.prefix)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let names = (1..=self.hosts).map(|host| self.name(host)).chain([self.hub()]);
        for name in names {
            // One that was never made is gone already.
            let _ = ip(&["netns", "del", &name]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    run(Command::new("ip").args(arguments))
}

/// Removes namespaces of processes that were killed before they could.
fn remove_orphans() -> Result<(), String> {
    let output = Command::new("ip").args(["netns", "list"]).output();
    let output = output.map_err(|error| format!("ip: {error}"))?;
    let list = String::from_utf8_lossy(&output.stdout).into_owned();
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    let is_orphan =
        |name: &&str| owner(name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
    names.filter(is_orphan).try_for_each(|name| ip(&["netns", "del", name]))
}

/// The process that has made a namespace, if it is one of ours.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix("nx")?.split_once('x')?.0.parse().ok()
}

/// Packets from `address` that the first rule about it has dropped, as `iptables -L -v` lists them.
fn lost(rules: &str, address: &str) -> u64 {
    let mut rules = rules.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let found = rules.find(|words| words.get(2) == Some(&"DROP") && words.contains(&address));
    found.and_then(|words| words[0].parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_names_its_owner() {
        assert_eq!(owner("nx4711x0-hub"), Some(4711));
        assert_eq!(owner("nexus"), None);
    }

    #[test]
    fn lost_packets_are_counted_by_sender() {
        let rules = "Chain INPUT (policy ACCEPT 31 packets, 5 bytes)\n    \
             pkts      bytes target     prot opt in     out     source               destination\n     \
             12     720 DROP       0    --  *      *       10.77.0.2            0.0.0.0/0\n";
        assert_eq!(lost(rules, "10.77.0.2"), 12);
        assert_eq!(lost(rules, "10.77.0.3"), 0);
    }
}
