//! What a simulated node does for the targets of the shards that it leads.
//!
//! When a target is scraped, what belongs to which shard, and what goes into which entry is the
//! product's; pages are made up, and between them is what `scraping.rs` and `sink.rs` of the
//! product do with tasks and gRPC.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use narthex_cluster::{ClusterState, ShardId, TenantId};
use narthex_model::{Labels, Timestamp};
use narthex_proto::internal::v1::ForwardRequest;
use narthex_tsdb::TargetId as StoredTargetId;
use parking_lot::Mutex;

use super::{SHARDS, node::SimulatedNode, promises::Ack};
use crate::{
    raft::GroupId,
    scrape::{
        Action, Planned, Schedule, Scrape, ScrapeCommand, ScrapedSample, ScrapedSeries, Start,
        TargetGone, TargetId,
    },
    shard::{core::Urgency, forward::Owner, parts::take_foreign, sink, task::Write},
};

/// Targets that come and go.
pub const TARGETS: u64 = 6;
const INTERVAL: Duration = Duration::from_millis(400);

/// What is under way between a node and the simulation.
#[derive(Default)]
pub struct Out {
    pub acks: Vec<Ack>,
    /// Parts of scrapes for other shards' leaders.
    pub forwards: Vec<ForwardRequest>,
}

pub type Outbox = Arc<Mutex<Out>>;

/// One target of the simulation.
pub struct Page {
    pub id: TargetId,
    labels: Labels,
    /// Of the page: the last one belongs to some other target's keys.
    series: [Labels; 2],
}

fn labels(name: &str, job: &str, instance: &str) -> Labels {
    let pairs = [("__name__", name), ("instance", instance), ("job", job)];
    Labels::from_pairs(pairs).expect("valid")
}

impl Page {
    pub fn of(number: u64) -> Self {
        let instance = format!("host-{number}");
        let low = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let id = TargetId(u128::from(number) << 64 | u128::from(low));
        let pushed = format!("batch-{number}");
        let series = [labels("requests", "app", &instance), labels("pushed", "push", &pushed)];
        Self { id, labels: labels("up", "app", &instance), series }
    }

    pub fn home(&self, state: &ClusterState, now: Timestamp) -> Option<ShardId> {
        state.shard_of(TenantId(0), &self.labels, now)
    }
}

type Series = (Arc<ScrapedSeries>, [Arc<ScrapedSeries>; 2]);

#[derive(Default)]
pub struct Scraping {
    schedule: Schedule,
    leads: BTreeMap<u32, Option<u64>>,
    /// What was assigned last.
    assigned: Option<(u64, u64)>,
    finished: Arc<Mutex<Vec<TargetId>>>,
    series: BTreeMap<TargetId, Series>,
}

/// What discovery finds, the same on each node.
pub struct Discovered {
    pub version: u64,
    pub present: BTreeSet<u64>,
}

impl SimulatedNode {
    /// Follows leaderships and discovery; gives what is due.
    pub fn scrapes_due(&mut self, discovered: &Discovered, now: Timestamp) -> Vec<Action> {
        for shard in SHARDS {
            let leadership = self.leadership(GroupId::shard(shard));
            let leads = leadership.ready.then_some(leadership.term);
            if self.scraping.leads.insert(shard, leads).flatten() == leads {
                continue;
            }
            match (leads, self.shard(ShardId(shard)).reader()) {
                (Some(_), Some(reader)) => {
                    let known = reader.targets().into_iter().filter(|it| it.owner.is_none());
                    let known: Vec<_> = known.map(|target| TargetId(target.id.0)).collect();
                    self.scraping.schedule.own(ShardId(shard), now, known);
                }
                _ => self.scraping.schedule.disown(ShardId(shard)),
            }
        }
        let state = self.state();
        let version = (discovered.version, state.epochs().len() as u64);
        if self.scraping.assigned != Some(version) && !state.epochs().is_empty() {
            self.scraping.assigned = Some(version);
            let pages = discovered.present.iter().map(|number| Page::of(*number));
            let plan = |page: Page| {
                let shard = page.home(&state, now).expect("the cluster is founded");
                Planned { target: page.id, shard, interval: INTERVAL }
            };
            self.scraping.schedule.assign(&pages.map(plan).collect::<Vec<_>>(), true, now);
        }
        let finished = std::mem::take(&mut *self.scraping.finished.lock());
        finished.into_iter().for_each(|target| self.scraping.schedule.finish(target));
        self.scraping.schedule.tick(now)
    }

    fn page(&mut self, start: &Start, value: f64, now: Timestamp) -> ScrapeCommand {
        let number = (start.target.0 >> 64) as u64;
        let (up, series) = self.scraping.series.entry(start.target).or_insert_with(|| {
            let page = Page::of(number);
            let [own, pushed] = page.series;
            let new = |labels, follows| Arc::new(ScrapedSeries::new(labels, follows));
            (new(page.labels, true), [new(own, true), new(pushed, false)])
        });
        let sample = |series: &Arc<ScrapedSeries>| ScrapedSample::new(series.clone(), now, value);
        ScrapeCommand::Scrape(Scrape {
            target: start.target,
            slot: start.slot,
            time: now,
            samples: series.iter().map(sample).collect(),
            families: Vec::new(),
            report: vec![sample(up)],
        })
    }

    /// Does what is due; `value` is on the page.
    pub fn scrape(&mut self, action: Action, value: f64, now: Timestamp, outbox: &Outbox) {
        let (shard, mut command) = match action {
            Action::Start(start) => (start.shard, self.page(&start, value, now)),
            Action::Gone { shard, target, .. } => {
                (shard, ScrapeCommand::Gone(TargetGone { target, time: now }))
            }
        };
        let term = self.leadership(GroupId::shard(shard.0)).term;
        let parts = take_foreign(&mut command, shard, &self.state());
        let replica = self.shard(shard);
        let (Some(reader), Some(writer)) = (replica.reader(), replica.writer()) else { return };
        let known = reader.target(StoredTargetId(command.target().0));
        let before = known.map(|target| target.elsewhere).unwrap_or_default();
        let elsewhere: Vec<u32> = parts.keys().map(|shard| shard.0).collect();
        let owner = Owner { shard, term, node: self.id };
        let mut forwards = sink::forwards(owner, &command, &parts, before);
        let is_gone = matches!(command, ScrapeCommand::Gone(_));
        if is_gone {
            outbox.lock().forwards.append(&mut forwards);
        }
        let command = Arc::new(command);
        let encoded = command.clone();
        let write = Write {
            bytes: sink::size(shard, &command),
            urgency: Urgency::Collect,
            encode: Box::new(move |entry, reader| {
                sink::encode(entry, reader, shard, (&encoded, &elsewhere));
                Ok(())
            }),
        };
        let (finished, outbox) = (self.scraping.finished.clone(), outbox.clone());
        self.spawn(async move {
            let outcome = writer.write(write).await;
            if outcome.is_ok_and(|outcome| sink::learn(&command, &outcome).is_ok()) {
                let mut outbox = outbox.lock();
                outbox.forwards.append(&mut forwards);
                if !is_gone {
                    outbox.acks.push(Ack::Scraped { shard, value });
                }
            }
            if !is_gone {
                finished.lock().push(command.target());
            }
        });
    }
}
