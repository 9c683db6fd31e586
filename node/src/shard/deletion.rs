//! Deleting series: the leader says which, by number, and its log brings it to every replica.
//!
//! A shard's deletes are several entries where there are many series, so that none holds up apply
//! for long; they are one after the other, and asking again after an error is harmless.

use narthex_model::{Matcher, Timestamp};
use narthex_proto::internal::v1::{
    Busy, DeleteRequest, DeleteResponse, Deleted, NotLeader, Unknown, delete_response,
};
use narthex_tsdb::SeriesId;
use tonic::Status;

use super::{
    Replica,
    core::Urgency,
    task::{Write, WriteError},
};

/// Series of one entry: apply takes some microseconds for each.
const SERIES_PER_ENTRY: usize = 4096;
/// About what a series takes in an entry.
const SERIES_BYTES: usize = 3;

/// Deletes what the series that satisfy one of `selectors` have in the request's range.
pub(crate) async fn delete(
    replica: &Replica,
    selectors: Vec<Vec<Matcher>>,
    request: &DeleteRequest,
) -> Result<DeleteResponse, Status> {
    let start = Timestamp::from_millis(request.start_ms);
    let end = Timestamp::from_millis(request.end_ms);
    let reader = replica.reader.clone();
    let found = tokio::task::spawn_blocking(move || {
        let all = selectors.iter().flat_map(|matchers| reader.matching(matchers, start, end));
        let mut all: Vec<SeriesId> = all.collect();
        all.sort_unstable();
        all.dedup();
        all
    });
    let found =
        found.await.map_err(|error| Status::internal(format!("BUG: look-up panicked: {error}")))?;
    let mut series = 0;
    for part in found.chunks(SERIES_PER_ENTRY) {
        match delete_part(replica, start, end, part.to_vec()).await {
            Ok(deleted) => series += deleted,
            Err(problem) => return answer_of(problem),
        }
    }
    answer(delete_response::Result::Deleted(Deleted { series }))
}

async fn delete_part(
    replica: &Replica,
    start: Timestamp,
    end: Timestamp,
    series: Vec<SeriesId>,
) -> Result<u64, WriteError> {
    let write = Write {
        bytes: 32 + series.len() * SERIES_BYTES,
        urgency: Urgency::Alone,
        encode: Box::new(move |entry, _| {
            entry.delete(start, end, &series);
            Ok(())
        }),
    };
    let outcome = replica.writer.write(write).await?;
    match outcome.fenced {
        None => Ok(outcome.series_deleted),
        Some(_) => Err(WriteError::Invalid("BUG: a delete shared its entry".to_owned())),
    }
}

fn answer(result: delete_response::Result) -> Result<DeleteResponse, Status> {
    Ok(DeleteResponse { result: Some(result) })
}

fn answer_of(problem: WriteError) -> Result<DeleteResponse, Status> {
    use delete_response::Result as Response;
    match problem {
        WriteError::NotLeader { leader } => {
            let leader_node_id = leader.map_or(0, |leader| leader.0);
            answer(Response::NotLeader(NotLeader { leader_node_id }))
        }
        WriteError::Busy { retry_after, reason } => {
            let retry_after_ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
            answer(Response::Busy(Busy { retry_after_ms, reason }))
        }
        unknown @ WriteError::Unknown => {
            answer(Response::Unknown(Unknown { reason: unknown.to_string() }))
        }
        problem @ (WriteError::UnknownSeries
        | WriteError::TooLarge { .. }
        | WriteError::Invalid(_)) => Err(Status::internal(problem.to_string())),
    }
}
