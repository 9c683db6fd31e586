//! Which rule group is evaluated when: rules without a clock.
//!
//! A group has slots, as a scrape target has: its interval cuts time into equal parts, shifted by a
//! phase that comes from its id, so that every node knows the same slots and groups are spread over
//! the interval. In each slot it is evaluated once, by whoever leads its shard.
//!
//! Invariants
//! * a group's slots only rise, and at most one evaluation of it is under way;
//! * a new owner goes on behind the last slot that the shard has: slots that were missed meanwhile are
//!   evaluated one after the other, unless they are too many or too old, which are counted;
//! * slots whose time has passed while the group was busy are evaluated late, but no more than a few in
//!   a row: then the group goes on with the present, and what it leaves out is counted;
//! * a group's state ends only when the configuration has lacked it for a while.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
    time::Duration,
};

use narthex_cluster::ShardId;
use narthex_model::Timestamp;

use super::groups::GroupId;
use crate::scrape::Slot;

/// Slots that are evaluated after the fact, by a new owner or behind an evaluation that took long. More
/// would keep a group from the present.
const CATCH_UP_SLOTS_MAX: i64 = 10;
/// How old the oldest of them may be: as long as a sample counts as current by default, so that what
/// is looked at was there at the time.
const CATCH_UP_AGE_MAX: Duration = Duration::from_secs(300);
/// How long the configuration must lack a group that has state, in its intervals.
const GONE_AFTER_INTERVALS: i64 = 2;
/// Pause before a shard that did not take a group's end is told again.
const RETRY_GONE_AFTER: Duration = Duration::from_secs(5);

/// A group that somebody should evaluate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// Which one.
    pub group: GroupId,
    /// The shard it hashes to.
    pub shard: ShardId,
    /// Pause between two evaluations; at least a millisecond.
    pub interval: Duration,
}

/// A group that has state in a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Which one.
    pub group: GroupId,
    /// The last slot that was evaluated whole; a time right before the slot where that one was begun
    /// and not ended.
    pub last: Slot,
    /// Its interval then.
    pub interval: Duration,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Evaluate a group.
    Evaluate(Start),
    /// End the state of a group that exists no longer.
    Gone {
        /// Its shard.
        shard: ShardId,
        /// Which one.
        group: GroupId,
    },
}

/// An evaluation to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Which group.
    pub group: GroupId,
    /// Its shard.
    pub shard: ShardId,
    /// Which slot: the time of the evaluation.
    pub slot: Slot,
    /// Slots that were left out before this one.
    pub missed: u64,
}

/// The plan of one node.
#[derive(Debug, Default)]
pub struct Schedule {
    groups: HashMap<GroupId, State>,
    /// Due slots, the earliest first; an entry that does not fit its group's state is void.
    due: BinaryHeap<Reverse<(Slot, GroupId)>>,
    owned: BTreeMap<ShardId, Owned>,
}

#[derive(Debug)]
struct State {
    shard: ShardId,
    interval_millis: i64,
    phase_millis: i64,
    /// The slot to start next; none where the shard is not ours.
    next: Option<Slot>,
    /// Up to this slot none is left out for want of time.
    caught_up_at: Slot,
    /// How many slots may still be evaluated late before the group is in time again.
    delays_left: i64,
    /// Slots left out since the last start.
    missed: u64,
    is_busy: bool,
    /// No longer wanted; kept until its evaluation has ended.
    is_removed: bool,
}

#[derive(Debug, Default)]
struct Owned {
    /// Groups that have state in the shard, those that are not planned with when they may end.
    known: BTreeMap<GroupId, KnownGroup>,
}

#[derive(Debug, Clone, Copy)]
struct KnownGroup {
    interval_millis: i64,
    gone_at: Option<Timestamp>,
}

impl State {
    fn slot_at(&self, time: Timestamp) -> Slot {
        let since = time.millis().saturating_sub(self.phase_millis);
        let start = since.div_euclid(self.interval_millis).saturating_mul(self.interval_millis);
        Slot(start.saturating_add(self.phase_millis))
    }

