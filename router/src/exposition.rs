//! Prometheus's text format as series, for imports.

use std::borrow::Cow;

use narthex_exposition::{Item, ParseError, Parser, parse_series, unescaped};
use narthex_model::{MetricType, Sample, Timestamp};

use crate::{
    remote_write::DecodeError,
    series::{Metadata, Series},
    split::{Split, SplitBy, Splitter},
};

/// What an import says beside its text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Labels of every series, over those of the text.
    pub extra_labels: Vec<(String, String)>,
    /// Of samples that bring no time.
    pub timestamp: Timestamp,
}

/// Splits whole lines of text, of which `lines_before` stood in front.
pub fn split_text(
    text: &[u8],
    lines_before: usize,
    options: &ImportOptions,
    by: &SplitBy<'_>,
) -> Result<Split, DecodeError> {
    let malformed = |ParseError { line, reason }| DecodeError::Text {
        line: lines_before + line,
        reason: reason.to_string(),
    };
    let mut splitter = Splitter::new(by, text.len());
    let mut lookup = by.cache.look_up();
    let mut parser = Parser::new(text);
    let mut described = Described::default();
    while let Some(item) = parser.next(None).map_err(malformed)? {
        let found = match item {
            Item::Sample(found) => found,
            Item::Help { metric, text } => {
                described.of(metric, &mut splitter).help = unescaped(text);
                continue;
            }
            Item::Type { metric, kind } => {
                described.of(metric, &mut splitter).metric_type = kind.into();
                continue;
            }
        };
        let labels = parse_series(found.series).map_err(|reason| {
            malformed(ParseError { line: line_of(text, found.series), reason })
        })?;
        let is_extra = |name: &str| options.extra_labels.iter().any(|(extra, _)| extra == name);
        let mut series = Series::default();
        let own = labels.iter().filter(|(name, _)| !is_extra(name));
        series.labels.extend(own.map(|(name, value)| (&**name, &**value)));
        let extra = options.extra_labels.iter();
        series.labels.extend(extra.map(|(name, value)| (name.as_str(), value.as_str())));
        let millis = found.timestamp_millis.map(Timestamp::from_millis);
        let timestamp = millis.unwrap_or(options.timestamp);
        series.push(Sample { timestamp, value: found.value }, Timestamp::default());
        splitter.add_by_labels(&mut series, &mut lookup, by.naming);
    }
    described.hand_on(&mut splitter);
    splitter.finish()
}

/// What the text says of the metric that it described last: lines of one metric stand together.
#[derive(Default)]
struct Described<'a> {
    metric: &'a str,
    metric_type: MetricType,
    help: Cow<'a, str>,
}

impl<'a> Described<'a> {
    /// The description of this metric, begun anew if the one before is of another.
    fn of(&mut self, metric: &'a str, splitter: &mut Splitter<'_>) -> &mut Self {
        if self.metric != metric {
            self.hand_on(splitter);
            *self = Self { metric, ..Self::default() };
        }
        self
    }

    fn hand_on(&self, splitter: &mut Splitter<'_>) {
        let metadata = Metadata { metric_type: self.metric_type, help: &self.help, unit: "" };
        splitter.describe(self.metric, metadata);
    }
}

/// The line, counted from 1, on which `part` of `text` begins.
fn line_of(text: &[u8], part: &[u8]) -> usize {
    let before = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    let before = &text[..before.min(text.len())];
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}
