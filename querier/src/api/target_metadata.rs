//! `/api/v1/targets/metadata`: what the targets said of their metric families.
//!
//! A shard knows its families, not who described them: a target's families are those of its
//! shards that it has series of.

use std::collections::BTreeMap;

use axum::response::Response;
use narthex_cluster::ShardId;
use narthex_model::{INSTANCE, JOB, METRIC_NAME, Matcher, Timestamp};
use narthex_proto::internal::v1::{Consistency, MetadataFamily, MetadataRequest};

use super::{
    families,
    metadata::{Selection, selector},
    targets,
};
use crate::{
    Querier,
    answer::{Remarks, success},
    error::ApiError,
    fan_out::{TimeRange, shards_for},
    params::Params,
};

/// What a family's series may have behind its name.
const SUFFIXES: [&str; 7] = ["", "_bucket", "_count", "_sum", "_total", "_created", "_info"];

type LabelSet = BTreeMap<String, String>;

pub(super) async fn metadata(api: &Querier, params: &Params) -> Result<Response, ApiError> {
    let rows_max = families::number(params, "limit")?.and_then(|limit| usize::try_from(limit).ok());
    let rows_max = rows_max.unwrap_or(usize::MAX);
    let matchers = match params.value("match_target") {
        "" => Vec::new(),
        text => selector(api, text)?,
    };
    let metric = params.value("metric");
    let found = targets::look(api).await;
    let mut families = Families { api, metric, of_shards: BTreeMap::new() };
    let mut rows: Vec<(LabelSet, MetadataFamily)> = Vec::new();
    for target in found.active.values() {
        let labels = targets::label_set(&target.labels);
        if rows.len() >= rows_max || !is_named(&labels, &matchers) {
            continue;
        }
        let known = families.of_target(&labels).await?;
        rows.extend(known.into_iter().map(|family| (labels.clone(), family)));
    }
    rows.truncate(rows_max);
    if rows.is_empty() {
        return Err(ApiError::not_found("specified metadata not found"));
    }
    Ok(success(&Remarks::warnings(found.warnings), |json| {
        json.raw("[");
        for (labels, family) in &rows {
            json.element().raw("{").name("target").raw("{");
            for (name, value) in labels {
                json.name(name).text(value);
            }
            json.raw("}");
            if metric.is_empty() {
                json.name("metric").text(&family.name);
            }
            json.name("type").text(families::type_name(family));
            json.name("help").text(&family.help).name("unit").text(&family.unit).raw("}");
        }
        json.raw("]");
    }))
}

fn is_named(labels: &LabelSet, matchers: &[Matcher]) -> bool {
    matchers.iter().all(|it| it.matches(labels.get(it.name()).map_or("", String::as_str)))
}

/// The families of the shards that were asked.
struct Families<'a> {
    api: &'a Querier,
    /// The only family wanted; empty: all.
    metric: &'a str,
    of_shards: BTreeMap<ShardId, Vec<MetadataFamily>>,
}

impl Families<'_> {
    async fn of_target(&mut self, labels: &LabelSet) -> Result<Vec<MetadataFamily>, ApiError> {
        let value = |name: &str| labels.get(name).map_or("", String::as_str);
        let matchers = [JOB, INSTANCE].map(|name| Matcher::equal(name, value(name))).to_vec();
        let end = self.api.clock.now();
        let lookback = i64::try_from(self.api.options.lookback.as_millis()).unwrap_or(i64::MAX);
        let start = Timestamp::from_millis(end.millis().saturating_sub(lookback));
        let range = TimeRange { start, end };
        let shards = shards_for(&self.api.cluster.state(), std::slice::from_ref(&matchers), range)?;
        let texts: Vec<String> = matchers.iter().map(ToString::to_string).collect();
        let selection = Selection::new(self.api, vec![format!("{{{}}}", texts.join(","))], range)?;
        let (names, _) = selection.label_values(self.api, METRIC_NAME).await?;
        let has_series = |family: &MetadataFamily| {
            let has = |suffix| names.binary_search(&format!("{}{suffix}", family.name)).is_ok();
            SUFFIXES.into_iter().any(has)
        };
        let mut known = BTreeMap::new();
        for shard in shards {
            for family in self.of_shard(shard).await?.iter().filter(|it| has_series(it)) {
                known.entry(family.name.clone()).or_insert_with(|| family.clone());
            }
        }
        Ok(known.into_values().collect())
    }

    async fn of_shard(&mut self, shard: ShardId) -> Result<&[MetadataFamily], ApiError> {
        if !self.of_shards.contains_key(&shard) {
            let request = MetadataRequest {
                tenant: 0,
                shard_id: shard.0,
                name: self.metric.to_owned(),
                consistency: Consistency::Linearizable.into(),
            };
            let known = families::ask(self.api, shard, request).await?;
            self.of_shards.insert(shard, known);
        }
        Ok(&self.of_shards[&shard])
    }
}
