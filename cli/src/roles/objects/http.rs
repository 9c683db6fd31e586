//! The same over HTTP: JSON in Prometheus's envelope.

use axum::{
    body::Bytes,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, Uri, header};
use narthex_objects::read_documents;
use narthex_proto::v1::{
    ApplyObjectsRequest, DeleteObjectsRequest, ListObjectsRequest, ObjectHistoryRequest,
    ObjectName, ObjectResult,
};
use narthex_web::{Routes, access, sender};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::{ObjectService, show};

/// Bytes of a body at most.
const BODY_BYTES_MAX: usize = 32 << 20;

/// Parameters of a URL as they come: a name may be given many times.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn of(uri: &Uri) -> Self {
        let text = |text: &str| {
            let spaced = text.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
        };
        let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (text(name), text(value))
        };
        Self(pairs.map(pair).collect())
    }
}

/// Adds the routes.
pub fn add(routes: &mut Routes, service: &ObjectService) {
    let it = service.clone();
    routes.http(&access::OBJECTS, async move |uri: Uri| answer(list(&it, &Parameters::of(&uri))));
    let it = service.clone();
    routes.http(&access::OBJECTS_HISTORY, async move |uri: Uri| {
        answer(history(&it, &Parameters::of(&uri)))
    });
    let it = service.clone();
    routes.http(&access::OBJECTS_APPLY, async move |request: Request| {
        answer(apply(&it, request).await)
    });
    let it = service.clone();
    routes.http(&access::OBJECTS_DELETE, async move |request: Request| {
        let who = sender(request.extensions());
        answer(delete(&it, &Parameters::of(request.uri()), &who).await)
    });
}

fn value(parameters: &Parameters, name: &str) -> String {
    let found = parameters.0.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}

fn is_on(parameters: &Parameters, name: &str) -> bool {
    matches!(value(parameters, name).as_str(), "true" | "1" | "All")
}

fn list(service: &ObjectService, parameters: &Parameters) -> Result<Value, Status> {
    let kinds = parameters.0.iter().filter(|(name, _)| name == "kind");
    let request = ListObjectsRequest {
        kinds: kinds.map(|(_, value)| value.clone()).collect(),
        namespace: value(parameters, "namespace"),
        name: value(parameters, "name"),
        selector: value(parameters, "selector"),
    };
    let found = show::list(&*service.state()?, &request, false)?;
    let objects = found.objects.iter().map(|object| {
        json!({
            "object": parsed(&object.json),
            "owner": object.owner,
            "jobs": object.jobs,
            "rejections": object.rejections,
        })
    });
    Ok(json!({ "revision": found.revision, "objects": objects.collect::<Vec<_>>() }))
}

fn history(service: &ObjectService, parameters: &Parameters) -> Result<Value, Status> {
    let request = ObjectHistoryRequest {
        kind: value(parameters, "kind"),
        namespace: value(parameters, "namespace"),
        name: value(parameters, "name"),
    };
    let found = show::history(&*service.state()?, &request)?;
    let revisions = found.revisions.iter().map(|entry| {
        let object = entry.object.clone().unwrap_or_default();
        json!({
            "revision": entry.revision,
            "time": entry.time_ms as f64 / 1000.0,
            "who": entry.who,
            "note": entry.note,
            "kind": object.kind,
            "namespace": object.namespace,
            "name": object.name,
            "action": entry.action,
            "previousRevision": entry.previous_revision,
        })
    });
    Ok(json!({ "revisions": revisions.collect::<Vec<_>>() }))
}

async fn apply(service: &ObjectService, request: Request) -> Result<Value, Status> {
    let who = sender(request.extensions());
    let parameters = &Parameters::of(request.uri());
    let body: Bytes = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX)
        .await
        .map_err(|_| Status::invalid_argument(format!("want at most {BODY_BYTES_MAX} bytes")))?;
    let text =
        std::str::from_utf8(&body).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let documents =
        read_documents(text).map_err(|problem| Status::invalid_argument(problem.to_string()))?;
    let request = ApplyObjectsRequest {
        documents: documents.iter().map(ToString::to_string).collect(),
        namespace: value(parameters, "namespace"),
        dry_run: is_on(parameters, "dryRun"),
        ..ApplyObjectsRequest::default()
    };
    Ok(results(&service.apply_documents(request, &who).await?.results))
}

async fn delete(
    service: &ObjectService,
    parameters: &Parameters,
    who: &str,
) -> Result<Value, Status> {
    let object = ObjectName {
        kind: value(parameters, "kind"),
        namespace: value(parameters, "namespace"),
        name: value(parameters, "name"),
    };
    let dry_run = is_on(parameters, "dryRun");
    let request = DeleteObjectsRequest { objects: vec![object], dry_run, note: String::new() };
    Ok(results(&service.delete_named(request, who).await?.results))
}

fn results(results: &[ObjectResult]) -> Value {
    let row = |result: &ObjectResult| {
        json!({
            "object": result.object,
            "namespace": result.namespace,
            "outcome": result.outcome,
            "problems": result.problems,
            "notes": result.notes,
            "before": parsed(&result.before),
            "after": parsed(&result.after),
            "revision": result.revision,
        })
    };
    json!({ "results": results.iter().map(row).collect::<Vec<_>>() })
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

/// In Prometheus's envelope. A request of which an object was refused is not a success: 422, with
/// the results of all.
fn answer(answered: Result<Value, Status>) -> Response {
    let (code, body) = match answered {
        Ok(data) => {
            let results = data["results"].as_array().into_iter().flatten();
            let refused = results.filter(|result| result["outcome"] == "refused").count();
            match refused {
                0 => (StatusCode::OK, json!({ "status": "success", "data": data })),
                _ => (
                    StatusCode::UNPROCESSABLE_ENTITY,
                    json!({
                        "status": "error",
                        "errorType": "refused",
                        "error": format!("{refused} objects are refused"),
                        "data": data,
                    }),
                ),
            }
        }
        Err(status) => {
            let (code, kind) = match status.code() {
                Code::NotFound => (StatusCode::NOT_FOUND, "not_found"),
                Code::InvalidArgument => (StatusCode::BAD_REQUEST, "bad_data"),
                _ => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            };
            (code, json!({ "status": "error", "errorType": kind, "error": status.message() }))
        }
    };
    (code, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
