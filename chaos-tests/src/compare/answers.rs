//! What is compared of two answers: everything but the order that the language leaves open.
//!
//! Numbers are the same if their texts are, or if they differ by no more than `TOLERANCE`. Both
//! add up in whatever order series come, with a correction that leaves errors of the last bit; what
//! is computed from such sums may be off by some of them, and by more, relative to itself, where
//! large numbers cancel out. Deviations of times, which are large and near each other, lose half of
//! their digits (`OF_DEVIATIONS`). A wrong sample, window or formula is off by much more.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// How far apart two numbers may be, relative to the larger one or to 1.
const TOLERANCE: f64 = 1e-10;
/// The same where deviations are computed.
const OF_DEVIATIONS: f64 = 1e-6;

/// An answer, ready to be compared.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// An error.
    Refused {
        /// What the API calls its type.
        kind: String,
        /// What it says.
        text: String,
    },
    /// A result.
    Given(Given),
}

/// A result with what comes with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// `vector`, `matrix`, `scalar` or `string`.
    pub kind: String,
    /// Its series in their order, with their samples.
    pub rows: Vec<(String, Points)>,
    /// What the warnings say.
    pub warnings: BTreeSet<String>,
    /// What the infos say.
    pub infos: BTreeSet<String>,
}

/// Samples of a series by their times in milliseconds.
pub type Points = BTreeMap<i64, Point>;

/// A sample.
#[derive(Debug, Clone, PartialEq)]
pub enum Point {
    /// A number, as it is written.
    Number(String),
    /// A text.
    Text(String),
    /// A native histogram: its numbers in their order, as they are written.
    Histogram(Vec<String>),
}

/// How the answers to an expression are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    order: Order,
    tolerance: f64,
}

impl Terms {
    /// Those for an expression.
    pub fn of(expression: &str) -> Self {
        let is_deviation = expression.contains("stddev") || expression.contains("stdvar");
        let tolerance = if is_deviation { OF_DEVIATIONS } else { TOLERANCE };
        Self { order: Order::of(expression), tolerance }
    }
}

/// What the order of an instant vector says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Nothing.
    Open,
    /// Values go up or down; equal ones are in any order.
    ByValue,
    /// Series are where they belong.
    ByLabels,
}

impl Order {
    /// That of the result of an expression.
    fn of(expression: &str) -> Self {
        let is_call_of = |names: &[&str]| {
            names
                .iter()
                .any(|name| expression.strip_prefix(name).is_some_and(|it| it.starts_with('(')))
        };
        if is_call_of(&["sort_by_label", "sort_by_label_desc"]) {
            Self::ByLabels
        } else if is_call_of(&["sort", "sort_desc"]) {
            Self::ByValue
        } else {
            Self::Open
        }
    }
}

impl Answer {
    /// Reads the body of an answer.
    pub fn of(body: &Value) -> Result<Self, String> {
        if body["status"] == "error" {
            let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
            return Ok(Self::Refused { kind: text("errorType"), text: text("error") });
        }
        let kind = body["data"]["resultType"].as_str().ok_or_else(|| format!("no type: {body}"))?;
        let result = &body["data"]["result"];
        let rows = match kind {
            "scalar" => vec![(String::new(), BTreeMap::from([point(result, Point::Number)?]))],
            "string" => vec![(String::new(), BTreeMap::from([point(result, Point::Text)?]))],
            _ => rows(result)?,
        };
        let (warnings, infos) = (texts(&body["warnings"]), texts(&body["infos"]));
        Ok(Self::Given(Given { kind: kind.to_owned(), rows, warnings, infos }))
    }

    /// What differs from another answer, if anything does.
    pub fn difference(&self, other: &Self, terms: Terms) -> Option<String> {
        match (self, other) {
            (Self::Refused { kind, .. }, Self::Refused { kind: other, .. }) => {
                (kind != other).then(|| format!("the error is {kind}, not {other}"))
            }
            (Self::Refused { kind, .. }, Self::Given(_)) => Some(format!("it is refused ({kind})")),
            (Self::Given(_), Self::Refused { kind, .. }) => {
                Some(format!("it is not refused ({kind})"))
            }
            (Self::Given(one), Self::Given(other)) => one.difference(other, terms),
        }
    }
}

impl Given {
    fn difference(&self, other: &Self, terms: Terms) -> Option<String> {
        if self.kind != other.kind {
            return Some(format!("it is a {}, not a {}", self.kind, other.kind));
        }
        self.rows_difference(other, terms).or_else(|| self.order_difference(other, terms)).or_else(
            || {
                let warnings = notes_difference("warning", &self.warnings, &other.warnings);
                warnings.or_else(|| notes_difference("info", &self.infos, &other.infos))
            },
        )
    }

