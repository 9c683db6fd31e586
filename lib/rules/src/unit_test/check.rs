//! What is there against what should be, and the difference as it is printed.

use std::collections::BTreeMap;

use narthex_model::{Labels, duration, is_legacy_label_name, quote};
use narthex_promql::{
    Sample, VectorElement,
    conformance::{read_histogram, read_labels},
};

use super::file::{AlertCase, ExpectedSample, ExprCase};
use crate::{ALERT_NAME, Alert, AlertState};

/// Labels and annotations.
type Shown = (Labels, BTreeMap<String, String>);

/// Whether exactly the expected alerts fire.
pub(super) fn check_alerts<'a>(
    case: &AlertCase,
    alerts: impl Iterator<Item = &'a Alert>,
) -> Result<(), String> {
    let firing = alerts.filter(|alert| alert.state == AlertState::Firing);
    let mut found: Vec<Shown> =
        firing.map(|alert| (alert.labels.clone(), alert.annotations.clone())).collect();
    let mut wanted = Vec::with_capacity(case.expected.len());
    for alert in &case.expected {
        let labels = Labels::from_pairs(&alert.labels).map_err(|error| error.to_string())?;
        let mut labels = labels.to_builder();
        labels.set(ALERT_NAME, case.alert_name.as_str());
        wanted.push((labels.build(), alert.annotations.clone()));
    }
    found.sort();
    wanted.sort();
    if found == wanted {
        return Ok(());
    }
    let (name, time) = (&case.alert_name, duration::format(case.eval_time));
    let [wanted, found] = [wanted, found].map(|alerts| indented(&listed(&alerts), 12));
    Err(format!(
        "    alertname: {name}, time: {time}, \n        exp:{wanted}, \n        got:{found}"
    ))
}

fn listed(alerts: &[Shown]) -> String {
    if alerts.is_empty() {
        return "[]".to_owned();
    }
    let show = |(number, (labels, annotations)): (usize, &Shown)| {
        let annotations = listed_annotations(annotations);
        format!("{number}:\n  Labels:{labels}\n  Annotations:{annotations}")
    };
    let shown: Vec<_> = alerts.iter().enumerate().map(show).collect();
    format!("[\n{}\n]", shown.join(",\n"))
}

/// As labels are printed.
fn listed_annotations(annotations: &BTreeMap<String, String>) -> String {
    let print = |(name, value): (&String, &String)| match is_legacy_label_name(name) {
        true => format!("{name}={}", quote(value)),
        false => format!("{}={}", quote(name), quote(value)),
    };
    format!("{{{}}}", annotations.iter().map(print).collect::<Vec<_>>().join(", "))
}

/// All lines but the first behind so many blanks.
fn indented(text: &str, blanks: usize) -> String {
    text.replace('\n', &format!("\n{}", " ".repeat(blanks)))
}

/// Whether an answer has exactly the expected samples.
pub(super) fn check_samples(
    case: &ExprCase,
    answer: Vec<VectorElement>,
    is_fuzzy: bool,
) -> Result<(), String> {
    let mut wanted = Vec::with_capacity(case.expected.len());
    for expected in &case.expected {
        wanted.push(read_expected(expected).map_err(|error| format!(" err: {error}"))?);
    }
    let mut found: Vec<(Labels, Sample)> =
        answer.into_iter().map(|element| (element.labels, element.sample)).collect();
    wanted.sort_by(|left, right| left.0.cmp(&right.0));
    found.sort_by(|left, right| left.0.cmp(&right.0));
    let is_same = wanted.len() == found.len()
        && wanted.iter().zip(&found).all(|(wanted, found)| {
            wanted.0 == found.0 && same_sample(&wanted.1, &found.1, is_fuzzy)
        });
    if is_same {
        return Ok(());
    }
    let [wanted, found] = [wanted, found].map(|samples| printed(&samples));
    Err(format!("\n        exp: {wanted}\n        got: {found}"))
}

fn read_expected(expected: &ExpectedSample) -> Result<(Labels, Sample), String> {
    let text = &expected.labels;
    let labels = read_labels(text).map_err(|error| format!("labels {text:?}: {error}"))?;
    let sample = match expected.histogram.as_str() {
        "" => Sample::Float(expected.value),
        text => {
            let histogram = read_histogram(text);
            Sample::Histogram(histogram.map_err(|error| format!("histogram {text:?}: {error}"))?)
        }
    };
    Ok((labels, sample))
}

fn same_sample(wanted: &Sample, found: &Sample, is_fuzzy: bool) -> bool {
    match (wanted, found) {
        (Sample::Float(wanted), Sample::Float(found)) => same_float(*wanted, *found, is_fuzzy),
        (Sample::Histogram(wanted), Sample::Histogram(found)) => {
            wanted.to_test_expression() == found.to_test_expression()
        }
        _ => false,
    }
}

fn same_float(wanted: f64, found: f64, is_fuzzy: bool) -> bool {
    let is_next = wanted.next_up() == found || wanted.next_down() == found;
    wanted == found || (wanted.is_nan() && found.is_nan()) || (is_fuzzy && is_next)
}

fn printed(samples: &[(Labels, Sample)]) -> String {
    let print = |(labels, sample): &(Labels, Sample)| match sample {
        Sample::Float(value) => format!("{labels} {}", scientific(*value)),
        Sample::Histogram(histogram) => format!("{labels} {}", histogram.to_test_expression()),
    };
    match samples {
        [] => "nil".to_owned(),
        samples => samples.iter().map(print).collect::<Vec<_>>().join(", "),
    }
}

/// As Go's `'E'` with as many digits as needed: `5E+01`.
fn scientific(value: f64) -> String {
    if !value.is_finite() {
        return narthex_model::number::format_json(value);
    }
    let text = format!("{value:E}");
    let (mantissa, exponent) = text.split_once('E').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}E{sign}{digits:0>2}")
}
