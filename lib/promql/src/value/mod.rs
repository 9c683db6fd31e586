//! What queries work on and answer with.
//!
//! Inside an evaluation everything is a column over the steps; an answer has the shapes of the
//! HTTP API.

mod buffer;
mod column;

use std::sync::Arc;

use narthex_model::{FloatHistogram, Labels, Timestamp};

pub use buffer::SampleBuffer;
pub(crate) use column::ABSENT;
pub use column::{Column, Sample, SampleRef, Series};

use crate::types::ValueType;

/// The value of a query.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// One number.
    Scalar(ScalarPoint),
    /// One text.
    String(StringPoint),
    /// One sample per series, all at the time of the query.
    Vector(Vec<VectorElement>),
    /// Samples per series.
    Matrix(Vec<MatrixSeries>),
}

impl Value {
    /// The type.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Scalar(_) => ValueType::Scalar,
            Self::String(_) => ValueType::String,
            Self::Vector(_) => ValueType::Vector,
            Self::Matrix(_) => ValueType::Matrix,
        }
    }
}

/// A number at a time.
#[derive(Debug, Clone, Copy)]
pub struct ScalarPoint {
    /// The time of the query.
    pub timestamp: Timestamp,
    /// The number.
    pub value: f64,
}

impl PartialEq for ScalarPoint {
    /// By bits.
    fn eq(&self, other: &Self) -> bool {
        self.timestamp == other.timestamp && self.value.to_bits() == other.value.to_bits()
    }
}

/// A text at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StringPoint {
    /// The time of the query.
    pub timestamp: Timestamp,
    /// The text.
    pub value: String,
}

/// A series' sample in an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorElement {
    /// The labels.
    pub labels: Labels,
    /// The time of the query, whenever the sample was taken.
    pub timestamp: Timestamp,
    /// The sample.
    pub sample: Sample,
}

/// A series of a matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixSeries {
    /// The labels.
    pub labels: Labels,
    /// The samples, without start timestamps.
    pub samples: SampleBuffer,
}

impl PartialEq for Sample {
    /// By bits.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(left), Self::Float(right)) => left.to_bits() == right.to_bits(),
            (Self::Histogram(left), Self::Histogram(right)) => left == right,
            _ => false,
        }
    }
}

impl From<f64> for Sample {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<FloatHistogram> for Sample {
    fn from(histogram: FloatHistogram) -> Self {
        Self::Histogram(Arc::new(histogram))
    }
}
