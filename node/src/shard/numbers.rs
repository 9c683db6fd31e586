//! What shards call the series of scrapes.
//!
//! A scrape is one entry of its shard's log, and what it brings to another shard one message.
//! Labels are what makes either large. So where a scrape brings more than a little of them, its
//! new series are registered ahead of it, in entries of their own, and the scrape names them by
//! number. What is registered stays invisible until a sample comes.
//!
//! Invariants
//! * a number is used on the shard that gave it, and nowhere else;
//! * a series that its shard refuses to number is left out of the scrape and counted.

use std::sync::Arc;

use bytes::Bytes;
use narthex_cluster::ShardId;
use narthex_proto::{
    batch::{BatchWriter, KnownSeries},
    client::{ShardClient, ShardError, append_request},
    internal::v1::Appended,
};
use narthex_tsdb::{SeriesId, ShardReader};
use tokio::time::Instant;

use super::task::ENTRY_BYTES_MAX;
use crate::scrape::{ScrapedSample, ScrapedSeries, SubmitError};

/// Labels that a scrape brings by itself, in bytes.
const INLINE_BYTES_MAX: usize = 256 << 10;
/// Look-ups that take less than half a millisecond.
const LOOK_UPS_INLINE_MAX: usize = 1024;
/// Labels of one entry that registers, in bytes: as much as other requests are joined up to.
const REGISTER_BYTES: usize = 256 << 10;

/// The number that `shard` gave the sample's series. Most are in the sample itself.
pub fn number(shard: ShardId, sample: &ScrapedSample) -> Option<SeriesId> {
    named(shard, sample.reference).or_else(|| named(shard, sample.series.reference()))
}

fn named(shard: ShardId, reference: u64) -> Option<SeriesId> {
    // A reference is the shard and the number, each plus one.
    let is_here = reference >> 32 == u64::from(shard.0) + 1;
    is_here.then(|| SeriesId((reference as u32).wrapping_sub(1)))
}

/// The number of a series that has had none, in the shard of this reader.
pub fn look_up(reader: &ShardReader, shard: ShardId, series: &ScrapedSeries) -> Option<SeriesId> {
    let found = reader.find(&series.labels)?;
    note(shard, series, found);
    Some(found)
}

/// Looks up all series of these samples that have no number.
pub async fn look_up_all(reader: &ShardReader, shard: ShardId, samples: &[ScrapedSample]) {
    let series = unnamed(shard, samples);
    if series.len() <= LOOK_UPS_INLINE_MAX {
        for series in &series {
            look_up(reader, shard, series);
        }
        return;
    }
    let reader = reader.clone();
    let all = move || {
        for series in &series {
            look_up(&reader, shard, series);
        }
    };
    tokio::task::spawn_blocking(all).await.expect("BUG: a look-up panicked");
}

fn unnamed(shard: ShardId, samples: &[ScrapedSample]) -> Vec<Arc<ScrapedSeries>> {
    let unnamed = samples.iter().filter(|sample| number(shard, sample).is_none());
    unnamed.map(|sample| sample.series.clone()).collect()
}

/// The number with what proves it to another node.
pub fn proven(shard: ShardId, sample: &ScrapedSample) -> Option<KnownSeries> {
    let SeriesId(number) = number(shard, sample)?;
    Some(KnownSeries { series: number, fingerprint: sample.series.labels.fingerprint() })
}

fn note(shard: ShardId, series: &ScrapedSeries, number: SeriesId) {
    series.set_reference((u64::from(shard.0) + 1) << 32 | u64::from(number.0.wrapping_add(1)));
}

/// Forgets numbers that their shard did not know.
pub fn forget<'a>(samples: impl Iterator<Item = &'a ScrapedSample>) {
    samples.for_each(|sample| sample.series.set_reference(0));
}

/// Bytes of the labels that have to be sent with these samples.
pub fn label_bytes(shard: ShardId, samples: &[ScrapedSample]) -> usize {
    let unnamed = samples.iter().filter(|sample| number(shard, sample).is_none());
    unnamed.map(|sample| sample.series.labels.as_bytes().len()).sum()
}

/// Labels of one series, in bytes: what surrounds them in an entry fits, too.
const LABELS_BYTES_MAX: usize = ENTRY_BYTES_MAX - 1024;

/// Has `shard` number the series of `samples` where their labels are more than a little. Takes
/// out the samples of series that it refuses, and says how many those are. What was numbered when
/// this fails stays numbered.
pub async fn register(
    client: &ShardClient,
    shard: ShardId,
    samples: &mut Vec<ScrapedSample>,
    deadline: Instant,
) -> Result<u64, SubmitError> {
    if label_bytes(shard, samples) <= INLINE_BYTES_MAX {
        return Ok(0);
    }
    let series = unnamed(shard, samples);
    let mut left = &series[..];
    while !left.is_empty() {
        let (chunk, rest) = left.split_at(together(left));
        let mut batch = BatchWriter::new();
        chunk.iter().for_each(|series| batch.push(&series.labels, std::iter::empty()));
        if batch.len() > LABELS_BYTES_MAX {
            let bytes = batch.len();
            return Err(SubmitError::TooLarge(format!("labels of {bytes} bytes")));
        }
        let answer = append(client, shard, batch.finish(), deadline).await?;
        let named = chunk.iter().zip(&answer.series);
        for (series, &number) in named.filter(|(_, number)| **number != SeriesId::NONE.0) {
            note(shard, series, SeriesId(number));
        }
        left = rest;
    }
    let before = samples.len();
    samples.retain(|sample| number(shard, sample).is_some());
    Ok((before - samples.len()) as u64)
}

/// How many series go into one entry: at least one, which may be larger than an entry should.
fn together(series: &[Arc<ScrapedSeries>]) -> usize {
    let mut bytes = 0;
    let fits = series.iter().take_while(|series| {
        bytes += series.labels.as_bytes().len();
        bytes <= REGISTER_BYTES
    });
    fits.count().max(1).min(series.len())
}

/// Appends, and waits where the shard is busy.
async fn append(
    client: &ShardClient,
    shard: ShardId,
    batch: Bytes,
    deadline: Instant,
) -> Result<Appended, SubmitError> {
    let request = append_request(shard, client.state().revision(), batch);
    loop {
        let pause = match client.append(shard, request.clone(), deadline).await {
            Err(ShardError::Busy { retry_after, .. }) => retry_after,
            answer => return answer.map_err(|error| submit_error(shard, error)),
        };
        let slept = tokio::time::timeout_at(deadline, tokio::time::sleep(pause)).await;
        slept.map_err(|_| SubmitError::Busy(shard))?;
    }
}

/// What a shard's answer means for the scrape.
pub fn submit_error(shard: ShardId, error: ShardError) -> SubmitError {
    match error {
        ShardError::Refused { status, .. } => SubmitError::Refused(status.message().to_owned()),
        ShardError::Unavailable { .. }
        | ShardError::Busy { .. }
        | ShardError::UnknownSeries { .. } => SubmitError::Busy(shard),
    }
}
