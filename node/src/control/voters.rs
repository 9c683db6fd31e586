//! Who votes in the control group.
//!
//! Every member of the cluster follows the control group; an odd number of them, five at the most,
//! votes. Pure: the caller brings what it sees and performs the step.

use std::collections::{BTreeMap, BTreeSet};

use narthex_cluster::{ClusterState, Member, MemberState, NodeId};

use crate::raft::{GroupStatus, MembershipChange};

/// More voters make every change of cluster state slower and survive what hardly happens.
const VOTERS_MAX: usize = 5;
/// A learner that lacks fewer entries counts as caught up.
const LAG_ENTRIES_MAX: u64 = 16;

/// A step toward the members that are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Changes the members of the group.
    Change(MembershipChange),
    /// Lets this voter lead, as the leader is to go.
    HandOver(NodeId),
}

/// The next step of the leader `me`, or `None`. `unwell` are members that were not heard for long; a
/// node that `may_not_lead` refuses a leadership.
pub fn decide(
    me: NodeId,
    state: &ClusterState,
    status: &GroupStatus,
    unwell: &BTreeSet<NodeId>,
    may_not_lead: impl Fn(NodeId) -> bool,
) -> Option<Step> {
    let nodes = |ids: &[u64]| -> BTreeSet<NodeId> { ids.iter().copied().map(NodeId).collect() };
    let (voters, learners) = (nodes(&status.voters), nodes(&status.learners));
    let members = state.members();
    let is_known = |node: &&NodeId| voters.contains(node) || learners.contains(node);
    if let Some(new) = members.keys().find(|node| !is_known(node)) {
        return Some(Step::Change(MembershipChange::AddLearner(new.0)));
    }
    if let Some(gone) = learners.iter().find(|node| !members.contains_key(node)) {
        return Some(Step::Change(MembershipChange::RemoveLearner(gone.0)));
    }
    let caught_up = |node: &NodeId| {
        let mut followers = status.followers.iter().filter(|it| it.node == node.0);
        *node == me || followers.any(|it| it.is_up_to_date(LAG_ENTRIES_MAX))
    };
    // One that has not announced itself may have lost its folder since.
    let is_candidate = |member: &&Member| {
        voters.contains(&member.id) || (caught_up(&member.id) && member.incarnation.0 > 0)
    };
    let candidates: Vec<&Member> = members.values().filter(is_candidate).collect();
    let wanted = choose(&candidates, &voters, unwell);
    if wanted.is_empty() || (wanted == voters && status.members_settled) {
        return None;
    }
    let can_lead =
        |node: &&NodeId| voters.contains(node) && caught_up(node) && !may_not_lead(**node);
    let successor = wanted.iter().find(can_lead).copied();
    match successor.filter(|_| !wanted.contains(&me)) {
        Some(next) => Some(Step::HandOver(next)),
        None => {
            let wanted = wanted.into_iter().map(|node| node.0).collect();
            Some(Step::Change(MembershipChange::SetVotersOfAll(wanted)))
        }
    }
}

