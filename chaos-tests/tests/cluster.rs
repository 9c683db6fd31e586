//! Three real nodes: what a user sees of a cluster that starts, loses nodes and comes back.

use std::time::Duration;

use narthex_chaos_tests::{
    api::Api,
    check::scrapes::{RESUME_MAX, Scraped, Troubles},
    cluster::Cluster,
    stalls::{Stalls, Verdict, judged},
    targets::{Target, config},
    wait::{millis, now, pause_for, until, wall_millis},
    writer::{SERIES, Writer},
};

/// What a waiting test allows beyond, so that a slow election shows as a number.
const RESUME_DEADLINE: Duration = Duration::from_secs(20);
/// Kills in a row, each of the leader of the next shard.
const KILLS: u64 = 10;
/// Freezes in a row, likewise.
const FREEZES: u64 = 4;
const SHARDS: u64 = 6;
const FAST_SECONDS: u64 = 1;
const SLOW_SECONDS: u64 = 5;

fn targets(count: usize) -> Vec<Target> {
    (0..count).map(|_| Target::start()).collect()
}

fn wait_until_all_are_up(api: &Api, count: usize) {
    until("every target is up", Duration::from_secs(30), || {
        let up = api.vector("up", "instance")?;
        let ready = up.len() >= count && up.values().all(|value| *value == 1.0);
        if ready { Ok(()) } else { Err(format!("{up:?}")) }
    });
}

#[test]
fn a_stopped_cluster_carries_on_where_it_was() {
    let targets = targets(3);
    let mut cluster = Cluster::start(&config(&[("fast", FAST_SECONDS, &targets)]));
    wait_until_all_are_up(&cluster.api(), targets.len());
    let writer = Writer::start(cluster.api());
    until("some batches", RESUME_DEADLINE, || match writer.acknowledged() {
        0..20 => Err(writer.acknowledged().to_string()),
        _ => Ok(()),
    });
    let written = writer.stop();
    cluster.stop();
    cluster.start_again();
    written.check(&cluster.api());
}

#[test]
fn killing_leaders_loses_nothing_and_hides_nothing() {
    judged(kill_leaders);
}

fn kill_leaders() -> Verdict {
    let stalls = Stalls::watch();
    let (fast, slow) = (targets(10), targets(10));
    let jobs = [("fast", FAST_SECONDS, &fast[..]), ("slow", SLOW_SECONDS, &slow[..])];
    let cluster = Cluster::start(&config(&jobs));
    let api = cluster.api();
    wait_until_all_are_up(&api, fast.len() + slow.len());
    let writer = Writer::start(cluster.api());
    until("the first batch", RESUME_DEADLINE, || match writer.acknowledged() {
        0 => Err("none".to_owned()),
        _ => Ok(()),
    });

    let (mut pauses, mut kills) = (Vec::new(), Vec::new());
    for kill in 0..KILLS {
        let leader = until("a leader", RESUME_DEADLINE, || cluster.leader(kill % SHARDS));
        let killed = cluster.node(&leader);
        let (since, killed_at) = (now(), wall_millis());
        kills.push((killed_at, killed_at));
        cluster.kill_node(&leader);
        let resumed = writer.resumed_after(since, RESUME_DEADLINE);
        let stalled = stalls.within(killed_at, killed_at + millis(resumed));
        pauses.push((resumed, millis(resumed) - stalled));
        until("the node runs again", Duration::from_secs(40), || {
            expect_honest(&api);
            if cluster.node(&leader) == killed { Err("not yet".to_owned()) } else { Ok(()) }
        });
        until("all nodes are reachable", Duration::from_secs(40), || {
            expect_honest(&api);
            cluster.all_reachable()
        });
    }
    let written = writer.stop();
    eprintln!("{} batches; writes resumed after {pauses:?}", written.batches());
    written.check(&api);
    let healed: Vec<_> = kills.iter().map(|(at, _)| *at).collect();
    let troubles = Troubles { spans: &kills, healed: &healed, stalls: &stalls };
    for (name, interval_seconds, targets) in jobs {
        let scraped = Scraped::check(&api, (name, interval_seconds), targets, &troubles);
        let problems = scraped.expect("an answer").problems;
        assert!(problems.is_empty(), "{name}: {}", problems.join("\n"));
    }
    until("replicas hold the same", RESUME_DEADLINE, || cluster.digests_equal());
    let late: Vec<_> = pauses.iter().filter(|(_, ours)| *ours > millis(RESUME_MAX)).collect();
    assert!(late.is_empty(), "writes resumed only after {late:?}, with and without stalls");
    stalls.verdict()
}

