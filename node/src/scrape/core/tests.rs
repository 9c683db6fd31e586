use proptest::prelude::*;

use super::*;

const SHARD: ShardId = ShardId(3);
const OTHER: ShardId = ShardId(4);
const MINUTE: Duration = Duration::from_secs(60);

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_millis((seconds * 1000.0) as i64)
}

fn planned(id: u128, shard: ShardId, seconds: u64) -> Planned {
    Planned { target: TargetId(id), shard, interval: Duration::from_secs(seconds) }
}

fn starts(actions: &[Action]) -> Vec<(u128, i64)> {
    let start = |action: &Action| match action {
        Action::Start(start) => Some((start.target.0, start.slot.0)),
        Action::Gone { .. } => None,
    };
    actions.iter().filter_map(start).collect()
}

fn gone(actions: &[Action]) -> Vec<u128> {
    let gone = |action: &Action| match action {
        Action::Gone { target, .. } => Some(target.0),
        Action::Start(_) => None,
    };
    actions.iter().filter_map(gone).collect()
}

/// One target, id 0 and hence phase 0, scraped every ten seconds.
fn owner_of_one() -> Schedule {
    let mut schedule = Schedule::new();
    schedule.own(SHARD, at(0.0), []);
    schedule.assign(&[planned(0, SHARD, 10)], true, at(3.0));
    schedule
}

#[test]
fn a_target_is_scraped_once_a_slot() {
    let mut schedule = owner_of_one();
    assert_eq!(schedule.next_due(), Some(at(10.0)));
    assert!(schedule.tick(at(9.9)).is_empty());
    assert_eq!(starts(&schedule.tick(at(10.0))), [(0, 10_000)]);
    assert!(schedule.tick(at(10.5)).is_empty(), "its slot is taken");
    schedule.finish(TargetId(0));
    assert!(schedule.tick(at(10.6)).is_empty());
    assert_eq!(starts(&schedule.tick(at(20.3))), [(0, 20_000)]);
    assert_eq!(schedule.skipped(), Skipped::default());
}

#[test]
fn a_busy_target_leaves_its_slot_out() {
    let mut schedule = owner_of_one();
    assert_eq!(starts(&schedule.tick(at(10.0))), [(0, 10_000)]);
    assert!(schedule.tick(at(20.0)).is_empty());
    schedule.finish(TargetId(0));
    assert!(schedule.tick(at(25.0)).is_empty(), "not in the middle of a slot");
    assert_eq!(starts(&schedule.tick(at(30.0))), [(0, 30_000)]);
    assert_eq!(schedule.skipped(), Skipped { busy: 1, late: 0 });
}

#[test]
fn nobody_catches_up() {
    let mut schedule = owner_of_one();
    assert_eq!(starts(&schedule.tick(at(47.0))), [(0, 40_000)]);
    assert_eq!(schedule.skipped(), Skipped { busy: 0, late: 3 });
    schedule.finish(TargetId(0));
    assert!(schedule.tick(at(12.0)).is_empty(), "a clock that runs back repeats no slot");
    assert_eq!(starts(&schedule.tick(at(50.0))), [(0, 50_000)]);
}

#[test]
fn a_new_owner_starts_with_the_next_slot() {
    let mut schedule = Schedule::new();
    schedule.assign(&[planned(0, SHARD, 10)], true, at(0.0));
    assert!(schedule.tick(at(15.0)).is_empty(), "not ours");
    schedule.own(SHARD, at(20.0), []);
    assert!(schedule.tick(at(20.0)).is_empty(), "the slot that begins now may be the last owner's");
    assert_eq!(starts(&schedule.tick(at(30.0))), [(0, 30_000)]);
    schedule.finish(TargetId(0));
    schedule.disown(SHARD);
    assert!(schedule.tick(at(40.0)).is_empty());
    schedule.own(SHARD, at(41.0), []);
    assert_eq!(starts(&schedule.tick(at(50.0))), [(0, 50_000)]);
}

#[test]
fn what_discovery_lost_is_gone_once_it_is_complete() {
    let mut schedule = Schedule::new();
    schedule.own(SHARD, at(0.0), [TargetId(0), TargetId(7)]);
    assert!(schedule.tick(at(1.0)).is_empty(), "discovery has said nothing");
    schedule.assign(&[planned(0, SHARD, 10)], false, at(1.0));
    assert!(schedule.tick(at(2.0)).is_empty(), "discovery is not complete");
    schedule.assign(&[planned(0, SHARD, 10)], true, at(2.0));
    assert_eq!(gone(&schedule.tick(at(3.0))), [7]);
    assert!(gone(&schedule.tick(at(4.0))).is_empty(), "said once");
    schedule.retry_gone(SHARD, TargetId(7), at(5.0));
    assert!(gone(&schedule.tick(at(5.9))).is_empty(), "not at once");
    assert_eq!(gone(&schedule.tick(at(6.0))), [7], "unless it was not heard");
}

