//! `/api/v1/read`: remote read 1.0, by which another Prometheus queries series that are here.
//!
//! Answers are whole samples, or chunks that are streamed while they are read: whichever of the two
//! the client named first.

mod message;
mod stream;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::Request,
    response::{IntoResponse as _, Response},
};
use http::header;
use narthex_model::{Labels, METRIC_NAME, MatchOp, Matcher, Timestamp};
use narthex_promql::SampleBuffer;
use narthex_web::body;
use prost::Message as _;

#[cfg(test)]
pub(super) use self::message::ChunkedReadResponse;
use self::message::{LabelMatcher, QueryResult, ReadResponse, ResponseType, TimeSeries};
pub(super) use self::message::{Query, ReadRequest};
use super::{FORM_BYTES_MAX, FORM_TIME};
use crate::{
    Querier,
    error::{ApiError, ErrorType},
    fan_out::TimeRange,
    raw::{RawSamples, RawSelector, listed},
};

type ExternalLabels = BTreeMap<String, String>;

pub(super) async fn read(api: &Arc<Querier>, request: Request) -> Response {
    answer(api, request).await.unwrap_or_else(|error| api.refuse_in_words(error))
}

async fn answer(api: &Arc<Querier>, request: Request) -> Result<Response, ApiError> {
    let sender = narthex_web::sender(request.extensions());
    let body = body::read(request.into_body(), FORM_BYTES_MAX, FORM_TIME)
        .await
        .map_err(|error| ApiError::bad_data(error.to_string()))?;
    let (request, response_type) = decode(&body)?;
    let external = api.options.config.borrow().external_labels.clone();
    let selector = |query: &Query| selector(&query.matchers, &external);
    let selectors: Vec<_> = request.queries.iter().map(selector).collect::<Result<_, _>>()?;
    let turn = api.turn(listed(api, &selectors, &sender), api.options.timeout).await?;
    if response_type == ResponseType::StreamedXorChunks {
        let queries = request.queries;
        let asked = stream::Streamed { queries, selectors, external, turn };
        return stream::answer(api, asked).await;
    }
    let mut found = Vec::with_capacity(request.queries.len());
    for (query, selector) in request.queries.iter().zip(&selectors) {
        let selector = std::slice::from_ref(selector);
        let samples = api.raw_samples(selector, query.range(), &turn).await?;
        for warning in &samples.warnings {
            tracing::warn!(warning, "an answer to a remote read is not complete");
        }
        found.push(samples);
    }
    let encoded = tokio::task::spawn_blocking(move || encode(found, &external)).await;
    let internal = |error: String| ApiError::new(ErrorType::Internal, error);
    let body = encoded.map_err(|error| internal(error.to_string()))?.map_err(internal)?;
    let head =
        [(header::CONTENT_TYPE, "application/x-protobuf"), (header::CONTENT_ENCODING, "snappy")];
    Ok((head, body).into_response())
}

impl Query {
    fn range(&self) -> TimeRange {
        let [start, end] = [self.start_ms, self.end_ms].map(Timestamp::from_millis);
        TimeRange { start, end }
    }
}

/// A request, and how it wants to be answered. Refuses what is larger than any form, also once it
/// is unpacked.
fn decode(body: &[u8]) -> Result<(ReadRequest, ResponseType), ApiError> {
    let unreadable = |what: String| ApiError::bad_data(format!("remote read request: {what}"));
    let declared =
        snap::raw::decompress_len(body).map_err(|error| unreadable(error.to_string()))?;
    if declared > FORM_BYTES_MAX {
        let what = format!("{declared} bytes unpacked, at most {FORM_BYTES_MAX} are taken");
        return Err(unreadable(what));
    }
    let message = snap::raw::Decoder::new().decompress_vec(body);
    let message = message.map_err(|error| unreadable(error.to_string()))?;
    let request = ReadRequest::decode(&*message).map_err(|error| unreadable(error.to_string()))?;
    let response_type = negotiate(&request.accepted_response_types)?;
    Ok((request, response_type))
}

/// The first known type of those that a client takes.
fn negotiate(accepted: &[i32]) -> Result<ResponseType, ApiError> {
    if accepted.is_empty() {
        return Ok(ResponseType::Samples);
    }
    let known = accepted.iter().find_map(|number| ResponseType::try_from(*number).ok());
    known.ok_or_else(|| {
        ApiError::bad_data(format!(
            "server does not support any of the requested response types: {accepted:?}; supported: \
             SAMPLES, STREAMED_XOR_CHUNKS"
        ))
    })
}

/// Labels as other servers see them.
fn labelled(labels: &Labels, external: &ExternalLabels) -> Labels {
    let mut labels = labels.to_builder();
    for (name, value) in external {
        if labels.value(name).is_empty() {
            labels.set(name, value);
        }
    }
    labels.build()
}

/// What is asked of the series here: they get the external labels only on their way out.
fn selector(asked: &[LabelMatcher], external: &ExternalLabels) -> Result<RawSelector, ApiError> {
    let mut matchers = Vec::with_capacity(asked.len());
    for LabelMatcher { op, name, value } in asked {
        let op = match op {
            0 => MatchOp::Equal,
            1 => MatchOp::NotEqual,
            2 => MatchOp::Regex,
            3 => MatchOp::NotRegex,
            other => return Err(ApiError::bad_data(format!("matcher has unknown type {other}"))),
        };
        if op == MatchOp::Equal && external.get(name) == Some(value) {
            continue;
        }
        let matcher = Matcher::new(op, name, value);
        matchers.push(matcher.map_err(|error| ApiError::bad_data(error.to_string()))?);
    }
    // Everything may be read, which in PromQL must be said.
    if !matchers.iter().any(|matcher| !matcher.matches("")) {
        let named = Matcher::new(MatchOp::Regex, METRIC_NAME, ".+");
        matchers.push(named.map_err(|error| ApiError::bad_data(error.to_string()))?);
    }
    let text = matchers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    Ok(RawSelector { text: format!("{{{text}}}"), matchers })
}

