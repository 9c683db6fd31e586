//! Keys: big-endian, so that their order is the order of what they name.
//!
//! Signed numbers have their sign bit flipped. `docs/formats/state.md` draws them.

use std::ops::Range;

use crate::{ReplicaNumber, RetentionClass, RuleGroupId, TargetId};

const INDEX_SERIES: u8 = 1;
const INDEX_PRESENCE: u8 = 2;
const STATE_HEAD: u8 = 1;
const STATE_TARGET: u8 = 2;
const STATE_TOMBSTONES: u8 = 3;
const STATE_EXEMPLARS: u8 = 4;
const STATE_FAMILY: u8 = 5;
const STATE_RULE_GROUP: u8 = 6;
/// Under number 0, which is the node's own.
const NODE_NUMBERS: u8 = 1;

/// Where a sealed page lies, but for its place on its day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DayOfGroup {
    pub(crate) replica: ReplicaNumber,
    pub(crate) class: RetentionClass,
    pub(crate) day: i64,
    pub(crate) tenant: u32,
    /// The first series id of the group.
    pub(crate) first_series: u32,
}

impl DayOfGroup {
    fn prefix(&self) -> Vec<u8> {
        let mut key = day_key(self.replica, self.class, self.day);
        key.extend_from_slice(&self.tenant.to_be_bytes());
        key.extend_from_slice(&self.first_series.to_be_bytes());
        key
    }

    /// The page whose first sample is at `start`, the `sequence`-th by log index.
    pub(crate) fn page(&self, start: i64, sequence: u64) -> Vec<u8> {
        let mut key = self.prefix();
        key.extend_from_slice(&flip(start).to_be_bytes());
        key.extend_from_slice(&sequence.to_be_bytes());
        key
    }
}

/// Tells pages that begin at one time apart: the log index they were written at, and which of the
/// pages of that moment it is.
pub(crate) fn sequence(at: u64, number: usize) -> u64 {
    at << 16 | number as u64 & 0xffff
}

fn flip(number: i64) -> u64 {
    number as u64 ^ 1 << 63
}

fn flip_day(day: i64) -> u32 {
    let day = day.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
    day as u32 ^ 1 << 31
}

fn day_key(replica: ReplicaNumber, class: RetentionClass, day: i64) -> Vec<u8> {
    let mut key = Vec::with_capacity(34);
    key.extend_from_slice(&replica.0.to_be_bytes());
    key.extend_from_slice(&class.0.to_be_bytes());
    key.extend_from_slice(&flip_day(day).to_be_bytes());
    key
}

/// The first key behind all that begin with `prefix`.
fn successor(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // Nothing is behind a prefix of highest bytes; no key is as long as this one.
    vec![u8::MAX; 64]
}

/// Everything of a replica, in any space.
pub(crate) fn replica(replica: ReplicaNumber) -> Range<Vec<u8>> {
    let start = replica.0.to_be_bytes().to_vec();
    let end = successor(&start);
    start..end
}

/// All sealed pages of a class before a day.
pub(crate) fn chunks_before(
    replica: ReplicaNumber,
    class: RetentionClass,
    day: i64,
) -> Range<Vec<u8>> {
    let mut start = replica.0.to_be_bytes().to_vec();
    start.extend_from_slice(&class.0.to_be_bytes());
    start..day_key(replica, class, day)
}

/// All sealed pages of a class on a day.
pub(crate) fn chunks_of_day(
    replica: ReplicaNumber,
    class: RetentionClass,
    day: i64,
) -> Range<Vec<u8>> {
    day_key(replica, class, day)..day_key(replica, class, day.saturating_add(1))
}

/// The replica that a key is of.
pub(crate) fn number_of(key: &[u8]) -> Option<ReplicaNumber> {
    Some(ReplicaNumber(u32::from_be_bytes(key.get(..4)?.try_into().ok()?)))
}

/// Which number each shard's replica has.
pub(crate) fn numbers() -> Vec<u8> {
    tagged(ReplicaNumber(0), NODE_NUMBERS, &[])
}

/// The page of a group's open chunks, or the record of its series' labels.
pub(crate) fn open_page(replica: ReplicaNumber, first_series: u32) -> Vec<u8> {
    [replica.0.to_be_bytes(), first_series.to_be_bytes()].concat()
}

/// The first series id that an open page's key names.
pub(crate) fn open_page_series(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(key.get(4..8)?.try_into().ok()?))
}

fn tagged(replica: ReplicaNumber, tag: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = replica.0.to_be_bytes().to_vec();
    key.push(tag);
    key.extend_from_slice(rest);
    key
}

fn all_tagged(replica: ReplicaNumber, tag: u8) -> Range<Vec<u8>> {
    let start = tagged(replica, tag, &[]);
    let end = successor(&start);
    start..end
}

/// The labels of a group's series.
pub(crate) fn series(replica: ReplicaNumber, first_series: u32) -> Vec<u8> {
    tagged(replica, INDEX_SERIES, &first_series.to_be_bytes())
}

/// The labels of all series.
pub(crate) fn all_series(replica: ReplicaNumber) -> Range<Vec<u8>> {
    all_tagged(replica, INDEX_SERIES)
}

