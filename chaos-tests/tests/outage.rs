//! Five nodes, two of which stop: shards that have two replicas on them are without a quorum for a
//! minute, while senders go on.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use narthex_chaos_tests::{
    api::Api,
    cluster::Cluster,
    wait::{now, pause_for, until, wall_millis},
};

const OUTAGE: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(60);
/// Longer than a request may wait for a shard.
const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// Much longer than a shard with a leader takes.
const HASTE: Duration = Duration::from_secs(2);
/// An election of the shards that lost their leaders, on a busy machine.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Instances that a sender has series of, enough for every shard.
const INSTANCES: usize = 60;
/// Of the process that routes, beside what it had before.
const MEMORY_BYTES_MAX: f64 = 128.0 * 1024.0 * 1024.0;

/// A page of one sender at one time: a metric of its own, so that an instance is on the same shard
/// whoever sends it. Values are the times, so that they are told apart.
fn page(sender: &str, instances: &[usize], time: i64) -> String {
    let pad = "x".repeat(1000);
    let line = |n: &usize| {
        format!("{sender}{{job=\"outage\",instance=\"{n}\",pad=\"{pad}\"}} {time} {time}\n")
    };
    instances.iter().map(line).collect()
}

/// Sends one page after the other, each until it is acknowledged.
struct Sender {
    name: String,
    acknowledged: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Sent>,
}

/// What came of it.
struct Sent {
    acknowledged: Vec<i64>,
    /// Status codes that were not 204; 0 where there was no answer.
    refusals: BTreeSet<u16>,
    longest_pause: Duration,
}