/// While samples come, chunks end, checkpoints are written and logs are purged.
#[test]
fn killing_everything_at_once_loses_nothing() {
    let targets = targets(3);
    let mut cluster = Cluster::start(&config(&[("fast", FAST_SECONDS, &targets)]));
    let writer = Writer::start(cluster.api());
    until("many batches", Duration::from_secs(60), || match writer.acknowledged() {
        0..100 => Err(writer.acknowledged().to_string()),
        _ => Ok(()),
    });
    let (api, before) = (cluster.api(), writer.acknowledged());
    // It is killed in the middle, and then has nothing to say.
    let settling = std::thread::spawn(move || drop(api.post("/api/v1/admin/tsdb/settle")));
    until("some more batches", Duration::from_secs(60), || match writer.acknowledged() {
        some if some < before + 3 => Err(some.to_string()),
        _ => Ok(()),
    });
    cluster.kill_all();
    settling.join().expect("it does not panic");
    let written = writer.stop();
    cluster.start_again();
    written.check(&cluster.api());
    until("replicas hold the same", RESUME_DEADLINE, || cluster.digests_equal());
}

/// Nobody is told that a frozen node is gone: its connections stay as they are.
#[test]
fn writes_go_on_without_a_leader_that_falls_silent() {
    judged(|| {
        let stalls = Stalls::watch();
        let cluster = Cluster::start(&config(&[]));
        let writer = Writer::start(cluster.api());
        let mut pauses = Vec::new();
        for freeze in 0..FREEZES {
            let leader = until("a leader", RESUME_DEADLINE, || cluster.leader(freeze % SHARDS));
            let (since, frozen_at) = (now(), wall_millis());
            cluster.freeze_node(&leader);
            let resumed = millis(writer.resumed_after(since, RESUME_DEADLINE));
            pauses.push((resumed, resumed - stalls.within(frozen_at, frozen_at + resumed)));
            cluster.thaw_node(&leader);
            until("it is heard again", RESUME_DEADLINE, || cluster.all_reachable());
        }
        let written = writer.stop();
        eprintln!("{} batches; writes resumed after {pauses:?}", written.batches());
        written.check(&cluster.api());
        until("replicas hold the same", RESUME_DEADLINE, || cluster.digests_equal());
        let late: Vec<_> = pauses.iter().filter(|(_, ours)| *ours > millis(RESUME_MAX)).collect();
        assert!(late.is_empty(), "writes resumed only after {late:?}, with and without stalls");
        stalls.verdict()
    });
}

/// Longer than a follower must have been up to date to be handed a shard.
const SILENCE: Duration = Duration::from_secs(15);

/// Nothing is written, so that a frozen node lacks no more than the election's entries. It is not
/// up to date all the same: leaderships stay with those who took them.
#[test]
fn a_silent_node_is_handed_no_leadership() {
    let cluster = Cluster::start(&config(&[]));
    let frozen = until("a leader", RESUME_DEADLINE, || cluster.leader(0));
    let words = format!("leadership handed to the preferred leader\" shard=0 to={}", &frozen[1..]);
    let handed = || cluster.log().matches(&words).count();
    let before = handed();
    cluster.freeze_node(&frozen);
    until("another one leads", RESUME_DEADLINE, || match cluster.leader(0)? {
        leader if leader == frozen => Err(leader),
        _ => Ok(()),
    });
    pause_for(SILENCE);
    assert_eq!(handed(), before, "{}", cluster.log());
    cluster.thaw_node(&frozen);
    until("it is given back what it led", RESUME_DEADLINE, || match handed() {
        some if some > before => Ok(()),
        some => Err(some.to_string()),
    });
}

/// A query either fails or counts every series that was ever acknowledged.
fn expect_honest(api: &Api) {
    if let Ok(count) = api.single("count(chaos_written)") {
        assert!(count == f64::from(SERIES), "a short answer without an error: {count}");
    }
}