/// The first series id that a series record's key names.
pub(crate) fn series_of(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(key.get(5..9)?.try_into().ok()?))
}

/// The series present on a day.
pub(crate) fn presence(replica: ReplicaNumber, day: i64) -> Vec<u8> {
    tagged(replica, INDEX_PRESENCE, &flip_day(day).to_be_bytes())
}

/// The series present on each day.
pub(crate) fn all_presence(replica: ReplicaNumber) -> Range<Vec<u8>> {
    all_tagged(replica, INDEX_PRESENCE)
}

/// The day that a presence record's key names.
pub(crate) fn presence_day(key: &[u8]) -> Option<i64> {
    let flipped = u32::from_be_bytes(key.get(5..9)?.try_into().ok()?);
    Some(i64::from((flipped ^ 1 << 31) as i32))
}

/// The log position and all that is small.
pub(crate) fn head(replica: ReplicaNumber) -> Vec<u8> {
    tagged(replica, STATE_HEAD, &[])
}

/// One target.
pub(crate) fn target(replica: ReplicaNumber, id: TargetId) -> Vec<u8> {
    tagged(replica, STATE_TARGET, &id.0.to_be_bytes())
}

/// All targets.
pub(crate) fn all_targets(replica: ReplicaNumber) -> Range<Vec<u8>> {
    all_tagged(replica, STATE_TARGET)
}

/// The target that a key names.
pub(crate) fn target_id(key: &[u8]) -> Option<TargetId> {
    Some(TargetId(u128::from_be_bytes(key.get(5..21)?.try_into().ok()?)))
}

/// The tombstones of a group's series.
pub(crate) fn tombstones(replica: ReplicaNumber, first_series: u32) -> Vec<u8> {
    tagged(replica, STATE_TOMBSTONES, &first_series.to_be_bytes())
}

/// All tombstones.
pub(crate) fn all_tombstones(replica: ReplicaNumber) -> Range<Vec<u8>> {
    all_tagged(replica, STATE_TOMBSTONES)
}

/// A page of exemplars.
pub(crate) fn exemplars(replica: ReplicaNumber, page: u64) -> Vec<u8> {
    tagged(replica, STATE_EXEMPLARS, &page.to_be_bytes())
}

/// All pages of exemplars.
pub(crate) fn all_exemplars(replica: ReplicaNumber) -> Range<Vec<u8>> {
    all_tagged(replica, STATE_EXEMPLARS)
}

/// A metric family.
pub(crate) fn family(replica: ReplicaNumber, name: &str) -> Vec<u8> {
    tagged(replica, STATE_FAMILY, name.as_bytes())
}

/// All metric families.
pub(crate) fn all_families(replica: ReplicaNumber) -> Range<Vec<u8>> {
    all_tagged(replica, STATE_FAMILY)
}

/// A rule group.
pub(crate) fn rule_group(replica: ReplicaNumber, id: RuleGroupId) -> Vec<u8> {
    tagged(replica, STATE_RULE_GROUP, &id.0.to_be_bytes())
}

/// All rule groups.
pub(crate) fn all_rule_groups(replica: ReplicaNumber) -> Range<Vec<u8>> {
    all_tagged(replica, STATE_RULE_GROUP)
}

/// The rule group that a key names.
pub(crate) fn rule_group_id(key: &[u8]) -> Option<RuleGroupId> {
    Some(RuleGroupId(u128::from_be_bytes(key.get(5..21)?.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLICA: ReplicaNumber = ReplicaNumber(7);

    fn group(day: i64, first_series: u32) -> DayOfGroup {
        DayOfGroup { replica: REPLICA, class: RetentionClass(0), day, tenant: 0, first_series }
    }

    #[test]
    fn keys_are_ordered_by_what_they_name() {
        let keys = [
            group(-1, 64).page(-5, 1),
            group(0, 0).page(-5, 1),
            group(0, 0).page(5, 1),
            group(0, 0).page(5, 2),
            group(0, 64).page(0, 0),
            group(1, 0).page(0, 0),
        ];
        assert!(keys.is_sorted());
        let before = chunks_before(REPLICA, RetentionClass(0), 0);
        assert!(before.contains(&keys[0]) && !before.contains(&keys[1]));
        let other = DayOfGroup { class: RetentionClass(0x101), ..group(-1, 64) }.page(-5, 1);
        assert!(!before.contains(&other) && keys[5] < other);
        assert!(replica(REPLICA).contains(&keys[5]));
        assert_eq!(replica(ReplicaNumber(u32::MAX)).end.len(), 64);
    }

    #[test]
    fn names_read_back() {
        assert_eq!(presence_day(&presence(REPLICA, -3)), Some(-3));
        assert_eq!(series_of(&series(REPLICA, 128)), Some(128));
        assert_eq!(open_page_series(&open_page(REPLICA, 64)), Some(64));
        let id = TargetId(u128::MAX - 9);
        assert_eq!(target_id(&target(REPLICA, id)), Some(id));
        let id = RuleGroupId(u128::MAX - 7);
        assert_eq!(rule_group_id(&rule_group(REPLICA, id)), Some(id));
    }
}
