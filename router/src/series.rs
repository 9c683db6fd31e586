//! One series of a request as every protocol gives it, before it is checked and routed.

use narthex_model::{
    Exemplar, Labels, MetricType, NativeHistogram, Sample, Timestamp, histogram::InvalidHistogram,
};
use narthex_proto::batch::Point;

use crate::histogram::SentHistogram;

/// What one series may take in memory while it is read: three million samples.
const SERIES_BYTES_MAX: usize = 64 << 20;
/// About what a histogram or an exemplar takes beside its buckets or labels, and what a bucket
/// does.
const POINT_BYTES: usize = 224;
const BUCKET_BYTES: usize = 16;
/// Bytes of an exemplar's labels: well above the 128 characters that shards keep.
const EXEMPLAR_LABEL_BYTES_MAX: usize = 1 << 10;

/// One series of a request. Reused from series to series of the same request.
#[derive(Debug, Default)]
pub struct Series<'a> {
    /// As sent: perhaps unsorted, repeated or empty.
    pub labels: Vec<(&'a str, &'a str)>,
    /// Labels whose bytes are not UTF-8. Such a series has no valid label set.
    pub labels_not_utf8: usize,
    /// In the order sent.
    pub samples: Vec<Sample>,
    /// When what each sample counts began, one for each sample, 0 if unknown; empty if none is
    /// known.
    pub starts: Vec<Timestamp>,
    /// Native histograms, in the order sent.
    pub histograms: Vec<Point<NativeHistogram>>,
    /// Why histograms of it will be refused every time.
    pub histograms_refused: Vec<InvalidHistogram>,
    /// In the order sent.
    pub exemplars: Vec<Exemplar>,
    /// Exemplars whose labels make no label set, or are far too long.
    pub exemplars_refused: usize,
    /// Of the series' metric.
    pub metadata: Option<Metadata<'a>>,
    /// About what histograms and exemplars take in memory.
    pub(crate) points_bytes: usize,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metadata<'a> {
    /// Its type.
    pub metric_type: MetricType,
    /// What it tells.
    pub help: &'a str,
    /// What it counts in.
    pub unit: &'a str,
}

impl Series<'_> {
    /// Takes everything out.
    pub fn clear(&mut self) {
        self.labels.clear();
        self.labels_not_utf8 = 0;
        self.samples.clear();
        self.starts.clear();
        self.histograms.clear();
        self.histograms_refused.clear();
        self.exemplars.clear();
        self.exemplars_refused = 0;
        self.metadata = None;
        self.points_bytes = 0;
    }

    /// Whether it takes more memory than a series may: a field of two bytes can be a sample of
    /// sixteen, and a histogram of hundreds.
    #[inline]
    pub fn is_too_large(&self) -> bool {
        let samples = self.samples.len() * size_of::<Sample>() + self.starts.len() * 8;
        samples + self.points_bytes > SERIES_BYTES_MAX
    }

    /// Adds a sample, and when what it counts began; 0 if unknown.
    pub fn push(&mut self, sample: Sample, start: Timestamp) {
        let is_known = start != Timestamp::default();
        if is_known && self.starts.is_empty() {
            self.starts.resize(self.samples.len(), Timestamp::default());
        }
        if is_known || !self.starts.is_empty() {
            self.starts.push(start);
        }
        self.samples.push(sample);
    }

    /// Adds a histogram, or why it is none.
    pub fn push_histogram(&mut self, sent: SentHistogram) {
        let Point { timestamp, start, value } = sent;
        self.points_bytes += POINT_BYTES;
        if let Ok(histogram) = &value {
            self.points_bytes += BUCKET_BYTES * histogram.bucket_count();
        }
        match value {
            Ok(value) => self.histograms.push(Point { timestamp, start, value }),
            Err(invalid) => self.histograms_refused.push(invalid),
        }
    }

    /// Adds an exemplar if its labels are any.
    pub fn push_exemplar(&mut self, labels: &[(&str, &str)], sample: Sample) {
        let text = labels.iter().map(|(name, value)| name.len() + value.len());
        let text: usize = text.sum();
        self.points_bytes += POINT_BYTES + text;
        if text > EXEMPLAR_LABEL_BYTES_MAX {
            self.exemplars_refused += 1;
            return;
        }
        match Labels::from_pairs(labels.iter().copied()) {
            Ok(labels) => {
                let Sample { timestamp, value } = sample;
                self.exemplars.push(Exemplar { labels, value, timestamp });
            }
            Err(_) => self.exemplars_refused += 1,
        }
    }

    /// Whether there is more than samples without a start.
    pub fn is_rich(&self) -> bool {
        !(self.starts.is_empty() && self.histograms.is_empty() && self.exemplars.is_empty())
    }

    /// How much there is, whatever it is.
    pub fn len(&self) -> usize {
        self.samples.len() + self.histograms.len() + self.exemplars.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes out what lies behind `latest`; how much that was.
    pub fn take_later_than(&mut self, latest: Timestamp) -> usize {
        let before = self.len();
        if !self.starts.is_empty() {
            let mut of = self.samples.iter();
            self.starts.retain(|_| of.next().is_some_and(|sample| sample.timestamp <= latest));
        }
        self.samples.retain(|sample| sample.timestamp <= latest);
        self.histograms.retain(|point| point.timestamp <= latest);
        self.exemplars.retain(|exemplar| exemplar.timestamp <= latest);
        before - self.len()
    }
}

/// The type of a number on the wire; one that is not known says nothing.
pub fn metric_type(number: u64) -> MetricType {
    u8::try_from(number).ok().and_then(MetricType::from_number).unwrap_or_default()
}
