//! What a shard remembers of the targets it scrapes and of the sources that write to it.
//!
//! A target has the slot of its last scrape and the series of its last good one: a series that
//! the next one lacks gets a staleness marker from apply.

use std::collections::BTreeMap;

use narthex_model::Timestamp;

use crate::{SeriesId, TargetId, entry::Foreign, outcome::Fence, reader::TargetState};

/// One target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) last_slot: u64,
    /// When that scrape was, in milliseconds.
    pub(crate) last_time: i64,
    /// Whether the last scrape was good.
    pub(crate) healthy: bool,
    /// Series of the last good scrape that end when they vanish, in the page's order.
    pub(crate) series: Vec<u32>,
    /// Series of `up` and the like, which end when the target is gone.
    pub(crate) report: Vec<u32>,
    /// The shard that it belongs to, where only parts of its scrapes are here.
    pub(crate) owner: Option<u32>,
    /// The other shards that hold parts of its last good scrape.
    pub(crate) elsewhere: Vec<u32>,
    /// Log index of the entry that changed it last.
    pub(crate) touched: u64,
}

impl Target {
    /// What readers see of it.
    pub(crate) fn state(&self, id: TargetId) -> TargetState {
        TargetState {
            id,
            last_slot: self.last_slot,
            last_time: Timestamp::from_millis(self.last_time),
            healthy: self.healthy,
            series: self.series.len(),
            owner: self.owner,
            elsewhere: self.elsewhere.clone(),
        }
    }
}

/// All targets of a shard.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    targets: BTreeMap<TargetId, Target>,
    /// Targets that ended, with the log index, until a checkpoint has written that.
    gone: Vec<(TargetId, u64)>,
}

impl Targets {
    pub(crate) fn find(&self, id: TargetId) -> Option<&Target> {
        self.targets.get(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (TargetId, &Target)> {
        self.targets.iter().map(|(&id, target)| (id, target))
    }

    /// The last slot, if `slot` is not above it.
    pub(crate) fn fence(&self, id: TargetId, slot: u64) -> Option<Fence> {
        let target = self.targets.get(&id)?;
        (slot <= target.last_slot).then_some(Fence::Slot { last: target.last_slot })
    }

    /// A target as it was stored, or after a scrape.
    pub(crate) fn insert(&mut self, id: TargetId, target: Target) {
        self.targets.insert(id, target);
    }

    /// Takes a target out, to be put back changed.
    pub(crate) fn take(&mut self, id: TargetId) -> Target {
        self.targets.remove(&id).unwrap_or_default()
    }

    /// Removes a target for good, unless it belongs to another shard than `owner` by now.
    pub(crate) fn end(&mut self, id: TargetId, owner: Option<u32>, at: u64) -> Option<Target> {
        self.targets.get(&id).filter(|target| target.owner == owner)?;
        let target = self.targets.remove(&id)?;
        self.gone.push((id, at));
        Some(target)
    }

    /// Targets that ended and did not come back.
    pub(crate) fn gone(&self) -> impl Iterator<Item = TargetId> {
        let gone = self.gone.iter().map(|&(id, _)| id);
        gone.filter(|id| !self.targets.contains_key(id))
    }

    /// Forgets the ends that a checkpoint at log index `upto` has written.
    pub(crate) fn forget_gone(&mut self, upto: u64) {
        self.gone.retain(|&(_, at)| at > upto);
    }
}

/// Series of `before` that are not in `after`; cheap when nothing changed.
pub(crate) fn vanished(before: &[u32], after: &[u32]) -> Vec<SeriesId> {
    if before == after {
        return Vec::new();
    }
    let mut present = after.to_vec();
    present.sort_unstable();
    let is_gone = |id: &&u32| present.binary_search(id).is_err();
    before.iter().filter(is_gone).map(|&id| SeriesId(id)).collect()
}

/// Who wrote here from other shards, and how far each came.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// (owner shard, stream) to the highest (term, slot).
    highest: BTreeMap<(u32, u64), (u64, u64)>,
}

impl Sources {
    /// The highest (term, slot) of a source, if this one's is not above it.
    pub(crate) fn fence(&self, source: &Foreign) -> Option<Fence> {
        let &(last_term, last_slot) = self.highest.get(&(source.owner_shard, source.stream))?;
        let is_above = (source.owner_term, source.slot) > (last_term, last_slot);
        (!is_above).then_some(Fence::Foreign { last_term, last_slot })
    }

    /// Remembers that a source came this far.
    pub(crate) fn accept(&mut self, source: &Foreign) {
        let stream = (source.owner_shard, source.stream);
        self.highest.insert(stream, (source.owner_term, source.slot));
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = ((u32, u64), (u64, u64))> {
        self.highest.iter().map(|(&stream, &highest)| (stream, highest))
    }

    pub(crate) fn restore(&mut self, stream: (u32, u64), highest: (u64, u64)) {
        self.highest.insert(stream, highest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_vanished() {
        assert_eq!(vanished(&[3, 1, 2], &[1, 4]), [SeriesId(3), SeriesId(2)]);
        assert!(vanished(&[1, 2], &[2, 1]).is_empty());
    }

    #[test]
    fn a_source_must_rise() {
        let source = |owner_term, slot| Foreign {
            owner_shard: 1,
            stream: 2,
            owner_term,
            owner_node: 0,
            slot,
        };
        let mut sources = Sources::default();
        assert_eq!(sources.fence(&source(3, 7)), None);
        sources.accept(&source(3, 7));
        let fence = Some(Fence::Foreign { last_term: 3, last_slot: 7 });
        assert_eq!(sources.fence(&source(3, 7)), fence);
        assert_eq!(sources.fence(&source(2, 9)), fence);
        assert_eq!(sources.fence(&source(4, 0)), None);
    }
}
