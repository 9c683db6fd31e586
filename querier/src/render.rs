//! Values as the JSON of the HTTP API.

use narthex_model::{FloatHistogram, Labels, Timestamp, number::format_label};
use narthex_promql::{
    MatrixSeries, SampleBuffer, Steps, Value,
    value::{Sample, VectorElement},
};

use crate::{
    explain::{self, Explanation},
    json::{Json, Sink},
    query::QueryStats,
};

/// Points of a value, roughly: decides whether writing it is worth a thread.
pub(crate) fn weight(value: &Value) -> usize {
    match value {
        Value::Scalar(_) | Value::String(_) => 1,
        Value::Vector(elements) => elements.len() * 4,
        Value::Matrix(series) => series.iter().map(|s| 4 + s.samples.sample_weight()).sum(),
    }
}

/// Cuts a vector or matrix to `limit` series, 0 for all; says whether it did.
pub(crate) fn truncate(value: &mut Value, limit: usize) -> bool {
    let limit = if limit == 0 { usize::MAX } else { limit };
    match value {
        Value::Vector(elements) if elements.len() > limit => {
            elements.truncate(limit);
            true
        }
        Value::Matrix(series) if series.len() > limit => {
            series.truncate(limit);
            true
        }
        _ => false,
    }
}

/// What stands beside a value, where it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// What the query took.
    pub stats: Option<QueryStats>,
    /// The steps, where what each took is to be told.
    pub per_step: Option<Steps>,
    /// How it was answered.
    pub explanation: Option<Explanation>,
}

/// The `data` of a query's answer.
pub(crate) fn write_data<S: Sink>(json: &mut Json<S>, value: &Value, extras: &Extras) {
    json.raw("{").name("resultType").text(value.value_type().wire_name()).name("result");
    match value {
        Value::Scalar(point) => {
            // Samples turn to exponents where numbers grow long, scalars do not.
            let text = format_label(point.value);
            json.raw("[").time(point.timestamp).raw(",").text(&text).raw("]");
        }
        Value::String(point) => {
            json.raw("[").time(point.timestamp).raw(",").text(&point.value).raw("]");
        }
        Value::Vector(elements) => {
            json.raw("[");
            for element in elements {
                write_element(json, element);
            }
            json.raw("]");
        }
        Value::Matrix(series) => {
            json.raw("[");
            for one in series {
                if !json.is_wanted() {
                    break;
                }
                write_series(json, one);
            }
            json.raw("]");
        }
    }
    if let Some(stats) = &extras.stats {
        write_stats(json, stats, extras.per_step);
    }
    if let Some(explanation) = &extras.explanation {
        json.name("explain");
        explain::write(json, explanation);
    }
    json.raw("}");
}

fn write_metric<S: Sink>(json: &mut Json<S>, labels: &Labels) {
    json.element().raw("{").name("metric").labels(labels);
}

fn write_element<S: Sink>(json: &mut Json<S>, element: &VectorElement) {
    write_metric(json, &element.labels);
    match &element.sample {
        Sample::Float(value) => {
            json.name("value").raw("[").time(element.timestamp).raw(",").value(*value);
        }
        Sample::Histogram(histogram) => {
            json.name("histogram").raw("[").time(element.timestamp).raw(",");
            write_histogram(json, histogram);
        }
    }
    json.raw("]}");
}

fn write_series<S: Sink>(json: &mut Json<S>, series: &MatrixSeries) {
    write_metric(json, &series.labels);
    let samples = &series.samples;
    let is_float = |at: usize| samples.histogram(at).is_none();
    if !samples.has_histograms() || (0..samples.len()).any(is_float) {
        json.name("values").raw("[");
        write_floats(json, samples);
        json.raw("]");
    }
    if samples.has_histograms() {
        json.name("histograms").raw("[");
        for (at, millis) in samples.timestamps().iter().enumerate() {
            if let Some(histogram) = samples.histogram(at) {
                json.element().raw("[").time(Timestamp::from_millis(*millis)).raw(",");
                write_histogram(json, histogram);
                json.raw("]");
            }
        }
        json.raw("]");
    }
    json.raw("}");
}

fn write_floats<S: Sink>(json: &mut Json<S>, samples: &SampleBuffer) {
    let points = samples.timestamps().iter().zip(samples.values()).enumerate();
    for (at, (millis, value)) in points {
        if samples.histogram(at).is_none() {
            json.point(Timestamp::from_millis(*millis), *value);
        }
    }
}

fn write_histogram<S: Sink>(json: &mut Json<S>, histogram: &FloatHistogram) {
    json.raw("{").name("count").value(histogram.count).name("sum").value(histogram.sum);
    let mut buckets = histogram.buckets().peekable();
    if buckets.peek().is_some() {
        json.name("buckets").raw("[");
        for bucket in buckets {
            json.element().raw("[").integer(bucket.boundary_rule());
            for number in [bucket.lower, bucket.upper, bucket.count] {
                json.raw(",").value(number);
            }
            json.raw("]");
        }
        json.raw("]");
    }
    json.raw("}");
}

