//! What must hold of every raft group at every moment, whatever fails.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::node::SimulatedNode;
use crate::raft::{
    Command, CommittedEntry, GroupId, LogPosition, NodeId, Role, codec,
    log::simulated::{Disk, Durable},
};

pub type Disks = BTreeMap<NodeId, Disk>;
pub type Nodes = BTreeMap<NodeId, SimulatedNode>;

/// Voters; of two sets a majority of each counts.
pub type Voters = Vec<BTreeSet<NodeId>>;

/// An entry that was applied, and what came of it.
pub type Applied = (CommittedEntry, Bytes);

#[derive(Default)]
pub struct Checks {
    /// Who led which term.
    pub leaders: BTreeMap<(GroupId, u64), NodeId>,
    /// What was applied first, by index; all else must be the same.
    pub applied: BTreeMap<GroupId, Vec<Applied>>,
    /// Leaderships that were asked to hand over: until they hear that another was elected, they own
    /// beside it what they cannot write to any more.
    pub handed_over: BTreeSet<(GroupId, u64)>,
    /// Leaderships that were once seen to own their group.
    pub owned: BTreeSet<(GroupId, u64)>,
    /// The newest members that were applied, and where.
    members: BTreeMap<GroupId, (u64, Voters)>,
}

fn is_majority(voters: &Voters, has: impl Fn(&NodeId) -> bool) -> bool {
    voters.iter().all(|set| set.iter().filter(|node| has(node)).count() > set.len() / 2)
}

fn durable(disks: &Disks, node: NodeId, group: GroupId) -> Option<&Durable> {
    disks.get(&node)?.groups.get(&group)
}

/// Whether a disk has an entry.
pub fn has(disks: &Disks, node: NodeId, (group, position): (GroupId, LogPosition)) -> bool {
    let entry = durable(disks, node, group).and_then(|it| it.entries.get(&position.index));
    entry.is_some_and(|entry| LogPosition::from(entry.log_id) == position)
}

impl Checks {
    /// The members that may be in force: the last that were applied, and all that came after.
    pub fn members(&self, group: GroupId, disks: &Disks) -> Vec<(LogPosition, Voters)> {
        let from = self.members.get(&group).map_or(0, |(index, _)| *index);
        let durable = disks.values().filter_map(|disk| disk.groups.get(&group));
        let memberships = durable.flat_map(|durable| {
            durable.memberships.range(from..).filter_map(|(index, members)| {
                let position = durable.entries.get(index)?.log_id.into();
                Some((position, members.get_joint_config().clone()))
            })
        });
        memberships.collect()
    }

    /// Whether nodes of which this holds are a majority of members that may be in force.
    fn are_majority(&self, group: GroupId, disks: &Disks, holds: impl Fn(&NodeId) -> bool) -> bool {
        let applied = self.members.get(&group);
        applied.is_some_and(|(_, voters)| is_majority(voters, &holds))
            || self.members(group, disks).iter().any(|(_, voters)| is_majority(voters, &holds))
    }

    /// A term has one leader, whom a majority will not forget to have voted for. Whether that
    /// leader is new.
    pub fn leader(
        &mut self,
        node: &SimulatedNode,
        group: GroupId,
        disks: &Disks,
    ) -> Result<bool, String> {
        let (id, seen) = (node.id, node.leadership(group));
        if seen.role != Role::Leader {
            return Ok(false);
        }
        if let Some(other) = self.leaders.insert((group, seen.term), id) {
            return match other == id {
                true => Ok(false),
                false => Err(format!("{group}: nodes {other} and {id} lead term {}", seen.term)),
            };
        }
        let has_voted = |node: &NodeId| {
            let vote = durable(disks, *node, group).and_then(|durable| durable.vote);
            vote.is_some_and(|vote| vote.leader_id.term >= seen.term)
        };
        match self.are_majority(group, disks, has_voted) {
            true => Ok(true),
            false => Err(format!("{group}: node {id} leads term {} without votes", seen.term)),
        }
    }

