//! Batches of our own API as series.

use narthex_model::{Sample, Timestamp};
use narthex_proto::v1::AppendBatch;

use crate::{
    remote_write::DecodeError,
    series::Series,
    split::{Split, SplitBy, Splitter},
};

/// Splits what a batch says.
pub fn split_batch(batch: &AppendBatch, by: &SplitBy<'_>) -> Result<Split, DecodeError> {
    let mut splitter = Splitter::new(by);
    let mut lookup = by.cache.look_up();
    let mut series = Series::default();
    for (at, sent) in batch.series.iter().enumerate() {
        let (timestamps, values) = (sent.timestamps_ms.len(), sent.values.len());
        if timestamps != values {
            return Err(DecodeError::Columns { series: at, timestamps, values });
        }
        series.clear();
        let labels = sent.labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
        series.labels.extend(labels);
        for (millis, value) in sent.timestamps_ms.iter().zip(&sent.values) {
            let timestamp = Timestamp::from_millis(*millis);
            series.push(Sample { timestamp, value: *value }, Timestamp::default());
        }
        splitter.add_by_labels(&mut series, &mut lookup, by.naming);
    }
    Ok(splitter.finish())
}
