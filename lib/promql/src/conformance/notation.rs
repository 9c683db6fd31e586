//! Series in the notation of scripts, for tests that are none.

use std::sync::Arc;

use narthex_model::{FloatHistogram, Labels};

use super::{
    ScriptError,
    series::{Item, parse_items, parse_labels},
};
use crate::Sample;

/// A series as it is written: a value, or a gap, for each step.
#[derive(Debug, Clone)]
pub struct NotedSeries {
    /// The labels.
    pub labels: Labels,
    /// From the first step on; gaps are `None`.
    pub values: Vec<Option<Sample>>,
}

/// Reads a series, `up{job="a"}`, and its values, `1 _ 3+1x5 stale`.
pub fn read_series(series: &str, values: &str) -> Result<NotedSeries, ScriptError> {
    let labels = read_labels(series)?;
    let values = parse_items(values)?.into_iter().map(value).collect();
    Ok(NotedSeries { labels, values })
}

/// Reads the labels of a series.
pub fn read_labels(text: &str) -> Result<Labels, ScriptError> {
    match parse_labels(text.trim())? {
        (labels, "") => Ok(labels),
        (_, rest) => Err(ScriptError::series(rest, "unexpected text behind a series")),
    }
}

/// Reads one histogram, `{{schema:0 sum:1 count:2}}`.
pub fn read_histogram(text: &str) -> Result<Arc<FloatHistogram>, ScriptError> {
    match parse_items(text)?.as_slice() {
        [Item::Histogram { histogram, .. }] => Ok(Arc::clone(histogram)),
        _ => Err(ScriptError::series(text, "one histogram is expected")),
    }
}

fn value(item: Item) -> Option<Sample> {
    match item {
        Item::Gap => None,
        Item::Float(value) => Some(Sample::Float(value)),
        Item::Histogram { histogram, .. } => Some(Sample::Histogram(histogram)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_read_with_its_values() {
        let series = read_series(" up{job=\"a\"} ", "1 _ 2+1x1").expect("valid");
        assert_eq!(series.labels.to_string(), r#"{__name__="up", job="a"}"#);
        let floats = [Some(1.0), None, Some(2.0), Some(3.0)];
        assert_eq!(series.values, floats.map(|value| value.map(Sample::Float)));
        assert!(read_series("up{", "1").is_err());
        assert!(read_series("up 1", "1").is_err());
        let error = read_series("up", "x").expect_err("no number").to_string();
        assert_eq!(error, "a number is expected: x");
    }

    #[test]
    fn a_histogram_is_read_alone() {
        assert_eq!(read_histogram("{{sum:1 count:2}}").expect("valid").count, 2.0);
        assert!(read_histogram("{{sum:1 count:2}}x3").is_err());
        assert!(read_histogram("1").is_err());
    }
}
