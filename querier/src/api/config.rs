//! What is in force: `/api/v1/status/{config,flags,walreplay}`, `/api/v1/features`, the scrape
//! pools.

use axum::response::Response;
use bytes::Bytes;
use narthex_promql::{
    ast::{AggregateOp, BinaryOp},
    types::FUNCTIONS,
};

use super::targets;
use crate::{
    Querier, QuerierOptions,
    answer::{Remarks, success},
    error::ApiError,
    json::Json,
    params::Params,
};

fn answer(data: impl FnOnce(&mut Json<Vec<Bytes>>)) -> Response {
    success(&Remarks::default(), data)
}

/// The scrape configuration as YAML, secrets masked.
pub(super) fn config(api: &Querier) -> Response {
    let config = api.options.config.borrow().clone();
    answer(|json| {
        json.raw("{").name("yaml").text(&config.yaml).raw("}");
    })
}

pub(super) fn flags(api: &Querier) -> Response {
    answer(|json| {
        json.raw("{");
        for (name, value) in &api.options.flags {
            json.name(name).text(value);
        }
        json.raw("}");
    })
}

/// A process answers once it has read its log again, so nothing is left of it.
pub(super) fn wal_replay() -> Response {
    answer(|json| {
        json.raw(r#"{"min":0,"max":0,"current":0}"#);
    })
}

/// Jobs of the configuration, and those that have targets without one.
pub(super) async fn scrape_pools(api: &Querier) -> Response {
    let mut pools: Vec<String> = api.options.config.borrow().pools.keys().cloned().collect();
    let found = targets::look(api).await;
    pools.extend(found.active.keys().chain(found.dropped.keys()).map(|(pool, _)| pool.clone()));
    pools.sort();
    pools.dedup();
    success(&Remarks::warnings(found.warnings), |json| {
        json.raw("{").name("scrapePools").texts(&pools).raw("}");
    })
}

pub(super) fn scrape_pool_config(api: &Querier, params: &Params) -> Result<Response, ApiError> {
    let name = params.value("scrapePool");
    if name.is_empty() {
        return Err(ApiError::bad_data("no scrapePool parameter provided"));
    }
    let yaml = api.options.config.borrow().pools.get(name).cloned();
    let yaml = yaml.ok_or_else(|| {
        ApiError::not_found(format!("there is no scrape pool {name:?} in the configuration"))
    })?;
    Ok(answer(|json| {
        json.raw("{").name("yaml").text(&yaml).raw("}");
    }))
}

/// What clients may use, by category; what is not listed is not there.
pub(super) fn features(api: &Querier) -> Response {
    let options = &api.options;
    answer(|json| {
        json.raw("{");
        write_category(json, "api", api_features(options));
        write_category(json, "promql", language_features(options));
        let experimental = options.parse.experimental_functions;
        let functions = FUNCTIONS.iter();
        let functions = functions.map(|it| (it.name, !it.is_experimental || experimental));
        write_category(json, "promql_functions", functions);
        let aggregations = AggregateOp::ALL.into_iter();
        let aggregations =
            aggregations.map(|op| (op.text(), !op.is_experimental() || experimental));
        let operators = BinaryOp::ALL.into_iter().map(|op| (op.text(), true)).chain(aggregations);
        write_category(json, "promql_operators", operators);
        json.raw("}");
    })
}

fn write_category(
    json: &mut Json<Vec<Bytes>>,
    category: &str,
    features: impl Iterator<Item = (&'static str, bool)>,
) {
    json.name(category).raw("{");
    for (name, is_on) in features {
        json.name(name).boolean(is_on);
    }
    json.raw("}");
}

fn api_features(options: &QuerierOptions) -> impl Iterator<Item = (&'static str, bool)> {
    [
        ("admin", options.enable_admin_api),
        ("label_values_match", true),
        ("otlp_write_receiver", true),
        ("partial_response", true),
        ("query_stats", true),
        ("query_warnings", true),
        ("remote_write_receiver", true),
        ("search", options.search_api),
        ("time_range_labels", true),
        ("time_range_series", true),
    ]
    .into_iter()
}

fn language_features(options: &QuerierOptions) -> impl Iterator<Item = (&'static str, bool)> {
    let parse = &options.parse;
    [
        ("anchored", parse.extended_range_selectors),
        ("at_modifier", true),
        ("bool", true),
        ("by", true),
        ("delayed_name_removal", options.delayed_name_removal),
        ("duration_expr", true),
        ("fill", parse.binop_fill_modifiers),
        ("fill_left", parse.binop_fill_modifiers),
        ("fill_right", parse.binop_fill_modifiers),
        ("group_left", true),
        ("group_right", true),
        ("ignoring", true),
        ("negative_offset", true),
        ("offset", true),
        ("on", true),
        ("per_query_lookback_delta", true),
        ("per_step_stats", options.per_step_stats),
        ("smoothed", parse.extended_range_selectors),
        ("subqueries", true),
        ("without", true),
    ]
    .into_iter()
}
