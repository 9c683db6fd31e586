//! Batches of samples, as routers and other leaders send them, made ready for an entry.

use narthex_model::Labels;
use narthex_proto::batch::{BatchReader, Item, KnownSeries, MalformedBatch, Subject};
use narthex_tsdb::{SeriesId, ShardReader, entry::SampleBlock};

use super::task::WriteError;

/// Turns label bytes into series ids where the shard knows them. Gives the ids of the series that
/// came with labels, too, in order; [`SeriesId::NONE`] for those that apply will give one.
pub fn block(
    reader: &ShardReader,
    batch: &[u8],
) -> Result<(SampleBlock, Vec<SeriesId>), WriteError> {
    let invalid = |error: MalformedBatch| WriteError::Invalid(error.to_string());
    let mut read = BatchReader::new(batch).map_err(invalid)?;
    let (mut block, mut samples, mut names) = (SampleBlock::new(), Vec::new(), Vec::new());
    let lookup = reader.look_up();
    while let Some(item) = read.next(&mut samples).map_err(invalid)? {
        let Item::Floats(subject) = item else {
            return Err(WriteError::Invalid("only floats are stored".to_owned()));
        };
        let series = match subject {
            Subject::Known(KnownSeries { series, fingerprint }) => {
                let series = SeriesId(series);
                if !lookup.has(series, fingerprint) {
                    return Err(WriteError::UnknownSeries);
                }
                series
            }
            Subject::Labels(bytes) => {
                let labels = Labels::from_bytes(bytes).map_err(|error| invalid(error.into()))?;
                let found = lookup.find(&labels);
                names.push(found.unwrap_or(SeriesId::NONE));
                let Some(found) = found else {
                    let inline = block.inline(&labels);
                    for sample in &samples {
                        block.push_inline(inline, sample.timestamp, sample.value);
                    }
                    continue;
                };
                found
            }
        };
        for sample in &samples {
            block.push(series, sample.timestamp, sample.value);
        }
    }
    drop(lookup);
    Ok((block, names))
}