fn encode(found: Vec<RawSamples>, external: &ExternalLabels) -> Result<Vec<u8>, String> {
    let result = |samples: RawSamples| {
        let mut all: BTreeMap<Labels, Vec<Arc<SampleBuffer>>> = BTreeMap::new();
        for (labels, buffers) in samples.series {
            all.entry(labelled(&labels, external)).or_default().extend(buffers);
        }
        let series = |(labels, buffers): (Labels, Vec<_>)| {
            let mut series = TimeSeries::new(&labels);
            series.extend(&SampleBuffer::together(&buffers));
            series
        };
        QueryResult { series: all.into_iter().map(series).collect() }
    };
    let response = ReadResponse { results: found.into_iter().map(result).collect() };
    let message = response.encode_to_vec();
    drop(response);
    snap::raw::Encoder::new().compress_vec(&message).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use narthex_model::{FloatHistogram, histogram::Bucket};
    use proptest::prelude::*;

    use super::*;

    fn matcher(op: i32, name: &str, value: &str) -> LabelMatcher {
        LabelMatcher { op, name: name.to_owned(), value: value.to_owned() }
    }

    fn external() -> ExternalLabels {
        BTreeMap::from([("region".to_owned(), "eu".to_owned())])
    }

    #[test]
    fn external_labels_are_not_asked_of_the_series() {
        let text = |asked: &[LabelMatcher]| selector(asked, &external()).unwrap().text;
        let up = matcher(0, "__name__", "up");
        assert_eq!(text(&[up.clone(), matcher(0, "region", "eu")]), r#"{__name__="up"}"#);
        assert_eq!(
            text(&[up, matcher(0, "region", "us"), matcher(3, "a", "b|\"")]),
            r#"{__name__="up",region="us",a!~"b|\""}"#
        );
        assert_eq!(text(&[matcher(2, "a", ".*")]), r#"{a=~".*",__name__=~".+"}"#);
        assert!(selector(&[matcher(2, "a", "(")], &external()).is_err());
        assert!(selector(&[matcher(4, "a", "b")], &external()).is_err());
    }

    #[test]
    fn samples_of_all_shards_come_in_order_with_their_labels() {
        let buffer = |times: &[i64]| {
            let mut buffer = SampleBuffer::new();
            times.iter().for_each(|time| buffer.push_float(*time, *time as f64));
            buffer
        };
        let mut later = buffer(&[30]);
        let positive = vec![Bucket { index: 2, count: 1.5 }, Bucket { index: 4, count: 1.0 }];
        later.push_histogram(
            40,
            Arc::new(FloatHistogram { schema: 3, count: 2.5, positive, ..<_>::default() }),
        );
        let labels = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied()).unwrap();
        let series = BTreeMap::from([
            (labels(&[("a", "1")]), vec![Arc::new(later), Arc::new(buffer(&[10, 20]))]),
            (labels(&[("region", "us")]), vec![Arc::new(buffer(&[5]))]),
        ]);
        let found = RawSamples { series, warnings: Vec::new() };
        let body = encode(vec![found, RawSamples::default()], &external()).unwrap();
        let message = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let response = ReadResponse::decode(&*message).unwrap();
        assert_eq!(response.results.len(), 2);
        let [first, second] = &response.results[0].series[..] else { panic!("two series") };
        let names = first.labels.iter().map(|label| (&*label.name, &*label.value));
        assert_eq!(names.collect::<Vec<_>>(), [("a", "1"), ("region", "eu")]);
        let times = first.samples.iter().map(|sample| sample.timestamp_ms);
        assert_eq!(times.collect::<Vec<_>>(), [10, 20, 30]);
        let histogram = &first.histograms[0];
        assert_eq!((histogram.timestamp_ms, histogram.count), (40, Some(2.5)));
        let spans = histogram.positive_spans.iter().map(|span| (span.offset, span.length));
        assert_eq!(spans.collect::<Vec<_>>(), [(2, 1), (1, 1)]);
        assert_eq!((&*second.labels[0].value, second.labels.len()), ("us", 1));
    }

    #[test]
    fn the_first_known_type_is_answered() {
        let packed = |accepted: &[i32]| {
            let request = ReadRequest {
                queries: vec![Query::default()],
                accepted_response_types: accepted.to_vec(),
            };
            snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
        };
        let chosen = |accepted: &[i32]| decode(&packed(accepted)).unwrap().1;
        assert_eq!(chosen(&[]), ResponseType::Samples);
        assert_eq!(chosen(&[7, 1, 0]), ResponseType::StreamedXorChunks);
        assert_eq!(chosen(&[0, 1]), ResponseType::Samples);
        let refused = decode(&packed(&[7])).unwrap_err();
        assert!(refused.message.contains("requested response types"), "{refused:?}");
        // A length that is only declared.
        assert!(decode(&[0xff, 0xff, 0xff, 0x7f, 0]).is_err());
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body: Vec<u8>) {
            let _ = decode(&body);
            let _ = decode(&snap::raw::Encoder::new().compress_vec(&body).unwrap());
        }
    }
}
