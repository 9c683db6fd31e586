//! The cluster as decisions look at it: its state, what was seen of it, and what follows from both.

use super::{
    Decided, Observed,
    burden::{self, Burden},
};
use crate::{
    ClusterState, Command, Member, MemberState, Move, MoveReplica, NodeId, Placement, Preference,
    ShardId,
};

/// See the module. No replica is moving.
pub(super) struct View<'a> {
    pub(super) state: &'a ClusterState,
    pub(super) seen: &'a Observed,
    /// Nodes that can be given replicas: active and heard of.
    pub(super) targets: Vec<&'a Member>,
    /// Replicas, by their series and bytes.
    pub(super) replicas: Burden,
    /// How many replicas each shard should have.
    pub(super) wanted: usize,
}

impl<'a> View<'a> {
    pub(super) fn new(state: &'a ClusterState, seen: &'a Observed) -> Self {
        let members = state.members().values();
        let is_target = |member: &&Member| {
            let heard = !seen.lost.contains(&member.id) && !seen.silent.contains(&member.id);
            heard && member.state == MemberState::Active
        };
        let held = state
            .shards()
            .iter()
            .flat_map(|(shard, placement)| placement.replicas.iter().map(|node| (*node, *shard)));
        Self {
            state,
            seen,
            targets: members.filter(is_target).collect(),
            replicas: Burden::new(burden::of_replicas(state, seen), held),
            wanted: usize::from(state.replication_factor()),
        }
    }

    pub(super) fn shards(&self) -> impl Iterator<Item = (ShardId, &'a Placement)> {
        self.state.shards().iter().map(|(shard, placement)| (*shard, placement))
    }

    pub(super) fn is_lost(&self, node: NodeId) -> bool {
        self.seen.lost.contains(&node)
    }

    pub(super) fn is_draining(&self, node: NodeId) -> bool {
        self.state.member(node).is_some_and(|member| member.state == MemberState::Draining)
    }

    /// Whether a node's replicas may stay where they are, and lead.
    pub(super) fn is_fit(&self, node: NodeId) -> bool {
        !self.is_lost(node) && !self.is_draining(node)
    }

    /// How many of these nodes are heard of.
    pub(super) fn heard(&self, nodes: &[NodeId]) -> usize {
        let heard = |node: &&NodeId| !self.is_lost(**node) && !self.seen.silent.contains(*node);
        nodes.iter().filter(heard).count()
    }

    /// Why nothing is moved that need not be.
    pub(super) fn trouble(&self) -> Option<String> {
        let silent = self.seen.silent.iter().find(|node| self.state.member(**node).is_some());
        if let Some(node) = silent {
            return Some(format!("node {} has not been heard for a moment", self.name(*node)));
        }
        self.shards().find_map(|(shard, placement)| self.immovable(shard, placement))
    }

    /// Why a shard cannot change at all: a raft group needs a majority also to change its members.
    pub(super) fn immovable(&self, shard: ShardId, placement: &Placement) -> Option<String> {
        if self.seen.stalled.contains(&shard) {
            return Some(format!("shard {shard} has no leader"));
        }
        let (heard, all) = (self.heard(&placement.replicas), placement.replicas.len());
        let is_majority = heard * 2 > all;
        (!is_majority).then(|| format!("shard {shard} has no majority: {heard} of {all} replicas"))
    }

    /// How many of `others` lie in the node's failure domain.
    pub(super) fn sharing(&self, node: NodeId, others: &[NodeId]) -> usize {
        let domain = |node| self.state.member(node).map(Member::failure_domain);
        let own = domain(node);
        others.iter().filter(|other| domain(**other) == own).count()
    }

    /// Whether the state would accept a move.
    pub(super) fn allows(&self, placement: &Placement, change: Move) -> bool {
        self.state.moved(placement, change, &self.seen.lost).is_ok()
    }

    /// A move begins, for this reason.
    pub(super) fn start(&self, shard: ShardId, change: Move, why: String) -> Decided {
        let lost = self.seen.lost.iter().copied();
        let lost = lost.filter(|node| self.state.member(*node).is_some()).collect();
        Decided::Step { command: Command::StartMove(MoveReplica { shard, change, lost }), why }
    }

    /// The best node for a replica that comes instead of `remove`: one that shares a zone with the
    /// fewest that stay, and of these the one that holds least.
    pub(super) fn target(
        &self,
        placement: &Placement,
        remove: Option<NodeId>,
    ) -> Result<NodeId, String> {
        let staying = without(&placement.replicas, remove);
        let ids = self.targets.iter().map(|member| member.id);
        let free: Vec<NodeId> = ids.filter(|id| !placement.replicas.contains(id)).collect();
        let allowed = free.iter().copied().filter(|add| {
            let add = Some(*add);
            self.allows(placement, Move { add, remove })
        });
        let key = |node: &NodeId| (self.sharing(*node, &staying), self.replicas.on(*node), *node);
        allowed.min_by_key(key).ok_or_else(|| match free.is_empty() {
            true => {
                let (active, wanted) = (self.targets.len(), self.wanted);
                format!("no node can take one: {active} active nodes heard of, {wanted} wanted")
            }
            false => {
                let silent = self.silent();
                let taken = "all that could take one share zones with its others";
                format!("{taken}: {silent} may come back")
            }
        })
    }

    /// The active members not heard of just now, whose zones count until they are lost.
    fn silent(&self) -> String {
        let active = self.state.members().values().filter(|it| it.state == MemberState::Active);
        let silent = active.filter(|member| self.seen.silent.contains(&member.id));
        silent.map(|member| member.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// What people call a node.
    pub(super) fn name(&self, node: NodeId) -> String {
        name(self.state, node)
    }

    /// A node that cannot keep its replicas, with the reason.
    pub(super) fn unfit(&self, node: NodeId) -> String {
        let why = if self.is_lost(node) { "lost" } else { "being drained" };
        format!("{}, which is {why}", self.name(node))
    }
}

/// What people call a node.
pub(super) fn name(state: &ClusterState, node: NodeId) -> String {
    state.member(node).map_or_else(|| format!("node {node}"), |member| member.name.clone())
}

/// The nodes but one.
pub(super) fn without(nodes: &[NodeId], removed: Option<NodeId>) -> Vec<NodeId> {
    nodes.iter().copied().filter(|node| Some(*node) != removed).collect()
}

pub(super) fn prefer(shard: ShardId, order: Vec<NodeId>, why: String) -> Decided {
    Decided::Step { command: Command::SetPreference(Preference { shard, order }), why }
}
