//! What a shard's leader does for its members to be those that cluster state wants: a new one
//! learns, catches up, and takes the place of the one that goes.
//!
//! Each look decides one step from what is the case, so that it does not matter who led before or
//! how far that one came. Cluster state decides where replicas are, raft who votes: the leader of a
//! shard takes a step only on a state that it knows to be current.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use narthex_cluster::{Command, EndMove, Move, NodeId, Placement};
use narthex_proto::client::ShardClient;
use tracing::{debug, info, warn};

use super::{Replica, Replicas, followers};
use crate::{
    control::{current, founding},
    node::Shared,
    planted::{Planted, is_planted},
    raft::{FollowerStatus, GroupStatus, MembershipChange},
};

/// Pause between looks.
const TURN: Duration = Duration::from_millis(250);
/// A learner that lacks fewer entries counts as caught up: it has them within a few syncs.
const LAG_ENTRIES_MAX: u64 = 64;

/// A step toward the members that are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Changes the members.
    Change(MembershipChange),
    /// Lets this voter lead, as the leader is to go.
    HandOver(NodeId),
    /// Tells cluster state that the move is done.
    Finish(Move),
}

/// The next step of a shard's leader `me`, or `None` if there is nothing to do but wait. A node that
/// `may_not_lead` refuses a leadership, and openraft does not take a handing over back.
pub(crate) fn decide(
    me: NodeId,
    placement: &Placement,
    status: &GroupStatus,
    may_not_lead: impl Fn(NodeId) -> bool,
) -> Option<Step> {
    let nodes = |ids: &[u64]| -> BTreeSet<NodeId> { ids.iter().copied().map(NodeId).collect() };
    let (voters, learners) = (nodes(&status.voters), nodes(&status.learners));
    let wanted: BTreeSet<NodeId> = placement.finished().into_iter().collect();
    let is_member = |node: &&NodeId| voters.contains(node) || learners.contains(node);
    if let Some(missing) = wanted.iter().find(|node| !is_member(node)) {
        return Some(Step::Change(MembershipChange::AddLearner(missing.0)));
    }
    if let Some(left) = learners.difference(&wanted).next() {
        return Some(Step::Change(MembershipChange::RemoveLearner(left.0)));
    }
    if is_planted(Planted::MoveEndsTooEarly) && voters.is_superset(&wanted) {
        return placement.moving.map(Step::Finish);
    }
    if voters == wanted && status.members_settled {
        return placement.moving.map(Step::Finish);
    }
    // Of voters on the way to others the old ones count, too: asking again takes the rest of it.
    let new: Vec<NodeId> = wanted.difference(&voters).copied().collect();
    let is_early = is_planted(Planted::PromotedTooEarly);
    if !is_early && !new.iter().all(|node| is_caught_up(*node, &status.followers)) {
        return None;
    }
    let staying: Vec<NodeId> = wanted.intersection(&voters).copied().collect();
    if wanted.contains(&me) || staying.is_empty() {
        let wanted = wanted.into_iter().map(|node| node.0).collect();
        return Some(Step::Change(MembershipChange::SetVoters(wanted)));
    }
    let can_lead = |(node, lag): &(NodeId, u64)| {
        staying.contains(node) && *lag <= LAG_ENTRIES_MAX && !may_not_lead(*node)
    };
    let next = followers(status).into_iter().filter(can_lead).min_by_key(|(_, lag)| *lag);
    next.map(|(node, _)| Step::HandOver(node))
}

fn is_caught_up(node: NodeId, followers: &[FollowerStatus]) -> bool {
    followers.iter().any(|it| it.node == node.0 && it.is_up_to_date(LAG_ENTRIES_MAX))
}

/// Takes steps for the shards that this node leads, until it stops.
pub(crate) async fn run(shared: Arc<Shared>, replicas: Arc<Replicas>, client: ShardClient) {
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(TURN) => {}
        }
        for replica in replicas.all() {
            if replica.leadership().ready && next(&shared, &replica).is_some() {
                let step = take_step(&shared, &client, &replica);
                if shared.stop.run_until_cancelled(step).await.is_none() {
                    return;
                }
            }
        }
    }
}

fn next(shared: &Shared, replica: &Replica) -> Option<Step> {
    let state = shared.control.state().borrow().clone();
    let may_not_lead = |node| shared.clocks.is_off(node);
    decide(shared.node, state.placement(replica.shard)?, &replica.group.status(), may_not_lead)
}

