//! What became of a request, and what its sender is told.

use std::{collections::BTreeMap, time::Duration};

use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};
use narthex_cluster::ShardId;
use narthex_proto::{client::ShardError, internal::v1::Appended};

use crate::{
    limits::REQUEST_BYTES_KEY,
    metrics::{EXEMPLAR, METADATA, RouterMetrics},
    remote_write::DecodeError,
    split::{Refusal, RefuseReason},
};

/// What a sender is asked to wait after 429 or 503.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a write request fails. Each variant is one thing the sender does next.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Correct it.
    #[error("{0}")]
    Parameter(String),
    /// Send what is supported.
    #[error("{0}")]
    Unsupported(String),
    /// Send less at once.
    #[error(
        "request body exceeds {body_bytes_max} bytes, the most that {limit} bytes \
         ({REQUEST_BYTES_KEY}) compress to"
    )]
    BodyTooLarge {
        /// Bytes that were read at most.
        body_bytes_max: usize,
        /// Decompressed bytes that a request may have.
        limit: usize,
    },
    /// Send it again, faster.
    #[error("request body was not received in time")]
    BodyTimedOut,
    /// Nobody is there to hear it.
    #[error("request body broke off")]
    BodyBrokeOff,
    /// Drop it: it will be refused every time.
    #[error(transparent)]
    Decode(DecodeError),
    /// Some of it will be refused every time; the rest is stored.
    #[error("{0}")]
    Samples(String),
    /// Wait, then send again.
    #[error("{0}")]
    Busy(String, Duration),
    /// Wait, then send again: parts of it may be stored, which is harmless.
    #[error("{0}")]
    Unavailable(String),
    /// A shard's node cannot work with what we send.
    #[error("{0}")]
    Internal(String),
}

impl WriteError {
    /// The one place that chooses a status code, and the word for it in metrics.
    pub fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unsupported(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported"),
            Self::Parameter(_) => (StatusCode::BAD_REQUEST, "parameter"),
            Self::BodyTooLarge { .. }
            | Self::Decode(DecodeError::TooLarge { .. } | DecodeError::PartsTooLarge { .. }) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too_large")
            }
            // Senders drop what is answered with 4xx.
            Self::BodyTimedOut => (StatusCode::SERVICE_UNAVAILABLE, "body"),
            Self::BodyBrokeOff => (StatusCode::BAD_REQUEST, "body"),
            Self::Decode(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Self::Samples(_) => (StatusCode::BAD_REQUEST, "samples"),
            Self::Busy(..) => (StatusCode::TOO_MANY_REQUESTS, "busy"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    /// In whole seconds, what the sender waits before it sends again; `None` if it must not.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        let after = match self {
            Self::Busy(_, after) => *after,
            Self::Unavailable(_) | Self::BodyTimedOut => RETRY_AFTER,
            _ => return None,
        };
        Some((after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(1))
    }

    /// The answer as text.
    pub fn response(&self) -> Response {
        let mut response = (self.status().0, format!("{self}\n")).into_response();
        if let Some(seconds) = self.retry_after_seconds() {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<DecodeError> for WriteError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::NoMemory(reason) => Self::Busy(reason, RETRY_AFTER),
            error => Self::Decode(error),
        }
    }
}

impl From<ShardError> for WriteError {
    fn from(error: ShardError) -> Self {
        let text = error.to_string();
        match error {
            ShardError::Unavailable { .. } => Self::Unavailable(text),
            ShardError::Busy { retry_after, .. } => Self::Busy(text, retry_after),
            ShardError::Refused { status, .. } => {
                Self::Internal(format!("{text}: {}", status.message()))
            }
            // It was sent labels, and still says so.
            ShardError::UnknownSeries { .. } => Self::Unavailable(text),
        }
    }
}

/// What a shard said to each of its batches, or why it did not take them all.
pub type Appends = Result<Vec<Appended>, ShardError>;

/// What became of a request's parts.
#[derive(Debug, Default)]
pub struct Parts {
    /// What belongs to no shard.
    pub refused: BTreeMap<RefuseReason, Refusal>,
    /// What each shard said; a shard may come twice.
    pub shards: Vec<(ShardId, Appends)>,
}

/// What became of a request.
#[derive(Debug, Default)]
pub struct Ingested {
    /// What shards have acknowledged.
    pub written: Written,
    /// What will be refused every time, by reason.
    pub refused: BTreeMap<String, Refusal>,
    /// Why the rest is not known to be stored, if it is not.
    pub failed: Option<WriteError>,
}

/// What shards have acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Float samples.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
}

