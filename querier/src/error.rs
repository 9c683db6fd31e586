//! Errors of the HTTP API: their types, texts and codes are Prometheus's.

use http::StatusCode;
use narthex_proto::client::ShardError;

/// Prometheus's error types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorType {
    /// A parameter or expression that can never work.
    BadData,
    /// Evaluation failed.
    Execution,
    /// The caller went away.
    Canceled,
    /// It took too long.
    Timeout,
    /// A bug, or a shard that does not answer.
    Internal,
    /// A part of the cluster does not answer.
    Unavailable,
    /// There is no such thing.
    NotFound,
    /// A flag of the process does not allow it. Named like `Unavailable`, as Prometheus does.
    Disabled,
    /// From a shard: it sees too little to tell whether there is an error. Nobody else is told.
    Undecided,
}

impl ErrorType {
    /// The name in the envelope.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Canceled => "canceled",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
            Self::NotFound => "not_found",
            Self::Undecided => "undecided",
            Self::Unavailable | Self::Disabled => "unavailable",
        }
    }

    /// The type with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::BadData,
            Self::Execution,
            Self::Canceled,
            Self::Timeout,
            Self::Internal,
            Self::Unavailable,
            Self::NotFound,
            Self::Undecided,
        ]
        .into_iter()
        .find(|found| found.name() == name)
    }

    /// The one place that chooses a status code. Prometheus has no shards: where one is missing,
    /// 503 tells clients that asking again can help.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadData => StatusCode::BAD_REQUEST,
            Self::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Canceled => StatusCode::from_u16(499).expect("499 is in range"),
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Timeout | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal | Self::Disabled | Self::Undecided => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The gRPC code for the same thing.
    pub const fn grpc_code(self) -> tonic::Code {
        match self {
            Self::BadData => tonic::Code::InvalidArgument,
            Self::Execution => tonic::Code::FailedPrecondition,
            Self::Canceled => tonic::Code::Cancelled,
            Self::Timeout => tonic::Code::DeadlineExceeded,
            Self::Internal | Self::Undecided => tonic::Code::Internal,
            Self::Unavailable => tonic::Code::Unavailable,
            Self::Disabled => tonic::Code::FailedPrecondition,
            Self::NotFound => tonic::Code::NotFound,
        }
    }
}

/// Why a request of the API is refused or fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What kind of failure.
    pub kind: ErrorType,
    /// The text for people.
    pub message: String,
}

impl ApiError {
    /// An error of a kind.
    pub fn new(kind: ErrorType, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Something that can never work.
    pub fn bad_data(message: impl Into<String>) -> Self {
        Self::new(ErrorType::BadData, message)
    }

    /// A parameter that cannot be used.
    pub fn invalid_parameter(name: &str, why: &str) -> Self {
        Self::bad_data(format!("invalid parameter {name:?}: {why}"))
    }

    /// Something that does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorType::NotFound, message)
    }

    /// A query that ran out of time while `doing`.
    pub fn timed_out(doing: &str) -> Self {
        Self::new(ErrorType::Timeout, format!("query timed out in {doing}"))
    }
}

impl From<ShardError> for ApiError {
    fn from(error: ShardError) -> Self {
        let text = error.to_string();
        match error {
            ShardError::Unavailable { .. } | ShardError::Busy { .. } => {
                Self::new(ErrorType::Unavailable, text)
            }
            ShardError::Refused { status, .. } => {
                Self::new(ErrorType::Internal, format!("{text}: {}", status.message()))
            }
            // Only appends name series by numbers.
            ShardError::UnknownSeries { .. } => Self::new(ErrorType::Internal, text),
        }
    }
}

impl From<ApiError> for tonic::Status {
    fn from(error: ApiError) -> Self {
        Self::new(error.kind.grpc_code(), error.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_prometheus_codes() {
        let code = |name: &str| ErrorType::from_name(name).expect(name).status().as_u16();
        assert_eq!(
            ["bad_data", "execution", "canceled", "timeout", "internal", "not_found"].map(code),
            [400, 422, 499, 503, 500, 404]
        );
        assert_eq!(ErrorType::from_name("sorry"), None);
    }
}