    fn following(&self, slot: Slot) -> Slot {
        Slot(slot.0.saturating_add(self.interval_millis))
    }

    fn slot_after(&self, time: Timestamp) -> Slot {
        self.following(self.slot_at(time))
    }

    /// Slots that became due while the group was busy are evaluated late rather than left out, as long as
    /// they are few since it was last in time: a shard that elects a leader costs no slot.
    fn allow_delay(&mut self, next: Slot, now: Timestamp) {
        let waiting = (self.slot_at(now).0 - next.0) / self.interval_millis + 1;
        let allowed = waiting.min(self.delays_left);
        let is_recent = now.millis_since(next.start()) <= millis(CATCH_UP_AGE_MAX);
        if waiting < 2 || allowed < 1 || next <= self.caught_up_at || !is_recent {
            return;
        }
        self.delays_left -= allowed;
        let last = (allowed - 1).saturating_mul(self.interval_millis);
        self.caught_up_at = Slot(next.0.saturating_add(last));
    }

    /// The first slot for an owner since `since`, and how many it leaves out.
    fn first_of_owner(&self, since: Timestamp, last: Option<Slot>) -> (Slot, u64) {
        let Some(last) = last else { return (self.slot_after(since), 0) };
        let wanted = self.slot_after(last.start());
        let current = self.slot_at(since);
        let many = (CATCH_UP_SLOTS_MAX - 1).saturating_mul(self.interval_millis);
        let oldest = since.saturating_add_millis(-millis(CATCH_UP_AGE_MAX));
        let earliest = Slot(current.0.saturating_sub(many)).max(self.slot_after(oldest));
        // With a long interval none is young enough: then the next one is.
        let earliest = earliest.min(self.following(current));
        match wanted < earliest {
            true => {
                let missed = (earliest.0 - wanted.0) / self.interval_millis;
                (earliest, missed.unsigned_abs())
            }
            false => (wanted, 0),
        }
    }
}

impl Schedule {
    /// A node that owns nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes all groups there are, on all shards.
    pub fn assign(&mut self, groups: &[Planned], now: Timestamp) {
        let wanted: HashMap<GroupId, &Planned> =
            groups.iter().map(|planned| (planned.group, planned)).collect();
        self.groups.retain(|id, state| {
            state.is_removed = !wanted.contains_key(id);
            !state.is_removed || state.is_busy
        });
        for planned in wanted.into_values() {
            self.plan(planned, now);
        }
        self.note_missing(now);
    }

    fn plan(&mut self, planned: &Planned, now: Timestamp) {
        let interval_millis = millis(planned.interval).max(1);
        let phase_millis = planned.group.phase_millis(interval_millis);
        let state = self.groups.entry(planned.group).or_insert(State {
            shard: planned.shard,
            interval_millis,
            phase_millis,
            next: None,
            caught_up_at: Slot(i64::MIN),
            delays_left: CATCH_UP_SLOTS_MAX,
            missed: 0,
            is_busy: false,
            is_removed: false,
        });
        let moved = state.shard != planned.shard || state.interval_millis != interval_millis;
        state.shard = planned.shard;
        state.interval_millis = interval_millis;
        state.phase_millis = phase_millis;
        if !self.owned.contains_key(&planned.shard) {
            state.next = None;
        } else if moved || state.next.is_none() {
            let next = state.slot_after(now);
            state.next = Some(next);
            self.due.push(Reverse((next, planned.group)));
        }
    }

    /// This node leads `shard` since `since`. `known` are the groups that have state there.
    pub fn own(&mut self, shard: ShardId, since: Timestamp, known: &[Known]) {
        let lasts: HashMap<GroupId, Slot> = known.iter().map(|it| (it.group, it.last)).collect();
        let of = |it: &Known| {
            let interval_millis = millis(it.interval).max(1);
            (it.group, KnownGroup { interval_millis, gone_at: None })
        };
        let owned = Owned { known: known.iter().map(of).collect() };
        if self.owned.insert(shard, owned).is_none() {
            for (&id, state) in self.groups.iter_mut().filter(|(_, state)| state.shard == shard) {
                let (next, missed) = state.first_of_owner(since, lasts.get(&id).copied());
                state.next = Some(next);
                state.missed += missed;
                state.caught_up_at = state.slot_at(since);
                state.delays_left = CATCH_UP_SLOTS_MAX;
                self.due.push(Reverse((next, id)));
            }
        }
        self.note_missing(since);
    }

