//! What the fields of each kind may hold: tables, and the one walk that checks an object against
//! them.
//!
//! The tables have the fields of prometheus-operator 0.93. A field that is not in them is refused
//! by its path, as kubectl's strict validation does; one that only means something to a pod is
//! taken as it is and noted.

mod tables;

use std::fmt::Write as _;

use narthex_model::duration;
use serde_json::Value;

use crate::{Kind, Note, Problem};

/// Problems beyond these are not collected.
const PROBLEMS_MAX: usize = 20;

/// A field of an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    name: &'static str,
    of: Type,
    is_required: bool,
    effect: Effect,
}

/// Whether a field changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    InForce,
    /// It is about the pods in which the Operator runs things.
    Pod,
    /// It is valid, and nothing looks at it yet.
    Idle,
}

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Type {
    Text,
    NonEmpty,
    Bool,
    Integer {
        min: i64,
        max: i64,
    },
    IntOrText,
    Duration,
    ByteSize,
    OneOf(&'static [&'static str]),
    /// What a rule of relabelling does, in any case.
    Action,
    List(&'static Self),
    NonEmptyList(&'static Self),
    Map(&'static Self),
    Object(&'static [Field]),
    /// An object of which only these fields are known; others are taken as they are.
    Open(&'static [Field]),
    /// [`Type::Object`] of a table that contains itself.
    Again(&'static &'static [Field]),
    Any,
}

pub(crate) const INTEGER: Type = Type::Integer { min: i64::MIN, max: i64::MAX };
pub(crate) const COUNT: Type = Type::Integer { min: 0, max: i64::MAX };
pub(crate) const INT_OR_TEXT: Type = Type::IntOrText;
pub(crate) const SCHEMES: &[&str] = &["http", "https", "HTTP", "HTTPS"];
pub(crate) const TLS_VERSIONS: &[&str] = &["TLS10", "TLS11", "TLS12", "TLS13"];
pub(crate) const SCRAPE_PROTOCOLS: &[&str] = &[
    "PrometheusProto",
    "OpenMetricsText0.0.1",
    "OpenMetricsText1.0.0",
    "PrometheusText0.0.4",
    "PrometheusText1.0.0",
];
const ACTIONS: &[&str] = &[
    "replace",
    "keep",
    "drop",
    "hashmod",
    "labelmap",
    "labeldrop",
    "labelkeep",
    "lowercase",
    "uppercase",
    "keepequal",
    "dropequal",
];

pub(crate) const fn optional(name: &'static str, of: Type) -> Field {
    Field { name, of, is_required: false, effect: Effect::InForce }
}

pub(crate) const fn required(name: &'static str, of: Type) -> Field {
    Field { name, of, is_required: true, effect: Effect::InForce }
}

pub(crate) const fn pod(name: &'static str) -> Field {
    Field { name, of: Type::Any, is_required: false, effect: Effect::Pod }
}

pub(crate) const fn idle(name: &'static str, of: Type) -> Field {
    Field { name, of, is_required: false, effect: Effect::Idle }
}

/// What a check found.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub problems: Vec<Problem>,
    pub notes: Vec<Note>,
}

/// Compares an object of `kind`, in `version`, with its table.
pub(crate) fn check(kind: Kind, version: &str, object: &Value) -> Checked {
    let mut checker = Checker { path: String::new(), checked: Checked::default() };
    checker.fields(tables::of(kind, version), object, true);
    checker.checked
}

/// A key of a Secret or ConfigMap that an object of the same namespace needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Where it is named.
    pub path: String,
    /// [`Kind::Secret`] or [`Kind::ConfigMap`].
    pub kind: Kind,
    /// The name of the object.
    pub name: String,
    /// The key in it.
    pub key: String,
}

/// What an object that fits its table refers to, but for what may be missing and what has no
/// effect.
pub(crate) fn references(kind: Kind, version: &str, object: &Value) -> Vec<Reference> {
    let mut found = Vec::new();
    find_references(tables::of(kind, version), object, "", &mut found);
    found
}

fn find_references(table: &[Field], object: &Value, path: &str, found: &mut Vec<Reference>) {
    for field in table.iter().filter(|field| field.effect == Effect::InForce) {
        let Some(value) = object.get(field.name) else { continue };
        let separator = if path.is_empty() { "" } else { "." };
        let path = format!("{path}{separator}{}", field.name);
        let mut of = field.of;
        let mut values = vec![(path, value)];
        while let Type::List(inner) | Type::NonEmptyList(inner) | Type::Map(inner) = of {
            of = *inner;
            values = values.into_iter().flat_map(|(path, value)| parts(&path, value)).collect();
        }
        for (path, value) in values {
            match of {
                Type::Object(table) if is_key_reference(table) => {
                    found.extend(reference(field.name, path, value));
                }
                Type::Object(table) => find_references(table, value, &path, found),
                Type::Again(table) => find_references(table, value, &path, found),
                _ => {}
            }
        }
    }
}

/// Whether it is the shape of a reference, which is the same everywhere.
fn is_key_reference(table: &[Field]) -> bool {
    table.iter().map(|field| field.name).eq(["key", "name", "optional"])
}

fn parts<'a>(path: &str, value: &'a Value) -> Vec<(String, &'a Value)> {
    match value {
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.map(|(at, item)| (format!("{path}[{at}]"), item)).collect()
        }
        Value::Object(map) => {
            map.iter().map(|(key, value)| (format!("{path}[{key}]"), value)).collect()
        }
        _ => Vec::new(),
    }
}

