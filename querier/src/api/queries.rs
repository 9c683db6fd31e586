//! `/api/v1/status/queries`: the queries under way in this process; and how to end one.

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;

use super::targets::rfc3339;
use crate::{
    Querier,
    answer::{Remarks, success},
    error::ApiError,
    params::Params,
};

pub(super) fn list(api: &Querier) -> Response {
    let (queries, now) = (api.active.all(), api.clock.now());
    success(&Remarks::default(), |json| {
        json.raw("{").name("queries").raw("[");
        for (id, query) in &queries {
            let seconds = now.millis_since(query.began) as f64 / 1000.0;
            json.element().raw("{").name("id").integer(*id);
            json.name("query").text(&query.text);
            json.name("user").text(&query.user);
            json.name("state").text(if query.is_running { "running" } else { "waiting" });
            json.name("began").text(&rfc3339(query.began.millis()));
            json.name("seconds").float(seconds.max(0.0));
            if let Some(steps) = query.steps {
                json.name("start").time(steps.start).name("end").time(steps.end);
                json.name("step").float(steps.step_millis as f64 / 1000.0);
            }
            json.raw("}");
        }
        json.raw("]}");
    })
}

/// Ends the query with the id `id`. It is gone from every shard within a second.
pub(super) fn kill(api: &Querier, params: &Params) -> Result<Response, ApiError> {
    let text = params.value("id");
    let Ok(id) = text.parse() else {
        let why = format!("{text:?}: want the id of a query of /api/v1/status/queries");
        return Err(ApiError::invalid_parameter("id", &why));
    };
    if !api.active.kill(id) {
        return Err(ApiError::not_found(format!("no query {id} is under way in this process")));
    }
    tracing::warn!(id, user = %params.sender(), "query killed");
    Ok(StatusCode::NO_CONTENT.into_response())
}
