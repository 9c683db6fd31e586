//! Expressions: operators by precedence, aggregations, calls and what follows an operand.

use super::{
    ParseError, ParseOptions,
    lexer::Lexer,
    literal::{parse_number, quote_bytes, unquote},
    token::{Keyword, Token, TokenKind},
};
use crate::{
    ast::{
        Aggregate, AggregateOp, Binary, BinaryOp, ByteRange, Call, Cardinality, Expr, ExprKind,
        FillValue, NumberLiteral, Unary, UnaryOp, VectorMatching,
    },
    types::find_function,
};
use narthex_model::{duration, quote};

/// The tallest tree. A chain `a + b + c` is as tall as it has operators, however flat it looks, so
/// that this is more than [`ParseOptions::depth_max`].
const HEIGHT_MAX: u32 = 640;

/// Where a syntax error happened, and what would have been right.
pub(super) const IN_AGGREGATION: &str = "aggregation";

pub(super) struct Parser<'a> {
    pub(super) input: &'a str,
    pub(super) options: &'a ParseOptions,
    lexer: Lexer<'a>,
    /// The token that was looked at but not taken.
    next: Option<Token>,
    /// The end of the last token taken.
    pub(super) last_end: u32,
    /// How many levels of nesting are open.
    depth: u32,
    /// The height of the tree parsed last.
    height: u32,
}

type Parsed<T> = Result<T, Failure>;

/// A parse error on its way out. One without a context takes that of the aggregation around it.
pub(super) struct Failure {
    error: ParseError,
    needs_context: bool,
}

impl From<ParseError> for Failure {
    fn from(error: ParseError) -> Self {
        Self { error, needs_context: false }
    }
}

impl<'a> Parser<'a> {
    pub(super) fn new(input: &'a str, options: &'a ParseOptions) -> Result<Self, ParseError> {
        if input.len() > options.input_bytes_max as usize {
            let message = format!("query is longer than {} bytes", options.input_bytes_max);
            return Err(ParseError::new(input, ByteRange::default(), message));
        }
        let lexer = Lexer::new(input);
        Ok(Self { input, options, lexer, next: None, last_end: 0, depth: 0, height: 0 })
    }

    /// An expression and nothing behind it.
    pub(super) fn parse_whole(&mut self) -> Result<Expr, ParseError> {
        let parse = |parser: &mut Self| {
            if parser.peek()?.kind == TokenKind::EndOfInput {
                let start = ByteRange::default();
                return Err(parser.error(start, "no expression found in input"));
            }
            let expr = parser.parse_expr(0)?;
            parser.expect_end()?;
            Ok(expr)
        };
        parse(self).map_err(|failure| failure.error)
    }

    /// A selector without modifiers and nothing behind it.
    pub(super) fn parse_whole_selector(&mut self) -> Result<Expr, ParseError> {
        let parse = |parser: &mut Self| {
            let first = parser.take()?;
            let is_selector = first.kind.is_metric_name() || first.kind == TokenKind::LeftBrace;
            if !is_selector {
                return Err(parser.unexpected(first, "", ""));
            }
            let selector = parser.parse_selector(first)?;
            parser.expect_end()?;
            Ok(selector)
        };
        parse(self).map_err(|failure| failure.error)
    }

    fn expect_end(&mut self) -> Parsed<()> {
        let token = self.peek()?;
        if token.kind == TokenKind::EndOfInput {
            return Ok(());
        }
        Err(self.unexpected(token, "", ""))
    }

    /// An expression of operators that bind at least as tightly as `precedence_min`.
    pub(super) fn parse_expr(&mut self, precedence_min: u8) -> Parsed<Expr> {
        self.enter()?;
        let mut lhs = self.parse_unary()?;
        while let TokenKind::Operator(op) = self.peek()?.kind {
            if op.precedence() < precedence_min {
                break;
            }
            self.take()?;
            let lhs_height = self.height;
            lhs = self.parse_rest_of_binary(lhs, op)?;
            self.height = self.height.max(lhs_height);
            self.grow(lhs.range)?;
        }
        self.leave();
        Ok(lhs)
    }

    /// Everything of a binary expression behind its operator.
    fn parse_rest_of_binary(&mut self, lhs: Expr, op: BinaryOp) -> Parsed<Expr> {
        let return_bool = self.accept(TokenKind::Keyword(Keyword::Bool))?;
        let matching = self.parse_matching()?;
        // Only `^` binds to the right.
        let rhs_min = if op == BinaryOp::Pow { op.precedence() } else { op.precedence() + 1 };
        let rhs = self.parse_expr(rhs_min)?;
        let range = lhs.range.to(rhs.range);
        let has_fill = matching.fill_left.is_some() || matching.fill_right.is_some();
        if has_fill && !self.options.binop_fill_modifiers {
            let message = "binop fill modifiers are experimental and not enabled";
            return Err(self.error(range, message));
        }
        let binary = Binary { op, lhs, rhs, return_bool, matching: Some(matching) };
        Ok(Expr::new(ExprKind::Binary(Box::new(binary)), range))
    }

