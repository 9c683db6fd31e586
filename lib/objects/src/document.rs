//! YAML, of which JSON is a part, as kubectl reads it: several documents, and plain words that are
//! numbers or truth values.

use narthex_yaml::{Kind, Node, Problem, parse_all};
use serde_json::{Map, Number, Value};

/// Documents of one text at most.
const DOCUMENTS_MAX: usize = 10_000;

/// The documents of `text`, without those that say nothing. The items of a `List` are documents.
pub fn read_documents(text: &str) -> Result<Vec<Value>, Problem> {
    let mut documents = Vec::new();
    for node in parse_all(text)? {
        match value(&node) {
            Value::Null => {}
            Value::Object(mut list) if list.get("kind").is_some_and(|kind| kind == "List") => {
                match list.remove("items") {
                    Some(Value::Array(items)) => documents.extend(items),
                    _ => return Err(Problem::at(node.line, "items: a List needs a list of them")),
                }
            }
            document => documents.push(document),
        }
        if documents.len() > DOCUMENTS_MAX {
            return Err(Problem::at(node.line, format!("more than {DOCUMENTS_MAX} documents")));
        }
    }
    Ok(documents)
}

/// Depth is bounded by the reader of YAML.
fn value(node: &Node) -> Value {
    match &node.kind {
        Kind::Null => Value::Null,
        Kind::Scalar { text, plain: true } => plain(text),
        Kind::Scalar { text, plain: false } => Value::String(text.clone()),
        Kind::Sequence(items) => Value::Array(items.iter().map(value).collect()),
        Kind::Mapping(entries) => {
            let entries = entries.iter().map(|entry| (entry.key.clone(), value(&entry.value)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
    }
}

/// What a word without quotes stands for.
fn plain(text: &str) -> Value {
    match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        _ => number(text).unwrap_or_else(|| Value::String(text.to_owned())),
    }
}

fn number(text: &str) -> Option<Value> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let radix = match digits.get(..2) {
        Some("0x") => Some((16, &digits[2..])),
        Some("0o") => Some((8, &digits[2..])),
        Some("0b") => Some((2, &digits[2..])),
        // As YAML 1.1 writes octal numbers, such as the modes of files.
        _ if digits.len() > 1 && digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.strip_prefix('0').map(|octal| (8, octal))
        }
        _ => None,
    };
    if let Some((radix, digits)) = radix {
        let read = i64::from_str_radix(digits, radix).ok()?;
        return Some(Value::Number(if text.starts_with('-') { -read } else { read }.into()));
    }
    if let Ok(whole) = text.parse::<i64>() {
        return Some(Value::Number(whole.into()));
    }
    // Rust would read more than numbers.
    let is_number = digits.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    let read = text.parse::<f64>().ok().filter(|_| is_number)?;
    Number::from_f64(read).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn several_documents_and_lists() {
        let text =
            "a: 1\n---\n---\nkind: List\nitems:\n- {b: 2}\n- {c: 'no'}\n---\n{\"d\": null}\n";
        let read = read_documents(text).expect("valid");
        assert_eq!(
            read,
            [json!({"a": 1}), json!({"b": 2}), json!({"c": "no"}), json!({"d": null})]
        );
        let problem = read_documents("kind: List\n").expect_err("no items");
        assert_eq!(problem.to_string(), "line 1: items: a List needs a list of them");
    }

    #[test]
    fn plain_words_have_types() {
        let text = "[1, -2, 1.5, 1e3, 0x10, 0644, yes, off, 1.2.3, 5m, '1', .inf, 0, 1_000, 0z]";
        let read = read_documents(text).expect("valid").remove(0);
        assert_eq!(
            read,
            json!([
                1, -2, 1.5, 1000.0, 16, 420, true, false, "1.2.3", "5m", "1", ".inf", 0, "1_000",
                "0z"
            ])
        );
    }
}
