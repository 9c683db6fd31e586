//! Tokens and how error messages call them.

use std::fmt;

use narthex_model::quote;

use crate::ast::{AggregateOp, BinaryOp, ByteRange};

/// A token and where it stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) range: ByteRange,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    EndOfInput,
    Identifier,
    /// An identifier with a colon, which only metrics may have.
    MetricIdentifier,
    Number,
    Duration,
    String,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    /// `=`
    Assign,
    /// `=~`
    MatchRegex,
    /// `!~`
    MatchNotRegex,
    /// `@`
    At,
    Operator(BinaryOp),
    Aggregate(AggregateOp),
    Keyword(Keyword),
    Preprocessor(Preprocessor),
}

/// A word with a meaning of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyword {
    Offset,
    Anchored,
    Smoothed,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Bool,
}

/// A word that is a keyword only inside durations and behind `@`, and a function elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preprocessor {
    Start,
    End,
    Step,
    Range,
    MinOf,
    MaxOf,
}

impl TokenKind {
    /// The token that a word stands for; words mean the same in upper case.
    pub(crate) fn from_word(word: &str) -> Self {
        let lower = word.to_ascii_lowercase();
        let aggregate = AggregateOp::ALL.into_iter().find(|op| op.text() == lower);
        if let Some(op) = aggregate {
            return Self::Aggregate(op);
        }
        match lower.as_str() {
            "and" => Self::Operator(BinaryOp::And),
            "or" => Self::Operator(BinaryOp::Or),
            "unless" => Self::Operator(BinaryOp::Unless),
            "atan2" => Self::Operator(BinaryOp::Atan2),
            "offset" => Self::Keyword(Keyword::Offset),
            "anchored" => Self::Keyword(Keyword::Anchored),
            "smoothed" => Self::Keyword(Keyword::Smoothed),
            "by" => Self::Keyword(Keyword::By),
            "without" => Self::Keyword(Keyword::Without),
            "on" => Self::Keyword(Keyword::On),
            "ignoring" => Self::Keyword(Keyword::Ignoring),
            "group_left" => Self::Keyword(Keyword::GroupLeft),
            "group_right" => Self::Keyword(Keyword::GroupRight),
            "fill" => Self::Keyword(Keyword::Fill),
            "fill_left" => Self::Keyword(Keyword::FillLeft),
            "fill_right" => Self::Keyword(Keyword::FillRight),
            "bool" => Self::Keyword(Keyword::Bool),
            "start" => Self::Preprocessor(Preprocessor::Start),
            "end" => Self::Preprocessor(Preprocessor::End),
            "step" => Self::Preprocessor(Preprocessor::Step),
            "range" => Self::Preprocessor(Preprocessor::Range),
            "min_of" => Self::Preprocessor(Preprocessor::MinOf),
            "max_of" => Self::Preprocessor(Preprocessor::MaxOf),
            "inf" | "nan" => Self::Number,
            _ if word.contains(':') => Self::MetricIdentifier,
            _ => Self::Identifier,
        }
    }

    /// Whether a metric may be called so.
    pub(crate) fn is_metric_name(self) -> bool {
        match self {
            Self::Identifier
            | Self::MetricIdentifier
            | Self::Aggregate(_)
            | Self::Preprocessor(_) => true,
            Self::Operator(op) => op.is_set(),
            Self::Keyword(keyword) => matches!(
                keyword,
                Keyword::Offset
                    | Keyword::Anchored
                    | Keyword::Smoothed
                    | Keyword::By
                    | Keyword::Without
            ),
            _ => false,
        }
    }

    /// Whether a label in a grouping may be called so without quotes.
    pub(crate) fn is_label_name(self) -> bool {
        match self {
            Self::Identifier
            | Self::MetricIdentifier
            | Self::Aggregate(_)
            | Self::Preprocessor(_)
            | Self::Keyword(_) => true,
            Self::Operator(op) => op.is_set() || op == BinaryOp::Atan2,
            _ => false,
        }
    }
}

impl Token {
    /// The token's text.
    pub(crate) fn text(self, input: &str) -> &str {
        &input[self.range.start as usize..self.range.end as usize]
    }

    /// The token as messages call it.
    pub(crate) fn describe(self, input: &str) -> Description<'_> {
        Description { kind: self.kind, text: self.text(input) }
    }
}

/// See [`Token::describe`].
pub(crate) struct Description<'a> {
    kind: TokenKind,
    text: &'a str,
}

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TokenKind::EndOfInput => f.write_str("end of input"),
            TokenKind::Identifier => write!(f, "identifier {}", quote(self.text)),
            TokenKind::MetricIdentifier => write!(f, "metric identifier {}", quote(self.text)),
            TokenKind::Number => write!(f, "number {}", Shortened(self.text)),
            TokenKind::Duration => write!(f, "duration {}", Shortened(self.text)),
            TokenKind::String => write!(f, "string {}", Shortened(self.text)),
            TokenKind::Operator(_)
            | TokenKind::At
            | TokenKind::MatchRegex
            | TokenKind::MatchNotRegex => write!(f, "<op:{}>", self.text),
            TokenKind::Aggregate(_) => write!(f, "<aggr:{}>", self.text),
            TokenKind::Keyword(_) => write!(f, "<{}>", self.text),
            _ => Shortened(self.text).fmt(f),
        }
    }
}

/// Quoted text, of which only the first ten characters are shown if it has more than ten bytes.
struct Shortened<'a>(&'a str);

impl fmt::Display for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() <= 10 {
            return quote(self.0).fmt(f);
        }
        let head: String = self.0.chars().take(10).collect();
        write!(f, "{}...", quote(&head))
    }
}
