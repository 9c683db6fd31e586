//! What shards and the control group promise beyond raft: O1, R1, reads, requests and moves.

use std::collections::{BTreeMap, BTreeSet};

use narthex_cluster::{
    ClusterState, Command as Change, EndMove, Outcome, Request, RequestId, ShardId, TenantId,
};
use narthex_model::Timestamp;
use narthex_proto::internal::v1::ForwardRequest;
use narthex_tsdb::{
    Columns, Outcome as EntryOutcome, ShardReader, TargetId,
    entry::{Command as EntryCommand, Entry},
};

use super::checks::{Applied, Checks, Disks, has};
use crate::{
    raft::{Command, GroupId, NodeId},
    scrape::Start,
};

/// What a client was told.
pub enum Ack {
    /// A sample was written at this time.
    Written { shard: ShardId, time: i64 },
    /// A scrape was stored.
    Scraped { shard: ShardId, value: f64 },
    /// A read that began when so many writes were acknowledged saw samples at these times.
    Read { shard: ShardId, floor: usize, seen: BTreeSet<i64> },
    /// A request to the control group was answered.
    Answered { id: RequestId, outcome: Outcome },
    /// A request was not answered: it is made again.
    Unanswered { id: RequestId, change: Change },
    /// A leadership is asked to go to another node.
    HandsOver { group: GroupId, term: u64 },
    /// A shard's leader finds that a move is done.
    Moved(EndMove),
}

/// How far a stream of scrapes came in a shard: the owner's term, and the slot.
type Slot = (u64, u64);

#[derive(Default)]
pub struct Promises {
    /// Who began which slot.
    started: BTreeMap<(u128, i64), NodeId>,
    /// What was sent to other shards: the owner's terms.
    sent: BTreeMap<(u32, u128, u64), BTreeSet<u64>>,
    /// The last slots that shards took.
    taken: BTreeMap<(ShardId, TargetId), Slot>,
    pub written: BTreeMap<ShardId, Vec<i64>>,
    pub scraped: BTreeMap<ShardId, Vec<f64>>,
    answered: BTreeMap<RequestId, Outcome>,
    /// Requests in the control group's log that changed something.
    changed: BTreeMap<RequestId, Outcome>,
    /// Cluster state as all must have it.
    pub state: ClusterState,
}

impl Promises {
    /// A slot of a target is scraped once, by one node, unless that hands over.
    pub fn start(&mut self, node: NodeId, start: &Start, hands_over: bool) -> Result<(), String> {
        if hands_over {
            return Ok(());
        }
        match self.started.insert((start.target.0, start.slot.0), node) {
            None => Ok(()),
            Some(other) => {
                Err(format!("nodes {other} and {node} scrape {} in {:?}", start.target, start.slot))
            }
        }
    }

    pub fn send(&mut self, request: &ForwardRequest) {
        let target = request.target[..].try_into().map(u128::from_be_bytes).expect("16 bytes");
        let terms = self.sent.entry((request.shard_id, target, request.slot)).or_default();
        terms.insert(request.owner_term);
    }

