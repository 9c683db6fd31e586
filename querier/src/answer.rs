//! Answers of the HTTP API: the envelope, and bodies that are streamed where they are large.

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

use crate::{
    error::ApiError,
    json::{Json, Sink},
};

/// Says how fresh an answer is.
pub const CONSISTENCY: HeaderName = HeaderName::from_static(CONSISTENCY_NAME);
/// Its name in gRPC's metadata.
pub const CONSISTENCY_NAME: &str = "narthex-consistency";

/// Parts of a body that wait for a slow client, 64 KiB each: enough to keep the writer busy, and
/// no more.
const PARTS_WAITING: usize = 4;

/// What stands beside the data of an answer.
#[derive(Debug, Clone, Default)]
pub struct Remarks {
    /// The answer is likely not what was wanted.
    pub warnings: Vec<String>,
    /// The answer may not be what was wanted.
    pub infos: Vec<String>,
}

impl Remarks {
    /// Only warnings.
    pub fn warnings(warnings: Vec<String>) -> Self {
        Self { warnings, infos: Vec::new() }
    }
}

/// A whole answer.
pub fn success(remarks: &Remarks, data: impl FnOnce(&mut Json<Vec<Bytes>>)) -> Response {
    let mut json = Json::new(Vec::new());
    write(&mut json, remarks, data);
    let parts = json.finish();
    let body = if parts.len() == 1 { parts[0].clone() } else { parts.concat().into() };
    with_head(Body::from(body))
}

/// An answer that is nothing but its data.
pub fn unwrapped(data: impl FnOnce(&mut Json<Vec<Bytes>>)) -> Response {
    let mut json = Json::new(Vec::new());
    data(&mut json);
    with_head(Body::from(json.finish().concat()))
}

/// An answer that is written while it is sent: `data` runs on a thread that may wait, and stops to
/// be listened to when the client goes away.
pub fn streamed(
    remarks: Remarks,
    data: impl FnOnce(&mut Json<Parts>) + Send + 'static,
) -> Response {
    let (parts, body) = mpsc::channel(PARTS_WAITING);
    tokio::task::spawn_blocking(move || {
        let mut json = Json::new(Parts(parts));
        write(&mut json, &remarks, data);
        json.finish();
    });
    let body = ReceiverStream::new(body).map(Ok::<_, std::convert::Infallible>);
    with_head(Body::from_stream(body))
}

/// Hands parts to a response's body.
#[derive(Debug)]
pub struct Parts(mpsc::Sender<Bytes>);

impl Sink for Parts {
    fn take(&mut self, part: Bytes) -> bool {
        self.0.blocking_send(part).is_ok()
    }
}

/// A refusal or failure.
pub fn failure(error: &ApiError) -> Response {
    let mut json = Json::new(Vec::new());
    json.raw("{").name("status").text("error");
    json.name("errorType").text(error.kind.name());
    json.name("error").text(&error.message).raw("}");
    let mut response = with_head(Body::from(json.finish().concat()));
    *response.status_mut() = error.kind.status();
    response
}

fn write<S: Sink>(json: &mut Json<S>, remarks: &Remarks, data: impl FnOnce(&mut Json<S>)) {
    json.raw("{").name("status").text("success").name("data");
    data(json);
    if !remarks.warnings.is_empty() {
        json.name("warnings").texts(&remarks.warnings);
    }
    if !remarks.infos.is_empty() {
        json.name("infos").texts(&remarks.infos);
    }
    json.raw("}");
}

fn with_head(body: Body) -> Response {
    let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    ([content_type], body).into_response()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::error::ErrorType;

    async fn text(response: Response) -> String {
        let body = response.into_body().collect().await.expect("body").to_bytes();
        String::from_utf8(body.to_vec()).expect("UTF-8")
    }

    #[tokio::test]
    async fn envelopes_are_prometheus_s() {
        let remarks = Remarks { warnings: vec!["w".to_owned()], infos: vec!["i".to_owned()] };
        let data = |json: &mut Json<Vec<Bytes>>| {
            json.raw("[1]");
        };
        let answer = success(&remarks, data);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(
            text(answer).await,
            r#"{"status":"success","data":[1],"warnings":["w"],"infos":["i"]}"#
        );
        let error = ApiError::new(ErrorType::Execution, "no \"x\"");
        let answer = failure(&error);
        assert_eq!(answer.status(), 422);
        let expected = r#"{"status":"error","errorType":"execution","error":"no \"x\""}"#;
        assert_eq!(text(answer).await, expected);
    }

    #[tokio::test]
    async fn a_large_answer_comes_in_parts() {
        let answer = streamed(Remarks::default(), |json| {
            json.raw("[");
            for number in 0..100_000 {
                json.element().integer(number);
            }
            json.raw("]");
        });
        let read: serde_json::Value = serde_json::from_str(&text(answer).await).expect("JSON");
        assert_eq!(read["data"].as_array().map(Vec::len), Some(100_000));
    }
}
