//! The functions that Prometheus gives to templates of alerts.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use narthex_model::{Labels, SearchRegex, Timestamp, duration};
use narthex_promql::{Sample, VectorElement};
use narthex_template::{Functions, Record, Value, general, query_escaped};

use crate::Expansion;

/// Answers instant queries: those of templates, and where rules are evaluated in place, theirs.
pub trait Queries {
    /// The vector that `query` gives at `time`; a scalar is one element without labels.
    fn query(&self, query: &str, time: Timestamp) -> Result<Vec<VectorElement>, String>;
}

const NAMES: [&str; 29] = [
    "args",
    "externalURL",
    "first",
    "graphLink",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "label",
    "match",
    "now",
    "parseDuration",
    "pathPrefix",
    "query",
    "reReplaceAll",
    "safeHtml",
    "sortByLabel",
    "stripDomain",
    "stripPort",
    "strvalue",
    "tableLink",
    "title",
    "toDuration",
    "toLower",
    "toTime",
    "toUpper",
    "urlQueryEscape",
    "value",
];

/// The longest text that `reReplaceAll` makes.
const REPLACED_BYTES_MAX: usize = 1 << 20;

/// Whether there is a function of this name.
pub(crate) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// The functions at one time.
pub(crate) struct PrometheusFunctions<'a> {
    expansion: &'a Expansion<'a>,
}

impl<'a> PrometheusFunctions<'a> {
    pub(crate) fn new(expansion: &'a Expansion<'a>) -> Self {
        Self { expansion }
    }

    fn query(&self, query: &str) -> Result<Value, String> {
        let elements = self.expansion.queries.query(query, self.expansion.time)?;
        Ok(Value::list(elements.iter().map(sample_value)))
    }
}

impl Functions for PrometheusFunctions<'_> {
    fn has(&self, name: &str) -> bool {
        is_known(name)
    }

    fn call(&self, name: &str, args: &[Value]) -> Result<Value, String> {
        match (name, args) {
            ("args", args) => arguments(args),
            ("externalURL", []) => Ok(Value::text(self.expansion.external_url)),
            ("pathPrefix", []) => Ok(Value::text(path_of(self.expansion.external_url))),
            ("now", []) => Ok(Value::Float(self.expansion.time.seconds())),
            ("query", [query]) => self.query(text(query)?),
            ("first", [Value::List(samples)]) => samples
                .first()
                .cloned()
                .ok_or_else(|| "first() called on vector with no elements".to_owned()),
            ("label", [label, sample]) => label_of(sample, text(label)?).map(Value::text),
            ("strvalue", [sample]) => label_of(sample, "__value__").map(Value::text),
            ("value", [Value::Record(sample)]) => {
                sample.field("Value").cloned().ok_or_else(|| "no sample".to_owned())
            }
            ("sortByLabel", [label, Value::List(samples)]) => sorted(text(label)?, samples),
            ("match", [pattern, subject]) => {
                let regex = SearchRegex::new(text(pattern)?).map_err(|error| error.to_string())?;
                Ok(Value::Bool(regex.is_match(text(subject)?)))
            }
            ("reReplaceAll", [pattern, replacement, subject]) => {
                let regex = SearchRegex::new(text(pattern)?).map_err(|error| error.to_string())?;
                let replaced =
                    regex.replace_all(text(subject)?, text(replacement)?, REPLACED_BYTES_MAX);
                replaced.map(Value::text).ok_or_else(|| "the text becomes too long".to_owned())
            }
            ("toDuration", [number]) => float(number).map(go_duration).map(Value::text),
            ("toTime", [number]) => time_of(float(number)?).map(Value::Time),
            (name, [only]) if name.starts_with("humanize") => humanized(name, float(only)?),
            (name, [only]) => of_text(name, text(only)?),
            (name, args) => {
                Err(format!("wrong number or types of args for {name}: {}", args.len()))
            }
        }
    }
}