#[test]
fn a_target_that_is_being_scraped_is_gone_afterwards() {
    let mut schedule = owner_of_one();
    assert_eq!(starts(&schedule.tick(at(10.0))), [(0, 10_000)]);
    schedule.assign(&[], true, at(11.0));
    assert!(schedule.tick(at(12.0)).is_empty());
    schedule.finish(TargetId(0));
    assert_eq!(gone(&schedule.tick(at(13.0))), [0]);
    assert!(schedule.tick(at(60.0)).is_empty());
}

#[test]
fn a_target_that_changes_its_shard_is_gone_from_the_old_one() {
    let mut schedule = owner_of_one();
    schedule.own(OTHER, at(0.0), []);
    assert_eq!(starts(&schedule.tick(at(10.0))), [(0, 10_000)]);
    schedule.finish(TargetId(0));
    schedule.assign(&[planned(0, OTHER, 10)], true, at(11.0));
    let actions = schedule.tick(at(12.0));
    assert_eq!(actions, [Action::Gone { shard: SHARD, target: TargetId(0), has_moved: true }]);
    assert_eq!(starts(&schedule.tick(at(20.0))), [(0, 20_000)]);
}

#[test]
fn a_target_that_changes_its_shard_while_it_is_scraped_is_gone_afterwards() {
    let mut schedule = owner_of_one();
    schedule.own(OTHER, at(0.0), []);
    assert_eq!(starts(&schedule.tick(at(10.0))), [(0, 10_000)]);
    schedule.assign(&[planned(0, OTHER, 10)], true, at(11.0));
    assert!(schedule.tick(at(12.0)).is_empty());
    assert!(schedule.tick(at(13.0)).is_empty());
    schedule.finish(TargetId(0));
    let actions = schedule.tick(at(14.0));
    assert_eq!(actions, [Action::Gone { shard: SHARD, target: TargetId(0), has_moved: true }]);
}

#[test]
fn a_longer_interval_never_lowers_a_slot() {
    let mut schedule = owner_of_one();
    assert_eq!(starts(&schedule.tick(at(130.0))), [(0, 130_000)]);
    schedule.finish(TargetId(0));
    schedule.assign(&[planned(0, SHARD, 60)], true, at(131.0));
    assert_eq!(starts(&schedule.tick(at(180.0))), [(0, 180_000)]);
}

#[test]
fn phases_spread_targets_over_the_interval() {
    let mut schedule = Schedule::new();
    schedule.own(SHARD, at(0.0), []);
    let ids: Vec<u128> =
        (0..600).map(|i| xxhash_rust::xxh3::xxh3_128(&[i as u8, (i >> 8) as u8])).collect();
    let targets: Vec<Planned> = ids
        .iter()
        .map(|&id| Planned { target: TargetId(id), shard: SHARD, interval: MINUTE })
        .collect();
    schedule.assign(&targets, true, at(60.0));
    for second in 60..120 {
        let started = starts(&schedule.tick(at(f64::from(second) + 0.999))).len();
        assert!((1..=30).contains(&started), "{started} scrapes in second {second}");
    }
}

proptest! {
    #[test]
    fn slots_rise_and_scrapes_never_overlap(
        steps in proptest::collection::vec((0u8..7, 0i64..25_000), 1..200),
        id in any::<u128>(),
        seconds in 1u64..15,
    ) {
        let mut schedule = Schedule::new();
        let target = TargetId(id);
        let (mut now, mut last, mut busy, mut owned_since) = (1_000_000i64, i64::MIN, false, None);
        for (step, wait) in steps {
            now += wait;
            let time = Timestamp::from_millis(now);
            match step {
                0 if owned_since.is_none() => {
                    schedule.own(SHARD, time, []);
                    owned_since = Some(now);
                }
                1 => {
                    schedule.disown(SHARD);
                    owned_since = None;
                }
                2 => schedule.assign(&[planned(id, SHARD, seconds)], true, time),
                3 => schedule.assign(&[], true, time),
                4 if busy => {
                    schedule.finish(target);
                    busy = false;
                }
                _ => {}
            }
            for (_, slot) in starts(&schedule.tick(time)) {
                prop_assert!(!busy, "two at once");
                prop_assert!(slot > last, "slot {} after {}", slot, last);
                prop_assert!(slot <= now && now < slot + 1000 * seconds as i64);
                prop_assert!(owned_since.is_some_and(|since| slot > since), "not the owner's slot");
                (last, busy) = (slot, true);
            }
        }
    }
}
