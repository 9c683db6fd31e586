//! `/api/v1/admin/tsdb/delete_series`, `clean_tombstones` and `snapshot`, where
//! `--web.enable-admin-api` allows them.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    time::Duration,
};

use axum::response::{IntoResponse as _, Response};
use futures_util::future::join_all;
use http::StatusCode;
use narthex_proto::internal::v1::DeleteRequest;

use super::{metadata::selector, targets::rfc3339};
use crate::{
    Querier,
    answer::{Remarks, success},
    error::{ApiError, ErrorType},
    fan_out::{TimeRange, ask_all, shards_for},
    params::{MAX_TIME, MIN_TIME, Params},
};

/// How long a shard may take for a delete: thousands of entries, where it has millions of series.
const DELETE_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a node may take to rewrite what was deleted from.
const CLEAN_TIMEOUT: Duration = Duration::from_secs(3600);

/// Prometheus answers 500 here, not 503: asking again does not help.
fn check_enabled(api: &Querier) -> Result<(), ApiError> {
    match api.options.enable_admin_api {
        true => Ok(()),
        false => Err(ApiError::new(ErrorType::Disabled, "admin APIs disabled")),
    }
}

/// Deletes on all shards that can hold a match. Where one does not answer, others may have deleted
/// already; asking again is harmless.
pub(super) async fn delete_series(api: &Querier, params: &Params) -> Result<Response, ApiError> {
    check_enabled(api)?;
    let selectors: Vec<String> = params.all("match[]").map(str::to_owned).collect();
    if selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let start = params.time_or("start", MIN_TIME)?;
    let end = params.time_or("end", MAX_TIME)?;
    let matchers =
        selectors.iter().map(|text| selector(api, text)).collect::<Result<Vec<_>, _>>()?;
    let range = TimeRange { start, end };
    let shards = shards_for(&api.cluster.state(), &matchers, range)?;
    ask_all(shards, range, false, |shard| {
        let request = DeleteRequest {
            tenant: 0,
            shard_id: shard.0,
            selectors: selectors.clone(),
            start_ms: start.millis(),
            end_ms: end.millis(),
        };
        async move { Ok(api.cluster.delete(request, DELETE_TIMEOUT).await?) }
    })
    .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Takes what was deleted out of every replica of every node.
pub(super) async fn clean_tombstones(api: &Querier) -> Result<Response, ApiError> {
    check_enabled(api)?;
    let state = api.cluster.state();
    let cleaned = state.members().keys().map(|&node| async move {
        let cleaned = api.cluster.clean_tombstones(node, CLEAN_TIMEOUT).await;
        cleaned.map_err(|status| {
            let message = format!("node {node} did not clean: {}", status.message());
            ApiError::new(ErrorType::Unavailable, message)
        })
    });
    join_all(cleaned).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Takes a snapshot of every node's folder, of one moment: `snapshots/NAME` in each. It holds
/// everything, so `skip_head` changes nothing.
pub(super) async fn snapshot(api: &Querier) -> Result<Response, ApiError> {
    check_enabled(api)?;
    let time: String = rfc3339(api.clock.now().millis()).chars().take(19).collect();
    let random = RandomState::new().build_hasher().finish();
    let name = format!("{}Z-{random:016x}", time.replace(['-', ':'], ""));
    api.cluster.take_snapshot(name.clone()).await.map_err(|(node, status)| {
        let message = format!("node {node} took no snapshot: {}", status.message());
        ApiError::new(ErrorType::Unavailable, message)
    })?;
    Ok(success(&Remarks::default(), |json| {
        json.raw("{").name("name").text(&name).raw("}");
    }))
}
