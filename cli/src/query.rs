//! `narthex query`: one expression at one time, over gRPC.

use std::io;

use narthex_model::number::format_json;
use narthex_proto::v1::{
    Histogram, InstantRequest, InstantResponse, InstantSample, Label, Point, Series,
    instant_response::Result as Answer, instant_sample, query_client::QueryClient,
};
use serde_json::{Value, json};

use crate::{
    client::{self, ClientError},
    flags::{Output, QueryArguments},
    output::{answer, say},
};

/// Asks, and prints the answer.
pub async fn run(arguments: &QueryArguments) -> Result<(), ClientError> {
    let channel = client::connect(&arguments.client.server).await?;
    let request = InstantRequest {
        query: arguments.expression.clone(),
        time_ms: arguments.time.map(milliseconds),
        ..InstantRequest::default()
    };
    let mut client = QueryClient::new(channel).max_decoding_message_size(usize::MAX);
    let response = client.instant(request).await?.into_inner();
    for warning in &response.warnings {
        say(&format!("warning: {warning}"));
    }
    match arguments.client.output {
        Output::Table => print_table(&response)?,
        Output::Json => answer(&to_json(&response).to_string())?,
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "a time beyond i64 saturates, and is refused")]
fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

/// As `promtool query` prints: `{labels} => value @[time]`.
fn print_table(response: &InstantResponse) -> io::Result<()> {
    match &response.result {
        None => Ok(()),
        Some(Answer::Scalar(point)) => answer(&format!("scalar: {}", value_at(point))),
        Some(Answer::String(text)) => answer(&text.value),
        Some(Answer::Vector(vector)) => {
            vector.samples.iter().try_for_each(|sample| answer(&sample_line(sample)))
        }
        Some(Answer::Matrix(matrix)) => matrix.series.iter().try_for_each(|series| {
            answer(&format!("{} =>", series_name(&series.labels)))?;
            points(series).iter().try_for_each(|point| answer(&value_at(point)))
        }),
    }
}

fn sample_line(sample: &InstantSample) -> String {
    let value = match &sample.value {
        Some(instant_sample::Value::Float(value)) => format_json(*value),
        Some(instant_sample::Value::Histogram(histogram)) => histogram_text(histogram),
        None => String::new(),
    };
    format!("{} => {value} @[{}]", series_name(&sample.labels), seconds(sample.timestamp_ms))
}

fn histogram_text(histogram: &Histogram) -> String {
    format!("{{count:{}, sum:{}}}", format_json(histogram.count), format_json(histogram.sum))
}

fn points(series: &Series) -> Vec<Point> {
    let columns = series.timestamps_ms.iter().zip(&series.values);
    columns.map(|(&timestamp_ms, &value)| Point { timestamp_ms, value }).collect()
}

fn value_at(point: &Point) -> String {
    format!("{} @[{}]", format_json(point.value), seconds(point.timestamp_ms))
}

/// `name{label="value"}`, as PromQL writes a series.
fn series_name(labels: &[Label]) -> String {
    let mut name = "";
    let mut rest = Vec::new();
    for label in labels {
        if label.name == "__name__" {
            name = &label.value;
        } else {
            rest.push(format!("{}={:?}", label.name, label.value));
        }
    }
    format!("{name}{{{}}}", rest.join(", "))
}

/// Seconds with their milliseconds, without zeros at the end.
fn seconds(timestamp_ms: i64) -> String {
    let text = format!("{}.{:03}", timestamp_ms.div_euclid(1000), timestamp_ms.rem_euclid(1000));
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The `data` of Prometheus's HTTP API.
fn to_json(response: &InstantResponse) -> Value {
    match &response.result {
        None => Value::Null,
        Some(Answer::Scalar(point)) => json!({"resultType": "scalar", "result": pair(point)}),
        Some(Answer::String(text)) => {
            json!({"resultType": "string", "result": [json_time(text.timestamp_ms), text.value]})
        }
        Some(Answer::Vector(vector)) => {
            let samples: Vec<_> = vector.samples.iter().map(sample_json).collect();
            json!({"resultType": "vector", "result": samples})
        }
        Some(Answer::Matrix(matrix)) => {
            let series: Vec<_> = matrix.series.iter().map(series_json).collect();
            json!({"resultType": "matrix", "result": series})
        }
    }
}

fn sample_json(sample: &InstantSample) -> Value {
    let metric = metric_json(&sample.labels);
    let time = json_time(sample.timestamp_ms);
    match &sample.value {
        Some(instant_sample::Value::Float(value)) => {
            json!({"metric": metric, "value": [time, format_json(*value)]})
        }
        Some(instant_sample::Value::Histogram(histogram)) => {
            json!({"metric": metric, "histogram": [time, histogram_json(histogram)]})
        }
        None => json!({"metric": metric}),
    }
}

fn series_json(series: &Series) -> Value {
    let mut object = json!({"metric": metric_json(&series.labels)});
    if !series.timestamps_ms.is_empty() {
        object["values"] = points(series).iter().map(pair).collect();
    }
    if !series.histograms.is_empty() {
        let histograms = series.histograms.iter().map(|point| {
            let histogram = point.histogram.as_ref().map_or(Value::Null, histogram_json);
            json!([json_time(point.timestamp_ms), histogram])
        });
        object["histograms"] = histograms.collect();
    }
    object
}

fn metric_json(labels: &[Label]) -> Value {
    labels.iter().map(|label| (label.name.clone(), Value::from(label.value.clone()))).collect()
}

fn histogram_json(histogram: &Histogram) -> Value {
    let buckets = histogram.buckets.iter().map(|bucket| {
        let [lower, upper, count] = [bucket.lower, bucket.upper, bucket.count].map(format_json);
        json!([bucket.boundary_rule, lower, upper, count])
    });
    json!({
        "count": format_json(histogram.count),
        "sum": format_json(histogram.sum),
        "buckets": buckets.collect::<Vec<_>>(),
    })
}

fn pair(point: &Point) -> Value {
    json!([json_time(point.timestamp_ms), format_json(point.value)])
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of dates fit a double exactly")]
fn json_time(timestamp_ms: i64) -> f64 {
    timestamp_ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> InstantSample {
        let label = |name: &str, value: &str| Label { name: name.into(), value: value.into() };
        InstantSample {
            labels: vec![label("__name__", "up"), label("job", "a\"b")],
            timestamp_ms: 1_500,
            value: Some(instant_sample::Value::Float(f64::INFINITY)),
        }
    }

    #[test]
    fn a_sample_prints_as_promtool_prints_it() {
        assert_eq!(sample_line(&sample()), "up{job=\"a\\\"b\"} => +Inf @[1.5]");
        assert_eq!(seconds(-1_500), "-2.5");
        assert_eq!(seconds(20_000), "20");
    }

    #[test]
    fn json_is_that_of_the_http_api() {
        let expected = json!({"metric": {"__name__": "up", "job": "a\"b"}, "value": [1.5, "+Inf"]});
        assert_eq!(sample_json(&sample()), expected);
    }
}
