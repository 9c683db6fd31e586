//! Which nodes hold a shard, and in which order they should lead it.
//!
//! A placement is decided once and stored; nobody computes it again to find a shard. Two replicas
//! of a shard never share a zone while there are zones enough, replicas and preferred leaders are
//! even over the nodes, and the first successors of one node's leaderships are even over the
//! others, so that its death burdens all alike.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Member, MemberState, NodeId, ShardId, member::FailureDomain};

/// Where a shard's replicas are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placement {
    /// The nodes that hold the shard, in the order in which they should lead it.
    pub replicas: Vec<NodeId>,
    /// The change under way.
    pub moving: Option<Move>,
}

impl Placement {
    /// The node that should lead while it is alive.
    pub fn preferred_leader(&self) -> Option<NodeId> {
        self.replicas.first().copied()
    }

    /// All nodes that hold a replica or are to hold one.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.replicas.iter().copied().chain(self.moving.and_then(|moving| moving.add))
    }

    /// The replicas once the change under way is finished: a new one takes the place, also in the
    /// order, of the one that goes.
    #[must_use]
    pub fn finished(&self) -> Vec<NodeId> {
        let Some(Move { add, remove }) = self.moving else {
            return self.replicas.clone();
        };
        let mut replicas = self.replicas.clone();
        match (add, remove.and_then(|old| replicas.iter().position(|node| *node == old))) {
            (Some(new), Some(at)) => replicas[at] = new,
            (Some(new), None) => replicas.push(new),
            (None, Some(at)) => drop(replicas.remove(at)),
            (None, None) => {}
        }
        replicas
    }
}

/// One replica that comes, one that goes, or both. A new one is a learner until it has caught up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Move {
    /// The node that gets a replica.
    pub add: Option<NodeId>,
    /// The node that loses its replica, after that.
    pub remove: Option<NodeId>,
}

/// Replicas for `new` shards on the active `members`, given where the others are.
pub(crate) fn place(
    new: impl IntoIterator<Item = ShardId>,
    members: &BTreeMap<NodeId, Member>,
    placed: &BTreeMap<ShardId, Placement>,
    replication_factor: usize,
) -> BTreeMap<ShardId, Placement> {
    let mut load = Load::of(placed.values());
    let active: Vec<&Member> = active(members).collect();
    let mut placements = BTreeMap::new();
    for shard in new {
        let mut chosen: Vec<&Member> = Vec::with_capacity(replication_factor);
        while chosen.len() < replication_factor {
            let Some(next) = best_candidate(&active, &chosen, &load) else { break };
            chosen.push(next);
        }
        let nodes: Vec<NodeId> = chosen.iter().map(|member| member.id).collect();
        let replicas = load.in_order(Vec::new(), &nodes);
        let placement = Placement { replicas, moving: None };
        load.add(&placement.replicas);
        placements.insert(shard, placement);
    }
    placements
}

/// Whether those of `nodes` that are not lost lie in as many failure domains as there are of them,
/// or as there are domains with an active member that is not lost.
pub(crate) fn is_spread(
    nodes: &[NodeId],
    members: &BTreeMap<NodeId, Member>,
    lost: &BTreeSet<NodeId>,
) -> bool {
    let domains = |ids: &mut dyn Iterator<Item = &Member>| -> usize {
        let there = ids.filter(|member| !lost.contains(&member.id));
        there.map(Member::failure_domain).collect::<BTreeSet<FailureDomain<'_>>>().len()
    };
    let available = domains(&mut active(members));
    let used = domains(&mut nodes.iter().filter_map(|id| members.get(id)));
    let there = nodes.iter().filter(|node| !lost.contains(node)).count();
    used >= there.min(available)
}

fn active(members: &BTreeMap<NodeId, Member>) -> impl Iterator<Item = &Member> {
    members.values().filter(|member| member.state == MemberState::Active)
}

/// A node without the shard, if possible in a zone without it, with the fewest replicas.
fn best_candidate<'a>(
    active: &[&'a Member],
    chosen: &[&Member],
    load: &Load,
) -> Option<&'a Member> {
    let free = active.iter().filter(|member| chosen.iter().all(|other| other.id != member.id));
    free.copied().min_by_key(|member| {
        let domain = member.failure_domain();
        let shared = chosen.iter().filter(|other| other.failure_domain() == domain).count();
        (shared, load.replicas_on(member.id), member.id)
    })
}

/// How many replicas, leaderships and successions each node has.
#[derive(Default)]
pub(crate) struct Load {
    replicas: BTreeMap<NodeId, usize>,
    /// How many shards' orders begin like this.
    orders: BTreeMap<Vec<NodeId>, usize>,
    /// How many shards have this node at this place of their order.
    places: BTreeMap<(usize, NodeId), usize>,
}

