//! Rewrites pages behind checkpoints: deleted samples go, and the chunks of days that are over are
//! joined into long ones.
//!
//! It works in parts of one group and day, so that a checkpoint never waits long for it, and rests
//! after each for several times as long as it worked. Nothing is lost where it stops: what was not
//! rewritten is found again.

use std::{sync::Arc, time::Duration};

use narthex_model::Timestamp;
use narthex_tsdb::{Part, RewriteError, Rewritten};
use tracing::{error, info};

use super::{Replica, Replicas, machine::ReplicaState};
use crate::{node::Shared, thread_name::named};

/// How often shards are looked at.
const TURN: Duration = Duration::from_secs(30);
/// Rest after each part, in times of the work: a sixth of one core, at most, is spent.
const REST: u32 = 5;

/// Runs until the node stops.
pub(crate) async fn run(shared: Arc<Shared>, replicas: Arc<Replicas>) {
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(TURN) => {}
        }
        for replica in replicas.all() {
            let work = Work { state: replica.state.clone(), pace: Some(&shared) };
            let now = shared.clock.now();
            let done = async {
                let cleaned = work.clean().await?;
                let joined = work.join(Some(now)).await?;
                if cleaned.bytes_before + joined.bytes_before > 0 {
                    work.compact().await?;
                    info!(
                        shard = %replica.shard,
                        bytes_before = cleaned.bytes_before + joined.bytes_before,
                        bytes_after = cleaned.bytes_after + joined.bytes_after,
                        "pages rewritten"
                    );
                }
                Ok::<_, RewriteError>(())
            };
            report(&replica, done.await);
            if shared.stop.is_cancelled() {
                return;
            }
        }
    }
}

fn report(replica: &Replica, done: Result<(), RewriteError>) {
    if let Err(problem) = done {
        let error = &problem as &dyn std::error::Error;
        error!(shard = %replica.shard, error, "pages were not rewritten");
    }
}

/// Takes what was deleted out of all replicas at once. Checkpoints must be written before.
pub(crate) async fn clean_all(replicas: &Replicas) -> Result<Rewritten, RewriteError> {
    let mut sum = Rewritten::default();
    for replica in replicas.all() {
        let work = Work { state: replica.state.clone(), pace: None };
        let cleaned = work.clean().await?;
        if cleaned.bytes_before > 0 {
            work.compact().await?;
        }
        sum = sum + cleaned;
    }
    Ok(sum)
}

/// Takes what was deleted out of all replicas and joins all chunks, also of days that go on.
pub(crate) async fn settle_all(replicas: &Replicas) -> Result<(), RewriteError> {
    for replica in replicas.all() {
        let work = Work { state: replica.state.clone(), pace: None };
        work.clean().await?;
        work.join(None).await?;
    }
    Ok(())
}

/// One replica's pages being rewritten.
struct Work<'s> {
    state: ReplicaState,
    /// Where there is one, it rests after each part, and ends when the node stops.
    pace: Option<&'s Shared>,
}

impl Work<'_> {
    async fn clean(&self) -> Result<Rewritten, RewriteError> {
        let mut sum = Rewritten::default();
        // What is clean in the end is what was due now: only now nobody is known to be in the way.
        let due = self.blocking(|state| state.rewriter(|it| Ok((it.upto(), it.groups_to_clean()))));
        let (upto, groups) = due.await?;
        for group in groups {
            let parts =
                self.blocking(move |state| state.rewriter(|it| Ok(it.parts_to_clean(group))));
            let parts = parts.await?;
            if !self.rewrite(parts, &mut sum).await? {
                return Ok(sum);
            }
            self.blocking(move |state| state.rewriter(|it| it.cleaned(group, upto))).await?;
        }
        Ok(sum)
    }

    async fn join(&self, now: Option<Timestamp>) -> Result<Rewritten, RewriteError> {
        let mut sum = Rewritten::default();
        loop {
            let due = self.blocking(move |state| {
                state.rewriter(|rewriter| Ok((rewriter.upto(), rewriter.parts_to_join(now))))
            });
            let (upto, Some((day, parts))) = due.await? else { return Ok(sum) };
            if !self.rewrite(parts, &mut sum).await? {
                return Ok(sum);
            }
            self.blocking(move |state| state.rewriter(|it| it.joined(day, upto))).await?;
        }
    }

    /// Rewrites parts one after the other; tells whether none was left for the node's stop.
    async fn rewrite(&self, parts: Vec<Part>, sum: &mut Rewritten) -> Result<bool, RewriteError> {
        for part in parts {
            let rewritten =
                self.blocking(move |state| state.rewriter(|rewriter| rewriter.rewrite(part)));
            if let Some(rewritten) = rewritten.await? {
                *sum = *sum + rewritten;
            }
            if self.pace.is_some_and(|shared| shared.stop.is_cancelled()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn compact(&self) -> Result<(), RewriteError> {
        self.blocking(|state| state.compact_chunks()).await
    }

    /// Works on a thread that may wait for the disk, and rests afterwards.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(ReplicaState) -> Result<T, RewriteError> + Send + 'static,
    ) -> Result<T, RewriteError> {
        let state = self.state.clone();
        let started = self.pace.map(|shared| shared.clock.monotonic());
        let work = move || named(c"rewrite", || work(state));
        let done = tokio::task::spawn_blocking(work).await;
        if let (Some(shared), Some(started)) = (self.pace, started) {
            let worked = shared.clock.monotonic().saturating_duration_since(started);
            tokio::select! {
                () = shared.stop.cancelled() => {}
                () = tokio::time::sleep(worked * REST) => {}
            }
        }
        done.expect("BUG: rewriting panicked")
    }
}
