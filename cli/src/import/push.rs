//! Remote write 1.0 over HTTP: requests that are sent until they are answered for good.

use std::time::Duration;

use http::{Request as HttpRequest, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::sleep;

use crate::output::say;

/// Pause before a request is sent again, where the answer names none.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How often in a row nothing may answer: ten minutes, an upgrade of the whole cluster.
const ATTEMPTS_MAX: u32 = 600;
/// A request is sent once it has so many bytes.
const REQUEST_BYTES: usize = 128 << 10;
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Why a request will never be taken.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// Correct `--server`.
    #[error("{0:?} is no http:// URL of a web listener")]
    Server(String),
    /// Start the cluster, and import again: what is there already stays as it is.
    #[error("nothing answers at {uri}: {problem}")]
    Unreachable { uri: Uri, problem: String },
    /// The message says what to do.
    #[error("the cluster refuses the import: {status}: {message}")]
    Refused { status: StatusCode, message: String },
}

/// A `WriteRequest` being put together.
#[derive(Debug, Default)]
pub struct Request {
    body: Vec<u8>,
    samples: usize,
}

impl Request {
    /// Whether it should be sent before more is added.
    pub fn is_full(&self) -> bool {
        self.body.len() >= REQUEST_BYTES
    }

    /// Samples so far.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Adds samples of a series, and histograms that are messages already.
    pub fn add(
        &mut self,
        labels: &[(String, String)],
        samples: &[(i64, u64)],
        histograms: &[(i64, Vec<u8>)],
    ) {
        let mut series = Vec::with_capacity(labels.len() * 32 + samples.len() * 18);
        for (name, value) in labels {
            let mut label = Vec::with_capacity(name.len() + value.len() + 8);
            put_bytes(&mut label, 1, name.as_bytes());
            put_bytes(&mut label, 2, value.as_bytes());
            put_bytes(&mut series, 1, &label);
        }
        for &(time, bits) in samples {
            let mut sample = Vec::with_capacity(20);
            sample.push(1 << 3 | 1);
            sample.extend_from_slice(&bits.to_le_bytes());
            sample.push(2 << 3);
            put_varint(&mut sample, time as u64);
            put_bytes(&mut series, 2, &sample);
        }
        for (_, message) in histograms {
            put_bytes(&mut series, 4, message);
        }
        put_bytes(&mut self.body, 1, &series);
        self.samples += samples.len() + histograms.len();
    }
}

/// A field of bytes.
pub fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// LEB128.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Sends requests to one web listener. Cloning shares the connections.
#[derive(Clone)]
pub struct Pusher {
    client: Client<HttpConnector, Full<bytes::Bytes>>,
    uri: Uri,
}

impl Pusher {
    /// Sends to the web listener at this URL.
    pub fn new(server: &str) -> Result<Self, PushError> {
        let invalid = || PushError::Server(server.to_owned());
        let uri: Uri = format!("{}/api/v1/write?backfill=true", server.trim_end_matches('/'))
            .parse()
            .map_err(|_| invalid())?;
        if uri.scheme_str() != Some("http") {
            return Err(invalid());
        }
        Ok(Self { client: Client::builder(TokioExecutor::new()).build_http(), uri })
    }

    /// Sends until the cluster has it; what it said of samples that it will never take.
    pub async fn push(&self, request: Request) -> Result<Option<String>, PushError> {
        let body = snap::raw::Encoder::new().compress_vec(&request.body);
        let body = bytes::Bytes::from(body.expect("a request is far below 4 GiB"));
        let mut silent = 0;
        loop {
            let pause = match self.send(body.clone()).await {
                Ok((status, ..)) if status.is_success() => return Ok(None),
                Ok((status, pause, message)) if is_temporary(status) => {
                    if silent == 0 {
                        say(&format!("waiting: {status}: {}", message.trim_end()));
                    }
                    pause.unwrap_or(RETRY_PAUSE)
                }
                // Some samples can never be stored, the others are.
                Ok((StatusCode::BAD_REQUEST, _, message)) => return Ok(Some(message)),
                Ok((status, _, message)) => return Err(PushError::Refused { status, message }),
                Err(problem) if silent >= ATTEMPTS_MAX => {
                    return Err(PushError::Unreachable { uri: self.uri.clone(), problem });
                }
                Err(_) => RETRY_PAUSE,
            };
            silent += 1;
            sleep(pause).await;
        }
    }

    async fn send(
        &self,
        body: bytes::Bytes,
    ) -> Result<(StatusCode, Option<Duration>, String), String> {
        let request = HttpRequest::post(self.uri.clone())
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::CONTENT_ENCODING, "snappy")
            .header("x-prometheus-remote-write-version", "0.1.0")
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        let (head, body) =
            self.client.request(request).await.map_err(|error| error.to_string())?.into_parts();
        let pause = head.headers.get(header::RETRY_AFTER).and_then(|it| it.to_str().ok());
        let pause = pause.and_then(|it| it.parse().ok()).map(Duration::from_secs);
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        Ok((head.status, pause, String::from_utf8_lossy(&body).into_owned()))
    }
}

fn is_temporary(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_write_request() {
        let mut request = Request::default();
        request.add(&[("a".to_owned(), "b".to_owned())], &[(-1, 1f64.to_bits())], &[]);
        let mut expected = vec![0x0a, 30, 0x0a, 6, 0x0a, 1, b'a', 0x12, 1, b'b', 0x12, 20, 0x09];
        expected.extend_from_slice(&1f64.to_le_bytes());
        expected.push(0x10);
        expected.extend_from_slice(&[0xff; 9]);
        expected.push(1);
        assert_eq!((request.body, request.samples), (expected, 1));
    }

    #[test]
    fn only_plain_http_is_spoken() {
        assert!(Pusher::new("http://127.0.0.1:9090/").is_ok());
        assert!(Pusher::new("https://127.0.0.1:9090").is_err());
        assert!(Pusher::new("localhost").is_err());
    }
}
