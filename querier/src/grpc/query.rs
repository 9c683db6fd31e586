//! `narthex.v1.Query`.

use std::{pin::Pin, sync::Arc, time::Duration};

use narthex_model::{FloatHistogram, Labels, Timestamp};
use narthex_promql::{MatrixSeries, Steps, Value, value::Sample};
use narthex_proto::internal::v1::Consistency;
use narthex_proto::v1::{
    Bucket, FindRequest, FindSeriesResponse, Histogram, HistogramPoint, InstantRequest,
    InstantResponse, InstantSample, Label, LabelValuesRequest, Matrix, MetadataRequest,
    MetadataResponse, NamesResponse, Point, QueryOptions, QueryStats, RangeRequest, RangeResponse,
    Series, Text, Vector, instant_response, instant_sample, query_server::Query,
};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use super::names;
use crate::{
    Querier,
    answer::{CONSISTENCY_NAME, Remarks},
    error::ApiError,
    query::{self, Answered, QueryRequest, consistency},
    render::truncate,
};

/// Points in one message of a streamed answer, but for a single series of more.
const POINTS_PER_MESSAGE: usize = 8_192;

/// See the `.proto` file.
pub(super) struct QueryService(pub(super) Arc<Querier>);

type Messages = Pin<Box<dyn Stream<Item = Result<RangeResponse, Status>> + Send>>;
type Found = Pin<Box<dyn Stream<Item = Result<FindSeriesResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Query for QueryService {
    type RangeStream = Messages;
    type FindSeriesStream = Found;

    async fn instant(
        &self,
        request: Request<InstantRequest>,
    ) -> Result<Response<InstantResponse>, Status> {
        let user = narthex_web::sender(request.extensions());
        let request = request.into_inner();
        let time = request.time_ms.map_or_else(|| self.0.clock.now(), Timestamp::from_millis);
        let options = request.options.unwrap_or_default();
        let answered = self
            .query(QueryRequest {
                text: request.query,
                steps: Steps { start: time, end: time, step_millis: 0 },
                timeout: millis(request.timeout_ms),
                lookback: millis(request.lookback_delta_ms),
                partial_response: options.partial_response,
                consistency: consistency_of(options),
                counts_samples: false,
                user,
                remembers: !options.no_cache,
            })
            .await?;
        let Answered { value, remarks, age, stats, .. } = cut(answered, options);
        let Remarks { warnings, infos } = remarks;
        let (result, stats) = (Some(instant_result(value)), Some(told(&stats)));
        let response = InstantResponse { result, warnings, infos, stats };
        Ok(with_consistency(Response::new(response), age))
    }

    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStream>, Status> {
        let user = narthex_web::sender(request.extensions());
        let request = request.into_inner();
        if request.step_ms <= 0 {
            return Err(Status::invalid_argument("step_ms must be greater than 0"));
        }
        if request.end_ms < request.start_ms {
            return Err(Status::invalid_argument("end_ms must not be before start_ms"));
        }
        let options = request.options.unwrap_or_default();
        let answered = self
            .query(QueryRequest {
                text: request.query,
                steps: Steps {
                    start: Timestamp::from_millis(request.start_ms),
                    end: Timestamp::from_millis(request.end_ms),
                    step_millis: request.step_ms,
                },
                timeout: millis(request.timeout_ms),
                lookback: millis(request.lookback_delta_ms),
                partial_response: options.partial_response,
                consistency: consistency_of(options),
                counts_samples: false,
                user,
                remembers: !options.no_cache,
            })
            .await?;
        let age = answered.age;
        let messages = tokio_stream::iter(messages(cut(answered, options))).map(Ok);
        Ok(with_consistency(Response::new(Box::pin(messages) as Messages), age))
    }

    async fn find_series(
        &self,
        request: Request<FindRequest>,
    ) -> Result<Response<Self::FindSeriesStream>, Status> {
        let found = names::series(&self.0, request.into_inner()).await;
        let messages = found.map_err(|error| self.failed(error))?;
        Ok(Response::new(Box::pin(tokio_stream::iter(messages).map(Ok)) as Found))
    }

    async fn label_names(
        &self,
        request: Request<FindRequest>,
    ) -> Result<Response<NamesResponse>, Status> {
        let found = names::label_names(&self.0, request.into_inner()).await;
        found.map(Response::new).map_err(|error| self.failed(error))
    }

    async fn label_values(
        &self,
        request: Request<LabelValuesRequest>,
    ) -> Result<Response<NamesResponse>, Status> {
        let found = names::label_values(&self.0, request.into_inner()).await;
        found.map(Response::new).map_err(|error| self.failed(error))
    }

    async fn metadata(
        &self,
        request: Request<MetadataRequest>,
    ) -> Result<Response<MetadataResponse>, Status> {
        let found = names::metadata(&self.0, &request.into_inner().metric).await;
        found.map(Response::new).map_err(|error| self.failed(error))
    }
}

impl QueryService {
    async fn query(&self, request: QueryRequest) -> Result<Answered, Status> {
        self.0.query(&request).await.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: ApiError) -> Status {
        self.0.metrics.failed(error.kind.name());
        Status::from(error)
    }
}

fn consistency_of(options: QueryOptions) -> Consistency {
    if options.bounded { Consistency::Bounded } else { Consistency::Linearizable }
}

fn cut(mut answered: Answered, options: QueryOptions) -> Answered {
    if truncate(&mut answered.value, usize::try_from(options.limit).unwrap_or(usize::MAX)) {
        answered.remarks.warnings.push("results truncated due to limit".to_owned());
    }
    answered
}

