//! Selectors and the modifiers behind an operand: ranges, `offset`, `@`, `anchored`, `smoothed`.

use narthex_model::{METRIC_NAME, MatchOp, Matcher, Timestamp};

use super::{
    expression::{Failure, Parser},
    token::{Keyword, Preprocessor, Token, TokenKind},
};
use crate::ast::{
    AtModifier, BinaryOp, ByteRange, DurationExpr, DurationKind, Expr, ExprKind, MatrixSelector,
    RangeExtension, Selector, Subquery,
};

type Parsed<T> = Result<T, Failure>;

const MATCHING: &str = "label matching";

/// The fields of a selector or subquery that `offset` and `@` set.
struct Modifiers<'e> {
    offset: &'e mut Option<DurationExpr>,
    at: &'e mut Option<AtModifier>,
}

impl Parser<'_> {
    /// A selector whose first token, a name or the left brace, was taken.
    pub(super) fn parse_selector(&mut self, first: Token) -> Parsed<Expr> {
        let mut matchers = Vec::new();
        let mut name = None;
        if first.kind == TokenKind::LeftBrace {
            matchers = self.parse_matchers()?;
        } else {
            let text = first.text(self.input);
            if self.accept(TokenKind::LeftBrace)? {
                matchers = self.parse_matchers()?;
            }
            matchers.push(Matcher::equal(METRIC_NAME, text));
            name = Some(text.to_owned());
        }
        let selector = Selector { name, matchers, offset: None, at: None, extension: None };
        let range = ByteRange::new(first.range.start, self.last_end);
        Ok(Expr::new(ExprKind::Selector(selector), range))
    }

    /// The matchers behind a left brace, and the right brace.
    fn parse_matchers(&mut self) -> Parsed<Vec<Matcher>> {
        let mut matchers = Vec::new();
        loop {
            let token = self.take()?;
            match token.kind {
                TokenKind::RightBrace => return Ok(matchers),
                TokenKind::Identifier => {
                    let name = token.text(self.input).to_owned();
                    let next = self.take()?;
                    let Some(op) = match_op(next.kind) else {
                        let expected = "label matching operator";
                        return Err(self.unexpected(next, MATCHING, expected));
                    };
                    matchers.push(self.parse_match_value(name, op, token)?);
                }
                TokenKind::String => {
                    let name = self.string(token)?;
                    match match_op(self.peek()?.kind) {
                        Some(op) => {
                            self.take()?;
                            matchers.push(self.parse_match_value(name, op, token)?);
                        }
                        None => matchers.push(Matcher::equal(METRIC_NAME, name)),
                    }
                }
                _ => return Err(self.unexpected(token, MATCHING, "identifier or \"}\"")),
            }
            let token = self.take()?;
            match token.kind {
                TokenKind::RightBrace => return Ok(matchers),
                TokenKind::Comma => {}
                _ => return Err(self.unexpected(token, MATCHING, "\",\" or \"}\"")),
            }
        }
    }

    fn parse_match_value(&mut self, name: String, op: MatchOp, label: Token) -> Parsed<Matcher> {
        let token = self.take()?;
        if token.kind != TokenKind::String {
            return Err(self.unexpected(token, MATCHING, "string"));
        }
        let value = self.string(token)?;
        Matcher::new(op, name, value)
            .map_err(|invalid| self.error(label.range.to(token.range), invalid.to_string()))
    }

    /// A modifier whose first token was taken, applied to the expression before it.
    pub(super) fn parse_modifier(&mut self, expr: Expr, first: Token) -> Parsed<Expr> {
        match first.kind {
            TokenKind::LeftBracket => self.parse_range(expr, first),
            TokenKind::At => self.parse_at(expr),
            TokenKind::Keyword(Keyword::Anchored) => self.extend(expr, RangeExtension::Anchored),
            TokenKind::Keyword(Keyword::Smoothed) => self.extend(expr, RangeExtension::Smoothed),
            _ => self.parse_offset(expr),
        }
    }

    /// `[5m]` or `[5m:1m]`, of which the bracket was taken.
    fn parse_range(&mut self, expr: Expr, open: Token) -> Parsed<Expr> {
        let window = self.parse_window("subquery or range selector", "")?;
        let next = self.take()?;
        match next.kind {
            TokenKind::RightBracket => self.finish_matrix(expr, window, open.range.to(next.range)),
            TokenKind::Colon => self.parse_rest_of_subquery(expr, window),
            _ => Err(self.unexpected(next, "subquery or range", "\":\" or \"]\"")),
        }
    }

    fn finish_matrix(
        &mut self,
        expr: Expr,
        window: DurationExpr,
        brackets: ByteRange,
    ) -> Parsed<Expr> {
        let range = ByteRange::new(expr.range.start, brackets.end);
        let message = match expr.kind {
            ExprKind::Selector(selector) if selector.offset.is_some() => {
                "no offset modifiers allowed before range"
            }
            ExprKind::Selector(selector) if selector.at.is_some() => {
                "no @ modifiers allowed before range"
            }
            ExprKind::Selector(selector) => {
                let matrix = MatrixSelector { selector, window };
                return Ok(Expr::new(ExprKind::Matrix(matrix), range));
            }
            _ => "ranges only allowed for vector selectors",
        };
        Err(self.error(brackets, message))
    }

    fn parse_rest_of_subquery(&mut self, expr: Expr, window: DurationExpr) -> Parsed<Expr> {
        let mut step = None;
        if self.peek()?.kind != TokenKind::RightBracket {
            step = Some(self.parse_window("subquery selector", "or \"]\"")?);
        }
        let close = self.expect(TokenKind::RightBracket, "subquery selector", "\"]\"")?;
        let range = expr.range.to(close.range);
        let subquery = Subquery { expr, window, step, offset: None, at: None };
        Ok(Expr::new(ExprKind::Subquery(Box::new(subquery)), range))
    }

    /// A duration that must be positive, as far as that is known before the query runs.
    fn parse_window(&mut self, context: &str, or_else: &str) -> Parsed<DurationExpr> {
        let expected = match or_else {
            "" => "number, duration, step(), or range()".to_owned(),
            _ => format!("number, duration, step(), range(), {or_else}"),
        };
        let window = with_unit(self.parse_duration_expr(context, &expected)?);
        if window.literal().is_some_and(|literal| literal.seconds <= 0.0) {
            return Err(self.error(window.range, "duration must be greater than 0"));
        }
        Ok(window)
    }

    fn parse_offset(&mut self, mut expr: Expr) -> Parsed<Expr> {
        let offset = with_unit(self.parse_offset_duration()?);
        let Some(modifiers) = modifiers(&mut expr.kind) else {
            let message = "offset modifier must be preceded by an instant vector selector or \
                           range vector selector or a subquery";
            return Err(self.error(expr.range, message));
        };
        if modifiers.offset.is_some() {
            return Err(self.error(expr.range, "offset may not be set multiple times"));
        }
        *modifiers.offset = Some(offset);
        expr.range.end = self.last_end;
        Ok(expr)
    }

    fn parse_at(&mut self, mut expr: Expr) -> Parsed<Expr> {
        let at = self.parse_at_value(expr.range)?;
        let Some(modifiers) = modifiers(&mut expr.kind) else {
            let message = "@ modifier must be preceded by an instant vector selector or \
                           range vector selector or a subquery";
            return Err(self.error(expr.range, message));
        };
        if modifiers.at.is_some() {
            return Err(self.error(expr.range, "@ <timestamp> may not be set multiple times"));
        }
        *modifiers.at = Some(at);
        expr.range.end = self.last_end;
        Ok(expr)
    }

    fn parse_at_value(&mut self, of: ByteRange) -> Parsed<AtModifier> {
        let next = self.peek()?.kind;
        let is_start = next == TokenKind::Preprocessor(Preprocessor::Start);
        if is_start || next == TokenKind::Preprocessor(Preprocessor::End) {
            self.take()?;
            self.expect(TokenKind::LeftParen, "@", "timestamp")?;
            self.expect(TokenKind::RightParen, "@", "timestamp")?;
            return Ok(if is_start { AtModifier::Start } else { AtModifier::End });
        }
        let (seconds, _) = self.parse_signed_number("@", "timestamp")?;
        // Two to the 63rd: the first number that is no i64.
        if !seconds.is_finite() || seconds.abs() >= -(i64::MIN as f64) {
            let text = match seconds {
                _ if seconds.is_nan() => "NaN".to_owned(),
                f64::INFINITY => "+Inf".to_owned(),
                f64::NEG_INFINITY => "-Inf".to_owned(),
                _ => format!("{seconds:.6}"),
            };
            let message = format!("timestamp out of bounds for @ modifier: {text}");
            return Err(self.error(of, message));
        }
        Ok(AtModifier::Time(Timestamp::from_millis((seconds * 1000.0).round() as i64)))
    }

    fn extend(&mut self, mut expr: Expr, extension: RangeExtension) -> Parsed<Expr> {
        let name = match extension {
            RangeExtension::Anchored => "anchored",
            RangeExtension::Smoothed => "smoothed",
        };
        if !self.options.extended_range_selectors {
            let message = format!("{name} modifier is experimental and not enabled");
            return Err(self.error(expr.range, message));
        }
        let selector = match &mut expr.kind {
            ExprKind::Selector(selector) => selector,
            ExprKind::Matrix(matrix) => &mut matrix.selector,
            ExprKind::Subquery(_) => {
                let message = format!("{name} modifier is not supported for subqueries");
                return Err(self.error(expr.range, message));
            }
            _ => return Err(self.error(expr.range, format!("{name} modifier not implemented"))),
        };
        if selector.extension.is_some_and(|other| other != extension) {
            let message = "anchored and smoothed modifiers cannot be used together";
            return Err(self.error(expr.range, message));
        }
        selector.extension = Some(extension);
        Ok(expr)
    }
}

/// A plain number of seconds as the duration it is: `foo[300]` and `foo[5m]` are one tree.
fn with_unit(mut duration: DurationExpr) -> DurationExpr {
    if let DurationKind::Literal(literal) = &mut duration.kind {
        literal.has_unit = true;
    }
    duration
}

fn modifiers(kind: &mut ExprKind) -> Option<Modifiers<'_>> {
    let selector = match kind {
        ExprKind::Selector(selector) => selector,
        ExprKind::Matrix(matrix) => &mut matrix.selector,
        ExprKind::Subquery(subquery) => {
            let Subquery { offset, at, .. } = subquery.as_mut();
            return Some(Modifiers { offset, at });
        }
        _ => return None,
    };
    Some(Modifiers { offset: &mut selector.offset, at: &mut selector.at })
}

fn match_op(kind: TokenKind) -> Option<MatchOp> {
    match kind {
        TokenKind::Assign => Some(MatchOp::Equal),
        TokenKind::Operator(BinaryOp::NotEqual) => Some(MatchOp::NotEqual),
        TokenKind::MatchRegex => Some(MatchOp::Regex),
        TokenKind::MatchNotRegex => Some(MatchOp::NotRegex),
        _ => None,
    }
}
