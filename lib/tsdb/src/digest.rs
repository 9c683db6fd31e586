//! Digests: a hash of a shard's logical content at one log position.
//!
//! Replicas have made different checkpoints and merged different pages; what they show must be
//! equal all the same. Only labels, times, value bits and outcomes count.

use narthex_model::Timestamp;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use crate::{
    Columns, LogPosition, entry,
    reader::{ReadError, SelectedSeries, ShardReader},
};

/// Equal on replicas whose content is equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// The log position it holds at.
    pub position: LogPosition,
    /// The sum of the hashes of all samples, each with its series' labels.
    pub content: u128,
    /// How many samples that were.
    pub samples: u64,
    /// A hash over the outcomes of all entries.
    pub outcomes: u64,
}

/// A digest that an entry asked for, pinned at that entry. To be run where waiting for the disk
/// is allowed.
#[derive(Debug)]
pub struct DigestTask {
    position: LogPosition,
    start: Timestamp,
    end: Timestamp,
    outcomes: u64,
    series: Vec<SelectedSeries>,
}

impl DigestTask {
    pub(crate) fn new(reader: &ShardReader, range: entry::Digest) -> Self {
        let (position, outcomes) = reader.position_and_outcomes();
        let series = reader.select(&[], range.start, range.end);
        Self { position, start: range.start, end: range.end, outcomes, series }
    }

    /// The log position it will hold at.
    pub fn position(&self) -> LogPosition {
        self.position
    }

    /// Reads and hashes the content.
    pub fn run(self) -> Result<Digest, ReadError> {
        let mut digest =
            Digest { position: self.position, content: 0, samples: 0, outcomes: self.outcomes };
        let mut columns = Columns::new();
        for series in &self.series {
            columns.clear();
            series.samples.read(self.start, self.end, &mut columns)?;
            let seed = xxh3_64(series.labels.as_bytes());
            for (time, value) in columns.timestamps.iter().zip(&columns.values) {
                let mut sample = [0; 16];
                sample[..8].copy_from_slice(&time.to_le_bytes());
                sample[8..].copy_from_slice(&value.to_bits().to_le_bytes());
                digest.content = digest.content.wrapping_add(xxh3_128_with_seed(&sample, seed));
            }
            digest.samples += columns.len() as u64;
        }
        Ok(digest)
    }
}
