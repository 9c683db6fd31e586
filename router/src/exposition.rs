//! Prometheus's text format as series, for imports.

use narthex_exposition::{Item, ParseError, Parser, parse_series};
use narthex_model::{Sample, Timestamp};

use crate::{
    remote_write::DecodeError,
    series::Series,
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
    while let Some(item) = parser.next(None).map_err(malformed)? {
        let Item::Sample(found) = item else { continue };
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
    splitter.finish()
}

/// The line, counted from 1, on which `part` of `text` begins.
fn line_of(text: &[u8], part: &[u8]) -> usize {
    let before = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    let before = &text[..before.min(text.len())];
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}
