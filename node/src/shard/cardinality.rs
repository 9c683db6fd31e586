//! What makes a shard big, told slice by slice.
//!
//! Counting reads every label's postings, so it runs on the blocking pool, no faster than its
//! caller takes the slices.

use narthex_model::Timestamp;
use narthex_proto::{
    internal::v1::{CardinalityPart, CardinalityRequest, LabelCount, ShardCounts},
    service::Answers,
};
use narthex_tsdb::{LabelCount as Counted, ShardReader};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Slices under way to a caller.
const SLICES_QUEUE_LEN: usize = 2;

/// Figures of the whole shard, then its labels in order of names and values.
pub fn count(reader: ShardReader, request: &CardinalityRequest) -> Answers<CardinalityPart> {
    let start = Timestamp::from_millis(request.start_ms);
    let end = Timestamp::from_millis(request.end_ms);
    let (slices, stream) = mpsc::channel(SLICES_QUEUE_LEN);
    tokio::task::spawn_blocking(move || {
        let cardinality = reader.cardinality(start, end);
        let shard = Some(shard_counts(&reader, cardinality.series()));
        let first = CardinalityPart { shard, ..CardinalityPart::default() };
        if slices.blocking_send(Ok(first)).is_err() {
            return;
        }
        for counted in cardinality.filter(|slice| !slice.is_empty()) {
            let labels = counted.into_iter().map(label_count).collect();
            let part = CardinalityPart { labels, ..CardinalityPart::default() };
            if slices.blocking_send(Ok(part)).is_err() {
                return;
            }
        }
    });
    Box::pin(ReceiverStream::new(stream))
}

fn shard_counts(reader: &ShardReader, series: u64) -> ShardCounts {
    let stats = reader.stats();
    ShardCounts {
        series,
        chunks: stats.open_chunks + stats.finished_chunks,
        min_time_ms: stats.time_min.map(Timestamp::millis),
        max_time_ms: stats.time_max.map(Timestamp::millis),
    }
}

fn label_count(counted: Counted) -> LabelCount {
    let Counted { name, value, series } = counted;
    LabelCount { name, value, series }
}