fn reference(field: &str, path: String, value: &Value) -> Option<Reference> {
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let kind = if field == "configMap" { Kind::ConfigMap } else { Kind::Secret };
    let is_needed = value["optional"] != Value::Bool(true) && !text("name").is_empty();
    is_needed.then(|| Reference { path, kind, name: text("name"), key: text("key") })
}

struct Checker {
    path: String,
    checked: Checked,
}

impl Checker {
    fn wrong(&mut self, message: impl Into<String>) {
        if self.checked.problems.len() < PROBLEMS_MAX {
            self.checked.problems.push(Problem::new(self.path.clone(), message));
        }
    }

    /// Checks a part of the value at hand.
    fn within(&mut self, part: &str, check: impl FnOnce(&mut Self)) {
        let before = self.path.len();
        self.path.push_str(part);
        check(self);
        self.path.truncate(before);
    }

    fn field(&mut self, name: &str, check: impl FnOnce(&mut Self)) {
        let part = if self.path.is_empty() { name.to_owned() } else { format!(".{name}") };
        self.within(&part, check);
    }

    fn fields(&mut self, table: &[Field], value: &Value, is_closed: bool) {
        let Value::Object(map) = value else {
            return self.wrong(format!("want an object, got {}", shown(value)));
        };
        for field in table.iter().filter(|field| field.is_required) {
            if map.get(field.name).is_none_or(Value::is_null) {
                self.field(field.name, |inner| inner.wrong("required, and missing"));
            }
        }
        for (name, value) in map.iter().filter(|(_, value)| !value.is_null()) {
            match table.iter().find(|field| field.name == name) {
                Some(field) => self.field(name, |inner| inner.known(field, value)),
                None if is_closed => self.field(name, |inner| inner.wrong("unknown field")),
                None => {}
            }
        }
    }

    fn known(&mut self, field: &Field, value: &Value) {
        let message = match field.effect {
            Effect::InForce => None,
            Effect::Pod => Some("ignored: there is no pod that it could be about"),
            Effect::Idle => Some("not in force in this version of Narthex"),
        };
        if let Some(message) = message {
            self.checked.notes.push(Note { path: self.path.clone(), message: message.to_owned() });
        }
        self.value(field.of, value);
    }

    fn value(&mut self, of: Type, value: &Value) {
        match (of, value) {
            (Type::Object(table), _) => self.fields(table, value, true),
            (Type::Open(table), _) => self.fields(table, value, false),
            (Type::Again(table), _) => self.fields(table, value, true),
            (Type::List(of), Value::Array(items)) => self.items(of, items),
            (Type::NonEmptyList(of), Value::Array(items)) if !items.is_empty() => {
                self.items(of, items);
            }
            (Type::Map(of), Value::Object(map)) => {
                for (key, value) in map {
                    self.within(&format!("[{key}]"), |inner| inner.value(*of, value));
                }
            }
            (of, value) => {
                if let Err(message) = scalar(of, value) {
                    self.wrong(message);
                }
            }
        }
    }

    fn items(&mut self, of: &Type, items: &[Value]) {
        for (at, item) in items.iter().enumerate() {
            self.within(&format!("[{at}]"), |inner| inner.value(*of, item));
        }
    }
}

