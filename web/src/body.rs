//! Reading request bodies within bounds.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Answer 413; sending it again in smaller parts can work.
    #[error("request body exceeds {bytes_max} bytes")]
    TooLarge {
        /// The bound.
        bytes_max: usize,
    },
    /// Answer 408.
    #[error("request body was not received in time")]
    TimedOut,
    /// The client went away or broke the protocol.
    #[error("request body broke off")]
    BrokeOff,
}

/// Reads a whole body of at most `bytes_max` within `deadline`.
pub async fn read(body: Body, bytes_max: usize, deadline: Duration) -> Result<Bytes, BodyError> {
    let collected = tokio::time::timeout(deadline, Limited::new(body, bytes_max).collect());
    match collected.await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge { bytes_max }),
        Ok(Err(_)) => Err(BodyError::BrokeOff),
        Err(_) => Err(BodyError::TimedOut),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_read_up_to_its_bound() {
        let body = || Body::from("12345");
        let read = |bytes_max| super::read(body(), bytes_max, Duration::from_secs(1));
        assert_eq!(read(5).await.expect("fits"), "12345");
        assert!(matches!(read(4).await, Err(BodyError::TooLarge { bytes_max: 4 })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let body =
            Body::new(http_body_util::combinators::BoxBody::new(http_body_util::StreamBody::new(
                tokio_stream::pending::<Result<http_body::Frame<Bytes>, axum::Error>>(),
            )));
        let got = read(body, 10, Duration::from_secs(5)).await;
        assert!(matches!(got, Err(BodyError::TimedOut)));
    }
}
