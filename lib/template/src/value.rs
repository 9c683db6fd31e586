//! What templates work on.

use std::{collections::BTreeMap, fmt, sync::Arc};

use narthex_model::{Timestamp, number};

use crate::time;

/// A value. Cloning shares what is large.
#[derive(Debug, Clone)]
pub enum Value {
    /// Nothing, which prints as `<no value>`.
    Nil,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(Arc<str>),
    /// Texts by their names, as labels are; what is not there is the empty text.
    Texts(Arc<BTreeMap<String, String>>),
    /// Values by their names; what is not there is [`Value::Nil`].
    Map(Arc<BTreeMap<String, Value>>),
    /// A list.
    List(Arc<[Value]>),
    /// A value with fixed fields; to ask for another one is an error.
    Record(Arc<Record>),
    /// A point in time, in UTC.
    Time(Timestamp),
}

/// A value with fixed fields.
#[derive(Debug, Clone)]
pub struct Record {
    /// How Go calls the type, in errors.
    pub type_name: &'static str,
    /// Names and values.
    pub fields: Vec<(&'static str, Value)>,
}

impl Record {
    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }
}

impl Value {
    /// A text.
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// A list.
    pub fn list(items: impl IntoIterator<Item = Self>) -> Self {
        Self::List(items.into_iter().collect())
    }

    /// How Go calls the type, in errors.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Texts(_) => "map[string]string",
            Self::Map(_) => "map[string]interface {}",
            Self::List(_) => "[]interface {}",
            Self::Record(record) => record.type_name,
            Self::Time(_) => "*time.Time",
        }
    }

    /// Whether `if` takes its branch: not for false, zero, nothing and what is empty.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::Texts(entries) => !entries.is_empty(),
            Self::Map(entries) => !entries.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Record(_) | Self::Time(_) => true,
        }
    }
}

/// Texts by their names, shared.
impl FromIterator<(String, String)> for Value {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(entries: I) -> Self {
        Self::Texts(Arc::new(entries.into_iter().collect()))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

/// As an action prints it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("<no value>"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => f.write_str(&number::format_exposition(*value)),
            Self::Text(text) => f.write_str(text),
            Self::Texts(entries) => {
                f.write_str("map[")?;
                for (at, (name, value)) in entries.iter().enumerate() {
                    write!(f, "{}{name}:{value}", blank(at))?;
                }
                f.write_str("]")
            }
            Self::Map(entries) => {
                f.write_str("map[")?;
                for (at, (name, value)) in entries.iter().enumerate() {
                    write!(f, "{}{name}:{}", blank(at), Nested(value))?;
                }
                f.write_str("]")
            }
            Self::List(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{}", blank(at), Nested(item))?;
                }
                f.write_str("]")
            }
            Self::Record(record) => {
                f.write_str("{")?;
                for (at, (_, value)) in record.fields.iter().enumerate() {
                    write!(f, "{}{}", blank(at), Nested(value))?;
                }
                f.write_str("}")
            }
            Self::Time(time) => f.write_str(&time::standard(*time)),
        }
    }
}

/// What stands in front of an element.
fn blank(at: usize) -> &'static str {
    if at == 0 { "" } else { " " }
}

/// A value as it is printed inside of another one, or by a function.
pub(crate) struct Nested<'a>(pub(crate) &'a Value);

impl fmt::Display for Nested<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Nil => f.write_str("<nil>"),
            value => value.fmt(f),
        }
    }
}