    fn parse_matching(&mut self) -> Parsed<VectorMatching> {
        let mut matching = VectorMatching::default();
        let on = self.accept(TokenKind::Keyword(Keyword::On))?;
        if on || self.accept(TokenKind::Keyword(Keyword::Ignoring))? {
            matching.on = on;
            matching.labels = self.parse_grouping_labels()?;
            let left = self.accept(TokenKind::Keyword(Keyword::GroupLeft))?;
            if left || self.accept(TokenKind::Keyword(Keyword::GroupRight))? {
                matching.cardinality =
                    if left { Cardinality::ManyToOne } else { Cardinality::OneToMany };
                if self.peek()?.kind == TokenKind::LeftParen {
                    matching.include = self.parse_grouping_labels()?;
                }
            }
        }
        self.parse_fill(&mut matching)?;
        Ok(matching)
    }

    fn parse_fill(&mut self, matching: &mut VectorMatching) -> Parsed<()> {
        if self.accept(TokenKind::Keyword(Keyword::Fill))? {
            let value = self.parse_fill_value()?;
            (matching.fill_left, matching.fill_right) = (Some(value), Some(value));
            return Ok(());
        }
        loop {
            let left = matching.fill_left.is_none();
            if left && self.accept(TokenKind::Keyword(Keyword::FillLeft))? {
                matching.fill_left = Some(self.parse_fill_value()?);
                continue;
            }
            let right = matching.fill_right.is_none();
            if right && self.accept(TokenKind::Keyword(Keyword::FillRight))? {
                matching.fill_right = Some(self.parse_fill_value()?);
                continue;
            }
            return Ok(());
        }
    }

    fn parse_fill_value(&mut self) -> Parsed<FillValue> {
        self.expect(TokenKind::LeftParen, "", "")?;
        let (value, _) = self.parse_signed_number("", "")?;
        self.expect(TokenKind::RightParen, "", "")?;
        Ok(FillValue(value))
    }

    /// A sign and its operand, or an operand. A sign binds like `*`.
    fn parse_unary(&mut self) -> Parsed<Expr> {
        let token = self.peek()?;
        let op = match token.kind {
            TokenKind::Operator(BinaryOp::Add) => UnaryOp::Plus,
            TokenKind::Operator(BinaryOp::Sub) => UnaryOp::Minus,
            _ => return self.parse_operand(),
        };
        self.take()?;
        let mut expr = self.parse_expr(UnaryOp::PRECEDENCE + 1)?;
        let range = token.range.to(expr.range);
        self.grow(range)?;
        if let ExprKind::Number(number) = &mut expr.kind {
            number.value = if op == UnaryOp::Minus { negate(number.value) } else { number.value };
            expr.range = range;
            return Ok(expr);
        }
        Ok(Expr::new(ExprKind::Unary(Box::new(Unary { op, expr })), range))
    }

    /// An operand with the ranges and modifiers behind it.
    fn parse_operand(&mut self) -> Parsed<Expr> {
        let mut expr = self.parse_primary()?;
        loop {
            let token = self.peek()?;
            let is_modifier = matches!(
                token.kind,
                TokenKind::LeftBracket
                    | TokenKind::At
                    | TokenKind::Keyword(Keyword::Offset | Keyword::Anchored | Keyword::Smoothed)
            );
            if !is_modifier {
                return Ok(expr);
            }
            self.take()?;
            expr = self.parse_modifier(expr, token)?;
            self.grow(expr.range)?;
        }
    }

    fn parse_primary(&mut self) -> Parsed<Expr> {
        let token = self.take()?;
        self.height = 1;
        match token.kind {
            TokenKind::Number | TokenKind::Duration => {
                let number = self.number(token)?;
                Ok(Expr::new(ExprKind::Number(number), token.range))
            }
            TokenKind::String => {
                let text = self.string(token)?;
                Ok(Expr::new(ExprKind::String(text), token.range))
            }
            TokenKind::LeftParen => {
                let inner = self.parse_expr(0)?;
                let close = self.expect(TokenKind::RightParen, "", "")?;
                let range = token.range.to(close.range);
                self.grow(range)?;
                Ok(Expr::new(ExprKind::Paren(Box::new(inner)), range))
            }
            TokenKind::Aggregate(op) if self.begins_aggregation()? => {
                self.parse_aggregation(token, op).map_err(|failure| self.add_context(failure))
            }
            TokenKind::Identifier | TokenKind::Preprocessor(_)
                if self.peek()?.kind == TokenKind::LeftParen =>
            {
                self.parse_call(token)
            }
            TokenKind::LeftBrace => self.parse_selector(token),
            kind if kind.is_metric_name() => self.parse_selector(token),
            _ => Err(self.unexpected(token, "", "")),
        }
    }

