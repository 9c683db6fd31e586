//! What is said about samples and metrics rather than measured.

use std::fmt;

use crate::{Labels, Timestamp};

/// One observation behind a sample, with labels of its own such as a trace's id.
#[derive(Debug, Clone)]
pub struct Exemplar {
    /// Labels beside the series'.
    pub labels: Labels,
    /// What was observed; compared by its bits.
    pub value: f64,
    /// When.
    pub timestamp: Timestamp,
}

impl PartialEq for Exemplar {
    fn eq(&self, other: &Self) -> bool {
        self.labels == other.labels
            && self.value.to_bits() == other.value.to_bits()
            && self.timestamp == other.timestamp
    }
}

/// What kind of metric a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum MetricType {
    /// Nobody said.
    #[default]
    Unknown,
    /// It only rises, but for resets.
    Counter,
    /// It rises and falls.
    Gauge,
    /// Buckets of observations.
    Histogram,
    /// Buckets that rise and fall.
    GaugeHistogram,
    /// Quantiles.
    Summary,
    /// Labels of a thing, with the value 1.
    Info,
    /// A set of booleans.
    StateSet,
}

impl MetricType {
    /// Every type, in the order of their numbers on the wire, in the log and on disk: a type's
    /// number is its place here.
    pub const ALL: [Self; 8] = [
        Self::Unknown,
        Self::Counter,
        Self::Gauge,
        Self::Histogram,
        Self::GaugeHistogram,
        Self::Summary,
        Self::Info,
        Self::StateSet,
    ];

    /// As Prometheus's API and exposition formats write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }

    /// The type with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

impl fmt::Display for MetricType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is known of a metric family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FamilyMetadata<'a> {
    /// The family's name.
    pub family: &'a str,
    /// Its type.
    pub metric_type: MetricType,
    /// What it means, in words.
    pub help: &'a str,
    /// What its values are in; empty where nobody said.
    pub unit: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_name_types() {
        for (number, metric_type) in MetricType::ALL.into_iter().enumerate() {
            assert_eq!(metric_type as usize, number);
            assert_eq!(MetricType::from_number(number as u8), Some(metric_type));
        }
        assert_eq!(MetricType::from_number(8), None);
    }
}
