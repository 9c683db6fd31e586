//! `/api/v1/openapi.yaml`: a description of the HTTP API, made from a table of its operations.
//!
//! It is written as JSON, which YAML contains. A test keeps the table in line with that of who may
//! do what.

mod table;

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{Method, header};
use narthex_web::metrics::VERSION;

use self::table::{Answer, Kind, OPERATIONS, Operation, Parameter};
use crate::{error::ApiError, json::Json, params::Params};

/// What may be answered instead, and when.
const REFUSALS: [(&str, &str); 8] = [
    ("400", "a parameter or an expression that can never work"),
    ("401", "credentials are missing or wrong"),
    ("403", "the caller may not do this"),
    ("404", "there is no such thing"),
    ("422", "evaluation failed"),
    ("499", "the query was ended before it was answered"),
    ("500", "a bug, or something that a flag of the process does not allow"),
    ("503", "it took too long, or a part of the cluster does not answer; asking again may help"),
];

pub(super) fn document(params: &Params) -> Result<Response, ApiError> {
    let version = match params.value("openapi_version") {
        "" | "3.1" => "3.1.0",
        "3.2" => "3.2.0",
        other => {
            let why = format!("{other:?}: want 3.1 or 3.2");
            return Err(ApiError::invalid_parameter("openapi_version", &why));
        }
    };
    let content_type = (header::CONTENT_TYPE, "application/yaml; charset=utf-8");
    Ok(([content_type], written(version)).into_response())
}

fn written(version: &str) -> Vec<u8> {
    let mut json = Json::new(Vec::new());
    json.raw("{").name("openapi").text(version);
    json.name("info").raw("{").name("title").text("Narthex");
    json.name("description").text("Prometheus's HTTP API, and what a cluster has beside it.");
    json.name("version").text(VERSION).raw("}");
    json.name("paths").raw("{");
    for operation in OPERATIONS {
        write_path(&mut json, operation);
    }
    json.raw("}").name("components").raw("{").name("schemas").raw("{");
    write_schemas(&mut json);
    json.raw("}}}");
    json.finish().concat()
}

