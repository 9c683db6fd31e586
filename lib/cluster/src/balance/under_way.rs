//! The move that is under way: it is waited for, or given up where it leads nowhere.

use super::{Decided, Observed, view::name};
use crate::{ClusterState, Command, EndMove, MemberState, Move, NodeId, Placement, ShardId};

/// What to do while a replica moves; `None` if none does.
pub(super) fn decide(state: &ClusterState, seen: &Observed) -> Option<Decided> {
    let moving = || {
        let shards = state.shards().iter();
        shards.filter_map(|(shard, placement)| Some((*shard, placement, placement.moving?)))
    };
    let given_up = moving().find_map(|(shard, placement, change)| {
        let why = futile(state, seen, placement, change)?;
        let why = format!("the move of shard {shard} is given up: {why}");
        Some(Decided::Step { command: Command::CancelMove(EndMove { shard, change }), why })
    });
    given_up.or_else(|| {
        let (shard, _, change) = moving().next()?;
        Some(Decided::Waiting(describe(state, seen, shard, change)))
    })
}

/// Why a move should not be finished.
fn futile(
    state: &ClusterState,
    seen: &Observed,
    placement: &Placement,
    change: Move,
) -> Option<String> {
    if let Some(why) = change.add.and_then(|new| cannot_take(state, seen, new)) {
        return Some(why);
    }
    let wanted = usize::from(state.replication_factor());
    match change {
        Move { add: Some(_), remove: None } if placement.replicas.len() >= wanted => {
            Some("it has replicas enough".to_owned())
        }
        Move { add: None, remove: Some(old) } => {
            // A lost replica that stays is none to rely on, unless it is a lost one that goes.
            let is_left = |node: &&NodeId| {
                **node != old && (seen.lost.contains(&old) || !seen.lost.contains(*node))
            };
            let left = placement.replicas.iter().filter(is_left).count();
            (left < wanted).then(|| format!("{left} replicas would be left, {wanted} wanted"))
        }
        _ => None,
    }
}

fn cannot_take(state: &ClusterState, seen: &Observed, new: NodeId) -> Option<String> {
    let why = match state.member(new).map(|member| member.state) {
        None => "no member any more",
        Some(_) if seen.lost.contains(&new) => "lost",
        Some(MemberState::Draining) => "being drained",
        Some(MemberState::Active) => return None,
    };
    Some(format!("{} is {why}", name(state, new)))
}

fn describe(state: &ClusterState, seen: &Observed, shard: ShardId, change: Move) -> String {
    let name = |node: Option<NodeId>| node.map(|node| name(state, node)).unwrap_or_default();
    let (add, remove) = (name(change.add), name(change.remove));
    let moving = match change {
        Move { add: None, .. } => format!("a replica of shard {shard} is leaving {remove}"),
        Move { remove: None, .. } => format!("{add} is getting a replica of shard {shard}"),
        _ => format!("a replica of shard {shard} is moving from {remove} to {add}"),
    };
    match seen.stalled.contains(&shard) {
        true => format!("{moving}, and the shard has no leader"),
        false => moving,
    }
}
