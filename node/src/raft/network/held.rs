//! Holds back appends that only tell how far is committed.
//!
//! Openraft sends one to every follower after each commit, unless the next entry is there to carry
//! it: nearly half of all frames, each of which wakes a dozen tasks on both sides. Nobody waits
//! for a follower to apply, so such an append waits a moment for an entry to ride along with; what
//! follows it takes its place. Openraft matches answers to appends by log id, not by number, so a
//! request that is replaced needs no answer of its own.

use std::{mem, time::Duration};

use futures_util::{Stream, StreamExt as _, stream};
use openraft::raft::AppendEntriesRequest;
use tokio::time::sleep;

use crate::raft::types::TypeConfig;

/// How long a commit waits for company: two entries of a busy shard are closer together, and a
/// follower may lag that far behind a leader without harm.
pub const COMMIT_PAUSE: Duration = Duration::from_millis(50);

type Request = AppendEntriesRequest<TypeConfig>;

/// The same requests, without those whose successor says more within `pause`.
pub fn hold_commits<S>(input: S, pause: Duration) -> impl Stream<Item = Request>
where
    S: Stream<Item = Request> + Unpin,
{
    stream::unfold(Some(input), move |input| async move {
        let mut input = input?;
        let mut request = input.next().await?;
        let waited = sleep(pause);
        tokio::pin!(waited);
        while request.entries.is_empty() {
            tokio::select! {
                biased;
                next = input.next() => match next {
                    Some(next) => drop(mem::replace(&mut request, next)),
                    None => return Some((request, None)),
                },
                () = &mut waited => break,
            }
        }
        Some((request, Some(input)))
    })
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use openraft::EntryPayload;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;
    use crate::raft::types::{Entry, LogId, Vote};

    /// Longer than any test takes.
    const PAUSE: Duration = Duration::from_secs(3600);

    fn request(entry: Option<u64>, committed: u64) -> Request {
        let log_id = LogId::new_term_index;
        let entry =
            entry.map(|index| Entry { log_id: log_id(1, index), payload: EntryPayload::Blank });
        Request {
            vote: Vote::new(1, 1),
            prev_log_id: None,
            entries: entry.into_iter().collect(),
            leader_commit: Some(log_id(1, committed)),
        }
    }

    /// (entries, committed) of what leaves.
    fn seen(request: Option<Request>) -> Option<(usize, u64)> {
        let request = request?;
        Some((request.entries.len(), request.leader_commit.map_or(0, |id| id.index)))
    }

    #[tokio::test]
    async fn a_commit_rides_along_with_the_next_entry() {
        let (input, requests) = mpsc::channel(8);
        let requests = ReceiverStream::new(requests);
        let mut held = Box::pin(hold_commits(requests, PAUSE));
        input.try_send(request(None, 4)).unwrap();
        assert!(held.next().now_or_never().is_none(), "the commit waits");
        input.try_send(request(None, 5)).unwrap();
        input.try_send(request(Some(6), 5)).unwrap();
        assert_eq!(seen(held.next().await), Some((1, 5)));
        assert!(held.next().now_or_never().is_none(), "nothing is left");
    }

    #[tokio::test]
    async fn an_entry_never_waits() {
        let (input, requests) = mpsc::channel(8);
        let requests = ReceiverStream::new(requests);
        let mut held = Box::pin(hold_commits(requests, PAUSE));
        input.try_send(request(Some(6), 5)).unwrap();
        assert_eq!(seen(held.next().now_or_never().flatten()), Some((1, 5)));
    }

    #[tokio::test]
    async fn a_lonely_commit_leaves_after_the_pause() {
        let (input, requests) = mpsc::channel(8);
        let requests = ReceiverStream::new(requests);
        let mut held = Box::pin(hold_commits(requests, Duration::from_millis(1)));
        input.try_send(request(None, 4)).unwrap();
        input.try_send(request(None, 5)).unwrap();
        assert_eq!(seen(held.next().await), Some((0, 5)));
    }

    #[tokio::test]
    async fn what_is_held_when_the_input_ends_leaves_at_once() {
        let (input, requests) = mpsc::channel(8);
        let requests = ReceiverStream::new(requests);
        let mut held = Box::pin(hold_commits(requests, PAUSE));
        input.try_send(request(None, 4)).unwrap();
        drop(input);
        assert_eq!(seen(held.next().now_or_never().flatten()), Some((0, 4)));
        assert_eq!(held.next().now_or_never().map(seen), Some(None));
    }
}
