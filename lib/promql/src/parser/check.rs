//! The check of types, which also settles what only types can tell: whether a binary operator
//! matches vectors.

use narthex_model::{METRIC_NAME, quote};

use super::ParseError;
use crate::{
    ast::{
        Aggregate, AggregateOp, Binary, ByteRange, Call, Cardinality, Expr, ExprKind, Selector,
        VectorMatching,
    },
    types::ValueType,
};

pub(super) struct Checker<'a> {
    pub(super) input: &'a str,
}

type Checked<T> = Result<T, ParseError>;

impl Checker<'_> {
    pub(super) fn check_whole(&self, mut expr: Expr) -> Checked<Expr> {
        self.check(&mut expr)?;
        Ok(expr)
    }

    /// Checks an expression and all below it; the type it has.
    fn check(&self, expr: &mut Expr) -> Checked<ValueType> {
        let range = expr.range;
        match &mut expr.kind {
            ExprKind::Number(_) | ExprKind::String(_) => {}
            ExprKind::Selector(selector) => self.check_selector(selector, range)?,
            ExprKind::Matrix(matrix) => self.check_selector(&matrix.selector, range)?,
            ExprKind::Subquery(subquery) => {
                let found = self.check(&mut subquery.expr)?;
                if found != ValueType::Vector {
                    let message =
                        format!("subquery is only allowed on instant vector, got {found} instead");
                    return Err(self.error(range, message));
                }
            }
            ExprKind::Unary(unary) => {
                let found = self.check(&mut unary.expr)?;
                if !is_operand(found) {
                    let message = format!(
                        "unary expression only allowed on expressions of type scalar or instant \
                         vector, got \"{}\"",
                        found.documented()
                    );
                    return Err(self.error(range, message));
                }
            }
            ExprKind::Binary(binary) => self.check_binary(binary, range)?,
            ExprKind::Aggregate(aggregate) => self.check_aggregate(aggregate)?,
            ExprKind::Call(call) => self.check_call(call, range)?,
            ExprKind::Paren(inner) => {
                self.check(inner)?;
            }
        }
        Ok(expr.value_type())
    }

    fn check_selector(&self, selector: &Selector, range: ByteRange) -> Checked<()> {
        if let Some(name) = &selector.name {
            let others = &selector.matchers[..selector.matchers.len() - 1];
            if let Some(twice) = others.iter().find(|matcher| matcher.name() == METRIC_NAME) {
                let message = format!(
                    "metric name must not be set twice: {} or {}",
                    quote(name),
                    quote(twice.value())
                );
                return Err(self.error(range, message));
            }
            return Ok(());
        }
        if selector.matchers.iter().all(|matcher| matcher.matches_empty()) {
            let message = "vector selector must contain at least one non-empty matcher";
            return Err(self.error(range, message));
        }
        Ok(())
    }

    fn check_aggregate(&self, aggregate: &mut Aggregate) -> Checked<()> {
        self.expect(&mut aggregate.expr, ValueType::Vector, "aggregation expression")?;
        let wanted = match aggregate.op {
            AggregateOp::CountValues => ValueType::String,
            _ => ValueType::Scalar,
        };
        match &mut aggregate.param {
            Some(param) => self.expect(param, wanted, "aggregation parameter"),
            None => Ok(()),
        }
    }

    fn expect(&self, expr: &mut Expr, wanted: ValueType, context: &str) -> Checked<()> {
        let found = self.check(expr)?;
        if found == wanted {
            return Ok(());
        }
        let (wanted, found) = (wanted.documented(), found.documented());
        let message = format!("expected type {wanted} in {context}, got {found}");
        Err(self.error(expr.range, message))
    }

    fn check_binary(&self, binary: &mut Binary, range: ByteRange) -> Checked<()> {
        let lhs = self.check(&mut binary.lhs)?;
        let rhs = self.check(&mut binary.rhs)?;
        let op = binary.op;
        if binary.return_bool && !op.is_comparison() {
            let message = "bool modifier can only be used on comparison operators";
            return Err(self.error(self.between(binary), message));
        }
        let scalars = lhs == ValueType::Scalar && rhs == ValueType::Scalar;
        if op.is_comparison() && !binary.return_bool && scalars {
            let message = "comparisons between scalars must use BOOL modifier";
            return Err(self.error(self.between(binary), message));
        }
        let mut matching = binary.matching.take().unwrap_or_default();
        if op.is_set() && matching.cardinality == Cardinality::OneToOne {
            matching.cardinality = Cardinality::ManyToMany;
        }
        let twice = matching.labels.iter().find(|label| matching.include.contains(label));
        if let (Some(label), true) = (twice, matching.on) {
            let label = quote(label);
            let message = format!("label {label} must not occur in ON and GROUP clause at once");
            return Err(self.error(self.between(binary), message));
        }
        for (side, found) in [(&binary.lhs, lhs), (&binary.rhs, rhs)] {
            if !is_operand(found) {
                let message = "binary expression must contain only scalar and instant vector types";
                return Err(self.error(side.range, message));
            }
        }
        let vectors = lhs == ValueType::Vector && rhs == ValueType::Vector;
        self.check_matching(binary, &matching, vectors, range)?;
        binary.matching = vectors.then_some(matching);
        Ok(())
    }

    fn check_matching(
        &self,
        binary: &Binary,
        matching: &VectorMatching,
        vectors: bool,
        range: ByteRange,
    ) -> Checked<()> {
        let has_fill = matching.fill_left.is_some() || matching.fill_right.is_some();
        let op = binary.op;
        let message = if !vectors && !matching.labels.is_empty() {
            "vector matching only allowed between instant vectors".to_owned()
        } else if !vectors && has_fill {
            "filling in missing series only allowed between instant vectors".to_owned()
        } else if vectors && op.is_set() && matching.cardinality != Cardinality::ManyToMany {
            format!("no grouping allowed for {} operation", quote(op.text()))
        } else if vectors && op.is_set() && has_fill {
            "filling in missing series not allowed for set operators".to_owned()
        } else if !vectors && op.is_set() {
            format!("set operator {} not allowed in binary scalar expression", quote(op.text()))
        } else {
            return Ok(());
        };
        Err(self.error(range, message))
    }

    fn check_call(&self, call: &mut Call, range: ByteRange) -> Checked<()> {
        let function = call.function;
        let (name, found) = (quote(function.name), call.args.len());
        let (min, max) = (function.args_min(), function.args_max());
        let counts = if max == Some(min) && found != min {
            Some(format!("expected {min} argument(s) in call to {name}, got {found}"))
        } else if found < min {
            Some(format!("expected at least {min} argument(s) in call to {name}, got {found}"))
        } else {
            max.filter(|max| found > *max).map(|max| {
                format!("expected at most {max} argument(s) in call to {name}, got {found}")
            })
        };
        if let Some(message) = counts {
            return Err(self.error(range, message));
        }
        let is_info = function.name == "info";
        for (index, arg) in call.args.iter_mut().enumerate() {
            if is_info && index == 1 {
                self.check_info_matchers(arg, range)?;
                continue;
            }
            let wanted = function.arg_type(index);
            let found = self.check(arg)?;
            if found != wanted {
                let (wanted, found) = (wanted.documented(), found.documented());
                let message =
                    format!("expected type {wanted} in call to function {name}, got {found}");
                return Err(self.error(arg.range, message));
            }
        }
        Ok(())
    }

    /// The second argument of `info`: matchers in braces, all of which may accept the empty text.
    fn check_info_matchers(&self, arg: &Expr, call: ByteRange) -> Checked<()> {
        let found = arg.value_type();
        if found != ValueType::Vector {
            let (wanted, found) = (ValueType::Vector.documented(), found.documented());
            let message =
                format!("expected type {wanted} in call to function \"info\", got {found}");
            return Err(self.error(call, message));
        }
        let message = match &arg.kind {
            ExprKind::Selector(selector) if selector.name.is_none() => return Ok(()),
            ExprKind::Selector(_) => "expected label selectors only, got vector selector instead",
            _ => "expected label selectors only",
        };
        Err(self.error(arg.range, message))
    }

    /// The operator and its modifiers without the blanks around them.
    fn between(&self, binary: &Binary) -> ByteRange {
        let (start, end) = (binary.lhs.range.end, binary.rhs.range.start);
        let text = &self.input[start as usize..end as usize];
        let blank = (text.len() - text.trim_start().len()) as u32;
        ByteRange::new(start + blank, start + text.trim_end().len() as u32)
    }

    fn error(&self, range: ByteRange, message: impl Into<String>) -> ParseError {
        ParseError::new(self.input, range, message)
    }
}

fn is_operand(found: ValueType) -> bool {
    matches!(found, ValueType::Scalar | ValueType::Vector)
}
