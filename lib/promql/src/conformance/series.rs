//! Series as scripts write them: labels, then a sequence of values.
//!
//! ```text
//! http_requests{job="api"}  0 1 _ 5+10x3 stale {{schema:0 sum:1 count:1}}x2
//! ```

use std::{str::FromStr, sync::Arc};

use narthex_model::{FloatHistogram, Labels, METRIC_NAME, duration, stale_nan};

use super::ScriptError;
use crate::parser::{Lexer, Token, TokenKind, unquote};

/// A value of a sequence.
#[derive(Debug, Clone)]
pub(super) enum Item {
    /// `_`
    Gap,
    Float(f64),
    Histogram {
        histogram: Arc<FloatHistogram>,
        /// Whether the literal says what is known about resets.
        has_hint: bool,
    },
}

/// What follows a value: how it changes and how often.
struct Repeat<'a, S> {
    step: Option<(bool, S)>,
    times: usize,
    rest: &'a str,
}

/// The longest sequence that one item may stand for.
const REPEAT_MAX: usize = 1_000_000;

/// Reads labels; returns them with the text behind.
pub(super) fn parse_labels(line: &str) -> Result<(Labels, &str), ScriptError> {
    let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_' || char == ':';
    let name_len = line.find(|char| !is_name(char)).unwrap_or(line.len());
    let (name, rest) = line.split_at(name_len);
    let mut pairs = Vec::new();
    if !name.is_empty() {
        pairs.push((METRIC_NAME.to_owned(), name.to_owned()));
    }
    let rest = match rest.starts_with('{') && !rest.starts_with("{{") {
        true => parse_label_set(rest, &mut pairs)?,
        false => rest,
    };
    let labels = Labels::from_pairs(pairs).map_err(|invalid| wrong(line, invalid))?;
    Ok((labels, rest))
}

/// `{a="b", "quoted name", …}`.
fn parse_label_set<'a>(
    text: &'a str,
    pairs: &mut Vec<(String, String)>,
) -> Result<&'a str, ScriptError> {
    let mut lexer = Lexer::new(text);
    let mut next = || lexer.next().map_err(|error| wrong(text, error));
    let string = |token: Token| {
        String::from_utf8(unquote(token.text(text))).map_err(|error| wrong(text, error))
    };
    next()?;
    loop {
        let token = next()?;
        let name = match token.kind {
            TokenKind::RightBrace => return Ok(&text[token.range.end as usize..]),
            TokenKind::Identifier => token.text(text).to_owned(),
            TokenKind::String => string(token)?,
            _ => return Err(wrong(text, "a label is expected")),
        };
        let mut token = next()?;
        if token.kind == TokenKind::Assign {
            pairs.push((name, string(next()?)?));
            token = next()?;
        } else {
            pairs.push((METRIC_NAME.to_owned(), name));
        }
        match token.kind {
            TokenKind::Comma => {}
            TokenKind::RightBrace => return Ok(&text[token.range.end as usize..]),
            _ => return Err(wrong(text, "a comma or a brace is expected")),
        }
    }
}

/// Reads a sequence of values.
pub(super) fn parse_items(text: &str) -> Result<Vec<Item>, ScriptError> {
    let mut items = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        rest = if rest.starts_with("{{") {
            parse_histograms(rest, &mut items)?
        } else {
            parse_floats(rest, &mut items)?
        };
        let is_separated = rest.is_empty() || rest.starts_with(char::is_whitespace);
        if !is_separated {
            return Err(wrong(text, "a blank is expected between values"));
        }
        rest = rest.trim_start();
    }
    Ok(items)
}

