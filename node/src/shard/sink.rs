//! Where this node's scrapes enter the log: each becomes one command of its shard, and one of each
//! other shard that some of its series belong to.
//!
//! The scraper keeps a series' number from one scrape to the next, so that only new series bring
//! their labels, and where those are many they go ahead (`numbers.rs`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::future::{join, join_all};
use narthex_cluster::ShardId;
use narthex_proto::{
    client::{ShardClient, ShardError},
    internal::v1::ForwardRequest,
    service::MESSAGE_BYTES_MAX,
};
use narthex_tsdb::{
    CommandOutcome, Fence, Refusal, ShardReader, TargetId,
    entry::{self, EntryWriter, SampleBlock, ScrapeParts, ScrapeSlot, Source},
};

use super::{
    Replica, Replicas,
    core::Urgency,
    forward::{self, FENCED, Owner},
    numbers,
    parts::{Part, take_foreign},
    task::{Write, WriteError},
};
use crate::{
    disk::DiskState,
    node::Shared,
    scrape::{
        LeftOut, Scrape, ScrapeCommand, ScrapeFailed, ScrapeSink, ScrapedFamily, ScrapedSample,
        Slot, SubmitError, TargetGone,
    },
};

/// About what a sample takes in an entry once its series has a number.
const SAMPLE_BYTES: usize = 6;
/// How long new series may take to be numbered. Those that were keep their numbers, and the next
/// scrape brings fewer.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long another shard may take for its part: an election fits.
const PART_TIMEOUT: Duration = Duration::from_secs(2);
/// Batches of a part; the rest of its message is small.
const PART_BYTES_MAX: usize = MESSAGE_BYTES_MAX - (64 << 10);

/// Hands scrapes to the replicas of this node, and what belongs to other shards to their leaders.
pub struct ReplicaSink {
    shared: Arc<Shared>,
    replicas: Arc<Replicas>,
    client: ShardClient,
}

impl ReplicaSink {
    /// A sink for what this node leads; `client` reaches the other shards.
    pub(crate) fn new(shared: Arc<Shared>, replicas: Arc<Replicas>, client: ShardClient) -> Self {
        Self { shared, replicas, client }
    }

    /// Brings the target's own shard its part, which decides whether the scrape counts.
    async fn write(
        &self,
        replica: &Replica,
        command: &Arc<ScrapeCommand>,
        elsewhere: Vec<u32>,
    ) -> Result<LeftOut, SubmitError> {
        let shard = replica.shard;
        let encoded = command.clone();
        let write = Write {
            bytes: size(shard, command),
            urgency: Urgency::Collect,
            encode: Box::new(move |entry, reader| {
                encode(entry, reader, shard, (&encoded, &elsewhere));
                Ok(())
            }),
        };
        match replica.writer.write(write).await {
            Ok(outcome) => learn(command, &outcome),
            Err(WriteError::NotLeader { .. }) => Err(SubmitError::NotLeader(shard)),
            Err(WriteError::Busy { .. } | WriteError::Unknown) => Err(SubmitError::Busy(shard)),
            Err(problem @ WriteError::TooLarge { .. }) => {
                Err(SubmitError::TooLarge(problem.to_string()))
            }
            Err(problem @ (WriteError::Invalid(_) | WriteError::UnknownSeries)) => {
                Err(SubmitError::Refused(problem.to_string()))
            }
        }
    }

    /// Has shards number what is new, where that is much.
    async fn register(
        &self,
        replica: &Replica,
        command: &mut ScrapeCommand,
        parts: &mut BTreeMap<ShardId, Part>,
    ) -> Result<Registered, SubmitError> {
        let mut registered = Registered::default();
        let ScrapeCommand::Scrape(scrape) = command else { return Ok(registered) };
        let (client, own) = (&self.client, replica.shard);
        let deadline = (self.shared.clock.monotonic() + REGISTER_TIMEOUT).into();
        numbers::look_up_all(&replica.reader, own, &scrape.samples).await;
        let here = numbers::register(client, own, &mut scrape.samples, deadline);
        let elsewhere = parts.iter_mut().map(async |(&shard, part)| {
            (shard, numbers::register(client, shard, &mut part.samples, deadline).await)
        });
        let (here, elsewhere) = join(here, join_all(elsewhere)).await;
        let mut refused = here?;
        for (shard, there) in elsewhere {
            match there {
                Ok(there) => refused += there,
                Err(too_large @ SubmitError::TooLarge(_)) => return Err(too_large),
                Err(error) => drop(registered.lost.insert(shard, error)),
            }
        }
        // A registration does not say why it names no number; but only few things can be.
        match replica.reader.limits_series() && self.shared.disk.now().0 == DiskState::Ample {
            true => registered.left_out.series_limit = refused,
            false => registered.left_out.other = refused,
        }
        Ok(registered)
    }

