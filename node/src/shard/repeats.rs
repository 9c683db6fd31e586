//! Samples that are refused for their age and were stored long ago.
//!
//! A request over many shards is sent again whole when one of them did not answer, perhaps hours
//! later, by a sender that was cut off. The others have its samples, and say so: a sample with the
//! time and the bits of a stored one is a repeat, however old. Apply compares with what is in
//! memory and never reads the disk, so its outcome, equal on all replicas, may call such a sample
//! too old. What the sender hears is the leader's to say, and the leader looks.
//!
//! Invariant: of what the sender is told is stored, every sample is.

use narthex_model::{Labels, Matcher, NativeHistogram, Timestamp, is_stale};
use narthex_proto::batch::{BatchReader, Item, MalformedBatch, Point, Subject};
use narthex_tsdb::{Columns, CommandOutcome, ReadError, Refusal, SeriesId, ShardReader};
use tracing::warn;

/// Reasons that speak of a sample's age only.
const FOR_AGE: [Refusal; 2] = [Refusal::TooOld, Refusal::OutOfOrder];

/// Why a batch cannot be compared with what is stored.
#[derive(Debug, thiserror::Error)]
enum CompareError {
    /// It was read before.
    #[error("read batch")]
    Batch(#[from] MalformedBatch),
    /// The replica's own trouble.
    #[error("read what is stored")]
    Stored(#[from] ReadError),
}

/// The outcome of a batch as its sender hears it. Reads the disk where samples were refused for
/// their age, on the blocking pool.
pub async fn as_told(
    mut outcome: CommandOutcome,
    reader: &ShardReader,
    batch: bytes::Bytes,
) -> CommandOutcome {
    if FOR_AGE.iter().all(|reason| outcome.refused(*reason) == 0) {
        return outcome;
    }
    let reader = reader.clone();
    let missing = tokio::task::spawn_blocking(move || missing(&reader, &batch)).await;
    match missing {
        Ok(Ok(missing)) => forgive(&mut outcome, missing),
        Ok(Err(error)) => warn!(%error, "a batch cannot be compared with what is stored"),
        Err(error) => warn!(%error, "a batch cannot be compared with what is stored"),
    }
    outcome
}

/// Counts as repeats what was refused for its age, but for as many samples as are not stored.
/// Those may have been refused for another reason, or lost against another value: then fewer are
/// repeats, never more.
fn forgive(outcome: &mut CommandOutcome, missing: u64) {
    let mut repeats = outcome.refused_total().saturating_sub(missing);
    for reason in FOR_AGE {
        let forgiven = repeats.min(outcome.refused(reason));
        outcome.refused[reason as usize] -= forgiven;
        outcome.repeated += forgiven;
        repeats -= forgiven;
    }
    outcome.first_refused = outcome.first_refused.filter(|it| outcome.refused(it.reason) > 0);
}

/// How many samples of a batch are not stored with their bits.
fn missing(reader: &ShardReader, batch: &[u8]) -> Result<u64, CompareError> {
    let mut read = BatchReader::new(batch)?;
    let (mut samples, mut stored, mut missing) = (Vec::new(), Columns::new(), 0);
    while let Some(item) = read.next(&mut samples)? {
        match item {
            Item::Floats(subject) => {
                let times = samples.iter().map(|sample| sample.timestamp);
                read_stored(reader, subject, times, &mut stored)?;
                let is_missing = |sample: &&narthex_model::Sample| {
                    !has_float(&stored, sample.timestamp, sample.value)
                };
                missing += samples.iter().filter(is_missing).count();
            }
            Item::Rich(rich) => {
                let floats = rich.floats.iter().map(|point| point.timestamp);
                let histograms = rich.histograms.iter().map(|point| point.timestamp);
                read_stored(reader, rich.subject, floats.chain(histograms), &mut stored)?;
                let is_missing =
                    |point: &&Point<f64>| !has_float(&stored, point.timestamp, point.value);
                missing += rich.floats.iter().filter(is_missing).count();
                for point in &rich.histograms {
                    let is_stored = has_histogram(&stored, point.timestamp, point.value.as_bytes());
                    missing += usize::from(!is_stored);
                }
            }
            Item::Metadata(_) => {}
        }
    }
    Ok(missing as u64)
}

/// Reads what a series has from the first of `times` to the last; nothing, if it has nothing.
fn read_stored(
    reader: &ShardReader,
    subject: Subject<'_>,
    times: impl Iterator<Item = Timestamp>,
    into: &mut Columns,
) -> Result<(), CompareError> {
    into.clear();
    let labels = match subject {
        Subject::Labels(bytes) => Some(Labels::from_bytes(bytes).map_err(MalformedBatch::from)?),
        Subject::Known(known) => reader.labels(SeriesId(known.series)),
    };
    let range = times.fold(None, |range: Option<(Timestamp, Timestamp)>, time| {
        let (first, last) = range.unwrap_or((time, time));
        Some((first.min(time), last.max(time)))
    });
    let (Some(labels), Some((start, end))) = (labels, range) else { return Ok(()) };
    let matchers: Vec<_> = labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
    // Series with more labels satisfy the matchers, too.
    let selected = reader.select(&matchers, start, end);
    match selected.iter().find(|series| series.labels == labels) {
        Some(series) => Ok(series.samples.read(start, end, into)?),
        None => Ok(()),
    }
}

fn has_float(stored: &Columns, time: Timestamp, value: f64) -> bool {
    let Ok(row) = stored.timestamps.binary_search(&time.millis()) else { return false };
    let is_histogram = stored.histograms.binary_search_by_key(&row, |it| it.0).is_ok();
    // A staleness marker is stored as one of the kind that its series had before.
    stored.values[row].to_bits() == value.to_bits() && (!is_histogram || is_stale(value))
}

fn has_histogram(stored: &Columns, time: Timestamp, encoded: &[u8]) -> bool {
    let Ok(row) = stored.timestamps.binary_search(&time.millis()) else { return false };
    let Ok(at) = stored.histograms.binary_search_by_key(&row, |it| it.0) else { return false };
    let histogram: &NativeHistogram = &stored.histograms[at].1;
    let mut bytes = Vec::new();
    histogram.encode(&mut bytes);
    bytes == encoded
}