fn parse_floats<'a>(text: &'a str, items: &mut Vec<Item>) -> Result<&'a str, ScriptError> {
    if let Some(rest) = text.strip_prefix('_') {
        let repeat = parse_repeat(rest, |_| None::<(f64, &str)>)?;
        items.extend(std::iter::repeat_n(Item::Gap, repeat.times.max(1)));
        return Ok(repeat.rest);
    }
    let (first, rest) = match text.strip_prefix("stale") {
        Some(rest) => (stale_nan(), rest),
        None => scan_float(text).ok_or_else(|| wrong(text, "a number is expected"))?,
    };
    let repeat = parse_repeat(rest, scan_float)?;
    let mut value = first;
    for _ in 0..=repeat.times {
        items.push(Item::Float(value));
        match repeat.step {
            Some((true, step)) => value -= step,
            Some((false, step)) => value += step,
            None => {}
        }
    }
    Ok(repeat.rest)
}

fn parse_histograms<'a>(text: &'a str, items: &mut Vec<Item>) -> Result<&'a str, ScriptError> {
    let (literal, rest) = scan_histogram(text).ok_or_else(|| wrong(text, "}} is missing"))?;
    let mut current = literal.histogram;
    let repeat = parse_repeat(rest, scan_histogram)?;
    // With a step, the step's literal decides, as it is the one that later values come from.
    let has_hint = match &repeat.step {
        Some((_, step)) => step.has_hint,
        None => literal.has_hint,
    };
    for _ in 0..=repeat.times {
        items.push(Item::Histogram { histogram: Arc::clone(&current), has_hint });
        if let Some((is_negative, step)) = &repeat.step {
            let combined = match is_negative {
                true => current.sub(&step.histogram),
                false => current.add(&step.histogram),
            };
            current = Arc::new(combined.map_err(|error| wrong(text, error))?.histogram);
        }
    }
    Ok(repeat.rest)
}

struct HistogramLiteral {
    histogram: Arc<FloatHistogram>,
    has_hint: bool,
}

fn scan_histogram(text: &str) -> Option<(HistogramLiteral, &str)> {
    let end = text.find("}}")? + 2;
    let (literal, rest) = text.split_at(end);
    let histogram = Arc::new(FloatHistogram::parse_test_expression(literal).ok()?);
    Some((HistogramLiteral { histogram, has_hint: literal.contains("counter_reset_hint") }, rest))
}

/// `+1x3`, `-1x3`, `x3` or nothing.
fn parse_repeat<'a, S>(
    text: &'a str,
    scan: impl Fn(&'a str) -> Option<(S, &'a str)>,
) -> Result<Repeat<'a, S>, ScriptError> {
    let mut rest = text;
    let mut step = None;
    if let Some(behind) = text.strip_prefix(['+', '-']) {
        let (value, behind) = scan(behind).ok_or_else(|| wrong(text, "a step is expected"))?;
        step = Some((text.starts_with('-'), value));
        rest = behind;
    }
    let Some(counted) = rest.strip_prefix('x') else {
        return match step {
            Some(_) => Err(wrong(text, "a step without a count")),
            None => Ok(Repeat { step, times: 0, rest }),
        };
    };
    let digits = counted.bytes().take_while(u8::is_ascii_digit).count();
    let times = usize::from_str(&counted[..digits]).map_err(|error| wrong(text, error))?;
    if times > REPEAT_MAX {
        return Err(wrong(text, "too many repetitions"));
    }
    Ok(Repeat { step, times, rest: &counted[digits..] })
}

/// A number with its sign; returns it with the text behind.
fn scan_float(text: &str) -> Option<(f64, &str)> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign_len = text.len() - unsigned.len();
    let named = unsigned
        .get(..3)
        .filter(|word| word.eq_ignore_ascii_case("inf") || word.eq_ignore_ascii_case("nan"));
    let len = match named {
        Some(word) => word.len(),
        None => {
            let bytes = unsigned.as_bytes();
            let mut len = bytes.iter().take_while(|b| b.is_ascii_digit() || **b == b'.').count();
            if len > 0 && matches!(bytes.get(len), Some(b'e' | b'E')) {
                let sign = usize::from(matches!(bytes.get(len + 1), Some(b'+' | b'-')));
                let exponent = &bytes[(len + 1 + sign).min(bytes.len())..];
                let digits = exponent.iter().take_while(|b| b.is_ascii_digit()).count();
                len += if digits > 0 { 1 + sign + digits } else { 0 };
            }
            len
        }
    };
    let (number, rest) = text.split_at(sign_len + len);
    Some((number.parse().ok()?, rest))
}

