//! Batches of samples, as routers and other leaders send them, made ready for an entry.

use narthex_model::{Exemplar, Labels, Sample};
use narthex_proto::batch::{BatchReader, Item, KnownSeries, MalformedBatch, Rich, Subject};
use narthex_tsdb::{
    SeriesId, SeriesLookup, ShardReader,
    entry::{EntryWriter, RowOwner, SampleBlock, SampleTimes, Source},
};

use super::task::WriteError;

/// Adds the command of a batch. One with nothing but labels registers them: they get ids and stay
/// invisible until a sample comes. Gives the names of [`block`].
pub fn encode(
    entry: &mut EntryWriter,
    reader: &ShardReader,
    batch: &[u8],
) -> Result<Vec<SeriesId>, WriteError> {
    let is_backfill = BatchReader::new(batch).map_err(invalid)?.is_backfill();
    let (block, names) = block(reader, batch)?;
    match block.has_only_labels() {
        true => entry.register(&block),
        false if is_backfill => entry.backfill(&block),
        false => entry.append(Source::Client, &block),
    }
    Ok(names)
}

/// Turns label bytes into series ids where the shard knows them, and leaves out metadata that the
/// shard was told today. Gives the ids of the series that came with labels, too, in order;
/// [`SeriesId::NONE`] for those that apply will give one.
pub fn block(
    reader: &ShardReader,
    batch: &[u8],
) -> Result<(SampleBlock, Vec<SeriesId>), WriteError> {
    let mut read = BatchReader::new(batch).map_err(invalid)?;
    let (mut filled, mut samples) = (Filled::new(reader), Vec::new());
    while let Some(item) = read.next(&mut samples).map_err(invalid)? {
        match item {
            Item::Floats(subject) => filled.floats(subject, &samples)?,
            Item::Rich(rich) => filled.rich(&rich)?,
            Item::Metadata(metadata) => {
                if !filled.lookup.knows(&metadata) {
                    filled.block.push_family(&metadata);
                }
            }
        }
    }
    Ok((filled.block, filled.names))
}

/// The labels of the series that came with labels at this position, counted from 0.
pub fn labels_at(batch: &[u8], position: usize) -> Option<Labels> {
    let mut read = BatchReader::new(batch).ok()?;
    let (mut samples, mut before) = (Vec::new(), 0);
    while let Some(item) = read.next(&mut samples).ok()? {
        let subject = match item {
            Item::Floats(subject) => subject,
            Item::Rich(rich) => rich.subject,
            Item::Metadata(_) => continue,
        };
        let Subject::Labels(bytes) = subject else { continue };
        if before == position {
            return Labels::from_bytes(bytes).ok();
        }
        before += 1;
    }
    None
}

fn invalid(error: MalformedBatch) -> WriteError {
    WriteError::Invalid(error.to_string())
}

/// A block under construction.
struct Filled<'r> {
    lookup: SeriesLookup<'r>,
    block: SampleBlock,
    names: Vec<SeriesId>,
}

impl<'r> Filled<'r> {
    fn new(reader: &'r ShardReader) -> Self {
        Self { lookup: reader.look_up(), block: SampleBlock::new(), names: Vec::new() }
    }

    fn owner(&mut self, subject: Subject<'_>) -> Result<RowOwner, WriteError> {
        match subject {
            Subject::Known(KnownSeries { series, fingerprint }) => {
                let series = SeriesId(series);
                if !self.lookup.has(series, fingerprint) {
                    return Err(WriteError::UnknownSeries);
                }
                Ok(RowOwner::Known(series))
            }
            Subject::Labels(bytes) => {
                let labels = Labels::from_bytes(bytes).map_err(|error| invalid(error.into()))?;
                let found = self.lookup.find(&labels);
                self.names.push(found.unwrap_or(SeriesId::NONE));
                Ok(match found {
                    Some(series) => RowOwner::Known(series),
                    None => RowOwner::Inline(self.block.inline(&labels)),
                })
            }
        }
    }

    fn floats(&mut self, subject: Subject<'_>, samples: &[Sample]) -> Result<(), WriteError> {
        match self.owner(subject)? {
            RowOwner::Known(series) => {
                for sample in samples {
                    self.block.push(series, sample.timestamp, sample.value);
                }
            }
            RowOwner::Inline(inline) => {
                for sample in samples {
                    self.block.push_inline(inline, sample.timestamp, sample.value);
                }
            }
        }
        Ok(())
    }

    fn rich(&mut self, rich: &Rich<'_>) -> Result<(), WriteError> {
        let owner = self.owner(rich.subject)?;
        for point in &rich.floats {
            let times = SampleTimes { timestamp: point.timestamp, start: point.start };
            self.block.push_started(owner, times, point.value);
        }
        for point in &rich.histograms {
            let times = SampleTimes { timestamp: point.timestamp, start: point.start };
            self.block.push_histogram(owner, times, &point.value);
        }
        for exemplar in &rich.exemplars {
            let labels = Labels::from_bytes(exemplar.labels);
            let labels = labels.map_err(|error| invalid(error.into()))?;
            let Sample { timestamp, value } = exemplar.sample;
            self.block.push_exemplar(owner, Exemplar { labels, value, timestamp });
        }
        Ok(())
    }
}
