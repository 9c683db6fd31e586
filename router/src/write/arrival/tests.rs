use futures_util::future::join;
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use narthex_proto::v1::{AppendBatch, AppendSeries, Label};
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::{Code, codegen::Service as _};

use super::*;
use crate::{
    limits::Limits,
    write::{
        append::AppendService,
        grpc::Served,
        otlp::OtlpService,
        tests::{Case, case_with, took_all},
    },
};

const MEMORY_KIB: usize = 1024;

fn small() -> Case {
    let bytes = MEMORY_KIB << 10;
    case_with(
        took_all,
        Limits { memory_bytes_max: bytes, request_bytes_max: bytes, ..Limits::default() },
    )
}

/// A call whose body a test sends, and what its status is in the end.
struct Call {
    body: mpsc::Sender<Vec<u8>>,
    status: tokio::task::JoinHandle<(Code, HeaderMap)>,
}

fn call(case: &Case, method: &'static str) -> Call {
    let (body, receiver) = mpsc::channel(1);
    let chunks = stream::unfold(receiver, async |mut receiver: mpsc::Receiver<Vec<u8>>| {
        Some((Ok::<_, Status>(receiver.recv().await?), receiver))
    });
    let request = Request::post(method)
        .header("content-type", "application/grpc")
        .body(Body::from_stream(chunks))
        .expect("request");
    let (router, message_bytes_max) = (Arc::clone(&case.router), MEMORY_KIB << 10);
    #[expect(clippy::disallowed_methods, reason = "a test's calls end with it")]
    let status = tokio::spawn(async move {
        let response = match method.ends_with("Append") {
            true => Served(AppendService { router, message_bytes_max }).call(request).await,
            false => Served(OtlpService { router, message_bytes_max }).call(request).await,
        };
        let (mut head, mut body) = response.expect("infallible").into_parts();
        // Trailers are the last frame; whoever asks for more is given them again.
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(trailers) = frame.into_trailers() {
                head.headers.extend(trailers);
                break;
            }
        }
        let code = head
            .headers
            .get("grpc-status")
            .map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
        (code, head.headers)
    });
    Call { body, status }
}

impl Call {
    async fn send(&self, bytes: Vec<u8>) {
        self.body.send(bytes).await.expect("it is read");
    }

    async fn end(self) -> (Code, HeaderMap) {
        drop(self.body);
        self.status.await.expect("no panic")
    }
}

/// The head of a message, which promises as many bytes.
fn promise(bytes: u32) -> Vec<u8> {
    [&[0][..], &bytes.to_be_bytes()].concat()
}

async fn until_free(case: &Case, is_so: impl Fn(usize) -> bool) {
    while !is_so(case.router.memory.free_kib()) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn messages_count_before_they_are_whole() {
    const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    for method in [EXPORT, "/narthex.v1.Append/Append"] {
        let case = small();
        let first = call(&case, method);
        first.send(promise(1000 << 10)).await;
        first.send(vec![0; 900 << 10]).await;
        until_free(&case, |kib| kib < 124).await;

        let second = call(&case, method);
        second.send(promise(1000 << 10)).await;
        let too_much = second.body.send(vec![0; 200 << 10]);
        drop(too_much.await);
        let (code, headers) = second.end().await;
        assert_eq!(code, Code::Unavailable, "{method}: {headers:?}");
        assert!(headers.contains_key("grpc-status-details-bin"), "it says when to come again");

        let (code, _) = first.end().await;
        assert_ne!(code, Code::Ok, "it broke off");
        until_free(&case, |kib| kib == MEMORY_KIB).await;
        assert!(case.metrics().contains("narthex_router_in_flight_bytes 0"));
    }
}

#[tokio::test]
async fn a_stream_of_whole_messages_holds_nothing_between_them() {
    let case = small();
    let label = |name: &str, value: &str| Label { name: name.to_owned(), value: value.to_owned() };
    let series = AppendSeries {
        labels: vec![label("__name__", "up"), label("pad", &"x".repeat(100 << 10))],
        timestamps_ms: vec![1],
        values: vec![1.0],
        ..AppendSeries::default()
    };
    let message = AppendBatch { id: 1, series: vec![series] }.encode_to_vec();
    let framed = [promise(message.len() as u32), message].concat();
    let call = call(&case, "/narthex.v1.Append/Append");
    for sent in 1..=30 {
        join(call.send(framed.clone()), until_free(&case, |_| true)).await;
        while case.shards.stored.lock().len() < sent {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(call.end().await.0, Code::Ok);
    assert_eq!(case.router.memory.free_kib(), MEMORY_KIB);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_has_begun_does_not_take_for_ever() {
    let case = small();
    let call = call(&case, "/narthex.v1.Append/Append");
    call.send(promise(1000)).await;
    let (code, _) = call.status.await.expect("no panic");
    assert_eq!(code, Code::Unavailable);
    assert_eq!(case.router.memory.free_kib(), MEMORY_KIB);
}
