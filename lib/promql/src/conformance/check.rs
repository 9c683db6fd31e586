//! Answers against what scripts expect.

use std::sync::Arc;

use narthex_model::{FloatHistogram, Labels, histogram::Bucket};

use super::{
    engine::Outcome,
    script::{Eval, Expected, Notes},
    series::Item,
};
use crate::{
    MatrixSeries, Steps, Value,
    value::{Sample, VectorElement},
};

/// How far two numbers may be apart, relative to their size.
const EPSILON: f64 = 1e-6;

/// Whether an outcome is what was expected; the error says where it is not.
pub(super) fn check(eval: &Eval, outcome: &Result<Outcome, String>) -> Result<(), String> {
    let expected = &eval.expected;
    let outcome = match (outcome, &expected.fail) {
        (Err(error), Some(texts)) => {
            return match texts.iter().all(|text| text.is_met(error)) {
                true => Ok(()),
                false => Err(format!("failed with another error: {error}")),
            };
        }
        (Err(error), None) => return Err(format!("failed: {error}")),
        (Ok(_), Some(_)) => return Err("did not fail".to_owned()),
        (Ok(outcome), None) => outcome,
    };
    check_notes("warning", &expected.warnings, &outcome.warnings)?;
    check_notes("info", &expected.infos, &outcome.infos)?;
    match &outcome.value {
        Value::Scalar(point) => {
            let wanted = expected.scalar.ok_or("got a scalar")?;
            same_float(wanted, point.value)
        }
        Value::String(point) => match expected.string.as_ref() {
            Some(wanted) if *wanted == point.value => Ok(()),
            _ => Err(format!("got the string {:?}", point.value)),
        },
        Value::Vector(elements) => check_vector(expected, elements),
        Value::Matrix(series) => {
            let steps = expected.range_vector.unwrap_or(eval.steps);
            if expected.range_vector.is_none() && !eval.is_range {
                return Err("got a range vector".to_owned());
            }
            check_matrix(expected, series, &steps)
        }
    }
}

/// Whether the middle step of a range query answers as the instant query must.
pub(super) fn check_middle(eval: &Eval, outcome: &Result<Outcome, String>) -> Result<(), String> {
    let outcome = outcome.as_ref().map_err(|error| format!("failed as a range: {error}"))?;
    let Value::Matrix(series) = &outcome.value else {
        return Err("a range query has no matrix".to_owned());
    };
    let time = eval.steps.start;
    let mut elements = Vec::new();
    for one in series {
        let at = one.samples.timestamps().iter().position(|found| *found == time.millis());
        if let Some(at) = at {
            let sample = sample_at(one, at);
            let labels = one.labels.clone();
            elements.push(VectorElement { labels, timestamp: time, sample });
        }
    }
    if let Some(wanted) = eval.expected.scalar {
        return match elements.as_slice() {
            [VectorElement { sample: Sample::Float(value), .. }] => same_float(wanted, *value),
            _ => Err("a scalar over a range is no single series".to_owned()),
        };
    }
    check_vector(&eval.expected, &elements).map_err(|why| format!("as a range: {why}"))
}

fn check_notes(kind: &str, expected: &Notes, found: &[String]) -> Result<(), String> {
    if expected.none && !found.is_empty() {
        return Err(format!("unexpected {kind}: {}", found[0]));
    }
    if expected.some && found.is_empty() {
        return Err(format!("no {kind}"));
    }
    if expected.texts.is_empty() {
        return Ok(());
    }
    let stray = found.iter().find(|note| !expected.texts.iter().any(|text| text.is_met(note)));
    if let Some(note) = stray {
        return Err(format!("another {kind}: {note}"));
    }
    let all_met = expected.texts.iter().all(|text| found.iter().any(|note| text.is_met(note)));
    if all_met { Ok(()) } else { Err(format!("a {kind} is missing; got {found:?}")) }
}

fn check_vector(expected: &Expected, elements: &[VectorElement]) -> Result<(), String> {
    for (at, element) in elements.iter().enumerate() {
        let wanted = find(expected, &element.labels)?;
        let (place, items) = wanted;
        if expected.ordered && place != at {
            return Err(format!("{} is number {at}, not {place}", element.labels));
        }
        let item = items.first().ok_or_else(|| format!("{} has no value", element.labels))?;
        same_sample(item, &element.sample).map_err(|why| format!("{}: {why}", element.labels))?;
    }
    check_count(expected, elements.len(), |labels| {
        elements.iter().filter(|element| element.labels == *labels).count()
    })
}