fn write_path(json: &mut Json<Vec<Bytes>>, operation: &Operation) {
    json.name(operation.endpoint.path()).raw("{");
    for method in operation.endpoint.methods() {
        json.name(&method.as_str().to_lowercase()).raw("{");
        json.name("operationId").text(&operation_id(operation, method));
        json.name("summary").text(operation.summary);
        let has_form = *method != Method::GET && operation.body.is_none();
        write_parameters(json, operation, has_form);
        if let Some(content) = operation.body {
            json.name("requestBody").raw("{").name("required").boolean(true);
            json.name("content").raw("{").name(content);
            json.raw(r#"{"schema":{"type":"string","format":"binary"}}}}"#);
        } else if has_form && !operation.parameters.is_empty() {
            write_form(json, operation);
        }
        write_responses(json, operation.answer);
        json.raw("}");
    }
    json.raw("}");
}

fn operation_id(operation: &Operation, method: &Method) -> String {
    let path = operation.endpoint.path().trim_start_matches("/api/v1");
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = path.chars().map(plain).collect();
    format!("{}{}", method.as_str().to_lowercase(), name.trim_end_matches('-'))
}

/// Parameters of the path, and of the query unless there is a form for them.
fn write_parameters(json: &mut Json<Vec<Bytes>>, operation: &Operation, has_form: bool) {
    json.name("parameters").raw("[");
    for parameter in operation.parameters {
        let is_in_path = operation.endpoint.path().contains(&format!("{{{}}}", parameter.name));
        if has_form && !is_in_path {
            continue;
        }
        json.element().raw("{").name("name").text(parameter.name);
        json.name("in").text(if is_in_path { "path" } else { "query" });
        json.name("required").boolean(is_in_path || parameter.is_required);
        json.name("description").text(parameter.about).name("schema");
        write_schema(json, parameter.kind);
        json.raw("}");
    }
    json.raw("]");
}

fn write_form(json: &mut Json<Vec<Bytes>>, operation: &Operation) {
    let required = operation.parameters.iter().filter(|it| it.is_required);
    let required: Vec<&str> = required.map(|it| it.name).collect();
    json.name("requestBody").raw("{").name("required").boolean(!required.is_empty());
    json.name("content").raw("{").name("application/x-www-form-urlencoded").raw("{");
    json.name("schema").raw(r#"{"type":"object""#).name("required").texts(&required);
    json.name("properties").raw("{");
    for Parameter { name, kind, .. } in operation.parameters {
        json.name(name);
        write_schema(json, *kind);
    }
    json.raw("}}}}}");
}

fn write_schema(json: &mut Json<Vec<Bytes>>, kind: Kind) {
    json.raw(match kind {
        Kind::Text => r#"{"type":"string"}"#,
        Kind::Time => r#"{"type":"string","description":"seconds since 1970, or RFC 3339"}"#,
        Kind::Duration => r#"{"type":"string","description":"seconds, or such as 1h30m"}"#,
        Kind::Count => r#"{"type":"integer","minimum":0}"#,
        Kind::Switch => r#"{"type":"boolean"}"#,
        Kind::Texts => r#"{"type":"array","items":{"type":"string"}}"#,
    });
}

/// What federated pages and remote reads may be, with commas between.
const PAGES: &str = "text/plain,application/openmetrics-text,application/vnd.google.protobuf";
const STREAMED: &str = "application/x-protobuf,application/x-streamed-protobuf";

fn write_responses(json: &mut Json<Vec<Bytes>>, answer: Answer) {
    let (code, content, schema) = match answer {
        Answer::Data => ("200", "application/json", "Success"),
        Answer::Bare => ("200", "application/json", "Object"),
        Answer::Text => ("200", "text/plain", "Text"),
        Answer::Pages => ("200", PAGES, "Text"),
        Answer::Events => ("200", "text/event-stream", "Text"),
        Answer::Lines => ("200", "application/x-ndjson", "Text"),
        Answer::Page => ("200", "text/html", "Text"),
        Answer::Yaml => ("200", "application/yaml", "Text"),
        Answer::Protobuf => ("200", "application/x-protobuf", "Text"),
        Answer::Streamed => ("200", STREAMED, "Text"),
        Answer::Nothing => ("204", "", ""),
    };
    json.name("responses").raw("{").name(code).raw("{").name("description").text("done");
    if !content.is_empty() {
        json.name("content").raw("{");
        for content in content.split(',') {
            json.name(content).raw("{").name("schema").raw("{");
            json.name("$ref").text(&format!("#/components/schemas/{schema}")).raw("}}");
        }
        json.raw("}");
    }
    json.raw("}");
    for (code, why) in REFUSALS {
        json.name(code).raw("{").name("description").text(why);
        json.name("content").raw("{");
        json.name("application/json").raw(r##"{"schema":{"$ref":"#/components/schemas/Error"}}"##);
        json.name("text/plain").raw(r##"{"schema":{"$ref":"#/components/schemas/Text"}}"##);
        json.raw("}}");
    }
    json.raw("}");
}

fn write_schemas(json: &mut Json<Vec<Bytes>>) {
    let texts = r#"{"type":"array","items":{"type":"string"}}"#;
    json.name("Success").raw(r#"{"type":"object","required":["status","data"],"properties":{"#);
    json.name("status").raw(r#"{"const":"success"}"#).name("data").raw("{}");
    json.name("warnings").raw(texts).name("infos").raw(texts).raw("}}");
    json.name("Error").raw(r#"{"type":"object","required":["status","errorType","error"]"#);
    json.name("properties").raw(r#"{"status":{"const":"error"},"errorType":{"enum":"#);
    json.texts([
        "bad_data",
        "execution",
        "canceled",
        "timeout",
        "internal",
        "unavailable",
        "not_found",
    ]);
    json.raw(r#"},"error":{"type":"string"}}}"#);
    json.name("Object").raw(r#"{"type":"object"}"#);
    json.name("Text").raw(r#"{"type":"string"}"#);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use narthex_web::access::ENDPOINTS;
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_route_is_described_once() {
        let routes: BTreeSet<&str> = ENDPOINTS.iter().map(|endpoint| endpoint.path()).collect();
        let described: Vec<&str> = OPERATIONS.iter().map(|it| it.endpoint.path()).collect();
        let unique: BTreeSet<&str> = described.iter().copied().collect();
        assert_eq!(unique.len(), described.len());
        assert_eq!(unique, routes);
    }

    #[test]
    fn the_document_is_well_formed() {
        let document: Value = serde_json::from_slice(&written("3.1.0")).expect("JSON");
        let query = &document["paths"]["/api/v1/query"];
        assert_eq!(query["get"]["operationId"], "get-query");
        assert_eq!(query["get"]["parameters"][0]["name"], "query");
        assert_eq!(query["get"]["parameters"][0]["required"], true);
        let form = &query["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"];
        assert_eq!(form["schema"]["properties"]["time"]["type"], "string");
        let values = &document["paths"]["/api/v1/label/{name}/values"]["get"];
        assert_eq!(values["parameters"][0]["in"], "path");
        let mut ids = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().expect("paths") {
            for (method, operation) in operations.as_object().expect("methods") {
                assert!(operation["responses"].is_object(), "{method} {path}");
                let id = operation["operationId"].as_str().expect("an id").to_owned();
                assert!(ids.insert(id), "{method} {path}");
            }
        }
    }
}
