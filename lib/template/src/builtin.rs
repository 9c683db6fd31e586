//! The functions that every template has. `and` and `or` are executed elsewhere, as they do not
//! look at all of their arguments.

use std::cmp::Ordering;

use super::{Value, format};

const NAMES: [&str; 18] = [
    "and", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or", "print",
    "printf", "println", "slice", "urlquery",
];

/// Whether there is a function of this name.
pub(crate) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls one of [`NAMES`].
pub(crate) fn call(name: &str, args: &[Value]) -> Result<Value, String> {
    match name {
        "eq" => equal_to_any(args),
        "ne" => two(name, args).and_then(|(left, right)| Ok(Value::Bool(!is_equal(left, right)?))),
        "lt" => ordered(name, args, Ordering::is_lt),
        "le" => ordered(name, args, Ordering::is_le),
        "gt" => ordered(name, args, Ordering::is_gt),
        "ge" => ordered(name, args, Ordering::is_ge),
        "not" => one(name, args).map(|value| Value::Bool(!value.is_true())),
        "len" => one(name, args).and_then(length),
        "index" => index(args),
        "slice" => slice(args),
        "print" => format::print(args).map(Value::text),
        "println" => format::println(args).map(Value::text),
        "printf" => match args {
            [Value::Text(layout), args @ ..] => format::printf(layout, args).map(Value::text),
            [other, ..] => Err(wrong_type("string", other)),
            [] => Err("wrong number of args for printf: want at least 1 got 0".to_owned()),
        },
        "html" => Ok(Value::text(escaped(&format::print(args)?, html))),
        "js" => Ok(Value::text(escaped(&format::print(args)?, js))),
        "urlquery" => Ok(Value::text(query_escaped(&format::print(args)?))),
        // Executed where they stand.
        _ => Err(format!("{name} has no value of its own")),
    }
}

/// The error for an argument of another type than the function takes.
fn wrong_type(expected: &str, found: &Value) -> String {
    format!("wrong type for value; expected {expected}; got {}", found.type_name())
}

fn one<'a>(name: &str, args: &'a [Value]) -> Result<&'a Value, String> {
    match args {
        [only] => Ok(only),
        _ => Err(format!("wrong number of args for {name}: want 1 got {}", args.len())),
    }
}

fn two<'a>(name: &str, args: &'a [Value]) -> Result<(&'a Value, &'a Value), String> {
    match args {
        [left, right] => Ok((left, right)),
        _ => Err(format!("wrong number of args for {name}: want 2 got {}", args.len())),
    }
}

