//! A batch that its shard refuses for what is in it: cut in halves until the culprit is alone.
//!
//! Sending it again whole would be refused every time, and so would its neighbours. Routers check
//! what they send, so this finds what a shard's node knows better.
//!
//! Invariants
//! * only what was refused alone is told to the sender as refused;
//! * what is left when there were too many attempts is a failure, not a refusal.

use bytes::Bytes;
use narthex_cluster::ShardId;
use narthex_model::Labels;
use narthex_proto::{
    batch::{BatchReader, Item, Subject, halve},
    client::ShardError,
    internal::v1::{Appended, Refused},
};
use tonic::{Code, Status};

use super::{APPEND_TIME, Router};
use crate::metrics::REFUSED_BY_SHARD;

/// Times that parts of one batch are sent. A culprit among thousands takes about twenty; a shard
/// that refuses everything has another reason than what it is sent.
const ATTEMPTS_MAX: usize = 256;
/// Characters of a series' labels in an answer.
const SHOWN_CHARS: usize = 200;

impl Router {
    /// Appends a batch, all but the series that its shard refuses when they come alone.
    pub(super) async fn append_batch_to(
        &self,
        shard: ShardId,
        batch: Bytes,
        revision: u64,
    ) -> Result<Appended, ShardError> {
        let whole = self.shards.append(shard, revision, batch.clone(), APPEND_TIME).await;
        let mut refused = match whole {
            Err(ShardError::Refused { status, .. }) if is_for_content(&status) => status,
            answer => return answer,
        };
        let deadline = self.clock.monotonic() + APPEND_TIME;
        let (mut sum, mut left) = (Appended::default(), Vec::new());
        cut(batch, &refused, (&mut left, &mut sum));
        for _ in 0..ATTEMPTS_MAX {
            let Some(part) = left.pop() else { return Ok(sum) };
            let within = deadline.saturating_sub(self.clock.monotonic());
            match self.shards.append(shard, revision, part.clone(), within).await {
                Ok(answer) => add(&mut sum, answer),
                Err(ShardError::Refused { status, .. }) if is_for_content(&status) => {
                    cut(part, &status, (&mut left, &mut sum));
                    refused = status;
                }
                Err(error) => return Err(error),
            }
        }
        match left.is_empty() {
            true => Ok(sum),
            false => Err(ShardError::Refused { shard, status: refused }),
        }
    }
}

/// Whether another batch would not be refused: its message or its entry is too large, or it cannot
/// be read.
fn is_for_content(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::OutOfRange)
}

/// Leaves the halves of a refused batch to be sent, the first on top; counts what has none.
fn cut(batch: Bytes, status: &Status, (left, sum): (&mut Vec<Bytes>, &mut Appended)) {
    match halve(&batch) {
        Ok(Some([first, second])) => left.extend([second, first]),
        Ok(None) | Err(_) => count(&batch, status, sum),
    }
}

/// Counts a refused series.
fn count(batch: &[u8], status: &Status, sum: &mut Appended) {
    let mut samples = Vec::new();
    let item = BatchReader::new(batch).and_then(|mut reader| reader.next(&mut samples));
    let (subject, refused) = match &item {
        Ok(Some(Item::Floats(subject))) => (*subject, samples.len()),
        Ok(Some(Item::Rich(rich))) => (rich.subject, rich.len()),
        Ok(Some(Item::Metadata(_))) => {
            sum.families_refused += 1;
            return;
        }
        Ok(None) | Err(_) => return,
    };
    let example = format!("{}: {}", shown(subject), status.message());
    add_refused(
        sum,
        Refused { reason: REFUSED_BY_SHARD.to_owned(), samples: refused as u64, example },
    );
}

/// The series as far as an answer needs it.
fn shown(subject: Subject<'_>) -> String {
    let text = match subject {
        Subject::Known(known) => return format!("series {} of its shard", known.series),
        Subject::Labels(bytes) => Labels::from_bytes(bytes).unwrap_or_default().to_string(),
    };
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn add(sum: &mut Appended, answer: Appended) {
    sum.samples += answer.samples;
    sum.histograms += answer.histograms;
    sum.exemplars += answer.exemplars;
    sum.exemplars_refused += answer.exemplars_refused;
    sum.families_refused += answer.families_refused;
    answer.refused.into_iter().for_each(|row| add_refused(sum, row));
}

fn add_refused(sum: &mut Appended, row: Refused) {
    match sum.refused.iter_mut().find(|known| known.reason == row.reason) {
        Some(known) => known.samples += row.samples,
        None => sum.refused.push(row),
    }
}

#[cfg(test)]
mod tests;
