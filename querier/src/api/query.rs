//! `/api/v1/query` and `/api/v1/query_range`.

use std::time::Duration;

use axum::response::Response;
use http::HeaderValue;
use narthex_promql::Steps;
use narthex_proto::internal::v1::Consistency;

use crate::{
    Querier,
    answer::{CONSISTENCY, streamed, success},
    error::ApiError,
    params::Params,
    query::{Answered, QueryRequest, consistency},
    render::{Extras, truncate, weight, write_data},
};

/// Points per series that a range query may have: enough for a minute's resolution over a week.
const POINTS_MAX: i64 = 11_000;

/// Answers above this weight are written while they are sent.
const WRITTEN_AT_ONCE: usize = 4_000;

const NANOS_PER_MILLI: i64 = 1_000_000;

pub(super) async fn instant(api: &Querier, params: &Params) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let time = params.time_or("time", api.clock.now())?;
    let steps = Steps { start: time, end: time, step_millis: 0 };
    let request = request(api, params, steps)?;
    Ok(respond(api, api.query(&request).await?, (steps, limit), params))
}

pub(super) async fn range(api: &Querier, params: &Params) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let start = params.time("start")?;
    let end = params.time("end")?;
    if end < start {
        let why = "end timestamp must not be before start time";
        return Err(ApiError::invalid_parameter("end", why));
    }
    let step = params.duration("step")?;
    if step <= 0 {
        let why = "zero or negative query resolution step widths are not accepted. Try a positive \
                   integer";
        return Err(ApiError::invalid_parameter("step", why));
    }
    let span = end.millis_since(start).saturating_mul(NANOS_PER_MILLI);
    if span / step > POINTS_MAX {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query \
             resolution (?step=XX)",
        ));
    }
    let step_millis = (step / NANOS_PER_MILLI).max(1);
    let steps = Steps { start, end, step_millis };
    let request = request(api, params, steps)?;
    Ok(respond(api, api.query(&request).await?, (steps, limit), params))
}

fn request(api: &Querier, params: &Params, steps: Steps) -> Result<QueryRequest, ApiError> {
    let timeout = params.duration_if_given("timeout")?.map(duration);
    let lookback = match params.value("lookback_delta") {
        "" => None,
        text => {
            let wrong =
                |why| ApiError::bad_data(format!("error parsing lookback delta duration: {why}"));
            Some(crate::params::parse_duration(text).map_err(wrong)?)
        }
    };
    let consistency = match params.value("consistency") {
        "" | "linearizable" => Consistency::Linearizable,
        "bounded" => Consistency::Bounded,
        other => {
            let why = format!("{other:?}: want linearizable or bounded");
            return Err(ApiError::invalid_parameter("consistency", &why));
        }
    };
    // Zero and less mean the default, as in Prometheus.
    let lookback = lookback.filter(|nanos| *nanos > 0).map(duration);
    Ok(QueryRequest {
        text: params.value("query").to_owned(),
        steps,
        timeout,
        lookback,
        partial_response: api.options.partial_response || params.is_set("partial_response"),
        consistency,
        counts_samples: !params.value("stats").is_empty(),
        user: params.sender().clone(),
        // Who asks what an answer takes wants all of it to be worked out.
        remembers: !params.is_set("nocache") && params.value("stats").is_empty(),
    })
}

fn duration(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

fn respond(
    api: &Querier,
    mut answered: Answered,
    (steps, limit): (Steps, usize),
    params: &Params,
) -> Response {
    if truncate(&mut answered.value, limit) {
        answered.remarks.warnings.push("results truncated due to limit".to_owned());
    }
    let Answered { value, mut remarks, age, stats, explanation } = answered;
    match params.value("stats") {
        "" | "true" | "all" => {}
        other => remarks.warnings.push(format!("stats={other} is deprecated: use true or all")),
    }
    let is_per_step = params.value("stats") == "all" && api.options.per_step_stats;
    let extras = Extras {
        per_step: is_per_step.then_some(steps),
        stats: (!params.value("stats").is_empty()).then_some(stats),
        explanation: params.is_set("explain").then_some(explanation),
    };
    let mut response = if weight(&value) <= WRITTEN_AT_ONCE {
        success(&remarks, |json| write_data(json, &value, &extras))
    } else {
        streamed(remarks, move |json| write_data(json, &value, &extras))
    };
    if let Ok(text) = HeaderValue::from_str(&consistency(age)) {
        response.headers_mut().insert(CONSISTENCY, text);
    }
    response
}