    /// One node owns what a group's leader owns.
    pub fn owner(&self, nodes: &Nodes, group: GroupId) -> Result<(), String> {
        let owns = |node: &&SimulatedNode| {
            let seen = node.leadership(group);
            seen.ready && !self.handed_over.contains(&(group, seen.term))
        };
        let owners: Vec<_> = nodes.values().filter(owns).map(|node| node.id).collect();
        match owners.len() {
            0 | 1 => Ok(()),
            _ => Err(format!("{group}: nodes {owners:?} own it")),
        }
    }

    /// All replicas apply the same entries, in order, with the same outcomes, once a majority has
    /// synced them. Gives what was applied for the first time.
    pub fn applied(
        &mut self,
        node: &mut SimulatedNode,
        group: GroupId,
        disks: &Disks,
    ) -> Result<Vec<Applied>, String> {
        let (id, mut new) = (node.id, Vec::new());
        let replica = node.replicas.get_mut(&group).expect("it hosts all groups");
        let record = replica.record.lock();
        for entry in &record[replica.checked..] {
            let known = self.applied.entry(group).or_default();
            let position = entry.0.position;
            match known.get(position.index as usize) {
                Some(first) if first == entry => {}
                Some(first) => {
                    let at = first.0.position;
                    return Err(format!("{group}: node {id} applied {position} unlike {at}"));
                }
                None => {
                    known.push(entry.clone());
                    self.commit(group, &entry.0, disks)?;
                    new.push(entry.clone());
                }
            }
        }
        replica.checked = record.len();
        Ok(new)
    }

    fn commit(
        &mut self,
        group: GroupId,
        entry: &CommittedEntry,
        disks: &Disks,
    ) -> Result<(), String> {
        let position = entry.position;
        if !self.are_majority(group, disks, |node| has(disks, *node, (group, position))) {
            return Err(format!("{group}: entry {position} is applied and not on a majority"));
        }
        if let Command::Members(members) = &entry.command {
            let stored = codec::decode_stored_membership(members).expect("it was applied");
            let voters = stored.membership().get_joint_config().clone();
            let before = self.members.insert(group, (position.index, voters));
            let before = before.map(|(_, voters)| voters).unwrap_or_default();
            return self.promoted(group, position.index, (before, disks));
        }
        Ok(())
    }

    /// Who gets a vote has the log, but for what came in a moment.
    fn promoted(
        &self,
        group: GroupId,
        index: u64,
        (before, disks): (Voters, &Disks),
    ) -> Result<(), String> {
        const LAG_MAX: u64 = 128;
        let (_, now) = &self.members[&group];
        let before: BTreeSet<_> = before.into_iter().flatten().collect();
        for node in now.iter().flatten().filter(|node| !before.is_empty() && !before.contains(node))
        {
            let last = durable(disks, *node, group).and_then(|it| it.entries.last_key_value());
            let end = last.map_or(0, |(last, _)| last + 1);
            if end + LAG_MAX < index {
                return Err(format!("{group}: node {node} votes at {index} and has {end} entries"));
            }
        }
        Ok(())
    }

    /// No two logs differ where an entry has the same name.
    pub fn logs_match(group: GroupId, disks: &Disks) -> Result<(), String> {
        let mut known = BTreeMap::new();
        for durable in disks.values().filter_map(|disk| disk.groups.get(&group)) {
            for entry in durable.entries.values() {
                let position = LogPosition::from(entry.log_id);
                if known.insert(position, &entry.payload).is_some_and(|it| *it != entry.payload) {
                    return Err(format!("{group}: two logs differ in entry {position}"));
                }
            }
        }
        Ok(())
    }

    /// Who votes in the end. An error while members change.
    pub fn voters(&self, group: GroupId) -> Result<&BTreeSet<NodeId>, String> {
        match self.members.get(&group).map(|(_, voters)| &voters[..]) {
            Some([voters]) => Ok(voters),
            _ => Err(format!("{group}: members have not settled")),
        }
    }

    /// Every voter has applied all that any replica has.
    pub fn agree(&self, nodes: &Nodes, group: GroupId) -> Result<(), String> {
        let count = self.applied.get(&group).map_or(0, Vec::len);
        for id in self.voters(group)? {
            let has = nodes[id].replicas[&group].checked;
            if has != count {
                return Err(format!("{group}: node {id} has {has} of {count} entries"));
            }
        }
        Ok(())
    }
}
