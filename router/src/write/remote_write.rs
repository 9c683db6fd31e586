//! `POST /api/v1/write`: remote write 1.0 and 2.0.
//!
//! Answers: 204 when every shard has its part; 400 when the request or some of its samples can
//! never be accepted (the rest is stored); 413 for one that is too large; 415 for a message or a
//! compression that is not spoken here; 429 and 503, with `Retry-After`, when sending it again can
//! succeed. With `?backfill=true` samples may be as old as retention allows; else the out-of-order
//! window holds. To 2.0 every answer says how much was written.

use axum::{
    extract::Request,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderName, StatusCode, Uri, header};

use super::{
    Router,
    answer::{Ingested, WriteError, Written},
};
use crate::payload::Payload;

/// A version of remote write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Protobuf messages that a router accepts as remote write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptedMessages {
    /// `prometheus.WriteRequest`
    pub version_1: bool,
    /// `io.prometheus.write.v2.Request`
    pub version_2: bool,
}

impl Default for AcceptedMessages {
    fn default() -> Self {
        Self { version_1: true, version_2: true }
    }
}

impl AcceptedMessages {
    fn accepts(self, version: Version) -> bool {
        match version {
            Version::One => self.version_1,
            Version::Two => self.version_2,
        }
    }
}

/// The name of the 1.0 message.
pub const MESSAGE_1: &str = "prometheus.WriteRequest";
/// The name of the 2.0 message.
pub const MESSAGE_2: &str = "io.prometheus.write.v2.Request";

const SAMPLES_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

impl Router {
    /// Answers a remote-write request.
    pub(super) async fn remote_write(&self, request: Request) -> Response {
        let version = version(request.headers(), self.options.accepted_messages);
        let asked = version.and_then(|it| Ok((it, is_backfill(request.uri())?)));
        let (version, is_backfill) = match asked {
            Ok(asked) => asked,
            Err(error) => return self.refuse(&error),
        };
        let bytes_max = snap::raw::max_compress_len(self.options.limits.request_bytes_max);
        let ingested = match self.receive(request.into_body(), bytes_max).await {
            Ok((body, share)) => {
                let payload = match version {
                    Version::One => Payload::RemoteWrite1(body),
                    Version::Two => Payload::RemoteWrite2(body),
                };
                let payload = match is_backfill {
                    true => Payload::Backfill(Box::new(payload)),
                    false => payload,
                };
                match self.elected_instead(&payload).await {
                    Ok(None) => self.ingest(payload, share).await,
                    Ok(Some(elected)) => return self.deduplicate(&payload, version, &elected),
                    Err(error) => Ingested { failed: Some(error), ..Ingested::default() },
                }
            }
            Err(error) => Ingested { failed: Some(error), ..Ingested::default() },
        };
        let written = ingested.written;
        let mut response = match ingested.error() {
            None => StatusCode::NO_CONTENT.into_response(),
            Some(error) => self.refuse(&error),
        };
        if version == Version::Two {
            put_written(response.headers_mut(), written);
        }
        response
    }
}

impl Router {
    /// Accepts what the elected replica of the pair sends too. It counts as written: a sender
    /// that is told otherwise counts failures for as long as the other one lives.
    fn deduplicate(&self, payload: &Payload, version: Version, elected: &str) -> Response {
        let sent = match payload.count(self.options.limits.request_bytes_max) {
            Ok(sent) => sent,
            Err(error) => return self.refuse(&error.into()),
        };
        self.metrics.samples("deduplicated", sent.samples + sent.histograms);
        let text = format!("replica {elected:?} is elected: accepted and deduplicated\n");
        let mut response = (StatusCode::ACCEPTED, text).into_response();
        if version == Version::Two {
            put_written(response.headers_mut(), sent);
        }
        response
    }
}

fn put_written(headers: &mut HeaderMap, written: Written) {
    let rows = [
        (SAMPLES_WRITTEN, written.samples),
        (HISTOGRAMS_WRITTEN, written.histograms),
        (EXEMPLARS_WRITTEN, written.exemplars),
    ];
    for (name, count) in rows {
        headers.insert(name, count.into());
    }
}

/// Whether the samples may be of any age: the parameter `backfill`.
fn is_backfill(uri: &Uri) -> Result<bool, WriteError> {
    let mut pairs = uri.query().unwrap_or_default().split('&').map(|it| it.split_once('='));
    match pairs.find_map(|pair| pair.filter(|(name, _)| *name == "backfill")) {
        None | Some((_, "false")) => Ok(false),
        Some((_, "true")) => Ok(true),
        Some((_, other)) => {
            Err(WriteError::Parameter(format!("backfill={other}: expected true or false")))
        }
    }
}

/// Which message the sender names. One that names none sends 1.0, as senders did before there
/// was another.
fn version(headers: &HeaderMap, accepted: AcceptedMessages) -> Result<Version, WriteError> {
    let text = |name| headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    let content_type =
        text(header::CONTENT_TYPE).unwrap_or_else(|| "application/x-protobuf".to_owned());
    let mut parts = content_type.split(';').map(str::trim);
    let is_protobuf =
        parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/x-protobuf"));
    let message = parts.find_map(|part| {
        let (name, message) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("proto").then(|| message.trim().trim_matches('"'))
    });
    let version = match message {
        None | Some(MESSAGE_1) => Some(Version::One),
        Some(MESSAGE_2) => Some(Version::Two),
        Some(_) => None,
    };
    let version = version.filter(|version| is_protobuf && accepted.accepts(*version));
    let version = version.ok_or_else(|| unsupported(&content_type, accepted))?;
    match text(header::CONTENT_ENCODING).as_deref() {
        None => Ok(version),
        Some(encoding) if encoding.eq_ignore_ascii_case("snappy") => Ok(version),
        Some(other) => Err(WriteError::Unsupported(format!(
            "content encoding {other:?} is not supported, only snappy is"
        ))),
    }
}

fn unsupported(content_type: &str, accepted: AcceptedMessages) -> WriteError {
    let accepted = [(accepted.version_1, MESSAGE_1), (accepted.version_2, MESSAGE_2)];
    let names: Vec<_> = accepted.iter().filter(|row| row.0).map(|row| row.1).collect();
    WriteError::Unsupported(format!(
        "content type {content_type:?} is not supported, only application/x-protobuf with proto={} \
         is",
        names.join(" or ")
    ))
}

#[cfg(test)]
mod tests;
