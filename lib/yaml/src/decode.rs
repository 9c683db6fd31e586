//! Typed values out of [`Node`]s, with Prometheus's wording where something does not fit.

use std::time::Duration;

use narthex_model::duration;

use super::{Entry, Kind, Node, Problem};

/// The keys of one mapping, each taken once; what is left over at the end is unknown.
pub struct Fields<'a> {
    go_type: &'static str,
    entries: &'a [Entry],
    taken: Vec<bool>,
    /// The line of the mapping.
    pub line: usize,
}

impl<'a> Fields<'a> {
    /// Opens a mapping; nothing counts as a mapping without keys. `go_type` is how Prometheus
    /// names the type in errors.
    pub fn open(node: &'a Node, go_type: &'static str) -> Result<Self, Problem> {
        let entries: &[Entry] = match &node.kind {
            Kind::Mapping(entries) => entries,
            Kind::Null => &[],
            _ => return Err(mismatch(node, go_type)),
        };
        Ok(Self { go_type, entries, taken: vec![false; entries.len()], line: node.line })
    }

    /// The value of `key`, unless it is absent or nothing.
    pub fn take(&mut self, key: &str) -> Option<&'a Node> {
        let at = self.entries.iter().position(|entry| entry.key == key)?;
        self.taken[at] = true;
        let node = &self.entries[at].value;
        (node.kind != Kind::Null).then_some(node)
    }

    /// Whether `key` is written at all, even with nothing behind it.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Takes `key` and reads it with `read`.
    pub fn read<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&'a Node) -> Result<T, Problem>,
    ) -> Result<Option<T>, Problem> {
        self.take(key).map(read).transpose()
    }

    /// Refuses keys that nobody took.
    pub fn finish(self) -> Result<(), Problem> {
        match self.taken.iter().position(|taken| !taken) {
            None => Ok(()),
            Some(at) => Err(unknown_field(&self.entries[at], self.go_type)),
        }
    }

    /// The first key that nobody took.
    pub fn untaken(&self) -> Option<&'a Entry> {
        let at = self.taken.iter().position(|taken| !taken)?;
        Some(&self.entries[at])
    }
}

/// The error for a key that the type does not have.
pub fn unknown_field(entry: &Entry, go_type: &str) -> Problem {
    Problem::at(entry.line, format!("field {} not found in type {go_type}", entry.key))
}

fn mismatch(node: &Node, go_type: &str) -> Problem {
    let found = match &node.kind {
        Kind::Null => "!!null".to_owned(),
        Kind::Scalar { text, .. } => format!("!!str `{}`", shortened(text)),
        Kind::Sequence(_) => "!!seq".to_owned(),
        Kind::Mapping(_) => "!!map".to_owned(),
    };
    Problem::at(node.line, format!("cannot unmarshal {found} into {go_type}"))
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(7).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
}

fn plain_text<'a>(node: &'a Node, go_type: &str) -> Result<&'a str, Problem> {
    match &node.kind {
        Kind::Scalar { text, .. } => Ok(text),
        _ => Err(mismatch(node, go_type)),
    }
}

/// A text; nothing is the empty one.
pub fn text(node: &Node) -> Result<String, Problem> {
    match &node.kind {
        Kind::Null => Ok(String::new()),
        _ => plain_text(node, "string").map(str::to_owned),
    }
}

/// A truth value, by the words of YAML 1.1 as Go's decoder knows them.
pub fn truth(node: &Node) -> Result<bool, Problem> {
    let Kind::Scalar { text, plain: true } = &node.kind else {
        return Err(mismatch(node, "bool"));
    };
    match text.as_str() {
        "true" | "True" | "TRUE" | "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
            Ok(true)
        }
        "false" | "False" | "FALSE" | "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            Ok(false)
        }
        _ => Err(mismatch(node, "bool")),
    }
}

/// A whole number that is not negative.
pub fn count(node: &Node) -> Result<u64, Problem> {
    let text = plain_text(node, "uint")?;
    text.replace('_', "").parse().map_err(|_| mismatch(node, "uint"))
}

/// A Prometheus duration, `1h30m`.
pub fn period(node: &Node) -> Result<Duration, Problem> {
    let text = plain_text(node, "model.Duration")?;
    duration::parse(text).map_err(|error| Problem::at(node.line, error.to_string()))
}

