//! `/api/v1/series`, `/api/v1/labels`, `/api/v1/label/NAME/values`.

use std::collections::BTreeSet;

use axum::response::Response;
use narthex_cluster::ShardId;
use narthex_model::{Labels, Matcher, Timestamp, quote};
use narthex_promql::parse_selector;
use narthex_proto::internal::v1::{Consistency, LabelValuesRequest, SelectRequest};
use tokio_stream::StreamExt as _;

use crate::{
    Querier,
    answer::{Remarks, success},
    error::{ApiError, ErrorType},
    fan_out::{Gathered, TimeRange, ask_all, shards_for},
    params::{MAX_TIME, MIN_TIME, Params, unescape_label_name},
};

/// What the client asked for.
pub(crate) struct Selection {
    texts: Vec<String>,
    matchers: Vec<Vec<Matcher>>,
    range: TimeRange,
    limit: usize,
    partial_response: bool,
}

impl Selection {
    fn read(api: &Querier, params: &Params) -> Result<Self, ApiError> {
        Ok(Self { limit: params.limit()?, ..Self::of(api, params, (MIN_TIME, MAX_TIME))? })
    }

    /// What it asked for without a limit; the times where it names none.
    pub(super) fn of(
        api: &Querier,
        params: &Params,
        (start, end): (Timestamp, Timestamp),
    ) -> Result<Self, ApiError> {
        let start = params.time_or("start", start)?;
        let end = params.time_or("end", end)?;
        let texts = params.all("match[]").map(str::to_owned).collect();
        let selection = Self::new(api, texts, TimeRange { start, end })?;
        let partial_response = selection.partial_response || params.is_set("partial_response");
        Ok(Self { partial_response, ..selection })
    }

    /// All that is in a range of series that any selector names; none names all.
    pub(crate) fn new(
        api: &Querier,
        texts: Vec<String>,
        range: TimeRange,
    ) -> Result<Self, ApiError> {
        let matchers = texts.iter().map(|text| selector(api, text)).collect::<Result<_, _>>()?;
        let partial_response = api.options.partial_response;
        Ok(Self { texts, matchers, range, limit: 0, partial_response })
    }

    /// The same, cut to `limit` rows, 0 for all; and perhaps without the shards that are missing.
    pub(crate) fn allowing(self, limit: usize, partial_response: bool) -> Self {
        let partial_response = self.partial_response || partial_response;
        Self { limit, partial_response, ..self }
    }

    /// One more than wanted shows that there are more.
    fn limit_asked(&self) -> u64 {
        if self.limit == 0 { 0 } else { self.limit as u64 + 1 }
    }

    fn request(&self, shard: ShardId) -> SelectRequest {
        SelectRequest {
            tenant: 0,
            shard_id: shard.0,
            selectors: self.texts.clone(),
            start_ms: self.range.start.millis(),
            end_ms: self.range.end.millis(),
            limit: self.limit_asked(),
            consistency: Consistency::Linearizable.into(),
        }
    }

    async fn ask<T, F>(
        &self,
        api: &Querier,
        ask: impl Fn(ShardId) -> F,
    ) -> Result<Gathered<T>, ApiError>
    where
        F: Future<Output = Result<T, ApiError>>,
    {
        let shards = shards_for(&api.cluster.state(), &self.matchers, self.range)?;
        let gathered = ask_all(shards, self.range, self.partial_response, ask).await?;
        if !gathered.warnings.is_empty() {
            api.metrics.partial.inc();
        }
        Ok(gathered)
    }

    /// Label sets of the selected series in order, and warnings.
    pub(crate) async fn series(
        &self,
        api: &Querier,
    ) -> Result<(Vec<Labels>, Vec<String>), ApiError> {
        let gathered = self.ask(api, |shard| series_of(api, shard, self.request(shard))).await?;
        let mut warnings = gathered.warnings;
        let found: BTreeSet<Labels> = gathered.answers.into_iter().flat_map(|(_, s)| s).collect();
        Ok((self.cut(found, &mut warnings).collect(), warnings))
    }

