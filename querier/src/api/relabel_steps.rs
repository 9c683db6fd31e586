//! `/api/v1/targets/relabel_steps`: what the rules of a scrape job make of a target's labels.

use std::collections::BTreeMap;

use axum::response::Response;
use bytes::Bytes;
use narthex_model::Labels;

use crate::{
    Querier, RelabelRule,
    answer::{Remarks, success},
    error::ApiError,
    json::Json,
    params::Params,
};

pub(super) fn steps(api: &Querier, params: &Params) -> Result<Response, ApiError> {
    let given = |name| match params.value(name) {
        "" => Err(ApiError::bad_data(format!("no {name} parameter provided"))),
        text => Ok(text),
    };
    let pool = given("scrapePool")?;
    let labels = read(given("labels")?)?;
    let steps = api.options.relabelling.steps(pool, &labels);
    let steps = steps.ok_or_else(|| {
        ApiError::not_found(format!("there is no scrape pool {pool:?} in the configuration"))
    })?;
    Ok(success(&Remarks::default(), |json| {
        json.raw("{").name("steps").raw("[");
        for step in &steps {
            json.element().raw("{").name("rule");
            write_rule(json, &step.rule);
            json.name("output").labels(step.output.as_ref().unwrap_or(&Labels::empty()));
            json.name("keep").boolean(step.output.is_some()).raw("}");
        }
        json.raw("]}");
    }))
}

fn read(text: &str) -> Result<Labels, ApiError> {
    let wrong = |why: String| ApiError::bad_data(format!("error parsing labels: {why}"));
    let pairs: BTreeMap<String, String> =
        serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let pairs = pairs.iter().filter(|(_, value)| !value.is_empty());
    Labels::from_pairs(pairs).map_err(|error| wrong(error.to_string()))
}

/// What is empty is left out.
fn write_rule(json: &mut Json<Vec<Bytes>>, rule: &RelabelRule) {
    json.raw("{");
    if !rule.source_labels.is_empty() {
        json.name("sourceLabels").texts(&rule.source_labels);
    }
    for (name, text) in [("separator", &rule.separator), ("regex", &rule.regex)] {
        write_text(json, name, text);
    }
    if rule.modulus > 0 {
        json.name("modulus").integer(rule.modulus);
    }
    for (name, text) in [("targetLabel", &rule.target_label), ("replacement", &rule.replacement)] {
        write_text(json, name, text);
    }
    json.name("action").text(rule.action).raw("}");
}

fn write_text(json: &mut Json<Vec<Bytes>>, name: &str, text: &str) {
    if !text.is_empty() {
        json.name(name).text(text);
    }
}