impl Ingested {
    /// Adds what a shard said. A failure that sending again can mend wins over one that it
    /// cannot: the samples of the first are lost otherwise.
    pub fn add(&mut self, appends: Appends, metrics: &RouterMetrics) {
        let answers = match appends {
            Ok(answers) => answers,
            Err(error) => {
                let error = WriteError::from(error);
                if self.failed.as_ref().is_none_or(|worst| rank(&error) > rank(worst)) {
                    self.failed = Some(error);
                }
                return;
            }
        };
        for answer in answers {
            metrics.samples("appended", answer.samples);
            self.written.samples += answer.samples.saturating_sub(answer.histograms);
            self.written.histograms += answer.histograms;
            self.written.exemplars += answer.exemplars;
            let unnamed =
                [(EXEMPLAR, answer.exemplars_refused), (METADATA, answer.families_refused)];
            for (reason, count) in unnamed.into_iter().filter(|(_, count)| *count > 0) {
                metrics.samples_refused_by_shard(reason, count);
                self.refused.entry(reason.to_owned()).or_default().samples += count;
            }
            for row in answer.refused {
                metrics.samples_refused_by_shard(&row.reason, row.samples);
                let refusal = self.refused.entry(row.reason).or_default();
                refusal.samples += row.samples;
                if refusal.example.is_empty() {
                    refusal.example = row.example;
                }
            }
        }
    }

    /// Adds what became of a later part of the same request.
    pub fn merge(&mut self, later: Self) {
        self.written.samples += later.written.samples;
        self.written.histograms += later.written.histograms;
        self.written.exemplars += later.written.exemplars;
        for (reason, refusal) in later.refused {
            let all = self.refused.entry(reason).or_default();
            all.samples += refusal.samples;
            if all.example.is_empty() {
                all.example = refusal.example;
            }
        }
        self.failed = self.failed.take().or(later.failed);
    }

    /// How many samples will be refused every time.
    pub fn refused_total(&self) -> u64 {
        self.refused.values().map(|refusal| refusal.samples).sum()
    }

    /// How many of which reason, each with an example; empty if nothing was refused.
    pub fn describe_refused(&self) -> String {
        if self.refused.is_empty() {
            return String::new();
        }
        let reason = |(reason, refusal): (&String, &Refusal)| match refusal.example.as_str() {
            "" => format!("{} {reason}", refusal.samples),
            example => format!("{} {reason} (for example {example})", refusal.samples),
        };
        let reasons: Vec<_> = self.refused.iter().map(reason).collect();
        let is_any_kept = self.written != Written::default();
        let kept = if is_any_kept { "the rest is stored" } else { "nothing is stored" };
        format!("{} samples refused, {kept}: {}", self.refused_total(), reasons.join(", "))
    }

    /// What the sender must hear of, if anything.
    pub fn error(self) -> Option<WriteError> {
        let refused = self.describe_refused();
        match self.failed {
            Some(failed) => Some(failed),
            None if refused.is_empty() => None,
            None => Some(WriteError::Samples(refused)),
        }
    }
}

/// Which failure is reported where there are several.
fn rank(error: &WriteError) -> u8 {
    match error {
        WriteError::Unavailable(_) => 2,
        WriteError::Busy(..) => 1,
        _ => 0,
    }
}