    /// Brings other shards their parts, all at once. What one of them does not take in time is
    /// lost, as a scrape is that its own shard does not take.
    async fn forward(
        &self,
        requests: Vec<ForwardRequest>,
        parts: &BTreeMap<ShardId, Part>,
    ) -> Result<LeftOut, SubmitError> {
        let deadline = self.shared.clock.monotonic() + PART_TIMEOUT;
        let forwards = requests.into_iter().map(|request| async move {
            let shard = ShardId(request.shard_id);
            let bytes = request.samples.len() + request.stamped.len() + request.report.len();
            if bytes > PART_BYTES_MAX {
                return Err(SubmitError::Refused(format!(
                    "{bytes} bytes for shard {shard} do not fit one message of {PART_BYTES_MAX}; \
                     split the target"
                )));
            }
            match self.client.forward(shard, request, deadline.into()).await {
                Ok(appended) if appended.refused.iter().any(|it| it.reason == FENCED) => {
                    Err(SubmitError::Refused(format!("shard {shard} has a later part")))
                }
                Ok(appended) => Ok(left_out(|reason| {
                    let of = appended.refused.iter().filter(|it| it.reason == reason.name());
                    of.map(|it| it.samples).sum()
                })),
                Err(error) => {
                    if let (ShardError::UnknownSeries { .. }, Some(part)) =
                        (&error, parts.get(&shard))
                    {
                        numbers::forget(part.samples.iter().chain(&part.report));
                    }
                    Err(numbers::submit_error(shard, error))
                }
            }
        });
        join_all(forwards)
            .await
            .into_iter()
            .try_fold(LeftOut::default(), |sum, part| Ok(sum + part?))
    }
}

/// What came of new series.
#[derive(Debug, Default)]
struct Registered {
    /// Samples of series that their shards refuse.
    left_out: LeftOut,
    /// Shards that gave no answer: they get nothing of this scrape.
    lost: BTreeMap<ShardId, SubmitError>,
}

impl ScrapeSink for ReplicaSink {
    async fn submit(
        &self,
        shard: ShardId,
        mut command: ScrapeCommand,
    ) -> Result<LeftOut, SubmitError> {
        let replica = self.replicas.get(shard).ok_or(SubmitError::NotLeader(shard))?;
        if self.shared.disk.check_writes().is_err() {
            return Err(SubmitError::Busy(shard));
        }
        let state = self.shared.control.state().borrow().clone();
        let mut parts = take_foreign(&mut command, shard, &state);
        let known = replica.reader.target(TargetId(command.target().0));
        let before = known.map(|target| target.elsewhere).unwrap_or_default();
        let elsewhere: Vec<u32> = parts.keys().map(|shard| shard.0).collect();
        let Registered { left_out, lost } =
            self.register(&replica, &mut command, &mut parts).await?;
        let (term, node) = (replica.leadership().term, self.shared.node.0);
        let owner = Owner { shard, term, node };
        let mut forwards = forwards(owner, &command, &parts, before);
        forwards.retain(|request| !lost.contains_key(&ShardId(request.shard_id)));
        let command = Arc::new(command);
        if let ScrapeCommand::Gone(gone) = *command {
            // Where its parts are the shard takes them over that scrapes it from now on.
            let forwards = if gone.has_moved() { Vec::new() } else { forwards };
            // The target's own state says where its parts are: it ends last.
            self.forward(forwards, &parts).await?;
            return self.write(&replica, &command, elsewhere).await;
        }
        let left_out = left_out + self.write(&replica, &command, elsewhere).await?;
        let left_out = left_out + self.forward(forwards, &parts).await?;
        lost.into_values().next().map_or(Ok(left_out), Err)
    }
}

/// What the owner tells other shards of a command: those that get a part of it, and those that had
/// one of the scrape `before`.
pub(crate) fn forwards(
    owner: Owner,
    command: &ScrapeCommand,
    parts: &BTreeMap<ShardId, Part>,
    before: Vec<u32>,
) -> Vec<ForwardRequest> {
    let shards: BTreeSet<ShardId> =
        before.into_iter().map(ShardId).chain(parts.keys().copied()).collect();
    let others = shards.into_iter().filter(|shard| *shard != owner.shard);
    others.map(|shard| forward::request(owner, shard, command, parts.get(&shard))).collect()
}

/// About what a command takes in an entry.
pub(crate) fn size(shard: ShardId, command: &ScrapeCommand) -> usize {
    let of = |samples: &[ScrapedSample]| {
        samples.len() * SAMPLE_BYTES + numbers::label_bytes(shard, samples)
    };
    64 + match command {
        ScrapeCommand::Scrape(scrape) => of(&scrape.samples) + of(&scrape.report),
        ScrapeCommand::Failed(failed) => of(&failed.report),
        ScrapeCommand::Gone(_) => 0,
    }
}

