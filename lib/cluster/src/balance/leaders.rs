//! Who should lead, and who should succeed: orders of preference, which cost no copying.
//!
//! Invariants
//! * a node that is lost or draining leads after all others;
//! * leaderships are even over the nodes by their work, as replicas are by their weight;
//! * the successors of one node's leaderships are as even over the others as their replicas allow,
//!   so that its death burdens them alike.

use std::collections::BTreeMap;

use super::{
    Decided,
    burden::{self, Burden},
    view::{View, prefer},
};
use crate::{NodeId, Placement, ShardId, placement::Load};

/// Nodes that cannot keep their replicas lead after those that can.
pub(super) fn unfit(view: &View<'_>) -> Decided {
    let led = led(view);
    let reorder = |(shard, placement): (ShardId, &Placement)| {
        let replicas = &placement.replicas;
        let is_first = replicas.is_sorted_by_key(|node| !view.is_fit(*node));
        if is_first || view.immovable(shard, placement).is_some() {
            return None;
        }
        let fit = replicas.iter().copied().filter(|node| view.is_fit(*node));
        let now = placement.preferred_leader();
        let leader = fit.min_by_key(|node| {
            let is_silent = view.seen.silent.contains(node);
            (Some(*node) != now, is_silent, led.on(*node), *node)
        })?;
        let last = replicas.iter().copied().find(|node| !view.is_fit(*node))?;
        let why = format!("shard {shard} should be led by others before {}", view.unfit(last));
        Some(prefer(shard, order(view, shard, placement, leader), why))
    };
    Decided::first(view.shards().filter_map(reorder))
}

/// A leadership moves from a node that does more to one that does less.
pub(super) fn uneven(view: &View<'_>) -> Decided {
    let led = led(view);
    let nodes: Vec<NodeId> = view.targets.iter().map(|member| member.id).collect();
    let holds = |shard, node| {
        view.state.placement(shard).is_some_and(|placement| placement.replicas.contains(&node))
    };
    let shift = led.shift(&nodes, |shift| holds(shift.shard, shift.to), |_| false);
    let placed = shift.and_then(|shift| Some((shift, view.state.placement(shift.shard)?)));
    let Some((shift, placement)) = placed else { return Decided::Settled };
    let (shard, from, to) = (shift.shard, view.name(shift.from), view.name(shift.to));
    let (more, less) = (led.text(shift.from), led.text(shift.to));
    let why = format!(
        "{from} leads as much as {more} mean shards, {to} as {less}: {to} should lead shard {shard}"
    );
    prefer(shard, order(view, shard, placement, shift.to), why)
}

/// A successor gives way to one that succeeds the same leader more rarely.
pub(super) fn successors(view: &View<'_>) -> Decided {
    let mut times: BTreeMap<(NodeId, NodeId), usize> = BTreeMap::new();
    for (_, placement) in view.shards() {
        if let [leader, successor, ..] = placement.replicas[..] {
            *times.entry((leader, successor)).or_default() += 1;
        }
    }
    let relieve = |(shard, placement): (ShardId, &Placement)| {
        let [leader, successor, ..] = placement.replicas[..] else { return None };
        let times = |node: NodeId| times.get(&(leader, node)).copied().unwrap_or(0);
        let (at, rarest) = placement
            .replicas
            .iter()
            .copied()
            .enumerate()
            .skip(2)
            .min_by_key(|(_, node)| (times(*node), *node))?;
        let (often, rarely) = (times(successor), times(rarest));
        if often <= rarely + 1 {
            return None;
        }
        let mut order = placement.replicas.clone();
        order.swap(1, at);
        let (leader, new) = (view.name(leader), view.name(rarest));
        let old = view.name(successor);
        let why = format!(
            "{old} succeeds {leader} in {often} shards, {new} in {rarely}: {new} in shard {shard}"
        );
        Some(prefer(shard, order, why))
    };
    Decided::first(view.shards().filter_map(relieve))
}

fn led(view: &View<'_>) -> Burden {
    let leaders = view.shards().filter_map(|(shard, it)| Some((it.preferred_leader()?, shard)));
    Burden::new(burden::of_leaders(view.state, view.seen), leaders)
}

/// The shard's replicas behind a leader: those that can keep them first, each time the one that
/// succeeds those before it most rarely.
fn order(view: &View<'_>, shard: ShardId, placement: &Placement, leader: NodeId) -> Vec<NodeId> {
    let others = view.shards().filter(|(other, _)| *other != shard);
    let load = Load::of(others.map(|(_, placement)| placement));
    let behind = placement.replicas.iter().copied().filter(|node| *node != leader);
    let (fit, unfit): (Vec<NodeId>, Vec<NodeId>) = behind.partition(|node| view.is_fit(*node));
    load.in_order(load.in_order(vec![leader], &fit), &unfit)
}