    /// Whether the name of an aggregation, which was taken, is meant as one.
    fn begins_aggregation(&mut self) -> Parsed<bool> {
        let by_or_without = [Keyword::By, Keyword::Without].map(TokenKind::Keyword);
        let next = self.peek()?.kind;
        Ok(next == TokenKind::LeftParen || by_or_without.contains(&next))
    }

    fn parse_aggregation(&mut self, name: Token, op: AggregateOp) -> Parsed<Expr> {
        let mut grouping = self.parse_grouping()?;
        let args = self.parse_args()?;
        if grouping.is_none() {
            grouping = self.parse_grouping()?;
        }
        let (without, labels) = grouping.unwrap_or_default();
        let range = ByteRange::new(name.range.start, self.last_end);
        if args.is_empty() {
            let message = "no arguments for aggregate expression provided";
            return Err(self.error(range, message));
        }
        if op.is_experimental() && !self.options.experimental_functions {
            let message = format!(
                "{op}() is experimental and must be enabled with \
                 --enable-feature=promql-experimental-functions"
            );
            return Err(self.error(range, message));
        }
        let wanted = if op.takes_param() { 2 } else { 1 };
        if args.len() != wanted {
            let message = format!(
                "wrong number of arguments for aggregate expression provided, \
                 expected {wanted}, got {}",
                args.len()
            );
            return Err(self.error(range, message));
        }
        let mut args = args;
        let expr = args.pop().expect("the number of arguments was checked");
        let aggregate = Aggregate { op, expr, param: args.pop(), without, labels };
        Ok(Expr::new(ExprKind::Aggregate(Box::new(aggregate)), range))
    }

    /// `by (…)` or `without (…)`, if it stands here.
    fn parse_grouping(&mut self) -> Parsed<Option<(bool, Vec<String>)>> {
        let without = self.accept(TokenKind::Keyword(Keyword::Without))?;
        if !without && !self.accept(TokenKind::Keyword(Keyword::By))? {
            return Ok(None);
        }
        Ok(Some((without, self.parse_grouping_labels()?)))
    }

    fn parse_call(&mut self, name: Token) -> Parsed<Expr> {
        let args = self.parse_args()?;
        let name_text = name.text(self.input);
        let Some(function) = find_function(name_text) else {
            let message = format!("unknown function with name {}", quote(name_text));
            return Err(self.error(name.range, message));
        };
        if function.is_experimental && !self.options.experimental_functions {
            let message = format!("function {} is not enabled", quote(name_text));
            return Err(self.error(name.range, message));
        }
        let range = ByteRange::new(name.range.start, self.last_end);
        Ok(Expr::new(ExprKind::Call(Call { function, args }), range))
    }

    fn parse_args(&mut self) -> Parsed<Vec<Expr>> {
        self.expect(TokenKind::LeftParen, "", "")?;
        let mut args = Vec::new();
        if self.accept(TokenKind::RightParen)? {
            return Ok(args);
        }
        let mut height = 0;
        loop {
            args.push(self.parse_expr(0)?);
            height = height.max(self.height);
            let token = self.take()?;
            match token.kind {
                TokenKind::RightParen => {
                    self.height = height;
                    self.grow(token.range)?;
                    return Ok(args);
                }
                TokenKind::Comma => {
                    let next = self.peek()?.kind;
                    if matches!(next, TokenKind::RightParen | TokenKind::Comma) {
                        let message = "trailing commas not allowed in function call args";
                        return Err(self.error(token.range, message));
                    }
                }
                _ => return Err(self.unexpected(token, "", "")),
            }
        }
    }

    /// `(label, label, …)`.
    fn parse_grouping_labels(&mut self) -> Parsed<Vec<String>> {
        const CONTEXT: &str = "grouping opts";
        self.expect(TokenKind::LeftParen, CONTEXT, "\"(\"")?;
        let mut labels = Vec::new();
        loop {
            let token = self.take()?;
            match token.kind {
                TokenKind::RightParen => return Ok(labels),
                TokenKind::String => labels.push(self.grouping_label(token)?),
                kind if kind.is_label_name() => labels.push(token.text(self.input).to_owned()),
                _ => return Err(self.unexpected(token, CONTEXT, "label")),
            }
            let token = self.take()?;
            match token.kind {
                TokenKind::RightParen => return Ok(labels),
                TokenKind::Comma => {}
                _ => return Err(self.unexpected(token, CONTEXT, "\",\" or \")\"")),
            }
        }
    }

