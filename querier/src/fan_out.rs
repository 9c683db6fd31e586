//! Asks many shards at once.
//!
//! Invariants
//! * an answer is complete, or the caller allowed a partial one and a warning names every missing
//!   shard and the time range;
//! * as soon as one shard fails a request that needs them all, the others stop: their futures are
//!   dropped.

use std::collections::BTreeSet;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use narthex_cluster::{ClusterState, ShardId, TenantId};
use narthex_model::{INSTANCE, JOB, MatchOp, Matcher, Timestamp};

use crate::error::{ApiError, ErrorType};

/// The time range that a request reads, itself included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// The earliest time.
    pub start: Timestamp,
    /// The latest time.
    pub end: Timestamp,
}

/// What shards said.
#[derive(Debug)]
pub struct Gathered<T> {
    /// One answer a shard, in no order.
    pub answers: Vec<(ShardId, T)>,
    /// What is missing, if the caller allowed it.
    pub warnings: Vec<String>,
}

/// Asks all of `shards` at once.
pub async fn ask_all<T, F>(
    shards: impl IntoIterator<Item = ShardId>,
    range: TimeRange,
    partial_response: bool,
    ask: impl Fn(ShardId) -> F,
) -> Result<Gathered<T>, ApiError>
where
    F: Future<Output = Result<T, ApiError>>,
{
    let ask = &ask;
    let asked = shards.into_iter().map(|shard| async move { (shard, ask(shard).await) });
    let mut asked: FuturesUnordered<_> = asked.collect();
    let mut gathered = Gathered { answers: Vec::new(), warnings: Vec::new() };
    while let Some((shard, answer)) = asked.next().await {
        match answer {
            Ok(answer) => gathered.answers.push((shard, answer)),
            Err(error) if partial_response && error.kind == ErrorType::Unavailable => {
                gathered.warnings.push(format!(
                    "samples of shard {shard} from {} to {} are missing: {error}",
                    range.start.seconds(),
                    range.end.seconds()
                ));
            }
            Err(error) => return Err(error),
        }
    }
    gathered.warnings.sort();
    Ok(gathered)
}

/// The shards that can hold series which satisfy one of the selectors; no selector selects all.
/// Where a selector fixes `job` and `instance` to a target's, it is that target's shard.
pub fn shards_for(
    state: &ClusterState,
    selectors: &[Vec<Matcher>],
    range: TimeRange,
) -> Result<BTreeSet<ShardId>, ApiError> {
    let epochs = state.epochs_between(range.start, range.end);
    if epochs.is_empty() {
        return Err(ApiError::new(ErrorType::Unavailable, "cluster state is not known yet"));
    }
    let mut shards = BTreeSet::new();
    for epoch in epochs {
        for selector in selectors {
            match target_of(selector) {
                Some((job, instance)) if epoch.is_keyed(job, instance) => {
                    shards.insert(epoch.shard_of_target(TenantId(0), job, instance));
                }
                _ => shards.extend(epoch.ring.shards()),
            }
        }
        if selectors.is_empty() {
            shards.extend(epoch.ring.shards());
        }
    }
    Ok(shards)
}

/// The values that a selector fixes `job` and `instance` to.
fn target_of(matchers: &[Matcher]) -> Option<(&str, &str)> {
    let fixed = |name: &str| {
        let found = matchers.iter().find(|m| m.name() == name && m.op() == MatchOp::Equal);
        found.map(Matcher::value)
    };
    Some((fixed(JOB)?, fixed(INSTANCE)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_cluster::founded;

    const RANGE: TimeRange =
        TimeRange { start: Timestamp::from_millis(0), end: Timestamp::from_millis(60_000) };

    fn failing(shard: ShardId) -> Result<u32, ApiError> {
        match shard {
            ShardId(2) => Err(ApiError::new(ErrorType::Unavailable, "shard 2 is unavailable")),
            ShardId(n) => Ok(n),
        }
    }

    #[tokio::test]
    async fn a_missing_shard_is_an_error_or_a_warning() {
        let ask = |partial| {
            ask_all((0..4).map(ShardId), RANGE, partial, |shard| async move { failing(shard) })
        };
        let error = ask(false).await.expect_err("incomplete");
        assert_eq!(error.message, "shard 2 is unavailable");
        let gathered = ask(true).await.expect("partial");
        assert_eq!(gathered.answers.len(), 3);
        assert_eq!(
            gathered.warnings,
            ["samples of shard 2 from 0 to 60 are missing: shard 2 is unavailable"]
        );
    }

    #[test]
    fn a_fixed_target_needs_only_its_shard() {
        let state = founded(6);
        let matcher = |name: &str, value: &str| Matcher::equal(name, value);
        let target = vec![matcher("job", "node"), matcher("instance", "a:9100")];
        let all = shards_for(&state, &[], RANGE).expect("founded");
        assert_eq!(all.len(), 6);
        assert_eq!(
            shards_for(&state, std::slice::from_ref(&target), RANGE).expect("founded").len(),
            1
        );
        assert_eq!(shards_for(&state, &[vec![target[0].clone()]], RANGE).expect("founded"), all);
        let nameless = vec![matcher("job", "node"), matcher("instance", "")];
        assert_eq!(shards_for(&state, &[nameless], RANGE).expect("founded"), all);
        assert!(shards_for(&ClusterState::new(), &[], RANGE).is_err());
    }
}
