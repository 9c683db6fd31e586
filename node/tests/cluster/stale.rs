//! Reads that the leader does not answer: of a shard that has lost its majority, which are refused
//! unless an old state will do, and of followers, which are as good as the leader's.

use narthex_proto::{
    client::ShardError,
    internal::v1::{ChangesRequest, Consistency},
};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_answers_with_all_that_was_acknowledged() {
    let folder = tempfile::tempdir().expect("folder");
    let nodes = three(folder.path(), |_, _| {}).await;
    let now = wall_millis();
    for round in 0..20_i64 {
        let (labels, sample) = up(round as f64, now + round);
        let shard = append(&nodes[0], &labels, sample).await;
        let request = FragmentRequest {
            shard_id: shard.0,
            query: "up".to_owned(),
            start_ms: now + round,
            end_ms: now + round,
            lookback_delta_ms: 1,
            samples_max: 10,
            consistency: Consistency::Follower.into(),
            ..FragmentRequest::default()
        };
        let mut parts =
            nodes[1].client().fragment(shard, request, deadline()).await.expect("answered");
        let mut bytes = Vec::new();
        while let Some(Part::Answer(more)) =
            parts.next().await.and_then(|part| part.expect("part").part)
        {
            bytes.extend_from_slice(&more);
        }
        let answer = wire::decode(&bytes).expect("decodes");
        let FragmentContent::Columns(series) = answer.content else { panic!("columns") };
        assert_eq!(series.len(), 1, "the sample of round {round} is there");
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_tells_how_far_back_it_has_changed() {
    let folder = tempfile::tempdir().expect("folder");
    let node = alone(folder.path(), |config| config.scrapes_builtin = false).await;
    let now = wall_millis();
    let (labels, sample) = up(1.0, now);
    let shard = append(&node, &labels, sample).await;
    let since = async |since_index: u64| {
        let request = ChangesRequest { tenant: 0, shard_id: shard.0, since_index };
        node.client().changes(shard, request, deadline()).await.expect("answered")
    };
    let first = since(u64::MAX).await;
    assert_eq!(first.earliest_ms, i64::MIN, "nobody was there");
    let (labels, late) = up(2.0, now - 60_000);
    append(&node, &labels, late).await;
    let changed = since(first.applied_index).await;
    assert!((now - 61_000..=now - 60_000).contains(&changed.earliest_ms), "{changed:?}");
    assert_eq!(since(changed.applied_index).await.earliest_ms, i64::MAX);
    node.stop().await;
}
