//! Durations and what is calculated with them.

use super::{
    expression::{Failure, Parser},
    token::{Preprocessor, Token, TokenKind},
};
use crate::ast::{
    BinaryOp, ByteRange, DurationExpr, DurationKind, DurationLiteral, DurationOp, UnaryOp,
};

type Parsed<T> = Result<T, Failure>;

/// What a message says where no duration stands.
const EXPECTED: &str = "number, duration, step(), or range()";
const OFFSET: &str = "offset";

/// The longest duration that 64 bits of nanoseconds hold.
const SECONDS_MAX: f64 = i64::MAX as f64 / 1e9;

/// What an error says of the place it happened in.
#[derive(Clone, Copy)]
struct Context<'a> {
    place: &'a str,
    expected: &'a str,
}

impl Parser<'_> {
    /// A duration in brackets, with any calculation.
    pub(super) fn parse_duration_expr(
        &mut self,
        place: &str,
        expected: &str,
    ) -> Parsed<DurationExpr> {
        self.parse_duration(0, Context { place, expected })
    }

    /// The duration of an offset: a sign at most; other calculations only in parentheses, since
    /// `foo offset 5m + 2` adds to foo.
    pub(super) fn parse_offset_duration(&mut self) -> Parsed<DurationExpr> {
        let context = Context { place: OFFSET, expected: EXPECTED };
        let token = self.peek()?;
        match token.kind {
            TokenKind::Operator(BinaryOp::Sub) => {
                self.take()?;
                let inner = self.parse_duration_primary(context)?;
                self.apply_sign(UnaryOp::Minus, token, inner)
            }
            TokenKind::Operator(BinaryOp::Add) => {
                self.take()?;
                let inner = self.parse_duration_primary(context)?;
                self.apply_sign(UnaryOp::Plus, token, inner)
            }
            _ => self.parse_duration_primary(context),
        }
    }

    fn parse_duration(&mut self, precedence_min: u8, context: Context<'_>) -> Parsed<DurationExpr> {
        self.enter()?;
        let mut lhs = self.parse_signed_duration(context)?;
        let mut links = 0;
        loop {
            let token = self.peek()?;
            let TokenKind::Operator(sign) = token.kind else { break };
            let Some(op) = duration_op(sign) else { break };
            if sign.precedence() < precedence_min {
                break;
            }
            // A chain of operators is as deep as it is long.
            self.enter()?;
            links += 1;
            self.take()?;
            let is_pow = sign == BinaryOp::Pow;
            let rhs_min = if is_pow { sign.precedence() } else { sign.precedence() + 1 };
            let rhs = self.parse_duration(rhs_min, context)?;
            self.check_divisor(op, token, &rhs)?;
            let range = lhs.range.to(rhs.range);
            let kind = DurationKind::Binary(op, Box::new(lhs), Box::new(rhs));
            lhs = DurationExpr { kind, range };
        }
        for _ in 0..=links {
            self.leave();
        }
        Ok(lhs)
    }

    fn check_divisor(&self, op: DurationOp, sign: Token, divisor: &DurationExpr) -> Parsed<()> {
        let is_zero = divisor.literal().is_some_and(|literal| literal.seconds == 0.0);
        match op {
            DurationOp::Div if is_zero => Err(self.error(sign.range, "division by zero")),
            DurationOp::Mod if is_zero => Err(self.error(sign.range, "modulo by zero")),
            _ => Ok(()),
        }
    }

    /// A sign binds like `*`.
    fn parse_signed_duration(&mut self, context: Context<'_>) -> Parsed<DurationExpr> {
        let token = self.peek()?;
        let sign = match token.kind {
            TokenKind::Operator(BinaryOp::Sub) => UnaryOp::Minus,
            TokenKind::Operator(BinaryOp::Add) => UnaryOp::Plus,
            _ => return self.parse_duration_primary(context),
        };
        self.take()?;
        let inner = self.parse_duration(UnaryOp::PRECEDENCE + 1, context)?;
        self.apply_sign(sign, token, inner)
    }

    fn apply_sign(&self, sign: UnaryOp, token: Token, inner: DurationExpr) -> Parsed<DurationExpr> {
        let range = token.range.to(inner.range);
        if let DurationKind::Literal(mut literal) = inner.kind {
            if sign == UnaryOp::Minus {
                literal.seconds = -literal.seconds;
            }
            return Ok(DurationExpr { kind: DurationKind::Literal(literal), range });
        }
        if sign == UnaryOp::Plus {
            return Ok(inner);
        }
        Ok(DurationExpr { kind: DurationKind::Negate(Box::new(inner)), range })
    }

    fn parse_duration_primary(&mut self, context: Context<'_>) -> Parsed<DurationExpr> {
        let token = self.take()?;
        match token.kind {
            TokenKind::Number | TokenKind::Duration => self.duration_literal(token),
            TokenKind::Preprocessor(Preprocessor::Step) => {
                self.finish_duration_call(DurationKind::Step, token, context)
            }
            TokenKind::Preprocessor(Preprocessor::Range) => {
                self.finish_duration_call(DurationKind::Range, token, context)
            }
            TokenKind::Preprocessor(Preprocessor::MinOf) => {
                self.parse_duration_pair(DurationOp::MinOf, token, context)
            }
            TokenKind::Preprocessor(Preprocessor::MaxOf) => {
                self.parse_duration_pair(DurationOp::MaxOf, token, context)
            }
            TokenKind::LeftParen => {
                let inner = self.parse_duration(0, context)?;
                let close = self.expect(TokenKind::RightParen, context.place, context.expected)?;
                let range = token.range.to(close.range);
                Ok(DurationExpr { kind: DurationKind::Paren(Box::new(inner)), range })
            }
            _ => Err(self.unexpected(token, context.place, context.expected)),
        }
    }

    fn duration_literal(&self, token: Token) -> Parsed<DurationExpr> {
        let number = self.number(token)?;
        if number.value.is_nan() || number.value.abs() > SECONDS_MAX {
            return Err(self.error(token.range, "duration out of range"));
        }
        let literal = DurationLiteral { seconds: number.value, has_unit: number.is_duration };
        Ok(DurationExpr { kind: DurationKind::Literal(literal), range: token.range })
    }

    fn finish_duration_call(
        &mut self,
        kind: DurationKind,
        name: Token,
        context: Context<'_>,
    ) -> Parsed<DurationExpr> {
        self.expect(TokenKind::LeftParen, context.place, context.expected)?;
        let close = self.expect(TokenKind::RightParen, context.place, context.expected)?;
        Ok(DurationExpr { kind, range: name.range.to(close.range) })
    }

    fn parse_duration_pair(
        &mut self,
        op: DurationOp,
        name: Token,
        context: Context<'_>,
    ) -> Parsed<DurationExpr> {
        self.expect(TokenKind::LeftParen, context.place, context.expected)?;
        let first = self.parse_duration(0, context)?;
        self.expect(TokenKind::Comma, context.place, context.expected)?;
        let second = self.parse_duration(0, context)?;
        let close = self.expect(TokenKind::RightParen, context.place, context.expected)?;
        let kind = DurationKind::Binary(op, Box::new(first), Box::new(second));
        Ok(DurationExpr { kind, range: ByteRange::new(name.range.start, close.range.end) })
    }
}

fn duration_op(op: BinaryOp) -> Option<DurationOp> {
    match op {
        BinaryOp::Add => Some(DurationOp::Add),
        BinaryOp::Sub => Some(DurationOp::Sub),
        BinaryOp::Mul => Some(DurationOp::Mul),
        BinaryOp::Div => Some(DurationOp::Div),
        BinaryOp::Mod => Some(DurationOp::Mod),
        BinaryOp::Pow => Some(DurationOp::Pow),
        _ => None,
    }
}
