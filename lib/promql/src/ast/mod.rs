//! The syntax tree of a PromQL expression.
//!
//! Invariants of a tree that [`crate::parse`] returned
//! * every node's range lies inside the query's text, and inside its parent's range;
//! * types fit: operands and arguments have the types their operator or function asks for;
//! * a binary operator has a [`VectorMatching`] exactly if both operands are instant vectors.
//!
//! A tree says what was written. What only a running query knows (its times, its step, the value
//! of a duration expression) is put in by [`crate::resolve()`]; nothing here is evaluated.

mod duration;
mod operators;

pub use duration::{DurationExpr, DurationKind, DurationLiteral, DurationOp};
pub use operators::{AggregateOp, BinaryOp, UnaryOp};

use narthex_model::{METRIC_NAME, MatchOp, Matcher, Timestamp};

use crate::types::{FunctionSignature, ValueType};

/// A run of bytes `[start, end)` of the query's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ByteRange {
    /// The first byte.
    pub start: u32,
    /// The byte behind the last one.
    pub end: u32,
}

impl ByteRange {
    /// The range from `start` up to, not including, `end`.
    pub const fn new(start: u32, end: u32) -> Self {
        Self { start, end }
    }

    /// From the start of `self` to the end of `last`.
    #[must_use]
    pub const fn to(self, last: Self) -> Self {
        Self { start: self.start, end: last.end }
    }
}

/// An expression and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands in the query's text.
    pub range: ByteRange,
}

/// What an expression is.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// `1.5`, `0x1f`, `1h30m`: a scalar.
    Number(NumberLiteral),
    /// `"text"`: a string.
    String(String),
    /// `up{job="api"} offset 5m`: an instant vector.
    Selector(Selector),
    /// `up{job="api"}[5m]`: a range vector.
    Matrix(MatrixSelector),
    /// `expr[1h:1m]`: a range vector.
    Subquery(Box<Subquery>),
    /// `-expr`.
    Unary(Box<Unary>),
    /// `lhs + rhs`.
    Binary(Box<Binary>),
    /// `sum by (job) (expr)`.
    Aggregate(Box<Aggregate>),
    /// `rate(expr)`.
    Call(Call),
    /// `(expr)`.
    Paren(Box<Expr>),
}

/// A number. A duration literal is a number of seconds and remembers how it was written.
#[derive(Debug, Clone, Copy)]
pub struct NumberLiteral {
    /// The value; seconds for a duration.
    pub value: f64,
    /// Whether it was written as a duration, `5m`.
    pub is_duration: bool,
}

impl PartialEq for NumberLiteral {
    /// By bits, so that a tree with `NaN` equals itself.
    fn eq(&self, other: &Self) -> bool {
        self.value.to_bits() == other.value.to_bits() && self.is_duration == other.is_duration
    }
}

/// An instant vector selector with its modifiers.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector {
    /// The metric's name if it is written before the braces. Its matcher is the last of
    /// `matchers`.
    pub name: Option<String>,
    /// All matchers. At least one of them refuses the empty text, unless the selector is the
    /// second argument of `info`.
    pub matchers: Vec<Matcher>,
    /// `offset`: how far back to look; negative looks ahead.
    pub offset: Option<DurationExpr>,
    /// `@`: a fixed time to look at.
    pub at: Option<AtModifier>,
    /// `anchored` or `smoothed`.
    pub extension: Option<RangeExtension>,
}

impl Selector {
    /// The metric's name if an equality matcher fixes it.
    pub fn metric_name(&self) -> Option<&str> {
        let fixed = |m: &&Matcher| m.name() == METRIC_NAME && m.op() == MatchOp::Equal;
        self.matchers.iter().find(fixed).map(Matcher::value).filter(|name| !name.is_empty())
    }

    /// The offset in milliseconds.
    ///
    /// Panics on a duration that [`crate::resolve()`] has not yet worked out.
    pub fn offset_millis(&self) -> i64 {
        self.offset.as_ref().map_or(0, DurationExpr::millis)
    }
}

/// Where `@` points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtModifier {
    /// `@ 1609746000`.
    Time(Timestamp),
    /// `@ start()`: the first step of the query.
    Start,
    /// `@ end()`: the last step of the query.
    End,
}

/// How a range looks past its own edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeExtension {
    /// Takes the last sample at or before the start as the value there.
    Anchored,
    /// Interpolates at both edges.
    Smoothed,
}

/// A range vector selector.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixSelector {
    /// The series, with offset, `@` and extension.
    pub selector: Selector,
    /// The length of the range, `5m` in `up[5m]`.
    pub window: DurationExpr,
}

/// An expression evaluated at many times.
#[derive(Debug, Clone, PartialEq)]
pub struct Subquery {
    /// What is evaluated: an instant vector.
    pub expr: Expr,
    /// The length of the range.
    pub window: DurationExpr,
    /// The distance of two steps; `None` stands for the default evaluation interval.
    pub step: Option<DurationExpr>,
    /// See [`Selector::offset`].
    pub offset: Option<DurationExpr>,
    /// See [`Selector::at`].
    pub at: Option<AtModifier>,
}

impl Subquery {
    /// See [`Selector::offset_millis`].
    pub fn offset_millis(&self) -> i64 {
        self.offset.as_ref().map_or(0, DurationExpr::millis)
    }
}

/// A sign before an expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Unary {
    /// The sign.
    pub op: UnaryOp,
    /// A scalar or an instant vector.
    pub expr: Expr,
}