    /// Names of the selected series' labels in order, and warnings.
    pub(crate) async fn label_names(
        &self,
        api: &Querier,
    ) -> Result<(Vec<String>, Vec<String>), ApiError> {
        let gathered = self.ask(api, |shard| {
            let request = self.request(shard);
            async move { Ok(api.cluster.label_names(request, api.options.timeout).await?) }
        });
        Ok(self.names(gathered.await?))
    }

    /// Values of a label of the selected series in order, and warnings.
    pub(crate) async fn label_values(
        &self,
        api: &Querier,
        name: &str,
    ) -> Result<(Vec<String>, Vec<String>), ApiError> {
        let gathered = self.ask(api, |shard| {
            let select = Some(self.request(shard));
            let request = LabelValuesRequest { select, name: name.to_owned() };
            async move { Ok(api.cluster.label_values(request, api.options.timeout).await?) }
        });
        Ok(self.names(gathered.await?))
    }

    fn names(&self, gathered: Gathered<Vec<String>>) -> (Vec<String>, Vec<String>) {
        let mut warnings = gathered.warnings;
        let found: BTreeSet<String> = gathered.answers.into_iter().flat_map(|(_, n)| n).collect();
        (self.cut(found, &mut warnings).collect(), warnings)
    }

    /// Cuts a sorted result to the limit and says so.
    fn cut<T>(&self, found: BTreeSet<T>, warnings: &mut Vec<String>) -> impl Iterator<Item = T> {
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        if found.len() > limit {
            warnings.push("results truncated due to limit".to_owned());
        }
        found.into_iter().take(limit)
    }
}

async fn series_of(
    api: &Querier,
    shard: ShardId,
    request: SelectRequest,
) -> Result<Vec<Labels>, ApiError> {
    let mut parts = api.cluster.series(request, api.options.timeout).await?;
    let mut found = Vec::new();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|status| broke_off(shard, &status))?;
        for bytes in &part.labels {
            let labels = Labels::from_bytes(bytes).map_err(|error| {
                ApiError::new(ErrorType::Internal, format!("shard {shard}: {error}"))
            })?;
            found.push(labels);
        }
    }
    Ok(found)
}

pub(super) fn selector(api: &Querier, text: &str) -> Result<Vec<Matcher>, ApiError> {
    let empty = "match[] must contain at least one non-empty matcher";
    let matchers = parse_selector(text, &api.options.parse).map_err(|error| {
        let why = error.to_string();
        let is_empty = why.contains("at least one non-empty matcher");
        ApiError::invalid_parameter("match[]", if is_empty { empty } else { &why })
    })?;
    match matchers.iter().any(|matcher| !matcher.matches("")) {
        true => Ok(matchers),
        false => Err(ApiError::invalid_parameter("match[]", empty)),
    }
}

pub(super) async fn series(api: &Querier, params: &Params) -> Result<Response, ApiError> {
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let selection = Selection::read(api, params)?;
    let (found, warnings) = selection.series(api).await?;
    Ok(success(&Remarks::warnings(warnings), |json| {
        json.raw("[");
        for labels in &found {
            json.element().labels(labels);
        }
        json.raw("]");
    }))
}

pub(super) async fn labels(api: &Querier, params: &Params) -> Result<Response, ApiError> {
    Ok(names(Selection::read(api, params)?.label_names(api).await?))
}

pub(super) async fn label_values(
    api: &Querier,
    params: &Params,
    escaped_name: &str,
) -> Result<Response, ApiError> {
    let name = unescape_label_name(escaped_name);
    if name.is_empty() || name.contains('\u{fffd}') {
        return Err(ApiError::bad_data(format!("invalid label name: {}", quote(&name))));
    }
    Ok(names(Selection::read(api, params)?.label_values(api, &name).await?))
}

fn names((found, warnings): (Vec<String>, Vec<String>)) -> Response {
    success(&Remarks::warnings(warnings), |json| {
        json.texts(&found);
    })
}

/// A shard's stream of answers ended in an error.
pub(crate) fn broke_off(shard: ShardId, status: &tonic::Status) -> ApiError {
    let message = format!("shard {shard} broke off: {}", status.message());
    ApiError::new(ErrorType::Unavailable, message)
}
