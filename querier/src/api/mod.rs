//! Prometheus's HTTP API.

mod admin;
mod cardinality;
mod config;
mod exemplars;
mod expression;
mod families;
mod federate;
mod metadata;
mod notifications;
mod openapi;
mod queries;
mod query;
mod relabel_steps;
mod remote_read;
mod rules;
mod search;
mod status;
mod target_metadata;
mod targets;

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, Request},
    response::{IntoResponse as _, Response},
};
use http::{Method, header};
use narthex_web::{
    Routes,
    access::{self, Endpoint},
    body,
};

pub(crate) use cardinality::CardinalityBoard;
pub use expression::syntax_tree;
pub(crate) use families::{all as all_families, type_name};
pub(crate) use metadata::{Selection, broke_off};
pub(crate) use notifications::LISTENERS_MAX;
use search::Among;

use crate::{Querier, answer, error::ApiError, page, params::Params};

/// Largest form, as in Go's net/http.
const FORM_BYTES_MAX: usize = 10 << 20;
/// Time a client has to send its form.
const FORM_TIME: Duration = Duration::from_secs(30);

impl Querier {
    /// Adds the routes that a querier serves.
    pub fn add_routes(self: &Arc<Self>, routes: &mut Routes) {
        let instant = async |api: Arc<Self>, params| query::instant(&api, &params).await;
        self.add(routes, &access::QUERY, instant);
        let range = async |api: Arc<Self>, params| query::range(&api, &params).await;
        self.add(routes, &access::QUERY_RANGE, range);
        let series = async |api: Arc<Self>, params| metadata::series(&api, &params).await;
        self.add(routes, &access::SERIES, series);
        let labels = async |api: Arc<Self>, params| metadata::labels(&api, &params).await;
        self.add(routes, &access::LABELS, labels);
        let exemplars = async |api: Arc<Self>, params| exemplars::query(&api, &params).await;
        self.add(routes, &access::QUERY_EXEMPLARS, exemplars);
        let format = async |api: Arc<Self>, params| expression::format(&api, &params);
        self.add(routes, &access::FORMAT_QUERY, format);
        let tree = async |api: Arc<Self>, params| expression::tree(&api, &params);
        self.add(routes, &access::PARSE_QUERY, tree);
        let metadata = async |api: Arc<Self>, params| families::metadata(&api, &params).await;
        self.add(routes, &access::METADATA, metadata);
        let targets = async |api: Arc<Self>, params| targets::targets(&api, &params).await;
        self.add(routes, &access::TARGETS, targets);
        let delete = async |api: Arc<Self>, params| admin::delete_series(&api, &params).await;
        self.add(routes, &access::ADMIN_DELETE_SERIES, delete);
        let clean = async |api: Arc<Self>, _| admin::clean_tombstones(&api).await;
        self.add(routes, &access::ADMIN_CLEAN_TOMBSTONES, clean);
        let snapshot = async |api: Arc<Self>, _| admin::snapshot(&api).await;
        self.add(routes, &access::ADMIN_SNAPSHOT, snapshot);
        self.add_label_values(routes);
        self.add_federation(routes);
        self.add_search(routes);
        self.add_status(routes);
        routes.http(&access::PAGE, page::root);
        routes.http(&access::PAGES, page::page);
        routes.http(&access::ASSETS, page::asset);
    }

    /// The routes that complete what somebody types.
    fn add_search(self: &Arc<Self>, routes: &mut Routes) {
        for (endpoint, among) in [
            (&access::SEARCH_METRIC_NAMES, Among::MetricNames),
            (&access::SEARCH_LABEL_NAMES, Among::LabelNames),
            (&access::SEARCH_LABEL_VALUES, Among::LabelValues),
        ] {
            self.add(routes, endpoint, move |api: Arc<Self>, params| async move {
                search::search(&api, &params, among).await
            });
        }
    }

