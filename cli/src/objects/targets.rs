//! How the targets of a job are: asked of the web listener, as Prometheus answers it.

use http::{StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why nothing is known of targets.
#[derive(Debug, thiserror::Error)]
pub enum TargetsError {
    /// Correct `--server`.
    #[error("{0:?} is no URL of a web listener")]
    Server(String),
    /// Start the cluster, or name another one.
    #[error("ask {uri} for targets: {problem}")]
    Unreachable { uri: Uri, problem: String },
    /// The message says what to do.
    #[error("targets are not told: {status}: {message}")]
    Refused { status: StatusCode, message: String },
}

/// The data of `/api/v1/targets` for one job.
pub async fn of_job(server: &str, job: &str) -> Result<Value, TargetsError> {
    let job = utf8_percent_encode(job, NON_ALPHANUMERIC);
    let uri = format!("{}/api/v1/targets?scrapePool={job}", server.trim_end_matches('/'));
    let uri: Uri = uri.parse().map_err(|_| TargetsError::Server(server.to_owned()))?;
    let unreachable = |problem: String| TargetsError::Unreachable { uri: uri.clone(), problem };
    let client: Client<HttpConnector, Empty<bytes::Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    let answer = client.get(uri.clone()).await.map_err(|error| unreachable(error.to_string()))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| unreachable(error.to_string()))?.to_bytes();
    if !status.is_success() {
        let message = String::from_utf8_lossy(&body).trim().to_owned();
        return Err(TargetsError::Refused { status, message });
    }
    let mut answer: Value =
        serde_json::from_slice(&body).map_err(|error| unreachable(error.to_string()))?;
    Ok(answer["data"].take())
}
