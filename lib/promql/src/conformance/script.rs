//! Scripts to commands.
//!
//! Lines are trimmed and `#` lines are empty ones. A command takes the lines up to the next empty
//! one.

use narthex_model::{Labels, Regex, Timestamp, duration};

use super::{
    ScriptError,
    series::{Item, parse_items, parse_labels, parse_start_timestamps},
};
use crate::{Steps, parser::unquote};

/// A command and the line it begins at, from 1.
pub(super) struct Command {
    pub(super) line: usize,
    pub(super) kind: CommandKind,
}

pub(super) enum CommandKind {
    /// Forgets all series.
    Clear,
    Load(Load),
    Eval(Box<Eval>),
}

/// Series to store.
pub(super) struct Load {
    /// Milliseconds from value to value; the first is at the epoch.
    pub(super) step_millis: i64,
    /// Whether classic histograms are stored as native ones too.
    pub(super) with_custom_buckets: bool,
    pub(super) series: Vec<LoadSeries>,
}

pub(super) struct LoadSeries {
    pub(super) labels: Labels,
    pub(super) items: Vec<Item>,
    /// Start timestamps relative to the samples, in milliseconds.
    pub(super) starts: Vec<Option<i64>>,
}

/// A query and what it must answer.
pub(super) struct Eval {
    pub(super) query: String,
    pub(super) steps: Steps,
    pub(super) is_range: bool,
    pub(super) expected: Expected,
}

#[derive(Default)]
pub(super) struct Expected {
    pub(super) ordered: bool,
    pub(super) fail: Option<Vec<Text>>,
    pub(super) warnings: Notes,
    pub(super) infos: Notes,
    pub(super) string: Option<String>,
    /// The times of a range vector's samples.
    pub(super) range_vector: Option<Steps>,
    pub(super) scalar: Option<f64>,
    pub(super) series: Vec<(Labels, Vec<Item>)>,
}

/// What annotations of one kind must be there.
#[derive(Default)]
pub(super) struct Notes {
    /// None at all.
    pub(super) none: bool,
    /// At least one.
    pub(super) some: bool,
    /// These, and no others.
    pub(super) texts: Vec<Text>,
}

/// A text that must be met.
pub(super) enum Text {
    Any,
    Exactly(String),
    /// Somewhere in the text.
    Matching(Regex),
}

impl Text {
    pub(super) fn is_met(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(wanted) => wanted == text,
            Self::Matching(regex) => regex.is_match(text),
        }
    }
}

/// Lines with their numbers.
struct Lines<'a> {
    lines: Vec<&'a str>,
    at: usize,
}

impl<'a> Lines<'a> {
    /// The rest of a block.
    fn block(&mut self) -> Vec<&'a str> {
        let rest = &self.lines[self.at..];
        let len = rest.iter().position(|line| line.is_empty()).unwrap_or(rest.len());
        self.at += len;
        rest[..len].to_vec()
    }
}

/// Reads a whole script.
pub(super) fn parse(script: &str) -> Result<Vec<Command>, ScriptError> {
    let clean = |line: &'_ str| if line.starts_with('#') { "" } else { line }.len();
    let lines = script.lines().map(str::trim).map(|line| &line[..clean(line)]).collect();
    let mut lines = Lines { lines, at: 0 };
    let mut commands = Vec::new();
    while let Some(first) = lines.lines.get(lines.at) {
        lines.at += 1;
        if first.is_empty() {
            continue;
        }
        let line = lines.at;
        let kind = parse_command(first, &mut lines).map_err(|error| error.at_line(line))?;
        commands.push(Command { line, kind });
    }
    Ok(commands)
}

fn parse_command(first: &str, lines: &mut Lines<'_>) -> Result<CommandKind, ScriptError> {
    let (word, rest) = first.split_once(char::is_whitespace).unwrap_or((first, ""));
    match word {
        "clear" => Ok(CommandKind::Clear),
        "load" | "load_with_nhcb" => {
            let load = parse_load(rest, word == "load_with_nhcb", lines)?;
            Ok(CommandKind::Load(load))
        }
        _ => match word.strip_prefix("eval") {
            Some(mode) => Ok(CommandKind::Eval(Box::new(parse_eval(mode, rest, lines)?))),
            None => Err(ScriptError::command(first)),
        },
    }
}

fn parse_load(
    step: &str,
    with_custom_buckets: bool,
    lines: &mut Lines<'_>,
) -> Result<Load, ScriptError> {
    let mut load =
        Load { step_millis: parse_millis(step)?, with_custom_buckets, series: Vec::new() };
    let mut starts: Option<(Labels, Vec<Option<i64>>)> = None;
    for line in lines.block() {
        let (labels, rest) = parse_labels(line)?;
        if let Some(text) = rest.strip_prefix("@st") {
            starts = Some((labels, parse_start_timestamps(text)?));
            continue;
        }
        let starts = match starts.take() {
            Some((of, starts)) if of == labels => starts,
            Some(_) => return Err(ScriptError::series(line, "start timestamps of other series")),
            None => Vec::new(),
        };
        let series = LoadSeries { items: parse_items(rest)?, labels, starts };
        load.series.retain(|earlier| earlier.labels != series.labels);
        load.series.push(series);
    }
    Ok(load)
}

