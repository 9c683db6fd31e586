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

/// Exemplars of a point, each to be added to one series. Those without a value are refused with
/// the last series.
pub struct Exemplars<'a> {
    /// In order of their values, NaN last.
    sorted: Vec<(f64, &'a Exemplar)>,
    /// How many were added.
    added: usize,
    without_value: usize,
}

impl<'a> Exemplars<'a> {
    pub fn of(sent: &'a [Exemplar]) -> Self {
        let value = |exemplar: &Exemplar| match exemplar.value? {
            Value::AsDouble(value) => Some(value),
            Value::AsInt(value) => Some(value as f64),
        };
        let mut sorted: Vec<_> = sent.iter().filter_map(|it| Some((value(it)?, it))).collect();
        sorted.sort_by(|(a, _), (b, _)| {
            a.partial_cmp(b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
        });
        let without_value = sent.len() - sorted.len();
        Self { sorted, added: 0, without_value }
    }

    /// Adds those up to `bound` to a series, but for those that another one has.
    pub fn push_upto(&mut self, bound: f64, series: &mut Series<'_>) {
        let left = self.sorted.get(self.added..).unwrap_or_default();
        let together = left.partition_point(|(value, _)| *value <= bound);
        self.push(together, series);
    }

    /// Adds all that no other series has.
    pub fn push_rest(&mut self, series: &mut Series<'_>) {
        series.exemplars_refused += std::mem::take(&mut self.without_value);
        self.push(self.sorted.len() - self.added, series);
    }

    fn push(&mut self, count: usize, series: &mut Series<'_>) {
        for (value, exemplar) in self.sorted.iter().skip(self.added).take(count) {
            let timestamp = timestamp(exemplar.time_unix_nano);
            push(exemplar, Sample { timestamp, value: *value }, series);
        }
        self.added += count;
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
        let sent = [exemplar(9.0, 1), exemplar(2.0, 200), exemplar(1.0, 3)];
        Exemplars::of(&sent).push_upto(5.0, &mut series);
        let shown: Vec<_> = series.exemplars.iter().map(|it| it.labels.to_string()).collect();
        let long = r#"{span_id="0aff", trace_id="01"}"#;
        assert_eq!(shown, [r#"{span_id="0aff", trace_id="01", user="uuu"}"#, long]);
        assert_eq!(series.exemplars[1].timestamp.millis(), 5);
    }

    #[test]
    fn each_exemplar_goes_to_one_series_and_none_is_lost() {
        let exemplar = |value| Exemplar { value, ..Exemplar::default() };
        let values = [3.0, f64::NAN, -1.0, 3.5, f64::INFINITY, -f64::NAN];
        let mut sent: Vec<_> = values.map(|it| exemplar(Some(Value::AsDouble(it)))).into();
        sent.extend([exemplar(Some(Value::AsInt(2))), exemplar(None)]);
        let mut exemplars = Exemplars::of(&sent);
        // Bounds that fall are a sender's mistake, which costs nobody an exemplar.
        let counts = [0.0, 3.0, 1.0].map(|bound| {
            let mut series = Series::default();
            exemplars.push_upto(bound, &mut series);
            series.exemplars.len()
        });
        assert_eq!(counts, [1, 2, 0]);
        let mut rest = Series::default();
        exemplars.push_rest(&mut rest);
        assert_eq!((rest.exemplars.len(), rest.exemplars_refused), (4, 1));
    }
}
