//! Who may speak raft with this node, and where the others are.
//!
//! Invariants
//! * a caller of another cluster is refused, never merged;
//! * a caller that shows a lower incarnation than was seen, or none although it had one, is an
//!   old copy of its folder or a wiped one, and is refused;
//! * a caller over TLS is the node that its certificate names;
//! * before the cluster has an id, only those speak that were given the same list of founders.

use std::{collections::BTreeMap, io, sync::Arc};

use futures_util::{FutureExt as _, future::BoxFuture};
use narthex_cluster::{ClusterId, ClusterState, Gate, Incarnation, NodeId};
use narthex_proto::connect::{Connections, RaftStream};
use parking_lot::Mutex;
use tokio::sync::watch;
use tonic::{Extensions, transport::Channel};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    founding::Founders,
    raft::{PeerHello, PeerRefusal, Peers},
    tls::{Peer, PeerAddress},
};

/// What this node knows of the others.
pub struct ClusterPeers {
    /// This node.
    pub node: NodeId,
    /// How often its folder was opened.
    pub incarnation: Incarnation,
    /// The cluster in its folder's `META`.
    pub adopted: Option<ClusterId>,
    /// The list it was given to found a cluster.
    pub founders: Option<Founders>,
    /// Cluster state as this node has applied it.
    pub state: watch::Receiver<Arc<ClusterState>>,
    /// How to reach an address.
    pub connections: Connections,
    /// How often each peer was called, for either purpose.
    pub calls: Mutex<BTreeMap<(NodeId, Purpose), usize>>,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Appends, one stream of them.
    Stream,
    /// What is rare.
    Calls,
}

impl ClusterPeers {
    fn cluster(&self) -> Option<ClusterId> {
        self.adopted.or_else(|| self.state.borrow().cluster())
    }

    /// What founders show as long as there is no cluster id: equal for equal lists.
    fn founding_token(&self) -> String {
        let list = self.founders.as_ref().map(Founders::to_string).unwrap_or_default();
        format!("founding-{:016x}", xxh3_64(list.as_bytes()))
    }

    fn is_founder(&self, node: u64) -> bool {
        self.founders.iter().flat_map(Founders::iter).any(|founder| founder.node.0 == node)
    }

    /// Where the peer was when it announced itself last, and where our flags say it is, in turn: if
    /// all addresses change at once nobody can announce a new one, and flags may be old.
    fn address(&self, node: NodeId, purpose: Purpose) -> Option<String> {
        let announced = {
            let state = self.state.borrow();
            state.member(node).map(|member| member.addresses.cluster.clone())
        };
        let founder = {
            let mut founders = self.founders.iter().flat_map(Founders::iter);
            founders.find(|founder| founder.node == node).map(|founder| founder.address.clone())
        };
        let mut addresses: Vec<String> = announced.into_iter().chain(founder).collect();
        addresses.dedup();
        let turn = {
            let mut calls = self.calls.lock();
            let calls = calls.entry((node, purpose)).or_default();
            *calls += 1;
            *calls - 1
        };
        let chosen = turn.checked_rem(addresses.len())?;
        Some(addresses.swap_remove(chosen))
    }

