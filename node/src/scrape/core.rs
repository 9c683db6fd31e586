//! Which target is scraped when: rules without a clock.
//!
//! A target has slots: its interval cuts time into equal parts, shifted by a phase that comes
//! from its id, so that every node knows the same slots and targets are spread over the
//! interval. In each slot it is scraped once, by whoever leads its shard.
//!
//! Invariants
//! * a target's slots only rise, and at most one scrape of it is under way;
//! * a new owner starts with the first slot that begins after it became the owner: it fills no
//!   gap, and it repeats no slot of the owner before it;
//! * a slot whose time has passed while the target was busy, or while nobody called, is left out;
//! * a target is gone only once discovery is known to be complete, and after its last scrape.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap},
    time::Duration,
};

use narthex_cluster::ShardId;
use narthex_model::Timestamp;

use super::target::TargetId;
use crate::planted::{Planted, is_planted};

/// Pause before a shard that did not take a target's end is told again.
const RETRY_GONE_AFTER: Duration = Duration::from_secs(1);

/// A slot of a target, named by the millisecond it begins at.
///
/// Counting slots instead would let a longer interval number new slots below old ones, which
/// the shard would refuse for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub i64);

impl Slot {
    /// When the slot begins.
    pub const fn start(self) -> Timestamp {
        Timestamp::from_millis(self.0)
    }
}

/// A target that somebody should scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// Which one.
    pub target: TargetId,
    /// The shard it hashes to.
    pub shard: ShardId,
    /// Pause between two scrapes; at least a millisecond.
    pub interval: Duration,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Scrape a target.
    Start(Start),
    /// Tell the shard that a target is gone.
    Gone {
        /// Its shard.
        shard: ShardId,
        /// Which one.
        target: TargetId,
        /// It is another shard's now, and so are its series.
        has_moved: bool,
    },
}

/// A scrape to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Whose page.
    pub target: TargetId,
    /// Where it goes.
    pub shard: ShardId,
    /// Which slot.
    pub slot: Slot,
}

/// How often slots were left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Skipped {
    /// The scrape before was still under way.
    pub busy: u64,
    /// Nobody called in time, or the clock jumped.
    pub late: u64,
}

/// The plan of one node.
#[derive(Debug, Default)]
pub struct Schedule {
    targets: HashMap<TargetId, State>,
    /// Due slots, the earliest first; an entry that does not fit its target's state is void.
    due: BinaryHeap<Reverse<(Slot, TargetId)>>,
    owned: BTreeMap<ShardId, Owned>,
    /// Discovery has named all targets at least once.
    is_synced: bool,
    skipped: Skipped,
}

#[derive(Debug)]
struct State {
    shard: ShardId,
    interval_millis: i64,
    phase_millis: i64,
    /// The slot to start next; none where the shard is not ours.
    next: Option<Slot>,
    /// A scrape is under way.
    is_busy: bool,
    /// No longer wanted; kept until its scrape has ended.
    is_removed: bool,
}

#[derive(Debug, Default)]
struct Owned {
    /// Targets that have state in the shard.
    known: BTreeSet<TargetId>,
    /// From when on to look for targets that are gone; nothing where none can be. With thousands
    /// of targets a look is too much for each of their scrapes.
    look_from: Option<Timestamp>,
}

impl State {
    /// The slot that `time` lies in.
    fn slot_at(&self, time: Timestamp) -> Slot {
        let since = time.millis().saturating_sub(self.phase_millis);
        let start = since.div_euclid(self.interval_millis).saturating_mul(self.interval_millis);
        Slot(start.saturating_add(self.phase_millis))
    }

    /// The first slot that begins after `time`.
    fn slot_after(&self, time: Timestamp) -> Slot {
        self.following(self.slot_at(time))
    }

    fn following(&self, slot: Slot) -> Slot {
        Slot(slot.0.saturating_add(self.interval_millis))
    }
}

impl Schedule {
    /// A node that owns nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes all targets there are, on all shards. `is_synced` says that none is missing only
    /// because a source was not read yet.
    pub fn assign(&mut self, targets: &[Planned], is_synced: bool, now: Timestamp) {
        self.is_synced = is_synced;
        let wanted: HashMap<TargetId, &Planned> =
            targets.iter().map(|planned| (planned.target, planned)).collect();
        self.targets.retain(|id, state| {
            state.is_removed = !wanted.contains_key(id);
            !state.is_removed || state.is_busy
        });
        for planned in wanted.into_values() {
            self.plan(planned, now);
        }
        for owned in self.owned.values_mut() {
            owned.look_from.get_or_insert(now);
        }
    }

