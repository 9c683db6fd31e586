//! What the leader of a shard remembers of the rule groups that it evaluates.
//!
//! How far a group came, and bytes that mean something to whoever evaluates rules: apply keeps them
//! and reads nothing in them. Positions only rise, so no part of an evaluation is taken twice.

use std::{collections::BTreeMap, sync::Arc};

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::{RuleGroupId, outcome::Fence};

/// One group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RuleGroup {
    pub(crate) position: u64,
    pub(crate) state: Arc<[u8]>,
    /// Log index of the entry that changed it last.
    pub(crate) touched: u64,
}

/// All groups of a shard.
#[derive(Debug, Default)]
pub(crate) struct RuleGroups {
    groups: BTreeMap<RuleGroupId, RuleGroup>,
    /// Groups that ended, with the log index, until a checkpoint has written that.
    gone: Vec<(RuleGroupId, u64)>,
}

impl RuleGroups {
    pub(crate) fn find(&self, id: RuleGroupId) -> Option<&RuleGroup> {
        self.groups.get(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (RuleGroupId, &RuleGroup)> {
        self.groups.iter().map(|(&id, group)| (id, group))
    }

    /// A group as it was stored.
    pub(crate) fn insert(&mut self, id: RuleGroupId, group: RuleGroup) {
        self.groups.insert(id, group);
    }

    /// Takes what a group has come to, or says how far it had come. Without a state it ends.
    pub(crate) fn advance(
        &mut self,
        (id, position): (RuleGroupId, u64),
        state: Option<&[u8]>,
        at: u64,
    ) -> Option<Fence> {
        if let Some(known) = self.groups.get(&id)
            && position <= known.position
        {
            return Some(Fence::Slot { last: known.position });
        }
        match state {
            Some(state) => {
                let group = RuleGroup { position, state: state.into(), touched: at };
                self.groups.insert(id, group);
            }
            None => {
                if self.groups.remove(&id).is_some() {
                    self.gone.push((id, at));
                }
            }
        }
        None
    }

    /// Groups that ended and did not come back.
    pub(crate) fn gone(&self) -> impl Iterator<Item = RuleGroupId> {
        let gone = self.gone.iter().map(|&(id, _)| id);
        gone.filter(|id| !self.groups.contains_key(id))
    }

    /// Forgets the ends that a checkpoint at log index `upto` has written.
    pub(crate) fn forget_gone(&mut self, upto: u64) {
        self.gone.retain(|&(_, at)| at > upto);
    }

    /// A sum of hashes of all groups; 0 where there are none.
    pub(crate) fn content(&self) -> u128 {
        let hash = |(id, group): (&RuleGroupId, &RuleGroup)| {
            let mut bytes = id.0.to_le_bytes().to_vec();
            bytes.extend_from_slice(&group.state);
            xxh3_128_with_seed(&bytes, group.position)
        };
        self.groups.iter().map(hash).fold(0, u128::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_only_rise_and_an_end_is_told_once() {
        let mut groups = RuleGroups::default();
        let id = RuleGroupId(7);
        assert_eq!(groups.advance((id, 5), Some(b"a"), 1), None);
        assert_eq!(groups.advance((id, 5), Some(b"b"), 2), Some(Fence::Slot { last: 5 }));
        assert_eq!(groups.advance((id, 4), None, 3), Some(Fence::Slot { last: 5 }));
        assert_eq!(&*groups.find(id).expect("known").state, b"a");
        let content = groups.content();
        assert_eq!(groups.advance((id, 6), Some(b"a"), 4), None);
        assert_ne!(groups.content(), content);
        assert_eq!(groups.advance((id, 7), None, 5), None);
        assert_eq!((groups.gone().collect::<Vec<_>>(), groups.content()), (vec![id], 0));
        assert_eq!(groups.advance((id, 1), Some(b"c"), 6), None, "it is another one by now");
        assert_eq!(groups.gone().count(), 0);
        groups.forget_gone(5);
        assert!(groups.gone.is_empty());
    }
}
