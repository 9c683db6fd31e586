//! What clients and nodes do while things fail: writes, reads, scrapes, requests, moves.

use std::{collections::BTreeSet, time::Duration};

use narthex_cluster::{
    Addresses, Binary, ClusterId, ClusterVersion, Command as Change, EndMove, Found, Founder, Move,
    MoveReplica, NodeId as MemberId, RequestId, SettingsChange, ShardId, TenantId,
};
use narthex_model::{Labels, Timestamp};
use narthex_proto::internal::v1::ForwardRequest;
use narthex_tsdb::entry::{SampleBlock, Source};
use tokio::time::timeout;

use super::{
    SHARDS, Simulation, happens,
    node::SimulatedNode,
    promises::{Ack, written},
    replica::{Hosts, Open},
    scraping::{Outbox, TARGETS},
};
use crate::{
    clock::Clock as _,
    raft::{GroupId, NodeId, runtime::Randomness},
    shard::{
        core::Urgency,
        forward,
        moving::{Step, decide},
        task::Write,
    },
};

/// Replicas of each shard.
const REPLICATION_FACTOR: usize = 3;
/// Ticks between two looks at whether members are those that are wanted: 250 ms.
const MOVE_TICKS: u64 = 125;
/// How long a part of a scrape is tried, in ticks: 2 s.
const PART_TICKS: u64 = 1_000;
/// Ticks that a part may be on its way, at its slowest: longer than an owner may live.
const LATE_TICKS: u64 = 1_500;
/// How long a node waits for its cluster state to be current.
const CATCH_UP: Duration = Duration::from_secs(2);

/// A part of a scrape on its way.
#[derive(Clone)]
pub struct Mail {
    due: u64,
    until: u64,
    request: ForwardRequest,
}

/// The series that clients write to a shard.
fn client_labels(simulation: &Simulation, shard: ShardId) -> Labels {
    let labels = (0..).map(|number| {
        let instance = format!("client-{number}");
        let pairs = [("__name__", "written"), ("instance", &instance), ("job", "client")];
        Labels::from_pairs(pairs).expect("valid")
    });
    let state = &simulation.promises.state;
    let is_home = |labels: &Labels| {
        state.shard_of(TenantId(0), labels, Timestamp::from_millis(0)) == Some(shard)
    };
    labels.into_iter().find(is_home).expect("each shard has some")
}

impl Simulation {
    pub fn found(&self) -> Change {
        let founder = |node: &NodeId| Founder {
            node: MemberId(*node),
            name: format!("n{node}"),
            addresses: Addresses { cluster: format!("n{node}:1"), ..Addresses::default() },
            zone: String::new(),
            binary: Binary { level: ClusterVersion::CURRENT, text: String::new() },
        };
        Change::Found(Found {
            cluster: ClusterId::from_random_bytes([7; 16]),
            members: self.disks.keys().map(founder).collect(),
            shards: SHARDS.len() as u32,
            replication_factor: REPLICATION_FACTOR as u8,
        })
    }

    /// Everything that may happen in a tick beside faults.
    pub fn work(&mut self) -> Result<(), String> {
        let shard = ShardId(SHARDS[Randomness.draw() as usize % SHARDS.len()]);
        if happens(8) {
            self.write(shard);
        }
        if happens(16) {
            self.read(shard);
        }
        if happens(300) {
            self.discover();
        }
        if happens(100) {
            self.ask();
        }
        if happens(10) {
            self.request();
        }
        if self.ticks.is_multiple_of(MOVE_TICKS) {
            self.move_replicas();
        }
        self.deliver();
        self.scrape()
    }

    fn write(&mut self, shard: ShardId) {
        let group = GroupId::shard(shard.0);
        let leads = self.nodes.values().find(|node| node.leadership(group).ready);
        let Some((node, writer)) = leads.and_then(|node| Some((node, node.shard(shard).writer()?)))
        else {
            return;
        };
        let (labels, now) = (client_labels(self, shard), self.clock.now());
        let (outbox, time) = (self.outbox.clone(), now.millis());
        let encode = move |entry: &mut narthex_tsdb::entry::EntryWriter, _: &_| {
            let mut block = SampleBlock::new();
            block.push_labels(&labels, now, 1.0);
            entry.append(Source::Client, &block);
            Ok(())
        };
        let write = Write { encode: Box::new(encode), bytes: 64, urgency: Urgency::AtOnce };
        node.spawn(async move {
            if writer.write(write).await.is_ok() {
                outbox.lock().acks.push(Ack::Written { shard, time });
            }
        });
    }