impl Sender {
    fn start(url: &str, sender: &str, instances: Vec<usize>) -> Self {
        let (api, name) = (Api::new(url, CALL_DEADLINE), sender.to_owned());
        let (acknowledged, stop): (Arc<AtomicUsize>, Arc<AtomicBool>) = Default::default();
        let (count, ended) = (Arc::clone(&acknowledged), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut sent = Sent {
                acknowledged: Vec::new(),
                refusals: BTreeSet::new(),
                longest_pause: Duration::ZERO,
            };
            let mut last = now();
            while !ended.load(Relaxed) {
                let time = wall_millis();
                let page = page(&name, &instances, time);
                while !ended.load(Relaxed) {
                    match api.import(&page).map(|(status, _)| status) {
                        Ok(204) => {
                            sent.acknowledged.push(time);
                            sent.longest_pause = sent.longest_pause.max(last.elapsed());
                            last = now();
                            count.fetch_add(1, Relaxed);
                            break;
                        }
                        other => drop(sent.refusals.insert(other.unwrap_or(0))),
                    }
                    pause_for(Duration::from_millis(50));
                }
                pause_for(Duration::from_millis(50));
            }
            sent
        });
        Self { name: sender.to_owned(), acknowledged, stop, thread }
    }

    fn acknowledged(&self) -> usize {
        self.acknowledged.load(Relaxed)
    }

    fn wait_for(&self, more: usize) {
        let wanted = self.acknowledged() + more;
        until(&format!("pages of {}", self.name), DEADLINE, || match self.acknowledged() {
            some if some < wanted => Err(some.to_string()),
            _ => Ok(()),
        });
    }

    fn stop(self) -> Sent {
        self.stop.store(true, Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

/// The two nodes that the fewest shards, but some, have two replicas on; and how many those are.
fn pair_to_stop(cluster: &Cluster) -> (Vec<String>, usize) {
    let status = cluster.status().expect("status");
    let of = |list: &str| status[list].as_array().cloned().unwrap_or_default();
    let nodes: Vec<(u64, String)> = of("nodes")
        .iter()
        .filter_map(|it| Some((it["id"].as_u64()?, it["name"].as_str()?.to_owned())))
        .collect();
    let hosts: Vec<BTreeSet<u64>> = of("shards")
        .iter()
        .filter_map(|it| it["replicas"].as_array())
        .map(|replicas| replicas.iter().filter_map(|it| it["node"].as_u64()).collect())
        .collect();
    assert_eq!(nodes.len(), 5, "{status}");
    assert!(hosts.iter().all(|hosts| hosts.len() == 3), "{status}");
    let mut pairs = Vec::new();
    for (at, (one, first)) in nodes.iter().enumerate() {
        for (other, second) in &nodes[at + 1..] {
            let both = |hosts: &&BTreeSet<u64>| hosts.contains(one) && hosts.contains(other);
            let silent = hosts.iter().filter(both).count();
            pairs.push((silent, vec![first.clone(), second.clone()]));
        }
    }
    let some = pairs.into_iter().filter(|(silent, _)| *silent > 0);
    let (silent, names) = some.min().expect("three replicas on five nodes share some");
    (names, silent)
}

#[test]
fn shards_without_a_quorum_are_refused_and_the_others_go_on() {
    let cluster = Cluster::start_nodes(5);
    let api = Api::new(cluster.api().url(), CALL_DEADLINE);
    until("all shards take samples", DEADLINE, || {
        match api.import(&page("warm", &(0..INSTANCES).collect::<Vec<_>>(), wall_millis()))? {
            (204, _) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let everywhere: Vec<_> = ["a", "b"]
        .map(|job| Sender::start(api.url(), job, (0..INSTANCES).collect()))
        .into_iter()
        .collect();
    everywhere.iter().for_each(|sender| sender.wait_for(10));
    let (stopped, silent) = pair_to_stop(&cluster);
    let memory = || api.metric("process_resident_memory_bytes");
    let before = memory().expect("a metric");

    stopped.iter().for_each(|node| cluster.freeze_node(node));
    until("the shards are known to be silent", DEADLINE, || {
        let known = api.metric("narthex_router_silent_shards")?;
        if known >= silent as f64 { Ok(()) } else { Err(known.to_string()) }
    });
    // Which instances live elsewhere shows who takes them. One request at a time is let wait for a
    // silent shard: it may be one of these.
    let hasty = Api::new(api.url(), HASTE);
    let goes_on = |n: &usize| match hasty.import(&page("c", &[*n], wall_millis())) {
        Ok((204, _)) => true,
        Ok((503, _)) | Err(_) => false,
        other => panic!("{other:?}"),
    };
    let others: Vec<usize> = (0..INSTANCES).filter(goes_on).collect();
    assert!(!others.is_empty() && others.len() < INSTANCES, "{others:?}");
    let elsewhere = ["d", "e"].map(|job| Sender::start(api.url(), job, others.clone()));
    let began = now();
    let blocked: usize = everywhere.iter().map(Sender::acknowledged).sum();
    while began.elapsed() < OUTAGE {
        let held = api.metric("narthex_router_in_flight_bytes").expect("a metric");
        let grown = memory().expect("a metric") - before;
        assert!(held < MEMORY_BYTES_MAX && grown < MEMORY_BYTES_MAX, "{held} held, {grown} more");
        pause_for(Duration::from_secs(1));
    }
    let still: usize = everywhere.iter().map(Sender::acknowledged).sum();
    assert_eq!(still, blocked, "no page is acknowledged that a silent shard has a part of");
    let healthy = elsewhere.map(|sender| {
        sender.wait_for(1);
        (sender.name.clone(), sender.stop())
    });
    stopped.iter().for_each(|node| cluster.thaw_node(node));

    everywhere.iter().for_each(|sender| sender.wait_for(10));
    for (job, sent) in &healthy {
        assert!(sent.longest_pause < PAUSE_MAX, "{job} waited {:?}", sent.longest_pause);
        assert!(sent.acknowledged.len() > 50, "{job}: {}", sent.acknowledged.len());
        check(&api, job, &others, sent);
    }
    for sender in everywhere {
        let job = sender.name.clone();
        let sent = sender.stop();
        assert!(sent.refusals.contains(&503), "{:?}", sent.refusals);
        assert!(sent.refusals.iter().all(|code| [429, 503].contains(code)), "{:?}", sent.refusals);
        check(&api, &job, &(0..INSTANCES).collect::<Vec<_>>(), &sent);
    }
    until("replicas hold the same", DEADLINE, || cluster.digests_equal());
}

/// Every acknowledged page is there, of all its instances.
fn check(api: &Api, sender: &str, instances: &[usize], sent: &Sent) {
    let selector = format!("{sender}{{job=\"outage\"}}[1h]");
    let stored = until("an answer", DEADLINE, || api.samples(&selector, "instance"));
    for n in instances {
        let samples = stored.get(&n.to_string()).map_or(&[][..], Vec::as_slice);
        let found: BTreeSet<i64> = samples.iter().map(|(time, _)| *time).collect();
        let lost: Vec<_> = sent.acknowledged.iter().filter(|it| !found.contains(it)).collect();
        assert!(
            lost.is_empty(),
            "{sender} {n}: {} of {} lost",
            lost.len(),
            sent.acknowledged.len()
        );
        #[expect(clippy::cast_precision_loss, reason = "times of this century")]
        let is_bit_exact = samples.iter().all(|(time, value)| *value == *time as f64);
        assert!(is_bit_exact, "{sender} {n}: a value is not its time");
    }
}
