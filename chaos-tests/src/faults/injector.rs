//! Injects a schedule's faults into a cluster and writes down what it did and when.
//!
//! A node suffers one fault at a time: a blow whose victims suffer one already is passed over, and
//! written down as such. A fault without an effect (no packet was lost, no sync failed) is written
//! down, too, as the run proves nothing about it.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Event, Fault, Victims};
use crate::{
    bed::Bed,
    disk::Disk,
    hosts::Hosts,
    namespaces::Cut,
    switches::EIO,
    view::View,
    wait::{now, pause, until, wall_millis},
};

/// Finding a leader among nodes of which some do not answer.
const LOOK_DEADLINE: Duration = Duration::from_secs(20);
/// From the start of a node with an old folder until it has understood and ended.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(60);

/// One fault as it was.
#[derive(Debug, Clone)]
pub struct Injected {
    /// What was drawn.
    pub event: Event,
    /// Whom it struck; nobody if it was passed over.
    pub hosts: Vec<usize>,
    /// Groups that these hosts led.
    pub led: usize,
    /// When it began.
    pub at: Instant,
    /// The same in wall-clock milliseconds.
    pub wall: i64,
    /// When it was over, with the same in wall-clock milliseconds.
    pub healed: Option<(Instant, i64)>,
    /// What was seen of it.
    pub effect: String,
    /// Why it was not what was wanted.
    pub problem: Option<String>,
    cuts: Vec<Cut>,
}

impl Injected {
    /// Whether the others still had a quorum, if this was the only fault.
    pub fn keeps_quorum(&self, nodes: usize) -> bool {
        !self.event.fault.silences() || self.hosts.len() * 2 < nodes
    }

    /// Whether it was passed over.
    pub fn is_passed_over(&self) -> bool {
        self.hosts.is_empty()
    }
}

/// Injects `events` and heals them. Returns when all are healed.
pub fn perform(bed: &mut Bed, events: &[Event]) -> Vec<Injected> {
    let start = now();
    let (mut waiting, mut injected) = (events.iter().copied().peekable(), Vec::<Injected>::new());
    loop {
        let elapsed = start.elapsed();
        for fault in injected.iter_mut().filter(|it| it.healed.is_none()) {
            if elapsed >= fault.event.at + fault.event.hold {
                heal(bed, fault);
            }
        }
        if let Some(event) = waiting.next_if(|event| elapsed >= event.at) {
            injected.push(inject(bed, event, &suffering(&injected)));
        }
        let is_down = |it: &&Injected| it.healed.is_none() && it.event.fault.takes_down();
        let down: Vec<_> = injected.iter().filter(is_down).flat_map(|it| &it.hosts).collect();
        bed.supervise(&down.into_iter().copied().collect::<Vec<_>>());
        if waiting.peek().is_none() && injected.iter().all(|it| it.healed.is_some()) {
            return injected;
        }
        pause();
    }
}

fn suffering(injected: &[Injected]) -> Vec<usize> {
    let unhealed = injected.iter().filter(|it| it.healed.is_none());
    unhealed.flat_map(|it| it.hosts.iter().copied()).collect()
}

fn inject(bed: &mut Bed, event: Event, suffering: &[usize]) -> Injected {
    let (hosts, led) = resolve(bed, event.victims);
    let is_free = hosts.iter().all(|host| !suffering.contains(host));
    let hosts = if is_free { hosts } else { Vec::new() };
    let cuts = cuts(bed, event.fault, &hosts);
    let mut fault = Injected {
        event,
        hosts,
        led,
        at: now(),
        wall: wall_millis(),
        healed: None,
        effect: String::new(),
        problem: None,
        cuts,
    };
    if fault.is_passed_over() {
        "passed over: it suffers another fault".clone_into(&mut fault.effect);
        fault.healed = Some((fault.at, fault.wall));
        return fault;
    }
    fault.problem = strike_all(bed, &fault).err();
    fault
}

fn strike_all(bed: &mut Bed, fault: &Injected) -> Result<(), String> {
    fault.cuts.iter().try_for_each(|cut| bed.network().cut(*cut))?;
    if fault.event.fault == Fault::CutPower {
        // It goes off everywhere at once: no node may act on the end of another.
        fault.hosts.iter().try_for_each(|host| bed.disk(*host).map(Disk::cut_power))?;
    }
    fault.hosts.iter().try_for_each(|host| strike(bed, fault.event.fault, *host))
}

/// Hosts, and how many groups they lead.
fn resolve(bed: &Bed, victims: Victims) -> (Vec<usize>, usize) {
    let nodes = bed.shape().nodes;
    let led = |view: &View, hosts: &[usize]| {
        let leads = |leader| bed.host_of(view, leader).is_some_and(|host| hosts.contains(&host));
        view.groups().iter().filter(|group| leads(group.leader)).count()
    };
    let leader = |shard: Option<u64>| {
        until("a leader", LOOK_DEADLINE, || {
            let view = bed.view()?;
            let group = view.groups().into_iter().find(|group| group.shard == shard);
            let host = group.and_then(|group| bed.host_of(&view, group.leader));
            host.map(|host| (host, view)).ok_or_else(|| format!("{shard:?} has none"))
        })
    };
    let named = |hosts: Vec<usize>| {
        let count = bed.view().map_or(0, |view| led(&view, &hosts));
        (hosts, count)
    };
    match victims {
        Victims::Leader(shard) => {
            let (host, view) = leader(Some(shard));
            (vec![host], led(&view, &[host]))
        }
        Victims::ControlLeader => {
            let (host, view) = leader(None);
            (vec![host], led(&view, &[host]))
        }
        Victims::Follower(shard) => {
            let (host, view) = leader(Some(shard));
            let follower = host % nodes + 1;
            (vec![follower], led(&view, &[follower]))
        }
        Victims::Node(host) => named(vec![host]),
        Victims::Majority(first) => {
            named((0..nodes / 2 + 1).map(|next| (first - 1 + next) % nodes + 1).collect())
        }
        Victims::All => named((1..=nodes).collect()),
    }
}