/// Takes the step that a current state asks for.
async fn take_step(shared: &Shared, client: &ShardClient, replica: &Replica) {
    let shard = replica.shard;
    if !current::catch_up(&shared.control, client).await {
        debug!(%shard, "members stay as they are: this node's cluster state may be old");
        return;
    }
    let Some(step) = next(shared, replica) else { return };
    let taken = match &step {
        Step::Change(change) => {
            let changed = replica.group.change_membership(change.clone()).await;
            changed.map_err(|problem| problem.to_string())
        }
        Step::HandOver(node) => {
            let asked = replica.group.transfer_leader(node.0).await;
            asked.map_err(|problem| problem.to_string())
        }
        Step::Finish(change) => {
            let finish = Command::FinishMove(EndMove { shard, change: *change });
            match founding::request(&shared.control, client, finish).await {
                Ok(outcome) => outcome.accepted().map(drop).map_err(|refusal| refusal.to_string()),
                Err(problem) => Err(problem.to_string()),
            }
        }
    };
    match taken {
        Ok(()) => info!(%shard, ?step, "step of a move taken"),
        Err(problem) => warn!(%shard, ?step, problem, "step of a move not taken"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{GroupId, LogPosition};

    const ME: NodeId = NodeId(1);

    fn status(voters: &[u64], learners: &[(u64, u64)]) -> GroupStatus {
        let follower = |node, lag_entries| FollowerStatus {
            node,
            matched: Some(LogPosition { term: 1, index: 9 }),
            lag_entries,
            silent_for: Some(Duration::ZERO),
            ..FollowerStatus::default()
        };
        let voting = voters.iter().filter(|node| **node != ME.0).map(|node| follower(*node, 1));
        let learning = learners.iter().map(|(node, lag)| follower(*node, *lag));
        GroupStatus {
            voters: voters.to_vec(),
            learners: learners.iter().map(|(node, _)| *node).collect(),
            followers: voting.chain(learning).collect(),
            members_settled: true,
            ..GroupStatus::empty(GroupId::shard(0))
        }
    }

    fn placement(replicas: &[u64], moving: Option<(Option<u64>, Option<u64>)>) -> Placement {
        let node = |id: u64| NodeId(id);
        let moving =
            moving.map(|(add, remove)| Move { add: add.map(node), remove: remove.map(node) });
        Placement { replicas: replicas.iter().copied().map(node).collect(), moving }
    }

    fn nobody(_: NodeId) -> bool {
        false
    }

    fn set(nodes: &[u64]) -> Option<Step> {
        Some(Step::Change(MembershipChange::SetVoters(nodes.iter().copied().collect())))
    }

    fn add(node: u64) -> Option<Step> {
        Some(Step::Change(MembershipChange::AddLearner(node)))
    }

    #[test]
    fn a_swap_learns_catches_up_and_takes_the_place() {
        let swap = placement(&[1, 2, 3], Some((Some(4), Some(3))));
        let decide = |voters: &[u64], learners: &[(u64, u64)]| {
            decide(ME, &swap, &status(voters, learners), nobody)
        };
        assert_eq!(decide(&[1, 2, 3], &[]), add(4));
        assert_eq!(decide(&[1, 2, 3], &[(4, 1000)]), None, "it is far behind");
        assert_eq!(decide(&[1, 2, 3], &[(4, 2)]), set(&[1, 2, 4]));
        assert_eq!(decide(&[1, 2, 4], &[]), swap.moving.map(Step::Finish));
    }

    #[test]
    fn a_leader_that_goes_hands_over_first() {
        let swap = placement(&[1, 2, 3], Some((Some(4), Some(1))));
        let status = status(&[1, 2, 3], &[(4, 0)]);
        let step = decide(ME, &swap, &status, nobody);
        assert_eq!(step, Some(Step::HandOver(NodeId(2))));
        let step = decide(ME, &swap, &status, |node| node == NodeId(2));
        assert_eq!(step, Some(Step::HandOver(NodeId(3))));
        assert_eq!(decide(ME, &swap, &status, |_| true), None);
    }

    #[test]
    fn an_only_replica_moves_without_handing_over() {
        let alone = placement(&[1], Some((Some(4), Some(1))));
        assert_eq!(decide(ME, &alone, &status(&[1], &[(4, 0)]), nobody), set(&[4]));
    }

    #[test]
    fn voters_on_the_way_to_others_are_not_there_yet() {
        let grown = placement(&[1, 2], Some((Some(3), None)));
        let joint = GroupStatus { members_settled: false, ..status(&[1, 2, 3], &[]) };
        assert_eq!(decide(ME, &grown, &joint, nobody), set(&[1, 2, 3]));
        let finish = grown.moving.map(Step::Finish);
        assert_eq!(decide(ME, &grown, &status(&[1, 2, 3], &[]), nobody), finish);
        let done = placement(&[1, 2, 3], None);
        assert_eq!(decide(ME, &done, &joint, nobody), set(&[1, 2, 3]));
    }

    #[test]
    fn a_cancelled_move_is_taken_back_from_wherever_it_was() {
        let settled = placement(&[1, 2, 3], None);
        let decide = |voters: &[u64], learners: &[(u64, u64)]| {
            decide(ME, &settled, &status(voters, learners), nobody)
        };
        assert_eq!(
            decide(&[1, 2, 3], &[(4, 0)]),
            Some(Step::Change(MembershipChange::RemoveLearner(4)))
        );
        assert_eq!(decide(&[1, 2, 4], &[]), add(3));
        assert_eq!(decide(&[1, 2, 4], &[(3, 0)]), set(&[1, 2, 3]));
        assert_eq!(decide(&[1, 2, 3], &[]), None);
    }

    #[test]
    fn a_cut_off_learner_is_waited_for() {
        let grown = placement(&[1], Some((Some(2), None)));
        let mut status = status(&[1], &[(2, 0)]);
        status.followers[0].is_cut_off = true;
        assert_eq!(decide(ME, &grown, &status, nobody), None);
        status.followers[0].is_cut_off = false;
        status.followers[0].silent_for = None;
        assert_eq!(decide(ME, &grown, &status, nobody), None, "it is not there");
        status.followers[0].silent_for = Some(Duration::ZERO);
        assert_eq!(decide(ME, &grown, &status, nobody), set(&[1, 2]));
    }
}