    fn rows_difference(&self, other: &Self, terms: Terms) -> Option<String> {
        let by_labels =
            |rows: &[(String, Points)]| -> BTreeMap<_, _> { rows.iter().cloned().collect() };
        let (ours, theirs) = (by_labels(&self.rows), by_labels(&other.rows));
        if ours.len() != self.rows.len() {
            return Some("a series is there twice".to_owned());
        }
        if let Some(labels) = ours.keys().find(|labels| !theirs.contains_key(*labels)) {
            return Some(format!("{labels} is not in the other"));
        }
        if let Some(labels) = theirs.keys().find(|labels| !ours.contains_key(*labels)) {
            return Some(format!("{labels} is missing"));
        }
        ours.iter().find_map(|(labels, points)| {
            let difference = points_difference(points, &theirs[labels], terms)?;
            Some(format!("{labels}: {difference}"))
        })
    }

    fn order_difference(&self, other: &Self, terms: Terms) -> Option<String> {
        if self.kind != "vector" || terms.order == Order::Open {
            return None;
        }
        let is_same = self.rows.iter().zip(&other.rows).all(|(one, other)| match terms.order {
            Order::ByLabels => one.0 == other.0,
            Order::ByValue | Order::Open => points_difference(&one.1, &other.1, terms).is_none(),
        });
        (!is_same).then(|| "the order is another".to_owned())
    }
}

fn points_difference(ours: &Points, theirs: &Points, terms: Terms) -> Option<String> {
    if let Some(time) = ours.keys().find(|time| !theirs.contains_key(*time)) {
        return Some(format!("a sample at {time} is not in the other"));
    }
    if let Some(time) = theirs.keys().find(|time| !ours.contains_key(*time)) {
        return Some(format!("a sample at {time} is missing"));
    }
    let mut pairs = ours.iter().map(|(time, point)| (time, point, &theirs[time]));
    let (time, ours, theirs) =
        pairs.find(|(_, ours, theirs)| !is_same_point(ours, theirs, terms))?;
    Some(format!("at {time} {ours:?}, not {theirs:?}"))
}

fn is_same_point(one: &Point, other: &Point, terms: Terms) -> bool {
    match (one, other) {
        (Point::Number(one), Point::Number(other)) => is_same_number(one, other, terms),
        (Point::Histogram(one), Point::Histogram(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(a, b)| is_same_number(a, b, terms))
        }
        _ => one == other,
    }
}

fn is_same_number(one: &str, other: &str, terms: Terms) -> bool {
    let number = |text: &str| text.replace("Inf", "inf").parse::<f64>().ok();
    let is_near = |(one, other): (f64, f64)| {
        let scale = one.abs().max(other.abs()).max(1.0);
        // One number has one text.
        let is_other = one.to_bits() != other.to_bits();
        is_other && scale.is_finite() && (one - other).abs() <= terms.tolerance * scale
    };
    one == other || number(one).zip(number(other)).is_some_and(is_near)
}

/// Of more than ten, each shows ten of its choice: then there is nothing to compare.
fn notes_difference(
    noun: &str,
    ours: &BTreeSet<String>,
    theirs: &BTreeSet<String>,
) -> Option<String> {
    if theirs.iter().any(|note| note.ends_with("annotations omitted")) {
        return None;
    }
    let more =
        ours.difference(theirs).next().map(|note| format!("{noun} {note:?} is not in the other"));
    more.or_else(|| {
        theirs.difference(ours).next().map(|note| format!("{noun} {note:?} is missing"))
    })
}