fn told(stats: &query::QueryStats) -> QueryStats {
    QueryStats {
        queue_seconds: stats.queued.as_secs_f64(),
        preparation_seconds: stats.prepared.as_secs_f64(),
        evaluation_seconds: stats.evaluated.as_secs_f64(),
        samples_read: stats.samples_read,
        peak_samples: stats.samples_peak as u64,
    }
}

/// 0 is the server's default.
fn millis(millis: u64) -> Option<Duration> {
    (millis > 0).then(|| Duration::from_millis(millis))
}

fn with_consistency<T>(mut response: Response<T>, age: Duration) -> Response<T> {
    if let Ok(text) = consistency(age).parse() {
        response.metadata_mut().insert(CONSISTENCY_NAME, text);
    }
    response
}

fn instant_result(value: Value) -> instant_response::Result {
    use instant_response::Result as Outcome;
    match value {
        Value::Scalar(point) => {
            let timestamp_ms = point.timestamp.millis();
            Outcome::Scalar(Point { timestamp_ms, value: point.value })
        }
        Value::String(point) => {
            let timestamp_ms = point.timestamp.millis();
            Outcome::String(Text { timestamp_ms, value: point.value })
        }
        Value::Vector(elements) => {
            let samples = elements.into_iter().map(|element| InstantSample {
                labels: labels(&element.labels),
                timestamp_ms: element.timestamp.millis(),
                value: Some(match element.sample {
                    Sample::Float(value) => instant_sample::Value::Float(value),
                    Sample::Histogram(found) => instant_sample::Value::Histogram(histogram(&found)),
                }),
            });
            Outcome::Vector(Vector { samples: samples.collect() })
        }
        Value::Matrix(found) => {
            Outcome::Matrix(Matrix { series: found.iter().map(series).collect() })
        }
    }
}

/// An answer in messages of a bounded size; the last one carries the remarks. Converted one by one
/// while they are sent.
fn messages(answered: Answered) -> impl Iterator<Item = RangeResponse> + Send {
    let Remarks { warnings, infos } = answered.remarks;
    let stats = Some(told(&answered.stats));
    let found = match answered.value {
        Value::Matrix(found) => found,
        // A scalar of a range query comes as a matrix; nothing else passes the type check.
        Value::Scalar(_) | Value::String(_) | Value::Vector(_) => Vec::new(),
    };
    let mut rest = found.into_iter().peekable();
    let mut remarks = Some((warnings, infos));
    std::iter::from_fn(move || {
        let mut message = RangeResponse::default();
        let mut points = 0;
        while points < POINTS_PER_MESSAGE {
            let Some(next) = rest.next() else { break };
            points += next.samples.len().max(1);
            message.series.push(series(&next));
        }
        if rest.peek().is_some() {
            return Some(message);
        }
        let (warnings, infos) = remarks.take()?;
        Some(RangeResponse { warnings, infos, stats, ..message })
    })
}

pub(super) fn labels(labels: &Labels) -> Vec<Label> {
    let pairs = labels.iter();
    pairs.map(|(name, value)| Label { name: name.to_owned(), value: value.to_owned() }).collect()
}

fn series(found: &MatrixSeries) -> Series {
    let samples = &found.samples;
    let mut series = Series { labels: labels(&found.labels), ..Series::default() };
    for (at, &timestamp_ms) in samples.timestamps().iter().enumerate() {
        match samples.histogram(at) {
            None => {
                series.timestamps_ms.push(timestamp_ms);
                series.values.push(samples.values()[at]);
            }
            Some(found) => {
                let histogram = Some(histogram(found));
                series.histograms.push(HistogramPoint { timestamp_ms, histogram });
            }
        }
    }
    series
}

fn histogram(found: &FloatHistogram) -> Histogram {
    let buckets = found.buckets().map(|range| Bucket {
        boundary_rule: u32::from(range.boundary_rule()),
        lower: range.lower,
        upper: range.upper,
        count: range.count,
    });
    Histogram { count: found.count, sum: found.sum, buckets: buckets.collect() }
}

#[cfg(test)]
mod tests {
    use narthex_promql::SampleBuffer;

    use super::*;
    use crate::explain::Explanation;

    #[test]
    fn a_long_answer_is_cut_into_messages_and_the_last_has_the_remarks() {
        let one = |i: usize| {
            let mut samples = SampleBuffer::new();
            (0..5_000).for_each(|t| samples.push_float(t, 1.0));
            let labels = Labels::from_pairs([("i", i.to_string())]).expect("valid");
            MatrixSeries { labels, samples }
        };
        let answered = Answered {
            value: Value::Matrix((0..3).map(one).collect()),
            remarks: Remarks::warnings(vec!["w".to_owned()]),
            age: Duration::ZERO,
            stats: query::QueryStats::default(),
            explanation: Explanation::default(),
        };
        let messages: Vec<_> = messages(answered).collect();
        assert_eq!(messages.iter().map(|m| m.series.len()).collect::<Vec<_>>(), [2, 1]);
        assert_eq!((messages[0].warnings.len(), messages[1].warnings.len()), (0, 1));
        assert!(messages[0].stats.is_none() && messages[1].stats.is_some());
    }

    #[test]
    fn an_empty_answer_is_one_message() {
        let answered = Answered {
            value: Value::Matrix(vec![]),
            remarks: Remarks::default(),
            age: Duration::ZERO,
            stats: query::QueryStats::default(),
            explanation: Explanation::default(),
        };
        assert_eq!(messages(answered).count(), 1);
    }
}
