//! The series of a sample: where it ends, and what its labels are.

use std::borrow::Cow;

use memchr::memchr2;
use narthex_model::METRIC_NAME;

use super::Reason;

/// The labels of a series in the order of the page, the metric's name first. Labels with an
/// empty value are kept: with `honor_labels` they hide a label of the target.
pub type ParsedSeries<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'
}

/// Bytes that the series at the start of `rest` takes. Labels are checked for their quotes only.
pub(super) fn extent(rest: &[u8]) -> Result<usize, Reason> {
    let name = rest.iter().position(|&byte| !is_name_byte(byte)).unwrap_or(rest.len());
    if rest.first().is_some_and(u8::is_ascii_digit) {
        return Err(Reason::expected("metric name", rest));
    }
    let blanks = rest[name..].iter().take_while(|&&byte| byte == b' ' || byte == b'\t').count();
    if rest.get(name + blanks) != Some(&b'{') {
        return match name {
            0 => Err(Reason::expected("metric name", rest)),
            _ => Ok(name),
        };
    }
    let mut at = name + blanks + 1;
    while let Some(found) = memchr2(b'"', b'}', &rest[at..]) {
        at += found + 1;
        if rest[at - 1] == b'}' {
            return Ok(at);
        }
        let Some(quote) = closing_quote(&rest[at..]) else { break };
        at += quote + 1;
    }
    Err(Reason::expected("closing brace or quote", rest))
}

/// Where the text that begins in front of `text` ends: its first quote without a backslash.
pub(super) fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// Reads the labels of a series that [`Parser`](super::Parser) found.
pub fn parse_series(series: &[u8]) -> Result<ParsedSeries<'_>, Reason> {
    let name_len = series.iter().position(|&byte| !is_name_byte(byte)).unwrap_or(series.len());
    let (name, rest) = series.split_at(name_len);
    let mut labels = ParsedSeries::new();
    if !name.is_empty() {
        labels.push((METRIC_NAME.into(), utf8(name, "metric name")?.into()));
    }
    if let Some(inner) = rest.trim_ascii_start().strip_prefix(b"{") {
        LabelReader { rest: inner }.read_all(&mut labels)?;
    }
    match labels.first() {
        Some((name, value)) if name == METRIC_NAME && !value.is_empty() => {}
        _ => return Err(Reason::NoMetricName),
    }
    check_unique(&labels)?;
    Ok(labels)
}

fn check_unique(labels: &ParsedSeries<'_>) -> Result<(), Reason> {
    let mut names: Vec<&str> = labels.iter().map(|(name, _)| name.as_ref()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Reason::DuplicateLabel(pair[0].to_owned())),
        None => Ok(()),
    }
}

fn utf8<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a str, Reason> {
    std::str::from_utf8(bytes).map_err(|_| Reason::InvalidUtf8(what))
}

/// Reads behind the opening brace.
struct LabelReader<'a> {
    rest: &'a [u8],
}

impl<'a> LabelReader<'a> {
    fn read_all(mut self, labels: &mut ParsedSeries<'a>) -> Result<(), Reason> {
        loop {
            self.skip_space();
            if self.take(b'}') {
                return Ok(());
            }
            let is_quoted = self.rest.first() == Some(&b'"');
            let name = if is_quoted { self.quoted("label name")? } else { self.bare_name()? };
            self.skip_space();
            if is_quoted && matches!(self.rest.first(), Some(b',' | b'}')) {
                if labels.first().is_some_and(|(name, _)| name == METRIC_NAME) {
                    return Err(Reason::TwoMetricNames);
                }
                labels.insert(0, (METRIC_NAME.into(), name));
                self.take(b',');
                continue;
            }
            if !self.take(b'=') {
                return Err(Reason::expected("equal sign after the label name", self.rest));
            }
            if name.is_empty() {
                return Err(Reason::expected("label name", b"\"\""));
            }
            self.skip_space();
            let value = self.quoted("label value")?;
            labels.push((name, value));
            self.skip_space();
            self.take(b',');
        }
    }

    fn skip_space(&mut self) {
        while let [b' ' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((&first, rest)) if first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn bare_name(&mut self) -> Result<Cow<'a, str>, Reason> {
        let end = self.rest.iter().position(|&byte| byte == b':' || !is_name_byte(byte));
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        if name.first().is_none_or(u8::is_ascii_digit) {
            return Err(Reason::expected("label name", self.rest));
        }
        self.rest = rest;
        utf8(name, "label name").map(Cow::Borrowed)
    }

    fn quoted(&mut self, what: &'static str) -> Result<Cow<'a, str>, Reason> {
        let found = self.rest;
        let text = found.strip_prefix(b"\"").ok_or_else(|| Reason::expected(what, found))?;
        let end = closing_quote(text).ok_or_else(|| Reason::expected(what, found))?;
        self.rest = &text[end + 1..];
        utf8(&text[..end], what).map(unescaped)
    }
}

/// Replaces `\\`, `\"` and `\n`; a backslash before anything else stays.
pub fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let (replaced, taken) = match rest.as_bytes().get(at + 1) {
            Some(b'\\') => ("\\", 2),
            Some(b'"') => ("\"", 2),
            Some(b'n') => ("\n", 2),
            _ => ("\\", 1),
        };
        plain.push_str(replaced);
        rest = &rest[at + taken..];
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}