fn texts(list: &Value) -> BTreeSet<String> {
    let texts = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

fn rows(result: &Value) -> Result<Vec<(String, Points)>, String> {
    let rows = result.as_array().ok_or_else(|| format!("no series: {result}"))?;
    rows.iter().map(|row| Ok((row["metric"].to_string(), points(row)?))).collect()
}

/// All samples of a series, whether there is one or many.
fn points(row: &Value) -> Result<Points, String> {
    let one_or_many = |one: &str, many: &str| -> Vec<Value> {
        match (&row[one], &row[many]) {
            (Value::Null, Value::Array(many)) => many.clone(),
            (Value::Null, _) => Vec::new(),
            (one, _) => vec![one.clone()],
        }
    };
    let mut points = Points::new();
    for value in one_or_many("value", "values") {
        let (time, number) = point(&value, Point::Number)?;
        if points.insert(time, number).is_some() {
            return Err(format!("two samples at {time}: {row}"));
        }
    }
    for value in one_or_many("histogram", "histograms") {
        let found = Point::Histogram(histogram(&value[1])?);
        if points.insert(millis(&value[0])?, found).is_some() {
            return Err(format!("two samples at {}: {row}", value[0]));
        }
    }
    Ok(points)
}

fn point(value: &Value, make: fn(String) -> Point) -> Result<(i64, Point), String> {
    let text = value[1].as_str().ok_or_else(|| format!("no sample: {value}"))?;
    Ok((millis(&value[0])?, make(text.to_owned())))
}

fn histogram(value: &Value) -> Result<Vec<String>, String> {
    let text = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(format!("no number: {other}")),
    };
    let mut numbers = vec![text(&value["count"])?, text(&value["sum"])?];
    for bucket in value["buckets"].as_array().into_iter().flatten() {
        for number in bucket.as_array().into_iter().flatten() {
            numbers.push(text(number)?);
        }
    }
    Ok(numbers)
}

#[expect(clippy::cast_possible_truncation, reason = "times of tests are near the present")]
fn millis(value: &Value) -> Result<i64, String> {
    let seconds = value.as_f64().ok_or_else(|| format!("no time: {value}"))?;
    Ok((seconds * 1000.0).round() as i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vector(rows: &[(&str, &str)]) -> Answer {
        let rows: Vec<_> = rows
            .iter()
            .map(|(job, value)| json!({"metric": {"job": job}, "value": [1.5, value]}))
            .collect();
        let data = json!({"resultType": "vector", "result": rows});
        Answer::of(&json!({"status": "success", "data": data})).expect("an answer")
    }

    #[test]
    fn order_counts_only_where_it_is_asked_for() {
        let one = vector(&[("a", "1"), ("b", "NaN"), ("c", "NaN")]);
        let other = vector(&[("a", "1"), ("c", "NaN"), ("b", "NaN")]);
        assert_eq!(one.difference(&other, Terms::of("sum(up)")), None);
        assert_eq!(one.difference(&other, Terms::of("sort(up)")), None);
        let by_label = Terms::of("sort_by_label(up, \"job\")");
        assert_eq!(one.difference(&other, by_label), Some("the order is another".to_owned()));
        let turned = vector(&[("b", "NaN"), ("a", "1"), ("c", "NaN")]);
        assert!(one.difference(&turned, Terms::of("sort_desc(up)")).is_some());
    }

    #[test]
    fn values_and_labels_count() {
        let one = vector(&[("a", "1")]);
        assert_eq!(one.difference(&vector(&[("a", "1.00000000000001")]), Terms::of("up")), None);
        let others = [("a", "1.000001"), ("a", "NaN"), ("b", "1"), ("a", "+Inf"), ("a", "1e0")];
        for other in others.map(|other| [other]) {
            assert!(one.difference(&vector(&other), Terms::of("up")).is_some(), "{other:?}");
        }
        let infinite = vector(&[("a", "+Inf")]);
        assert!(infinite.difference(&vector(&[("a", "-Inf")]), Terms::of("up")).is_some());
        assert!(infinite.difference(&vector(&[("a", "1e300")]), Terms::of("up")).is_some());
    }

    #[test]
    fn histograms_errors_and_notes_count() {
        let with = |buckets: Value, infos: Value| {
            let histogram = json!({"count": "3", "sum": "1", "buckets": buckets});
            let row = json!({"metric": {}, "histograms": [[1, histogram]]});
            let data = json!({"resultType": "matrix", "result": [row]});
            let body = json!({"status": "success", "data": data, "infos": infos});
            Answer::of(&body).expect("an answer")
        };
        let one = with(json!([[0, "1", "2", "3"]]), json!([]));
        assert_eq!(one.difference(&one.clone(), Terms::of("up")), None);
        for buckets in [json!([[1, "1", "2", "3"]]), json!([[0, "1", "2", "4"]]), json!([])] {
            assert!(one.difference(&with(buckets, json!([])), Terms::of("up")).is_some());
        }
        let noted = with(json!([[0, "1", "2", "3"]]), json!(["PromQL info: so"]));
        assert!(one.difference(&noted, Terms::of("up")).is_some());
        let error = json!({"status": "error", "errorType": "execution", "error": "no"});
        let error = Answer::of(&error).expect("an answer");
        assert_eq!(error.difference(&error.clone(), Terms::of("up")), None);
        assert!(one.difference(&error, Terms::of("up")).is_some());
    }
}
