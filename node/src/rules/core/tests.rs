use proptest::prelude::*;

use super::*;

const SHARD: ShardId = ShardId(2);
const MINUTE: Duration = Duration::from_secs(60);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

/// A group whose slots are full minutes.
fn group() -> GroupId {
    GroupId(0)
}

fn planned(interval: Duration) -> [Planned; 1] {
    [Planned { group: group(), shard: SHARD, interval }]
}

fn known(last_seconds: i64) -> Known {
    Known { group: group(), last: Slot(last_seconds * 1000), interval: MINUTE }
}

/// The slots that are started, in seconds, and how many were left out before each.
fn started(actions: &[Action]) -> Vec<(i64, u64)> {
    let start = |action: &Action| match action {
        Action::Evaluate(start) => Some((start.slot.0 / 1000, start.missed)),
        Action::Gone { .. } => None,
    };
    actions.iter().filter_map(start).collect()
}

#[test]
fn a_new_group_begins_with_the_next_slot() {
    let mut schedule = Schedule::new();
    schedule.assign(&planned(MINUTE), at(90));
    assert_eq!(schedule.tick(at(200)), [], "nobody's");
    schedule.own(SHARD, at(200), &[]);
    assert_eq!(schedule.next_due(), Some(at(240)));
    assert_eq!(started(&schedule.tick(at(240))), [(240, 0)]);
    schedule.finish(group(), at(241));
    assert_eq!(started(&schedule.tick(at(300))), [(300, 0)]);
}

#[test]
fn what_became_due_while_a_group_was_busy_is_evaluated_late() {
    let mut schedule = Schedule::new();
    schedule.assign(&planned(MINUTE), at(0));
    schedule.own(SHARD, at(0), &[]);
    assert_eq!(started(&schedule.tick(at(60))), [(60, 0)]);
    assert_eq!(started(&schedule.tick(at(190))), [], "busy");
    for slot in [120, 180] {
        schedule.finish(group(), at(190));
        assert_eq!(started(&schedule.tick(at(190))), [(slot, 0)]);
    }
    schedule.finish(group(), at(191));
    assert_eq!(started(&schedule.tick(at(191))), []);
    assert_eq!(started(&schedule.tick(at(240))), [(240, 0)]);
}

#[test]
fn a_group_that_is_always_too_slow_leaves_slots_out_and_says_so() {
    let mut schedule = Schedule::new();
    let interval = Duration::from_secs(10);
    schedule.assign(&planned(interval), at(0));
    schedule.own(SHARD, at(0), &[]);
    let (mut now, mut evaluated, mut missed, mut behind) = (10, 0, 0, 0);
    while now < 10_000 {
        for (slot, left_out) in started(&schedule.tick(at(now))) {
            (evaluated, missed) = (evaluated + 1, missed + left_out);
            behind = behind.max(now - slot);
            now += 15;
            schedule.finish(group(), at(now));
        }
        now += 1;
    }
    assert!(missed > 200 && evaluated > 500, "{evaluated} evaluated, {missed} missed");
    assert!(behind <= 120, "{behind} s behind");
    // Nobody called for a while.
    let next = schedule.next_due().expect("planned");
    let late = next + Duration::from_secs(1000);
    let late = started(&schedule.tick(late));
    assert!(late[0].1 >= 99, "{late:?}");
}

#[test]
fn a_new_owner_catches_up_slot_by_slot() {
    let mut schedule = Schedule::new();
    schedule.assign(&planned(MINUTE), at(0));
    schedule.own(SHARD, at(250), &[known(60)]);
    assert_eq!(started(&schedule.tick(at(251))), [(120, 0)]);
    assert_eq!(started(&schedule.tick(at(252))), [], "one at a time");
    schedule.finish(group(), at(254));
    assert_eq!(started(&schedule.tick(at(253))), [(180, 0)]);
    schedule.finish(group(), at(254));
    assert_eq!(started(&schedule.tick(at(254))), [(240, 0)]);
    schedule.finish(group(), at(254));
    assert_eq!(started(&schedule.tick(at(255))), []);
    assert_eq!(started(&schedule.tick(at(300))), [(300, 0)]);
}

