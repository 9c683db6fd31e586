//! A request's right to work: it is listed, it has its turn, and it may take so many bytes.

use std::time::Duration;

use crate::{
    Querier,
    active::{ActiveQuery, Place},
    budget::QueryBytes,
    error::ApiError,
    gate::Running,
};

/// Bytes that shards may send for one query: as much as its samples take in memory, and no more.
pub const BYTES_PER_SAMPLE: usize = 16;

/// See the module. Everything is given back when it is dropped.
pub struct Turn {
    place: Place,
    /// What its shards' answers take.
    pub bytes: QueryBytes,
    _running: Running,
}

impl Querier {
    /// Lists a query and waits for its turn, for at most `within`.
    pub(crate) async fn turn(
        &self,
        query: ActiveQuery,
        within: Duration,
    ) -> Result<Turn, ApiError> {
        let user = query.user.clone();
        let place = self.active.list(query);
        let running = place.unless_killed(self.gate.enter(&user, within)).await?;
        place.runs();
        let bytes_max = self.options.samples_max.saturating_mul(BYTES_PER_SAMPLE);
        Ok(Turn { place, bytes: self.budget.query(bytes_max), _running: running })
    }
}

impl Turn {
    /// Does a part of the work, unless it is killed or takes longer than `left`.
    pub async fn work<T>(
        &self,
        left: Duration,
        doing: &str,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let in_time = async {
            let done = tokio::time::timeout(left, work).await;
            done.unwrap_or_else(|_| Err(ApiError::timed_out(doing)))
        };
        self.place.unless_killed(in_time).await
    }
}