    /// A founder without a cluster id is late, unless the cluster has seen it start before: then
    /// its folder was wiped.
    fn admit_founder(&self, caller: &PeerHello, ours: ClusterId) -> Result<(), PeerRefusal> {
        let theirs = caller.cluster.clone();
        if theirs != self.founding_token() || !self.is_founder(caller.node) {
            return Err(PeerRefusal::OtherCluster { theirs, ours: ours.to_string() });
        }
        let state = self.state.borrow();
        match state.member(NodeId(caller.node)) {
            Some(member) if member.incarnation > Incarnation(0) => Err(PeerRefusal::Stranger {
                node: caller.node,
                reason: "it was a member before and has lost its folder; it must join under a \
                         new id"
                    .to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

impl Peers for ClusterPeers {
    fn hello(&self) -> PeerHello {
        PeerHello {
            cluster: self.cluster().map_or_else(|| self.founding_token(), |id| id.to_string()),
            node: self.node.0,
            incarnation: self.incarnation.0,
        }
    }

    fn admit(&self, caller: &PeerHello, extensions: &Extensions) -> Result<(), PeerRefusal> {
        check_certificate(caller.node, extensions)?;
        let Some(ours) = self.cluster() else {
            let ours = self.founding_token();
            let is_known = caller.cluster == ours || caller.cluster.parse::<ClusterId>().is_ok();
            return match is_known && self.is_founder(caller.node) {
                true => Ok(()),
                false => Err(PeerRefusal::OtherCluster { theirs: caller.cluster.clone(), ours }),
            };
        };
        if caller.cluster != ours.to_string() {
            return self.admit_founder(caller, ours);
        }
        let state = self.state.borrow();
        match state.member(NodeId(caller.node)) {
            Some(member) if caller.incarnation < member.incarnation.0 => {
                Err(PeerRefusal::StaleIncarnation {
                    node: caller.node,
                    got: caller.incarnation,
                    current: member.incarnation.0,
                })
            }
            Some(_) => Ok(()),
            // This replica may be behind: it learns of the member through the caller's log.
            None => Ok(()),
        }
    }

    fn channel(&self, peer: u64) -> Option<Channel> {
        let node = NodeId(peer);
        self.connections.raft(node, &self.address(node, Purpose::Calls)?).ok()
    }

    fn stream(&self, peer: u64) -> Option<BoxFuture<'static, io::Result<RaftStream>>> {
        let node = NodeId(peer);
        let address = self.address(node, Purpose::Stream)?;
        let connections = self.connections.clone();
        Some(async move { connections.raft_stream(node, &address).await }.boxed())
    }

    /// A cluster that is being founded is of one version.
    fn may_be_older(&self) -> bool {
        let state = self.state.borrow();
        state.cluster().is_some() && !state.is_open(Gate::Streams)
    }
}

/// Whether the caller is the node it says it is, as far as its connection shows.
pub(crate) fn check_certificate(node: u64, extensions: &Extensions) -> Result<(), PeerRefusal> {
    let reason = match extensions.get::<PeerAddress>().map(|connected| connected.peer) {
        Some(Peer::Loopback) => return Ok(()),
        Some(Peer::Node(certified)) if certified.0 == node => return Ok(()),
        Some(Peer::Node(certified)) => format!("its certificate names node {certified}"),
        Some(Peer::Front) => "its certificate names no node".to_owned(),
        None => "its connection does not show who it is".to_owned(),
    };
    Err(PeerRefusal::Stranger { node, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected(peer: Peer) -> Extensions {
        let address = "127.0.0.1:1".parse().unwrap();
        let mut extensions = Extensions::new();
        extensions.insert(PeerAddress { address, peer });
        extensions
    }

    fn peers(adopted: Option<ClusterId>) -> ClusterPeers {
        let (_, state) = watch::channel(Arc::default());
        ClusterPeers {
            node: NodeId(1),
            incarnation: Incarnation(1),
            adopted,
            founders: Some("a=h:1,b=h:2,c=h:3".parse().unwrap()),
            state,
            connections: Connections::new(None),
            calls: Mutex::default(),
        }
    }

    fn hello(cluster: &str, node: u64) -> PeerHello {
        PeerHello { cluster: cluster.to_owned(), node, incarnation: 1 }
    }

    #[test]
    fn founders_speak_before_there_is_a_cluster_and_nobody_else() {
        let founding = peers(None);
        let token = founding.hello().cluster;
        let loopback = connected(Peer::Loopback);
        assert!(founding.admit(&hello(&token, 2), &loopback).is_ok());
        assert!(founding.admit(&hello(&token, 4), &loopback).is_err());
        assert!(founding.admit(&hello("founding-0", 2), &loopback).is_err());
    }

    #[test]
    fn another_cluster_is_refused() {
        let ours = ClusterId::from_random_bytes([1; 16]);
        let member = peers(Some(ours));
        let loopback = connected(Peer::Loopback);
        assert!(member.admit(&hello(&ours.to_string(), 2), &loopback).is_ok());
        let other = ClusterId::from_random_bytes([2; 16]).to_string();
        let refused = member.admit(&hello(&other, 2), &loopback);
        assert!(matches!(refused, Err(PeerRefusal::OtherCluster { .. })), "{refused:?}");
    }

    #[test]
    fn a_node_calls_with_its_own_certificate_only() {
        let ours = ClusterId::from_random_bytes([1; 16]);
        let member = peers(Some(ours));
        let admit = |peer| member.admit(&hello(&ours.to_string(), 2), &connected(peer));
        assert!(admit(Peer::Node(NodeId(2))).is_ok());
        for other in [Peer::Node(NodeId(3)), Peer::Front] {
            assert!(matches!(admit(other), Err(PeerRefusal::Stranger { node: 2, .. })));
        }
        let unknown = member.admit(&hello(&ours.to_string(), 2), &Extensions::new());
        assert!(unknown.is_err(), "fails closed");
    }
}
