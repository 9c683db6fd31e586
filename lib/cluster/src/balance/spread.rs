//! Replicas that are too many, share a zone, or burden one node more than another.
//!
//! There are no exchanges here, of two replicas at once: nodes stay as uneven as single moves
//! leave them.

use std::cmp::Reverse;

use super::{
    Decided,
    view::{View, without},
};
use crate::{Move, NodeId, Placement, ShardId};

/// Shards with more replicas than they should have lose one: on a draining node, else in the zone
/// with the most of them, else on the node that carries most.
pub(super) fn superfluous(view: &View<'_>) -> Decided {
    let wanted = view.wanted;
    // A lost one goes before any that is there.
    let is_whole = |placement: &Placement| !placement.replicas.iter().any(|it| view.is_lost(*it));
    let shrink = |(shard, placement): (ShardId, &Placement)| {
        let replicas = placement.replicas.iter().copied();
        let allowed = replicas.filter(|old| {
            let remove = Some(*old);
            view.allows(placement, Move { add: None, remove })
        });
        let old = allowed.max_by_key(|old| {
            let sharing = view.sharing(*old, &placement.replicas);
            (view.is_draining(*old), sharing, view.replicas.on(*old), *old)
        })?;
        let (has, name) = (placement.replicas.len(), view.name(old));
        let why = format!("shard {shard} has {has} replicas, {wanted} wanted: it leaves {name}");
        Some(view.start(shard, Move { add: None, remove: Some(old) }, why))
    };
    let shards = view.shards();
    let excess = shards.filter(|(_, it)| it.replicas.len() > wanted && is_whole(it));
    Decided::first(excess.filter_map(shrink))
}

/// A replica that shares its zone with another moves to where fewer are.
pub(super) fn zones(view: &View<'_>) -> Decided {
    let part = |(shard, placement): (ShardId, &Placement)| {
        let Move { add: Some(new), remove: Some(old) } = parting(view, placement)? else {
            return None;
        };
        let zone = view.state.member(old).map(|member| member.zone.as_str()).unwrap_or_default();
        let (from, to) = (view.name(old), view.name(new));
        let why =
            format!("replicas of shard {shard} share zone {zone}: {to} takes it over from {from}");
        Some(view.start(shard, Move { add: Some(new), remove: Some(old) }, why))
    };
    Decided::first(view.shards().filter_map(part))
}

/// The swap after which the fewest replicas share a zone, if fewer than now.
fn parting(view: &View<'_>, placement: &Placement) -> Option<Move> {
    let replicas = &placement.replicas;
    let swaps = replicas.iter().copied().flat_map(|old| {
        let staying = without(replicas, Some(old));
        let shared = view.sharing(old, &staying);
        let news = view.targets.iter().map(|member| member.id);
        let news = news.filter(move |new| shared > 0 && !replicas.contains(new));
        news.filter_map(move |new| {
            let gain = shared.checked_sub(view.sharing(new, &staying)).filter(|gain| *gain > 0)?;
            Some((gain, Move { add: Some(new), remove: Some(old) }))
        })
    });
    let allowed = swaps.filter(|(_, change)| view.allows(placement, *change));
    let carries = |node: Option<NodeId>| node.map(|node| view.replicas.on(node));
    let best = allowed.min_by_key(|(gain, change)| {
        (Reverse(*gain), carries(change.add), Reverse(carries(change.remove)), *change)
    });
    best.map(|(_, change)| change)
}

/// A replica moves from a node that carries more to one that carries less.
pub(super) fn uneven(view: &View<'_>) -> Decided {
    let nodes: Vec<NodeId> = view.targets.iter().map(|member| member.id).collect();
    let placement = |shard| view.state.placement(shard);
    let shift = view.replicas.shift(
        &nodes,
        |shift| placement(shift.shard).is_some_and(|it| may_swap(view, it, shift.from, shift.to)),
        // Followers move unnoticed.
        |shift| placement(shift.shard).and_then(Placement::preferred_leader) == Some(shift.from),
    );
    let Some(shift) = shift else { return Decided::Settled };
    let (shard, from, to) = (shift.shard, shift.from, shift.to);
    let (more, less) = (view.replicas.text(from), view.replicas.text(to));
    let why = format!(
        "{from} holds as much as {more} mean shards, {to} as {less}: {to} takes shard {shard} over",
        from = view.name(from),
        to = view.name(to),
    );
    view.start(shard, Move { add: Some(to), remove: Some(from) }, why)
}

/// Whether a replica may move without more of them sharing a zone.
fn may_swap(view: &View<'_>, placement: &Placement, from: NodeId, to: NodeId) -> bool {
    if placement.replicas.contains(&to) {
        return false;
    }
    let staying = without(&placement.replicas, Some(from));
    let is_spread = view.sharing(to, &staying) <= view.sharing(from, &staying);
    is_spread && view.allows(placement, Move { add: Some(to), remove: Some(from) })
}