fn write_stats<S: Sink>(json: &mut Json<S>, stats: &QueryStats, per_step: Option<Steps>) {
    let evaluated = stats.evaluated.as_secs_f64();
    let total = evaluated + stats.queued.as_secs_f64() + stats.prepared.as_secs_f64();
    json.name("stats").raw("{").name("timings").raw("{");
    json.name("evalTotalTime").float(evaluated);
    json.name("resultSortTime").float(0.0);
    json.name("queryPreparationTime").float(stats.prepared.as_secs_f64());
    json.name("innerEvalTime").float(evaluated);
    json.name("execQueueTime").float(stats.queued.as_secs_f64());
    json.name("execTotalTime").float(total).raw("}");
    json.name("samples").raw("{");
    if let Some(steps) = per_step {
        json.name("totalQueryableSamplesPerStep").raw("[");
        let times = (steps.start.millis()..).step_by(step_millis(&steps));
        for (time, count) in times.zip(&stats.queryable) {
            json.element().raw("[").time(Timestamp::from_millis(time)).raw(",");
            json.integer(*count).raw("]");
        }
        json.raw("]");
    }
    json.name("totalQueryableSamples").integer(stats.queryable.iter().sum::<u64>());
    json.name("samplesRead").integer(stats.samples_read);
    json.name("peakSamples").integer(stats.samples_peak).raw("}}");
}

/// An instant query has one step, whatever comes behind it.
fn step_millis(steps: &Steps) -> usize {
    usize::try_from(steps.step_millis).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use narthex_promql::value::{ScalarPoint, StringPoint};
    use serde_json::json;

    use super::*;

    fn written(value: &Value) -> serde_json::Value {
        let mut json = Json::new(Vec::<Bytes>::new());
        write_data(&mut json, value, &Extras::default());
        serde_json::from_slice(&json.finish().concat()).expect("JSON")
    }

    fn labels() -> Labels {
        Labels::from_pairs([("__name__", "up"), ("job", "a")]).expect("valid")
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn scalars_and_strings_are_pairs() {
        let scalar = Value::Scalar(ScalarPoint { timestamp: at(1_500), value: 2.0 });
        assert_eq!(written(&scalar), json!({"resultType": "scalar", "result": [1.5, "2"]}));
        let tiny = Value::Scalar(ScalarPoint { timestamp: at(0), value: -2.5e-7 });
        assert_eq!(written(&tiny)["result"], json!([0, "-0.00000025"]));
        let string = Value::String(StringPoint { timestamp: at(1_000), value: "x\"y".to_owned() });
        assert_eq!(written(&string), json!({"resultType": "string", "result": [1, "x\"y"]}));
    }

    #[test]
    fn vectors_and_matrices_have_metrics() {
        let sample = Sample::Float(f64::NAN);
        let element = VectorElement { labels: labels(), timestamp: at(1_000), sample };
        assert_eq!(
            written(&Value::Vector(vec![element])),
            json!({"resultType": "vector",
                "result": [{"metric": {"__name__": "up", "job": "a"}, "value": [1, "NaN"]}]})
        );
        let mut samples = SampleBuffer::new();
        samples.push_float(1_000, 0.5);
        samples.push_float(2_000, 1e21);
        let series = MatrixSeries { labels: labels(), samples };
        assert_eq!(
            written(&Value::Matrix(vec![series])),
            json!({"resultType": "matrix", "result": [{
                "metric": {"__name__": "up", "job": "a"},
                "values": [[1, "0.5"], [2, "1e+21"]]}]})
        );
    }

    #[test]
    fn histograms_have_their_buckets() {
        let text = "{{schema:0 count:3 sum:4 buckets:[1 2]}}";
        let histogram = FloatHistogram::parse_test_expression(text).expect("valid");
        let mut samples = SampleBuffer::new();
        samples.push_float(1_000, 7.0);
        samples.push_histogram(2_000, Arc::new(histogram));
        let series = MatrixSeries { labels: Labels::empty(), samples };
        let expected = json!({"metric": {}, "values": [[1, "7"]], "histograms": [[2, {
            "count": "3", "sum": "4",
            "buckets": [[0, "0.5", "1", "1"], [0, "1", "2", "2"]]}]]});
        assert_eq!(written(&Value::Matrix(vec![series]))["result"][0], expected);
    }

    #[test]
    fn a_limit_cuts_series() {
        let element = VectorElement { labels: labels(), timestamp: at(0), sample: 1.0.into() };
        let mut value = Value::Vector(vec![element.clone(), element]);
        assert!(!truncate(&mut value, 0) && !truncate(&mut value, 2) && truncate(&mut value, 1));
        assert!(matches!(value, Value::Vector(elements) if elements.len() == 1));
    }
}