    /// Reads as the product does: where it is asked, under the leader's lease or after a majority.
    fn read(&self, shard: ShardId) {
        let any = self.any_node();
        let Some(node) = self.nodes.get(&any) else { return };
        let replica = node.shard(shard);
        let (Some(group), Some(reader)) = (replica.group(), replica.reader().cloned()) else {
            return;
        };
        let floor = self.promises.written.get(&shard).map_or(0, Vec::len);
        let outbox = self.outbox.clone();
        node.spawn(async move {
            if group.read_linearizable().await.is_ok() {
                let seen = written(&reader);
                outbox.lock().acks.push(Ack::Read { shard, floor, seen });
            }
        });
    }

    /// A target comes or goes.
    fn discover(&mut self) {
        let number = Randomness.draw() % TARGETS;
        if !self.discovered.present.remove(&number) {
            self.discovered.present.insert(number);
        }
        self.discovered.version += 1;
    }

    fn scrape(&mut self) -> Result<(), String> {
        let now = self.clock.now();
        for node in self.nodes.values_mut() {
            for action in node.scrapes_due(&self.discovered, now) {
                if let crate::scrape::Action::Start(start) = &action {
                    let group = GroupId::shard(start.shard.0);
                    let term = (group, node.leadership(group).term);
                    let hands_over = self.checks.handed_over.contains(&term);
                    self.promises.start(node.id, start, hands_over)?;
                }
                self.scrapes += 1;
                node.scrape(action, self.scrapes as f64, now, &self.outbox);
            }
        }
        Ok(())
    }

    /// Puts parts of scrapes on their way: some are late, and some come twice.
    pub fn send(&mut self, request: ForwardRequest) {
        self.promises.send(&request);
        for _ in 0..if happens(6) { 2 } else { 1 } {
            let late = if happens(6) { LATE_TICKS } else { 10 };
            let due = self.ticks + 1 + Randomness.draw() % late;
            self.mail.push(Mail { due, until: due + PART_TICKS, request: request.clone() });
        }
    }

