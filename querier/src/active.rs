//! The queries under way: what they are, whose, since when, and how to end one.
//!
//! A query is listed from the moment it is accepted, so also while it waits, until its answer is
//! known. Ending it drops its future, which stops it on every shard. The list is of one process.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use narthex_model::Timestamp;
use narthex_promql::Steps;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::error::{ApiError, ErrorType};

/// Bytes of a query's text that are shown.
const TEXT_BYTES_SHOWN: usize = 4 << 10;

/// See the module.
#[derive(Debug, Default)]
pub struct ActiveQueries {
    listed: Mutex<BTreeMap<u64, ActiveQuery>>,
    last_id: AtomicU64,
}

/// A query under way.
#[derive(Debug, Clone)]
pub struct ActiveQuery {
    /// Its beginning, where it is very long.
    pub text: Arc<str>,
    /// Who asked.
    pub user: Arc<str>,
    /// What it evaluates; `None` for a read of samples.
    pub steps: Option<Steps>,
    /// Since when.
    pub began: Timestamp,
    /// Whether it waited for its turn and has it.
    pub is_running: bool,
    killed: CancellationToken,
}

/// A query's place in the list, until dropped.
#[derive(Debug)]
pub struct Place {
    queries: Arc<ActiveQueries>,
    id: u64,
    killed: CancellationToken,
}

impl ActiveQuery {
    /// A query that begins to wait.
    pub fn new(text: &str, user: &Arc<str>, steps: Option<Steps>, began: Timestamp) -> Self {
        let shown = &text[..text.floor_char_boundary(TEXT_BYTES_SHOWN)];
        Self {
            text: Arc::from(shown),
            user: Arc::clone(user),
            steps,
            began,
            is_running: false,
            killed: CancellationToken::new(),
        }
    }
}

impl ActiveQueries {
    /// Lists a query.
    pub fn list(self: &Arc<Self>, query: ActiveQuery) -> Place {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let killed = query.killed.clone();
        self.listed.lock().insert(id, query);
        Place { queries: Arc::clone(self), id, killed }
    }

    /// All that are under way, the oldest first.
    pub fn all(&self) -> Vec<(u64, ActiveQuery)> {
        self.listed.lock().iter().map(|(id, query)| (*id, query.clone())).collect()
    }

    /// Ends a query; false if there is none of that id.
    pub fn kill(&self, id: u64) -> bool {
        let listed = self.listed.lock();
        let Some(query) = listed.get(&id) else { return false };
        query.killed.cancel();
        true
    }
}

impl Place {
    /// Says that the query has its turn.
    pub fn runs(&self) {
        if let Some(query) = self.queries.listed.lock().get_mut(&self.id) {
            query.is_running = true;
        }
    }

    /// The answer of a part of the query's work, unless the query is ended before.
    pub async fn unless_killed<T>(
        &self,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let killed = || ApiError::new(ErrorType::Canceled, "query was canceled: it was killed");
        self.killed.run_until_cancelled(work).await.unwrap_or_else(|| Err(killed()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queries.listed.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> ActiveQuery {
        ActiveQuery::new(text, &Arc::from("ann"), None, Timestamp::from_millis(1))
    }

    #[tokio::test]
    async fn a_query_is_listed_until_it_ends_and_can_be_killed() {
        let queries = Arc::new(ActiveQueries::default());
        let (one, two) = (queries.list(query("up")), queries.list(query("down")));
        two.runs();
        let seen: Vec<_> =
            queries.all().into_iter().map(|(_, it)| (it.text.to_string(), it.is_running)).collect();
        assert_eq!(seen, [("up".to_owned(), false), ("down".to_owned(), true)]);
        let never = std::future::pending::<Result<(), ApiError>>();
        assert!(queries.kill(one.id) && !queries.kill(99));
        let error = one.unless_killed(never).await.expect_err("killed");
        assert_eq!(error.kind, ErrorType::Canceled);
        assert!(two.unless_killed(async { Ok(1) }).await.is_ok());
        drop((one, two));
        assert!(queries.all().is_empty());
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let long = query(&"ä".repeat(TEXT_BYTES_SHOWN));
        assert_eq!(long.text.len(), TEXT_BYTES_SHOWN);
        assert!(query(&format!("a{}", "ä".repeat(TEXT_BYTES_SHOWN))).text.len() < TEXT_BYTES_SHOWN);
    }
}