/// An odd number of voters, in as many failure domains as possible. Those who vote already come
/// first, those who are about to go or were not heard for long come last: nobody is dropped without
/// another one to take the place.
fn choose(
    candidates: &[&Member],
    voters: &BTreeSet<NodeId>,
    unwell: &BTreeSet<NodeId>,
) -> BTreeSet<NodeId> {
    let most = candidates.len().min(VOTERS_MAX);
    let count = if most.is_multiple_of(2) { most.saturating_sub(1) } else { most };
    let mut chosen = BTreeSet::new();
    let mut domains: BTreeMap<_, usize> = BTreeMap::new();
    while chosen.len() < count {
        let free = candidates.iter().filter(|member| !chosen.contains(&member.id));
        let next = free.min_by_key(|member| {
            let goes = (unwell.contains(&member.id), member.state == MemberState::Draining);
            let shared = domains.get(&member.failure_domain()).copied().unwrap_or(0);
            (goes, shared, !voters.contains(&member.id), member.id)
        });
        let Some(next) = next else { break };
        *domains.entry(next.failure_domain()).or_default() += 1;
        chosen.insert(next.id);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use narthex_cluster::{
        AddMember, Addresses, Binary, ClusterId, ClusterVersion, Command, Drain, Found, Founder,
        Incarnation, Request, RequestId, StartMember,
    };
    use narthex_model::Timestamp;

    use super::*;
    use crate::raft::{FollowerStatus, GroupId, LogPosition};

    fn founded(members: u64) -> ClusterState {
        let founder = |id: u64| Founder {
            node: NodeId(id),
            name: format!("n{id}"),
            addresses: Addresses::default(),
            zone: String::new(),
            binary: Binary { level: ClusterVersion(1), text: String::new() },
        };
        let mut state = ClusterState::new();
        let found = Found {
            cluster: ClusterId::from_random_bytes([9; 16]),
            members: (1..=members).map(founder).collect(),
            shards: 1,
            replication_factor: 1,
        };
        apply(&mut state, Command::Found(found));
        (1..=members).for_each(|id| start(&mut state, id));
        state
    }

    fn start(state: &mut ClusterState, id: u64) {
        let start = StartMember {
            node: NodeId(id),
            incarnation: Incarnation(1),
            addresses: Addresses::default(),
            zone: String::new(),
            binary: Binary { level: ClusterVersion(1), text: String::new() },
        };
        apply(state, Command::StartMember(start));
    }

    fn apply(state: &mut ClusterState, command: Command) {
        let id = RequestId(state.revision().into());
        let at = Timestamp::from_millis(0);
        state.apply(&Request { id, at, command }).accepted().expect("accepted");
    }

    fn status(voters: &[u64], learners: &[(u64, u64)]) -> GroupStatus {
        let follower = |node, lag_entries| FollowerStatus {
            node,
            matched: Some(LogPosition { term: 1, index: 9 }),
            lag_entries,
            silent_for: Some(Duration::ZERO),
            ..FollowerStatus::default()
        };
        let voting = voters.iter().map(|node| follower(*node, 0));
        GroupStatus {
            voters: voters.to_vec(),
            learners: learners.iter().map(|(node, _)| *node).collect(),
            members_settled: true,
            followers: voting.chain(learners.iter().map(|(n, lag)| follower(*n, *lag))).collect(),
            ..GroupStatus::empty(GroupId::CONTROL)
        }
    }

    fn set(nodes: &[u64]) -> Option<Step> {
        Some(Step::Change(MembershipChange::SetVotersOfAll(nodes.iter().copied().collect())))
    }

    fn decide(state: &ClusterState, status: &GroupStatus, unwell: &[u64]) -> Option<Step> {
        let unwell = unwell.iter().copied().map(NodeId).collect();
        super::decide(NodeId(1), state, status, &unwell, |_| false)
    }

    #[test]
    fn a_cluster_that_grows_has_an_odd_number_of_voters() {
        assert_eq!(
            decide(&founded(2), &status(&[1], &[]), &[]),
            Some(Step::Change(MembershipChange::AddLearner(2)))
        );
        assert_eq!(decide(&founded(2), &status(&[1], &[(2, 0)]), &[]), None);
        let behind = status(&[1], &[(2, 0), (3, 99)]);
        assert_eq!(decide(&founded(3), &behind, &[]), None);
        let caught_up = status(&[1], &[(2, 0), (3, 0)]);
        assert_eq!(decide(&founded(3), &caught_up, &[]), set(&[1, 2, 3]));
        assert_eq!(
            decide(&founded(7), &status(&[1, 2, 3, 4, 5, 6, 7], &[]), &[]),
            set(&[1, 2, 3, 4, 5])
        );
    }

    #[test]
    fn a_lost_voter_is_replaced_and_never_just_dropped() {
        assert_eq!(decide(&founded(3), &status(&[1, 2, 3], &[]), &[3]), None);
        let spare = status(&[1, 2, 3], &[(4, 0)]);
        assert_eq!(decide(&founded(4), &spare, &[]), None);
        assert_eq!(decide(&founded(4), &spare, &[3]), set(&[1, 2, 4]));
    }

    #[test]
    fn a_leader_that_is_to_go_hands_over_first() {
        let mut state = founded(4);
        apply(&mut state, Command::Drain(Drain { node: NodeId(1), draining: true }));
        let step = decide(&state, &status(&[1, 2, 3], &[(4, 0)]), &[]);
        assert_eq!(step, Some(Step::HandOver(NodeId(2))));
    }

    #[test]
    fn who_has_not_started_does_not_vote() {
        let mut state = founded(2);
        let add = AddMember {
            node: Some(NodeId(3)),
            name: "n3".to_owned(),
            addresses: Addresses::default(),
            zone: String::new(),
            binary: Binary { level: ClusterVersion(1), text: String::new() },
        };
        apply(&mut state, Command::AddMember(add));
        let status = status(&[1], &[(2, 0), (3, 0)]);
        assert_eq!(decide(&state, &status, &[]), None);
        start(&mut state, 3);
        assert_eq!(decide(&state, &status, &[]), set(&[1, 2, 3]));
    }

    #[test]
    fn voters_on_the_way_to_others_are_not_there_yet() {
        let joint = GroupStatus { members_settled: false, ..status(&[1, 2, 3], &[]) };
        assert_eq!(decide(&founded(3), &joint, &[]), set(&[1, 2, 3]));
    }

    #[test]
    fn who_is_no_member_leaves() {
        let status = status(&[1], &[(2, 0), (9, 0)]);
        assert_eq!(
            decide(&founded(2), &status, &[]),
            Some(Step::Change(MembershipChange::RemoveLearner(9)))
        );
    }
}
