//! Label matchers: `name="value"`, `name!="value"`, `name=~"regex"`, `name!~"regex"`.

use std::fmt;

use crate::{InvalidRegex, Regex, is_legacy_label_name, quote};

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored at both ends
    Regex,
    /// `!~`, anchored at both ends
    NotRegex,
}

impl MatchOp {
    /// The operator as written.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// A condition on one label. A label that is absent counts as empty.
#[derive(Debug, Clone)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    regex: Option<Regex>,
}

impl Matcher {
    /// Compiles the value of a regex matcher.
    pub fn new(
        op: MatchOp,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<Self, InvalidRegex> {
        let value = value.into();
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Regex::new(&value)?),
        };
        Ok(Self { name: name.into(), op, value, regex })
    }

    /// `name="value"`, which cannot fail.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), regex: None }
    }

    /// The label's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The text it compares with; a pattern for the regex operators.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The compiled pattern of the regex operators.
    pub fn regex(&self) -> Option<&Regex> {
        self.regex.as_ref()
    }

    /// Whether a label of value `text` satisfies the condition.
    pub fn matches(&self, text: &str) -> bool {
        match (self.op, &self.regex) {
            (MatchOp::Equal, _) => self.value == text,
            (MatchOp::NotEqual, _) => self.value != text,
            (MatchOp::Regex, Some(regex)) => regex.is_match(text),
            (MatchOp::NotRegex, Some(regex)) => !regex.is_match(text),
            (_, None) => unreachable!("BUG: regex matcher without regex"),
        }
    }

    /// Whether series that lack the label satisfy the condition.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

/// As in a selector; names beyond the classic character set are quoted.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_legacy_label_name(&self.name) {
            f.write_str(&self.name)?;
        } else {
            quote(&self.name).fmt(f)?;
        }
        write!(f, "{}{}", self.op.text(), quote(&self.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(op: MatchOp, value: &str) -> Matcher {
        Matcher::new(op, "job", value).expect("valid pattern")
    }

    #[test]
    fn each_operator_compares() {
        assert!(matcher(MatchOp::Equal, "api").matches("api"));
        assert!(matcher(MatchOp::NotEqual, "api").matches_empty());
        assert!(matcher(MatchOp::Regex, "a.i|web").matches("api"));
        assert!(!matcher(MatchOp::Regex, "ap").matches("api"));
        assert!(matcher(MatchOp::NotRegex, "ap").matches("api"));
        assert!(matcher(MatchOp::Regex, ".*").matches_empty());
    }

    #[test]
    fn prints_as_in_a_selector() {
        assert_eq!(matcher(MatchOp::NotRegex, "a\\.b\n").to_string(), r#"job!~"a\\.b\n""#);
        assert_eq!(Matcher::equal("http.code", "200").to_string(), r#""http.code"="200""#);
    }
}