impl Load {
    pub(crate) fn of<'a>(placed: impl IntoIterator<Item = &'a Placement>) -> Self {
        let mut load = Self::default();
        for placement in placed {
            load.add(&placement.finished());
        }
        load
    }

    fn add(&mut self, replicas: &[NodeId]) {
        for (place, node) in replicas.iter().enumerate() {
            *self.replicas.entry(*node).or_default() += 1;
            *self.orders.entry(replicas[..=place].to_vec()).or_default() += 1;
            *self.places.entry((place, *node)).or_default() += 1;
        }
    }

    fn replicas_on(&self, node: NodeId) -> usize {
        self.replicas.get(&node).copied().unwrap_or(0)
    }

    /// The nodes behind those `ordered` already, in the order in which they should lead: each
    /// time the one that succeeds those before it most rarely, and of these the one that is most
    /// rarely at this place.
    pub(crate) fn in_order(&self, mut ordered: Vec<NodeId>, nodes: &[NodeId]) -> Vec<NodeId> {
        let times = |ordered: &[NodeId], node: NodeId| {
            let order = [ordered, &[node]].concat();
            let place = (ordered.len(), node);
            (self.orders.get(&order).copied(), self.places.get(&place).copied(), node)
        };
        for _ in 0..nodes.len() {
            let left = nodes.iter().copied().filter(|node| !ordered.contains(node));
            let next = left.min_by_key(|node| times(&ordered, *node));
            ordered.push(next.expect("one is left in each round"));
        }
        ordered
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Addresses, Binary, ClusterVersion, Incarnation};

    fn members(zones: &[&str]) -> BTreeMap<NodeId, Member> {
        let member = |(at, zone): (usize, &&str)| {
            let id = NodeId(at as u64 + 1);
            let binary = Binary { level: ClusterVersion(1), text: String::new() };
            let member = Member {
                id,
                name: format!("n{id}"),
                addresses: Addresses::default(),
                zone: (*zone).to_owned(),
                binary,
                incarnation: Incarnation(1),
                state: MemberState::Active,
                started: narthex_model::Timestamp::from_millis(0),
            };
            (id, member)
        };
        zones.iter().enumerate().map(member).collect()
    }

    fn placed(shards: u32, zones: &[&str], factor: usize) -> BTreeMap<ShardId, Placement> {
        place((0..shards).map(ShardId), &members(zones), &BTreeMap::new(), factor)
    }

    #[test]
    fn six_shards_on_three_nodes_are_even_also_after_a_death() {
        let placements = placed(6, &["", "", ""], 3);
        let orders: Vec<Vec<u64>> =
            placements.values().map(|p| p.replicas.iter().map(|n| n.0).collect()).collect();
        for node in 1..=3 {
            let led: Vec<&Vec<u64>> = orders.iter().filter(|order| order[0] == node).collect();
            assert_eq!(led.len(), 2, "{orders:?}");
            assert_ne!(led[0][1], led[1][1], "successors of {node}: {orders:?}");
        }
    }

    #[test]
    fn new_shards_go_where_there_is_room() {
        let members = members(&["", "", "", ""]);
        let before = place((0..4).map(ShardId), &members, &BTreeMap::new(), 3);
        let after = place((4..8).map(ShardId), &members, &before, 3);
        let mut load = Load::of(before.values());
        after.values().for_each(|placement| load.add(&placement.replicas));
        assert_eq!(load.replicas.values().collect::<Vec<_>>(), [&6, &6, &6, &6]);
    }

    #[test]
    fn a_finished_move_keeps_the_order() {
        let replicas = vec![NodeId(1), NodeId(2), NodeId(3)];
        let swap = Move { add: Some(NodeId(4)), remove: Some(NodeId(1)) };
        let placement = Placement { replicas, moving: Some(swap) };
        assert_eq!(placement.finished(), [NodeId(4), NodeId(2), NodeId(3)]);
        assert_eq!(placement.nodes().count(), 4);
    }

    proptest! {
        #[test]
        fn replicas_are_distinct_spread_and_even(
            zones in proptest::collection::vec("[a-d]?", 1..9),
            shards in 1u32..48,
            factor in prop_oneof![Just(1usize), Just(3), Just(5)],
        ) {
            let zones: Vec<&str> = zones.iter().map(String::as_str).collect();
            let members = members(&zones);
            let placements = placed(shards, &zones, factor);
            prop_assert_eq!(placements.len(), shards as usize);
            for placement in placements.values() {
                let distinct: BTreeSet<&NodeId> = placement.replicas.iter().collect();
                prop_assert_eq!(distinct.len(), factor.min(zones.len()));
                let is_spread = is_spread(&placement.replicas, &members, &BTreeSet::new());
                prop_assert!(is_spread, "{:?}", placement);
            }
            if zones.iter().all(|zone| zone.is_empty()) {
                let load = Load::of(placements.values());
                let most = load.replicas.values().max().copied().unwrap_or(0);
                let least = members.keys().map(|id| load.replicas_on(*id)).min().unwrap_or(0);
                prop_assert!(most - least <= 1, "{:?}", load.replicas);
            }
        }
    }
}
