//! Syntax tree to text, in Prometheus's form and spacing.
//!
//! What is printed parses to the same tree. Trees that were put together rather than parsed get
//! the parentheses that their meaning needs.

use std::fmt::{self, Display, Formatter, Write};
use std::time::Duration;

use narthex_model::{Matcher, duration, is_legacy_label_name, number, quote};

use crate::ast::{
    Aggregate, AtModifier, Binary, BinaryOp, Call, Cardinality, DurationExpr, DurationKind,
    DurationLiteral, DurationOp, Expr, ExprKind, FillValue, NumberLiteral, RangeExtension,
    Selector, Subquery, UnaryOp, VectorMatching,
};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(number) => number.fmt(f),
            ExprKind::String(text) => quote(text).fmt(f),
            ExprKind::Selector(selector) => {
                write_series(f, selector)?;
                write_modifiers(f, selector)
            }
            ExprKind::Matrix(matrix) => {
                write_series(f, &matrix.selector)?;
                write!(f, "[{}]", matrix.window)?;
                write_modifiers(f, &matrix.selector)
            }
            ExprKind::Subquery(subquery) => subquery.fmt(f),
            ExprKind::Unary(unary) => {
                f.write_str(unary.op.text())?;
                match unary.expr.kind {
                    ExprKind::Unary(_) => unary.expr.fmt(f),
                    _ => write_operand(f, &unary.expr, UnaryOp::PRECEDENCE + 1),
                }
            }
            ExprKind::Binary(binary) => binary.fmt(f),
            ExprKind::Aggregate(aggregate) => aggregate.fmt(f),
            ExprKind::Call(call) => call.fmt(f),
            ExprKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

impl Display for NumberLiteral {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_duration {
            return write_length(f, self.value);
        }
        f.write_str(&number::format_label(self.value))
    }
}

/// Name and matchers.
fn write_series(f: &mut Formatter<'_>, selector: &Selector) -> fmt::Result {
    let mut matchers = selector.matchers.as_slice();
    if let Some(name) = &selector.name {
        f.write_str(name)?;
        matchers = &matchers[..matchers.len().saturating_sub(1)];
        if matchers.is_empty() {
            return Ok(());
        }
    }
    // In the order of their texts, so that one selection has one text.
    let mut texts: Vec<String> = matchers.iter().map(Matcher::to_string).collect();
    texts.sort_unstable();
    write!(f, "{{{}}}", texts.join(","))
}

fn write_modifiers(f: &mut Formatter<'_>, selector: &Selector) -> fmt::Result {
    match selector.extension {
        Some(RangeExtension::Anchored) => f.write_str(" anchored")?,
        Some(RangeExtension::Smoothed) => f.write_str(" smoothed")?,
        None => {}
    }
    write_times(f, selector.at, selector.offset.as_ref())
}

/// `@` and `offset`.
fn write_times(
    f: &mut Formatter<'_>,
    at: Option<AtModifier>,
    offset: Option<&DurationExpr>,
) -> fmt::Result {
    match at {
        Some(AtModifier::Time(time)) => {
            let millis = time.millis();
            let sign = if millis < 0 { "-" } else { "" };
            let millis = millis.unsigned_abs();
            write!(f, " @ {sign}{}.{:03}", millis / 1000, millis % 1000)?;
        }
        Some(AtModifier::Start) => f.write_str(" @ start()")?,
        Some(AtModifier::End) => f.write_str(" @ end()")?,
        None => {}
    }
    match offset {
        Some(offset) => write!(f, " offset {}", Offset(offset)),
        None => Ok(()),
    }
}

impl Display for Subquery {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_operand(f, &self.expr, u8::MAX)?;
        SubqueryTail(self).fmt(f)
    }
}

/// What follows a subquery's expression.
pub struct SubqueryTail<'a>(pub &'a Subquery);

impl Display for SubqueryTail<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let subquery = self.0;
        write!(f, "[{}:", subquery.window)?;
        if let Some(step) = &subquery.step {
            step.fmt(f)?;
        }
        f.write_char(']')?;
        write_times(f, subquery.at, subquery.offset.as_ref())
    }
}

/// Writes an operand, in parentheses if it binds less tightly than `precedence_min`.
fn write_operand(f: &mut Formatter<'_>, expr: &Expr, precedence_min: u8) -> fmt::Result {
    // The sign that infinity is printed with would take `Inf ^ 2` as its operand.
    if precedence_min > UnaryOp::PRECEDENCE
        && matches!(&expr.kind, ExprKind::Number(number) if number.value == f64::INFINITY)
    {
        return f.write_str("Inf");
    }
    let precedence = match &expr.kind {
        ExprKind::Binary(binary) => binary.op.precedence(),
        ExprKind::Unary(_) => UnaryOp::PRECEDENCE,
        // A sign and its number print like a sign and an operand.
        ExprKind::Number(number) if number.value.is_sign_negative() => UnaryOp::PRECEDENCE,
        _ => u8::MAX,
    };
    if precedence < precedence_min { write!(f, "({expr})") } else { expr.fmt(f) }
}