/// Adds a command to an entry of its shard.
pub(crate) fn encode(
    entry: &mut EntryWriter,
    reader: &ShardReader,
    shard: ShardId,
    (command, elsewhere): (&ScrapeCommand, &[u32]),
) {
    match command {
        ScrapeCommand::Scrape(scrape) => {
            let mut samples = SampleBlock::with_capacity(scrape.samples.len());
            let mut stamped = SampleBlock::new();
            for sample in &scrape.samples {
                let block = if sample.has_own_timestamp { &mut stamped } else { &mut samples };
                push(block, reader, shard, sample);
            }
            let lookup = reader.look_up();
            for metadata in scrape.families.iter().map(ScrapedFamily::metadata) {
                if !lookup.knows(&metadata) {
                    samples.push_family(&metadata);
                }
            }
            drop(lookup);
            let report = block(reader, shard, &scrape.report);
            entry.scrape(
                slot(scrape.target, scrape.slot, scrape.time),
                ScrapeParts {
                    samples: &samples,
                    stamped: &stamped,
                    track_stamped: false,
                    report: &report,
                    elsewhere,
                },
            );
        }
        ScrapeCommand::Failed(failed) => {
            let report = block(reader, shard, &failed.report);
            entry.scrape_failed(slot(failed.target, failed.slot, failed.time), &report);
        }
        ScrapeCommand::Gone(TargetGone { target, time }) => {
            let target = TargetId(target.0);
            entry.target_gone(entry::TargetGone { target, time: *time, source: Source::Client });
        }
    }
}

fn slot(target: crate::scrape::TargetId, slot: Slot, time: narthex_model::Timestamp) -> ScrapeSlot {
    let slot = forward::slot_number(slot);
    ScrapeSlot { target: TargetId(target.0), slot, time, source: Source::Client }
}

fn block(reader: &ShardReader, shard: ShardId, samples: &[ScrapedSample]) -> SampleBlock {
    let mut block = SampleBlock::new();
    for sample in samples {
        push(&mut block, reader, shard, sample);
    }
    block
}

fn push(block: &mut SampleBlock, reader: &ShardReader, shard: ShardId, sample: &ScrapedSample) {
    let known = numbers::number(shard, sample);
    match known.or_else(|| numbers::look_up(reader, shard, &sample.series)) {
        Some(series) => block.push(series, sample.timestamp, sample.value),
        None => block.push_labels(&sample.series.labels, sample.timestamp, sample.value),
    }
}

/// Says what came of a command, and forgets numbers that the shard did not know.
pub(crate) fn learn(
    command: &ScrapeCommand,
    outcome: &CommandOutcome,
) -> Result<LeftOut, SubmitError> {
    if outcome.refused(Refusal::UnknownSeries) > 0 {
        forget(command);
    }
    match outcome.fenced {
        Some(Fence::Slot { last }) => {
            Err(SubmitError::Refused(format!("slot is not above the target's last, {last}")))
        }
        Some(Fence::Foreign { .. }) => {
            Err(SubmitError::Refused("another owner has written since".to_owned()))
        }
        Some(Fence::NotAlone) => {
            Err(SubmitError::Refused("BUG: a scrape counts as a delete".to_owned()))
        }
        None => Ok(left_out(|reason| outcome.refused(reason))),
    }
}

fn left_out(refused: impl Fn(Refusal) -> u64) -> LeftOut {
    let mut left_out = LeftOut::default();
    for reason in Refusal::ALL {
        let count = match reason {
            Refusal::OutOfOrder | Refusal::TooOld => &mut left_out.out_of_order,
            Refusal::Conflict => &mut left_out.duplicate,
            Refusal::BehindHorizon | Refusal::TooFarAhead => &mut left_out.out_of_bounds,
            Refusal::SeriesLimit
            | Refusal::TargetSeriesLimit
            | Refusal::JobSeriesLimit
            | Refusal::NodeSeriesLimit => &mut left_out.series_limit,
            Refusal::UnknownSeries | Refusal::InvalidLabels | Refusal::NoSpace => {
                &mut left_out.other
            }
        };
        *count += refused(reason);
    }
    left_out
}

fn forget(command: &ScrapeCommand) {
    match command {
        ScrapeCommand::Scrape(Scrape { samples, report, .. }) => {
            numbers::forget(samples.iter().chain(report));
        }
        ScrapeCommand::Failed(ScrapeFailed { report, .. }) => numbers::forget(report.iter()),
        ScrapeCommand::Gone(_) => {}
    }
}
