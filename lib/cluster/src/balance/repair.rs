//! Replicas that are missing, or are where they cannot stay.
//!
//! Invariants
//! * a shard with fewer replicas to rely on comes before one with more;
//! * a shard without a majority is left alone, and so are nodes that are not heard of: neither
//!   holds up the others.

use super::{Decided, view::View};
use crate::{Move, NodeId, Placement, ShardId};

/// Replicas on lost nodes are rebuilt elsewhere, or go where there are too many.
pub(super) fn lost(view: &View<'_>) -> Decided {
    let is_hit = |placement: &Placement| placement.replicas.iter().any(|it| view.is_lost(*it));
    let replace = |(shard, placement): (ShardId, &Placement)| {
        let lost = placement.replicas.iter().copied().filter(|node| view.is_lost(*node));
        let replaced = lost.map(|node| {
            remove(view, shard, placement, node).or_else(|| swap(view, shard, placement, node))
        });
        Decided::first(replaced)
    };
    Decided::first(weakest_first(view, is_hit).map(replace))
}

/// Shards that should have more replicas get them.
pub(super) fn missing(view: &View<'_>) -> Decided {
    let is_short = |placement: &Placement| placement.replicas.len() < view.wanted;
    let supply = |(shard, placement): (ShardId, &Placement)| {
        if let Some(why) = view.immovable(shard, placement) {
            return Decided::Waiting(why);
        }
        match view.target(placement, None) {
            Ok(new) => {
                let (has, wanted) = (placement.replicas.len(), view.wanted);
                let name = view.name(new);
                let why = format!("shard {shard} has {has} of {wanted} replicas: {name} gets one");
                view.start(shard, Move { add: Some(new), remove: None }, why)
            }
            Err(why) => Decided::Waiting(format!("shard {shard} is short of replicas and {why}")),
        }
    };
    Decided::first(weakest_first(view, is_short).map(supply))
}

/// Replicas on draining nodes move away, or go where there are too many.
pub(super) fn draining(view: &View<'_>) -> Decided {
    let is_hit = |placement: &Placement| placement.replicas.iter().any(|it| view.is_draining(*it));
    let empty = |(shard, placement): (ShardId, &Placement)| {
        let draining = placement.replicas.iter().copied().filter(|node| view.is_draining(*node));
        Decided::first(draining.map(|node| match placement.replicas.len() > view.wanted {
            // Where zones forbid it, another one goes first: see `spread::superfluous`.
            true => remove(view, shard, placement, node),
            false => swap(view, shard, placement, node),
        }))
    };
    Decided::first(weakest_first(view, is_hit).map(empty))
}

/// The shards that need it, those with the fewest replicas to rely on first.
fn weakest_first<'a>(
    view: &View<'a>,
    needs_it: impl Fn(&Placement) -> bool,
) -> impl Iterator<Item = (ShardId, &'a Placement)> {
    let mut shards: Vec<_> = view.shards().filter(|(_, placement)| needs_it(placement)).collect();
    shards.sort_by_key(|(shard, placement)| (view.heard(&placement.replicas), *shard));
    shards.into_iter()
}

/// A replica goes without another coming, where there are enough and zones allow it.
fn remove(view: &View<'_>, shard: ShardId, placement: &Placement, old: NodeId) -> Decided {
    let change = Move { add: None, remove: Some(old) };
    let (has, wanted) = (placement.replicas.len(), view.wanted);
    if has <= wanted || !view.allows(placement, change) {
        return Decided::Settled;
    }
    if let Some(why) = view.immovable(shard, placement) {
        return Decided::Waiting(why);
    }
    let unfit = view.unfit(old);
    let why = format!("shard {shard} has {has} replicas, {wanted} wanted: it leaves {unfit}");
    view.start(shard, change, why)
}

/// A replica comes elsewhere and the old one goes.
fn swap(view: &View<'_>, shard: ShardId, placement: &Placement, old: NodeId) -> Decided {
    if let Some(why) = view.immovable(shard, placement) {
        return Decided::Waiting(why);
    }
    let unfit = view.unfit(old);
    match view.target(placement, Some(old)) {
        Ok(new) => {
            let why = format!("{} takes shard {shard} over from {unfit}", view.name(new));
            view.start(shard, Move { add: Some(new), remove: Some(old) }, why)
        }
        Err(why) => Decided::Waiting(format!("shard {shard} has a replica on {unfit}, and {why}")),
    }
}
