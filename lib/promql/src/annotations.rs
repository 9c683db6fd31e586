//! What a query says about its own answer: warnings and infos with Prometheus's texts.
//!
//! An annotation is about a place in the query's text. The place stays a byte until the text is
//! at hand, so that parts of a query that ran elsewhere can be mapped back.

use std::{cmp::Reverse, collections::HashMap};

use narthex_model::{number::format_exposition, quote};

use crate::{ast::ByteRange, line_and_column};

/// How many of a kind an answer shows.
const SHOWN_MAX: usize = 10;

/// How much an annotation matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The answer is likely not what was wanted.
    Warning,
    /// The answer may not be what was wanted.
    Info,
}

/// A warning or an info.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Annotation {
    /// How much it matters.
    pub severity: Severity,
    /// The text, without prefix and place.
    pub message: String,
    /// What in the query it is about.
    pub range: ByteRange,
}

impl Annotation {
    /// The text as Prometheus prints it for a query of this text.
    pub fn render(&self, query: &str) -> String {
        let prefix = match self.severity {
            Severity::Warning => "PromQL warning",
            Severity::Info => "PromQL info",
        };
        let (line, column) = line_and_column(query, self.range.start);
        format!("{prefix}: {} ({line}:{column})", self.message)
    }
}

/// All annotations of an answer, each text once, with the last place it was said of: the outermost
/// or rightmost one, so that it does not matter in which order parts of a query were evaluated.
#[derive(Debug, Clone, Default)]
pub struct Annotations {
    list: Vec<Annotation>,
    /// Where in the list a text is.
    known: HashMap<(Severity, String), usize>,
    /// Repairs of classic histograms, one entry per metric.
    repairs: Vec<Repaired>,
}

/// What was repaired of a metric.
#[derive(Debug, Clone)]
pub(crate) struct Repaired {
    /// Its name.
    pub metric: String,
    /// What in the query it is about.
    pub range: ByteRange,
    /// All repairs.
    pub repair: MonotonicRepair,
}

/// What was repaired in the buckets of classic histograms whose counts went down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MonotonicRepair {
    /// The lowest bucket that was changed.
    pub bucket_min: f64,
    /// The highest bucket that was changed.
    pub bucket_max: f64,
    /// The largest change.
    pub difference_max: f64,
    /// How many histograms.
    pub count: u64,
    /// The time of the first of them, in milliseconds since the epoch.
    pub time_min: i64,
    /// The time of the last of them.
    pub time_max: i64,
}

impl MonotonicRepair {
    fn merge(&mut self, other: &Self) {
        self.bucket_min = self.bucket_min.min(other.bucket_min);
        self.bucket_max = self.bucket_max.max(other.bucket_max);
        self.difference_max = self.difference_max.max(other.difference_max);
        self.count += other.count;
        self.time_min = self.time_min.min(other.time_min);
        self.time_max = self.time_max.max(other.time_max);
    }
}

impl Annotations {
    /// Adds an annotation, or only its place if the text is there.
    pub fn add(&mut self, annotation: Annotation) {
        let key = (annotation.severity, annotation.message.clone());
        match self.known.get(&key) {
            Some(&at) => self.list[at].range = last(self.list[at].range, annotation.range),
            None => {
                self.known.insert(key, self.list.len());
                self.list.push(annotation);
            }
        }
    }

    /// Adds a warning.
    pub fn warn(&mut self, message: impl Into<String>, range: ByteRange) {
        self.add(Annotation { severity: Severity::Warning, message: message.into(), range });
    }

    /// Adds an info.
    pub fn inform(&mut self, message: impl Into<String>, range: ByteRange) {
        self.add(Annotation { severity: Severity::Info, message: message.into(), range });
    }

    /// Adds a repair to those of the same metric.
    pub fn repaired(&mut self, metric: &str, range: ByteRange, repair: MonotonicRepair) {
        match self.repairs.iter_mut().find(|known| known.metric == metric) {
            Some(known) => {
                known.repair.merge(&repair);
                known.range = last(known.range, range);
            }
            None => self.repairs.push(Repaired { metric: metric.to_owned(), range, repair }),
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: Self) {
        for annotation in other.list {
            self.add(annotation);
        }
        for other in other.repairs {
            self.repaired(&other.metric, other.range, other.repair);
        }
    }

    /// The same, said of other places: of those that `places` gives for each.
    pub(crate) fn said_of(&self, places: impl Fn(ByteRange) -> Vec<ByteRange>) -> Self {
        let mut moved = Self::default();
        for annotation in &self.list {
            for range in places(annotation.range) {
                moved.add(Annotation { range, ..annotation.clone() });
            }
        }
        for Repaired { metric, range, repair } in &self.repairs {
            for range in places(*range) {
                moved.repaired(metric, range, *repair);
            }
        }
        moved
    }

    /// Every annotation but repairs.
    pub(crate) fn plain(&self) -> &[Annotation] {
        &self.list
    }

    /// Repairs of classic histograms.
    pub(crate) fn repairs(&self) -> &[Repaired] {
        &self.repairs
    }

    /// Every annotation.
    pub fn iter(&self) -> impl Iterator<Item = Annotation> + '_ {
        let repairs = self.repairs.iter().map(|repaired| Annotation {
            severity: Severity::Info,
            message: repair_message(&repaired.metric, &repaired.repair),
            range: repaired.range,
        });
        self.list.iter().cloned().chain(repairs)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && self.repairs.is_empty()
    }

