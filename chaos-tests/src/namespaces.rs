//! Hosts on one machine: network namespaces joined by a bridge. Needs root and iproute2.

use std::{fs::File, os::fd::AsFd as _, process::Command};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Namespaces with the addresses `10.77.0.1`, `10.77.0.2` and so on. Dropping it removes them.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    hosts: usize,
}

impl Network {
    /// Sets up so many hosts, or says why this machine cannot.
    pub fn open(hosts: usize) -> Result<Self, String> {
        let network = Self { prefix: format!("nx{}", std::process::id()), hosts };
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

    /// What runs a program on a host: the program and its arguments follow.
    pub fn command(&self, host: usize) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(host)]);
        command
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
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {}: {}", arguments.join(" "), error.trim()))
}
