//! `/api/v1/query_exemplars`.

use std::collections::BTreeMap;

use axum::response::Response;
use narthex_cluster::ShardId;
use narthex_model::{Exemplar, Labels, Matcher, Timestamp};
use narthex_proto::internal::v1::{Consistency, ExemplarsPart, SelectRequest};
use tokio_stream::StreamExt as _;

use super::broke_off;
use crate::{
    Querier,
    answer::{Remarks, success},
    error::{ApiError, ErrorType},
    fan_out::{TimeRange, ask_all, shards_for},
    params::{MAX_TIME, MIN_TIME, Params},
};

/// Exemplars of the series that an expression selects, in order of their labels.
pub(super) async fn query(api: &Querier, params: &Params) -> Result<Response, ApiError> {
    let start = params.time_or("start", MIN_TIME)?;
    let end = params.time_or("end", MAX_TIME)?;
    if end < start {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    let range = TimeRange { start, end };
    let selectors = selectors(api, params.value("query"))?;
    let found = match selectors.is_empty() {
        true => Found::default(),
        false => gather(api, params, &selectors, range).await?,
    };
    Ok(success(&Remarks::warnings(found.warnings), |json| {
        json.raw("[");
        for (labels, exemplars) in &found.series {
            json.element().raw("{").name("seriesLabels").labels(labels);
            json.name("exemplars").raw("[");
            for exemplar in exemplars {
                json.element().raw("{").name("labels").labels(&exemplar.labels);
                json.name("value").value(exemplar.value);
                json.name("timestamp").time(exemplar.timestamp).raw("}");
            }
            json.raw("]}");
        }
        json.raw("]");
    }))
}

#[derive(Default)]
struct Found {
    series: BTreeMap<Labels, Vec<Exemplar>>,
    warnings: Vec<String>,
}

/// The matchers of every selector in an expression.
fn selectors(api: &Querier, text: &str) -> Result<Vec<Vec<Matcher>>, ApiError> {
    let expr = narthex_promql::parse(text, &api.options.parse)
        .map_err(|error| ApiError::bad_data(error.to_string()))?;
    Ok(expr.selectors().iter().map(|selector| selector.matchers.clone()).collect())
}

async fn gather(
    api: &Querier,
    params: &Params,
    selectors: &[Vec<Matcher>],
    range: TimeRange,
) -> Result<Found, ApiError> {
    let shards = shards_for(&api.cluster.state(), selectors, range)?;
    let partial = api.options.partial_response || params.is_set("partial_response");
    let gathered = ask_all(shards, range, partial, |shard| {
        let request = request(shard, selectors, range);
        async move {
            let mut parts = api.cluster.exemplars(request, api.options.timeout).await?;
            let mut series = Vec::new();
            while let Some(part) = parts.next().await {
                let part = part.map_err(|status| broke_off(shard, &status))?;
                read(shard, &part, &mut series)?;
            }
            Ok(series)
        }
    })
    .await?;
    if !gathered.warnings.is_empty() {
        api.metrics.partial.inc();
    }
    let mut found = Found { warnings: gathered.warnings, ..Found::default() };
    // Before and after a change of the ring a series may have exemplars on two shards.
    for (labels, exemplars) in gathered.answers.into_iter().flat_map(|(_, series)| series) {
        let all = found.series.entry(labels).or_default();
        all.extend(exemplars);
        all.sort_by_key(|exemplar| exemplar.timestamp);
    }
    Ok(found)
}

fn request(shard: ShardId, selectors: &[Vec<Matcher>], range: TimeRange) -> SelectRequest {
    let text = |matchers: &Vec<Matcher>| {
        let matchers: Vec<String> = matchers.iter().map(Matcher::to_string).collect();
        format!("{{{}}}", matchers.join(","))
    };
    SelectRequest {
        tenant: 0,
        shard_id: shard.0,
        selectors: selectors.iter().map(text).collect(),
        start_ms: range.start.millis(),
        end_ms: range.end.millis(),
        limit: 0,
        consistency: Consistency::Linearizable.into(),
    }
}

fn read(
    shard: ShardId,
    part: &ExemplarsPart,
    into: &mut Vec<(Labels, Vec<Exemplar>)>,
) -> Result<(), ApiError> {
    let labels = |bytes: &[u8]| {
        Labels::from_bytes(bytes)
            .map_err(|error| ApiError::new(ErrorType::Internal, format!("shard {shard}: {error}")))
    };
    for series in &part.series {
        let mut exemplars = Vec::with_capacity(series.exemplars.len());
        for exemplar in &series.exemplars {
            exemplars.push(Exemplar {
                labels: labels(&exemplar.labels)?,
                value: exemplar.value,
                timestamp: Timestamp::from_millis(exemplar.timestamp_ms),
            });
        }
        into.push((labels(&series.labels)?, exemplars));
    }
    Ok(())
}