    /// This node no longer leads `shard`.
    pub fn disown(&mut self, shard: ShardId) {
        self.owned.remove(&shard);
        for state in self.groups.values_mut().filter(|state| state.shard == shard) {
            state.next = None;
        }
    }

    /// Whether this node leads `shard`.
    pub fn owns(&self, shard: ShardId) -> bool {
        self.owned.contains_key(&shard)
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
            actions.extend(self.start(id, slot, now).map(Action::Evaluate));
        }
        actions
    }

    /// The evaluation that [`Action::Evaluate`] began has ended at `now`, whatever came of it.
    pub fn finish(&mut self, group: GroupId, now: Timestamp) {
        let Some(state) = self.groups.get_mut(&group) else { return };
        state.is_busy = false;
        if state.is_removed {
            self.groups.remove(&group);
        } else if let Some(next) = state.next
            && next.start() <= now
        {
            state.allow_delay(next, now);
            self.due.push(Reverse((next, group)));
        }
    }

    /// A group's [`Action::Gone`] could not be told: it comes again after a pause.
    pub fn retry_gone(&mut self, shard: ShardId, known: Known, now: Timestamp) {
        if let Some(owned) = self.owned.get_mut(&shard) {
            let gone_at = Some(now + RETRY_GONE_AFTER);
            let interval_millis = millis(known.interval).max(1);
            owned.known.insert(known.group, KnownGroup { interval_millis, gone_at });
        }
    }

    fn start(&mut self, id: GroupId, slot: Slot, now: Timestamp) -> Option<Start> {
        let state = self.groups.get_mut(&id)?;
        if state.next != Some(slot) || state.is_removed {
            return None;
        }
        // Looked at again when it has ended.
        if state.is_busy {
            return None;
        }
        let is_catching_up = slot <= state.caught_up_at;
        let current = if is_catching_up { slot } else { state.slot_at(now).max(slot) };
        if !is_catching_up && current == slot {
            state.delays_left = CATCH_UP_SLOTS_MAX;
        }
        state.missed += ((current.0 - slot.0) / state.interval_millis).unsigned_abs();
        let next = state.following(current);
        state.next = Some(next);
        self.due.push(Reverse((next, id)));
        state.is_busy = true;
        let missed = std::mem::take(&mut state.missed);
        let (shard, interval_millis) = (state.shard, state.interval_millis);
        if let Some(owned) = self.owned.get_mut(&shard) {
            owned.known.insert(id, KnownGroup { interval_millis, gone_at: None });
        }
        Some(Start { group: id, shard, slot: current, missed })
    }

    /// Notes since when groups with state are not planned.
    fn note_missing(&mut self, now: Timestamp) {
        for (shard, owned) in &mut self.owned {
            for (id, known) in &mut owned.known {
                let state = self.groups.get(id);
                let is_planned = state.is_some_and(|it| it.shard == *shard && !it.is_removed);
                known.gone_at = match (is_planned, known.gone_at) {
                    (true, _) => None,
                    (false, Some(at)) => Some(at),
                    (false, None) => {
                        let wait = known.interval_millis.saturating_mul(GONE_AFTER_INTERVALS);
                        Some(now.saturating_add_millis(wait))
                    }
                };
            }
        }
    }

    fn take_gone(&mut self, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        for (&shard, owned) in &mut self.owned {
            let groups = &self.groups;
            owned.known.retain(|&group, known| {
                let is_busy = groups.get(&group).is_some_and(|it| it.is_busy);
                let is_gone = known.gone_at.is_some_and(|at| at <= now) && !is_busy;
                if is_gone {
                    actions.push(Action::Gone { shard, group });
                }
                !is_gone
            });
        }
        actions
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
