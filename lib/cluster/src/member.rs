//! The nodes of a cluster.

use narthex_model::Timestamp;

use crate::{ClusterVersion, Incarnation, NodeId};

/// Where a node can be reached. May change at every start of the node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Addresses {
    /// `HOST:PORT` of its cluster listener.
    pub cluster: String,
    /// `HOST:PORT` of its web listener; empty where it has none.
    pub web: String,
    /// The name of its machine; empty until the node has started.
    pub host: String,
}

/// What a node runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// The highest level of entries it understands.
    pub level: ClusterVersion,
    /// Its version as people say it. For status pages only.
    pub text: String,
}

/// Whether a node may be given replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemberState {
    /// Takes replicas.
    #[default]
    Active,
    /// Keeps what it has until that is moved away.
    Draining,
}

/// A node of the cluster, addressed by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: NodeId,
    /// What its operator calls it. Unique in the cluster.
    pub name: String,
    /// Where it listens.
    pub addresses: Addresses,
    /// The zone whose failure it shares; empty if it shares none with another node.
    pub zone: String,
    /// What it runs.
    pub binary: Binary,
    /// The newest opening of its folder that was announced; 0 before the first.
    pub incarnation: Incarnation,
    /// Whether it takes replicas.
    pub state: MemberState,
    /// When that opening was announced.
    pub started: Timestamp,
}

impl Member {
    /// What no two replicas of a shard should share.
    pub fn failure_domain(&self) -> FailureDomain<'_> {
        match self.zone.as_str() {
            "" => FailureDomain::Node(self.id),
            zone => FailureDomain::Zone(zone),
        }
    }
}

/// What fails together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureDomain<'a> {
    /// All nodes of a zone.
    Zone(&'a str),
    /// A node that names no zone.
    Node(NodeId),
}