impl Display for Binary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let precedence = self.op.precedence();
        let (lhs_min, rhs_min) = match self.op {
            BinaryOp::Pow => (precedence + 1, UnaryOp::PRECEDENCE),
            _ => (precedence, precedence + 1),
        };
        write_operand(f, &self.lhs, lhs_min)?;
        write!(f, " {} ", Operator(self))?;
        match &self.rhs.kind {
            // A sign may stand before any right operand.
            ExprKind::Unary(_) | ExprKind::Number(_) => self.rhs.fmt(f),
            _ => write_operand(f, &self.rhs, rhs_min),
        }
    }
}

/// The operator with its modifiers.
pub struct Operator<'a>(pub &'a Binary);

impl Display for Operator<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.op.fmt(f)?;
        if self.0.return_bool {
            f.write_str(" bool")?;
        }
        self.0.matching.as_ref().map_or(Ok(()), |matching| matching.fmt(f))
    }
}

/// Every modifier begins with a blank.
impl Display for VectorMatching {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let is_grouped =
            matches!(self.cardinality, Cardinality::ManyToOne | Cardinality::OneToMany);
        if self.on || is_grouped || !self.labels.is_empty() {
            let word = if self.on { "on" } else { "ignoring" };
            write!(f, " {word} ({})", LabelList(&self.labels))?;
        }
        match self.cardinality {
            Cardinality::ManyToOne => write!(f, " group_left ({})", LabelList(&self.include))?,
            Cardinality::OneToMany => write!(f, " group_right ({})", LabelList(&self.include))?,
            Cardinality::OneToOne | Cardinality::ManyToMany => {}
        }
        match (self.fill_left, self.fill_right) {
            (Some(left), Some(right)) if left == right => write!(f, " fill ({left})"),
            (left, right) => {
                if let Some(left) = left {
                    write!(f, " fill_left ({left})")?;
                }
                right.map_or(Ok(()), |right| write!(f, " fill_right ({right})"))
            }
        }
    }
}

impl Display for FillValue {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&number::format_label(self.0))
    }
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.op, Grouping(self))?;
        match &self.param {
            Some(param) => write!(f, "({param}, {})", self.expr),
            None => write!(f, "({})", self.expr),
        }
    }
}

/// What stands between an aggregation's operator and its parentheses.
pub struct Grouping<'a>(pub &'a Aggregate);

impl Display for Grouping<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let labels = &self.0.labels;
        match self.0.without {
            true => write!(f, " without ({}) ", LabelList(labels)),
            false if labels.is_empty() => Ok(()),
            false => write!(f, " by ({}) ", LabelList(labels)),
        }
    }
}

impl Display for Call {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.function.name)?;
        for (i, arg) in self.args.iter().enumerate() {
            f.write_str(if i > 0 { ", " } else { "" })?;
            arg.fmt(f)?;
        }
        f.write_char(')')
    }
}

struct LabelList<'a>(&'a [String]);

impl Display for LabelList<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, label) in self.0.iter().enumerate() {
            f.write_str(if i > 0 { ", " } else { "" })?;
            let is_plain = is_legacy_label_name(label) && !is_number_word(label);
            if is_plain { f.write_str(label)? } else { quote(label).fmt(f)? }
        }
        Ok(())
    }
}

/// Names that the lexer takes for numbers.
fn is_number_word(label: &str) -> bool {
    label.eq_ignore_ascii_case("inf") || label.eq_ignore_ascii_case("nan")
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DurationKind::Literal(literal) => literal.fmt(f),
            DurationKind::Step => f.write_str("step()"),
            DurationKind::Range => f.write_str("range()"),
            DurationKind::Negate(inner) => write!(f, "-{inner}"),
            DurationKind::Paren(inner) => write!(f, "({inner})"),
            DurationKind::Binary(DurationOp::MinOf, a, b) => write!(f, "min_of({a}, {b})"),
            DurationKind::Binary(DurationOp::MaxOf, a, b) => write!(f, "max_of({a}, {b})"),
            DurationKind::Binary(op, lhs, rhs) => write!(f, "{lhs} {} {rhs}", op.sign()),
        }
    }
}

impl DurationOp {
    const fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::MinOf => "min_of",
            Self::MaxOf => "max_of",
        }
    }
}

/// As written: `5m` or `300`.
impl Display for DurationLiteral {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.has_unit {
            return write_length(f, self.seconds);
        }
        f.write_str(&number::format_label(self.seconds))
    }
}

/// The duration of an offset, in parentheses where it is more than one operand.
struct Offset<'a>(&'a DurationExpr);

impl Display for Offset<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.0.kind {
            DurationKind::Binary(op, ..)
                if !matches!(op, DurationOp::MinOf | DurationOp::MaxOf) =>
            {
                write!(f, "({})", self.0)
            }
            _ => self.0.fmt(f),
        }
    }
}

/// Seconds with units; as a number of seconds where milliseconds are too coarse.
fn write_length(f: &mut Formatter<'_>, seconds: f64) -> fmt::Result {
    let millis = (seconds.abs() * 1000.0).round();
    if millis / 1000.0 != seconds.abs() || millis >= u64::MAX as f64 {
        return f.write_str(&number::format_label(seconds));
    }
    if seconds.is_sign_negative() {
        f.write_char('-')?;
    }
    f.write_str(&duration::format(Duration::from_millis(millis as u64)))
}
