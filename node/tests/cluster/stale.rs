//! Reads of a shard that has lost its majority: refused, unless an old state will do.

use narthex_proto::{client::ShardError, internal::v1::Consistency};

use super::*;

/// The answer's age and whether it has any content.
async fn read(
    node: &Node,
    shard: ShardId,
    consistency: Consistency,
) -> Result<(Duration, bool), ShardError> {
    let now = wall_millis();
    let request = FragmentRequest {
        shard_id: shard.0,
        query: "count(up)".to_owned(),
        start_ms: now,
        end_ms: now,
        lookback_delta_ms: 300_000,
        samples_max: 1_000,
        consistency: consistency.into(),
        ..FragmentRequest::default()
    };
    #[expect(clippy::disallowed_methods, reason = "a test's deadline is real time")]
    let soon = Instant::now() + Duration::from_secs(6);
    let mut parts = node.client().fragment(shard, request, soon).await?;
    let mut has_content = false;
    while let Some(part) = parts.next().await {
        match part.expect("part").part {
            Some(Part::Answer(_)) => has_content = true,
            Some(Part::End(end)) => return Ok((Duration::from_millis(end.age_ms), has_content)),
            other => panic!("{other:?}"),
        }
    }
    panic!("the answer has no end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_without_a_majority_is_old_and_says_so() {
    let folder = tempfile::tempdir().expect("folder");
    let mut nodes = three(folder.path(), |_, _| {}).await;
    let (labels, sample) = up(1.0, wall_millis());
    let shard = append(&nodes[0], &labels, sample).await;
    let current = read(&nodes[0], shard, Consistency::Bounded).await.expect("answered");
    assert_eq!(current, (Duration::ZERO, true), "a leader answers from its current state");

    let left = nodes.pop().expect("three");
    for node in nodes {
        node.stop().await;
    }
    // Its lease may hold for a moment.
    until("it is refused", async || match read(&left, shard, Consistency::Linearizable).await {
        Err(ShardError::Unavailable { .. }) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let (age, has_content) = read(&left, shard, Consistency::Bounded).await.expect("answered");
    assert!(has_content && !age.is_zero(), "{age:?}");
    assert!(age < DEADLINE, "{age:?}");
    left.stop().await;
}
