//! What must hold at every moment, whatever fails.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::node::SimulatedNode;
use crate::raft::{LogPosition, NodeId, Role, log::simulated::Disk, tests::cluster::GROUP};

#[derive(Default)]
pub struct Checks {
    /// Who led which term.
    leaders: BTreeMap<u64, NodeId>,
    /// What was applied, and where.
    applied: BTreeMap<u64, (LogPosition, Bytes)>,
    /// What was acknowledged.
    pub acknowledged: Vec<(Bytes, LogPosition)>,
}

type Disks = BTreeMap<NodeId, Disk>;

fn is_majority(count: usize, disks: &Disks) -> bool {
    count > disks.len() / 2
}

impl Checks {
    /// A term has one leader, whom a majority will not forget to have voted for. Whether that
    /// leader is new.
    pub fn leader(
        &mut self,
        id: NodeId,
        node: &SimulatedNode,
        disks: &Disks,
    ) -> Result<bool, String> {
        let seen = node.leadership();
        if seen.role != Role::Leader {
            return Ok(false);
        }
        if let Some(other) = self.leaders.insert(seen.term, id) {
            return match other == id {
                true => Ok(false),
                false => Err(format!("nodes {other} and {id} lead term {}", seen.term)),
            };
        }
        let has_voted = |disk: &&Disk| {
            let vote = disk.groups.get(&GROUP).and_then(|durable| durable.vote);
            vote.is_some_and(|vote| vote.leader_id.term >= seen.term)
        };
        match disks.values().filter(has_voted).count() {
            count if is_majority(count, disks) => Ok(true),
            count => Err(format!("node {id} leads term {} by {count} synced votes", seen.term)),
        }
    }

    /// What was acknowledged is synced on a majority.
    pub fn acknowledge(
        &mut self,
        (data, position): (Bytes, LogPosition),
        disks: &Disks,
    ) -> Result<(), String> {
        let has = |disk: &&Disk| {
            let durable = disk.groups.get(&GROUP);
            let entry = durable.and_then(|durable| durable.entries.get(&position.index));
            entry.is_some_and(|entry| LogPosition::from(entry.log_id) == position)
        };
        let count = disks.values().filter(has).count();
        self.acknowledged.push((data, position));
        match is_majority(count, disks) {
            true => Ok(()),
            false => Err(format!("entry {position} was acknowledged with {count} synced copies")),
        }
    }

    /// All replicas apply the same entries, in order.
    pub fn applied(&mut self, id: NodeId, node: &mut SimulatedNode) -> Result<(), String> {
        let ledger = node.ledger.state.lock();
        for (position, data) in &ledger.entries[node.checked..] {
            let entry = (*position, data.clone());
            let first = self.applied.entry(position.index).or_insert_with(|| entry.clone());
            if *first != entry {
                return Err(format!("node {id} applied {position} where {} was", first.0));
            }
        }
        node.checked = ledger.entries.len();
        Ok(())
    }

    /// No two logs differ where an entry has the same name.
    pub fn logs_match(disks: &Disks) -> Result<(), String> {
        let mut known = BTreeMap::new();
        for durable in disks.values().filter_map(|disk| disk.groups.get(&GROUP)) {
            for entry in durable.entries.values() {
                let position = LogPosition::from(entry.log_id);
                if known.insert(position, &entry.payload).is_some_and(|it| *it != entry.payload) {
                    return Err(format!("two logs differ in entry {position}"));
                }
            }
        }
        Ok(())
    }

    /// Every replica has all that was acknowledged, and no replica has anything else than others.
    pub fn agree(&self, nodes: &BTreeMap<NodeId, SimulatedNode>) -> Result<(), String> {
        for (id, node) in nodes {
            let has = node.ledger.state.lock().entries.len();
            if has != self.applied.len() {
                return Err(format!("node {id} has {has} of {} entries", self.applied.len()));
            }
        }
        let lacks = |(data, position): &&(Bytes, LogPosition)| {
            self.applied.get(&position.index) != Some(&(*position, data.clone()))
        };
        match self.acknowledged.iter().find(lacks) {
            Some((_, position)) => Err(format!("entry {position} was acknowledged and is lost")),
            None => Ok(()),
        }
    }
}