    /// Warnings as an answer to a query of this text shows them: at most ten and how many more.
    pub fn warnings(&self, query: &str) -> Vec<String> {
        self.shown(query, Severity::Warning, "warning")
    }

    /// Infos, as [`Annotations::warnings`].
    pub fn infos(&self, query: &str) -> Vec<String> {
        self.shown(query, Severity::Info, "info")
    }

    fn shown(&self, query: &str, severity: Severity, noun: &str) -> Vec<String> {
        let of_severity = self.iter().filter(|annotation| annotation.severity == severity);
        let mut texts: Vec<String> =
            of_severity.map(|annotation| annotation.render(query)).collect();
        let omitted = texts.len().saturating_sub(SHOWN_MAX);
        texts.truncate(SHOWN_MAX);
        if omitted > 0 {
            texts.push(format!("{omitted} more {noun} annotations omitted"));
        }
        texts
    }
}

/// The outermost or rightmost of two places.
fn last(one: ByteRange, other: ByteRange) -> ByteRange {
    std::cmp::max_by_key(one, other, |range| (range.end, Reverse(range.start)))
}

fn repair_message(metric: &str, repair: &MonotonicRepair) -> String {
    let message = for_metric(
        "input to histogram_quantile needed to be fixed for monotonicity \
         (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)",
        metric,
    );
    let [low, high] = [repair.bucket_min, repair.bucket_max].map(format_exposition);
    let [from, to] = [repair.time_min, repair.time_max].map(format_rfc3339);
    format!(
        "{message}, from buckets {low} to {high}, with a max diff of {}, over {} samples from {from} to {to}",
        two_digits(repair.difference_max),
        repair.count,
    )
}

/// `message for metric name "metric"`, or the message alone for a series without a name.
pub(crate) fn for_metric(message: &str, metric: &str) -> String {
    if metric.is_empty() { message.to_owned() } else { for_any_metric(message, metric) }
}

/// `message for metric name "metric"`, and `""` for a series without a name.
pub(crate) fn for_any_metric(message: &str, metric: &str) -> String {
    format!("{message} for metric name {}", quote(metric))
}

/// Go's `%.2g`.
fn two_digits(value: f64) -> String {
    let rounded: f64 = format!("{value:.1e}").parse().unwrap_or(value);
    if rounded.abs() >= 100.0 || (rounded != 0.0 && rounded.abs() < 1e-4) {
        let text = format!("{rounded:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format_exposition(rounded)
}

/// A time in whole seconds, UTC.
fn format_rfc3339(millis: i64) -> String {
    let date = crate::functions::date::Civil::from_millis(millis);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        date.year, date.month, date.day, date.hour, date.minute, date.second
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_is_kept_once_and_cut_off_after_ten() {
        let mut annotations = Annotations::default();
        for at in 0..12 {
            annotations.warn(format!("odd {at}"), ByteRange::new(at, at + 1));
            annotations.warn(format!("odd {at}"), ByteRange::new(at, at + 1));
        }
        let shown = annotations.warnings("sum(x)\n+ sum(y)");
        assert_eq!(shown.len(), 11);
        assert_eq!(shown[0], "PromQL warning: odd 0 (1:1)");
        assert_eq!(shown[7], "PromQL warning: odd 7 (2:1)");
        assert_eq!(shown[10], "2 more warning annotations omitted");
    }

    #[test]
    fn a_text_is_shown_once_at_its_last_place() {
        let query = "f(g(x)) + f(y)";
        let [outer, inner, other] = [(2, 6), (4, 5), (12, 13)].map(|(start, end)| Annotation {
            severity: Severity::Info,
            message: "odd".to_owned(),
            range: ByteRange::new(start, end),
        });
        let shown = |order: &[&Annotation]| {
            let mut annotations = Annotations::default();
            order.iter().for_each(|&annotation| annotations.add(annotation.clone()));
            annotations.infos(query)
        };
        assert_eq!(shown(&[&inner, &outer]), ["PromQL info: odd (1:3)"]);
        assert_eq!(shown(&[&outer, &inner]), ["PromQL info: odd (1:3)"]);
        assert_eq!(shown(&[&other, &outer, &inner]), ["PromQL info: odd (1:13)"]);
        assert!(shown(&[]).is_empty());
    }

    #[test]
    fn repairs_of_one_metric_are_one_info() {
        let mut annotations = Annotations::default();
        for (time, bucket) in [(60_000, 0.1), (120_000, 10.0)] {
            let repair = MonotonicRepair {
                bucket_min: bucket,
                bucket_max: bucket,
                difference_max: 123.0 * bucket,
                count: 1,
                time_min: time,
                time_max: time,
            };
            annotations.repaired("lat", ByteRange::new(0, 1), repair);
        }
        let infos = annotations.infos("x");
        assert_eq!(infos.len(), 1);
        assert!(infos[0].ends_with(
            "for metric name \"lat\", from buckets 0.1 to 10, with a max diff of 1.2e+03, \
             over 2 samples from 1970-01-01T00:01:00Z to 1970-01-01T00:02:00Z (1:1)"
        ));
    }
}