/// Two operands and what joins them.
#[derive(Debug, Clone, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// Left of the operator: a scalar or an instant vector.
    pub lhs: Expr,
    /// Right of the operator: a scalar or an instant vector.
    pub rhs: Expr,
    /// `bool`: a comparison that answers 0 or 1 instead of filtering.
    pub return_bool: bool,
    /// How elements find their partners; present exactly if both sides are vectors.
    pub matching: Option<VectorMatching>,
}

/// How the elements of two vectors find each other.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VectorMatching {
    /// How many elements may meet.
    pub cardinality: Cardinality,
    /// Whether `labels` are those that must agree (`on`) or those left aside (`ignoring`).
    pub on: bool,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// The labels of `group_left` or `group_right`, taken from the "one" side.
    pub include: Vec<String>,
    /// `fill` and `fill_left`: the value of a missing left element.
    pub fill_left: Option<FillValue>,
    /// `fill` and `fill_right`: the value of a missing right element.
    pub fill_right: Option<FillValue>,
}

/// The value of a fill modifier.
#[derive(Debug, Clone, Copy)]
pub struct FillValue(pub f64);

impl PartialEq for FillValue {
    /// By bits, as [`NumberLiteral`].
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

/// How many elements of each side may meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cardinality {
    /// One on each side.
    #[default]
    OneToOne,
    /// Many on the left: `group_left`.
    ManyToOne,
    /// Many on the right: `group_right`.
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// An aggregation.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// What is done to a group.
    pub op: AggregateOp,
    /// The vector.
    pub expr: Expr,
    /// The parameter of the operators that take one.
    pub param: Option<Expr>,
    /// Whether `labels` are dropped (`without`) or kept (`by`, also when neither is written).
    pub without: bool,
    /// The grouping labels.
    pub labels: Vec<String>,
}

/// A function call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The function.
    pub function: &'static FunctionSignature,
    /// Its arguments as written; optional ones may be missing at the end.
    pub args: Vec<Expr>,
}

impl Expr {
    /// An expression of `kind` at `range`.
    pub const fn new(kind: ExprKind, range: ByteRange) -> Self {
        Self { kind, range }
    }

    /// The type of the expression's value.
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            ExprKind::Number(_) => ValueType::Scalar,
            ExprKind::String(_) => ValueType::String,
            ExprKind::Selector(_) | ExprKind::Aggregate(_) => ValueType::Vector,
            ExprKind::Matrix(_) | ExprKind::Subquery(_) => ValueType::Matrix,
            ExprKind::Unary(unary) => unary.expr.value_type(),
            ExprKind::Binary(binary) => {
                let scalars = [&binary.lhs, &binary.rhs];
                let both = scalars.iter().all(|side| side.value_type() == ValueType::Scalar);
                if both { ValueType::Scalar } else { ValueType::Vector }
            }
            ExprKind::Call(call) => call.function.returns,
            ExprKind::Paren(inner) => inner.value_type(),
        }
    }

    /// The expression without the parentheses around it.
    pub fn unwrapped(&self) -> &Self {
        match &self.kind {
            ExprKind::Paren(inner) => inner.unwrapped(),
            _ => self,
        }
    }

    /// The expressions right below this one, in the order they are written.
    pub fn children(&self) -> Vec<&Self> {
        match &self.kind {
            ExprKind::Number(_)
            | ExprKind::String(_)
            | ExprKind::Selector(_)
            | ExprKind::Matrix(_) => Vec::new(),
            ExprKind::Subquery(subquery) => vec![&subquery.expr],
            ExprKind::Unary(unary) => vec![&unary.expr],
            ExprKind::Binary(binary) => vec![&binary.lhs, &binary.rhs],
            ExprKind::Aggregate(aggregate) => {
                aggregate.param.iter().chain(std::iter::once(&aggregate.expr)).collect()
            }
            ExprKind::Call(call) => call.args.iter().collect(),
            ExprKind::Paren(inner) => vec![inner],
        }
    }

    /// As [`Expr::children`], to be changed.
    pub fn children_mut(&mut self) -> Vec<&mut Self> {
        match &mut self.kind {
            ExprKind::Number(_)
            | ExprKind::String(_)
            | ExprKind::Selector(_)
            | ExprKind::Matrix(_) => Vec::new(),
            ExprKind::Subquery(subquery) => vec![&mut subquery.expr],
            ExprKind::Unary(unary) => vec![&mut unary.expr],
            ExprKind::Binary(binary) => {
                let Binary { lhs, rhs, .. } = binary.as_mut();
                vec![lhs, rhs]
            }
            ExprKind::Aggregate(aggregate) => {
                let Aggregate { param, expr, .. } = aggregate.as_mut();
                param.iter_mut().chain(std::iter::once(expr)).collect()
            }
            ExprKind::Call(call) => call.args.iter_mut().collect(),
            ExprKind::Paren(inner) => vec![inner],
        }
    }

    /// Calls `visit` for this expression and all below it, parents first.
    pub fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        visit(self);
        for child in self.children() {
            child.walk(visit);
        }
    }

    /// Every selector, those of range vectors included, in the order they are written.
    pub fn selectors(&self) -> Vec<&Selector> {
        let mut found = Vec::new();
        self.walk(&mut |expr| match &expr.kind {
            ExprKind::Selector(selector) => found.push(selector),
            ExprKind::Matrix(matrix) => found.push(&matrix.selector),
            _ => {}
        });
        found
    }
}