/// Whether a value without parts is what it should be; else why not.
fn scalar(of: Type, value: &Value) -> Result<(), String> {
    let text = value.as_str();
    let is_right = match of {
        Type::Any => true,
        Type::Text => text.is_some(),
        Type::NonEmpty => text.is_some_and(|text| !text.is_empty()),
        Type::Bool => value.is_boolean(),
        Type::IntOrText => text.is_some() || value.is_i64() || value.is_u64(),
        Type::Integer { min, max } => value.as_i64().is_some_and(|n| (min..=max).contains(&n)),
        Type::OneOf(known) => text.is_some_and(|text| known.contains(&text)),
        Type::Action => text.is_some_and(|text| ACTIONS.contains(&text.to_lowercase().as_str())),
        Type::Duration => match text {
            Some("") => true,
            Some(text) => duration::parse(text).map_err(|error| error.to_string()).map(|_| true)?,
            None => false,
        },
        Type::ByteSize => match text {
            Some("") => true,
            Some(text) => narthex_yaml::decode::parse_byte_size(text).map(|_| true)?,
            None => false,
        },
        Type::List(_) | Type::NonEmptyList(_) | Type::Map(_) => false,
        Type::Object(_) | Type::Open(_) | Type::Again(_) => false,
    };
    if is_right { Ok(()) } else { Err(format!("want {}, got {}", described(of), shown(value))) }
}

/// A value in a message: bounded, and nothing of what is inside of it.
fn shown(value: &Value) -> String {
    const TEXT_MAX: usize = 60;
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(text) if text.chars().count() > TEXT_MAX => {
            let start: String = text.chars().take(TEXT_MAX).collect();
            format!("{:?}…", start)
        }
        value => value.to_string(),
    }
}

/// A type in a message.
fn described(of: Type) -> String {
    match of {
        Type::Text => "a text".to_owned(),
        Type::NonEmpty => "a text that is not empty".to_owned(),
        Type::Bool => "true or false".to_owned(),
        Type::Integer { min: i64::MIN, max: i64::MAX } => "a whole number".to_owned(),
        Type::Integer { min, max: i64::MAX } => format!("a whole number from {min}"),
        Type::Integer { min, max } => format!("a whole number from {min} to {max}"),
        Type::IntOrText => "a whole number or a text".to_owned(),
        Type::Duration => "a duration such as 30s or 1h30m".to_owned(),
        Type::ByteSize => "a size such as 512MB".to_owned(),
        Type::Action => format!("one of {}", ACTIONS.join(", ")),
        Type::OneOf(known) => format!("one of {}", known.join(", ")),
        Type::List(of) => format!("a list of {}", described_items(*of)),
        Type::NonEmptyList(of) => {
            format!("a list that is not empty, of {}", described_items(*of))
        }
        Type::Map(of) => format!("a map to {}", described(*of)),
        Type::Object(_) | Type::Open(_) | Type::Again(_) => "an object".to_owned(),
        Type::Any => "anything".to_owned(),
    }
}

fn described_items(of: Type) -> String {
    match of {
        Type::Object(_) | Type::Open(_) | Type::Again(_) => "objects".to_owned(),
        Type::Text | Type::NonEmpty => "texts".to_owned(),
        of => described(of),
    }
}

/// What a table says of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The path that was asked for, with the kind in front.
    pub path: String,
    /// What its value is.
    pub of: String,
    /// Whether an object needs it.
    pub is_required: bool,
    /// Why it has no effect; empty where it has.
    pub without_effect: &'static str,
    /// The fields of its value: names and what their values are.
    pub fields: Vec<(String, String)>,
}

/// What there is at `path`, such as `spec.endpoints.interval`; the kind itself where it is empty.
pub fn explain(kind: Kind, path: &str) -> Result<Explained, Problem> {
    let version = kind.api_versions().remove(0);
    let mut table = tables::of(kind, &version);
    let mut found = None;
    let mut walked = kind.name().to_owned();
    for name in path.split('.').filter(|name| !name.is_empty()) {
        let field = table.iter().find(|field| field.name == name);
        let Some(field) = field else {
            let known: Vec<_> = table.iter().map(|field| field.name).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let message = format!("there is no field {name:?}, only {known}");
            return Err(Problem::new(walked, message));
        };
        let _ = write!(walked, ".{name}");
        table = fields_of(field.of);
        found = Some(field);
    }
    let inner = table.iter().map(|field| {
        let mark = if field.is_required { " (required)" } else { "" };
        (field.name.to_owned(), format!("{}{mark}", described(field.of)))
    });
    Ok(Explained {
        path: walked,
        of: found.map_or("an object".to_owned(), |field| described(field.of)),
        is_required: found.is_some_and(|field| field.is_required),
        without_effect: match found.map(|field| field.effect) {
            Some(Effect::Pod) => "it is about pods, of which there are none",
            Some(Effect::Idle) => "it is not in force in this version of Narthex",
            _ => "",
        },
        fields: inner.collect(),
    })
}

fn fields_of(of: Type) -> &'static [Field] {
    match of {
        Type::Object(table) | Type::Open(table) => table,
        Type::Again(table) => table,
        Type::List(of) | Type::NonEmptyList(of) | Type::Map(of) => fields_of(*of),
        _ => &[],
    }
}

#[cfg(test)]
mod tests;