fn cuts(bed: &Bed, fault: Fault, hosts: &[usize]) -> Vec<Cut> {
    let nodes = bed.shape().nodes;
    let mut cuts = Vec::new();
    for &host in hosts {
        let next = host % nodes + 1;
        let others = (1..=nodes).filter(|other| !hosts.contains(other));
        for other in others {
            let (deaf, mute) = (Cut { at: host, from: other }, Cut { at: other, from: host });
            match fault {
                Fault::Isolate => cuts.extend([deaf, mute]),
                Fault::Deafen => cuts.push(deaf),
                Fault::Mute => cuts.push(mute),
                Fault::Part if other == next => cuts.extend([deaf, mute]),
                _ => {}
            }
        }
        if fault == Fault::Isolate {
            // The host in front stays with the others.
            let front = bed.shape().nodes + 1;
            cuts.extend([Cut { at: host, from: front }, Cut { at: front, from: host }]);
        }
    }
    cuts
}

fn strike(bed: &mut Bed, fault: Fault, host: usize) -> Result<(), String> {
    match fault {
        Fault::Kill | Fault::CutPower => bed.kill(host),
        Fault::Restart => bed.stop(host),
        Fault::Freeze => bed.signal(host, Signal::STOP),
        Fault::FillDisk => bed.fill_disk(host)?,
        Fault::FailSyncs => bed.switches(host)?.fail_syncs(EIO),
        Fault::HoldSyncs(millis) => bed.switches(host)?.hold_syncs(millis),
        Fault::MoveClock(millis) => bed.switches(host)?.move_clock(millis),
        Fault::Replace => {
            bed.kill(host);
            bed.wipe(host)?;
        }
        Fault::OldFolder => {
            bed.kill(host);
            bed.copy_folder(host)?;
            bed.start_node(host);
        }
        Fault::Isolate | Fault::Deafen | Fault::Mute | Fault::Part => {}
    }
    Ok(())
}

fn heal(bed: &mut Bed, fault: &mut Injected) {
    let healed: Result<Vec<String>, String> =
        fault.hosts.iter().map(|host| heal_host(bed, fault.event.fault, *host)).collect();
    let lost: Result<Vec<u64>, String> =
        fault.cuts.iter().map(|cut| bed.network().mend(*cut)).collect();
    fault.healed = Some((now(), wall_millis()));
    match (healed, lost) {
        (Ok(_), Ok(lost)) if !fault.cuts.is_empty() => {
            let lost: u64 = lost.iter().sum();
            fault.effect = format!("{lost} packets lost");
            if lost == 0 {
                fault.problem.get_or_insert("no packet was lost".to_owned());
            }
        }
        (Ok(effects), Ok(_)) => fault.effect = effects.join(", "),
        (Err(why), _) | (_, Err(why)) => drop(fault.problem.get_or_insert(why)),
    }
}

/// Ends what a host suffers; says what was seen of it.
fn heal_host(bed: &mut Bed, fault: Fault, host: usize) -> Result<String, String> {
    match fault {
        Fault::Kill | Fault::Restart | Fault::Replace => bed.start_node(host),
        Fault::Freeze => bed.signal(host, Signal::CONT),
        Fault::FillDisk => {
            let view = bed.view()?;
            let problem = view.disk_problem(&Hosts::address(host)).to_owned();
            bed.empty_disk(host)?;
            return if problem.is_empty() { Err("nobody noticed".to_owned()) } else { Ok(problem) };
        }
        Fault::FailSyncs | Fault::HoldSyncs(_) => {
            let switches = bed.switches(host)?;
            let failed = switches.failed_syncs();
            switches.fail_syncs(0);
            switches.hold_syncs(0);
            let seen = format!("{failed} syncs so far");
            return if failed == 0 { Err("no sync was tried".to_owned()) } else { Ok(seen) };
        }
        Fault::CutPower => {
            bed.disk(host)?.repair();
            bed.start_node(host);
        }
        Fault::MoveClock(_) => {
            let switches = bed.switches(host)?;
            let reads = switches.moved_reads();
            switches.move_clock(0);
            return if reads == 0 { Err("nobody looked".to_owned()) } else { Ok(String::new()) };
        }
        Fault::OldFolder => return refuse_old_folder(bed, host),
        Fault::Isolate | Fault::Deafen | Fault::Mute | Fault::Part => {}
    }
    Ok(String::new())
}

/// The copy that was made at the blow must end by itself, and the folder that went on is taken back.
fn refuse_old_folder(bed: &mut Bed, host: usize) -> Result<String, String> {
    bed.kill(host);
    bed.exchange_folder(host)?;
    bed.start_node(host);
    let start = now();
    let refused = loop {
        let log = bed.log(host);
        let reason = log.lines().rev().take(5).find(|line| line.contains("incarnation"));
        let has_ended = bed.has_ended(host);
        match reason {
            Some(reason) if has_ended => break Ok(reason.to_owned()),
            _ if start.elapsed() > REFUSAL_DEADLINE => {
                break Err("an old folder was taken".to_owned());
            }
            _ => pause(),
        }
    };
    bed.kill(host);
    bed.exchange_folder(host)?;
    bed.start_node(host);
    refused
}
