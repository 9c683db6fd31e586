//! What there is to query: series, labels, metric families.

use narthex_model::Timestamp;
use narthex_proto::v1::{
    Family, FindRequest, FindSeriesResponse, LabelSet, LabelValuesRequest, MetadataResponse,
    NamesResponse,
};

use super::query::labels;
use crate::{
    Querier,
    api::{Selection, all_families, type_name},
    error::ApiError,
    fan_out::TimeRange,
    params::{MAX_TIME, MIN_TIME},
};

/// Series of one message.
const SERIES_PER_MESSAGE: usize = 1024;

fn selection(api: &Querier, request: FindRequest) -> Result<Selection, ApiError> {
    let range = TimeRange {
        start: request.start_ms.map_or(MIN_TIME, Timestamp::from_millis),
        end: request.end_ms.map_or(MAX_TIME, Timestamp::from_millis),
    };
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let selection = Selection::new(api, request.matches, range)?;
    Ok(selection.allowing(limit, request.partial_response))
}

/// At least one message; the last one has the warnings.
pub(super) async fn series(
    api: &Querier,
    request: FindRequest,
) -> Result<Vec<FindSeriesResponse>, ApiError> {
    if request.matches.is_empty() {
        return Err(ApiError::bad_data("no selector provided in matches"));
    }
    let (found, warnings) = selection(api, request)?.series(api).await?;
    let mut messages: Vec<FindSeriesResponse> = found
        .chunks(SERIES_PER_MESSAGE)
        .map(|some| FindSeriesResponse {
            series: some.iter().map(|it| LabelSet { labels: labels(it) }).collect(),
            warnings: Vec::new(),
        })
        .collect();
    match messages.last_mut() {
        Some(last) => last.warnings = warnings,
        None => messages.push(FindSeriesResponse { series: Vec::new(), warnings }),
    }
    Ok(messages)
}

pub(super) async fn label_names(
    api: &Querier,
    request: FindRequest,
) -> Result<NamesResponse, ApiError> {
    let (names, warnings) = selection(api, request)?.label_names(api).await?;
    Ok(NamesResponse { names, warnings })
}

pub(super) async fn label_values(
    api: &Querier,
    request: LabelValuesRequest,
) -> Result<NamesResponse, ApiError> {
    if request.name.is_empty() {
        return Err(ApiError::bad_data("the label has no name"));
    }
    let among = selection(api, request.among.unwrap_or_default())?;
    let (names, warnings) = among.label_values(api, &request.name).await?;
    Ok(NamesResponse { names, warnings })
}

/// Every different description of every family.
pub(super) async fn metadata(api: &Querier, metric: &str) -> Result<MetadataResponse, ApiError> {
    let known = all_families(api, metric).await?;
    let mut families: Vec<Family> = Vec::new();
    for family in known.into_values().flatten() {
        families.push(Family {
            r#type: type_name(&family).to_owned(),
            name: family.name,
            help: family.help,
            unit: family.unit,
        });
    }
    let key = |it: &Family| (it.name.clone(), it.r#type.clone(), it.help.clone(), it.unit.clone());
    families.sort_by_key(key);
    families.dedup();
    Ok(MetadataResponse { families })
}
