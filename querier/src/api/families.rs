//! `/api/v1/metadata`.

use std::collections::{BTreeMap, BTreeSet};

use axum::response::Response;
use narthex_cluster::ShardId;
use narthex_model::MetricType;
use narthex_proto::internal::v1::{Consistency, MetadataFamily, MetadataRequest};
use tokio_stream::StreamExt as _;

use super::broke_off;
use crate::{
    Querier,
    answer::{Remarks, success},
    error::ApiError,
    fan_out::{Gathered, TimeRange, ask_all, shards_for},
    params::{MAX_TIME, MIN_TIME, Params},
};

/// What is known of metric families: of each, every different word that shards have.
pub(super) async fn metadata(api: &Querier, params: &Params) -> Result<Response, ApiError> {
    let families_max = number(params, "limit")?.filter(|limit| *limit >= 0);
    let words_max = number(params, "limit_per_metric")?.filter(|limit| *limit > 0);
    let partial = api.options.partial_response || params.is_set("partial_response");
    let gathered = gather(api, params.value("metric"), partial).await?;
    let mut families: BTreeMap<String, BTreeSet<(u32, String, String)>> = BTreeMap::new();
    for family in gathered.answers.into_iter().flat_map(|(_, families)| families) {
        let words = families.entry(family.name).or_default();
        words.insert((family.metric_type, family.help, family.unit));
    }
    let families_max = families_max.map_or(usize::MAX, |limit| limit as usize);
    let words_max = words_max.map_or(usize::MAX, |limit| limit as usize);
    Ok(success(&Remarks::warnings(gathered.warnings), |json| {
        json.raw("{");
        for (name, words) in families.iter().take(families_max) {
            json.name(name).raw("[");
            for (metric_type, help, unit) in words.iter().take(words_max) {
                let metric_type = u8::try_from(*metric_type).ok().and_then(MetricType::from_number);
                json.element().raw("{").name("type").text(metric_type.unwrap_or_default().name());
                json.name("help").text(help).name("unit").text(unit).raw("}");
            }
            json.raw("]");
        }
        json.raw("}");
    }))
}

/// What all shards know of a family, or of all if `name` is empty.
pub(crate) async fn all(
    api: &Querier,
    name: &str,
) -> Result<BTreeMap<String, Vec<MetadataFamily>>, ApiError> {
    let gathered = gather(api, name, api.options.partial_response).await?;
    let mut families: BTreeMap<String, Vec<MetadataFamily>> = BTreeMap::new();
    for family in gathered.answers.into_iter().flat_map(|(_, families)| families) {
        families.entry(family.name.clone()).or_default().push(family);
    }
    Ok(families)
}

/// What each shard knows of a family, or of all if `name` is empty.
async fn gather(
    api: &Querier,
    name: &str,
    partial: bool,
) -> Result<Gathered<Vec<MetadataFamily>>, ApiError> {
    let range = TimeRange { start: MIN_TIME, end: MAX_TIME };
    let shards = shards_for(&api.cluster.state(), &[], range)?;
    let gathered = ask_all(shards, range, partial, |shard| {
        let request = MetadataRequest {
            tenant: 0,
            shard_id: shard.0,
            name: name.to_owned(),
            consistency: Consistency::Linearizable.into(),
        };
        ask(api, shard, request)
    })
    .await?;
    if !gathered.warnings.is_empty() {
        api.metrics.partial.inc();
    }
    Ok(gathered)
}

/// A family's type as metadata names it.
pub(crate) fn type_name(family: &MetadataFamily) -> &'static str {
    let kind = u8::try_from(family.metric_type).ok().and_then(MetricType::from_number);
    kind.unwrap_or_default().name()
}

/// The families that a shard knows.
pub(super) async fn ask(
    api: &Querier,
    shard: ShardId,
    request: MetadataRequest,
) -> Result<Vec<MetadataFamily>, ApiError> {
    let mut parts = api.cluster.metadata(request, api.options.timeout).await?;
    let mut families = Vec::new();
    while let Some(part) = parts.next().await {
        families.extend(part.map_err(|status| broke_off(shard, &status))?.families);
    }
    Ok(families)
}

pub(super) fn number(params: &Params, name: &str) -> Result<Option<i64>, ApiError> {
    match params.value(name) {
        "" => Ok(None),
        text => {
            let number = text.parse().map(Some);
            number.map_err(|_| ApiError::bad_data(format!("{name} must be a number")))
        }
    }
}