#[test]
fn what_is_too_old_is_left_out() {
    let mut schedule = Schedule::new();
    schedule.assign(&planned(MINUTE), at(0));
    schedule.own(SHARD, at(3630), &[known(60)]);
    // The oldest slot of the last five minutes is that of 3360.
    assert_eq!(started(&schedule.tick(at(3630))), [(3360, 54)]);
    let mut schedule = Schedule::new();
    let second = Duration::from_secs(1);
    schedule.assign(&planned(second), at(0));
    schedule.own(SHARD, at(200), &[known(100)]);
    assert_eq!(started(&schedule.tick(at(200))), [(191, 90)], "ten of them");
    let mut schedule = Schedule::new();
    let hour = Duration::from_secs(3600);
    schedule.assign(&planned(hour), at(0));
    schedule.own(SHARD, at(7190), &[known(0)]);
    assert_eq!(started(&schedule.tick(at(7200))), [(7200, 1)]);
}

#[test]
fn a_slot_that_was_begun_is_ended_by_the_next_owner() {
    let mut schedule = Schedule::new();
    schedule.assign(&planned(MINUTE), at(0));
    let begun = Known { last: Slot(119_999), ..known(0) };
    schedule.own(SHARD, at(130), &[begun]);
    assert_eq!(started(&schedule.tick(at(130))), [(120, 0)]);
}

#[test]
fn a_group_that_left_the_configuration_ends_after_two_intervals() {
    let mut schedule = Schedule::new();
    schedule.own(SHARD, at(10), &[known(0)]);
    assert_eq!(schedule.tick(at(129)), []);
    schedule.assign(&planned(MINUTE), at(129));
    assert_eq!(started(&schedule.tick(at(130))), [], "it is back");
    schedule.assign(&[], at(140));
    assert_eq!(schedule.tick(at(259)), []);
    let gone = [Action::Gone { shard: SHARD, group: group() }];
    assert_eq!(schedule.tick(at(260)), gone);
    assert_eq!(schedule.tick(at(400)), []);
    schedule.retry_gone(SHARD, known(0), at(400));
    assert_eq!(schedule.tick(at(405)), gone);
}

#[test]
fn who_no_longer_leads_starts_nothing() {
    let mut schedule = Schedule::new();
    schedule.assign(&planned(MINUTE), at(0));
    schedule.own(SHARD, at(0), &[]);
    assert_eq!(started(&schedule.tick(at(60))), [(60, 0)]);
    schedule.disown(SHARD);
    schedule.finish(group(), at(254));
    assert_eq!(schedule.tick(at(1000)), []);
    schedule.own(SHARD, at(1000), &[known(60)]);
    assert!(schedule.owns(SHARD));
    assert_eq!(started(&schedule.tick(at(1000))).len(), 1);
}

proptest! {
    /// Whatever happens, slots rise, are on the group's grid, and none begins before its time.
    #[test]
    fn slots_rise(
        steps in proptest::collection::vec((0u8..5, 1i64..200), 1..80),
        id in any::<u128>(),
        interval in 1u64..90,
    ) {
        let interval = Duration::from_secs(interval);
        let planned = [Planned { group: GroupId(id), shard: SHARD, interval }];
        let (mut schedule, mut now, mut last) = (Schedule::new(), 1_000_000, None);
        schedule.assign(&planned, at(now));
        for (step, seconds) in steps {
            now += seconds;
            match step {
                0 => schedule.disown(SHARD),
                1 if !schedule.owns(SHARD) => {
                    let last = last.map(|last| Known { group: GroupId(id), last, interval });
                    schedule.own(SHARD, at(now), last.as_slice());
                }
                2 => schedule.finish(GroupId(id), at(now)),
                3 => schedule.assign(&planned, at(now)),
                _ => {}
            }
            for action in schedule.tick(at(now)) {
                let Action::Evaluate(start) = action else { panic!("{action:?}") };
                prop_assert!(last.is_none_or(|last| last < start.slot));
                prop_assert!(start.slot.start() <= at(now));
                let phase = GroupId(id).phase_millis(interval.as_millis() as i64);
                prop_assert_eq!((start.slot.0 - phase) % interval.as_millis() as i64, 0);
                last = Some(start.slot);
            }
        }
    }
}
