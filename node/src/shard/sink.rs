//! Where this node's scrapes enter the log: each becomes one command of its shard, and one of each
//! other shard that some of its series belong to.
//!
//! The scraper keeps a series' number from one scrape to the next, so that only new series bring
//! their labels. A number is used only on the shard that gave it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::future::join_all;
use narthex_cluster::ShardId;
use narthex_proto::{
    client::{ShardClient, ShardError},
    internal::v1::ForwardRequest,
    service::MESSAGE_BYTES_MAX,
};
use narthex_tsdb::{
    CommandOutcome, Fence, Refusal, SeriesId, ShardReader, TargetId,
    entry::{self, EntryWriter, SampleBlock, ScrapeParts, ScrapeSlot, Source},
};

use super::{
    Replica, Replicas,
    core::Urgency,
    forward::{self, FENCED, Owner},
    parts::take_foreign,
    task::{Write, WriteError},
};
use crate::{
    node::Shared,
    scrape::{
        LeftOut, Scrape, ScrapeCommand, ScrapeFailed, ScrapeSink, ScrapedSample, ScrapedSeries,
        Slot, SubmitError, TargetGone,
    },
};

/// About what a sample takes in an entry once its series has a number.
const SAMPLE_BYTES: usize = 6;
/// A scrape with more samples does not fit an entry of 4 MiB.
const SAMPLES_MAX: usize = 450_000;
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
        let count = count(command);
        if count > SAMPLES_MAX {
            let limit = format!(
                "{count} samples do not fit one entry of {SAMPLES_MAX}; set sample_limit or \
                 split the target"
            );
            return Err(SubmitError::Refused(limit));
        }
        let encoded = command.clone();
        let write = Write {
            bytes: 64 + count * SAMPLE_BYTES,
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
            Err(problem @ (WriteError::Invalid(_) | WriteError::UnknownSeries)) => {
                Err(SubmitError::Refused(problem.to_string()))
            }
        }
    }

    /// Brings other shards their parts, all at once. What one of them does not take in time is
    /// lost, as a scrape is that its own shard does not take.
    async fn forward(&self, requests: Vec<ForwardRequest>) -> Result<LeftOut, SubmitError> {
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
                Err(ShardError::Refused { status, .. }) => {
                    Err(SubmitError::Refused(status.message().to_owned()))
                }
                Err(
                    ShardError::Unavailable { .. }
                    | ShardError::Busy { .. }
                    | ShardError::UnknownSeries { .. },
                ) => Err(SubmitError::Busy(shard)),
            }
        });
        join_all(forwards)
            .await
            .into_iter()
            .try_fold(LeftOut::default(), |sum, part| Ok(sum + part?))
    }
}

impl ScrapeSink for ReplicaSink {
    async fn submit(
        &self,
        shard: ShardId,
        mut command: ScrapeCommand,
    ) -> Result<LeftOut, SubmitError> {
        let replica = self.replicas.get(shard).ok_or(SubmitError::NotLeader(shard))?;
        let state = self.shared.control.state().borrow().clone();
        let parts = take_foreign(&mut command, shard, &state);
        let known = replica.reader.target(TargetId(command.target().0));
        let before = known.map(|target| target.elsewhere).unwrap_or_default();
        let elsewhere: Vec<u32> = parts.keys().map(|shard| shard.0).collect();
        let shards: BTreeSet<ShardId> =
            before.into_iter().map(ShardId).chain(parts.keys().copied()).collect();
        let (term, node) = (replica.leadership().term, self.shared.node.0);
        let owner = Owner { shard, term, node };
        let forwards: Vec<ForwardRequest> = shards
            .into_iter()
            .filter(|part| *part != shard)
            .map(|part| forward::request(owner, part, &command, parts.get(&part)))
            .collect();
        let command = Arc::new(command);
        if forwards.is_empty() {
            return self.write(&replica, &command, elsewhere).await;
        }
        if let ScrapeCommand::Gone(_) = *command {
            // The target's own state says where its parts are: it ends last.
            self.forward(forwards).await?;
            return self.write(&replica, &command, elsewhere).await;
        }
        let left_out = self.write(&replica, &command, elsewhere).await?;
        Ok(left_out + self.forward(forwards).await?)
    }
}

fn count(command: &ScrapeCommand) -> usize {
    match command {
        ScrapeCommand::Scrape(scrape) => scrape.samples.len() + scrape.report.len(),
        ScrapeCommand::Failed(failed) => failed.report.len(),
        ScrapeCommand::Gone(_) => 1,
    }
}

fn encode(
    entry: &mut EntryWriter,
    reader: &ShardReader,
    shard: ShardId,
    (command, elsewhere): (&ScrapeCommand, &[u32]),
) {
    match command {
        ScrapeCommand::Scrape(scrape) => {
            let (mut samples, mut stamped) = (SampleBlock::new(), SampleBlock::new());
            for sample in &scrape.samples {
                let block = if sample.has_own_timestamp { &mut stamped } else { &mut samples };
                push(block, reader, shard, sample);
            }
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
    match known(shard, &sample.series).or_else(|| look_up(reader, shard, &sample.series)) {
        Some(series) => block.push(series, sample.timestamp, sample.value),
        None => block.push_labels(&sample.series.labels, sample.timestamp, sample.value),
    }
}

/// A reference is the shard and the series' number, each plus one.
fn known(shard: ShardId, series: &ScrapedSeries) -> Option<SeriesId> {
    let reference = series.reference();
    let is_here = reference >> 32 == u64::from(shard.0) + 1;
    is_here.then(|| SeriesId((reference as u32).wrapping_sub(1)))
}

fn look_up(reader: &ShardReader, shard: ShardId, series: &ScrapedSeries) -> Option<SeriesId> {
    let found = reader.find(&series.labels)?;
    series.set_reference((u64::from(shard.0) + 1) << 32 | u64::from(found.0.wrapping_add(1)));
    Some(found)
}

/// Says what came of a command, and forgets numbers that the shard did not know.
fn learn(command: &ScrapeCommand, outcome: &CommandOutcome) -> Result<LeftOut, SubmitError> {
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
            Refusal::UnknownSeries | Refusal::SeriesLimit | Refusal::InvalidLabels => {
                &mut left_out.other
            }
        };
        *count += refused(reason);
    }
    left_out
}

fn forget(command: &ScrapeCommand) {
    let samples = match command {
        ScrapeCommand::Scrape(Scrape { samples, report, .. }) => samples.iter().chain(report),
        ScrapeCommand::Failed(ScrapeFailed { report, .. }) => [].iter().chain(report),
        ScrapeCommand::Gone(_) => return,
    };
    for sample in samples {
        sample.series.set_reference(0);
    }
}
