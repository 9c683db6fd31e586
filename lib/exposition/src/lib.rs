//! The Prometheus text format 0.0.4, read from bytes.
//!
//! A page is read item by item. For a sample, only the extent of its series is found; the labels
//! are read by [`parse_series`] when somebody needs them, which for a page that is scraped again
//! and again is almost never: see [`SeriesCache`].
//!
//! Invariants
//! * any bytes give items or an error with line and reason; nothing panics;
//! * memory used does not depend on the page: items borrow from it.
//!
//! OpenMetrics and protobuf are not read here, and no limit on labels or samples is enforced.

#![forbid(unsafe_code)]

mod cache;
mod lint;
mod number;
mod series;

use std::fmt;

pub use cache::SeriesCache;
pub use lint::{Finding, LintError, lint};
use memchr::{memchr, memchr2};
use narthex_model::MetricType;
pub use number::{parse_millis, parse_value};
pub use series::{ParsedSeries, parse_series, unescaped};

/// The media type of pages this module reads, as an exporter sends it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One thing that a page says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Item<'a> {
    /// A sample.
    Sample(SampleLine<'a>),
    /// `# HELP metric text`, escapes kept.
    Help {
        /// The metric's name, as written.
        metric: &'a str,
        /// The text behind it.
        text: &'a str,
    },
    /// `# TYPE metric kind`
    Type {
        /// The metric's name, as written.
        metric: &'a str,
        /// What kind of metric it is.
        kind: MetricKind,
    },
}

/// A sample whose labels are not read yet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleLine<'a> {
    /// The series as written: `name` or `name{label="value"}`.
    pub series: &'a [u8],
    /// Whether the series is the one that the caller expected.
    pub is_expected: bool,
    /// What was measured.
    pub value: f64,
    /// The page's own time in milliseconds, if it gives one.
    pub timestamp_millis: Option<i64>,
}

/// Kinds of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only rises, apart from restarts.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Buckets, a sum and a count.
    Histogram,
    /// Quantiles, a sum and a count.
    Summary,
    /// Not said.
    Untyped,
}

impl From<MetricKind> for MetricType {
    fn from(kind: MetricKind) -> Self {
        match kind {
            MetricKind::Counter => Self::Counter,
            MetricKind::Gauge => Self::Gauge,
            MetricKind::Histogram => Self::Histogram,
            MetricKind::Summary => Self::Summary,
            MetricKind::Untyped => Self::Unknown,
        }
    }
}

/// Why a page was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ParseError {
    /// Counted from 1.
    pub line: usize,
    /// What was wrong there.
    pub reason: Reason,
}

/// What is wrong in a line. Texts are shortened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Something else stands where this should.
    Expected {
        /// What should stand there.
        what: &'static str,
        /// What does.
        found: String,
    },
    /// A number that is none, or out of range.
    InvalidValue(String),
    /// A timestamp that is no whole number of milliseconds.
    InvalidTimestamp(String),
    /// Bytes that are no UTF-8.
    InvalidUtf8(&'static str),
    /// A kind of metric that does not exist.
    InvalidType(String),
    /// A label name given twice.
    DuplicateLabel(String),
    /// A series without a metric name.
    NoMetricName,
    /// A metric name before and inside the braces.
    TwoMetricNames,
}

impl Reason {
    fn expected(what: &'static str, found: &[u8]) -> Self {
        Self::Expected { what, found: excerpt(found) }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expected { what, found } if found.is_empty() => {
                write!(f, "expected {what}, found the end of the line")
            }
            Self::Expected { what, found } => write!(f, "expected {what}, found {found:?}"),
            Self::InvalidValue(text) => write!(f, "{text:?} is not a valid value"),
            Self::InvalidTimestamp(text) => write!(f, "{text:?} is not a valid timestamp"),
            Self::InvalidUtf8(what) => write!(f, "{what} is not valid UTF-8"),
            Self::InvalidType(text) => write!(f, "invalid metric type {text:?}"),
            Self::DuplicateLabel(name) => write!(f, "label name {name:?} is not unique"),
            Self::NoMetricName => f.write_str("metric name is missing"),
            Self::TwoMetricNames => f.write_str("metric name is given twice"),
        }
    }
}

/// What is shown of a page in an error: the start of the line.
fn excerpt(bytes: &[u8]) -> String {
    let line = memchr(b'\n', bytes).map_or(bytes, |end| &bytes[..end]);
    let shown = &line[..line.len().min(40)];
    String::from_utf8_lossy(shown).into_owned()
}