    fn plan(&mut self, planned: &Planned, now: Timestamp) {
        let interval_millis =
            i64::try_from(planned.interval.as_millis()).unwrap_or(i64::MAX).max(1);
        let phase_millis = planned.target.phase_millis(interval_millis);
        let state = self.targets.entry(planned.target).or_insert(State {
            shard: planned.shard,
            interval_millis,
            phase_millis,
            next: None,
            is_busy: false,
            is_removed: false,
        });
        let moved = state.shard != planned.shard || state.interval_millis != interval_millis;
        state.shard = planned.shard;
        state.interval_millis = interval_millis;
        state.phase_millis = phase_millis;
        let is_ours = self.owned.contains_key(&planned.shard);
        if !is_ours {
            state.next = None;
        } else if moved || state.next.is_none() {
            let next = state.slot_after(now);
            state.next = Some(next);
            self.due.push(Reverse((next, planned.target)));
        }
    }

    /// This node leads `shard` since `since`. `known` are the targets that have state there:
    /// those that discovery does not find are gone.
    pub fn own(
        &mut self,
        shard: ShardId,
        since: Timestamp,
        known: impl IntoIterator<Item = TargetId>,
    ) {
        let owned = Owned { known: known.into_iter().collect(), look_from: Some(since) };
        if self.owned.insert(shard, owned).is_some() {
            return;
        }
        for (&id, state) in self.targets.iter_mut().filter(|(_, state)| state.shard == shard) {
            let next = match is_planted(Planted::SlotRepeated) {
                true => state.slot_at(since),
                false => state.slot_after(since),
            };
            state.next = Some(next);
            self.due.push(Reverse((next, id)));
        }
    }

    /// This node no longer leads `shard`.
    pub fn disown(&mut self, shard: ShardId) {
        if is_planted(Planted::OwnerStays) {
            return;
        }
        self.owned.remove(&shard);
        for state in self.targets.values_mut().filter(|state| state.shard == shard) {
            state.next = None;
        }
    }

    /// The shards that this node leads.
    pub fn owned(&self) -> impl Iterator<Item = ShardId> {
        self.owned.keys().copied()
    }

    /// When to call [`Schedule::tick`] next, if nothing else happens.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.peek().map(|Reverse((slot, _))| slot.start())
    }

    /// What is due at `now`.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Action> {
        let mut actions = self.take_gone(now);
        while let Some(&Reverse((slot, id))) = self.due.peek() {
            if slot.start() > now {
                break;
            }
            self.due.pop();
            actions.extend(self.start(id, slot, now).map(Action::Start));
        }
        actions
    }

    /// The scrape that [`Action::Start`] began has ended, whatever came of it.
    pub fn finish(&mut self, target: TargetId) {
        if let Some(state) = self.targets.get_mut(&target) {
            state.is_busy = false;
            if state.is_removed {
                self.targets.remove(&target);
            }
        }
    }

    /// A target's [`Action::Gone`] could not be told: it comes again after a pause.
    pub fn retry_gone(&mut self, shard: ShardId, target: TargetId, now: Timestamp) {
        if let Some(owned) = self.owned.get_mut(&shard) {
            owned.known.insert(target);
            owned.look_from = Some(now + RETRY_GONE_AFTER);
        }
    }

    /// Slots left out so far.
    pub fn skipped(&self) -> Skipped {
        self.skipped
    }

    fn start(&mut self, id: TargetId, slot: Slot, now: Timestamp) -> Option<Start> {
        let state = self.targets.get_mut(&id)?;
        if state.next != Some(slot) || state.is_removed {
            return None;
        }
        let current = state.slot_at(now);
        let missed = (current.0 - slot.0) / state.interval_millis;
        self.skipped.late += missed.unsigned_abs();
        let next = state.following(current);
        state.next = Some(next);
        self.due.push(Reverse((next, id)));
        if state.is_busy {
            self.skipped.busy += 1;
            return None;
        }
        state.is_busy = true;
        let shard = state.shard;
        if let Some(owned) = self.owned.get_mut(&shard) {
            owned.known.insert(id);
        }
        Some(Start { target: id, shard, slot: current })
    }

    /// Targets with state in a shard of ours that are not planned there.
    fn take_gone(&mut self, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        if !self.is_synced {
            return actions;
        }
        for (&shard, owned) in &mut self.owned {
            if owned.look_from.is_none_or(|from| now < from) {
                continue;
            }
            let (targets, mut waits) = (&self.targets, false);
            owned.known.retain(|&target| {
                let state = targets.get(&target);
                let is_planned = state.is_some_and(|it| it.shard == shard && !it.is_removed);
                let is_busy = state.is_some_and(|it| it.is_busy);
                waits |= is_busy && !is_planned;
                if !is_planned && !is_busy {
                    let has_moved = state.is_some_and(|it| !it.is_removed);
                    actions.push(Action::Gone { shard, target, has_moved });
                }
                is_planned || is_busy
            });
            owned.look_from = waits.then_some(now);
        }
        actions
    }
}

#[cfg(test)]
mod tests;