/// `mode` is what the old forms have behind `eval`, `_fail` for example.
fn parse_eval(mode: &str, rest: &str, lines: &mut Lines<'_>) -> Result<Eval, ScriptError> {
    let wrong = || ScriptError::command(rest);
    let (kind, rest) = rest.split_once(char::is_whitespace).ok_or_else(wrong)?;
    let (steps, query) = match kind {
        "instant" => parse_instant(rest.trim_start())?,
        "range" => parse_range(rest.trim_start())?,
        _ => return Err(wrong()),
    };
    let mut expected = Expected::default();
    match mode {
        "" => {}
        "_fail" => expected.fail = Some(Vec::new()),
        "_warn" => expected.warnings.some = true,
        "_info" => expected.infos.some = true,
        "_ordered" => expected.ordered = true,
        _ => return Err(wrong()),
    }
    for line in lines.block() {
        expected.parse_line(line)?;
    }
    Ok(Eval { query: query.to_owned(), steps, is_range: kind == "range", expected })
}

/// `at 5m QUERY`, or a query at the epoch.
fn parse_instant(text: &str) -> Result<(Steps, &str), ScriptError> {
    let (time, query) = match text.strip_prefix("at ") {
        Some(rest) => take_word(rest).ok_or_else(|| ScriptError::command(text))?,
        None => ("0", text),
    };
    let time = Timestamp::from_millis(parse_millis(time)?);
    Ok((Steps { start: time, end: time, step_millis: 0 }, query))
}

/// `from 0 to 10m step 1m QUERY`, also without a query.
fn parse_range(text: &str) -> Result<(Steps, &str), ScriptError> {
    let wrong = || ScriptError::command(text);
    let mut rest = text;
    let mut times = [0; 3];
    for (time, word) in times.iter_mut().zip(["from", "to", "step"]) {
        let (found, behind) = take_word(rest).ok_or_else(wrong)?;
        if found != word {
            return Err(wrong());
        }
        let (text, behind) = take_word(behind).ok_or_else(wrong)?;
        *time = parse_millis(text)?;
        rest = behind;
    }
    let [start, end, step_millis] = times;
    let (start, end) = (Timestamp::from_millis(start), Timestamp::from_millis(end));
    Ok((Steps { start, end, step_millis }, rest))
}

fn take_word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (end > 0).then(|| (&text[..end], text[end..].trim_start()))
}

/// Milliseconds of a duration, which may be negative or a number of seconds.
fn parse_millis(text: &str) -> Result<i64, ScriptError> {
    let text = text.trim();
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    if let Ok(length) = duration::parse(unsigned) {
        return Ok(sign * length.as_millis() as i64);
    }
    let seconds: f64 = unsigned.parse().map_err(|_| ScriptError::command(text))?;
    Ok(sign * (seconds * 1000.0).round() as i64)
}

impl Expected {
    fn parse_line(&mut self, line: &str) -> Result<(), ScriptError> {
        if let Some(rest) = line.strip_prefix("expect ") {
            return self.parse_expect(rest.trim());
        }
        if let Some(message) = line.strip_prefix("expected_fail_message ") {
            self.fail.get_or_insert_default().push(Text::Exactly(message.trim().to_owned()));
            return Ok(());
        }
        if let Some(pattern) = line.strip_prefix("expected_fail_regexp ") {
            self.fail.get_or_insert_default().push(matching(pattern.trim())?);
            return Ok(());
        }
        if let Ok(number) = line.parse() {
            self.scalar = Some(number);
            return Ok(());
        }
        let (labels, rest) = parse_labels(line)?;
        self.series.push((labels, parse_items(rest)?));
        Ok(())
    }

    fn parse_expect(&mut self, text: &str) -> Result<(), ScriptError> {
        let (word, rest) = take_word(text).ok_or_else(|| ScriptError::command(text))?;
        match word {
            "ordered" => self.ordered = true,
            "fail" => self.fail.get_or_insert_default().push(parse_text(rest)?),
            "warn" => self.warnings.push(parse_text(rest)?),
            "info" => self.infos.push(parse_text(rest)?),
            "no_warn" => self.warnings.none = true,
            "no_info" => self.infos.none = true,
            "string" => {
                let literal = rest.trim();
                let is_quoted = literal.len() >= 2 && literal.starts_with(['"', '\'', '`']);
                let bytes = if is_quoted { unquote(literal) } else { literal.into() };
                self.string = Some(String::from_utf8_lossy(&bytes).into_owned());
            }
            "range" => {
                let rest = rest.strip_prefix("vector").ok_or_else(|| ScriptError::command(text))?;
                self.range_vector = Some(parse_range(rest.trim_start())?.0);
            }
            _ => return Err(ScriptError::command(text)),
        }
        Ok(())
    }
}

impl Notes {
    fn push(&mut self, text: Text) {
        self.some = true;
        if !matches!(text, Text::Any) {
            self.texts.push(text);
        }
    }
}

/// `msg: TEXT`, `regex: PATTERN` or nothing.
fn parse_text(text: &str) -> Result<Text, ScriptError> {
    if let Some(message) = text.strip_prefix("msg:") {
        return Ok(Text::Exactly(message.trim().to_owned()));
    }
    match text.strip_prefix("regex:") {
        Some(pattern) => matching(pattern.trim()),
        None if text.is_empty() => Ok(Text::Any),
        None => Err(ScriptError::command(text)),
    }
}

fn matching(pattern: &str) -> Result<Text, ScriptError> {
    let anywhere = format!("(?s:.*)(?:{pattern})(?s:.*)");
    let regex = Regex::new(&anywhere).map_err(|error| ScriptError::series(pattern, error))?;
    Ok(Text::Matching(regex))
}