/// A number of bytes, `512KB`, in which every unit is a power of 1024.
pub fn byte_size(node: &Node) -> Result<u64, Problem> {
    let text = plain_text(node, "units.Base2Bytes")?;
    parse_byte_size(text).map_err(|why| Problem::at(node.line, why))
}

/// A size as Prometheus writes it, such as `512MB`; powers of 1024.
pub fn parse_byte_size(text: &str) -> Result<u64, String> {
    let invalid = |why: &str| format!("units: {why} {text:?}");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| invalid("invalid"))?;
    let power = match unit.trim_end_matches('B').trim_end_matches('i') {
        "" if unit != "i" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        "P" => 5,
        "E" => 6,
        _ => return Err(invalid("unknown unit in")),
    };
    Ok((number * 1024f64.powi(power)) as u64)
}

/// A number, with the names of YAML 1.1 for infinities and for what is none.
pub fn float(node: &Node) -> Result<f64, Problem> {
    let text = plain_text(node, "float64")?;
    match text {
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Ok(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Ok(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => Ok(f64::NAN),
        // What Rust would read beyond numbers: Go's decoder takes these for texts.
        _ if text
            .bytes()
            .any(|byte| byte.is_ascii_alphabetic() && !matches!(byte, b'e' | b'E')) =>
        {
            Err(mismatch(node, "float64"))
        }
        _ => text.replace('_', "").parse().map_err(|_| mismatch(node, "float64")),
    }
}

/// A list, each item read with `read`.
pub fn list<'a, T>(
    node: &'a Node,
    mut read: impl FnMut(&'a Node) -> Result<T, Problem>,
) -> Result<Vec<T>, Problem> {
    match &node.kind {
        Kind::Sequence(items) => items.iter().map(&mut read).collect(),
        Kind::Null => Ok(Vec::new()),
        // Go's decoder takes a lone value for a list of one.
        Kind::Scalar { .. } => Ok(vec![read(node)?]),
        Kind::Mapping(_) => Err(mismatch(node, "[]string")),
    }
}

/// A mapping of texts to what `read` makes of the values.
pub fn map<'a, T>(
    node: &'a Node,
    mut read: impl FnMut(&'a Node) -> Result<T, Problem>,
) -> Result<Vec<(String, T)>, Problem> {
    match &node.kind {
        Kind::Mapping(entries) => {
            entries.iter().map(|entry| Ok((entry.key.clone(), read(&entry.value)?))).collect()
        }
        Kind::Null => Ok(Vec::new()),
        _ => Err(mismatch(node, "map[string]string")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node {
        crate::parse(text).expect("valid YAML")
    }

    #[test]
    fn numbers_have_the_names_of_yaml() {
        assert_eq!(float(&node("-1.5e3")).expect("a number"), -1500.0);
        assert_eq!(float(&node("1_000")).expect("a number"), 1000.0);
        assert_eq!(float(&node("+.Inf")).expect("a number"), f64::INFINITY);
        assert!(float(&node(".nan")).expect("a number").is_nan());
        for text in ["inf", "NaN", "x", "[1]"] {
            assert!(float(&node(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_units_of_1024() {
        for (text, bytes) in
            [("0", 0), ("17", 17), ("10B", 10), ("1KB", 1024), ("1.5MiB", 3 << 19), ("2G", 2 << 30)]
        {
            assert_eq!(byte_size(&node(text)).expect(text), bytes, "{text}");
        }
        for text in ["-1", "x", "1XB", "1i"] {
            assert!(byte_size(&node(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn truth_needs_a_plain_word() {
        assert!(truth(&node("yes")).expect("yes"));
        assert!(!truth(&node("off")).expect("off"));
        let problem = truth(&node("'yes'")).expect_err("quoted");
        assert_eq!(problem.to_string(), "line 1: cannot unmarshal !!str `yes` into bool");
    }

    #[test]
    fn keys_that_nobody_takes_are_named_with_their_line() {
        let node = node("a: 1\nfoo: 2\n");
        let mut fields = Fields::open(&node, "config.plain").expect("a mapping");
        assert_eq!(fields.read("a", count).expect("a number"), Some(1));
        let problem = fields.finish().expect_err("foo is unknown");
        assert_eq!(problem.to_string(), "line 2: field foo not found in type config.plain");
    }
}
