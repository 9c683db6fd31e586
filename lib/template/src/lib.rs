//! Go's `text/template`, as far as alerts use it.
//!
//! A template is parsed once against the names of the functions it may call, then executed on any
//! number of values. Parsing and execution are bounded: nesting, steps and output have limits, so
//! that a template from a user costs what it may and no more.
//!
//! Invariants
//! * any text gives a template or an error with its line; nothing panics;
//! * equal templates and equal values give equal texts: maps are walked in the order of their keys.
//!
//! Absent: `call`, complex numbers and HTML escaping by context. Functions of Prometheus or
//! Alertmanager are not here: who executes a template passes them in.

#![forbid(unsafe_code)]

mod builtin;
mod execute;
mod format;
mod lex;
mod parse;
mod time;
mod value;

use std::{collections::BTreeMap, fmt};

pub use builtin::query_escaped;
pub use format::general;
pub use value::{Record, Value};

/// The longest template in bytes.
const SOURCE_BYTES_MAX: usize = 1 << 18;

/// What a template may call beside the functions that every template has.
pub trait Functions {
    /// Whether there is a function of this name. Asked when a template is parsed.
    fn has(&self, name: &str) -> bool;

    /// Calls it; the error is a text that stands behind `error calling NAME: `.
    fn call(&self, name: &str, args: &[Value]) -> Result<Value, String>;
}

/// A parsed template.
#[derive(Debug, Clone)]
pub struct Template {
    name: String,
    source: String,
    body: Vec<parse::Node>,
    /// What `define` and `block` have given names.
    defined: BTreeMap<String, Vec<parse::Node>>,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    name: String,
    line: usize,
    message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "template: {}:{}: {}", self.name, self.line, self.message)
    }
}

impl std::error::Error for ParseError {}

/// Why a template gave no text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecuteError {
    name: String,
    line: usize,
    column: usize,
    context: String,
    message: String,
}

impl ExecuteError {
    /// The template's name.
    pub fn template(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for ExecuteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, line, column, context, message } = self;
        write!(f, "template: {name}:{line}:{column}: executing {name:?} at <{context}>: {message}")
    }
}

impl std::error::Error for ExecuteError {}

impl Template {
    /// Parses `source`. `name` is what errors call it.
    pub fn parse(name: &str, source: &str, functions: &dyn Functions) -> Result<Self, ParseError> {
        let failed = |problem: parse::Problem| ParseError {
            name: name.to_owned(),
            line: line_of(source, problem.at),
            message: problem.message,
        };
        if source.len() > SOURCE_BYTES_MAX {
            let message = format!("template is longer than {SOURCE_BYTES_MAX} bytes");
            return Err(failed(parse::Problem { at: 0, message }));
        }
        let parsed = parse::parse(source, functions).map_err(failed)?;
        Ok(Self {
            name: name.to_owned(),
            source: source.to_owned(),
            body: parsed.body,
            defined: parsed.defined,
        })
    }

    /// The text that the template makes of `data`.
    pub fn execute(&self, data: Value, functions: &dyn Functions) -> Result<String, ExecuteError> {
        execute::execute(self, data, functions).map_err(|problem| {
            let at = problem.from.min(self.source.len());
            let line_start = self.source[..at].rfind('\n').map_or(0, |newline| newline + 1);
            ExecuteError {
                name: self.name.clone(),
                line: line_of(&self.source, at),
                column: at - line_start,
                context: shortened(&self.source[at..problem.to.clamp(at, self.source.len())]),
                message: problem.message,
            }
        })
    }
}

/// The line of byte `at`, from 1.
fn line_of(source: &str, at: usize) -> usize {
    1 + source.as_bytes()[..at.min(source.len())].iter().filter(|byte| **byte == b'\n').count()
}

/// Characters of the context that an error shows.
const CONTEXT_CHARS_MAX: usize = 20;

fn shortened(text: &str) -> String {
    match text.char_indices().nth(CONTEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
