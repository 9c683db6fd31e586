//! Parts of scrapes, and of rules' results, on their way from the leader of the target's shard to the leader of another.
//!
//! A part is fenced by the owner's term and slot, and the other shard remembers the part's series
//! as it does for targets of its own, so that those which vanish end there.

use bytes::Bytes;
use narthex_cluster::ShardId;
use narthex_model::{Sample, Timestamp};
use narthex_proto::{
    batch::BatchWriter,
    internal::v1::{ForwardKind, ForwardRequest},
};
use narthex_tsdb::{
    ShardReader, TargetId,
    entry::{EntryWriter, Foreign, ScrapeParts, ScrapeSlot, Source, TargetGone as Gone},
};

use super::{batch::block, core::Urgency, numbers, parts::Part, task::WriteError};
use crate::planted::{Planted, is_planted};
use crate::scrape::{ScrapeCommand, ScrapedSample, Slot};

/// Why a whole part was refused: its source has written a later one.
pub const FENCED: &str = "fenced";

/// Who forwards.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    /// The target's shard.
    pub shard: ShardId,
    /// The term this node leads it in.
    pub term: u64,
    /// This node.
    pub node: u64,
}

/// The part of `command` for `shard`. Without a part of a good scrape, what is there ends.
pub fn request(
    owner: Owner,
    shard: ShardId,
    command: &ScrapeCommand,
    part: Option<&Part>,
) -> ForwardRequest {
    let kind = match part {
        Some(_) => ForwardKind::Page,
        None => ForwardKind::Gone,
    };
    let empty = Part::default();
    let part = part.unwrap_or(&empty);
    let (kind, slot, time) = match command {
        ScrapeCommand::Scrape(scrape) => (kind, scrape.slot, scrape.time),
        ScrapeCommand::Failed(failed) => (ForwardKind::Failed, failed.slot, failed.time),
        // Slots are times, and the target's last one has passed.
        ScrapeCommand::Gone(gone) => (ForwardKind::Gone, Slot(gone.time.millis()), gone.time),
    };
    let page = |has_own_timestamp| {
        let samples = part.samples.iter();
        batch(shard, samples.filter(move |sample| sample.has_own_timestamp == has_own_timestamp))
    };
    ForwardRequest {
        tenant: 0,
        shard_id: shard.0,
        owner_shard_id: owner.shard.0,
        owner_term: owner.term,
        owner_node_id: owner.node,
        kind: kind.into(),
        target: Bytes::copy_from_slice(&command.target().0.to_be_bytes()),
        slot: slot_number(slot),
        time_ms: time.millis(),
        samples: page(false),
        stamped: page(true),
        report: batch(shard, part.report.iter()),
    }
}

/// Whether a part may be collected with others: a rule's may not, as other rules wait for it.
pub fn urgency(request: &ForwardRequest) -> Urgency {
    match request.kind() {
        ForwardKind::Rule => Urgency::AtOnce,
        _ => Urgency::Collect,
    }
}

/// Slots are named by their beginnings; those before 1970 do not exist.
pub fn slot_number(slot: Slot) -> u64 {
    u64::try_from(slot.0).unwrap_or(0)
}

fn batch<'a>(shard: ShardId, samples: impl Iterator<Item = &'a ScrapedSample>) -> Bytes {
    let mut batch = BatchWriter::new();
    for scraped in samples {
        let ScrapedSample { series, timestamp, value, .. } = scraped;
        let sample = std::iter::once(Sample { timestamp: *timestamp, value: *value });
        match numbers::proven(shard, scraped) {
            Some(known) => batch.push_known(known, sample),
            None => batch.push(&series.labels, sample),
        }
    }
    batch.finish()
}

/// Adds the command of a part that another shard's leader forwarded.
pub fn encode(
    entry: &mut EntryWriter,
    reader: &ShardReader,
    request: &ForwardRequest,
) -> Result<(), WriteError> {
    let invalid = |problem: &str| WriteError::Invalid(problem.to_owned());
    let target: [u8; 16] =
        request.target[..].try_into().map_err(|_| invalid("target of not 16 bytes"))?;
    let target = TargetId(u128::from_be_bytes(target));
    let foreign = Source::Foreign(Foreign {
        owner_shard: request.owner_shard_id,
        // Targets' ids are hashes: their lower half is one too.
        stream: target.0 as u64,
        owner_term: request.owner_term,
        owner_node: request.owner_node_id,
        slot: request.slot,
    });
    let source = match is_planted(Planted::ForeignUnfenced) {
        true => Source::Client,
        false => foreign,
    };
    let time = Timestamp::from_millis(request.time_ms);
    let slot = ScrapeSlot { target, slot: request.slot, time, source };
    let kind = ForwardKind::try_from(request.kind).map_err(|error| invalid(&error.to_string()))?;
    let block = |batch| Ok(block(reader, batch)?.0);
    match kind {
        ForwardKind::Page | ForwardKind::Rule => entry.scrape(
            slot,
            ScrapeParts {
                samples: &block(&request.samples)?,
                stamped: &block(&request.stamped)?,
                track_stamped: false,
                report: &block(&request.report)?,
                elsewhere: &[],
            },
        ),
        ForwardKind::Failed => entry.scrape_failed(slot, &block(&request.report)?),
        ForwardKind::Gone => entry.target_gone(Gone { target, time, source }),
        ForwardKind::Unspecified => return Err(invalid("a part of no kind")),
    }
    Ok(())
}
