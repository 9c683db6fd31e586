//! Regular expressions with RE2's meaning, anchored at both ends.

use std::{fmt, sync::Arc};

use regex_automata::{meta, util::syntax};

/// Why a pattern was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {message}")]
pub struct InvalidRegex {
    message: String,
}

/// A pattern that must match a whole text; `.` matches line breaks too. Cloning shares it.
#[derive(Clone)]
pub struct Regex(Arc<Compiled>);

struct Compiled {
    pattern: String,
    program: meta::Regex,
}

impl Regex {
    /// Compiles `pattern`.
    pub fn new(pattern: &str) -> Result<Self, InvalidRegex> {
        let program = meta::Regex::builder()
            .syntax(syntax::Config::new().dot_matches_new_line(true))
            .build(&format!("^(?:{pattern})$"))
            .map_err(|error| InvalidRegex { message: error.to_string() })?;
        Ok(Self(Arc::new(Compiled { pattern: pattern.to_owned(), program })))
    }

    /// The pattern as written, without anchors.
    pub fn pattern(&self) -> &str {
        &self.0.pattern
    }

    /// Whether all of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.program.is_match(text)
    }

    /// All texts that match, sorted, where they are few and known: `a|b|c`.
    pub fn set_matches(&self) -> Option<&[String]> {
        None
    }

    /// What every matching text begins with; empty where nothing is known.
    pub fn prefix(&self) -> &str {
        ""
    }

    /// Fills `$1`, `${name}` of `replacement` with the groups of a match, by the rules of Go's
    /// `Expand`; `None` if `text` does not match.
    pub fn expand(&self, replacement: &str, text: &str) -> Option<String> {
        let mut captures = self.0.program.create_captures();
        self.0.program.captures(text, &mut captures);
        captures.is_match().then(|| {
            let mut expanded = String::new();
            captures.interpolate_string_into(text, replacement, &mut expanded);
            expanded
        })
    }
}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Regex").field(&self.0.pattern).finish()
    }
}