/// Start timestamps, in milliseconds relative to their samples; `None` for a gap.
pub(super) fn parse_start_timestamps(text: &str) -> Result<Vec<Option<i64>>, ScriptError> {
    let mut starts = Vec::new();
    for word in text.split_whitespace() {
        if let Some(rest) = word.strip_prefix('_') {
            let repeat = parse_repeat(rest, |_| None::<(i64, &str)>)?;
            starts.extend(std::iter::repeat_n(None, repeat.times.max(1)));
            continue;
        }
        let (sign, unsigned) = match word.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, word.strip_prefix('+').unwrap_or(word)),
        };
        let (first, rest) =
            scan_duration(unsigned).ok_or_else(|| wrong(word, "a duration is expected"))?;
        let repeat = parse_repeat(rest, scan_duration)?;
        let mut value = sign * first;
        for _ in 0..=repeat.times {
            starts.push(Some(value));
            match repeat.step {
                Some((true, step)) => value -= step,
                Some((false, step)) => value += step,
                None => {}
            }
        }
        if !repeat.rest.is_empty() {
            return Err(wrong(word, "unexpected text behind a start timestamp"));
        }
    }
    Ok(starts)
}

/// Milliseconds of a duration; returns them with the text behind.
fn scan_duration(text: &str) -> Option<(i64, &str)> {
    let belongs = |char: char| char.is_ascii_digit() || "ywdhms".contains(char);
    let end = text.find(|char| !belongs(char)).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let length = duration::parse(number).ok()?;
    Some((i64::try_from(length.as_millis()).ok()?, rest))
}

fn wrong(text: &str, why: impl ToString) -> ScriptError {
    ScriptError::series(text, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(text: &str) -> Vec<String> {
        let items = parse_items(text).expect("valid");
        let print = |item: &Item| match item {
            Item::Gap => "_".to_owned(),
            Item::Float(value) => value.to_string(),
            Item::Histogram { histogram, .. } => histogram.to_test_expression(),
        };
        items.iter().map(print).collect()
    }

    #[test]
    fn sequences_are_spelled_out() {
        assert_eq!(floats("1 _ _x2 -2"), ["1", "_", "_", "_", "-2"]);
        assert_eq!(floats("1x2 5-2x2"), ["1", "1", "1", "5", "3", "1"]);
        assert_eq!(floats("1e+2+1x1 -Inf NaN"), ["100", "101", "-inf", "NaN"]);
        let steps = ["{{count:1 sum:1}}", "{{count:3 sum:4}}"];
        assert_eq!(floats("{{sum:1 count:1}}+{{sum:3 count:2}}x1"), steps);
        assert!(parse_items("1+2").is_err() && parse_items("1y").is_err());
    }

    #[test]
    fn labels_come_with_or_without_a_name() {
        let read = |text| parse_labels(text).map(|(labels, rest)| (labels.to_string(), rest));
        let (labels, rest) = read("a:b{x=\"}\", 'y z'=\"1\",}@st 1").expect("valid");
        assert_eq!(labels, r#"{__name__="a:b", x="}", "y z"="1"}"#);
        assert_eq!(rest, "@st 1");
        assert_eq!(read("{\"m.n\"} 1").expect("valid").0, r#"{__name__="m.n"}"#);
        assert_eq!(read("{} 1").expect("valid"), ("{}".to_owned(), " 1"));
    }

    #[test]
    fn start_timestamps_are_relative() {
        let starts = parse_start_timestamps("_ -30s-1mx1 0 1ms _x2").expect("valid");
        let expected = [None, Some(-30_000), Some(-90_000), Some(0), Some(1), None, None];
        assert_eq!(starts, expected);
    }
}