    /// Of each target, slots rise in each shard, and of parts the owner's terms do, too; who
    /// encoded an entry leads the term that it is of.
    pub fn entry(
        &mut self,
        shard: ShardId,
        (entry, outcome): &Applied,
        checks: &Checks,
    ) -> Result<(), String> {
        let Command::Data(data) = &entry.command else { return Ok(()) };
        let decoded = Entry::decode(data).map_err(|error| error.to_string())?;
        let group = GroupId::shard(shard.0);
        let leader = checks.leaders.get(&(group, entry.position.term));
        if leader != Some(&decoded.header().leader_node) {
            return Err(format!("{group}: entry {} is of another leader", entry.position));
        }
        let outcome = EntryOutcome::decode(outcome).map_err(|error| error.to_string())?;
        for (command, outcome) in decoded.commands().zip(outcome.commands) {
            let (target, slot) = match command.map_err(|error| error.to_string())? {
                EntryCommand::Scrape(scrape) => (scrape.target, scrape.slot),
                EntryCommand::TargetGone(gone) => (gone.target, gone.time.millis() as u64),
                _ => continue,
            };
            if outcome.fenced.is_none() {
                self.take((shard, target), slot)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, (shard, target): (ShardId, TargetId), slot: u64) -> Result<(), String> {
        let terms = self.sent.get(&(shard.0, target.0, slot));
        // Several owners may have sent a part of one slot: the newest may be the one that was taken.
        let term = terms.and_then(BTreeSet::last).copied().unwrap_or(0);
        let last = self.taken.insert((shard, target), (term, slot));
        match last.is_some_and(|last| (term, slot) <= last) {
            true => Err(format!(
                "shard {shard} takes slot {slot} of term {term} of target {target:?} after {last:?}"
            )),
            false => Ok(()),
        }
    }

    /// A read sees all that was acknowledged before it.
    pub fn read(&self, shard: ShardId, floor: usize, seen: &BTreeSet<i64>) -> Result<(), String> {
        let written = self.written.get(&shard).map_or(&[][..], |written| &written[..floor]);
        match written.iter().find(|time| !seen.contains(time)) {
            Some(time) => Err(format!("shard {shard}: a read lacks the write of {time}")),
            None => Ok(()),
        }
    }

    /// A request is done once, and answered only as the log has it.
    pub fn answer(&mut self, id: RequestId, outcome: Outcome) -> Result<(), String> {
        match self.answered.insert(id, outcome.clone()) {
            Some(before) if before != outcome && !matches!(before, Outcome::Refused(_)) => {
                Err(format!("request {id:?} is answered {before:?} and {outcome:?}"))
            }
            _ => Ok(()),
        }
    }

    /// Revisions rise by one, and a move ends when its members are those that were wanted.
    pub fn request(
        &mut self,
        (entry, outcome): &Applied,
        (checks, disks): (&Checks, &Disks),
    ) -> Result<(), String> {
        let Command::Data(data) = &entry.command else { return Ok(()) };
        let request = Request::decode(data).map_err(|error| error.to_string())?;
        let outcome = Outcome::decode(outcome).map_err(|error| error.to_string())?;
        let before = self.state.clone();
        let expected = self.state.apply(&request);
        if expected != outcome {
            return Err(format!("request {:?} is {outcome:?}, not {expected:?}", request.id));
        }
        self.changed.insert(request.id, outcome.clone());
        match (request.command, outcome) {
            (Change::FinishMove(EndMove { shard, .. }), Outcome::Changed { revision })
                if revision > before.revision() =>
            {
                let wanted = before.placement(shard).expect("it moves").finished();
                let wanted: BTreeSet<NodeId> = wanted.into_iter().map(|node| node.0).collect();
                let group = GroupId::shard(shard.0);
                let is_there = checks.members(group, disks).iter().any(|(at, voters)| {
                    let holders = wanted.iter().filter(|node| has(disks, **node, (group, *at)));
                    voters[..] == [wanted.clone()] && holders.count() > wanted.len() / 2
                });
                match is_there {
                    true => Ok(()),
                    false => Err(format!("shard {shard}: a move ended before {wanted:?} vote")),
                }
            }
            _ => Ok(()),
        }
    }

    /// Every answer is in the control group's log.
    pub fn answers_stand(&self) -> Result<(), String> {
        let lacks = |(id, outcome): &(&RequestId, &Outcome)| match outcome {
            Outcome::Changed { .. } => self.changed.get(id) != Some(outcome),
            _ => false,
        };
        match self.answered.iter().find(lacks) {
            Some((id, outcome)) => {
                Err(format!("request {id:?} was answered {outcome:?} and is lost"))
            }
            None => Ok(()),
        }
    }

    /// A replica has all that was acknowledged, and nothing that belongs to another shard.
    pub fn kept(&self, shard: ShardId, reader: &ShardReader) -> Result<(), String> {
        let content = self.content(shard, reader)?;
        self.read(shard, self.written.get(&shard).map_or(0, Vec::len), &content.written)?;
        let scraped = self.scraped.get(&shard).into_iter().flatten();
        match scraped.into_iter().find(|value| !content.scraped.contains(&value.to_bits())) {
            Some(value) => Err(format!("shard {shard}: scrape {value} is lost")),
            None => Ok(()),
        }
    }

    fn content(&self, shard: ShardId, reader: &ShardReader) -> Result<Content, String> {
        let mut content = Content::default();
        let (start, end) = (Timestamp::from_millis(0), Timestamp::from_millis(4_000_000_000_000));
        for series in reader.select(&[], start, end) {
            let mut columns = Columns::new();
            series.samples.read(start, end, &mut columns).map_err(|error| error.to_string())?;
            for (time, value) in columns.timestamps.iter().zip(&columns.values) {
                let at = Timestamp::from_millis(*time);
                if self.state.shard_of(TenantId(0), &series.labels, at) != Some(shard) {
                    return Err(format!("shard {shard} has {} of another", series.labels));
                }
                match series.labels.value("job") {
                    "client" => drop(content.written.insert(*time)),
                    _ => drop(content.scraped.insert(value.to_bits())),
                }
            }
        }
        Ok(content)
    }
}

/// What a replica has.
#[derive(Default)]
struct Content {
    written: BTreeSet<i64>,
    scraped: BTreeSet<u64>,
}

/// Times of all that clients wrote to a shard.
pub fn written(reader: &ShardReader) -> BTreeSet<i64> {
    let mut times = BTreeSet::new();
    let (start, end) = (Timestamp::from_millis(0), Timestamp::from_millis(4_000_000_000_000));
    for series in reader.select(&[], start, end) {
        if series.labels.value("job") == "client" {
            let mut columns = Columns::new();
            series.samples.read(start, end, &mut columns).expect("it is in memory");
            times.extend(columns.timestamps);
        }
    }
    times
}
