//! YAML files as Prometheus reads them: strictly, and with its words where something does not fit.
//!
//! A text becomes a tree that keeps lines and quotes ([`parse`]); a reader takes the keys of a
//! mapping one by one ([`Fields`]), and a key that nobody took is an error that names it. Typed
//! values are read by [`decode`].
//!
//! There is no schema here, no file is opened, and nothing is written.

#![forbid(unsafe_code)]

pub mod decode;
mod tree;

use std::fmt;

pub use decode::Fields;
pub use tree::{Entry, Kind, Node, parse, parse_all};

/// What is wrong in a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    line: Option<usize>,
    message: String,
}

impl Problem {
    /// Something is wrong in this line, counted from 1.
    pub fn at(line: usize, message: impl Into<String>) -> Self {
        Self { line: Some(line), message: message.into() }
    }

    /// What is wrong, without the line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Something is wrong that has no line.
    pub fn new(message: impl Into<String>) -> Self {
        Self { line: None, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.message)
    }
}
