//! Regular expressions with RE2's meaning, anchored at both ends.
//!
//! Patterns have Go's syntax, which differs from that of Rust's crates in what `\d`, `\<`,
//! `[a&&b]` or a bare `{` mean. So they are parsed here, and only the engine is the crate's. Its
//! memory is bounded; time is linear in the text.
//!
//! Most patterns of matchers are no real regular expressions. A set of texts, a prefix, a part:
//! these are found when a pattern is compiled, compared without the engine, and shown to indexes.

mod class;
mod expand;
mod parse;
mod search;
mod shape;

use std::{fmt, sync::Arc};

use regex_automata::{meta, util::captures::Captures};
use regex_syntax::hir::{Hir, Look};

pub use search::SearchRegex;
use shape::Shape;

/// Bytes that the compiled form of one pattern may take, in each of the engine's two forms.
const PROGRAM_BYTES_MAX: usize = 2 << 20;

/// Why a pattern was refused, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {message}")]
pub struct InvalidRegex {
    message: String,
}

impl InvalidRegex {
    /// What is wrong, and with which part of the pattern.
    pub(crate) fn new(what: &str, part: &str) -> Self {
        Self { message: format!("{what}: `{part}`") }
    }
}

/// A pattern that must match a whole text; `.` matches line breaks too. Cloning shares it.
#[derive(Clone)]
pub struct Regex(Arc<Compiled>);

struct Compiled {
    pattern: String,
    shape: Shape,
    prefix: String,
    program: meta::Regex,
}

impl Regex {
    /// Compiles `pattern`.
    pub fn new(pattern: &str) -> Result<Self, InvalidRegex> {
        let hir = parse::parse(pattern)?;
        let shape = Shape::of(&hir);
        let prefix = shape::prefix(&hir);
        let anchored = Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]);
        let config = meta::Config::new()
            .nfa_size_limit(Some(PROGRAM_BYTES_MAX))
            .hybrid_cache_capacity(PROGRAM_BYTES_MAX)
            .utf8_empty(false);
        let program = meta::Regex::builder()
            .configure(config)
            .build_from_hir(&anchored)
            .map_err(|_| InvalidRegex::new("expression too large", pattern))?;
        Ok(Self(Arc::new(Compiled { pattern: pattern.to_owned(), shape, prefix, program })))
    }

    /// The pattern as written, without anchors.
    pub fn pattern(&self) -> &str {
        &self.0.pattern
    }

    /// Whether all of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        match self.0.shape.is_match(text) {
            Some(known) => known,
            None => self.0.program.is_match(text),
        }
    }

    /// All texts that match, sorted, where they are few and known: `a|b|c`.
    pub fn set_matches(&self) -> Option<&[String]> {
        match &self.0.shape {
            Shape::Set(texts) => Some(texts),
            _ => None,
        }
    }

    /// What every matching text begins with; empty where nothing is known.
    pub fn prefix(&self) -> &str {
        &self.0.prefix
    }

    /// Whether every text matches: `.*`.
    pub fn matches_all(&self) -> bool {
        matches!(self.0.shape, Shape::All)
    }

    /// Fills `$1`, `${name}` of `replacement` with the groups of a match, by the rules of Go's
    /// `Expand`; `None` if `text` does not match.
    pub fn expand(&self, replacement: &str, text: &str) -> Option<String> {
        if self.0.shape.is_match(text) == Some(false) {
            return None;
        }
        let mut captures: Captures = self.0.program.create_captures();
        self.0.program.captures(text, &mut captures);
        captures.is_match().then(|| expand::expand(replacement, text, &captures))
    }
}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Regex").field(&self.0.pattern).finish()
    }
}

#[cfg(test)]
mod tests;
