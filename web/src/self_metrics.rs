//! `/api/v1/status/self_metrics`: what `/metrics` says, as JSON: the messages of
//! `io.prometheus.client` as protobuf writes them in JSON.
//!
//! It is made from the text of the page, whose families are whole and in order.

use regex_automata::meta::Regex;
use serde::Serialize;

/// A family of the page.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Family {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    help: String,
    #[serde(rename = "type")]
    kind: String,
    metric: Vec<Metric>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metric {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    label: Vec<Label>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gauge: Option<Single>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counter: Option<Single>,
    #[serde(skip_serializing_if = "Option::is_none")]
    untyped: Option<Single>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<Distribution>,
    #[serde(skip_serializing_if = "Option::is_none")]
    histogram: Option<Distribution>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Label {
    name: String,
    value: String,
}

#[derive(Debug, PartialEq, Serialize)]
struct Single {
    value: Number,
}

#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Distribution {
    /// Counts are texts, as all of protobuf's long integers are.
    sample_count: String,
    sample_sum: Number,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bucket: Vec<Bucket>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    quantile: Vec<Quantile>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Bucket {
    cumulative_count: String,
    upper_bound: Number,
}

#[derive(Debug, PartialEq, Serialize)]
struct Quantile {
    quantile: Number,
    value: Number,
}

/// A number, or the name of what JSON has no number for.
#[derive(Debug, Default, PartialEq)]
struct Number(f64);

impl Serialize for Number {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            value if value.is_finite() => serializer.serialize_f64(value),
            value if value.is_nan() => serializer.serialize_str("NaN"),
            value if value > 0.0 => serializer.serialize_str("Infinity"),
            _ => serializer.serialize_str("-Infinity"),
        }
    }
}

/// The families of a page in text format 0.0.4 whose names match `pattern` whole; all without one.
pub fn families(page: &str, pattern: Option<&Regex>) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    let mut help = "";
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map_or("", |(_, words)| words);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            families.push(Family {
                name: name.to_owned(),
                help: std::mem::take(&mut help).to_owned(),
                kind: kind.to_uppercase(),
                metric: Vec::new(),
            });
        } else if let (Some(family), Some(sample)) = (families.last_mut(), Sample::read(line)) {
            family.add(sample);
        }
    }
    families.retain(|family| pattern.is_none_or(|pattern| pattern.is_match(&family.name)));
    families
}

/// A line of the page.
struct Sample<'a> {
    name: &'a str,
    labels: Vec<Label>,
    value: f64,
}

impl<'a> Sample<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let value = match value {
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            number => number.parse().ok()?,
        };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        Some(Self { name, labels: labels_of(labels.trim_end_matches('}')), value })
    }

    /// Takes the label that tells buckets or quantiles apart out of the others.
    fn take(&mut self, name: &str) -> Option<f64> {
        let at = self.labels.iter().position(|label| label.name == name)?;
        let text = self.labels.remove(at).value;
        if text == "+Inf" { Some(f64::INFINITY) } else { text.parse().ok() }
    }
}

/// Labels of the form `a="b",c="d"`.
fn labels_of(mut text: &str) -> Vec<Label> {
    let mut labels = Vec::new();
    while let Some((name, rest)) = text.split_once("=\"") {
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let mut end = rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => value.extend(chars.next().map(|(_, c)| if c == 'n' { '\n' } else { c })),
                c => value.push(c),
            }
        }
        labels.push(Label { name: name.trim_start_matches(',').to_owned(), value });
        text = &rest[end..];
    }
    labels
}

impl Family {
    fn add(&mut self, mut sample: Sample<'_>) {
        let single = |value| Some(Single { value: Number(value) });
        let value = sample.value;
        match self.kind.as_str() {
            "HISTOGRAM" | "SUMMARY" => return self.add_part(sample),
            "GAUGE" => self.metric.push(Metric { gauge: single(value), ..Metric::default() }),
            "COUNTER" => self.metric.push(Metric { counter: single(value), ..Metric::default() }),
            _ => self.metric.push(Metric { untyped: single(value), ..Metric::default() }),
        }
        if let Some(metric) = self.metric.last_mut() {
            metric.label = std::mem::take(&mut sample.labels);
        }
    }

    /// A bucket, a quantile, the sum or the count.
    fn add_part(&mut self, mut sample: Sample<'_>) {
        let (le, quantile) = (sample.take("le"), sample.take("quantile"));
        let known = self.metric.iter().position(|metric| metric.label == sample.labels);
        let at = known.unwrap_or_else(|| {
            let label = std::mem::take(&mut sample.labels);
            self.metric.push(Metric { label, ..Metric::default() });
            self.metric.len() - 1
        });
        let metric = &mut self.metric[at];
        let of_kind = match self.kind.as_str() {
            "SUMMARY" => &mut metric.summary,
            _ => &mut metric.histogram,
        };
        let told = of_kind.get_or_insert_default();
        let count = sample.value.to_string();
        match (le, quantile) {
            (Some(bound), _) => {
                told.bucket.push(Bucket { cumulative_count: count, upper_bound: Number(bound) })
            }
            (_, Some(quantile)) => told
                .quantile
                .push(Quantile { quantile: Number(quantile), value: Number(sample.value) }),
            _ if sample.name.ends_with("_sum") => told.sample_sum = Number(sample.value),
            _ => told.sample_count = count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP a_total Some words\n# TYPE a_total counter\n\
                        a_total{x=\"1\",y=\"q\\\"\"} 3\na_total{x=\"2\"} 4.5\n\
                        # TYPE h histogram\nh_sum{x=\"1\"} 2.5\nh_count{x=\"1\"} 3\n\
                        h_bucket{le=\"0.1\",x=\"1\"} 1\nh_bucket{le=\"+Inf\",x=\"1\"} 3\n\
                        # TYPE s summary\ns{quantile=\"0.5\"} NaN\ns_sum 7\ns_count 2\n";

    #[test]
    fn a_page_becomes_messages() {
        let told = serde_json::to_value(families(PAGE, None)).expect("JSON");
        let label = |name: &str, value: &str| serde_json::json!({"name": name, "value": value});
        let expected = serde_json::json!([
            {"name": "a_total", "help": "Some words", "type": "COUNTER", "metric": [
                {"label": [label("x", "1"), label("y", "q\"")], "counter": {"value": 3.0}},
                {"label": [label("x", "2")], "counter": {"value": 4.5}},
            ]},
            {"name": "h", "type": "HISTOGRAM", "metric": [
                {"label": [label("x", "1")], "histogram": {
                    "sampleCount": "3", "sampleSum": 2.5, "bucket": [
                        {"cumulativeCount": "1", "upperBound": 0.1},
                        {"cumulativeCount": "3", "upperBound": "Infinity"},
                    ]}},
            ]},
            {"name": "s", "type": "SUMMARY", "metric": [
                {"summary": {"sampleCount": "2", "sampleSum": 7.0,
                    "quantile": [{"quantile": 0.5, "value": "NaN"}]}},
            ]},
        ]);
        assert_eq!(told, expected);
        let some = families(PAGE, Some(&Regex::new("^(?:h|s)$").expect("valid")));
        assert_eq!(some.len(), 2);
    }
}