    fn grouping_label(&self, token: Token) -> Parsed<String> {
        let label = self.string(token)?;
        if label.is_empty() {
            let message = "invalid label name for grouping: \"\"";
            return Err(self.error(token.range, message));
        }
        Ok(label)
    }

    /// A number with or without sign, and its range.
    pub(super) fn parse_signed_number(
        &mut self,
        context: &str,
        expected: &str,
    ) -> Parsed<(f64, ByteRange)> {
        let first = self.take()?;
        let is_negative = first.kind == TokenKind::Operator(BinaryOp::Sub);
        let has_sign = is_negative || first.kind == TokenKind::Operator(BinaryOp::Add);
        let token = if has_sign { self.take()? } else { first };
        if !matches!(token.kind, TokenKind::Number | TokenKind::Duration) {
            return Err(self.unexpected(token, context, expected));
        }
        let value = self.number(token)?.value;
        Ok((if is_negative { negate(value) } else { value }, first.range.to(token.range)))
    }

    /// The value of a number or duration.
    pub(super) fn number(&self, token: Token) -> Parsed<NumberLiteral> {
        let text = token.text(self.input);
        if token.kind == TokenKind::Duration {
            return match duration::parse(text) {
                Ok(length) => Ok(NumberLiteral { value: length.as_secs_f64(), is_duration: true }),
                Err(error) => Err(self.error(token.range, error.to_string())),
            };
        }
        match parse_number(text) {
            Ok(value) => Ok(NumberLiteral { value, is_duration: false }),
            Err(why) => Err(self.error(token.range, format!("error parsing number: {why}"))),
        }
    }

    /// The text of a string. Prometheus has strings of bytes; here they are UTF-8.
    pub(super) fn string(&self, token: Token) -> Parsed<String> {
        String::from_utf8(unquote(token.text(self.input))).map_err(|error| {
            // The words are those that follow where a label's name is asked for, the one place
            // in which such bytes make sense to Prometheus's parser but not to its engine.
            let message = format!("invalid label name {}", quote_bytes(error.as_bytes()));
            self.error(token.range, message)
        })
    }

    pub(super) fn peek(&mut self) -> Parsed<Token> {
        if let Some(token) = self.next {
            return Ok(token);
        }
        let token = self.lexer.next()?;
        self.next = Some(token);
        Ok(token)
    }

    pub(super) fn take(&mut self) -> Parsed<Token> {
        let token = self.peek()?;
        self.next = None;
        self.last_end = token.range.end;
        Ok(token)
    }

    pub(super) fn accept(&mut self, kind: TokenKind) -> Parsed<bool> {
        let found = self.peek()?.kind == kind;
        if found {
            self.take()?;
        }
        Ok(found)
    }

    pub(super) fn expect(
        &mut self,
        kind: TokenKind,
        context: &str,
        expected: &str,
    ) -> Parsed<Token> {
        let token = self.take()?;
        if token.kind == kind {
            return Ok(token);
        }
        Err(self.unexpected(token, context, expected))
    }

    /// Opens a level of nesting, to be closed with [`Parser::leave`].
    pub(super) fn enter(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > self.options.depth_max {
            let max = self.options.depth_max;
            let message = format!("expression is nested more than {max} levels deep");
            return Err(self.error(ByteRange::new(self.last_end, self.last_end), message));
        }
        Ok(())
    }

    /// Puts a node, which stands at `range`, on top of the tree parsed last.
    fn grow(&mut self, range: ByteRange) -> Parsed<()> {
        self.height += 1;
        if self.height > HEIGHT_MAX {
            let message = format!("expression has more than {HEIGHT_MAX} operations in a row");
            return Err(self.error(range, message));
        }
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    pub(super) fn error(&self, range: ByteRange, message: impl Into<String>) -> Failure {
        ParseError::new(self.input, range, message).into()
    }

    pub(super) fn unexpected(&self, token: Token, context: &str, expected: &str) -> Failure {
        let mut message = format!("unexpected {}", token.describe(self.input));
        if !context.is_empty() {
            message.push_str(&format!(" in {context}"));
        }
        if !expected.is_empty() {
            message.push_str(&format!(", expected {expected}"));
        }
        let error = ParseError::new(self.input, token.range, message);
        Failure { error, needs_context: context.is_empty() }
    }

    /// Says that an error without context happened in an aggregation.
    fn add_context(&self, mut failure: Failure) -> Failure {
        if failure.needs_context {
            failure.error.message.push_str(&format!(" in {IN_AGGREGATION}"));
            failure.needs_context = false;
        }
        failure
    }
}

/// NaN stays the one NaN that prints as such.
fn negate(value: f64) -> f64 {
    if value.is_nan() { value } else { -value }
}
