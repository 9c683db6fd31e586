//! One series of a request as every protocol gives it, before it is checked and routed.

use narthex_model::{Sample, Timestamp};

use crate::histogram::HistogramMessage;

/// One series of a request. Reused from series to series of the same request.
#[derive(Debug, Default)]
pub struct Series<'a> {
    /// As sent: perhaps unsorted, repeated or empty.
    pub labels: Vec<(&'a str, &'a str)>,
    /// Labels whose bytes are not UTF-8. Such a series has no valid label set.
    pub labels_not_utf8: usize,
    /// In the order sent.
    pub samples: Vec<Sample>,
    /// When what each sample counts began, one for each sample; empty if none says so.
    pub starts: Vec<Option<Timestamp>>,
    /// Native histograms, in the order sent.
    pub histograms: Vec<HistogramMessage<'a>>,
    /// In the order sent.
    pub exemplars: Vec<Exemplar<'a>>,
    /// Of the series' metric.
    pub metadata: Option<Metadata<'a>>,
}

impl Series<'_> {
    /// Takes everything out.
    pub fn clear(&mut self) {
        self.labels.clear();
        self.labels_not_utf8 = 0;
        self.samples.clear();
        self.starts.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.metadata = None;
    }

    /// Adds a sample, and when what it counts began.
    pub fn push(&mut self, sample: Sample, start: Option<Timestamp>) {
        if start.is_some() && self.starts.is_empty() {
            self.starts.resize(self.samples.len(), None);
        }
        if start.is_some() || !self.starts.is_empty() {
            self.starts.push(start);
        }
        self.samples.push(sample);
    }
}

/// What stands for a sample elsewhere, mostly a trace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exemplar<'a> {
    /// As sent.
    pub labels: Vec<(&'a str, &'a str)>,
    /// What was observed.
    pub value: f64,
    /// When.
    pub timestamp: Timestamp,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metadata<'a> {
    /// Its kind.
    pub kind: MetricKind,
    /// What it tells.
    pub help: &'a str,
    /// What it counts in.
    pub unit: &'a str,
}

/// Kinds of metrics, by their numbers in remote write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum MetricKind {
    /// Not said.
    #[default]
    Unknown,
    /// Only rises, apart from restarts.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Buckets, a sum and a count.
    Histogram,
    /// A histogram that may fall.
    GaugeHistogram,
    /// Quantiles, a sum and a count.
    Summary,
    /// 1, for the sake of its labels.
    Info,
    /// One series for each state.
    StateSet,
}

impl MetricKind {
    /// The kind of a number; one that is not known says nothing.
    pub fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Counter,
            2 => Self::Gauge,
            3 => Self::Histogram,
            4 => Self::GaugeHistogram,
            5 => Self::Summary,
            6 => Self::Info,
            7 => Self::StateSet,
            _ => Self::Unknown,
        }
    }
}
