//! Bodies that are still being sent when their request has been answered.
//!
//! A server that closes a connection with bytes on it that nobody has read resets it, and the
//! sender, which is still writing, hears of a broken connection instead of its 413. So what is left
//! of a body is read and thrown away for a while, as Go's `net/http` and nginx do.
//!
//! Invariants
//! * an answer never waits for this;
//! * no more than [`BYTES_MAX`] bytes are read in vain, for no longer than [`TIME_MAX`];
//! * a sender that waits for `100 Continue` is not told to go on.
//!
//! HTTP/2 needs none of it: there a stream is ended, not a connection.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use http::{Request, Version, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};
use tokio_util::task::TaskTracker;

/// More than any sender puts into one request unless told to.
const BYTES_MAX: usize = 16 << 20;
const TIME_MAX: Duration = Duration::from_secs(5);

/// The same request, whose body is read to its end by a task of `tasks` where nobody else does.
pub(crate) fn followed(request: Request<Incoming>, tasks: &TaskTracker) -> Request<Body> {
    if request.version() >= Version::HTTP_2 || request.body().is_end_stream() {
        return request.map(Body::new);
    }
    let is_held_back = request.headers().contains_key(header::EXPECT);
    let tasks = tasks.clone();
    request.map(|body| Body::new(Followed { body: Some(body), is_held_back, tasks }))
}

/// A body that is not dropped before its end.
struct Followed {
    /// There until the end or an error.
    body: Option<Incoming>,
    /// Whether the sender waits for a word before it sends the body.
    is_held_back: bool,
    tasks: TaskTracker,
}

impl HttpBody for Followed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.is_held_back = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Incoming::size_hint).unwrap_or_default()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        let left = mem::take(&mut self.body).filter(|body| !body.is_end_stream());
        if let Some(body) = left.filter(|_| !self.is_held_back) {
            self.tasks.spawn(tokio::time::timeout(TIME_MAX, read_in_vain(body)));
        }
    }
}

async fn read_in_vain(mut body: Incoming) {
    let mut bytes_left = BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        match bytes_left.checked_sub(bytes) {
            Some(left) => bytes_left = left,
            None => return,
        }
    }
}
