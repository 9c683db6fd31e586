//! The shard against a naive model, a map of maps, over random commands, checkpoints, crashes
//! and restarts; and against itself, the log replayed from empty.

mod driver;

use std::collections::BTreeSet;

use driver::{Action, Driver, RULES, RichValue, SERIES, TARGETS};
use narthex_model::STALE_NAN_BITS;
use proptest::prelude::*;

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        (0u32..4).prop_map(|v| f64::from(v).to_bits()),
        (0u32..1000).prop_map(|v| (f64::from(v) / 8.0).to_bits()),
        any::<u64>(),
    ]
}

fn rich_value() -> impl Strategy<Value = RichValue> {
    prop_oneof![
        2 => value().prop_map(RichValue::Float),
        4 => (2i32..4, any::<u64>()).prop_map(|(schema, seed)| RichValue::Integer { schema, seed }),
        2 => (1u8..4, any::<u64>()).prop_map(|(bounds, seed)| RichValue::Custom { bounds, seed }),
        1 => any::<bool>().prop_map(RichValue::Marker),
        1 => Just(RichValue::Float(STALE_NAN_BITS)),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let late = -4_000_000i64..100_000;
    let series = 0..SERIES;
    let rows = proptest::collection::vec((series.clone(), late, value()), 1..12);
    let burst = (series.clone(), 1u16..300, prop_oneof![Just(15_000i64), 1..400_000i64], value());
    let time = prop_oneof![Just(i64::MIN), Just(i64::MAX), -90_000_000i64..1_000_000];
    let deleted = proptest::collection::btree_set(series.clone(), 1..5);
    let delete = (deleted, time.clone(), time).prop_map(|(series, start, end)| Action::Delete {
        series,
        start,
        end,
    });
    let scraped = proptest::collection::vec((series.clone(), value()), 0..8);
    // Few series, so that kinds meet in one.
    let few = 0..9usize;
    let start = proptest::option::of(prop_oneof![Just(1000i64), 0i64..9000]);
    let late = -4_000_000i64..100_000;
    let rich = proptest::collection::vec((few.clone(), late, rich_value(), start), 1..12);
    let rich_burst = (few.clone(), 1u16..150, rich_value());
    let exemplars = proptest::collection::vec((few, -5000i64..5000, 0u8..9), 1..40);
    let old = -200_000_000i64..100_000;
    let old_rows = proptest::collection::vec((0..SERIES, old, value()), 1..40);
    prop_oneof![
        4 => rows.prop_map(Action::Append),
        2 => old_rows.prop_map(Action::Backfill),
        6 => burst.prop_map(|(series, count, step, value)| Action::Burst { series, count, step, value }),
        4 => (0..TARGETS, scraped, any::<bool>()).prop_map(|(target, series, repeat)| {
            Action::Scrape { target, series, repeat }
        }),
        3 => rich.prop_map(Action::Rich),
        3 => rich_burst.prop_map(|(series, count, value)| Action::RichBurst { series, count, value }),
        2 => exemplars.prop_map(Action::Exemplars),
        1 => (0u8..4, 0u8..3).prop_map(|(name, help)| Action::Family(name, help)),
        1 => (0..TARGETS).prop_map(Action::ScrapeFailed),
        1 => (0..TARGETS).prop_map(Action::TargetGone),
        2 => (0usize..4, 0u32..3).prop_map(|(class, days)| Action::Horizon(class, days)),
        2 => (0..RULES).prop_map(Action::Rules),
        1 => (0u64..3).prop_map(Action::Window),
        1 => Just(Action::Seal),
        2 => delete,
        3 => Just(Action::Freeze),
        3 => Just(Action::WriteFrozen),
        2 => Just(Action::Flush),
        2 => Just(Action::Rewrite),
        1 => Just(Action::Pin),
        1 => (0usize..4).prop_map(Action::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn a_shard_behaves_like_the_model(actions in proptest::collection::vec(action(), 1..60)) {
        let mut driver = Driver::new();
        for action in &actions {
            driver.act(action);
        }
        driver.check();
        driver.act(&Action::Crash(0));
        driver.check();
        driver.check_against_replay();
    }
}

/// A workload that seals, packs, ends by midnight, comes late and vanishes.
fn workload() -> Vec<Action> {
    let burst =
        |series, count, step| Action::Burst { series, count, step, value: 42 + series as u64 };
    let mut actions = Vec::new();
    for round in 0..6 {
        for series in 0..4 {
            actions.push(burst(series, 130 + 50 * round, 60_000));
        }
        let late = (0..6).map(|i| (i % 4, -500_000 + 1000 * i as i64, i as u64)).collect();
        actions.push(Action::Append(late));
        let old = (0..40).map(|i| (i % 4, -80_000_000 + 7000 * i as i64, i as u64)).collect();
        actions.push(Action::Backfill(old));
        let value = RichValue::Integer { schema: 3, seed: 77 };
        actions.push(Action::RichBurst { series: 8, count: 70, value });
        actions.push(Action::RichBurst { series: 9, count: 30, value: RichValue::Float(9) });
        actions.push(Action::Exemplars((0..40).map(|at| (at % 3, 50, at as u8)).collect()));
        actions.push(Action::Family(round as u8 % 3, round as u8));
        let scraped = (4..8).filter(|s| s % 2 == usize::from(round % 2)).map(|s| (s, 7)).collect();
        actions.push(Action::Scrape { target: 0, series: scraped, repeat: false });
        actions.extend([Action::Freeze, Action::WriteFrozen, Action::Flush]);
        actions.push(Action::Rewrite);
        if round == 1 {
            actions.push(Action::Rules(1));
        }
        if round == 3 {
            actions.push(Action::Horizon(0, 1));
            actions.push(Action::Horizon(1, 0));
        }
        let delete =
            |series, start, end| Action::Delete { series: BTreeSet::from([series]), start, end };
        match round {
            1 => actions.push(delete(1, -3_000_000, -1_000_000)),
            2 => actions.push(delete(2, i64::MIN, i64::MAX)),
            _ => {}
        }
    }
    actions
}

#[test]
fn every_failing_write_and_flush_leaves_a_checkpoint_that_replays() {
    // Six rounds of one write and one flush each, and what is rewritten.
    for operations in 0..30 {
        for kept in 0..2 {
            let mut driver = Driver::new();
            driver.kv().fail_after(operations);
            for action in &workload() {
                if driver.try_act(action).is_err() {
                    driver.act(&Action::Crash(kept));
                    driver.check();
                }
            }
            driver.check();
            driver.check_against_replay();
        }
    }
}