/// Functions of one text.
fn of_text(name: &str, text: &str) -> Result<Value, String> {
    Ok(match name {
        "graphLink" => Value::text(format!("/graph?g0.expr={}&g0.tab=0", query_escaped(text))),
        "tableLink" => Value::text(format!("/graph?g0.expr={}&g0.tab=1", query_escaped(text))),
        "parseDuration" => Value::Float(parse_duration(text)?),
        "safeHtml" => Value::text(text),
        "stripDomain" => Value::text(without_domain(text)),
        "stripPort" => Value::text(host_and_port(text).map_or(text, |(host, _)| host)),
        "title" => Value::text(title(text)),
        "toLower" => Value::text(text.to_lowercase()),
        "toUpper" => Value::text(text.to_uppercase()),
        "urlQueryEscape" => Value::text(query_escaped(text)),
        _ => return Err("wrong type for value; got string".to_owned()),
    })
}

fn text(value: &Value) -> Result<&str, String> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(format!("wrong type for value; expected string; got {}", other.type_name())),
    }
}

/// A number, also one that is written as a text.
fn float(value: &Value) -> Result<f64, String> {
    match value {
        Value::Float(value) => Ok(*value),
        Value::Int(value) => Ok(*value as f64),
        Value::Text(text) => match text.to_ascii_lowercase().as_str() {
            "inf" | "+inf" | "infinity" | "+infinity" => Ok(f64::INFINITY),
            "-inf" | "-infinity" => Ok(f64::NEG_INFINITY),
            "nan" => Ok(f64::NAN),
            _ => text
                .parse()
                .map_err(|_| format!("strconv.ParseFloat: parsing {text:?}: invalid syntax")),
        },
        other => Err(format!("can't convert {} to float", other.type_name())),
    }
}

/// Labels as templates see them.
pub(crate) fn labels_value(labels: &Labels) -> Value {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn sample_value(element: &VectorElement) -> Value {
    let value = match &element.sample {
        Sample::Float(value) => Value::Float(*value),
        Sample::Histogram(histogram) => Value::text(histogram.to_string()),
    };
    let fields = vec![("Labels", labels_value(&element.labels)), ("Value", value)];
    Value::Record(Arc::new(Record { type_name: "*template.sample", fields }))
}

fn label_of<'a>(sample: &'a Value, label: &str) -> Result<&'a str, String> {
    let Value::Record(record) = sample else {
        let found = sample.type_name();
        return Err(format!("wrong type for value; expected *template.sample; got {found}"));
    };
    match record.field("Labels") {
        Some(Value::Texts(labels)) => Ok(labels.get(label).map_or("", String::as_str)),
        _ => Err("wrong type for value; expected *template.sample".to_owned()),
    }
}

fn sorted(label: &str, samples: &[Value]) -> Result<Value, String> {
    let mut keyed = Vec::with_capacity(samples.len());
    for sample in samples {
        keyed.push((label_of(sample, label)?, sample));
    }
    keyed.sort_by_key(|(value, _)| *value);
    Ok(Value::list(keyed.into_iter().map(|(_, sample)| sample.clone())))
}

/// `arg0`, `arg1`, …: several values as one. Not of such values themselves: a loop could nest them
/// as deep as it likes.
fn arguments(args: &[Value]) -> Result<Value, String> {
    if args.iter().any(|arg| matches!(arg, Value::Map(_))) {
        return Err("args inside of args".to_owned());
    }
    let named = args.iter().enumerate().map(|(at, arg)| (format!("arg{at}"), arg.clone()));
    Ok(Value::Map(Arc::new(named.collect::<BTreeMap<_, _>>())))
}

fn humanized(name: &str, value: f64) -> Result<Value, String> {
    let text = match name {
        "humanize" => humanize(value),
        "humanize1024" => humanize_1024(value),
        "humanizeDuration" => humanize_duration(value),
        "humanizePercentage" => format!("{}%", general(value * 100.0, 4)),
        _ if !value.is_finite() => general(value, 4),
        _ => Value::Time(time_of(value)?).to_string(),
    };
    Ok(Value::text(text))
}

fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return general(value, 4);
    }
    if value.abs() >= 1.0 {
        return larger(value, 1000.0, ["k", "M", "G", "T", "P", "E", "Z", "Y"]);
    }
    smaller(value)
}

fn humanize_1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return general(value, 4);
    }
    larger(value, 1024.0, ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"])
}

fn larger(mut value: f64, base: f64, prefixes: [&str; 8]) -> String {
    let mut prefix = "";
    for next in prefixes {
        if value.abs() < base {
            break;
        }
        prefix = next;
        value /= base;
    }
    format!("{}{prefix}", general(value, 4))
}

