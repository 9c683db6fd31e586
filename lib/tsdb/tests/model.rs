//! The shard against a naive model, a map of maps, over random commands, checkpoints, crashes
//! and restarts; and against itself, the log replayed from empty.

mod driver;

use driver::{Action, Driver, SERIES, TARGETS};
use proptest::prelude::*;

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        (0u32..4).prop_map(|v| f64::from(v).to_bits()),
        (0u32..1000).prop_map(|v| (f64::from(v) / 8.0).to_bits()),
        any::<u64>(),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let late = -4_000_000i64..100_000;
    let series = 0..SERIES;
    let rows = proptest::collection::vec((series.clone(), late, value()), 1..12);
    let burst = (series.clone(), 1u16..300, prop_oneof![Just(15_000i64), 1..400_000i64], value());
    let scraped = proptest::collection::vec((series, value()), 0..8);
    prop_oneof![
        4 => rows.prop_map(Action::Append),
        6 => burst.prop_map(|(series, count, step, value)| Action::Burst { series, count, step, value }),
        4 => (0..TARGETS, scraped, any::<bool>()).prop_map(|(target, series, repeat)| {
            Action::Scrape { target, series, repeat }
        }),
        1 => (0..TARGETS).prop_map(Action::ScrapeFailed),
        1 => (0..TARGETS).prop_map(Action::TargetGone),
        1 => (0u32..3).prop_map(Action::Horizon),
        1 => (0u64..3).prop_map(Action::Window),
        1 => Just(Action::Seal),
        3 => Just(Action::Freeze),
        3 => Just(Action::WriteFrozen),
        2 => Just(Action::Flush),
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
        let scraped = (4..8).filter(|s| s % 2 == usize::from(round % 2)).map(|s| (s, 7)).collect();
        actions.push(Action::Scrape { target: 0, series: scraped, repeat: false });
        actions.extend([Action::Freeze, Action::WriteFrozen, Action::Flush]);
        if round == 3 {
            actions.push(Action::Horizon(1));
        }
    }
    actions
}

#[test]
fn every_failing_write_and_flush_leaves_a_checkpoint_that_replays() {
    // Six rounds of one write and one flush each.
    for operations in 0..13 {
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
