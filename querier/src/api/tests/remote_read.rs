//! Remote reads through the listener.

use prost::Message as _;

use super::*;
use crate::{
    api::remote_read::{ChunkedReadResponse, ReadRequest},
    chunk,
};

/// Answers of their own, as a shard streams them: a series goes on in the next one.
fn streamed(request: &FragmentRequest) -> Vec<FragmentPart> {
    assert_eq!(request.kind(), narthex_proto::internal::v1::FragmentKind::SortedSamples);
    assert_eq!((request.start_ms, request.end_ms), (1, 9_000));
    let series = |instance: &str, times: std::ops::Range<i64>| {
        let mut buffer = SampleBuffer::new();
        times.for_each(|time| buffer.push_float(time, time as f64 / 3.0));
        SampledSeries { labels: labels("up", instance), samples: Arc::new(buffer) }
    };
    let answers = match request.shard_id {
        0 => vec![vec![series("b", 1..100)], vec![series("b", 100..301), series("d", 5..6)]],
        _ => vec![vec![series("a", 7..9), series("b", 400..402)], vec![series("c", 1..2)]],
    };
    let part = |part| FragmentPart { part: Some(part) };
    let told = answers.into_iter().map(|series| {
        let content = FragmentContent::Samples(series);
        let answer = FragmentAnswer { content, annotations: <_>::default(), stats: <_>::default() };
        part(fragment_part::Part::Answer(wire::encode(&answer).into()))
    });
    told.chain([part(fragment_part::Part::End(FragmentEnd::default()))]).collect()
}

fn broken(request: &FragmentRequest) -> Vec<FragmentPart> {
    let mut parts = streamed(request);
    parts.pop();
    parts
}

async fn read(cluster: FakeCluster) -> (StatusCode, Option<Bytes>) {
    let served = serve(cluster).await;
    let query = crate::api::remote_read::Query { start_ms: 1, end_ms: 9_000, matchers: vec![] };
    let request = ReadRequest { queries: vec![query], accepted_response_types: vec![1, 0] };
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).expect("packed");
    let request = Request::post(format!("{}/api/v1/read", served.url)).body(Full::from(body));
    let client: Client<HttpConnector, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    // A connection that breaks off may take the head with it.
    let Ok(answer) = client.request(request.expect("request")).await else {
        return (StatusCode::OK, None);
    };
    let (head, body) = answer.into_parts();
    if head.status == StatusCode::OK {
        let expected = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
        assert_eq!(head.headers["content-type"], expected);
    }
    (head.status, body.collect().await.ok().map(|body| body.to_bytes()))
}

fn frames(mut body: &[u8]) -> Vec<ChunkedReadResponse> {
    let mut frames = Vec::new();
    while !body.is_empty() {
        let len = prost::decode_length_delimiter(&mut body).expect("a length");
        let (sum, rest) = body.split_at(4);
        let (message, rest) = rest.split_at(len);
        assert_eq!(sum, crc32c::crc32c(message).to_be_bytes());
        frames.push(ChunkedReadResponse::decode(message).expect("a message"));
        body = rest;
    }
    frames
}

#[tokio::test]
async fn chunks_of_all_shards_are_streamed_in_the_order_of_labels() {
    let (status, body) = read(FakeCluster { fragments: Some(streamed), ..cluster() }).await;
    assert_eq!(status, StatusCode::OK);
    let frames = frames(&body.expect("a whole body"));
    let instances = frames.iter().map(|frame| {
        let [series] = &frame.chunked_series[..] else { panic!("one series a frame") };
        let value = |name: &str| {
            let found = series.labels.iter().find(|label| label.name == name);
            found.map(|label| label.value.clone()).expect("a label")
        };
        assert_eq!(value("region"), "eu");
        value("instance")
    });
    assert_eq!(instances.collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    let mut whole = SampleBuffer::new();
    (1..301).chain(400..402).for_each(|time| whole.push_float(time, time as f64 / 3.0));
    let expected: Vec<_> = chunk::chunks(&whole).map(|it| (it.start_ms, it.bytes)).collect();
    assert_eq!(expected.len(), 3);
    let told = frames[1].chunked_series[0].chunks.iter();
    assert_eq!(told.map(|it| (it.min_time_ms, it.data.clone())).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_stream_that_is_not_whole_breaks_off() {
    let silent = FakeCluster { silent_shards: vec![1], fragments: Some(streamed), ..cluster() };
    assert_eq!(read(silent).await.0, StatusCode::SERVICE_UNAVAILABLE);
    // What was sent before the shards broke off has no end.
    let (status, body) = read(FakeCluster { fragments: Some(broken), ..cluster() }).await;
    assert_eq!((status, body), (StatusCode::OK, None));
}
