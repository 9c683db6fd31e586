//! The loopback addresses of child nodes, the same at every start as long as they are free.
//!
//! `addresses` in the cluster's folder has a line `NAME CLUSTER WEB` for each node. It is a
//! convenience, not state: without it, or where one is taken, new ones are found. It also tells
//! how many nodes the cluster has, so that it is not started with another number.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
};

use crate::listener::{self, BindError};

/// Where one child node listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddresses {
    /// `n1`, `n2`, …
    pub name: String,
    pub cluster: SocketAddr,
    pub web: SocketAddr,
}

/// Why nodes have no addresses.
#[derive(Debug, thiserror::Error)]
pub enum AddressesError {
    /// Ask for as many nodes as there are, or name another folder.
    #[error(
        "{folder} holds a cluster of {kept} nodes, not {asked}; name another folder with --data"
    )]
    OtherCount { folder: String, kept: usize, asked: usize },
    /// Stop what uses so many ports.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// Addresses for `count` nodes, kept in `folder` for the next start.
pub fn of_nodes(folder: &Path, count: u32) -> Result<Vec<NodeAddresses>, AddressesError> {
    let path = folder.join("addresses");
    let kept = parse(&std::fs::read_to_string(&path).unwrap_or_default());
    let wanted = usize::try_from(count).expect("a count of nodes is small");
    if !kept.is_empty() && kept.len() != wanted {
        let folder = folder.display().to_string();
        return Err(AddressesError::OtherCount { folder, kept: kept.len(), asked: wanted });
    }
    if !kept.is_empty() && kept.iter().all(|node| is_free(node.cluster) && is_free(node.web)) {
        return Ok(kept);
    }
    let found = listener::free_addresses(2 * wanted, std::process::id())?;
    let nodes: Vec<_> = found
        .chunks_exact(2)
        .zip(1..)
        .map(|(pair, number)| NodeAddresses {
            name: format!("n{number}"),
            cluster: pair[0],
            web: pair[1],
        })
        .collect();
    // Without the file the next start finds others, which is all that is lost.
    let _ = std::fs::write(&path, print(&nodes));
    Ok(nodes)
}

fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

fn parse(text: &str) -> Vec<NodeAddresses> {
    let node = |line: &str| {
        let mut words = line.split(' ');
        let name = words.next()?.to_owned();
        let cluster = words.next()?.parse().ok()?;
        let web = words.next()?.parse().ok()?;
        Some(NodeAddresses { name, cluster, web })
    };
    text.lines().filter_map(node).collect()
}

fn print(nodes: &[NodeAddresses]) -> String {
    nodes.iter().map(|node| format!("{} {} {}\n", node.name, node.cluster, node.web)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::*;

    /// These tests look for free ports, by which they would take each other's.
    fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[test]
    fn the_next_start_has_the_same_addresses() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let nodes = of_nodes(folder.path(), 3).unwrap();
        assert_eq!(nodes.len(), 3);
        assert_eq!(nodes[2].name, "n3");
        assert_eq!(of_nodes(folder.path(), 3).unwrap(), nodes);
    }

    #[test]
    fn a_cluster_keeps_its_number_of_nodes() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        of_nodes(folder.path(), 3).unwrap();
        let error = of_nodes(folder.path(), 1).unwrap_err();
        assert!(error.to_string().contains("a cluster of 3 nodes, not 1"), "{error}");
    }

    #[test]
    fn a_taken_address_is_replaced() {
        let _alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let nodes = of_nodes(folder.path(), 1).unwrap();
        let _taken = TcpListener::bind(nodes[0].web).unwrap();
        assert_ne!(of_nodes(folder.path(), 1).unwrap()[0].web, nodes[0].web);
    }
}