/// A value below one, by the prefix that makes it one or more.
fn smaller(mut value: f64) -> String {
    let mut prefix = "";
    for next in ["m", "u", "n", "p", "f", "a", "z", "y"] {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = next;
        value *= 1000.0;
    }
    format!("{}{prefix}", general(value, 4))
}

fn humanize_duration(value: f64) -> String {
    if !value.is_finite() {
        return general(value, 4);
    }
    if value == 0.0 {
        return "0s".to_owned();
    }
    if value.abs() < 1.0 {
        return format!("{}s", smaller(value));
    }
    let sign = if value < 0.0 { "-" } else { "" };
    // Beyond i64 the cast saturates.
    let whole = value.abs() as i64;
    let (seconds, minutes) = (whole % 60, whole / 60 % 60);
    let (hours, days) = (whole / 3600 % 24, whole / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", general(value.abs(), 4)),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, _, _) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    }
}

/// Seconds since the epoch as a time.
fn time_of(seconds: f64) -> Result<Timestamp, String> {
    if !seconds.is_finite() {
        return Err("value is NaN or Inf".to_owned());
    }
    let nanos = seconds * 1e9;
    if nanos.abs() > i64::MAX as f64 {
        let text = narthex_model::number::format_exposition(seconds);
        return Err(format!(
            "{text} cannot be represented as a nanoseconds timestamp since it overflows int64"
        ));
    }
    Ok(Timestamp::from_millis((nanos as i64).div_euclid(1_000_000)))
}

fn parse_duration(text: &str) -> Result<f64, String> {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text),
    };
    let length = duration::parse(unsigned).map_err(|error| error.to_string())?;
    Ok(sign * length.as_secs_f64())
}

/// Seconds as Go prints a duration: `1h2m3.5s`.
fn go_duration(seconds: f64) -> String {
    let sign = if seconds < 0.0 { "-" } else { "" };
    let magnitude = seconds.abs();
    if magnitude == 0.0 {
        return "0s".to_owned();
    }
    if magnitude < 1.0 {
        let (scaled, unit) = match magnitude {
            _ if magnitude >= 1e-3 => (magnitude * 1e3, "ms"),
            _ if magnitude >= 1e-6 => (magnitude * 1e6, "µs"),
            _ => (magnitude * 1e9, "ns"),
        };
        return format!("{sign}{}{unit}", general(scaled, 9));
    }
    let whole = magnitude as i64;
    let (hours, minutes) = (whole / 3600, whole / 60 % 60);
    let rest = magnitude - (whole - whole % 60) as f64;
    let rest = narthex_model::number::format_label((rest * 1e9).round() / 1e9);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{rest}s"),
        (0, _) => format!("{sign}{minutes}m{rest}s"),
        _ => format!("{sign}{hours}h{minutes}m{rest}s"),
    }
}

/// Each word's first letter as a capital; the others stay.
fn title(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut is_inside = false;
    for char in text.chars() {
        if !is_inside && char.is_alphabetic() {
            result.extend(char.to_uppercase());
        } else {
            result.push(char);
        }
        // An apostrophe belongs to the word around it.
        is_inside = char.is_alphanumeric() || char == '_' || (is_inside && char == '\'');
    }
    result
}

/// The two parts of `host:port` and `[v6]:port`, if that is what it is.
fn host_and_port(text: &str) -> Option<(&str, &str)> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (host, behind) = bracketed.split_once(']')?;
        let port = behind.strip_prefix(':').filter(|port| !port.contains(':'))?;
        return Some((host, port));
    }
    let (host, port) = text.rsplit_once(':')?;
    (!host.contains([':', '[', ']'])).then_some((host, port))
}

/// The first part of a name; addresses and ports stay.
fn without_domain(text: &str) -> String {
    let (host, port) = host_and_port(text).unwrap_or((text, ""));
    if host.parse::<IpAddr>().is_ok() {
        return text.to_owned();
    }
    let first = host.split('.').next().unwrap_or(host);
    match port {
        "" => first.to_owned(),
        port => format!("{first}:{port}"),
    }
}

/// The path of a URL.
fn path_of(url: &str) -> &str {
    let behind_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = behind_scheme.find('/').map_or("", |at| &behind_scheme[at..]);
    path.split(['?', '#']).next().unwrap_or(path)
}

#[cfg(test)]
mod tests;
