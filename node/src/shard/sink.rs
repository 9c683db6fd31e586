//! Where this node's scrapes enter the log: each becomes one command of its shard.
//!
//! The scraper keeps a series' number from one scrape to the next, so that only new series bring
//! their labels. A number is used only on the shard that gave it.

use std::sync::Arc;

use narthex_cluster::ShardId;
use narthex_tsdb::{
    CommandOutcome, Fence, Refusal, SeriesId, ShardReader, TargetId,
    entry::{self, EntryWriter, SampleBlock, ScrapeParts, ScrapeSlot, Source},
};

use super::{
    Replicas,
    core::Urgency,
    task::{Write, WriteError},
};
use crate::scrape::{
    LeftOut, Scrape, ScrapeCommand, ScrapeFailed, ScrapeSink, ScrapedSample, ScrapedSeries, Slot,
    SubmitError, TargetGone,
};

/// About what a sample takes in an entry once its series has a number.
const SAMPLE_BYTES: usize = 6;
/// A scrape with more samples does not fit an entry of 4 MiB.
const SAMPLES_MAX: usize = 450_000;

/// Hands scrapes to the replicas of this node.
pub struct ReplicaSink {
    replicas: Arc<Replicas>,
}

impl ReplicaSink {
    /// A sink for what this node leads.
    pub fn new(replicas: Arc<Replicas>) -> Self {
        Self { replicas }
    }
}

impl ScrapeSink for ReplicaSink {
    async fn submit(&self, shard: ShardId, command: ScrapeCommand) -> Result<LeftOut, SubmitError> {
        let replica = self.replicas.get(shard).ok_or(SubmitError::NotLeader(shard))?;
        let count = match &command {
            ScrapeCommand::Scrape(scrape) => scrape.samples.len() + scrape.report.len(),
            ScrapeCommand::Failed(failed) => failed.report.len(),
            ScrapeCommand::Gone(_) => 1,
        };
        if count > SAMPLES_MAX {
            let limit = format!(
                "{count} samples do not fit one entry of {SAMPLES_MAX}; set sample_limit or \
                 split the target"
            );
            return Err(SubmitError::Refused(limit));
        }
        let command = Arc::new(command);
        let encoded = command.clone();
        let write = Write {
            bytes: 64 + count * SAMPLE_BYTES,
            urgency: Urgency::Collect,
            encode: Box::new(move |entry, reader| {
                encode(entry, reader, shard, &encoded);
                Ok(())
            }),
        };
        match replica.writer.write(write).await {
            Ok(outcome) => learn(&command, &outcome),
            Err(WriteError::NotLeader { .. }) => Err(SubmitError::NotLeader(shard)),
            Err(WriteError::Busy { .. } | WriteError::Unknown) => Err(SubmitError::Busy(shard)),
            Err(problem @ (WriteError::Invalid(_) | WriteError::UnknownSeries)) => {
                Err(SubmitError::Refused(problem.to_string()))
            }
        }
    }
}

fn encode(entry: &mut EntryWriter, reader: &ShardReader, shard: ShardId, command: &ScrapeCommand) {
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
                },
            );
        }
        ScrapeCommand::Failed(failed) => {
            let report = block(reader, shard, &failed.report);
            entry.scrape_failed(slot(failed.target, failed.slot, failed.time), &report);
        }
        ScrapeCommand::Gone(TargetGone { target, time }) => {
            let target = TargetId(target.0);
            entry.target_gone(entry::TargetGone { target, time: *time });
        }
    }
}

fn slot(target: crate::scrape::TargetId, slot: Slot, time: narthex_model::Timestamp) -> ScrapeSlot {
    // Slots are named by their beginning; those before 1970 do not exist.
    let slot = u64::try_from(slot.0).unwrap_or(0);
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
        None => Ok(left_out(outcome)),
    }
}

fn left_out(outcome: &CommandOutcome) -> LeftOut {
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
        *count += outcome.refused(reason);
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
