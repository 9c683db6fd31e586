//! What two nodes tell each other before anything else, and whether they may go on.

use crate::{ClusterId, ClusterState, Incarnation, NodeId};

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Which node of it.
    pub node: NodeId,
    /// How often its folder was opened.
    pub incarnation: Incarnation,
}

/// Why a caller is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HelloRefusal {
    /// Point it at its own cluster; two clusters are never merged.
    #[error("the caller belongs to cluster {theirs}, this is {ours}")]
    OtherCluster {
        /// The caller's.
        theirs: ClusterId,
        /// This node's.
        ours: ClusterId,
    },
    /// Give it the certificate of its own id.
    #[error("the caller says it is node {claimed}, its certificate says {certified}")]
    OtherNode {
        /// What it says.
        claimed: NodeId,
        /// What its certificate says.
        certified: NodeId,
    },
    /// Let it join first.
    #[error("the caller's node {0} is no member")]
    UnknownMember(NodeId),
    /// Stop it: its folder is an old copy.
    #[error(
        "node {node} calls as incarnation {got}, but {current} was seen: an old copy of its folder"
    )]
    StaleIncarnation {
        /// Who calls.
        node: NodeId,
        /// As what.
        got: Incarnation,
        /// The highest seen.
        current: Incarnation,
    },
}

impl Hello {
    /// Whether the caller may go on, as far as `state` knows. `certified` is the node its
    /// certificate names; on a loopback listener without TLS there is none.
    ///
    /// A caller of a newer incarnation than the state knows may go on: its announcement is on its
    /// way. A node whose state is still empty knows no members and lets its cluster's nodes in.
    pub fn check(
        &self,
        ours: ClusterId,
        certified: Option<NodeId>,
        state: &ClusterState,
    ) -> Result<(), HelloRefusal> {
        let Self { cluster: theirs, node, incarnation: got } = *self;
        if theirs != ours {
            return Err(HelloRefusal::OtherCluster { theirs, ours });
        }
        if let Some(certified) = certified.filter(|certified| *certified != node) {
            return Err(HelloRefusal::OtherNode { claimed: node, certified });
        }
        if state.cluster().is_none() {
            return Ok(());
        }
        let member = state.member(node).ok_or(HelloRefusal::UnknownMember(node))?;
        let current = member.incarnation;
        match got < current {
            true => Err(HelloRefusal::StaleIncarnation { node, got, current }),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use narthex_model::Timestamp;

    use super::*;
    use crate::{
        Addresses, Binary, ClusterVersion, Command, Found, Founder, Request, RequestId, StartMember,
    };

    fn cluster(byte: u8) -> ClusterId {
        ClusterId::from_random_bytes([byte; 16])
    }

    /// One node, started three times.
    fn state() -> ClusterState {
        let (node, zone, addresses) = (NodeId(1), String::new(), Addresses::default());
        let binary = Binary { level: ClusterVersion(1), text: String::new() };
        let founder = Founder {
            node,
            name: "a".to_owned(),
            addresses: addresses.clone(),
            zone: zone.clone(),
            binary: binary.clone(),
        };
        let (members, incarnation) = (vec![founder], Incarnation(3));
        let found = Found { cluster: cluster(1), members, shards: 1, replication_factor: 1 };
        let start = StartMember { node, incarnation, addresses, zone, binary };
        let mut state = ClusterState::new();
        for (id, command) in
            [Command::Found(found), Command::StartMember(start)].into_iter().enumerate()
        {
            let request =
                Request { id: RequestId(id as u128), at: Timestamp::from_millis(0), command };
            state.apply(&request).accepted().expect("valid");
        }
        state
    }

    fn check(node: u64, incarnation: u64, certified: Option<u64>) -> Result<(), HelloRefusal> {
        let (node, incarnation) = (NodeId(node), Incarnation(incarnation));
        let hello = Hello { cluster: cluster(1), node, incarnation };
        hello.check(cluster(1), certified.map(NodeId), &state())
    }

    #[test]
    fn members_of_the_newest_incarnation_go_on() {
        assert_eq!(check(1, 3, None), Ok(()));
        assert_eq!(check(1, 4, Some(1)), Ok(()));
    }

    #[test]
    fn others_are_turned_away() {
        let old = check(1, 2, None);
        assert!(matches!(old, Err(HelloRefusal::StaleIncarnation { .. })));
        assert_eq!(check(7, 1, None), Err(HelloRefusal::UnknownMember(NodeId(7))));
        let other = HelloRefusal::OtherNode { claimed: NodeId(1), certified: NodeId(2) };
        assert_eq!(check(1, 3, Some(2)), Err(other));
    }

    #[test]
    fn another_cluster_is_turned_away_even_before_anything_is_known() {
        let hello = Hello { cluster: cluster(2), node: NodeId(1), incarnation: Incarnation(1) };
        let refused = hello.check(cluster(1), None, &ClusterState::new());
        assert!(matches!(refused, Err(HelloRefusal::OtherCluster { .. })));
        assert_eq!(hello.check(cluster(2), None, &ClusterState::new()), Ok(()));
    }
}
