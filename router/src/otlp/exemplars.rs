//! Exemplars: a trace and a span, and what attributes the aggregation left out.

use std::fmt::Write as _;

use narthex_model::Sample;
use narthex_proto::opentelemetry::proto::metrics::v1::{Exemplar, exemplar::Value};

use super::{attributes, timestamp};
use crate::series::Series;

/// Characters that the labels of an exemplar may have together, by OpenMetrics.
const CHARS_MAX: usize = 128;
const TRACE: &str = "trace_id";
const SPAN: &str = "span_id";

/// Adds the exemplars whose values belong to a series.
pub fn push_exemplars(sent: &[Exemplar], belongs: impl Fn(f64) -> bool, series: &mut Series<'_>) {
    for exemplar in sent {
        let value = match exemplar.value {
            Some(Value::AsDouble(value)) => value,
            Some(Value::AsInt(value)) => value as f64,
            None => continue,
        };
        if belongs(value) {
            let sample = Sample { timestamp: timestamp(exemplar.time_unix_nano), value };
            push(exemplar, sample, series);
        }
    }
}

fn push(exemplar: &Exemplar, sample: Sample, series: &mut Series<'_>) {
    let (trace, span) = (hex(&exemplar.trace_id), hex(&exemplar.span_id));
    let mut labels: Vec<(&str, &str)> = Vec::new();
    for (name, value) in [(TRACE, &trace), (SPAN, &span)] {
        if !value.is_empty() {
            labels.push((name, value));
        }
    }
    let attributes: Vec<_> = exemplar
        .filtered_attributes
        .iter()
        .map(|it| (it.key.as_str(), attributes::text(it.value.as_ref())))
        .collect();
    let all = attributes.iter().map(|(name, value)| (*name, &**value));
    let chars = |(name, value): (&str, &str)| name.chars().count() + value.chars().count();
    let ids: usize = labels.iter().copied().map(chars).sum();
    // Without the attributes there is still the trace, which says all of them.
    if ids + all.clone().map(chars).sum::<usize>() <= CHARS_MAX {
        labels.extend(all);
    }
    series.push_exemplar(&labels, sample);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("text grows");
        text
    })
}

#[cfg(test)]
mod tests {
    use narthex_proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value};

    use super::*;

    #[test]
    fn an_exemplar_has_its_trace_and_short_attributes() {
        let attribute = |value: String| KeyValue {
            key: "user".to_owned(),
            value: Some(AnyValue { value: Some(any_value::Value::StringValue(value)) }),
        };
        let exemplar = |value: f64, user: usize| Exemplar {
            filtered_attributes: vec![attribute("u".repeat(user))],
            time_unix_nano: 5_000_000,
            value: Some(Value::AsDouble(value)),
            span_id: vec![0x0a, 0xff].into(),
            trace_id: vec![1].into(),
        };
        let mut series = Series::default();
        let sent = [exemplar(1.0, 3), exemplar(2.0, 200), exemplar(9.0, 1), Exemplar::default()];
        push_exemplars(&sent, |value| value < 5.0, &mut series);
        let shown: Vec<_> = series.exemplars.iter().map(|it| it.labels.to_string()).collect();
        let long = r#"{span_id="0aff", trace_id="01"}"#;
        assert_eq!(shown, [r#"{span_id="0aff", trace_id="01", user="uuu"}"#, long]);
        assert_eq!(series.exemplars[1].timestamp.millis(), 5);
    }
}
