//! `POST /api/v1/otlp/v1/metrics`, in protobuf and JSON, and the gRPC service
//! `opentelemetry.proto.collector.metrics.v1.MetricsService`.
//!
//! Answers are OTLP's: success with `partial_success` where some of a request can never be
//! stored; 400 (INVALID_ARGUMENT) where nothing of it can; 429 and 503 with `Retry-After`
//! (UNAVAILABLE with `RetryInfo`) when sending it again can succeed.

use std::sync::Arc;

use axum::{
    extract::Request,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use narthex_proto::opentelemetry::proto::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use prost::Message as _;
use tonic::{Code, Status, server::UnaryService};

use super::{
    Router,
    answer::{Ingested, WriteError, Written},
    arrival::Arrival,
    grpc::{self, Method, RequestBody},
};
use crate::payload::{Body, Compression, OtlpEncoding, Payload};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

impl Router {
    /// Answers an OTLP request over HTTP.
    pub(super) async fn otlp(&self, request: Request) -> Response {
        let (encoding, compression) = match formats(request.headers()) {
            Ok(formats) => formats,
            Err(error) => return self.refuse(&error),
        };
        let bytes_max = self.options.limits.request_bytes_max;
        let result = match self.receive(request.into_body(), bytes_max).await {
            Ok((bytes, share)) => {
                let body = Body { bytes, compression };
                outcome(self.ingest(Payload::Otlp(body, encoding), share).await)
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(answer) => respond(encoding, StatusCode::OK, success(encoding, &answer)),
            Err(error) => {
                let refused = self.refuse(&error);
                let body = failure(encoding, &status(&error));
                let mut response = respond(encoding, refused.status(), body);
                if let Some(after) = refused.headers().get(header::RETRY_AFTER) {
                    response.headers_mut().insert(header::RETRY_AFTER, after.clone());
                }
                response
            }
        }
    }
}

/// The gRPC service. It takes messages as bytes, as HTTP does.
#[derive(Clone)]
pub struct OtlpService {
    /// Where they go.
    pub router: Arc<Router>,
    /// The most that one may have.
    pub message_bytes_max: usize,
}

impl Method for OtlpService {
    const SERVICE: &'static str = "opentelemetry.proto.collector.metrics.v1.MetricsService";
    const NAME: &'static str = "Export";

    async fn answer<B: RequestBody>(
        self,
        request: http::Request<B>,
    ) -> http::Response<tonic::body::Body> {
        let arrival = Arrival::new(Arc::clone(&self.router));
        let request = request.map(|body| arrival.counted(body));
        let bytes_max = self.message_bytes_max;
        grpc::server(bytes_max).unary(ExportCall { service: self, arrival }, request).await
    }
}

/// One request.
struct ExportCall {
    service: OtlpService,
    arrival: Arrival,
}

impl UnaryService<Bytes> for ExportCall {
    type Response = ExportMetricsServiceResponse;
    type Future = BoxFuture<'static, Result<tonic::Response<Self::Response>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        self.arrival.is_whole();
        let service = self.service.clone();
        Box::pin(
            async move { service.export(request.into_inner()).await.map(tonic::Response::new) },
        )
    }
}

impl OtlpService {
    async fn export(&self, bytes: Bytes) -> Result<ExportMetricsServiceResponse, Status> {
        let body = Body { bytes, compression: Compression::Identity };
        let payload = Payload::Otlp(body, OtlpEncoding::Protobuf);
        match outcome(self.router.ingest(payload, self.router.memory.share()).await) {
            Ok(answer) => Ok(answer),
            Err(error) => {
                self.router.refuse(&error);
                Err(rpc_status(&error))
            }
        }
    }
}

/// A partial success is a success to OTLP; that nothing was stored is not.
fn outcome(ingested: Ingested) -> Result<ExportMetricsServiceResponse, WriteError> {
    let refused = ingested.describe_refused();
    if ingested.failed.is_some() || (!refused.is_empty() && ingested.written == Written::default())
    {
        return Err(ingested.error().expect("it failed, or something was refused"));
    }
    let partial_success = (!refused.is_empty()).then(|| ExportMetricsPartialSuccess {
        rejected_data_points: i64::try_from(ingested.refused_total()).unwrap_or(i64::MAX),
        error_message: refused,
    });
    Ok(ExportMetricsServiceResponse { partial_success })
}

fn formats(headers: &HeaderMap) -> Result<(OtlpEncoding, Compression), WriteError> {
    let text = |name| headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    let content_type = text(header::CONTENT_TYPE).unwrap_or_default();
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let encoding = match media.as_str() {
        PROTOBUF => OtlpEncoding::Protobuf,
        JSON => OtlpEncoding::Json,
        _ => {
            return Err(WriteError::Unsupported(format!(
                "content type {content_type:?} is not supported, only {PROTOBUF} and {JSON} are"
            )));
        }
    };
    let compression = text(header::CONTENT_ENCODING).unwrap_or_default().to_ascii_lowercase();
    let compression = Compression::named(&compression).ok_or_else(|| {
        WriteError::Unsupported(format!(
            "content encoding {compression:?} is not supported, only gzip is"
        ))
    })?;
    Ok((encoding, compression))
}

fn respond(encoding: OtlpEncoding, status: StatusCode, body: Vec<u8>) -> Response {
    let media = match encoding {
        OtlpEncoding::Protobuf => PROTOBUF,
        OtlpEncoding::Json => JSON,
    };
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static(media))], body).into_response()
}

fn success(encoding: OtlpEncoding, answer: &ExportMetricsServiceResponse) -> Vec<u8> {
    if encoding == OtlpEncoding::Protobuf {
        return answer.encode_to_vec();
    }
    let json = match &answer.partial_success {
        None => serde_json::json!({}),
        // 64-bit integers are text in protobuf's JSON.
        Some(partial) => serde_json::json!({"partialSuccess": {
            "rejectedDataPoints": partial.rejected_data_points.to_string(),
            "errorMessage": partial.error_message,
        }}),
    };
    json.to_string().into_bytes()
}

fn failure(encoding: OtlpEncoding, status: &RpcStatus) -> Vec<u8> {
    match encoding {
        OtlpEncoding::Protobuf => status.encode_to_vec(),
        OtlpEncoding::Json => serde_json::json!({"code": status.code, "message": status.message})
            .to_string()
            .into_bytes(),
    }
}

/// `google.rpc.Status`
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<RpcAny>,
}

/// `google.protobuf.Any`
#[derive(Clone, PartialEq, prost::Message)]
struct RpcAny {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<RetryDelay>,
}

/// `google.protobuf.Duration`
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct RetryDelay {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

/// The error as a gRPC call ends with it.
pub(super) fn rpc_status(error: &WriteError) -> Status {
    let status = status(error);
    let details = status.encode_to_vec();
    Status::with_details(Code::from_i32(status.code), status.message, details.into())
}

/// The error in gRPC's words, with the pause before the next try where there is one.
fn status(error: &WriteError) -> RpcStatus {
    let retry = error.retry_after_seconds();
    let code = match error.status().0 {
        _ if retry.is_some() => Code::Unavailable,
        StatusCode::INTERNAL_SERVER_ERROR => Code::Internal,
        _ => Code::InvalidArgument,
    };
    let detail = |seconds: u64| RpcAny {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
        value: RetryInfo { retry_delay: Some(RetryDelay { seconds: seconds as i64 }) }
            .encode_to_vec(),
    };
    let details = retry.map(detail).into_iter().collect();
    RpcStatus { code: code as i32, message: error.to_string(), details }
}

#[cfg(test)]
mod tests;