fn check_matrix(expected: &Expected, series: &[MatrixSeries], steps: &Steps) -> Result<(), String> {
    let is_sorted = series.is_sorted_by(|left, right| left.labels <= right.labels);
    if !is_sorted && expected.range_vector.is_none() {
        return Err("series are not sorted by their labels".to_owned());
    }
    for one in series {
        let (_, items) = find(expected, &one.labels)?;
        let times = (0..).map(|i| steps.start.millis() + i * steps.step_millis);
        let wanted: Vec<_> =
            times.zip(items).filter(|(_, item)| !matches!(item, Item::Gap)).collect();
        let found = one.samples.timestamps();
        if wanted.iter().map(|(time, _)| *time).ne(found.iter().copied()) {
            let wanted: Vec<_> = wanted.iter().map(|(time, _)| time).collect();
            return Err(format!("{} has samples at {found:?}, not {wanted:?}", one.labels));
        }
        for (at, (time, item)) in wanted.into_iter().enumerate() {
            same_sample(item, &sample_at(one, at))
                .map_err(|why| format!("{} at {time}: {why}", one.labels))?;
        }
    }
    check_count(expected, series.len(), |labels| {
        series.iter().filter(|one| one.labels == *labels).count()
    })
}

/// Where an expected series stands, and its values.
fn find<'a>(expected: &'a Expected, labels: &Labels) -> Result<(usize, &'a [Item]), String> {
    let place = expected.series.iter().position(|(wanted, _)| wanted == labels);
    let place = place.ok_or_else(|| format!("unexpected series {labels}"))?;
    Ok((place, &expected.series[place].1))
}

/// Every expected series is there, and once. Expected series without values need not be.
fn check_count(
    expected: &Expected,
    found: usize,
    count: impl Fn(&Labels) -> usize,
) -> Result<(), String> {
    let has_values = |items: &[Item]| items.iter().any(|item| !matches!(item, Item::Gap));
    let missing =
        expected.series.iter().find(|(labels, items)| has_values(items) && count(labels) != 1);
    match missing {
        Some((labels, _)) if count(labels) == 0 => Err(format!("{labels} is missing")),
        Some((labels, _)) => Err(format!("{labels} is there more than once")),
        None if expected.scalar.is_some() => Err(format!("got {found} series, not a scalar")),
        None if expected.string.is_some() => Err(format!("got {found} series, not a string")),
        None => Ok(()),
    }
}

fn sample_at(series: &MatrixSeries, at: usize) -> Sample {
    match series.samples.histogram(at) {
        Some(histogram) => Sample::Histogram(Arc::clone(histogram)),
        None => Sample::Float(series.samples.values()[at]),
    }
}

fn same_sample(wanted: &Item, found: &Sample) -> Result<(), String> {
    match (wanted, found) {
        (Item::Float(wanted), Sample::Float(found)) => same_float(*wanted, *found),
        (Item::Histogram { histogram, has_hint }, Sample::Histogram(found)) => {
            let is_same = same_histogram(histogram, found)
                && (!has_hint || histogram.counter_reset_hint == found.counter_reset_hint);
            if is_same {
                return Ok(());
            }
            let (wanted, found) = (histogram.to_test_expression(), found.to_test_expression());
            Err(format!("got {found}, not {wanted}"))
        }
        (_, Sample::Float(found)) => Err(format!("got {found}, not a histogram")),
        (_, Sample::Histogram(found)) => {
            Err(format!("got {}, not a number", found.to_test_expression()))
        }
    }
}

fn same_histogram(wanted: &FloatHistogram, found: &FloatHistogram) -> bool {
    wanted.schema == found.schema
        && wanted.zero_threshold == found.zero_threshold
        && is_close(wanted.zero_count, found.zero_count)
        && is_close(wanted.count, found.count)
        && is_close(wanted.sum, found.sum)
        && wanted.custom_values == found.custom_values
        && same_buckets(&wanted.positive, &found.positive)
        && same_buckets(&wanted.negative, &found.negative)
}

fn same_buckets(wanted: &[Bucket], found: &[Bucket]) -> bool {
    let populated = |bucket: &&Bucket| bucket.count != 0.0;
    let mut wanted = wanted.iter().filter(populated);
    let mut found = found.iter().filter(populated);
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some(w), Some(f)) if w.index == f.index && is_close(w.count, f.count) => {}
            _ => return false,
        }
    }
}

fn same_float(wanted: f64, found: f64) -> Result<(), String> {
    if is_close(wanted, found) { Ok(()) } else { Err(format!("got {found}, not {wanted}")) }
}

/// Equal, both NaN, or within [`EPSILON`] of each other.
pub(super) fn is_close(left: f64, right: f64) -> bool {
    if left == right || (left.is_nan() && right.is_nan()) {
        return true;
    }
    let (size, distance) = (left.abs() + right.abs(), (left - right).abs());
    if left == 0.0 || right == 0.0 || size < f64::MIN_POSITIVE {
        return distance < EPSILON * f64::MIN_POSITIVE;
    }
    distance / size.min(f64::MAX) < EPSILON
}