/// Reads a page from front to back.
#[derive(Debug, Clone)]
pub struct Parser<'a> {
    page: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    /// A parser at the start of `page`.
    pub fn new(page: &'a [u8]) -> Self {
        Self { page, at: 0 }
    }

    /// The next item, or `None` at the end. `expected` is the series that probably comes next:
    /// if it does, its text is not scanned. After an error the parser is at its end.
    pub fn next(&mut self, expected: Option<&[u8]>) -> Result<Option<Item<'a>>, ParseError> {
        let result = self.next_item(expected);
        result.map_err(|reason| {
            let line = self.line_at(self.at);
            self.at = self.page.len();
            ParseError { line, reason }
        })
    }

    /// The line of the item that was read last, from 1.
    fn last_line(&self) -> usize {
        self.line_at(self.at.saturating_sub(1))
    }

    fn line_at(&self, at: usize) -> usize {
        1 + memchr::memchr_iter(b'\n', &self.page[..at]).count()
    }

    fn next_item(&mut self, expected: Option<&[u8]>) -> Result<Option<Item<'a>>, Reason> {
        loop {
            match self.page.get(self.at) {
                None => return Ok(None),
                Some(b'\n' | b' ' | b'\t') => self.at += 1,
                Some(b'#') => {
                    if let Some(item) = self.comment()? {
                        return Ok(Some(item));
                    }
                }
                Some(_) => return self.sample(expected).map(|line| Some(Item::Sample(line))),
            }
        }
    }

    fn rest(&self) -> &'a [u8] {
        &self.page[self.at..]
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t') = self.page.get(self.at) {
            self.at += 1;
        }
    }

    fn sample(&mut self, expected: Option<&[u8]>) -> Result<SampleLine<'a>, Reason> {
        let start = self.at;
        let is_expected = expected.is_some_and(|series| self.starts_with_series(series));
        if is_expected {
            self.at += expected.map_or(0, <[u8]>::len);
        } else {
            self.at += series::extent(self.rest())?;
        }
        let series = &self.page[start..self.at];
        let value = self.value()?;
        let timestamp_millis = self.timestamp()?;
        Ok(SampleLine { series, is_expected, value, timestamp_millis })
    }

    /// Whether `series` stands here whole, so that only a value can follow.
    fn starts_with_series(&self, series: &[u8]) -> bool {
        let Some(behind) = self.rest().strip_prefix(series) else { return false };
        match behind {
            [b' ', b'{' | b' ' | b'\t', ..] => false,
            [b' ', ..] => true,
            _ => false,
        }
    }

    fn word(&mut self) -> &'a [u8] {
        self.skip_blanks();
        let rest = self.rest();
        let end = rest.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\n'));
        let word = &rest[..end.unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn value(&mut self) -> Result<f64, Reason> {
        let word = self.word();
        if let Some(value) = parse_value(word) {
            return Ok(value);
        }
        match word {
            [] => Err(Reason::expected("value after metric", word)),
            _ => Err(Reason::InvalidValue(excerpt(word))),
        }
    }

    fn timestamp(&mut self) -> Result<Option<i64>, Reason> {
        if let Some(b'\n') = self.page.get(self.at) {
            self.at += 1;
            return Ok(None);
        }
        let word = self.word();
        let timestamp = match word {
            [] => None,
            word => {
                let invalid = || Reason::InvalidTimestamp(excerpt(word));
                Some(parse_millis(word).ok_or_else(invalid)?)
            }
        };
        self.skip_blanks();
        match self.page.get(self.at) {
            None => Ok(timestamp),
            Some(b'\n') => {
                self.at += 1;
                Ok(timestamp)
            }
            Some(_) => Err(Reason::expected("end of line after the timestamp", self.rest())),
        }
    }

    /// Reads a line that begins with `#`; most are comments and give nothing.
    fn comment(&mut self) -> Result<Option<Item<'a>>, Reason> {
        let rest = self.rest();
        let end = memchr(b'\n', rest).unwrap_or(rest.len());
        let line = &rest[1..end];
        let words = line.trim_ascii_start();
        let is_spaced = words.len() < line.len();
        let item = match words.get(..5) {
            Some(b"HELP " | b"HELP\t") if is_spaced => Some(help(&words[5..])?),
            Some(b"TYPE " | b"TYPE\t") if is_spaced => Some(metric_type(&words[5..])?),
            _ => None,
        };
        self.at += (end + 1).min(rest.len());
        Ok(item)
    }
}

fn help(words: &[u8]) -> Result<Item<'_>, Reason> {
    let (metric, text) = described_metric(words)?;
    let text = std::str::from_utf8(text).map_err(|_| Reason::InvalidUtf8("help text"))?;
    Ok(Item::Help { metric, text })
}

fn metric_type(words: &[u8]) -> Result<Item<'_>, Reason> {
    let (metric, kind) = described_metric(words)?;
    let kind = match kind.trim_ascii_end() {
        b"counter" => MetricKind::Counter,
        b"gauge" => MetricKind::Gauge,
        b"histogram" => MetricKind::Histogram,
        b"summary" => MetricKind::Summary,
        b"untyped" => MetricKind::Untyped,
        other => return Err(Reason::InvalidType(excerpt(other))),
    };
    Ok(Item::Type { metric, kind })
}

/// The metric's name, bare or quoted, and what stands behind it and a blank.
fn described_metric(words: &[u8]) -> Result<(&str, &[u8]), Reason> {
    let words = words.trim_ascii_start();
    let expected = || Reason::expected("metric name after HELP or TYPE", words);
    let (name, rest) = match words.strip_prefix(b"\"") {
        Some(quoted) => {
            let end = series::closing_quote(quoted).ok_or_else(expected)?;
            (&quoted[..end], &quoted[end + 1..])
        }
        None => words.split_at(memchr2(b' ', b'\t', words).unwrap_or(words.len())),
    };
    let name = std::str::from_utf8(name).map_err(|_| Reason::InvalidUtf8("metric name"))?;
    let is_quoted = words.first() == Some(&b'"');
    if name.is_empty() || !(is_quoted || narthex_model::is_legacy_metric_name(name)) {
        return Err(expected());
    }
    Ok((name, rest.trim_ascii_start()))
}

#[cfg(test)]
mod tests;
