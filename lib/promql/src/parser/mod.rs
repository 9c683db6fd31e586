//! Text to syntax tree.
//!
//! A lexer that knows braces and brackets, a Pratt parser over its tokens, then a check of types.
//! Errors are Prometheus's, by word and by place: the first one found ends the parse.
//!
//! Bounds: the input's length and the tree's depth are limited before anything recurses over the
//! tree, since a stack that overflows takes the process with it. There is no recovery from errors.

mod check;
mod duration;
mod expression;
mod lexer;
mod literal;
mod selector;
mod token;

use std::fmt;

use narthex_model::Matcher;

use crate::ast::{ByteRange, Expr, ExprKind};

pub(crate) use lexer::Lexer;
pub(crate) use literal::unquote;
pub(crate) use token::{Token, TokenKind};

/// What the parser accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseOptions {
    /// Functions and aggregations of `promql-experimental-functions`. Default off.
    pub experimental_functions: bool,
    /// `anchored` and `smoothed`. Default off.
    pub extended_range_selectors: bool,
    /// `fill`, `fill_left`, `fill_right`. Default off.
    pub binop_fill_modifiers: bool,
    /// The longest query in bytes. Default 1 MiB; at most 4 GiB, since ranges are 32 bits wide.
    pub input_bytes_max: u32,
    /// The deepest nesting of parentheses, calls and signs. Default 128: each level takes stack in
    /// everything that walks a tree.
    pub depth_max: u32,
}

impl Default for ParseOptions {
    fn default() -> Self {
        Self {
            experimental_functions: false,
            extended_range_selectors: false,
            binop_fill_modifiers: false,
            input_bytes_max: 1 << 20,
            depth_max: 128,
        }
    }
}

impl ParseOptions {
    /// Everything on.
    pub fn everything() -> Self {
        Self {
            experimental_functions: true,
            extended_range_selectors: true,
            binop_fill_modifiers: true,
            ..Self::default()
        }
    }
}

/// Why a text is no expression, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The bytes that are to blame.
    pub range: ByteRange,
    /// What is wrong with them.
    pub message: String,
    /// The line of the first of these bytes, from 1.
    pub line: u32,
    /// Its place in the line in bytes, from 1.
    pub column: u32,
}

impl ParseError {
    pub(crate) fn new(input: &str, range: ByteRange, message: impl Into<String>) -> Self {
        let (line, column) = line_and_column(input, range.start);
        Self { range, message: message.into(), line, column }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: parse error: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for ParseError {}

/// The line and the place in it, both from 1, of byte `at` of a query. Annotations end with it.
pub fn line_and_column(input: &str, at: u32) -> (u32, u32) {
    let before = &input.as_bytes()[..(at as usize).min(input.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    (line as u32, (before.len() - line_start) as u32 + 1)
}

/// Parses an expression and checks its types.
pub fn parse(input: &str, options: &ParseOptions) -> Result<Expr, ParseError> {
    let mut parser = expression::Parser::new(input, options)?;
    let expr = parser.parse_whole()?;
    check::Checker { input }.check_whole(expr)
}

/// Parses a series selector, as in the `match[]` parameters of the HTTP API. It may have no
/// modifiers and must have a matcher that refuses the empty text.
pub fn parse_selector(input: &str, options: &ParseOptions) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = expression::Parser::new(input, options)?;
    let selector = parser.parse_whole_selector()?;
    let expr = check::Checker { input }.check_whole(selector)?;
    match expr.kind {
        ExprKind::Selector(selector) => Ok(selector.matchers),
        _ => unreachable!("BUG: a selector was parsed"),
    }
}

#[cfg(test)]
mod tests;