    /// The routes that tell of the process and the cluster.
    fn add_status(self: &Arc<Self>, routes: &mut Routes) {
        let rules = async |api: Arc<Self>, params| rules::rules(&api, &params).await;
        self.add(routes, &access::RULES, rules);
        let alerts = async |api: Arc<Self>, params| rules::alerts(&api, &params).await;
        self.add(routes, &access::ALERTS, alerts);
        let api = Arc::clone(self);
        routes.http(&access::ALERTMANAGERS, async move || rules::alertmanagers(&api).await);
        let api = Arc::clone(self);
        routes.http(&access::NOTIFICATIONS, async move || notifications::list(&api));
        let api = Arc::clone(self);
        routes.http(&access::NOTIFICATIONS_LIVE, async move || notifications::live(&api));
        routes.http(&access::STATUS_BUILDINFO, async || status::build_info());
        routes.http(&access::STATUS_WALREPLAY, async || config::wal_replay());
        routes.http(&access::STATUS_TSDB_BLOCKS, async || cardinality::blocks());
        routes.http(&access::VERSION, async || status::version());
        let api = Arc::clone(self);
        routes.http(&access::STATUS_RUNTIMEINFO, async move || status::runtime_info(&api));
        let api = Arc::clone(self);
        routes.http(&access::STATUS_CLUSTER, async move || status::cluster(&api).await);
        let api = Arc::clone(self);
        routes.http(&access::STATUS_CONFIG, async move || config::config(&api));
        let api = Arc::clone(self);
        routes.http(&access::STATUS_FLAGS, async move || config::flags(&api));
        let api = Arc::clone(self);
        routes.http(&access::STATUS_QUERIES, async move || queries::list(&api));
        let api = Arc::clone(self);
        routes.http(&access::FEATURES, async move || config::features(&api));
        let api = Arc::clone(self);
        routes.http(&access::SCRAPE_POOLS, async move || config::scrape_pools(&api).await);
        let document = async |_, params| openapi::document(&params);
        self.add(routes, &access::OPENAPI, document);
        let pool = async |api: Arc<Self>, params| config::scrape_pool_config(&api, &params);
        self.add(routes, &access::SCRAPE_POOLS_CONFIG, pool);
        let told = async |api: Arc<Self>, params| target_metadata::metadata(&api, &params).await;
        self.add(routes, &access::TARGETS_METADATA, told);
        let steps = async |api: Arc<Self>, params| relabel_steps::steps(&api, &params);
        self.add(routes, &access::TARGETS_RELABEL_STEPS, steps);
        let tsdb = async |api: Arc<Self>, params| cardinality::tsdb(&api, &params).await;
        self.add(routes, &access::STATUS_TSDB, tsdb);
        let kill = async |api: Arc<Self>, params| queries::kill(&api, &params);
        self.add(routes, &access::ADMIN_KILL_QUERY, kill);
    }

    /// The one route with a parameter in its path.
    fn add_label_values(self: &Arc<Self>, routes: &mut Routes) {
        let api = Arc::clone(self);
        routes.http(
            &access::LABEL_VALUES,
            async move |Path(name): Path<String>, request: Request| {
                let answered = match read_params(request).await {
                    Ok(params) => metadata::label_values(&api, &params, &name).await,
                    Err(error) => Err(error),
                };
                api.respond(answered)
            },
        );
    }

    /// The routes whose answers are no JSON.
    fn add_federation(self: &Arc<Self>, routes: &mut Routes) {
        let api = Arc::clone(self);
        routes.http(&access::FEDERATE, async move |request: Request| {
            let headers = request.headers().clone();
            match read_params(request).await {
                Ok(params) => federate::federate(&api, &params, &headers).await,
                Err(error) => api.refuse_in_words(error),
            }
        });
        let api = Arc::clone(self);
        routes.http(&access::READ, async move |request: Request| {
            remote_read::read(&api, request).await
        });
    }

    /// A refusal in plain text, where answers are no JSON.
    fn refuse_in_words(&self, error: ApiError) -> Response {
        self.metrics.failed(error.kind.name());
        (error.kind.status(), error.message + "\n").into_response()
    }

    fn respond(&self, answered: Result<Response, ApiError>) -> Response {
        answered.unwrap_or_else(|error| {
            self.metrics.failed(error.kind.name());
            answer::failure(&error)
        })
    }

    fn add<F>(
        self: &Arc<Self>,
        routes: &mut Routes,
        endpoint: &'static Endpoint,
        handle: impl Fn(Arc<Self>, Params) -> F + Clone + Send + Sync + 'static,
    ) where
        F: Future<Output = Result<Response, ApiError>> + Send,
    {
        let api = Arc::clone(self);
        routes.http(endpoint, async move |request: Request| {
            let answered = match read_params(request).await {
                Ok(params) => handle(Arc::clone(&api), params).await,
                Err(error) => Err(error),
            };
            api.respond(answered)
        });
    }
}

/// The parameters of a request: its query string and, of a POST, its form.
async fn read_params(request: Request) -> Result<Params, ApiError> {
    let sender = narthex_web::sender(request.extensions());
    let query = request.uri().query().unwrap_or("").to_owned();
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let is_form = content_type
        .and_then(|value| value.to_str().ok())
        .is_some_and(|text| text.starts_with("application/x-www-form-urlencoded"));
    if ![Method::POST, Method::PUT].contains(request.method()) || !is_form {
        return Ok(Params::parse("", &query)?.sent_by(sender));
    }
    let form = body::read(request.into_body(), FORM_BYTES_MAX, FORM_TIME)
        .await
        .map_err(|error| ApiError::bad_data(format!("error parsing form values: {error}")))?;
    Ok(Params::parse(&String::from_utf8_lossy(&form), &query)?.sent_by(sender))
}

#[cfg(test)]
mod tests;
