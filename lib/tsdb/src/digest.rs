//! Digests: a hash of a shard's logical content at one log position.
//!
//! Replicas have made different checkpoints and merged different pages; what they show must be
//! equal all the same. Only labels, times, value bits, histograms, start timestamps, exemplars,
//! metadata, states of rule groups and outcomes count.

use narthex_model::Timestamp;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use crate::{
    Columns, LogPosition,
    entry::{self, Horizon},
    reader::{ReadError, SelectedSeries, ShardReader},
};

/// Equal on replicas whose content is equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// The log position it holds at.
    pub position: LogPosition,
    /// The sum of the hashes of all samples, each with its series' labels, of all exemplars and
    /// of all metadata.
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
    side_content: u128,
    series: Vec<SelectedSeries>,
    /// A checkpoint deletes what lies behind horizons, whoever is about to read it.
    horizons: Vec<Horizon>,
    reader: ShardReader,
}

impl DigestTask {
    pub(crate) fn new(reader: &ShardReader, range: entry::Digest) -> Self {
        let (position, outcomes) = reader.position_and_outcomes();
        let series = reader.select(&[], range.start, range.end);
        let side_content = reader.side_content(&range);
        let (horizons, reader) = (reader.horizons(), reader.clone());
        let (start, end) = (range.start, range.end);
        Self { position, start, end, outcomes, side_content, series, horizons, reader }
    }

    /// The log position it will hold at.
    pub fn position(&self) -> LogPosition {
        self.position
    }

    /// Reads and hashes the content. [`ReadError::Dropped`] if retention came in between.
    pub fn run(self) -> Result<Digest, ReadError> {
        let mut digest = Digest {
            position: self.position,
            content: self.side_content,
            samples: 0,
            outcomes: self.outcomes,
        };
        let mut columns = Columns::new();
        for series in &self.series {
            columns.clear();
            series.samples.read(self.start, self.end, &mut columns)?;
            let seed = xxh3_64(series.labels.as_bytes());
            let mut add = |bytes: &[u8]| {
                digest.content = digest.content.wrapping_add(xxh3_128_with_seed(bytes, seed));
            };
            for (time, value) in columns.timestamps.iter().zip(&columns.values) {
                let mut sample = [0; 16];
                sample[..8].copy_from_slice(&time.to_le_bytes());
                sample[8..].copy_from_slice(&value.to_bits().to_le_bytes());
                add(&sample);
            }
            for (row, histogram) in &columns.histograms {
                let mut bytes = columns.timestamps[*row].to_le_bytes().to_vec();
                histogram.encode(&mut bytes);
                add(&bytes);
            }
            for (row, start) in &columns.starts {
                let mut bytes = [0; 17];
                bytes[..8].copy_from_slice(&columns.timestamps[*row].to_le_bytes());
                bytes[8..16].copy_from_slice(&start.to_le_bytes());
                add(&bytes);
            }
            digest.samples += columns.len() as u64;
        }
        if self.reader.horizons() != self.horizons {
            return Err(ReadError::Dropped);
        }
        Ok(digest)
    }
}