fn equal_to_any(args: &[Value]) -> Result<Value, String> {
    let [first, others @ ..] = args else {
        return Err("wrong number of args for eq: want at least 1 got 0".to_owned());
    };
    if others.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    for other in others {
        if is_equal(first, other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn is_equal(left: &Value, right: &Value) -> Result<bool, String> {
    match (left, right) {
        (Value::Nil, other) | (other, Value::Nil) => Ok(matches!(other, Value::Nil)),
        (Value::Bool(left), Value::Bool(right)) => Ok(left == right),
        (Value::Int(left), Value::Int(right)) => Ok(left == right),
        (Value::Float(left), Value::Float(right)) => Ok(left == right),
        (Value::Text(left), Value::Text(right)) => Ok(left == right),
        (Value::Time(left), Value::Time(right)) => Ok(left == right),
        _ => Err(incomparable(left, right)),
    }
}

fn incomparable(left: &Value, right: &Value) -> String {
    let is_basic = |value: &Value| {
        matches!(value, Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_))
    };
    match [left, right].into_iter().find(|value| !is_basic(value)) {
        Some(other) => format!("non-comparable type {}", other.type_name()),
        None => "incompatible types for comparison".to_owned(),
    }
}

fn ordered(name: &str, args: &[Value], holds: fn(Ordering) -> bool) -> Result<Value, String> {
    let (left, right) = two(name, args)?;
    let order = match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Float(left), Value::Float(right)) => left.partial_cmp(right),
        (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
        _ => return Err(incomparable(left, right)),
    };
    Ok(Value::Bool(order.is_some_and(holds)))
}

fn length(value: &Value) -> Result<Value, String> {
    let len = match value {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Texts(entries) => entries.len(),
        Value::Map(entries) => entries.len(),
        other => return Err(format!("len of type {}", other.type_name())),
    };
    Ok(Value::Int(i64::try_from(len).unwrap_or(i64::MAX)))
}

/// The element of the first argument that the others lead to.
fn index(args: &[Value]) -> Result<Value, String> {
    let [first, keys @ ..] = args else {
        return Err("wrong number of args for index: want at least 1 got 0".to_owned());
    };
    keys.iter().try_fold(first.clone(), |value, key| match (&value, key) {
        (Value::Texts(entries), Value::Text(key)) => {
            Ok(Value::text(entries.get(&**key).map_or("", String::as_str)))
        }
        (Value::Map(entries), Value::Text(key)) => {
            Ok(entries.get(&**key).cloned().unwrap_or(Value::Nil))
        }
        (Value::List(items), Value::Int(at)) => {
            let item = usize::try_from(*at).ok().and_then(|at| items.get(at));
            item.cloned().ok_or_else(|| format!("index out of range: {at}"))
        }
        (Value::Text(text), Value::Int(at)) => {
            let byte = usize::try_from(*at).ok().and_then(|at| text.as_bytes().get(at));
            let byte = byte.ok_or_else(|| format!("index out of range: {at}"))?;
            Ok(Value::Int(i64::from(*byte)))
        }
        (Value::Texts(_) | Value::Map(_), key) => Err(wrong_type("string", key)),
        (Value::List(_) | Value::Text(_), key) => {
            Err(format!("cannot index slice/array with type {}", key.type_name()))
        }
        (Value::Nil, _) => Err("index of untyped nil".to_owned()),
        (other, _) => Err(format!("can't index item of type {}", other.type_name())),
    })
}

/// The part of a text or a list between two places; without the second, up to the end.
fn slice(args: &[Value]) -> Result<Value, String> {
    let [subject, bounds @ ..] = args else {
        return Err("wrong number of args for slice: want at least 1 got 0".to_owned());
    };
    let Value::Int(len) = length(subject)? else { unreachable!("BUG: a length is a number") };
    if bounds.len() > 2 {
        return Err(format!("too many slice indexes: {}", bounds.len()));
    }
    let bound = |at: usize, default: i64| match bounds.get(at) {
        None => Ok(default),
        Some(Value::Int(bound)) if (0..=len).contains(bound) => Ok(*bound),
        Some(Value::Int(bound)) => Err(format!("index out of range: {bound}")),
        Some(other) => Err(format!("cannot index slice/array with type {}", other.type_name())),
    };
    let (from, to) = (bound(0, 0)?, bound(1, len)?);
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    let range = usize::try_from(from).unwrap_or(0)..usize::try_from(to).unwrap_or(0);
    match subject {
        // Where a cut falls into a character, the pieces are no UTF-8 and shown as such.
        Value::Text(text) => {
            Ok(Value::text(String::from_utf8_lossy(&text.as_bytes()[range]).into_owned()))
        }
        Value::List(items) => Ok(Value::list(items[range].iter().cloned())),
        other => Err(format!("can't slice item of type {}", other.type_name())),
    }
}

fn escaped(text: &str, escape: fn(char) -> Option<String>) -> String {
    let mut result = String::with_capacity(text.len());
    for char in text.chars() {
        match escape(char) {
            Some(replaced) => result.push_str(&replaced),
            None => result.push(char),
        }
    }
    result
}

fn html(char: char) -> Option<String> {
    let entity = match char {
        '"' => "&#34;",
        '\'' => "&#39;",
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        '\0' => "\u{fffd}",
        _ => return None,
    };
    Some(entity.to_owned())
}

fn js(char: char) -> Option<String> {
    match char {
        '\\' => Some("\\\\".to_owned()),
        '\'' => Some("\\'".to_owned()),
        '"' => Some("\\\"".to_owned()),
        '<' | '>' | '&' | '=' | '\0'..='\x1f' => Some(format!("\\u{:04X}", char as u32)),
        _ => None,
    }
}

/// As Go escapes the value of a query parameter.
pub fn query_escaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                result.push(char::from(byte));
            }
            b' ' => result.push('+'),
            _ => result.push_str(&format!("%{byte:02X}")),
        }
    }
    result
}