    fn deliver(&mut self) {
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.mail).into_iter().partition(|mail| mail.due <= self.ticks);
        self.mail = later;
        for mail in due {
            let shard = ShardId(mail.request.shard_id);
            let group = GroupId::shard(shard.0);
            let leads = self.nodes.values().find(|node| node.leadership(group).ready);
            match leads.and_then(|node| Some((node, node.shard(shard).writer()?))) {
                Some((node, writer)) => {
                    let request = mail.request;
                    let write = Write {
                        bytes: request.samples.len() + request.report.len(),
                        urgency: Urgency::Collect,
                        encode: Box::new(move |entry, reader| {
                            forward::encode(entry, reader, &request)
                        }),
                    };
                    node.spawn(async move { drop(writer.write(write).await) });
                }
                None if mail.until > self.ticks => {
                    self.mail.push(Mail { due: self.ticks + 25, ..mail });
                }
                None => {}
            }
        }
    }

    /// Somebody wants something of the control group.
    fn ask(&mut self) {
        let id = self.new_request();
        let max = u32::try_from(self.ticks).expect("short");
        let settings = SettingsChange { series_per_target_max: Some(max), ..Default::default() };
        let mut change = Change::ChangeSettings(settings);
        let any = MemberId(self.any_node());
        let shard = ShardId(SHARDS[Randomness.draw() as usize % SHARDS.len()]);
        if let Some(placement) = self.promises.state.placement(shard)
            && !placement.replicas.contains(&any)
            && happens(2)
        {
            let remove = placement.replicas[Randomness.draw() as usize % placement.replicas.len()];
            let moved = Move { add: Some(any), remove: Some(remove) };
            change = Change::StartMove(MoveReplica { shard, change: moved, lost: BTreeSet::new() });
        }
        self.requests.push_back((id, change));
    }

    pub fn new_request(&self) -> RequestId {
        RequestId(u128::from(Randomness.draw() >> 1))
    }

    /// Makes a request that waits, of any node; now and then one that was answered again.
    pub fn request(&mut self) {
        let Some((id, change)) = self.requests.pop_front() else { return };
        let leads = self.nodes.values().find(|node| node.leadership(GroupId::CONTROL).ready);
        let open = leads.and_then(|node| {
            Some((node, node.replicas[&GroupId::CONTROL].open.lock().as_ref()?.control.clone()?))
        });
        let Some((node, control)) = open else {
            return self.requests.push_back((id, change));
        };
        let (outbox, again) = (self.outbox.clone(), happens(5));
        node.spawn(async move {
            let ack = match control.request(id, change.clone()).await {
                Ok(outcome) => {
                    if again {
                        let change = change.clone();
                        outbox.lock().acks.push(Ack::Unanswered { id, change });
                    }
                    Ack::Answered { id, outcome }
                }
                Err(_) => Ack::Unanswered { id, change },
            };
            outbox.lock().acks.push(ack);
        });
    }

    pub fn move_replicas(&mut self) {
        for node in self.nodes.values() {
            for shard in SHARDS.map(ShardId) {
                if let Some(mover) = Mover::of(node, shard, &self.outbox)
                    && mover.next().is_some()
                    && let Some(committed) = self.committed(node.id)
                {
                    node.spawn(mover.take_step(committed));
                }
            }
        }
    }

    /// How far the control group's leader has come, as a node hears of it.
    fn committed(&self, asker: NodeId) -> Option<u64> {
        let leads = |node: &&SimulatedNode| node.leadership(GroupId::CONTROL).ready;
        let leader = self.nodes.values().find(leads)?;
        let group = leader.replicas[&GroupId::CONTROL].group()?;
        let is_heard = self.wires.is_whole(asker, leader.id);
        is_heard.then(|| group.status().committed.map(|committed| committed.index)).flatten()
    }

    /// Founds the shards where cluster state places them.
    pub fn found_shards(&self) {
        for (shard, placement) in self.promises.state.shards() {
            let voters = placement.replicas.iter().map(|node| node.0);
            self.nodes[&placement.replicas[0].0].found(GroupId::shard(shard.0), voters);
        }
    }

    pub fn discover_all(&mut self) {
        self.discovered.present = (0..TARGETS).collect::<BTreeSet<_>>();
        self.discovered.version += 1;
    }
}

/// A shard's leader that has the members become those that are wanted.
struct Mover {
    id: NodeId,
    shard: ShardId,
    state: Hosts,
    control: Open,
    group: crate::raft::Group,
    outbox: Outbox,
}

impl Mover {
    fn of(node: &SimulatedNode, shard: ShardId, outbox: &Outbox) -> Option<Self> {
        let control = &node.replicas[&GroupId::CONTROL];
        let (state, open) = (control.hosts.clone(), control.open.lock().clone()?);
        let group = node.shard(shard).group()?;
        let is_ready = group.leadership().borrow().ready;
        let outbox = outbox.clone();
        is_ready.then_some(Self { id: node.id, shard, state, control: open, group, outbox })
    }

    fn next(&self) -> Option<Step> {
        let Hosts::Control(state) = &self.state else { return None };
        let state = state.borrow().clone();
        let placement = state.placement(self.shard)?;
        decide(MemberId(self.id), placement, &self.group.status(), |_| false)
    }

    /// Takes the step that a current state asks for.
    async fn take_step(self, committed: u64) {
        let caught_up = self.control.group.wait_until_applied(committed);
        if !matches!(timeout(CATCH_UP, caught_up).await, Ok(Ok(()))) {
            return;
        }
        match self.next() {
            Some(Step::Change(change)) => drop(self.group.change_membership(change).await),
            Some(Step::HandOver(to)) => {
                let (group, term) = (self.group.id(), self.group.leadership().borrow().term);
                self.outbox.lock().acks.push(Ack::HandsOver { group, term });
                drop(self.group.transfer_leader(to.0).await);
            }
            Some(Step::Finish(change)) => {
                let end = EndMove { shard: self.shard, change };
                self.outbox.lock().acks.push(Ack::Moved(end));
            }
            None => {}
        }
    }
}
